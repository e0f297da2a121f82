// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/rails/rails_io.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include <srd/check.hpp>

#include "io/core/epoll_set.hpp"
#include "io/core/notice_queue.hpp"

namespace srd {

namespace {

constexpr std::size_t max_ways = std::size_t{max_rails} * max_rails;
constexpr std::array<std::byte, 12> ipv4_prefix{std::byte{}, std::byte{}, std::byte{},     std::byte{},
                                                std::byte{}, std::byte{}, std::byte{},     std::byte{},
                                                std::byte{}, std::byte{}, std::byte{0xff}, std::byte{0xff}};

/// An address as peers are told.
std::array<std::byte, rail_size> put_rail(const SocketAddress& address) noexcept
{
    std::array<std::byte, rail_size> bytes{};
    if (address.family() == AF_INET) {
        std::copy(ipv4_prefix.begin(), ipv4_prefix.end(), bytes.begin());
        std::ranges::copy(address.host(), bytes.begin() + ipv4_prefix.size());
    } else {
        std::ranges::copy(address.host(), bytes.begin());
    }
    return bytes;
}

SocketAddress get_rail(std::span<const std::byte> bytes, std::uint16_t port) noexcept
{
    const bool is_ipv4 = std::ranges::equal(bytes.first(ipv4_prefix.size()), ipv4_prefix);
    return is_ipv4 ? SocketAddress::of_host(AF_INET, bytes.subspan(ipv4_prefix.size()), port)
                   : SocketAddress::of_host(AF_INET6, bytes, port);
}

class RailsIo final : public PacketIo {
public:
    explicit RailsIo(std::vector<std::unique_ptr<PacketIo>> rails);

    /// 0 or errno.
    int open() noexcept;

    const IoCaps& caps() const noexcept override { return caps_; }
    const SocketAddress& local_address() const noexcept override { return first().local_address(); }
    Status resolve(const SocketAddress& address, RouteId& route) override;
    RouteId find(const SocketAddress& address) const noexcept override;
    bool forget_route(RouteId route) noexcept override;
    std::uint16_t set_peer_rails(RouteId route, std::span<const std::byte> rails) noexcept override;
    void reply(const SocketAddress& address, std::span<const std::byte> packet) noexcept override
    {
        first().reply(address, packet);
    }
    const SocketAddress& route_address(RouteId route) const noexcept override
    {
        return first().route_address(route);
    }
    std::uint32_t route_mtu(RouteId route) const noexcept override;
    bool on_this_host(RouteId route) const noexcept override { return first().on_this_host(route); }
    std::uint16_t route_paths(RouteId route) const noexcept override { return first().route_paths(route); }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override;
    void rx_release() noexcept override;
    std::size_t tx_burst(std::span<const TxPacket> packets) override;
    void probe_liveness(RouteId route, LivenessProbe probe, Time now) override
    {
        first().probe_liveness(route, probe, now);
    }
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override;
    int wait_fd() const noexcept override { return wait_.get(); }
    bool arm_wait() override;
    void notify() noexcept override { first().notify(); }

private:
    /// The ways to a peer: a route of a rail for each, or none.
    struct Ways {
        std::array<RouteId, max_ways> routes{};
    };

    PacketIo& first() const noexcept { return *rails_.front(); }
    PacketIo& rail_of(std::size_t way) const noexcept { return *rails_[way % rails_.size()]; }
    Ways* ways_to(RouteId route) const noexcept
    {
        const std::size_t index = index_of(route);
        return index < ways_.size() ? ways_[index].get() : nullptr;
    }
    RouteId& owner_of(std::size_t rail, RouteId route);
    RouteId add_way(std::size_t way, RouteId owner, const SocketAddress& address);
    void drop_way(Ways& ways, std::size_t way) noexcept;
    void drop_ways(RouteId route) noexcept;
    std::size_t send(std::span<const TxPacket> packets, std::size_t rail);

    std::vector<std::unique_ptr<PacketIo>> rails_;
    std::vector<std::byte> told_; ///< IoCaps::rails
    IoCaps caps_;
    EpollSet wait_;
    NoticeQueue notices_;
    std::vector<std::unique_ptr<Ways>> ways_; ///< by route; null: the peer has told nothing
    /// By rail and its routes: whose further address that is, or no_id<RouteId>.
    std::array<std::vector<RouteId>, max_rails> owners_;
    std::size_t rx_first_ = 0; ///< the rail that the next burst begins with
    std::array<TxPacket, 128> burst_;
};

RailsIo::RailsIo(std::vector<std::unique_ptr<PacketIo>> rails) : rails_(std::move(rails))
{
    SRD_CHECK(rails_.size() >= 2 && rails_.size() <= max_rails);
    caps_ = first().caps();
    for (std::size_t rail = 1; rail < rails_.size(); ++rail) {
        const IoCaps& other = rails_[rail]->caps();
        caps_.max_packet = std::min(caps_.max_packet, other.max_packet);
        caps_.burst_packets = std::min(caps_.burst_packets, other.burst_packets);
        caps_.rx_buffer = std::min(caps_.rx_buffer, other.rx_buffer);
        caps_.path_count = std::min(caps_.path_count, other.path_count);
        const auto told = put_rail(rails_[rail]->local_address());
        told_.insert(told_.end(), told.begin(), told.end());
    }
    caps_.rail_count = static_cast<std::uint8_t>(rails_.size());
    caps_.rails = told_;
}

int RailsIo::open() noexcept
{
    const auto add = [this](const auto& rail) { return wait_.add(rail->wait_fd()); };
    return wait_.open() && std::all_of(rails_.begin(), rails_.end(), add) ? 0 : errno;
}

// -- Routes ---------------------------------------------------------------------------------

Status RailsIo::resolve(const SocketAddress& address, RouteId& route)
{
    if (const Status status = first().resolve(address, route); status != Status::ok) {
        return status;
    }
    try {
        RouteId& owner = owner_of(0, route);
        if (Ways* const ways = owner != no_id<RouteId> ? ways_to(owner) : nullptr; ways != nullptr) {
            // Another had claimed it; the route serves whoever lives there.
            for (std::size_t way = rails_.size(); way < max_ways; way += rails_.size()) {
                if (ways->routes[way] == route) {
                    ways->routes[way] = no_id<RouteId>;
                }
            }
        }
        owner = no_id<RouteId>;
        return Status::ok;
    } catch (const std::bad_alloc&) {
        return Status::no_memory;
    }
}

RouteId RailsIo::find(const SocketAddress& address) const noexcept
{
    const RouteId route = first().find(address);
    const bool is_claimed = route != no_id<RouteId> && index_of(route) < owners_[0].size() &&
                            owners_[0][index_of(route)] != no_id<RouteId>;
    return is_claimed ? no_id<RouteId> : route;
}

bool RailsIo::forget_route(RouteId route) noexcept
{
    drop_ways(route);
    return first().forget_route(route);
}

RouteId& RailsIo::owner_of(std::size_t rail, RouteId route)
{
    std::vector<RouteId>& owners = owners_[rail];
    if (index_of(route) >= owners.size()) {
        owners.resize(index_of(route) + 1, no_id<RouteId>);
    }
    return owners[index_of(route)];
}

/// no_id<RouteId>: there is no such way.
RouteId RailsIo::add_way(std::size_t way, RouteId owner, const SocketAddress& address)
{
    PacketIo& rail = rail_of(way);
    RouteId route{};
    // What has a route is somebody's already.
    if (rail.find(address) != no_id<RouteId> || rail.resolve(address, route) != Status::ok) {
        return no_id<RouteId>;
    }
    if (rail.on_this_host(route)) {
        rail.forget_route(route);
        return no_id<RouteId>;
    }
    owner_of(way % rails_.size(), route) = owner;
    return route;
}

void RailsIo::drop_way(Ways& ways, std::size_t way) noexcept
{
    const RouteId route = std::exchange(ways.routes[way], no_id<RouteId>);
    if (route != no_id<RouteId>) {
        owners_[way % rails_.size()][index_of(route)] = no_id<RouteId>;
        rail_of(way).forget_route(route);
    }
}

void RailsIo::drop_ways(RouteId route) noexcept
{
    if (Ways* const ways = ways_to(route); ways != nullptr) {
        for (std::size_t way = 1; way < max_ways; ++way) {
            drop_way(*ways, way);
        }
        ways_[index_of(route)].reset();
    }
}

std::uint16_t RailsIo::set_peer_rails(RouteId route, std::span<const std::byte> rails) noexcept
{
    drop_ways(route);
    if (on_this_host(route)) {
        return 1;
    }
    std::uint16_t found = 1;
    try {
        if (index_of(route) >= ways_.size()) {
            ways_.resize(index_of(route) + 1);
        }
        ways_[index_of(route)] = std::make_unique<Ways>();
        Ways& ways = *ways_[index_of(route)];
        ways.routes.fill(no_id<RouteId>);
        const SocketAddress met_at = route_address(route);
        const std::size_t theirs = std::min<std::size_t>(1 + rails.size() / rail_size, max_rails);
        const std::size_t all = std::min<std::size_t>(theirs * rails_.size(), route_paths(route));
        for (std::size_t way = 1; way < all; ++way) {
            const std::size_t its = way / rails_.size();
            ways.routes[way] = add_way(
                way, route,
                its == 0 ? met_at : get_rail(rails.subspan((its - 1) * rail_size, rail_size), met_at.port()));
            found |= static_cast<std::uint16_t>(ways.routes[way] != no_id<RouteId> ? 1U << way : 0U);
        }
    } catch (const std::bad_alloc&) { // those that are there serve
    }
    notices_.push(route, RouteNotice::Kind::mtu_changed);
    return found;
}

/// What gets through on every way.
std::uint32_t RailsIo::route_mtu(RouteId route) const noexcept
{
    std::uint32_t mtu = std::min(first().route_mtu(route), caps_.max_packet);
    if (const Ways* const ways = ways_to(route); ways != nullptr) {
        for (std::size_t way = 1; way < max_ways; ++way) {
            if (ways->routes[way] != no_id<RouteId>) {
                mtu = std::min(mtu, rail_of(way).route_mtu(ways->routes[way]));
            }
        }
    }
    return mtu;
}

// -- Packets --------------------------------------------------------------------------------

std::size_t RailsIo::rx_burst(std::span<RxPacket> packets, Time now)
{
    std::size_t count = 0;
    for (std::size_t i = 0; i < rails_.size() && count < packets.size(); ++i) {
        count += rails_[(rx_first_ + i) % rails_.size()]->rx_burst(packets.subspan(count), now);
    }
    rx_first_ = (rx_first_ + 1) % rails_.size(); // one that is busy does not keep the others waiting
    return count;
}

void RailsIo::rx_release() noexcept
{
    for (const auto& rail : rails_) {
        rail->rx_release();
    }
}

std::size_t RailsIo::tx_burst(std::span<const TxPacket> packets)
{
    std::size_t accepted = 0;
    while (accepted < packets.size()) {
        const std::size_t rail = packets[accepted].way % rails_.size();
        std::size_t end = accepted + 1;
        while (end < packets.size() && end - accepted < burst_.size() &&
               packets[end].way % rails_.size() == rail) {
            ++end;
        }
        const std::size_t sent = send(packets.subspan(accepted, end - accepted), rail);
        accepted += sent;
        if (accepted < end) {
            break;
        }
    }
    return accepted;
}

/// Packets of one rail, as many as burst_ holds at most. One on a way that is no more is lost.
std::size_t RailsIo::send(std::span<const TxPacket> packets, std::size_t rail)
{
    std::size_t count = 0;
    while (count < packets.size()) {
        const TxPacket& packet = packets[count];
        burst_[count] = packet;
        if (packet.way != 0) {
            const Ways* const ways = ways_to(packet.route);
            burst_[count].route = ways != nullptr ? ways->routes[packet.way] : no_id<RouteId>;
            if (burst_[count].route == no_id<RouteId>) {
                break;
            }
        }
        ++count;
    }
    const std::size_t sent = count != 0 ? rails_[rail]->tx_burst(std::span(burst_).first(count)) : 0;
    return sent == count && count < packets.size() ? sent + 1 : sent;
}

// -- Notices and sleep ----------------------------------------------------------------------

std::size_t RailsIo::poll_notices(std::span<RouteNotice> notices, Time now)
{
    for (std::size_t rail = 0; rail < rails_.size(); ++rail) {
        const std::size_t count = rails_[rail]->poll_notices(notices, now);
        for (const RouteNotice& notice : notices.first(count)) {
            const std::vector<RouteId>& owners = owners_[rail];
            const RouteId owner =
                index_of(notice.route) < owners.size() ? owners[index_of(notice.route)] : no_id<RouteId>;
            if (owner != no_id<RouteId>) {
                if (notice.kind == RouteNotice::Kind::mtu_changed) {
                    notices_.push(owner, notice.kind);
                }
            } else if (rail == 0) {
                notices_.push(notice.route, notice.kind, notice.since);
            }
        }
    }
    return notices_.empty() ? 0 : notices_.take(notices);
}

bool RailsIo::arm_wait()
{
    bool idle = notices_.empty();
    for (const auto& rail : rails_) {
        idle = rail->arm_wait() && idle;
    }
    return idle;
}

} // namespace

std::unique_ptr<PacketIo> make_rails_io(std::vector<std::unique_ptr<PacketIo>> rails, int& error)
{
    auto made = std::make_unique<RailsIo>(std::move(rails));
    error = made->open();
    return error == 0 ? std::unique_ptr<PacketIo>(std::move(made)) : nullptr;
}

} // namespace srd
