// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The engine's records: what is kept per packet in flight, per message and per
// peer. All live in slabs and name each other by index.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <variant>

#include <sys/uio.h>

#include <srd/intrusive_list.hpp>
#include <srd/lazy_array.hpp>
#include <srd/limits.hpp>
#include <srd/seq_bitmap.hpp>
#include <srd/status.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "cc/fixed_window.hpp"
#include "cc/swift.hpp"
#include "engine.hpp"
#include "lb/adaptive.hpp"
#include "lb/round_robin.hpp"
#include "lb/single.hpp"
#include "send/rtt.hpp"
#include "wire/layout.hpp"

namespace srd {

using Congestion = std::variant<Swift, FixedWindow>;
using Paths = std::variant<AdaptivePaths, RoundRobinPaths, SinglePath>;
static_assert(CongestionControl<Swift> && CongestionControl<FixedWindow>);
static_assert(PathSelector<AdaptivePaths> && PathSelector<RoundRobinPaths> && PathSelector<SinglePath>);

/// One sequenced packet, from the first frame put into it until it is
/// acknowledged and every copy has been returned by the backend. Its frames
/// never change, so a retransmission is the same packet under the same psn.
///
/// Not kept: the header and the acknowledgement block, which are made anew for
/// every transmission.
struct TxSlot {
    enum class State : std::uint8_t { open, ready, in_flight, lost, acked };
    enum class Repair : std::uint8_t { none, rack, probe, timeout, refused };
    /// Messages can be refused, so that the packet comes again; writes and reads must then not be in it.
    enum class Contents : std::uint8_t { neutral, messages, rma };

    Link link;                ///< on the peer's ready, in_flight or lost list
    Time sent_at{};           ///< of the latest transmission
    std::uint64_t offset = 0; ///< bulk: where in the message the payload starts
    std::uint32_t psn = 0;
    std::uint32_t peer = no_index;
    std::uint32_t length = 0;       ///< bytes of frames and payload, without header and acknowledgement block
    std::uint32_t chunk = no_index; ///< frames: the memory that holds them
    std::uint32_t message =
        no_index; ///< bulk: the message; frames: head of the messages complete in this packet
    PathId path{};
    std::uint8_t attempt = 0;
    State state = State::open;
    bool control = false; ///< grants and delivered frames only: goes out even while the peer refuses messages
    bool bulk = false;    ///< one frame generated from `message`, payload in the user's memory
    Repair repair = Repair::none; ///< why it is sent again
    Contents contents = Contents::neutral;
    std::uint8_t rma_frames = 0;
};
static_assert(sizeof(TxSlot) <= 64);

/// Where a write or a read goes.
struct RemoteRanges {
    std::array<RemoteRange, max_iov> ranges{};
    std::uint32_t count = 0;

    /// What of the ranges begins `offset` bytes into the operation. `offset` lies inside or, if everything
    /// is empty, is 0.
    RemoteRange from(std::uint64_t offset) const noexcept
    {
        std::uint32_t i = 0;
        while (i + 1 < count && offset >= ranges[i].length) {
            offset -= ranges[i++].length;
        }
        return {ranges[i].address + offset, ranges[i].length - offset, ranges[i].key};
    }
};

/// An operation between submit() and send_done; or a piece of our memory on its way to a peer that reads it.
struct TxMessage {
    enum class State : std::uint8_t {
        queued,  ///< on the peer's tx_queue, not (entirely) framed
        waiting, ///< requested, waiting for a grant
        granted, ///< on the peer's grant_queue
        framed,  ///< every byte is in some slot
        suspect, ///< acknowledged, but an atomic's turn has not come, or fault frames are on their
                 ///< way: perhaps one for it
        done,    ///< on the engine's done list
    };

    TxMessage() noexcept {} // leaves `iov` alone: one is made for every message

    Link all;   ///< the peer's list of all its messages (a response is on none)
    Link queue; ///< tx_queue, grant_queue, a slot's completion chain (next only) or the done list
    std::array<iovec, max_iov> iov; ///< the first iov_count are set
    std::uint64_t total = 0;
    std::uint64_t framed = 0;  ///< bytes already in slots
    std::uint64_t granted = 0; ///< request protocol: bytes the receiver allows
    std::uint64_t cookie = 0;
    std::uint64_t tag = 0;
    std::uint64_t data = 0;
    std::uint64_t base = 0; ///< response: where the piece begins in the reader's operation
    std::uint64_t key = 0;  ///< response: of the region it is read from
    std::uint32_t peer = no_index;
    std::uint32_t sequence = 0;
    std::uint32_t remote_handle = no_index; ///< request protocol: the receiver's name for it
    std::uint32_t remote = no_index;        ///< write, read: RemoteRanges
    std::uint32_t unacked = 0;              ///< bulk slots not finished
    std::uint32_t fence_end = 0;            ///< fence: the first psn after all operations before it
    std::uint32_t fence_messages = 0;       ///< fence: the first message or atomic after those before it
    std::uint8_t iov_count = 0;
    OperationKind kind = OperationKind::message;
    State state = State::queued;
    CompletionLevel level = CompletionLevel::none;
    Cause cause = Cause::none;
    MessageFlags flags;
    bool requested = false; ///< goes out in data frames: the request protocol, and responses
    bool delivered = false; ///< a delivered frame has come
    bool fence = false;
    bool fetch = false; ///< an atomic whose result is awaited
    bool response = false;
    bool revoked = false; ///< response: the memory must not be touched any more
};

/// An incoming message that cannot be handed over at once; also a read of ours, which receives as a granted
/// message does, a write whose frames have not all come, and an answer that is owed.
struct RxMessage {
    enum class State : std::uint8_t {
        reordered, ///< arrived before its turn
        parked,    ///< announced, no buffer yet
        receiving, ///< announced, buffer known, bytes missing
        settling,  ///< complete; only its delivered frame is still to be sent
        writing,   ///< a write in several frames; hashed by the writer's handle
        answering, ///< only the frame that `owed` names is still to be sent
    };
    enum class Owed : std::uint8_t { nothing, result, denied, fault };

    RxMessage() noexcept {} // leaves `iov` alone

    Link hash;    ///< bucket of (peer, sequence)
    Link all;     ///< the peer's list of all its incoming messages
    Link control; ///< the peer's list of grants and delivered frames to send
    Link grant;   ///< the engine's list of messages that want more grants
    Link done;    ///< the engine's list of receive_done / message_lost events to report
    /// The buffer; before it is known the bytes' place in the sender's memory. The first iov_count are set.
    std::array<iovec, max_iov> iov;
    std::uint64_t total = 0;
    std::uint64_t received = 0; ///< bytes arrived (placed, stored or discarded beyond the buffer)
    std::uint64_t limit = 0;    ///< request protocol: granted so far
    std::uint64_t asked = 0;    ///< read: bytes named in read frames so far
    std::uint64_t cookie = 0;
    std::uint64_t tag = 0;
    std::uint64_t data = 0;
    std::uint32_t peer = no_index;
    std::uint32_t sequence = 0;
    std::uint32_t sender_handle = 0;
    std::uint32_t read = no_index;  ///< the TxMessage of the read that receives here
    std::uint32_t chunk = no_index; ///< payload of a reordered or parked eager message, or of an atomic
    std::uint32_t source_epoch = 0; ///< of the sender, when iov was its memory
    std::uint8_t chunk_class = 0;
    std::uint8_t iov_count = 0;
    State state = State::reordered;
    Cause cause = Cause::none;
    MessageFlags flags;
    wire::AtomicFrame atomic; ///< if is_atomic
    Owed owed = Owed::nothing;
    bool is_atomic = false;
    bool answers_read = false; ///< denied: sender_handle names a read
    bool requested = false;    ///< request protocol
    bool want_delivered = false;
    bool hashed = false;
    bool on_control = false;
    bool on_grant = false;
    bool reporting = false;   ///< on the engine's list of events to report
    bool report_lost = false; ///< report message_lost instead of receive_done
    bool silent = false;      ///< discarded: nobody waits for it
    bool delivered_due = false;
    bool grant_due = false;
};

/// psn → slot, for the packets in flight to one peer. Taken from a pool while
/// anything is in flight. Every entry is empty when a window is taken, and its
/// user leaves it so: clearing 4 KiB for each single packet would cost more
/// than the packet.
class TxWindow {
public:
    std::uint32_t at(std::uint32_t psn) const noexcept { return entries_[psn % packet_window] - 1; }
    void set(std::uint32_t psn, std::uint32_t slot) noexcept { entries_[psn % packet_window] = slot + 1; }
    void clear(std::uint32_t psn) noexcept { entries_[psn % packet_window] = 0; }

private:
    std::array<std::uint32_t, packet_window> entries_; ///< slot + 1, 0: acknowledged or never used
};

class TxWindowPool {
public:
    explicit TxWindowPool(std::uint32_t capacity) : indices_(capacity), windows_(capacity) {}

    std::uint32_t alloc() noexcept { return indices_.alloc(); }
    void release(std::uint32_t index) noexcept { indices_.release(index); }
    bool empty() const noexcept { return indices_.in_use() == indices_.capacity(); }
    TxWindow& operator[](std::uint32_t index) noexcept { return windows_[index]; }
    const TxWindow& operator[](std::uint32_t index) const noexcept { return windows_[index]; }

private:
    IndexPool indices_;
    LazyArray<TxWindow> windows_;
};

/// A remote endpoint.
///
/// Lifecycle: idle → greeting (our hello is out) → established; a failure
/// returns it to idle with new connection identifiers, so that the next
/// operation starts afresh. `successor` records (a restarted process has said
/// hello, but has not yet proved that it received our answer) wait beside the
/// peer they may replace.
struct Peer {
    enum class State : std::uint8_t { unused, idle, greeting, established };
    /// That the process is gone, while it is being met: counts when it is heard again after another question.
    enum class GoneNews : std::uint8_t { none, heard, doubted };

    Peer() noexcept {} // the policies' constructors do not throw, though they do not say so

    // Hot on transmit.
    State state = State::unused;
    bool active = false; ///< on the engine's list of peers with something to send
    bool hello_due = false;
    bool hello_is_reply = false;
    bool ack_now = false;
    bool asked = false;       ///< it asks whether we live: our acknowledgements may not get through
    bool rnr_owed = false;    ///< we refuse messages: say so in acknowledgements
    bool rnr_blocked = false; ///< the peer refuses ours
    bool closing = false;     ///< send a close frame
    bool confirmed = false;   ///< the remote has proved to know our connection identifier
    bool has_remote = false;  ///< tx_connection and the remote's incarnation are known
    bool heard = false;       ///< anything has ever come from this incarnation
    bool last_call = false;   ///< silent for too long; one last question is out
    bool is_successor = false;
    bool unreadable = false;     ///< the system does not let us read its memory
    bool near = false;           ///< RouteNotice::Kind::same_host
    bool pinned = false;         ///< the application named it: its PeerId stays
    bool has_suspects = false;   ///< some TxMessage may be a suspect
    bool window_limited = false; ///< the congestion window has held us back since the last acknowledgement
    bool pace_blocked = false;
    bool path_proven = false;     ///< the last thing heard of burst_path was an acknowledgement
    std::uint8_t probe_count = 0; ///< probes and timeouts since the last progress
    std::uint8_t rnr_count = 0;
    std::uint8_t hello_count = 0;
    GoneNews gone_news = GoneNews::none;
    PathId burst_path{};
    std::uint16_t path_count = 1;
    std::uint16_t turn_limit = 64; ///< packets it may send in its next turn
    std::uint16_t burst_left = 0;  ///< packets the current burst may still put on burst_path
    Link active_link;
    RouteId route{};
    std::uint32_t mtu = 0;            ///< largest packet, bytes
    std::uint32_t window = no_index;  ///< TxWindow
    std::uint32_t tx_next = 0;        ///< psn of the next new packet
    std::uint32_t tx_una = 0;         ///< lowest psn not acknowledged
    std::uint32_t operations_end = 0; ///< the first psn after all packets with operations of ours
    std::uint32_t open_slot = no_index;
    std::uint32_t in_flight_bytes = 0;
    std::uint32_t since_request = 0; ///< bytes sent since we last asked for an acknowledgement
    IndexList<&TxSlot::link> ready;
    IndexList<&TxSlot::link> in_flight; ///< in order of sent_at
    IndexList<&TxSlot::link> lost;
    IndexList<&TxMessage::queue> tx_queue;
    IndexList<&TxMessage::queue> grant_queue;
    IndexList<&TxMessage::all> tx_messages;
    IndexList<&RxMessage::control> control;
    IndexList<&RxMessage::all> rx_messages;
    std::uint32_t message_next = 0;      ///< sequence of the next message to send
    std::uint32_t message_delivered = 0; ///< the peer delivered every earlier one in order
    std::uint64_t tx_connection = 0;

    // Hot on receive.
    std::uint64_t rx_connection = 0;
    std::uint64_t remote_incarnation = 0;
    std::uint32_t rx_message_next = 0; ///< sequence of the next message to announce
    std::uint32_t reordered = 0;       ///< messages held for their turn
    std::uint32_t ack_packets = 0;     ///< sequenced packets not yet acknowledged
    std::uint32_t ack_bytes = 0;
    std::uint32_t echo_psn = 0;
    std::uint8_t echo_attempt = 0;
    std::uint8_t echo_path = 0;
    bool echo_valid = false;
    bool echo_marked = false;
    std::uint16_t duplicates = 0;
    std::uint16_t remote_duplicates = 0; ///< AckBlock::duplicates as last seen
    std::uint16_t faults_made = 0;       ///< fault frames for the peer
    std::uint16_t faults_seen = 0;       ///< the highest count in an acknowledgement or fault frame
    std::uint16_t faults_got = 0;        ///< fault frames from the peer
    Time echo_arrived{};
    SeqBitmap<packet_window> rx{0};

    // Recovery and timers.
    Time retry_at{};            ///< the backend has refused a packet; no other before
    Time rack_sent_at{};        ///< latest sent_at of any acknowledged packet
    std::uint32_t rack_psn = 0; ///< the highest of those sent then
    Time ack_at = time_never;   ///< delayed acknowledgement
    Time loss_at = time_never;  ///< a packet will be lost if not acknowledged by then
    Time probe_at = time_never;
    Time pace_at{}; ///< nothing new before
    Time hello_at = time_never;
    Time rnr_at = time_never;
    Time rnr_since{};
    Time heard_at{};               ///< last valid packet
    Time waiting_since{};          ///< since when something is outstanding without a sign of life
    Time alive_at{};               ///< last evidence that the process exists
    Time liveness_at = time_never; ///< next question for such evidence
    Time gone_at = time_never;     ///< the news that the process is gone counts from then on
    Time armed_at = time_never;
    std::uint8_t reorder_factor = 1; ///< widens the reordering window after spurious retransmissions
    std::uint16_t reorder_rounds = 0;

    std::uint32_t peer_buffer = 0; ///< bytes the remote can queue, 0 = unknown
    std::uint32_t successor = no_index;
    RttEstimator rtt;
    Congestion congestion{FixedWindow(CongestionLimits{})};
    Paths paths{SinglePath(1, 0)};
};

} // namespace srd
