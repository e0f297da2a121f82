// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The one place that joins an engine to a backend. The order of the steps is
// the correctness argument; see docs/architecture.md.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <type_traits>

#include "engine.hpp"
#include "io/core/local_road.hpp"
#include "io/core/packet_io.hpp"

namespace srd {

inline constexpr std::size_t rx_burst_size = 64;
/// A pass takes in no more than this, so that acknowledgements, built at its end, are not late.
inline constexpr std::size_t rx_burst_bytes = 512U << 10;
/// Packets of so many bytes, in the mean, carry more than acknowledgements; and so many of these bytes are
/// enough before there is one.
inline constexpr std::size_t least_bulk = 512;
inline constexpr std::size_t most_bulk = 64U << 10;
inline constexpr std::size_t tx_burst_size = 128;
/// Of so many bursts in a pass: then what has come is looked at again.
inline constexpr int max_tx_bursts = 4;
/// What has come is taken in as far as this when a timer is due: as much as a pass may send. Where many
/// endpoints were polled late, and each sent more than it took in, sockets would overflow for good.
inline constexpr std::size_t max_rx_packets = max_tx_bursts * tx_burst_size;

/// Room for a burst, not cleared first: clearing these arrays would cost a pass with
/// one packet, or none, more than everything else it does. Who fills a burst sets every member.
template <typename Item, std::size_t count>
class BurstMemory {
    static_assert(std::is_aggregate_v<Item> && std::is_trivially_destructible_v<Item>); // implicit lifetime

public:
    std::span<Item> items() noexcept { return {reinterpret_cast<Item*>(memory_.data()), count}; }

private:
    alignas(Item) std::array<std::byte, sizeof(Item) * count> memory_;
};

/// Introductions that are answered in one pass. More are not: they come again.
inline constexpr int max_answers = 64;

/// So many routes in a row for which the backend has no room, and it is the device that has none.
inline constexpr int max_refusals = 4;

/// Moves the packets of `burst` that go where the first goes to its end, in their order; returns how many are
/// before them.
inline std::size_t set_first_route_aside(std::span<TxPacket> burst) noexcept
{
    const RouteId route = burst.front().route;
    std::size_t others = burst.size();
    for (std::size_t at = 0; at < others;) {
        std::size_t run = at;
        while (run < others && burst[run].route == route) {
            ++run;
        }
        if (run != at && run != burst.size()) {
            std::rotate(burst.begin() + static_cast<std::ptrdiff_t>(at),
                        burst.begin() + static_cast<std::ptrdiff_t>(run), burst.end());
        }
        others -= run - at;
        at += run == at ? 1 : 0;
    }
    return others;
}

/// Sends a burst. What the backend has no room for, because of one neighbour's queue or one peer's ring,
/// holds up nobody else: it is set aside, and the others go. Returns how many packets are accepted; the rest
/// is at the end, each route's in their order.
inline std::size_t send_burst(PacketIo& io, std::span<TxPacket> burst)
{
    std::size_t accepted = 0;
    std::size_t end = burst.size();
    for (int refusals = 0; refusals < max_refusals; ++refusals) {
        const std::size_t sent = io.tx_burst(burst.subspan(accepted, end - accepted));
        accepted += sent;
        if (accepted == end) {
            break;
        }
        refusals = sent != 0 ? 0 : refusals;
        // Packets that were set aside before stay behind those that are now.
        end = accepted + set_first_route_aside(burst.subspan(accepted, end - accepted));
        if (accepted == end) {
            break;
        }
    }
    return accepted;
}

/// Sends what the engine has to send. Returns the number of packets.
inline std::size_t flush_transmit(Engine& engine, PacketIo& io, Time now)
{
    BurstMemory<TxPacket, tx_burst_size> memory;
    const std::span<TxPacket> packets = memory.items();
    std::size_t total = 0;
    for (int round = 0; round < max_tx_bursts; ++round) {
        const std::size_t built = engine.poll_transmit(packets, now);
        if (built == 0) {
            break;
        }
        const std::span<TxPacket> burst = packets.first(built);
        const std::size_t accepted = send_burst(io, burst);
        if (accepted < built) {
            engine.return_unsent(burst.subspan(accepted), now);
        }
        engine.on_tx_done();
        total += accepted;
        if (accepted < built || built < packets.size()) {
            break;
        }
    }
    return total;
}

/// One pass over an engine and its backend. `handle(engine, event)` gets every event but hello and rails,
/// which are served here, and route_released, which is told here.
template <typename Handler>
class Pass {
public:
    Pass(Engine& engine, PacketIo& io, Time now, Handler& handle) noexcept
        : engine_(engine), io_(io), caps_(io.caps()), now_(now), handle_(handle),
          packets_(packet_memory_.items().first(
              std::clamp<std::size_t>(rx_burst_bytes / caps_.max_packet, 8, rx_burst_size)))
    {
    }

    /// Returns true if anything at all happened.
    bool run()
    {
        // Whoever waits makes thousands of passes in which nothing happens, and what it waits for comes in
        // the middle of one: those are kept short.
        engine_.may_defer(true);
        const bool resumed = finish_deferred();
        bool idle = engine_.has_deferred() || (!take_packets() && engine_.idle(now_) && !resumed);
        if (!idle) {
            finish_packets();
        }
        engine_.may_defer(false);
        if (engine_.has_deferred()) [[unlikely]] {
            flush_transmit(engine_, io_, now_);
            return true;
        }
        if (!idle) {
            take_more();
            serve_timers();
        }
        if (received_ < packets_.size()) {
            idle = !hear_notices() && idle;
        }
        if (!idle) {
            LivenessQuestions::Question question;
            while (engine_.poll_liveness_question(question)) {
                io_.probe_liveness(question.route, question.probe, now_);
            }
            work_ += flush_transmit(engine_, io_, now_);
        }
        return work_ != 0;
    }

private:
    /// The rest of a burst that the last pass has left (Engine::defer). False: there is none.
    bool finish_deferred()
    {
        if (!engine_.resume()) [[likely]] {
            return false;
        }
        ++work_;
        received_ = 1; // and more: to be released
        finish_packets();
        return true;
    }

    bool take_packets()
    {
        received_ = io_.rx_burst(packets_, now_);
        if (received_ == 0 && (caps_.local == nullptr || !caps_.local->any())) {
            return false;
        }
        engine_.on_packets(packets_.first(received_), now_);
        work_ += received_;
        return true;
    }

    /// A burst has room for few packets, lest they be long. Behind one that was full of shorter ones more is
    /// taken in, and behind many of them looked for: one acknowledgement tells of all, or rides on an answer.
    /// But who is told that he may send does so first.
    void take_more()
    {
        std::size_t taken = received_;
        std::size_t bytes = 0;
        while (received_ != 0 && (received_ == packets_.size() || taken >= rx_burst_size / 2) &&
               taken + packets_.size() <= rx_burst_size) {
            for (const RxPacket& packet : packets_.first(received_)) {
                bytes += packet.length;
            }
            if (bytes < taken * least_bulk || bytes >= most_bulk) {
                return;
            }
            take_packets();
            finish_packets();
            taken += received_;
        }
    }

    void drain_events()
    {
        BurstMemory<Event, 1> event_memory;
        Event& event = event_memory.items().front();
        while (engine_.poll_event(event)) {
            ++work_;
            if (event.cause != Cause::none && engine_.take_revocation()) {
                io_.revoke(); // before the application hears that its buffers are its own again
            }
            if (event.kind == Event::Kind::hello) {
                meet(event.payload);
                continue;
            }
            if (event.kind == Event::Kind::rails) [[unlikely]] {
                const std::uint16_t ways = io_.set_peer_rails(engine_.peer_route(event.peer), event.payload);
                const auto count = static_cast<std::uint8_t>(1 + event.payload.size() / rail_size);
                engine_.on_peer_rails(event.peer, count, ways, now_);
                continue;
            }
            handle_(engine_, event);
        }
    }

    /// Somebody introduces himself. Whoever does so often is answered seldom, and others are not kept
    /// waiting.
    void meet(std::span<const std::byte> name)
    {
        SocketAddress address;
        if (answered_ == max_answers || !SocketAddress::parse(name, address)) {
            return;
        }
        RouteId route = io_.find(address);
        HelloPacket answer;
        Introduction todo = engine_.on_introduction(route, address.bytes(), answer, now_);
        if (todo == Introduction::accept) {
            if (io_.resolve(address, route) != Status::ok) {
                return;
            }
            todo = engine_.accept_hello(route_info(io_, route), answer, now_);
            release_routes();
        }
        if (todo == Introduction::answer) {
            io_.reply(address, answer.bytes());
            ++answered_;
        }
    }

    /// Whoever came took the place of a peer that has gone, or found none.
    void release_routes()
    {
        RouteId route{};
        while ((route = engine_.take_released_route()) != no_id<RouteId>) {
            Event event{};
            event.kind = Event::Kind::route_released;
            event.cookie = index_of(route);
            handle_(engine_, event);
        }
    }

    void finish_packets()
    {
        drain_events();
        if (received_ != 0 && !engine_.has_deferred()) {
            io_.rx_release();
        }
    }

    /// A timer speaks of what has not come. Where an endpoint is polled late, it has come and waits in the
    /// socket; repeating it then makes the next pass later still.
    void serve_timers()
    {
        for (std::size_t taken = received_;
             received_ == packets_.size() && engine_.next_timeout() <= now_ && taken < max_rx_packets;
             taken += received_) {
            take_packets();
            finish_packets();
        }
        if (engine_.next_timeout() <= now_) {
            engine_.on_timeout(now_);
            drain_events();
        }
    }

    /// A notice that a peer is gone was caused after everything that the peer has sent: its last
    /// acknowledgement and its goodbye may still be in the socket, or have come there since the burst, so
    /// the socket is emptied between hearing the notice and acting on it, as far as one that is flooded can
    /// be. False: there are none.
    bool hear_notices()
    {
        BurstMemory<RouteNotice, 128> notice_memory;
        const std::span<RouteNotice> notices = notice_memory.items();
        const std::size_t noticed = io_.poll_notices(notices, now_);
        if (noticed != 0) {
            std::size_t taken = 0;
            do {
                take_packets();
                finish_packets();
                taken += received_;
            } while (received_ == packets_.size() && taken < max_rx_packets);
            for (const RouteNotice& notice : notices.first(noticed)) {
                engine_.on_route_notice(notice, io_.route_mtu(notice.route), now_);
            }
            work_ += noticed;
            drain_events();
        }
        engine_.on_rx_drained(now_);
        return noticed != 0;
    }

    Engine& engine_;
    PacketIo& io_;
    const IoCaps& caps_;
    const Time now_;
    Handler& handle_;
    BurstMemory<RxPacket, rx_burst_size> packet_memory_;
    const std::span<RxPacket> packets_;
    std::size_t received_ = 0; ///< packets of the last burst
    std::size_t work_ = 0;     ///< things that happened
    int answered_ = 0;         ///< introductions
};

template <typename Handler>
bool progress_once(Engine& engine, PacketIo& io, Time now, Handler&& handle)
{
    return Pass(engine, io, now, handle).run();
}

} // namespace srd
