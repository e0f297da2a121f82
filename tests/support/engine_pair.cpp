// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/engine_pair.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include <netinet/in.h>

#include <srd/check.hpp>
#include <srd/iov.hpp>

#include "progress.hpp"

#include "support/gather.hpp"

namespace srd::test {

namespace {

void copy_pieces(std::span<const iovec> from, std::span<const iovec> into)
{
    Bytes bytes;
    gather(from, bytes);
    scatter(into, 0, bytes);
}

Limits small_limits(std::uint32_t max_packet)
{
    Limits limits;
    limits.max_peers = limits.max_routes = 4;
    limits.max_packet = max_packet;
    limits.tx_slots = limits.tx_messages = limits.rx_messages = 2048;
    limits.unexpected_bytes = 1U << 20;
    limits.tx_buffers = 3 * buffered_size;
    return limits;
}

IoCaps caps_of(const EnginePair::Options& options)
{
    IoCaps caps;
    caps.max_packet = options.max_packet;
    caps.burst_packets = options.burst_packets;
    caps.path_count = options.burst_packets > 1 ? max_paths : 1;
    caps.overhead = options.overhead;
    return caps;
}

} // namespace

Bytes pattern(std::size_t length, unsigned seed)
{
    Bytes bytes(length);
    for (std::size_t i = 0; i < length; ++i) {
        bytes[i] = static_cast<std::byte>((i * 131 + seed) >> 3U);
    }
    return bytes;
}

std::vector<iovec> whole(Bytes& bytes)
{
    return {{bytes.data(), bytes.size()}};
}

WireIo::WireIo(std::uint8_t name, const IoCaps& caps, bool same_host, bool has_local)
    : same_host_(same_host), address_(SocketAddress::of_ipv4(INADDR_LOOPBACK, name))
{
    caps_ = caps;
    caps_.memory = same_host ? this : nullptr;
    caps_.local = has_local ? &local : nullptr;
}

Status WireIo::resolve(const SocketAddress&, RouteId& route)
{
    route = RouteId{0};
    return Status::ok;
}

std::size_t WireIo::rx_burst(std::span<RxPacket> packets, Time now)
{
    local.look();
    const std::size_t count = std::min(packets.size(), incoming.size());
    if (reverse) {
        std::reverse(incoming.begin(), incoming.begin() + static_cast<std::ptrdiff_t>(count));
    }
    for (std::size_t index = 0; index < count; ++index) {
        const Packet& packet = held_.emplace_back(std::move(incoming.front()));
        incoming.pop_front();
        packets[index] = {packet.bytes.data(), static_cast<std::uint32_t>(packet.bytes.size()), marked, false,
                          now};
        if (packet.remote_length != 0) {
            packets[index].remote_length = packet.remote_length;
            packets[index].mapping_id = static_cast<std::uint32_t>(held_.size() - 1);
            packets[index].remote = this;
        }
    }
    return count;
}

void WireIo::send(const TxPacket& packet)
{
    const std::span<const iovec> pieces(packet.iov.data(), packet.iov_count);
    const bool whole_packet = !same_host_ || !attach;
    const std::size_t head =
        whole_packet ? pieces.size() : std::min<std::size_t>(packet.stable_from, pieces.size());
    Packet made;
    gather(pieces.first(head), made.bytes);
    made.remote.assign(pieces.begin() + static_cast<std::ptrdiff_t>(head), pieces.end());
    made.remote_length = static_cast<std::uint32_t>(total_length(made.remote));
    if (made.remote_length != 0 && short_ends != 0) {
        --short_ends;
        --made.remote_length;
    }
    if (tamper && tamper(made.bytes)) {
        tamper = {};
    }
    const bool lost = drop && drop(sent_);
    ++sent_;
    if (peer != nullptr && !lost) {
        peer->incoming.push_back(std::move(made));
    }
}

void WireIo::reply(const SocketAddress&, std::span<const std::byte> packet) noexcept
{
    TxPacket whole;
    whole.iov_count = 1;
    whole.iov.front() = {const_cast<std::byte*>(packet.data()), packet.size()};
    send(whole);
}

std::size_t WireIo::tx_burst(std::span<const TxPacket> packets)
{
    const std::size_t taken = std::min(packets.size(), takes);
    for (const TxPacket& packet : packets.first(taken)) {
        if (watch) {
            watch(packet);
        }
        send(packet);
    }
    return taken;
}

std::size_t WireIo::poll_notices(std::span<RouteNotice> notices, Time now)
{
    if (news.empty()) {
        return 0;
    }
    std::move(last_words.begin(), last_words.end(), std::back_inserter(incoming));
    last_words.clear();
    SRD_CHECK(news.size() <= notices.size());
    std::transform(news.begin(), news.end(), notices.begin(), [now](RouteNotice::Kind kind) {
        return RouteNotice{RouteId{0}, kind, now};
    });
    return std::exchange(news, {}).size();
}

ProcessMemory::Read WireIo::read(RouteId, std::uint32_t epoch, std::span<const iovec> from,
                                 std::span<const iovec> into) noexcept
{
    ++reads;
    copy_pieces(from, into);
    if (peer == nullptr || epoch != peer->own_epoch) {
        return Read::changed;
    }
    return may_read ? Read::done : Read::forbidden;
}

bool WireIo::fetch(std::uint32_t mapping_id, std::span<const iovec> into) noexcept
{
    ++fetches;
    if (failing_fetches != 0) {
        --failing_fetches;
        return false;
    }
    copy_pieces(held_.at(mapping_id).remote, into);
    return true;
}

EngineHost::EngineHost(std::uint8_t name, const IoCaps& caps, bool same_host, bool local)
    : io(name, caps, same_host, local),
      engine(io.caps(), small_limits(caps.max_packet), Tuning{}, counters, io.local_address().bytes(), name)
{
}

void EngineHost::pass(Time now)
{
    progress_once(engine, io, now, [&](Engine&, const Event& event) { on_event(event); });
}

void EngineHost::on_event(const Event& event)
{
    switch (event.kind) {
    case Event::Kind::message:
        return take(event);
    case Event::Kind::write:
    case Event::Kind::read:
    case Event::Kind::atomic:
        return access(event);
    case Event::Kind::peer_lost:
        lost.push_back(event);
        return;
    case Event::Kind::waiting:
    case Event::Kind::mtu_found:
    case Event::Kind::rails:
    case Event::Kind::route_released:
        return;
    default:
        revoked_first = revoked_first || (event.cause != Cause::none && io.own_epoch != 1);
        done.push_back(event);
    }
}

void EngineHost::take(const Event& event)
{
    sender = event.peer;
    if (defers_after != 0) {
        --defers_after;
    } else if (defers != 0 && engine.defer(event.message)) {
        --defers;
        return;
    }
    if (buffer.empty()) {
        MessageId message = event.message;
        SRD_CHECK(engine.park(message) == Status::ok);
        parked.push_back(message);
        return;
    }
    Accepted outcome{};
    SRD_CHECK(engine.accept(event.message, buffer, 9, outcome, buffer_device) == Status::ok);
    if (outcome != Accepted::pending) {
        done.push_back(event);
        done.back().cause = outcome == Accepted::failed ? Cause::device_failed : Cause::none;
    }
}

void EngineHost::access(const Event& event)
{
    const RemoteRange& range = event.ranges.front();
    if (range.key != region) {
        return engine.reject(Cause::bad_key);
    }
    if (range.address > memory.size() || range.length > memory.size() - range.address) {
        return engine.reject(Cause::out_of_bounds);
    }
    const iovec target{memory.data() + range.address, range.length};
    if (event.kind == Event::Kind::atomic) {
        return execute(event);
    }
    if (event.kind == Event::Kind::read) {
        ++reads_begun;
        engine.serve({&target, 1}, region, true, 99);
        return revoke_at_serve ? engine.revoke(region) : void();
    }
    if (engine.place({&target, 1})) {
        remote_writes += event.last ? 1U : 0U;
        if (event.last && event.flags.has_data) {
            remote_data.push_back(event.data);
        }
        engine.confirm();
    }
}

/// All atomics are sums of 64 bits.
void EngineHost::execute(const Event& event)
{
    std::byte* const at = memory.data() + event.ranges.front().address;
    std::uint64_t old = 0;
    std::uint64_t operand = 0;
    std::memcpy(&old, at, sizeof(old));
    std::memcpy(&operand, event.payload.data(), sizeof(operand));
    if (!event.result.empty()) {
        std::memcpy(event.result.data(), &old, sizeof(old));
    }
    const std::uint64_t sum = old + operand;
    std::memcpy(at, &sum, sizeof(sum));
    engine.confirm();
}

EnginePair::EnginePair(const Options& options)
    : a(1, caps_of(options), options.same_host, options.local),
      b(2, caps_of(options), options.same_host, options.local)
{
    a.io.peer = &b.io;
    b.io.peer = &a.io;
    a.io.local.peer = &b.io.local;
    b.io.local.peer = &a.io.local;
    for (EngineHost* const host : {&a, &b}) {
        if (host == &a || !options.strangers) {
            host->peer = host->engine.open_peer(route_info(host->io, RouteId{0}), now);
        }
        if (options.same_host) {
            host->engine.on_route_notice({RouteId{0}, RouteNotice::Kind::same_host}, options.max_packet, now);
        }
    }
}

void EnginePair::run(int rounds)
{
    for (int round = 0; round < rounds; ++round) {
        a.pass(now);
        b.pass(now);
        now += std::chrono::microseconds(5);
        a.engine.check_invariants();
        b.engine.check_invariants();
    }
}

Status EnginePair::submit(Operation operation, std::uint64_t cookie)
{
    operation.peer = a.peer;
    operation.cookie = cookie;
    return a.engine.submit(operation, now);
}

void EnginePair::send(std::span<const iovec> iov, CompletionLevel level)
{
    Operation operation;
    operation.level = level;
    operation.iov = iov;
    SRD_CHECK(submit(operation, 1) == Status::ok);
}

void EnginePair::send(const Bytes& bytes, CompletionLevel level)
{
    const iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
    send({&piece, 1}, level);
}

void EnginePair::access(OperationKind kind, std::span<const std::byte> bytes, std::uint64_t address,
                        std::uint64_t cookie)
{
    const iovec local{const_cast<std::byte*>(bytes.data()), bytes.size()};
    const RemoteRange range{address, bytes.size(), EngineHost::region};
    Operation operation;
    operation.kind = kind;
    operation.iov = {&local, 1};
    operation.remote = {&range, 1};
    SRD_CHECK(submit(operation, cookie) == Status::ok);
}

bool EnginePair::deliver(const Bytes& bytes)
{
    Bytes target(bytes.size());
    b.buffer = whole(target);
    send(bytes);
    run();
    return target == bytes;
}

bool EnginePair::meet()
{
    const bool met = deliver(pattern(100));
    b.buffer.clear();
    a.done.clear();
    return met;
}

} // namespace srd::test
