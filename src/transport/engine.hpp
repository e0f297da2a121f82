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
#include <memory>
#include <span>

#include <sys/uio.h>

#include <srd/counters.hpp>
#include <srd/limits.hpp>
#include <srd/status.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "io/core/packet_io.hpp"
#include "lb/path_selector.hpp"

namespace srd {

/// When a submitted message reports send_done (fi_cq(3), completion levels).
enum class CompletionLevel : std::uint8_t {
    none,     ///< never: the caller wants no event (only with copy_payload)
    inject,   ///< when the caller's buffer may be reused
    transmit, ///< when the peer has taken over responsibility: its engine acknowledged every byte
    delivery, ///< when the peer has placed every byte in a matched receive buffer
};

enum class OperationKind : std::uint8_t {
    message, ///< to whatever receive the peer matches it with
    write,   ///< into registered memory of the peer
    read,    ///< from registered memory of the peer into `iov`
    atomic,  ///< on registered memory of the peer
};

/// Bytes of a peer's registered memory, as that peer names them.
struct RemoteRange {
    std::uint64_t address = 0;
    std::uint64_t length = 0; ///< bytes
    std::uint64_t key = 0;
};

/// What an atomic does. Operation and datatype are carried, not interpreted.
struct AtomicOperation {
    std::uint8_t operation = 0; ///< enum fi_op
    std::uint8_t datatype = 0;  ///< enum fi_datatype
    bool fetch = false;         ///< the old values are wanted in `result`
    bool has_operand = true;    ///< Operation::iov holds operands; false for a pure read
    bool has_compare = false;
    std::span<const iovec> compare; ///< comparands, taken before submit() returns
    std::span<const iovec>
        result; ///< at most max_iov entries, as long as the ranges; memory valid until send_done
};

/// Properties of a message that travel with it.
struct MessageFlags {
    // One byte: a pair of bools is written by the byte and copied by the word, and the copy waits for the
    // writes.
    bool tagged : 1 = false;   ///< FI_TAGGED rather than FI_MSG
    bool has_data : 1 = false; ///< carries remote CQ data
};

/// One operation: a message to send, or an access to a peer's registered memory. The iov array is copied; the
/// memory it points to must stay unchanged until send_done, unless copy_payload is set.
struct Operation {
    OperationKind kind = OperationKind::message;
    PeerId peer{};
    CompletionLevel level = CompletionLevel::transmit;
    bool copy_payload = false; ///< take the payload before submit() returns; at most max_inject_size bytes
    bool fence =
        false; ///< FI_FENCE: it and what follows it to this peer starts when all before it is complete
    MessageFlags flags;
    std::uint64_t tag = 0;
    std::uint64_t data = 0;     ///< remote CQ data
    std::span<const iovec> iov; ///< at most max_iov entries; empty: a zero-length message
    std::uint64_t cookie = 0;   ///< handed back in send_done; not interpreted

    // Remote memory access. An acknowledged write is a placed one, so its levels transmit and delivery are
    // the same; reads and fetching atomics complete when their data is here, whatever the level.
    std::span<const RemoteRange>
        remote;             ///< 1 .. max_iov, together as long as `iov` (atomics: as the operands)
    AtomicOperation atomic; ///< operands are taken before submit() returns, at most max_atomic_size bytes
};

struct Event {
    enum class Kind : std::uint8_t {
        hello,        ///< a peer introduced itself: resolve `payload` (its address), then accept_hello()
        message,      ///< the peer's next message in order: answer with accept(), park() or refuse()
        receive_done, ///< an accepted message that was pending is complete, or failed with `cause`
        send_done,    ///< a submitted operation is complete, or failed with `cause`
        message_lost, ///< a parked message can never be completed (its peer failed); already discarded
        write,        ///< place() its bytes at `ranges[0]`, then confirm(), or reject()
        read,         ///< find the memory of `ranges[0]`: serve() or reject()
        atomic,       ///< carry it out on `ranges`, write old values to `result`: confirm() or reject()
        read_served,  ///< every byte of a peer's read has got there (Engine::serve with `tell`)
    };
    Kind kind{};
    PeerId peer{};
    Cause cause = Cause::none;
    MessageFlags flags;
    MessageId message{};                 ///< message, message_lost
    std::uint64_t tag = 0;               ///< message
    std::uint64_t data = 0;              ///< message: remote CQ data
    std::uint64_t length = 0;            ///< message, receive_done: the whole message's bytes
    std::uint64_t cookie = 0;            ///< receive_done, send_done
    std::span<const std::byte> payload;  ///< hello: address; write: bytes, if they are here; atomic: operands
    std::span<const RemoteRange> ranges; ///< write, read: one; atomic: 1 .. max_iov
    bool last = false;          ///< write: with these bytes the operation is complete (`length`: of the whole
                                ///< operation, `data` if flags.has_data); read: the operation's last piece
    std::uint8_t operation = 0; ///< atomic: enum fi_op, unchecked
    std::uint8_t datatype = 0;  ///< atomic: enum fi_datatype, unchecked
    std::span<const std::byte> compare; ///< atomic: comparands, or empty
    std::span<std::byte> result;        ///< atomic: where old values go; empty: they are not wanted
};

/// What accept() achieved.
enum class Accepted : std::uint8_t {
    complete, ///< every byte is placed; the MessageId is gone
    pending,  ///< receive_done will follow
};

class Engine {
public:
    Engine(const IoCaps& caps, const Limits& limits, const Tuning& tuning, Counters& counters,
           std::span<const std::byte> local_address, std::uint64_t seed);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // -- Peers ------------------------------------------------------------

    /// The peer behind `route`; makes its state on first use (nothing is sent yet).
    /// `mtu` is PacketIo::route_mtu(route), `paths` PacketIo::route_paths(route). Returns no_id<PeerId> when
    /// max_peers are in use. The id stays valid until close_peer() or release_peer(); the id of a peer that
    /// was only met in events may be given to another peer after it has gone, so name peers by route where it
    /// must last.
    PeerId open_peer(RouteId route, std::uint32_t mtu, Time now, std::uint16_t paths = max_paths);

    /// The caller keeps no name of `peer` any more: its record may be given to another peer once it has
    /// gone and left nothing behind. open_peer() undoes it.
    void release_peer(PeerId peer) noexcept;

    /// Forgets `peer`: its operations fail with Cause::removed.
    void close_peer(PeerId peer, Time now);

    /// Answers Event::hello: the introduction's sender is reachable by `route`.
    /// Call before the next poll_event(). Not calling it ignores the introduction.
    void accept_hello(RouteId route, std::uint32_t mtu, Time now, std::uint16_t paths = max_paths);

    RouteId peer_route(PeerId peer) const;

    /// What the backend learned about a route (RouteNotice). `mtu`: route_mtu(route) now.
    void on_route_notice(const RouteNotice& notice, std::uint32_t mtu, Time now);

    // -- Sending ----------------------------------------------------------

    /// Queues an operation. Status: ok; again (nothing changed); invalid (more than max_iov entries,
    /// copy_payload with too many bytes, an atomic that does not fit one packet to this peer).
    /// `now`: to an established peer the time of the last pass will do, since nothing is timed before its
    /// packets are sent.
    Status submit(const Operation& operation, Time now);
    /// True if the handshake with `peer` is over.
    bool is_established(PeerId peer) const noexcept;

    /// True if the last submissions should go out now rather than with the next pass:
    /// the peer has nothing in flight that would soon bring an acknowledgement, or a full
    /// packet is waiting. (Nagle's rule, with the next pass as the flush.)
    bool transmit_due() const noexcept;

    // -- Receiving --------------------------------------------------------

    /// Places message `message` into `iov` (at most max_iov entries; the array is copied).
    /// Bytes beyond the buffer's end are received and discarded: compare lengths.
    /// Accepted::pending: the memory must stay valid until receive_done with `cookie`.
    /// Status again: no record free; for the current event answer refuse(), for a parked
    /// message it does not happen.
    Status accept(MessageId message, std::span<const iovec> iov, std::uint64_t cookie, Time now,
                  Accepted& outcome);

    /// Keeps the current event's message as unexpected. `message` is replaced by the id that
    /// stays valid until accept(), discard() or Event::message_lost.
    /// Status again: the bound on unexpected memory is reached: answer refuse().
    Status park(MessageId& message, Time now);

    /// Does not take the current event's message: the peer is told receiver-not-ready
    /// and will send it again; it and its successors are announced again later.
    void refuse(MessageId message, Time now);

    /// Drops a parked message (FI_DISCARD). For a delivery-complete sender it counts as delivered.
    void discard(MessageId message, Time now);

    // -- Being accessed: answers to Event::write, read and atomic, before the next poll_event() ------------

    /// Puts the write's bytes into `memory` (at most max_iov pieces, together ranges[0].length bytes); then
    /// confirm(). False: they could not be had, the event needs no answer any more, and they will come again.
    bool place(std::span<const iovec> memory);
    /// The write is placed, the atomic carried out.
    void confirm(Time now);
    /// `memory` (at most max_iov pieces, together ranges[0].length bytes) is sent to the reader. It must stay
    /// mapped until everything is acknowledged or revoke(key) returns; `key` is the region's.
    /// `tell`: report read_served with `cookie` when it has got there.
    void serve(std::span<const iovec> memory, std::uint64_t key, bool tell, std::uint64_t cookie, Time now);
    /// Nothing was done. The initiator's operation fails with `cause` (bad_key .. region_closed).
    void reject(Cause cause, Time now);
    /// The memory served under `key` goes away: it is not read any more after the return; unfinished reads of
    /// it fail with Cause::region_closed.
    void revoke(std::uint64_t key, Time now);

    // -- The pass ---------------------------------------------------------

    void on_packets(std::span<const RxPacket> packets, Time now);
    void on_timeout(Time now);
    bool poll_event(Event& event);
    std::size_t poll_transmit(std::span<TxPacket> packets, Time now);
    /// The tail of the last poll_transmit() that the backend did not take.
    void return_unsent(std::span<const TxPacket> packets, Time now);
    /// After tx_burst() and return_unsent(): the memory of the packets of the last poll_transmit() is free.
    void on_tx_done() noexcept;
    /// True if memory of packets that are under way may be another's after the events that come next, or
    /// after revoke(): PacketIo::revoke() is due.
    bool take_withdrawal() noexcept;
    /// Everything that had come by `now` has been handed over, notices included. Peers are given up only
    /// after that: what they said may have waited unread.
    void on_rx_drained(Time now) noexcept;
    /// A route whose silent peer the backend should look for (PacketIo::probe_liveness).
    bool poll_liveness_probe(RouteId& route);
    /// True if nothing is to be reported or sent, and no timer is due: a pass without packets and notices
    /// would change nothing.
    bool idle(Time now) const noexcept;
    /// When on_timeout() is next needed; time_never if nothing is pending.
    Time next_timeout() const noexcept;

    // -- Closing ----------------------------------------------------------

    /// True when every submitted message is acknowledged and nothing waits to be sent.
    bool drained() const noexcept;
    /// Tells every peer that this endpoint goes away. Everything outstanding fails with
    /// Cause::removed; poll_event() and poll_transmit() until they are dry, then destroy.
    void close(Time now);

    // -- Inspection -------------------------------------------------------

    /// Bytes of state of a peer with nothing outstanding.
    static std::size_t idle_peer_size() noexcept;
    /// Aborts (SRD_CHECK) if the engine's own state contradicts itself. Slow: tests and debug builds.
    void check_invariants() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace srd
