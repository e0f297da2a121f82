// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/sim/sim_io.hpp"

#include <algorithm>
#include <cstring>

#include <netinet/in.h>

#include "support/alloc_guard.hpp"
#include "support/gather.hpp"

namespace srd::sim {

namespace {

constexpr std::uint16_t sim_port = 7000;
constexpr std::uint32_t first_host = 10U << 24; // 10.0.0.0

/// The number of the host that has `address`; beyond all of them if none has it.
std::uint32_t host_of(const SocketAddress& address)
{
    if (address.family() != AF_INET || address.port() != sim_port) {
        return UINT32_MAX;
    }
    in_addr host{};
    std::memcpy(&host, address.host().data(), sizeof(host));
    return ntohl(host.s_addr) - first_host;
}

} // namespace

SocketAddress SimIo::address_of(std::uint32_t host)
{
    return SocketAddress::of_ipv4(first_host + host, sim_port);
}

std::vector<std::byte> SimIo::rails_of(std::uint32_t host, std::uint32_t count)
{
    std::vector<std::byte> bytes((count - 1) * rail_size);
    for (std::uint32_t rail = 1; rail < count; ++rail) {
        std::memcpy(&bytes[(rail - 1) * rail_size], &host, sizeof(host));
        bytes[(rail - 1) * rail_size + sizeof(host)] = static_cast<std::byte>(rail);
    }
    return bytes;
}

namespace {

IoCaps caps_of(const SimIoOptions& options, std::span<const std::byte> rails, ProcessMemory* memory,
               LocalRoad* local)
{
    IoCaps caps = options.caps;
    caps.rail_count = options.rails;
    caps.rails = rails;
    caps.memory = options.near > 0 ? memory : nullptr;
    caps.local = options.near > 0 ? local : nullptr;
    return caps;
}

} // namespace

SimIo::SimIo(SimNetwork& network, std::uint32_t host, const SimIoOptions& options, Counters& counters,
             std::uint64_t seed)
    : network_(network), host_(host), options_(options), local_(network, *this, seed + 1),
      rails_(rails_of(host, options.rails)), caps_(caps_of(options, rails_, this, &local_)),
      epoch_(static_cast<std::uint32_t>(seed)), counters_(counters), random_(seed), address_(address_of(host))
{
}

SimIo::~SimIo()
{
    hook_ = nullptr; // the engine it looks at may be gone already
    rx_release();
    for (SimPacket* packet : rx_queue_) {
        network_.release(packet);
    }
}

SimIo::Other& SimIo::other(std::uint32_t host)
{
    const AllocationPermit permit;
    const std::uint32_t whole = options_.caps.max_packet;
    return others_.try_emplace(host, Other{whole, whole, whole, false, {}, 0}).first->second;
}

Status SimIo::resolve(const SocketAddress& address, RouteId& route)
{
    const AllocationPermit permit;
    const std::uint32_t host = host_of(address);
    if (host >= network_.host_count()) {
        return Status::invalid;
    }
    route = route_to(host);
    return Status::ok;
}

RouteId SimIo::route_to(std::uint32_t host)
{
    const auto [place, is_new] =
        routes_.try_emplace(host, RouteId(static_cast<std::uint32_t>(route_hosts_.size())));
    if (is_new && !forgotten_routes_.empty()) {
        place->second = forgotten_routes_.back();
        forgotten_routes_.pop_back();
        route_hosts_[index_of(place->second)] = host;
        route_addresses_[index_of(place->second)] = address_of(host);
    } else if (is_new) {
        route_hosts_.push_back(host);
        route_addresses_.push_back(address_of(host));
    }
    if (is_new) {
        other(host);
        if (options_.near > 0) {
            push_notice(host, RouteNotice::Kind::same_host,
                        network_.clock().now() + std::chrono::microseconds(random_.between(0, 300)));
        }
    }
    return place->second;
}

bool SimIo::forget_route(RouteId route) noexcept
{
    const AllocationPermit permit;
    routes_.erase(route_hosts_[index_of(route)]);
    forgotten_routes_.push_back(route);
    return true;
}

RouteId SimIo::find(const SocketAddress& address) const noexcept
{
    const auto place = routes_.find(host_of(address));
    return place == routes_.end() ? no_id<RouteId> : place->second;
}

void SimIo::reply(const SocketAddress& address, std::span<const std::byte> packet) noexcept
{
    const AllocationPermit permit;
    const std::uint32_t host = host_of(address);
    if (host >= network_.host_count()) {
        return;
    }
    SimPacket* const datagram = network_.acquire();
    datagram->bytes.assign(packet.begin(), packet.end());
    datagram->source = host_;
    datagram->destination = host;
    datagram->path = PathId{0};
    if (!network_.send(datagram)) {
        network_.release(datagram);
    }
}

const SocketAddress& SimIo::route_address(RouteId route) const noexcept
{
    return route_addresses_[index_of(route)];
}

std::uint32_t SimIo::route_mtu(RouteId route) const noexcept
{
    return others_.at(route_hosts_[index_of(route)]).mtu_known;
}

std::uint16_t SimIo::set_peer_rails(RouteId route, std::span<const std::byte> rails) noexcept
{
    const AllocationPermit permit;
    std::vector<Rail>& known = peer_rails_[static_cast<std::uint32_t>(index_of(route))];
    known.clear();
    for (std::size_t at = 0; at < rails.size(); at += rail_size) {
        Rail rail{};
        std::memcpy(&rail.host, &rails[at], sizeof(rail.host));
        rail.rail = std::to_integer<std::uint8_t>(rails[at + sizeof(rail.host)]);
        known.push_back(rail);
    }
    std::uint16_t ways = 0;
    for (std::uint32_t way = 0; way < options_.rails * (known.size() + 1); ++way) {
        const std::uint32_t theirs = way / options_.rails;
        const bool exists = theirs == 0 || known[theirs - 1].host < network_.host_count();
        ways |= static_cast<std::uint16_t>(exists && way < options_.caps.path_count ? 1U << way : 0);
    }
    return ways;
}

/// False: there is no such way.
bool SimIo::choose_way(const TxPacket& packet, SimPacket& datagram) const
{
    datagram.source_rail = static_cast<std::uint8_t>(packet.way % options_.rails);
    const std::uint32_t theirs = packet.way / options_.rails;
    if (theirs == 0) {
        return true;
    }
    const auto known = peer_rails_.find(static_cast<std::uint32_t>(index_of(packet.route)));
    if (known == peer_rails_.end() || theirs > known->second.size()) {
        return false;
    }
    datagram.destination = known->second[theirs - 1].host;
    datagram.destination_rail = known->second[theirs - 1].rail;
    return true;
}

void SimIo::deliver(SimPacket* packet)
{
    const std::size_t length = packet->bytes.size();
    const bool refused = packet->corrupted && !options_.deliver_corrupted;
    std::size_t whole = length; // with what is still in the sender's memory
    for (const iovec& piece : packet->remote) {
        whole += piece.iov_len;
    }
    const bool too_long = whole > options_.caps.max_packet; // a buffer of that size would cut it off
    const bool overflow = options_.caps.rx_buffer != 0 && rx_queued_bytes_ + length > options_.caps.rx_buffer;
    if (refused || too_long || overflow) {
        counters_.io_rx_dropped.add();
        network_.release(packet);
        return;
    }
    rx_queued_bytes_ += length;
    rx_queue_.push_back(packet);
}

std::size_t SimIo::rx_burst(std::span<RxPacket> packets, Time now)
{
    const AllocationPermit permit;
    between_entries();
    if (!rx_lent_.empty()) {
        throw SimFailure("rx_burst before rx_release of the burst before");
    }
    if (tx_blocked_until_ <= network_.clock().now()) {
        tx_blocked_until_ = time_never; // the pass that begins offers again what it has, if anything
    }
    local_.look(now - ahead_);
    while (rx_lent_.size() < packets.size() && !rx_queue_.empty()) {
        SimPacket* const packet = rx_queue_.front();
        rx_queue_.pop_front();
        rx_queued_bytes_ -= packet->bytes.size();
        other(packet->source).bytes_from += packet->bytes.size();
        packets[rx_lent_.size()] = {packet->bytes.data(), static_cast<std::uint32_t>(packet->bytes.size()),
                                    packet->marked, false,
                                    options_.exact_arrival ? packet->arrived + ahead_ : now};
        if (!packet->remote.empty()) {
            RxPacket& made = packets[rx_lent_.size()];
            for (const iovec& piece : packet->remote) {
                made.remote_length += static_cast<std::uint32_t>(piece.iov_len);
            }
            other(packet->source).bytes_from += made.remote_length;
            made.mapping_id = static_cast<std::uint32_t>(rx_lent_.size());
            made.remote = this;
        }
        rx_lent_.push_back(packet);
    }
    return rx_lent_.size();
}

/// Where it may fail it sometimes does; taken back memory is never touched.
bool SimIo::read_host(std::uint32_t host, std::uint32_t epoch, std::span<const iovec> from,
                      std::span<const iovec> into) noexcept
{
    const AllocationPermit permit;
    const ProcessMemory* const memory = network_.port(host)->process_memory();
    if (memory == nullptr || memory->epoch() != epoch || random_.chance(0.02)) {
        return false;
    }
    std::vector<std::byte> bytes;
    test::gather(from, bytes);
    std::size_t at = 0;
    for (const iovec& piece : into) {
        std::memcpy(piece.iov_base, bytes.data() + at, piece.iov_len);
        at += piece.iov_len;
    }
    return true;
}

ProcessMemory::Read SimIo::read(RouteId route, std::uint32_t epoch, std::span<const iovec> from,
                                std::span<const iovec> into) noexcept
{
    Other& host = other(route_host(route));
    if (host.forbidden || random_.chance(options_.forbidden)) {
        host.forbidden = true;
        return Read::forbidden;
    }
    const bool done = read_host(route_host(route), epoch, from, into);
    for (const iovec& piece : from) {
        host.bytes_from += done ? piece.iov_len : 0;
    }
    return done ? Read::done : Read::changed;
}

bool SimIo::fetch(std::uint32_t mapping_id, std::span<const iovec> into) noexcept
{
    const SimPacket& packet = *rx_lent_.at(mapping_id);
    return read_host(packet.source, packet.epoch, packet.remote, into);
}

void SimIo::rx_release() noexcept
{
    const AllocationPermit permit;
    between_entries();
    for (SimPacket* packet : rx_lent_) {
        // Whoever still looks at it now sees garbage.
        std::fill(packet->bytes.begin(), packet->bytes.end(), std::byte{0xa5});
        network_.release(packet);
    }
    rx_lent_.clear();
}

bool SimIo::transmit(const TxPacket& packet)
{
    if (packet.iov_count == 0 || packet.iov_count > max_tx_iov ||
        index_of(packet.route) >= route_hosts_.size() || index_of(packet.path) >= options_.caps.path_count) {
        throw SimFailure("poll_transmit: packet with a bad iov_count, route or path");
    }
    const std::uint32_t destination = route_hosts_[index_of(packet.route)];
    SimPacket* const datagram = network_.acquire();
    const std::span<const iovec> pieces(packet.iov.data(), packet.iov_count);
    test::gather(pieces, datagram->bytes);
    if (datagram->bytes.size() != packet.length || packet.length == 0 ||
        packet.length > options_.caps.max_packet) {
        throw SimFailure("poll_transmit: length " + std::to_string(packet.length) + " but iov holds " +
                         std::to_string(datagram->bytes.size()) + ", largest packet " +
                         std::to_string(options_.caps.max_packet));
    }
    if (packet.stable_from < packet.iov_count && random_.chance(options_.near)) {
        datagram->bytes.clear();
        test::gather(pieces.first(packet.stable_from), datagram->bytes);
        const auto rest = pieces.subspan(packet.stable_from);
        datagram->remote.assign(rest.begin(), rest.end());
        datagram->epoch = epoch_;
    }
    datagram->source = host_;
    datagram->destination = destination;
    datagram->path = packet.path;
    if (packet.way != 0 && !choose_way(packet, *datagram)) {
        throw SimFailure("poll_transmit: a packet on a way that does not exist");
    }
    by_other_ways_ += packet.way != 0 && packet.length > 200 ? 1U : 0U;
    const Other& to = other(destination);
    if (network_.clock().now() < to.no_room_until) {
        network_.release(datagram);
        tx_blocked_until_ = network_.clock().now() + std::chrono::microseconds(300);
        return false;
    }
    if (packet.length > to.mtu_true && to.mtu_known > to.mtu_true) {
        counters_.io_tx_errors.add(); // as EMSGSIZE from a router: accepted and lost
        network_.release(datagram);
    } else if (packet.length > to.carried) {
        network_.release(datagram);
    } else if (!network_.send(datagram)) {
        network_.release(datagram);
        return false;
    }
    return true;
}

std::size_t SimIo::tx_burst(std::span<const TxPacket> packets)
{
    const AllocationPermit permit;
    between_entries();
    tx_blocked_until_ = time_never;
    std::size_t limit = packets.size();
    if (random_.chance(options_.partial_burst)) {
        limit = random_.between(0, packets.size());
    }
    std::size_t accepted = 0;
    const auto one_train = [&](std::size_t at) { // the packet there and the next
        return !packets[at].alone && !packets[at + 1].alone && packets[at].route == packets[at + 1].route &&
               packets[at].path == packets[at + 1].path && packets[at + 1].length <= packets[at].length &&
               packets[at].length + packets[at + 1].length > options_.caps.max_packet;
    };
    while (accepted < limit) {
        const bool swallowed = options_.swallows_trains && ((accepted != 0 && one_train(accepted - 1)) ||
                                                            (accepted + 1 < limit && one_train(accepted)));
        if (!swallowed && !transmit(packets[accepted])) {
            break;
        }
        ++accepted;
    }
    if (accepted < packets.size() && tx_blocked_until_ == time_never) {
        const Time now = network_.clock().now();
        tx_blocked_until_ = std::max(network_.nic_ready(host_), now + std::chrono::microseconds(1));
    }
    return accepted;
}

void SimIo::probe_liveness(RouteId route, LivenessProbe probe, Time now)
{
    const AllocationPermit permit;
    if (!options_.answers_liveness) {
        return;
    }
    const Time asked = now - ahead_;
    const std::uint32_t about = route_host(route);
    if (options_.near > 0) {
        push_notice(about, RouteNotice::Kind::network, asked);
        push_notice(about, RouteNotice::Kind::same_host, asked + options_.liveness_delay);
    }
    const auto answer = [&](RouteNotice::Kind kind) {
        push_notice(about, kind, asked + options_.liveness_delay, now);
    };
    const ProcessState state = network_.port(about)->process_state();
    if (state == ProcessState::gone) {
        answer(RouteNotice::Kind::process_gone);
    } else if (state != ProcessState::silent) {
        answer(RouteNotice::Kind::process_alive);
        if (probe == LivenessProbe::reads) {
            answer(state == ProcessState::busy ? RouteNotice::Kind::process_busy
                                               : RouteNotice::Kind::process_reads);
        }
    }
}

void SimIo::push_notice(std::uint32_t about_host, RouteNotice::Kind kind, Time due, Time since)
{
    const auto place = routes_.find(about_host);
    if (place == routes_.end() && kind == RouteNotice::Kind::mtu_changed) {
        other(about_host).mtu_known = other(about_host).mtu_true; // found when the route is first used
    }
    if (place != routes_.end()) {
        notices_.push_back({due, {place->second, kind, since}});
    }
}

void SimIo::set_mtu(std::uint32_t host, std::uint32_t mtu, Time now)
{
    other(host).mtu_true = mtu;
    push_notice(host, RouteNotice::Kind::mtu_changed, now + options_.mtu_delay);
}

std::size_t SimIo::poll_notices(std::span<RouteNotice> notices, Time now)
{
    const AllocationPermit permit;
    between_entries();
    std::size_t count = 0;
    for (auto place = notices_.begin(); place != notices_.end() && count < notices.size();) {
        if (place->due <= now - ahead_) {
            if (place->notice.kind == RouteNotice::Kind::mtu_changed) {
                Other& about = other(route_hosts_[index_of(place->notice.route)]);
                about.mtu_known = about.mtu_true;
            }
            notices[count++] = place->notice;
            place = notices_.erase(place);
        } else {
            ++place;
        }
    }
    return count;
}

Time SimIo::next_due() const
{
    Time due = rx_queue_.empty() ? tx_blocked_until_ : network_.clock().now();
    for (const Notice& notice : notices_) {
        due = std::min(due, notice.due);
    }
    return std::min(due, local_.next_due());
}

} // namespace srd::sim
