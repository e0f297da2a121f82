// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The SRD engine: reliable, exactly-once, per-peer ordered messages over
// unordered, lossy packets. Sans I/O: it never sends, receives, reads a clock,
// an environment variable or a random device, takes a lock, or allocates after
// construction. Packets and time go in; packets and events come out.
//
// One pass, as progress_once() (progress.hpp) does it:
//
//     on_packets(rx, now)            acknowledgements act at once, data is noted
//     while (poll_event(event))      one event at a time; message events are
//                                    answered by accept(), park() or refuse()
//     on_timeout(now)                if next_timeout() is due; then poll_event again
//     poll_transmit(tx, now)         acknowledgements are built here, after the
//                                    events, so an ack means "placed or parked"
//
// Threading: one thread at a time (the owner holds the endpoint's lock).
// Memory: reserved by the constructor from Limits, touched on use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

#include <srd/counters.hpp>
#include <srd/iov.hpp>
#include <srd/limits.hpp>
#include <srd/peer_view.hpp>
#include <srd/status.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "io/core/local_road.hpp"
#include "io/core/packet_io.hpp"
#include "lb/path_selector.hpp"
#include "local/local_messages.hpp"
#include "operation.hpp"
#include "peer/lifecycle.hpp"
#include "peer/path_search.hpp"
#include "peer/rail_search.hpp"
#include "peer/watch.hpp"
#include "receive/inbound.hpp"
#include "receive/placement.hpp"
#include "rma/initiator.hpp"
#include "rma/target.hpp"
#include "send/ack_handler.hpp"
#include "send/framing.hpp"
#include "send/submission.hpp"
#include "send/transmitter.hpp"
#include "shared.hpp"

namespace srd {

class Engine {
public:
    /// `local_address`: PacketIo::local_address(). `seals`: outlives the engine; with it, all traffic but
    /// that through memory of this host is sealed, by a backend that seals (io/seal).
    Engine(const IoCaps& caps, const Limits& limits, const Tuning& tuning, Counters& counters,
           std::span<const std::byte> local_address, std::uint64_t seed, EndpointSeals* seals = nullptr);
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    /// From now on operations may name memory of devices, which `memory` copies by way of `device_space`
    /// bytes at `host`. Both outlive the engine.
    void use_devices(DeviceMemory& memory, std::byte* host) noexcept;
    static constexpr std::size_t device_space = DeviceStaging::space + DevicePlacement::space;

    // -- Peers ------------------------------------------------------------

    /// The peer behind `route`; makes its state on first use (nothing is sent yet).
    /// Returns no_id<PeerId> when max_peers are in use. The id stays valid until close_peer() or
    /// release_peer(); the id of a peer that was only met in events may be given to another peer after it has
    /// gone, so name peers by route where it must last.
    PeerId open_peer(const RouteInfo& route, Time now);

    /// The caller keeps no name of `peer` any more: its record may be given to another peer once it has
    /// gone and left nothing behind. open_peer() undoes it.
    void release_peer(PeerId peer) noexcept;

    /// Forgets `peer`: its operations fail with Cause::removed.
    void close_peer(PeerId peer, Time now);

    /// Answers Event::hello, before the next poll_event(); not calling it ignores the introduction. `route`:
    /// PacketIo::find of `address`, the sender's. Keeps nothing of it. The result says what to do; `answer`
    /// is a packet for the address.
    Introduction on_introduction(RouteId route, std::span<const std::byte> address, HelloPacket& answer,
                                 Time now);
    /// If on_introduction() has said Introduction::accept: the peer's record is made. Introduction::ignore:
    /// all is done; Introduction::answer: there is no room for it.
    Introduction accept_hello(const RouteInfo& route, HelloPacket& answer, Time now);

    /// Answers Event::rails: its peer has `count` addresses; packets can be sent on the ways that
    /// PacketIo::set_peer_rails has returned.
    void on_peer_rails(PeerId peer, std::uint8_t count, std::uint16_t ways, Time now);

    /// A route that no record has, and that the engine has forgotten: of a peer that has gone long ago. It
    /// may be another address's from now on (PacketIo::forget_route), unless the application has named it.
    /// Call after open_peer() and accept_hello() until there is none: no_id<RouteId>.
    RouteId take_released_route() noexcept;

    /// Somebody waits for messages from `route`, which may never come: if a connection is there, its peer is
    /// looked for. Call again every Liveness::sign_interval; Event::Kind::peer_lost tells that it has gone.
    void want_sign(RouteId route, Time now);

    RouteId peer_route(PeerId peer) const;

    /// What the backend learned about a route (RouteNotice). `mtu`: route_mtu(route) now.
    void on_route_notice(const RouteNotice& notice, std::uint32_t mtu, Time now);

    // -- Sending ----------------------------------------------------------

    /// Queues an operation. Status: ok; again (nothing changed); invalid (more than max_iov entries,
    /// copy_payload with too many bytes, an atomic that does not fit one packet to this peer).
    /// `now`: to an established peer the time of the last pass will do, since nothing is timed before its
    /// packets are sent.
    Status submit(const Operation& operation, Time now);
    /// Sends a message through memory of this host. Done: it is complete, without an event. Full: progress,
    /// then retry. Closed: not this operation, not to this peer, or not now: submit() it.
    LocalRoad::Sent send_local(const Operation& operation);
    /// Peers on this host that do not read what was sent to them are looked for. Call it every
    /// Liveness::sign_interval.
    void look_for_readers(Time now);
    /// True if the handshake with `peer` is over.
    bool is_established(PeerId peer) const noexcept;

    /// True if the last submissions should go out now rather than with the next pass:
    /// the peer has nothing in flight that would soon bring an acknowledgement, or a full
    /// packet is waiting. (Nagle's rule, with the next pass as the flush.)
    bool transmit_due() const noexcept { return submission_.transmit_due(); }

    // -- Receiving --------------------------------------------------------

    /// Places message `message` into `iov` (at most max_iov entries; the array is copied).
    /// Bytes beyond the buffer's end are received and discarded: compare lengths.
    /// Accepted::pending: the memory must stay valid until receive_done with `cookie`.
    /// Status again: no record free; for the current event answer refuse(), for a parked
    /// message it does not happen.
    /// `device`: whose memory `iov` is, as a whole or in part.
    Status accept(MessageId message, std::span<const iovec> iov, std::uint64_t cookie, Accepted& outcome,
                  DeviceId device = DeviceId::host);

    /// Keeps the current event's message as unexpected. `message` is replaced by the id that
    /// stays valid until accept(), discard() or Event::message_lost.
    /// Status again: the bound on unexpected memory is reached: answer refuse().
    Status park(MessageId& message);

    /// Does not take the current event's message: the peer is told receiver-not-ready
    /// and will send it again; it and its successors are announced again later.
    void refuse(MessageId message);

    /// Answers the current event's message later: poll_event() reads no further into the burst, whose memory
    /// is needed, until resume(); then the message is announced again. False: it cannot be put off, because
    /// it does not lie in a packet, or not in this part of the pass (may_defer()).
    bool defer(MessageId message) noexcept;
    bool has_deferred() const noexcept { return shared_.reader.has_deferred(); }
    /// Before the next on_packets(). False: nothing was deferred.
    bool resume() noexcept { return shared_.reader.resume(); }
    void may_defer(bool may) noexcept { may_defer_ = may; }

    /// Drops a parked message (FI_DISCARD). For a delivery-complete sender it counts as delivered.
    void discard(MessageId message);

    // -- Being accessed: answers to Event::write, read and atomic, before the next poll_event() ------------

    /// Puts the write's bytes into `memory` (at most max_iov pieces, together ranges[0].length bytes); then
    /// confirm(). False: the event needs no answer any more. They could not be had, and will come again; or
    /// `device`, whose memory it is, did not take them, which the writer is told as Cause::region_closed.
    bool place(std::span<const iovec> memory, DeviceId device = DeviceId::host);
    /// The write is placed, the atomic carried out.
    void confirm();
    /// `memory` (at most max_iov pieces, together ranges[0].length bytes) is sent to the reader. It must stay
    /// mapped until everything is acknowledged or revoke(key) returns; `key` is the region's.
    /// `tell`: report read_served with `cookie` when it has got there.
    /// `device`: whose memory it is.
    void serve(std::span<const iovec> memory, std::uint64_t key, bool tell, std::uint64_t cookie,
               DeviceId device = DeviceId::host);
    /// Nothing was done. The initiator's operation fails with `cause` (bad_key .. region_closed).
    void reject(Cause cause);
    /// The memory served under `key` goes away: it is not read any more after the return; unfinished reads of
    /// it fail with Cause::region_closed.
    void revoke(std::uint64_t key);

    // -- The pass ---------------------------------------------------------

    void on_packets(std::span<const RxPacket> packets, Time now);
    void on_timeout(Time now);
    bool poll_event(Event& event);
    std::size_t poll_transmit(std::span<TxPacket> packets, Time now);
    /// The tail of the last poll_transmit() that the backend did not take.
    void return_unsent(std::span<const TxPacket> packets, Time now);
    /// After tx_burst: the packets' memory is the engine's again.
    void on_tx_done() noexcept;
    /// True if memory of packets that are under way may be another's after the events that come next, or
    /// after revoke(): PacketIo::revoke() is due.
    bool take_revocation() noexcept;
    /// Everything that had come by `now` has been handed over, notices included. Peers are given up only
    /// after that: what they said may have waited unread.
    void on_rx_drained(Time now) noexcept;
    /// What the backend should find out about a peer (PacketIo::probe_liveness).
    bool poll_liveness_question(LivenessQuestions::Question& question);
    /// True if nothing is to be reported or sent, and no timer is due: a pass without packets and notices
    /// would change nothing.
    bool idle(Time now) const noexcept;
    /// When on_timeout() is next needed; time_never if nothing is pending.
    Time next_timeout() const noexcept;
    /// When whoever goes to sleep makes a pass all the same, because nothing will wake him: since the last
    /// call something could not go before a peer takes what it has in memory (LocalRoad), or a message in
    /// memory waits here for its turn or for room. time_never: he need not.
    Time next_look(Time now) noexcept;
    /// Peers on this host have taken every message in memory. Until then look_for_readers() goes on.
    bool all_read() const noexcept;

    // -- Closing ----------------------------------------------------------

    /// True when every packet of a submitted operation is acknowledged, and none waits to be sent.
    bool all_acknowledged() const noexcept;
    /// That, and peers on this host have taken every message in memory.
    bool drained() const noexcept { return all_acknowledged() && all_read(); }
    /// Tells every peer that this endpoint goes away. Everything outstanding fails with
    /// Cause::removed; poll_event() and poll_transmit() until they are dry, then destroy.
    void close(Time now);

    /// Whom to tell of packets and events from now on; null: nobody.
    void set_trace(TraceSink* sink) noexcept { shared_.trace = sink; }

    // -- Inspection -------------------------------------------------------

    /// Calls `visit(route, view)` for every peer: as people see them who watch. It takes its time.
    template <typename Visitor>
    void view_peers(Time now, Visitor&& visit) const
    {
        for (std::uint32_t peer = 0; peer < shared_.peers.watermark(); ++peer) {
            if (shared_.peers.live(peer)) {
                visit(shared_.peers[peer].route.id(), watch_.view(peer, now));
            }
        }
    }
    /// Bytes of state of a peer with nothing outstanding.
    static std::size_t idle_peer_size() noexcept;
    /// Aborts (SRD_CHECK) if the engine's own state contradicts itself. Slow: tests and debug builds.
    void check_invariants() const;

private:
    void on_peer_timeout(std::uint32_t peer, bool may_repeat, Time now);
    /// In debug builds, after every entry: check_invariants(). Where there is much to look at, after so many
    /// entries that it costs each about as much.
    void check() const;

    // In the order in which they build upon each other.
    Shared shared_;
    Placement placement_;
    RmaTarget target_;
    RmaInitiator initiator_;
    Framing framing_;
    PeerLifecycle lifecycle_;
    PeerWatch watch_;
    PathSearch search_;
    RailSearch rails_;
    LocalMessages local_;
    Submission submission_;
    AckHandler acks_;
    Transmitter transmit_;
    Inbound inbound_;
    bool may_defer_ = false;
    mutable std::uint32_t entries_unchecked_ = 0; ///< still to pass before the next check()
};

} // namespace srd
