// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Peers come, fail, restart and go. The one place that begins and ends connections.
//
//   open()   ──► idle ── greet() ──► greeting ── on_answer() ──► established
//   accept_hello() ──────────────────────────────────────────────►┘
//
//   fail(), reset()    everything outstanding ends with a cause; the peer is idle again, under a new
//                      connection identifier, so that the next operation starts afresh
//   on_introduction()  answers whoever introduces himself, and keeps nothing
//   accept_hello()     he has proved to live at his address: his connection is the peer's, and replaces one
//                      with his predecessor
//   make_room()        when all records are in use: one of a peer that introduced itself, has gone and left
//                      nothing is given to another; silent ones are asked whether they are still there.
//                      Whoever introduces itself meanwhile is told so (hello_flag::no_room), and asks again
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include <srd/status.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "operation.hpp"
#include "receive/frame_result.hpp"
#include "receive/placement.hpp"
#include "shared.hpp"
#include "wire/binding.hpp"

namespace srd {

/// What an introduction leads to.
enum class Introduction : std::uint8_t {
    ignore,
    answer, ///< send the answer to the address that introduces itself
    accept, ///< it has proved to live there: find the route, then accept_hello()
};
/// A packet of a hello alone.
class HelloPacket {
public:
    std::span<const std::byte> bytes() const noexcept { return std::span(bytes_).first(size_); }
    /// Under the identifier `connection`, in answer to what is `answered`. Without a trailer if `seals` is
    /// null.
    void put(std::uint64_t connection, const wire::HelloFrame& hello, EndpointSeals* seals,
             std::uint32_t peer, const HelloProof& answered) noexcept
    {
        wire::PacketHeader header;
        header.connection = connection;
        header.flags = seals != nullptr ? wire::packet_flag::authenticated : std::uint8_t{0};
        wire::put(wire::put(bytes_.data(), header), hello);
        wire::bind_packet(std::span(bytes_).first(clear_size));
        size_ = clear_size;
        if (seals != nullptr) {
            seals->append_trailer(std::span(bytes_).first(clear_size), &bytes_[clear_size],
                                  seals->keys_of(peer, answered));
            size_ += EndpointSeals::trailer_size;
        }
    }

private:
    static constexpr std::size_t clear_size = sizeof(wire::PacketHeader) + sizeof(wire::HelloFrame);

    std::array<std::byte, clear_size + EndpointSeals::trailer_size> bytes_;
    std::size_t size_ = 0;
};

class PeerLifecycle {
public:
    PeerLifecycle(Shared& shared, Placement& placement) noexcept : s_(shared), placement_(placement) {}

    /// How far to search for a record that can be given away.
    enum class Search : std::uint8_t {
        bounded, ///< for whoever introduces itself: anybody may do that often
        whole,   ///< for the application
    };
    /// The peer behind `route`, made on first use; no_index if there are too many.
    std::uint32_t open(const RouteInfo& route, Search search, Time now);
    /// As Engine's.
    RouteId take_released_route() noexcept;
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
        if (!peer.handshake.confirmed()) [[unlikely]] {
            confirm(index, now);
        }
        peer.handshake.on_heard();
        peer.liveness.on_heard(now);
        if (peer.connection.recovery.on_heard(peer.connection.window.any_in_flight(), s_.tuning,
                                              s_.packets.peers_in_use(), now)) {
            s_.peers.arm(index);
        }
    }
    /// Hello and close frames, of the open packet.
    FrameResult on_hello(const wire::HelloFrame& hello, Event& event, Time now);
    FrameResult on_close(Time now);
    /// Answer Event::hello: an introduction by a stranger, or by a known address under a connection that we
    /// do not know. As Engine's.
    Introduction on_introduction(RouteId route, std::span<const std::byte> address, HelloPacket& answer,
                                 Time now);
    Introduction accept_hello(const RouteInfo& route, HelloPacket& answer, Time now);
    void on_route_notice(const RouteNotice& notice, std::uint32_t mtu, Time now);

    // -- Timers

    /// The peer's timer has come, and nothing else is served yet. False: nothing else is to be served.
    bool on_timeout(std::uint32_t peer, Time now);

private:
    std::uint32_t make_record(const RouteInfo& route, Search search, Time now);
    void begin_connection(std::uint32_t peer, Time now)
    {
        begin_connection(peer, s_.peers.routes().next(s_.peers[peer].route.id()), now);
    }
    /// `count`: RouteTable's, which names it.
    void begin_connection(std::uint32_t peer, std::uint32_t count, Time now);
    void drop(std::uint32_t peer, Cause cause);
    void release(std::uint32_t peer);
    void make_room(Search search, Time now);
    /// `peer`: no_index if it has no record.
    Introduction answer_hello(ConnectionNames::Name name, std::uint32_t peer, HelloPacket& answer) noexcept;
    Introduction refuse(std::uint8_t flag, HelloPacket& answer) noexcept;
    Introduction put_answer(const wire::HelloFrame& hello, std::uint32_t peer, HelloPacket& answer) noexcept;
    bool is_departed(const Peer& peer) const noexcept;
    bool begin_session(std::uint32_t peer, const wire::HelloFrame& hello, const HelloProof& proof);
    bool learn(std::uint32_t peer, const wire::HelloFrame& hello, const HelloProof& proof, Time now);
    void establish(std::uint32_t peer, bool met, Time now);
    void confirm(std::uint32_t peer, Time now);
    void on_forgotten(std::uint32_t peer, Time now);
    void on_answer(std::uint32_t peer, const wire::HelloFrame& hello, Time now);

    Shared& s_;
    Placement& placement_;
    struct {
        wire::HelloFrame hello{};
        HelloProof proof{};
        std::uint64_t under = 0; ///< the identifier that its packet bears
        bool open = false;
        std::uint32_t count = 0;            ///< if it is accepted: what its connection counts as (RouteTable)
    } introduction_;                        ///< of the hello event being answered
    std::uint32_t next_victim_ = 0;         ///< where make_room() goes on
    RouteId unused_route_ = no_id<RouteId>; ///< found for somebody who got no record
    Time next_demand_{};                    ///< when it may next ask silent peers for a proof
};

} // namespace srd
