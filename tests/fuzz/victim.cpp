// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fuzz/victim.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include <netinet/in.h>

#include <srd/iov.hpp>

#include "fuzz/input.hpp"
#include "wire/binding.hpp"

namespace srd::fuzz {

namespace {

constexpr std::size_t pattern_size = std::size_t{256} << 10;
constexpr std::byte untouched{0xa5};

std::vector<std::byte> make_pattern()
{
    std::vector<std::byte> bytes(pattern_size + 256);
    std::uint64_t state = 1;
    for (std::byte& byte : bytes) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        byte = static_cast<std::byte>(state >> 56);
    }
    return bytes;
}

IoCaps small_caps(ProcessMemory& memory, std::uint32_t largest)
{
    IoCaps caps;
    caps.max_packet = largest;
    caps.overhead = static_cast<std::uint16_t>(Victim::max_packet - largest);
    caps.rx_buffer = 64U << 10;
    caps.path_count = 4;
    static constexpr std::array<std::byte, rail_size> rail{std::byte{7}};
    caps.rail_count = 2;
    caps.rails = rail;
    caps.memory = &memory;
    return caps;
}

Limits small_limits(std::uint32_t max_peers, std::uint32_t max_routes)
{
    Limits limits;
    limits.max_peers = max_peers;
    limits.max_routes = max_routes;
    limits.idle_routes = 2;
    limits.max_packet = Victim::max_packet;
    limits.tx_slots = 256;
    limits.tx_messages = 128;
    limits.tx_descs = 64;
    limits.rx_messages = 256;
    limits.unexpected_bytes = 300U << 10;
    return limits;
}

constexpr std::array rejections{Cause::bad_key, Cause::out_of_bounds, Cause::access_denied,
                                Cause::bad_operation, Cause::region_closed};

/// All of them are read, for AddressSanitizer to see.
unsigned sum(std::span<const std::byte> bytes)
{
    unsigned total = 0;
    for (const std::byte byte : bytes) {
        total += static_cast<unsigned>(byte);
    }
    return total;
}

} // namespace

std::span<const std::byte> pattern(std::uint32_t sequence, std::uint64_t offset, std::uint64_t size)
{
    static const std::vector<std::byte> bytes = make_pattern();
    const std::uint64_t from = std::min<std::uint64_t>(offset, pattern_size);
    return std::span(bytes).subspan(sequence * 61U % 251U + from,
                                    std::min<std::uint64_t>(size, pattern_size - from));
}

void fail(const char* what)
{
    throw std::runtime_error(what);
}

SocketAddress Victim::address_of(std::uint32_t route)
{
    return SocketAddress::of_ipv4(INADDR_LOOPBACK, static_cast<std::uint16_t>(route));
}

Victim::Victim(std::uint32_t max_peers, std::uint32_t max_routes, std::unique_ptr<EndpointSeals> seals)
    : seals_(std::move(seals)),
      largest_(static_cast<std::uint32_t>(max_packet - (seals_ != nullptr ? SealedSession::overhead : 0))),
      max_routes_(max_routes), engine_(small_caps(*this, largest_), small_limits(max_peers, max_routes),
                                       Tuning{}, counters_, address_.bytes(), 1, seals_.get()),
      resolved_(max_routes), used_routes_(max_routes)
{
    for (std::uint32_t route = 0; route < max_routes; ++route) {
        addresses_.push_back(address_of(route));
    }
}

iovec Victim::Buffer::begin(std::size_t bytes)
{
    busy = true;
    length = std::min(bytes, memory.size());
    std::byte* const start = memory.data() + memory.size() - length;
    std::fill_n(start, length, untouched);
    return {start, length};
}

void Victim::advance(Duration duration)
{
    now_ += duration;
    if (engine_.next_timeout() <= now_) {
        engine_.on_timeout(now_);
    }
    drain();
    engine_.on_rx_drained(now_);
    LivenessQuestions::Question question;
    while (engine_.poll_liveness_question(question)) {
    }
}

std::uint64_t Victim::dropped() const noexcept
{
    return counters_.rx_auth_failed.value() + counters_.rx_replayed.value() + counters_.rx_malformed.value() +
           counters_.rx_unknown_connection.value() + counters_.rx_version.value();
}

/// Packets come as their makers mean them: they are bound here, so that what is wrong with them is looked at.
void Victim::receive(std::span<const RxPacket> packets)
{
    for (const RxPacket& packet : packets) {
        wire::bind_packet({const_cast<std::byte*>(packet.data), packet.length}); // of our callers' buffers
    }
    engine_.on_packets(packets, now_);
    drain();
}

void Victim::drain()
{
    Event event;
    while (engine_.poll_event(event)) {
        ++turn_;
        if (!tamper_.empty()) {
            tamper_[turn_ * 7U % tamper_.size()] ^= std::byte{turn_};
        }
        on_event(event);
        static_cast<void>(engine_.take_revocation());
    }
}

void Victim::on_event(const Event& event)
{
    switch (event.kind) {
    case Event::Kind::hello:
        return on_hello(event);
    case Event::Kind::message:
        return on_message(event);
    case Event::Kind::write:
    case Event::Kind::read:
    case Event::Kind::atomic:
        return on_access(event);
    case Event::Kind::send_done:
    case Event::Kind::receive_done:
        return on_done(event);
    case Event::Kind::rails: {
        const auto count = static_cast<std::uint8_t>(1 + event.payload.size() / rail_size);
        return engine_.on_peer_rails(event.peer, count, count > 2 ? 0b1101 : 0b11, now_);
    }
    case Event::Kind::message_lost:
        std::erase_if(parked_, [&](const Event& parked) { return parked.message == event.message; });
        return;
    case Event::Kind::read_served:
    case Event::Kind::peer_lost:
    case Event::Kind::waiting:
    case Event::Kind::mtu_found:
    case Event::Kind::route_released: // this backend keeps its few
        return;
    }
}

/// PacketIo::resolve, and what the engine is told of the route.
RouteInfo Victim::route_info(RouteId route)
{
    resolved_[index_of(route)] = used_routes_[index_of(route)] = true;
    return {route, addresses_[index_of(route)].bytes(), largest_, 4};
}

/// As Pass::meet(), with a backend that knows few addresses.
void Victim::on_hello(const Event& event)
{
    SocketAddress address;
    if (reply_count_ == replies_.size() || !SocketAddress::parse(event.payload, address)) {
        return;
    }
    const RouteId route{address.port()};
    const bool has_route = index_of(route) < max_routes_ && address == addresses_[index_of(route)];
    const bool is_known = has_route && resolved_[index_of(route)];
    if (is_known) {
        used_routes_[index_of(route)] = true; // it may be told what its record is called, and use it
    }
    Reply& reply = replies_[reply_count_];
    reply.route = route;
    Introduction todo =
        engine_.on_introduction(is_known ? route : no_id<RouteId>, address.bytes(), reply.packet, now_);
    if (todo == Introduction::accept) {
        if (!has_route) {
            return;
        }
        todo = engine_.accept_hello(route_info(route), reply.packet, now_);
        if (todo == Introduction::accept) {
            fail("who was accepted is to be accepted again");
        }
        for (RouteId gone{}; (gone = engine_.take_released_route()) != no_id<RouteId>;) {
            resolved_[index_of(gone)] = false;
        }
    }
    if (todo == Introduction::answer) {
        ++reply_count_;
    }
}

// -- Messages -------------------------------------------------------------------------------

bool Victim::accept(MessageId message, const Event& event, std::size_t capacity)
{
    const auto free = std::find_if(buffers_.begin(), buffers_.end(), [](const Buffer& b) { return !b.busy; });
    const auto cookie = static_cast<std::size_t>(free - buffers_.begin());
    std::array<iovec, 2> pieces{};
    if (free != buffers_.end()) {
        const iovec all = free->begin(capacity);
        pieces[0] = {all.iov_base, all.iov_len / 3};
        pieces[1] = {static_cast<std::byte*>(all.iov_base) + all.iov_len / 3, all.iov_len - all.iov_len / 3};
    }
    Accepted outcome{};
    const Status status = engine_.accept(message, pieces, cookie, outcome);
    const bool done = status != Status::ok || outcome == Accepted::complete;
    if (free != buffers_.end() && done) {
        free->busy = false;
        if (status == Status::ok) {
            check_message(event, *free);
        }
    }
    return status == Status::ok;
}

void Victim::on_message(const Event& event)
{
    const bool may_refuse = event.message == current_message;
    const unsigned mood = (mood_ + (mood_ >= 128 ? turn_ : 0U)) % 8;
    if (mood < 5) {
        if (accept(event.message, event, mood == 4 ? event.length / 2 : event.length)) {
            return;
        }
    } else if (mood < 7 || !may_refuse) {
        Event kept = event;
        if (engine_.park(kept.message) == Status::ok) {
            parked_.push_back(kept);
            return;
        }
    }
    if (!may_refuse) {
        fail("a message that was kept is neither accepted nor parked");
    }
    engine_.refuse(event.message);
}

void Victim::take_parked(bool discard)
{
    if (parked_.empty()) {
        return;
    }
    const Event event = parked_.front();
    parked_.erase(parked_.begin());
    if (discard) {
        engine_.discard(event.message);
    } else if (!accept(event.message, event, event.length)) {
        fail("a parked message is not accepted");
    }
    drain();
}

void Victim::check_message(const Event& event, const Buffer& buffer) const
{
    if ((event.tag & ~std::uint64_t{0xffffffff}) != honest_tag || !event.flags.tagged || tampered_) {
        return;
    }
    const auto sequence = static_cast<std::uint32_t>(event.tag);
    const std::span<const std::byte> content =
        buffer.content().first(std::min<std::uint64_t>(buffer.length, event.length));
    const std::span<const std::byte> right = pattern(sequence, 0, content.size());
    if (fuzz::canary() && !content.empty()) {
        fail("canary: a message is complete");
    }
    if (!std::equal(content.begin(), content.end(), right.begin(), right.end())) {
        fail("a message is complete that lacks bytes");
    }
}

ProcessMemory::Read Victim::read(RouteId /*route*/, std::uint32_t epoch, std::span<const iovec> from,
                                 std::span<const iovec> into) noexcept
{
    const auto sequence = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(from[0].iov_base));
    scatter(into, 0, pattern(sequence, 0, total_length(into)));
    return epoch == 1 ? Read::done : epoch == 2 ? Read::changed : Read::forbidden;
}

// -- Accesses -------------------------------------------------------------------------------

void Victim::on_access(const Event& event)
{
    const unsigned mood = mood_ / 8U + (mood_ >= 128 ? turn_ : 0U);
    std::array<iovec, max_iov> memory{};
    std::size_t count = 0;
    std::uint64_t total = 0;
    bool valid = mood % 4 != 3;
    for (const RemoteRange& range : event.ranges) {
        total += range.length;
        valid = valid && range.key == region_key && range.address <= region_size &&
                range.length <= region_size - range.address;
        if (valid) {
            memory[count++] = {region_.data() + range.address, range.length};
        }
    }
    if (!tampered_ && total != (event.kind == Event::Kind::write ? total : event.length)) {
        fail("ranges are not as long as the operation");
    }
    if (event.kind == Event::Kind::atomic) {
        turn_ = static_cast<std::uint8_t>(turn_ + sum(event.payload) + sum(event.compare));
        std::fill(event.result.begin(), event.result.end(), std::byte{turn_});
    }
    if (!valid) {
        return engine_.reject(rejections[turn_ % rejections.size()]);
    }
    const std::span<const iovec> pieces = std::span(memory).first(count);
    if (event.kind == Event::Kind::read) {
        engine_.serve(pieces, region_key, mood % 2 == 0, 3);
        return mood % 4 == 1 && turn_ % 8 == 0 ? engine_.revoke(region_key) : void();
    }
    if (event.kind != Event::Kind::write || engine_.place(pieces)) {
        engine_.confirm();
    }
}

// -- Operations -----------------------------------------------------------------------------

void Victim::submit(RouteId route, const Wish& wish)
{
    if (sent_count_ == max_operations) {
        return;
    }
    Sent& sent = sent_[sent_count_];
    const bool is_atomic = wish.kind == OperationKind::atomic;
    const std::uint64_t limit = is_atomic ? max_atomic_size : wish.copied ? max_inject_size : 70'000;
    const std::uint64_t length = wish.length % (limit + 1);
    sent.memory.resize(length);
    const std::uint64_t first = wish.pieces % 2 == 0 ? length / 2 : length;
    const std::array<iovec, 2> local{iovec{sent.memory.data(), first},
                                     iovec{sent.memory.data() + first, length - first}};
    const std::array<RemoteRange, 2> remote{RemoteRange{64, first, 1},
                                            RemoteRange{1U << 20, length - first, 2}};
    const std::size_t pieces = wish.pieces % 2 == 0 ? 2 : 1;
    Operation operation;
    operation.kind = wish.kind;
    operation.peer = engine_.open_peer(route_info(route), now_);
    if (operation.peer == no_id<PeerId>) {
        return;
    }
    operation.iov = std::span(local).first(pieces);
    operation.level = wish.level;
    operation.copy_payload = wish.copied && wish.kind != OperationKind::read;
    operation.fence = wish.fence;
    operation.cookie = sent_count_;
    operation.flags.has_data = wish.pieces >= 128;
    if (wish.kind != OperationKind::message) {
        operation.remote = std::span(remote).first(pieces);
    }
    const bool answered = wish.kind == OperationKind::read || (is_atomic && wish.fetch);
    if (is_atomic) {
        operation.atomic.fetch = wish.fetch;
        operation.atomic.result = operation.iov;
        operation.atomic.has_compare = wish.pieces % 4 < 2;
        operation.atomic.compare = operation.atomic.has_compare ? operation.iov : std::span<const iovec>{};
    }
    if (operation.level == CompletionLevel::none && (answered || !operation.copy_payload)) {
        operation.level = CompletionLevel::transmit;
    }
    if (engine_.submit(operation, now_) == Status::ok) {
        sent.awaited = operation.level != CompletionLevel::none;
        ++sent_count_;
    }
    drain();
}

void Victim::on_done(const Event& event)
{
    if (event.kind == Event::Kind::send_done) {
        if (event.cookie >= sent_count_ || !sent_[event.cookie].awaited) {
            fail("an operation is done that is not under way");
        }
        sent_[event.cookie].awaited = false;
        return;
    }
    if (event.cookie >= buffers) {
        return; // there was no buffer for it
    }
    Buffer& buffer = buffers_[event.cookie];
    if (!buffer.busy) {
        fail("a message is received that is not awaited");
    }
    buffer.busy = false;
    if (event.cause == Cause::none) {
        check_message(event, buffer);
    }
}

std::span<const std::byte> Victim::gathered(const TxPacket& packet)
{
    packet_.clear();
    for (const iovec& piece : std::span(packet.iov.data(), packet.iov_count)) {
        const auto* const begin = static_cast<const std::byte*>(piece.iov_base);
        packet_.insert(packet_.end(), begin, begin + piece.iov_len);
    }
    if (packet_.size() != packet.length || packet.length > largest_) {
        fail("a packet is not as long as it says");
    }
    if (packet.seal == nullptr) {
        return packet_;
    }
    sealed_packet_.resize(packet_.size() + SealedSession::overhead);
    const iovec whole{packet_.data(), packet_.size()};
    if (packet.seal->seal({&whole, 1}, sealed_packet_.data()) != sealed_packet_.size()) {
        fail("a packet is not sealed");
    }
    return sealed_packet_;
}

// -- Peers ----------------------------------------------------------------------------------

void Victim::open(RouteId route)
{
    static_cast<void>(engine_.open_peer(route_info(route), now_));
}

void Victim::close(RouteId route)
{
    const PeerId peer = engine_.open_peer(route_info(route), now_);
    if (peer != no_id<PeerId>) {
        engine_.close_peer(peer, now_);
    }
    drain();
}

void Victim::finish()
{
    tamper_ = {};
    tampered_ = unsent_next_ = false;
    for (std::uint32_t route = 0; route < max_routes_; ++route) {
        if (used_routes_[route]) {
            close(RouteId{route});
            used_routes_[route] = false;
        }
    }
    while (!parked_.empty()) {
        take_parked(true);
    }
    transmit([](RouteId, std::span<const std::byte>) {});
    drain();
    for (Sent& sent : std::span(sent_).first(sent_count_)) {
        if (sent.awaited) {
            fail("an operation is never done");
        }
        sent.memory.clear();
    }
    sent_count_ = 0;
    if (!engine_.drained()) {
        fail("something is left to be sent");
    }
    if (std::any_of(buffers_.begin(), buffers_.end(), [](const Buffer& buffer) { return buffer.busy; })) {
        fail("a receive is never done");
    }
    engine_.check_invariants();
    turn_ = 0;
    advance(std::chrono::minutes(2)); // what waits for somebody to prove himself has waited long enough
}

} // namespace srd::fuzz
