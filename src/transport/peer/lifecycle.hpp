// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Peers come, fail, restart and go. The one place that begins and ends connections.
//
//   open()   ──► idle ── greet() ──► greeting ── on_answer() ──► established
//   on_introduction() ───────────────────────────────────────────►┘
//
//   fail(), reset()    everything outstanding ends with a cause; the peer is idle again, under a new
//                      connection identifier, so that the next operation starts afresh
//   promote()          a restarted process has proved itself: its connection replaces the old one
//   make_room()        when all records are in use: one of a peer that introduced itself, has gone and left
//                      nothing is given to another; silent ones are asked whether they are still there.
//                      Whoever introduces itself meanwhile is told so (hello_flag::no_room), and asks again
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <srd/status.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "operation.hpp"
#include "receive/frame_result.hpp"
#include "receive/placement.hpp"
#include "shared.hpp"

namespace srd {

class PeerLifecycle {
public:
    PeerLifecycle(Shared& shared, Placement& placement) noexcept : s_(shared), placement_(placement) {}

    /// How far to search for a record that can be given away.
    enum class Search : std::uint8_t {
        bounded, ///< for whoever introduces itself: anybody may do that often
        whole,   ///< for the application
    };
    /// The peer behind `route`, made on first use; no_index if there are too many.
    std::uint32_t open(RouteId route, RouteMtu mtu, std::uint16_t paths, Search search, Time now);
    /// Introduces us to an idle peer.
    void greet(std::uint32_t peer, Time now);
    void fail(std::uint32_t peer, Cause cause, Time now);
    /// Ends the connection and is ready for another; what the peer was granted goes to others.
    void reset(std::uint32_t peer, Cause cause, Time now);
    /// Tells every peer that this endpoint goes away; everything outstanding fails with Cause::removed.
    void close(Time now);

    // -- What is heard of peers

    /// A valid packet has come from a peer that is met, and it is no refusal.
    void on_heard(std::uint32_t index, Time now)
    {
        Peer& peer = s_.peers[index];
        peer.handshake.on_heard();
        peer.liveness.on_heard(now);
        if (peer.connection.recovery.on_heard(peer.connection.window.any_in_flight(), s_.tuning, now)) {
            s_.peers.arm(index);
        }
    }
    /// A packet under the peer's connection identifier has come: a successor has proved itself by it. Returns
    /// the peer that has the connection now.
    std::uint32_t prove(std::uint32_t peer, Time now);
    /// Hello and close frames, of the open packet.
    FrameResult on_hello(const wire::HelloFrame& hello, Event& event, Time now);
    FrameResult on_close(Time now);
    /// Answers Event::hello: an introduction by a stranger, or by a known address under a connection that we
    /// do not know.
    void accept_hello(RouteId route, RouteMtu mtu, std::uint16_t paths, Time now);
    void on_route_notice(const RouteNotice& notice, std::uint32_t mtu, Time now);

    /// The next introduction to be refused: where it came from, and the identifier that it bears.
    struct Refusal {
        RouteId route{};
        std::uint64_t connection = 0;
    };
    bool any_refusal() const noexcept { return refusal_count_ != 0; }
    bool take_refusal(Refusal& refusal) noexcept;

    // -- Timers

    /// The peer's timer has come, and nothing else is served yet. False: nothing else is to be served.
    bool on_timeout(std::uint32_t peer, Time now);

private:
    void begin_connection(std::uint32_t peer, Time now);
    void drop(std::uint32_t peer, Cause cause);
    void release(std::uint32_t peer);
    void make_room(Search search, Time now);
    void refuse(RouteId route, const wire::HelloFrame& hello) noexcept;
    bool is_departed(const Peer& peer) const noexcept;
    std::uint32_t successor_of(std::uint32_t peer, const wire::HelloFrame& hello, const Route& route,
                               Time now);
    void learn(std::uint32_t peer, const wire::HelloFrame& hello, Time now);
    void establish(std::uint32_t peer, Time now);
    void on_answer(std::uint32_t peer, const wire::HelloFrame& hello, Time now);
    void promote(std::uint32_t successor, Time now);

    Shared& s_;
    Placement& placement_;
    wire::HelloFrame introduction_{}; ///< of the hello event being answered
    bool introduction_open_ = false;
    std::uint32_t next_victim_ = 0;      ///< where make_room() goes on
    Time next_demand_{};                 ///< when it may next ask silent peers for a proof
    std::array<Refusal, 16> refusals_{}; ///< more are not answered: the introduction comes again
    std::size_t refusal_count_ = 0;
};

} // namespace srd
