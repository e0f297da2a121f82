// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The engine's state and the functions its parts call on each other. The parts:
//   engine.cpp       construction, peers, failure, closing, inspection
//   handshake.cpp    hello, restart detection, liveness
//   messages.cpp     operations: submit, records, completion
//   framing.cpp      operations and answers become frames in slots
//   receive.cpp      packets in, events out
//   frames.cpp       frame by frame: check and act
//   placement.cpp    accept, park, refuse; incoming messages; grants
//   rma.cpp          writes, reads and atomics: what the initiator sends, the target's answers
//   rma_frames.cpp   their frames: check and act
//   acknowledge.cpp  acknowledgements in, loss detection, timers
//   transmit.cpp     packets out
#pragma once

#include <array>
#include <vector>

#include <srd/check.hpp>
#include <srd/lazy_array.hpp>
#include <srd/slab.hpp>

#include "engine.hpp"
#include "peer/connection_table.hpp"
#include "peer/random_source.hpp"
#include "receive/payload_pool.hpp"
#include "records.hpp"
#include "timing_wheel.hpp"

namespace srd {

/// Bytes kept free in front of the frames of every packet for the header and
/// an acknowledgement block with ack_words_reserved bitmap words.
inline constexpr std::size_t ack_words_reserved = 8;
inline constexpr std::uint32_t packet_overhead =
    sizeof(wire::PacketHeader) + sizeof(wire::AckBlock) + ack_words_reserved * sizeof(std::uint64_t);

/// Frames of small messages are gathered in chunks of this size. Reason: the
/// longest inject with its frame header and optional fields fits one.
inline constexpr std::uint32_t chunk_size = 4608;
static_assert(chunk_size >= max_inject_size + sizeof(wire::PartFrame) + sizeof(wire::MessageData) +
                                sizeof(wire::MessageHandle));

/// Repetitions without an answer after which only questions go out until something is heard.
inline constexpr std::uint8_t fruitless_probes = 3;

/// Receiving this much without acknowledging it makes an acknowledgement due at once.
inline constexpr std::uint32_t ack_every_packets = 32;
inline constexpr std::uint32_t ack_every_bytes = 192U << 10;

/// Operations leave this many records for the answers to peers that read from us: two endpoints
/// that are full of reads from each other would otherwise wait for each other for ever.
inline constexpr std::uint32_t response_reserve = 2 * wire::max_rma_frames;

std::size_t atomic_frame_size(const Operation& operation, std::uint64_t total) noexcept;

/// What the frame of a piece of an eager message says.
struct EagerFrame {
    std::uint64_t tag = 0;
    std::uint64_t data = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0; ///< of this piece; == total: a whole message
    std::uint64_t total = 0;
    std::uint32_t sequence = 0;
    std::uint32_t handle = no_index; ///< set: the sender wants a delivered frame
    MessageFlags flags;
};
std::byte* write_eager_frame(std::byte* out, const EagerFrame& frame) noexcept;
std::size_t optional_fields_size(const MessageFlags& flags, bool want_delivered) noexcept;

/// Frames up to this size are sent from the descriptor, behind the header: one piece instead of two.
inline constexpr std::uint32_t inline_frames = 192;

/// The header memory of one transmission.
struct TxDesc {
    TxDesc() noexcept {} // the bytes are written before they are read
    alignas(8) std::array<std::byte, inline_frames + sizeof(wire::PacketHeader) + sizeof(wire::AckBlock) +
                                         wire::max_ack_words * sizeof(std::uint64_t) +
                                         sizeof(wire::HelloFrame)> bytes;
    std::uint32_t slot = no_index; ///< no_index: an unsequenced packet
    std::uint32_t next = no_index;
};

struct Engine::Impl {
    Impl(const IoCaps& io_caps, const Limits& engine_limits, const Tuning& engine_tuning, Counters& counters,
         std::span<const std::byte> address, std::uint64_t seed);

    /// A packet noted by on_packets, its frames still to be read.
    struct Pending {
        std::span<const std::byte> frames;
        std::uint64_t connection; ///< the peer's at the time; it may change before the packet's turn
        Time arrived;
        std::uint32_t peer; ///< no_index: from a stranger
        std::uint32_t psn;
        std::uint8_t attempt;
        std::uint8_t path;
        bool sequenced;
        bool marked;
        bool ack_requested;
        std::uint32_t remote_length;
        std::uint32_t mapping_id;
        RemoteBytes* remote;
    };

    /// Bytes of a frame that are to be placed.
    struct Payload {
        std::span<const std::byte> bytes;
        std::uint64_t size = 0;
        bool remote = false; ///< the end of the packet, to be fetched; `bytes` is empty
    };

    // -- engine.cpp
    std::uint32_t open_peer(RouteId route, std::uint32_t mtu, Time now, std::uint16_t paths);
    void init_connection(std::uint32_t index, Time now);
    void drop_connection(std::uint32_t index, Cause cause);
    void fail_peer(std::uint32_t index, Cause cause, Time now);
    void reset_peer(std::uint32_t index, Cause cause, Time now);
    void release_peer(std::uint32_t index);
    void evict_departed();
    void on_route_notice(const RouteNotice& notice, std::uint32_t mtu, Time now);
    void bury_peer(std::uint32_t index, Time now);
    std::uint32_t peer_of_route(RouteId route) const noexcept;
    void check_invariants() const;
    void check_peer(std::uint32_t index) const;
    bool peer_drained(const Peer& peer) const noexcept;

    // -- handshake.cpp
    void start_greeting(std::uint32_t index, Time now);
    void accept_hello(RouteId route, std::uint32_t mtu, Time now, std::uint16_t paths);
    void learn_remote(std::uint32_t index, const wire::HelloFrame& hello, Time now);
    void on_hello_reply(std::uint32_t index, const wire::HelloFrame& hello, Time now);
    void promote_successor(std::uint32_t index, Time now);
    void establish(std::uint32_t index, Time now);
    void on_heard(std::uint32_t index, Time now);
    void check_silence(std::uint32_t index, Time now);
    bool awaits_answer(const Peer& peer) const noexcept;

    // -- messages.cpp
    Status submit(const Operation& operation, Time now);
    std::uint32_t new_tx_message(const Operation& operation, std::uint64_t total);
    bool frame_now(const Operation& operation, std::uint32_t record, std::uint64_t total);
    void release_tx(std::uint32_t record);
    void count_operation(OperationKind kind, std::uint64_t total) noexcept;
    void launch(std::uint32_t peer_index, bool framed, Time now);
    void finish_slot(std::uint32_t slot_index);
    void message_progress(std::uint32_t message_index);
    void complete_tx(std::uint32_t message_index, Cause cause);

    // -- framing.cpp
    bool frame_small(std::uint32_t peer_index, std::uint32_t record, const Operation& operation,
                     std::uint64_t total);
    std::uint32_t new_slot(std::uint32_t peer_index);
    void close_open_slot(Peer& peer);
    std::byte* small_space(std::uint32_t peer_index, std::size_t bytes, TxSlot::Contents contents);
    bool window_has_room(const Peer& peer, std::uint32_t slots) const noexcept;
    bool frame_next(std::uint32_t peer_index);
    bool frame_queued(std::uint32_t peer_index);
    bool frame_request(std::uint32_t peer_index, std::uint32_t message_index);
    bool frame_bulk(std::uint32_t peer_index, std::uint32_t message_index, std::uint64_t limit);
    bool frame_control(std::uint32_t peer_index);
    bool frame_answer(std::uint32_t peer_index, std::uint32_t record);
    std::uint32_t frame_capacity(const Peer& peer) const noexcept { return peer.mtu - packet_overhead; }
    std::uint32_t bulk_payload(const Peer& peer, const TxMessage& message) const noexcept;

    // -- rma.cpp
    bool write_fits_frame(const Operation& operation, std::uint64_t total) const noexcept;
    bool frame_small_write(const Operation& operation, std::uint32_t record, std::uint64_t total);
    bool frame_write_pieces(const Operation& operation, std::uint32_t record, std::uint64_t total);
    bool frame_atomic(const Operation& operation, std::uint32_t record, std::uint64_t total);
    bool start_read(std::uint32_t peer_index, std::uint32_t message_index);
    bool frame_reads(std::uint32_t peer_index, std::uint32_t record);
    void finish_read(std::uint32_t record, Cause cause);
    bool psn_outstanding(const Peer& peer, std::uint32_t end) const noexcept;
    bool fence_open(const Peer& peer, std::uint32_t message_index) const noexcept;
    bool quiet(const Peer& peer) const noexcept;
    bool awaits_faults(const Peer& peer) const noexcept;
    static void learn_faults(Peer& peer, std::uint16_t made) noexcept;
    bool is_suspect(const TxMessage& message) const noexcept;
    void release_suspects(std::uint32_t peer_index);
    void confirm();
    void serve(std::span<const iovec> memory, std::uint64_t key, bool tell, std::uint64_t cookie);
    void reject(Cause cause);
    void revoke(std::uint64_t key);
    void finish_write_piece(Cause cause);
    void owe(std::uint32_t record, RxMessage::Owed owed, Cause cause);
    std::uint32_t new_answer(std::uint32_t sequence, std::uint32_t handle);
    bool frame_owed(std::uint32_t peer_index, std::uint32_t record);

    // -- receive.cpp
    void on_packets(std::span<const RxPacket> packets, Time now);
    void on_packet(const RxPacket& packet, Time now);
    bool poll_event(Event& event);
    bool poll_done(Event& event);
    bool poll_reordered(Event& event);
    bool step_packet(Event& event);
    void finish_packet();
    bool next_packet();
    void note_echo(Peer& peer, const Pending& packet) const noexcept;
    void announce(Event& event, std::uint32_t record);
    bool take_optional(std::uint8_t flags);
    /// next: go on; announce: an event awaits an answer; event: an event that does not;
    /// refuse: no memory, take the rest later; malformed: drop the packet; lost: its end could not be
    /// fetched; stop: the connection is gone
    enum class FrameResult : std::uint8_t { next, announce, event, refuse, malformed, lost, stop };
    FrameResult on_frame(Event& event);
    bool contents_agree(wire::FrameType type) noexcept;
    FrameResult on_message_frame();
    FrameResult on_part_frame();
    FrameResult on_request_frame();
    FrameResult on_grant_frame();
    FrameResult on_data_frame();
    FrameResult on_delivered_frame();
    FrameResult on_hello_frame(Event& event);
    FrameResult hold();
    FrameResult on_close_frame();

    // -- rma_frames.cpp
    FrameResult on_write_frame(Event& event);
    FrameResult on_read_frame(Event& event);
    FrameResult on_atomic_frame(Event& event);
    FrameResult on_result_frame();
    FrameResult on_fault_frame();
    FrameResult on_denied_frame();
    FrameResult open_access();
    void count_denied_piece(std::uint32_t record, std::size_t size);
    void announce_atomic(Event& event, std::uint32_t record);

    // -- placement.cpp
    Status accept(MessageId message, std::span<const iovec> iov, std::uint64_t cookie, Accepted& outcome);
    Status park(MessageId& message);
    void refuse();
    void discard(MessageId message);
    std::uint32_t new_rx_message(bool reserve);
    bool take_source(std::size_t pieces) noexcept;
    bool read_from_sender(RxMessage& message, std::span<const iovec> into) noexcept;
    bool store_payload(RxMessage& message, std::uint64_t offset, std::span<const std::byte> payload);
    bool place(RxMessage& message, std::uint64_t offset, const Payload& payload);
    bool place(std::span<const iovec> memory);
    std::optional<Payload> take_payload(std::size_t length) noexcept;
    bool copy_payload(const Payload& payload, std::span<const iovec> into,
                      std::uint64_t offset) const noexcept;
    void attach_buffer(RxMessage& message, std::span<const iovec> iov, std::uint64_t cookie);
    void finish_current();
    void accept_again(std::uint32_t index);
    void complete_rx(std::uint32_t index);
    void release_rx(std::uint32_t index);
    void settle_rx(std::uint32_t index);
    void owe_delivered(std::uint32_t index);
    void forget_held(const RxMessage& message) noexcept;
    void abandon_rx(std::uint32_t index, Cause cause);
    void report_rx(std::uint32_t index);
    void want_grant(std::uint32_t index);
    void stop_granting(std::uint32_t index);
    void issue_grants();
    void memory_freed();
    void hash_insert(std::uint32_t index);
    void hash_erase(std::uint32_t index);
    std::uint32_t hash_find(std::uint32_t peer, std::uint32_t sequence, bool writing = false) const noexcept;
    std::size_t bucket_of(std::uint32_t peer, std::uint32_t sequence) const noexcept;

    // -- acknowledge.cpp
    void on_ack(std::uint32_t index, const wire::AckBlock& block, const std::byte* words, Time arrived,
                Time now);
    AckSample sample_of(const Peer& peer, const wire::AckBlock& block, Time arrived, Time now) const;
    void release_block(std::uint32_t index, const wire::AckBlock& block, const std::byte* words, Time now,
                       std::uint32_t& acked_bytes);
    void note_spurious(Peer& peer, std::uint16_t duplicates);
    void release_acked(std::uint32_t index, std::uint32_t psn, const wire::AckBlock& block, Time now,
                       std::uint32_t& acked_bytes);
    static bool sent_after(const TxSlot& slot, Time time, std::uint32_t psn) noexcept;
    Duration loss_delay(const Peer& peer) const noexcept;
    void note_bad_path(Peer& peer, PathId path, PathOutcome outcome, Time now);
    void detect_losses(std::uint32_t index, Time now);
    void mark_lost(std::uint32_t index, std::uint32_t slot_index);
    void on_rnr(std::uint32_t index, bool not_ready, Time now);
    void resend_all(std::uint32_t index);
    void repeat_packet(Peer& peer, Time now);
    void on_probe_timer(std::uint32_t index, Time now);
    Duration probe_delay(const Peer& peer) const noexcept;
    void on_timeout(Time now);
    void on_peer_timer(std::uint32_t index, Time now);
    void arm(std::uint32_t index);
    std::uint32_t window_bytes(const Peer& peer) const noexcept;

    // -- transmit.cpp
    std::size_t poll_transmit(std::span<TxPacket> packets, Time now);
    std::size_t transmit_peer(std::uint32_t index, std::span<TxPacket> packets, Time now);
    std::uint32_t next_control_slot(std::uint32_t index);
    std::uint32_t next_slot(std::uint32_t index, Time now);
    bool emit_slot(std::uint32_t index, std::uint32_t slot_index, TxPacket& packet, Time now);
    Counter& repair_counter(TxSlot::Repair repair) const noexcept;
    void note_sent(Peer& peer, std::uint32_t slot_index, Time now);
    enum class Bare : std::uint8_t { ack, hello, close };
    bool emit_bare(std::uint32_t index, Bare kind, TxPacket& packet, Time now);
    PathId any_path(const Peer& peer);
    PathId choose_path(Peer& peer, const TxSlot& slot, Time now);
    std::byte* write_ack(Peer& peer, std::byte* out, std::size_t room, Time now);
    std::byte* write_hello(const Peer& peer, std::byte* out) const;
    std::byte* write_bulk_frame(const TxSlot& slot, std::byte* out) const;
    std::byte* write_write_frame(const TxSlot& slot, std::byte* out) const;
    static wire::FaultFrame denied_frame(const TxMessage& response) noexcept;
    void gather(const TxMessage& message, std::uint64_t offset, std::uint32_t length, TxPacket& packet) const;
    std::uint32_t alloc_desc(const Peer& peer, TxPacket& packet);
    void finish_packet_out(TxPacket& packet);
    bool ack_pending(const Peer& peer) const noexcept { return peer.ack_now || peer.ack_packets != 0; }
    bool sendable(const Peer& peer, Time now) const noexcept;
    void return_unsent(std::span<const TxPacket> packets, Time now);
    void on_tx_done() noexcept;
    bool has_work(const Peer& peer) const noexcept;
    bool window_open(Peer& peer, const TxSlot* slot, Time now) const noexcept;
    void activate(std::uint32_t index);
    void deactivate(std::uint32_t index);

    const IoCaps caps;
    const Limits limits;
    const Tuning tuning;
    Counters& count;
    std::array<std::byte, max_address_size> local_address{};
    std::uint8_t local_address_length = 0;
    RandomSource random;
    std::uint64_t incarnation = 0;
    Time now_{}; ///< the time of the entry point being served

    Slab<Peer> peers;
    Slab<TxSlot> slots;
    Slab<TxMessage> tx_messages;
    Slab<RxMessage> rx_messages;
    Slab<RemoteRanges> remote_ranges; ///< one for each of tx_messages that needs it
    TxWindowPool windows;
    Slab<TxDesc> descs;
    ByteSlab chunks;
    PayloadPool payloads;
    ConnectionTable connections;
    LazyArray<std::uint32_t> route_peer; ///< RouteId → peer + 1, 0 = none
    LazyArray<std::uint32_t> rx_buckets; ///< index + 1 of the first message in the bucket, 0 = none
    std::size_t rx_bucket_mask = 0;
    TimingWheel wheel;

    IndexList<&Peer::active_link> active;
    IndexList<&TxMessage::queue> tx_done;
    IndexList<&RxMessage::done> rx_done;
    IndexList<&RxMessage::grant> wanting_grants;
    std::uint32_t wanting_count = 0;
    std::uint64_t grants_outstanding = 0;
    std::uint64_t grant_budget = 0;
    std::uint32_t outstanding_messages = 0; ///< TxMessages neither done nor reported
    std::uint32_t outstanding_slots = 0;    ///< TxSlots in use
    std::uint32_t responses = 0;            ///< TxMessages that serve a peer's read
    std::uint32_t read_sequence = 0;        ///< of the next read of ours
    std::uint64_t held_bytes = 0;           ///< payload of messages that wait for their turn
    std::uint32_t held_messages = 0;        ///< messages that wait for their turn
    std::uint32_t refusing_peers = 0;       ///< peers with rnr_owed
    std::uint32_t sent_descs = no_index;    ///< chain of descriptors handed out since on_tx_done()
    bool transmit_due = false;
    bool closing = false;
    bool withdrawal = false;            ///< Engine::take_withdrawal
    std::uint32_t last_peer = no_index; ///< the peer of the previous packet: most packets come in trains

    std::vector<Pending> pending;
    std::size_t pending_next = 0;

    /// Where the frame parser stands, and the message whose event awaits an answer.
    struct Cursor {
        wire::Reader reader{{}};
        bool in_packet = false;
        Pending packet{};
        bool awaiting = false; ///< an answer to the event must follow
        /// What the answer is about.
        enum class Subject : std::uint8_t { message, write, read, atomic } subject = Subject::message;
        TxSlot::Contents contents = TxSlot::Contents::neutral; ///< of the frames read so far
        std::uint32_t rma_frames = 0;                          ///< write and read frames read so far
        std::uint32_t pump = no_index;                         ///< peer whose held messages may be due
        std::uint32_t record = no_index; ///< the awaited message's record, if it has one
        std::uint32_t peer = no_index;
        std::uint32_t sequence = 0;
        std::uint64_t total = 0;
        std::uint64_t offset = 0;
        std::uint64_t tag = 0;
        std::uint64_t data = 0;
        std::uint32_t sender_handle = 0;
        MessageFlags flags;
        bool requested = false;
        bool want_delivered = false;
        std::span<const std::byte> payload;
        std::array<iovec, max_iov> source{}; ///< request: the first source_count are its place at the sender
        std::size_t source_count = 0;
        std::uint32_t source_epoch = 0;
        bool remote_payload = false; ///< the write's bytes are the end of the packet
        wire::AtomicFrame atomic;    ///< if is_atomic
        bool is_atomic = false;
        std::array<RemoteRange, max_iov> ranges{}; ///< of the access that awaits an answer
    } cursor;

    wire::HelloFrame hello{}; ///< the introduction of the hello event being answered
    bool hello_open = false;

    std::array<RouteId, 64> liveness_questions{};
    std::size_t liveness_count = 0;
    Time liveness_asked_at{}; ///< the latest of them
    Time rx_drained_at{};     ///< Engine::on_rx_drained
};

/// The id of the current event's message while it has no record.
inline constexpr MessageId current_message{0xfffffffe};

} // namespace srd
