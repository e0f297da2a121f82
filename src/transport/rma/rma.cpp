// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Remote memory access, at both ends.
//
// A write is placed when it arrives and needs no answer: its acknowledgement
// says that it is placed, unless the acknowledgement also counts a fault frame
// that has not come yet. A read receives as a granted message does, each grant
// being a read frame. An atomic is a message that is carried out instead of
// matched; if it fetches, its result comes in a frame of its own.
#include "engine_impl.hpp"

#include <algorithm>

#include "send/bytes.hpp"

namespace srd {

namespace {

std::uint8_t code_of(Cause cause) noexcept
{
    switch (cause) {
    case Cause::out_of_bounds:
        return wire::fault_cause::out_of_bounds;
    case Cause::access_denied:
        return wire::fault_cause::access_denied;
    case Cause::bad_operation:
        return wire::fault_cause::bad_operation;
    case Cause::region_closed:
        return wire::fault_cause::region_closed;
    default:
        return wire::fault_cause::bad_key;
    }
}

struct WriteHeader {
    RemoteRange range;
    std::uint64_t length = 0; ///< of the piece
    std::uint64_t total = 0;
    std::uint64_t data = 0;
    std::uint32_t handle = no_index;
    bool whole = true;
    bool has_data = false;
};

constexpr std::size_t size_of(const WriteHeader& header) noexcept
{
    return sizeof(wire::WriteFrame) + (header.whole ? 0 : sizeof(wire::WriteTotal)) +
           (header.has_data ? sizeof(wire::MessageData) : 0);
}

std::byte* write_header(std::byte* out, const WriteHeader& header) noexcept
{
    wire::WriteFrame frame;
    frame.flags = static_cast<std::uint8_t>((header.whole ? wire::rma_flag::whole : 0) |
                                            (header.has_data ? wire::rma_flag::has_data : 0));
    frame.length = static_cast<std::uint16_t>(header.length);
    frame.handle = header.handle;
    frame.key = header.range.key;
    frame.address = header.range.address;
    out = put(out, frame);
    if (!header.whole) {
        out = put(out, wire::WriteTotal{header.total});
    }
    return header.has_data ? put(out, wire::MessageData{header.data}) : out;
}

WriteHeader header_of(const Operation& operation, std::uint32_t record, std::uint64_t total) noexcept
{
    WriteHeader header;
    header.range = operation.remote.front();
    header.length = total;
    header.total = total;
    header.data = operation.data;
    header.handle = record;
    header.has_data = operation.flags.has_data;
    return header;
}

} // namespace

// -- The initiator: fences ------------------------------------------------------

/// True while a packet before psn `end` may still be unacknowledged.
bool Engine::Impl::psn_outstanding(const Peer& peer, std::uint32_t end) const noexcept
{
    return end - 1 - peer.tx_una < peer.tx_next - peer.tx_una;
}

/// True if every operation to the peer is complete.
bool Engine::Impl::quiet(const Peer& peer) const noexcept
{
    return peer.tx_messages.empty() && !psn_outstanding(peer, peer.operations_end) &&
           peer.message_delivered == peer.message_next;
}

/// May the fenced operation start? Everything before it must be complete; what left no record, acknowledged
/// and, if it is a message or an atomic, not still held for its turn.
bool Engine::Impl::fence_open(const Peer& peer, std::uint32_t message_index) const noexcept
{
    const TxMessage& message = tx_messages[message_index];
    return peer.tx_messages.front() == message_index && !psn_outstanding(peer, message.fence_end) &&
           wire::sequence_distance(peer.message_delivered, message.fence_messages) >= 0;
}

// -- The initiator: faults ------------------------------------------------------

bool Engine::Impl::awaits_faults(const Peer& peer) const noexcept
{
    return static_cast<std::int16_t>(peer.faults_seen - peer.faults_got) > 0;
}

/// The peer has made so many fault frames.
void Engine::Impl::learn_faults(Peer& peer, std::uint16_t made) noexcept
{
    if (static_cast<std::int16_t>(made - peer.faults_seen) > 0) {
        peer.faults_seen = made;
    }
}

/// An acknowledged operation that may still turn out to have failed. A write is placed before it is
/// acknowledged; an atomic may be held for its turn, and is judged only then.
bool Engine::Impl::is_suspect(const TxMessage& message) const noexcept
{
    const Peer& peer = peers[message.peer];
    if (message.kind == OperationKind::write) {
        return awaits_faults(peer);
    }
    if (message.kind != OperationKind::atomic || message.fetch || message.level == CompletionLevel::inject) {
        return false;
    }
    return awaits_faults(peer) || wire::sequence_distance(peer.message_delivered, message.sequence) <= 0;
}

/// Completes the suspects that have become clear: no fault frame for them can come any more.
void Engine::Impl::release_suspects(std::uint32_t peer_index)
{
    Peer& peer = peers[peer_index];
    if (!peer.has_suspects || awaits_faults(peer)) {
        return;
    }
    peer.has_suspects = false;
    for (std::uint32_t at = peer.tx_messages.front(); at != no_index;) {
        const std::uint32_t next = peer.tx_messages.next(tx_messages, at);
        if (tx_messages[at].state == TxMessage::State::suspect) {
            complete_tx(at, Cause::none);
        }
        at = next;
    }
}

// -- The initiator: writes --------------------------------------------------------

bool Engine::Impl::write_fits_frame(const Operation& operation, std::uint64_t total) const noexcept
{
    const Peer& peer = peers[static_cast<std::uint32_t>(index_of(operation.peer))];
    return operation.remote.size() == 1 && size_of(header_of(operation, no_index, total)) + total <=
                                               std::min(frame_capacity(peer), chunk_size);
}

/// Copies a short write into the open slot. False, with nothing changed, when there is no room, or when
/// it needs several frames and may wait for them.
bool Engine::Impl::frame_small_write(const Operation& operation, std::uint32_t record, std::uint64_t total)
{
    if (!write_fits_frame(operation, total)) {
        return operation.copy_payload && frame_write_pieces(operation, record, total);
    }
    const auto peer_index = static_cast<std::uint32_t>(index_of(operation.peer));
    const bool awaited =
        operation.level == CompletionLevel::transmit || operation.level == CompletionLevel::delivery;
    const WriteHeader header = header_of(operation, awaited ? record : no_index, total);
    std::byte* out = small_space(peer_index, size_of(header) + total, TxSlot::Contents::rma);
    if (out == nullptr) {
        return false;
    }
    copy_range(operation.iov, 0, total, write_header(out, header));
    if (record != no_index) {
        TxMessage& message = tx_messages[record];
        message.state = TxMessage::State::framed;
        message.framed = total;
        if (awaited) {
            TxSlot& slot = slots[peers[peer_index].open_slot];
            message.queue.next = slot.message;
            slot.message = record;
        }
    }
    return true;
}

/// Copies a write into packets of its own, one for each piece. It completes when they are acknowledged,
/// whatever its level: until then its record is its name.
bool Engine::Impl::frame_write_pieces(const Operation& operation, std::uint32_t record, std::uint64_t total)
{
    const auto peer_index = static_cast<std::uint32_t>(index_of(operation.peer));
    Peer& peer = peers[peer_index];
    TxMessage& message = tx_messages[record];
    const RemoteRanges& remote = remote_ranges[message.remote];
    WriteHeader header = header_of(operation, record, total);
    header.whole = false;
    const std::uint64_t room = std::min(frame_capacity(peer), chunk_size) - size_of(header);
    const auto most = static_cast<std::uint32_t>(total / room + remote.count + 1);
    if (!window_has_room(peer, most)) {
        return false;
    }
    close_open_slot(peer);
    std::uint64_t offset = 0;
    do {
        header.range = remote.from(offset);
        header.length = std::min({room, total - offset, header.range.length});
        std::byte* out = small_space(peer_index, size_of(header) + header.length, TxSlot::Contents::rma);
        SRD_CHECK(out != nullptr);
        copy_range(operation.iov, offset, header.length, write_header(out, header));
        TxSlot& slot = slots[peer.open_slot];
        slot.bulk = true;
        slot.message = record;
        ++message.unacked;
        close_open_slot(peer);
        offset += header.length;
    } while (offset < total);
    message.state = TxMessage::State::framed;
    message.framed = total;
    return true;
}

std::byte* Engine::Impl::write_write_frame(const TxSlot& slot, std::byte* out) const
{
    const TxMessage& message = tx_messages[slot.message];
    const RemoteRanges& remote = remote_ranges[message.remote];
    WriteHeader header;
    header.range = remote.from(slot.offset);
    header.length = slot.length;
    header.total = message.total;
    header.data = message.data;
    header.handle = slot.message;
    header.whole = remote.count == 1 && slot.length == message.total;
    header.has_data = message.flags.has_data;
    return write_header(out, header);
}

// -- The initiator: atomics -------------------------------------------------------

std::size_t atomic_frame_size(const Operation& operation, std::uint64_t total) noexcept
{
    const AtomicOperation& atomic = operation.atomic;
    return sizeof(wire::AtomicFrame) + operation.remote.size() * sizeof(wire::AtomicRange) +
           (atomic.has_operand ? total : 0) + (atomic.has_compare ? total : 0);
}

bool Engine::Impl::frame_atomic(const Operation& operation, std::uint32_t record, std::uint64_t total)
{
    const auto peer_index = static_cast<std::uint32_t>(index_of(operation.peer));
    Peer& peer = peers[peer_index];
    const AtomicOperation& atomic = operation.atomic;
    std::byte* out = small_space(peer_index, atomic_frame_size(operation, total), TxSlot::Contents::messages);
    if (out == nullptr) {
        return false;
    }
    const bool awaited =
        operation.level == CompletionLevel::transmit || operation.level == CompletionLevel::delivery;
    wire::AtomicFrame frame;
    frame.flags = static_cast<std::uint8_t>((atomic.fetch ? wire::atomic_flag::fetch : 0) |
                                            (atomic.has_operand ? wire::atomic_flag::has_operand : 0) |
                                            (atomic.has_compare ? wire::atomic_flag::has_compare : 0));
    frame.length = static_cast<std::uint16_t>(total);
    frame.sequence = peer.message_next;
    frame.handle = awaited || atomic.fetch ? record : no_index;
    frame.operation = atomic.operation;
    frame.datatype = atomic.datatype;
    frame.ranges = static_cast<std::uint8_t>(operation.remote.size());
    out = put(out, frame);
    for (const RemoteRange& range : operation.remote) {
        out = put(out, wire::AtomicRange{range.address, range.length, range.key});
    }
    if (atomic.has_operand) {
        out = copy_range(operation.iov, 0, total, out);
    }
    if (atomic.has_compare) {
        copy_range(atomic.compare, 0, total, out);
    }
    if (record != no_index) {
        TxMessage& message = tx_messages[record];
        message.state = TxMessage::State::framed;
        message.framed = total;
        if (awaited && !atomic.fetch) {
            TxSlot& slot = slots[peer.open_slot];
            message.queue.next = slot.message;
            slot.message = record;
        }
    }
    return true;
}

// -- The initiator: reads ---------------------------------------------------------

/// The read at the front of tx_queue gets a record to receive into and asks for its first bytes.
bool Engine::Impl::start_read(std::uint32_t peer_index, std::uint32_t message_index)
{
    if (rx_messages.in_use() >= rx_messages.capacity() - rx_messages.capacity() / 8) {
        return false; // the rest is for messages that have a buffer
    }
    Peer& peer = peers[peer_index];
    TxMessage& operation = tx_messages[message_index];
    const std::uint32_t index = rx_messages.alloc();
    RxMessage& message = rx_messages[index];
    message.peer = peer_index;
    message.sequence = operation.sequence;
    message.total = operation.total;
    message.iov_count = operation.iov_count;
    std::copy_n(operation.iov.begin(), operation.iov_count, message.iov.begin());
    message.read = message_index;
    message.requested = true;
    message.state = RxMessage::State::receiving;
    peer.rx_messages.push_back(rx_messages, index);
    peer.tx_queue.erase(tx_messages, message_index);
    operation.state = TxMessage::State::waiting;
    if (message.total != 0) {
        want_grant(index);
        issue_grants();
    } else {
        message.on_control = true;
        peer.control.push_back(rx_messages, index);
    }
    return true;
}

/// Asks for what has been granted. True when all of that is framed.
bool Engine::Impl::frame_reads(std::uint32_t peer_index, std::uint32_t record)
{
    RxMessage& message = rx_messages[record];
    const RemoteRanges& remote = remote_ranges[tx_messages[message.read].remote];
    do {
        std::byte* out = small_space(peer_index, sizeof(wire::ReadFrame), TxSlot::Contents::rma);
        if (out == nullptr) {
            return false;
        }
        const RemoteRange range = remote.from(message.asked);
        const std::uint64_t length = std::min(message.limit - message.asked, range.length);
        wire::ReadFrame frame;
        frame.flags = message.asked + length == message.total ? wire::rma_flag::last : std::uint8_t{0};
        frame.sequence = message.sequence;
        frame.handle = record;
        frame.length = static_cast<std::uint32_t>(length);
        frame.key = range.key;
        frame.address = range.address;
        frame.offset = message.asked;
        put(out, frame);
        message.asked += length;
    } while (message.asked < message.limit);
    peers[peer_index].control.erase(rx_messages, record);
    message.on_control = message.grant_due = false;
    return true;
}

void Engine::Impl::finish_read(std::uint32_t record, Cause cause)
{
    RxMessage& message = rx_messages[record];
    const std::uint32_t operation = message.read;
    if (message.on_control) {
        peers[message.peer].control.erase(rx_messages, record);
        message.on_control = message.grant_due = false;
    }
    release_rx(record);
    complete_tx(operation, cause);
    issue_grants();
}

// -- The target's answers -----------------------------------------------------------

void Engine::Impl::confirm()
{
    SRD_CHECK(cursor.awaiting);
    const std::uint32_t record = cursor.record;
    if (cursor.subject == Cursor::Subject::write) {
        count.rx_writes.add();
        finish_write_piece(Cause::none);
        return;
    }
    SRD_CHECK(cursor.subject == Cursor::Subject::atomic);
    count.rx_atomics.add();
    if ((cursor.atomic.flags & wire::atomic_flag::fetch) != 0) {
        owe(record, RxMessage::Owed::result, Cause::none);
    } else if (record != no_index) {
        release_rx(record);
    }
    finish_current();
}

void Engine::Impl::reject(Cause cause)
{
    SRD_CHECK(cursor.awaiting);
    count.rx_denied.add();
    switch (cursor.subject) {
    case Cursor::Subject::write:
        finish_write_piece(cause);
        return;
    case Cursor::Subject::read: {
        const std::uint32_t answer = new_answer(cursor.sequence, cursor.sender_handle);
        SRD_CHECK(answer != no_index); // open_access() has made sure of room
        rx_messages[answer].answers_read = true;
        owe(answer, RxMessage::Owed::denied, cause);
        cursor.awaiting = false;
        return;
    }
    case Cursor::Subject::atomic: {
        const bool fetch = (cursor.atomic.flags & wire::atomic_flag::fetch) != 0;
        const std::uint32_t answer =
            cursor.record != no_index ? cursor.record : new_answer(cursor.sequence, cursor.sender_handle);
        if (answer == no_index) {
            refuse(); // nothing was carried out, so it may come again
            return;
        }
        owe(answer, fetch ? RxMessage::Owed::denied : RxMessage::Owed::fault, cause);
        finish_current();
        return;
    }
    case Cursor::Subject::message:
        break;
    }
    SRD_CHECK(false);
}

/// The bytes of one write frame are dealt with.
void Engine::Impl::finish_write_piece(Cause cause)
{
    const std::uint32_t record = cursor.record;
    cursor.awaiting = false;
    cursor.record = no_index;
    if (cause != Cause::none) {
        const std::uint32_t answer = new_answer(0, cursor.sender_handle);
        SRD_CHECK(answer != no_index);
        owe(answer, RxMessage::Owed::fault, cause);
    }
    if (record == no_index) {
        return;
    }
    RxMessage& message = rx_messages[record];
    message.received += cursor.ranges[0].length;
    message.cause = cause; // the first fault answers for the whole operation: no further piece is announced
    if (message.received == message.total) {
        release_rx(record);
    }
}

void Engine::Impl::serve(std::span<const iovec> memory, std::uint64_t key, bool tell, std::uint64_t cookie)
{
    SRD_CHECK(cursor.awaiting && cursor.subject == Cursor::Subject::read && memory.size() <= max_iov);
    cursor.awaiting = false;
    const std::uint32_t index = tx_messages.alloc();
    SRD_CHECK(index != no_index); // open_access() has made sure of room
    ++outstanding_messages;
    ++responses;
    count.rx_reads.add();
    TxMessage& message = tx_messages[index];
    message.response = true;
    message.requested = true;
    message.peer = cursor.peer;
    message.sequence = cursor.sequence;
    message.remote_handle = cursor.sender_handle;
    message.base = cursor.offset;
    message.key = key;
    message.total = total_length(memory);
    message.granted = message.total;
    message.level = tell ? CompletionLevel::transmit : CompletionLevel::none;
    message.cookie = cookie;
    message.iov_count = static_cast<std::uint8_t>(memory.size());
    std::copy(memory.begin(), memory.end(), message.iov.begin());
    message.state = TxMessage::State::granted;
    peers[cursor.peer].grant_queue.push_back(tx_messages, index);
    activate(cursor.peer);
}

/// What was sent may be sent again and is then answered with region_closed; so is what was not sent yet.
void Engine::Impl::revoke(std::uint64_t key)
{
    for (std::uint32_t index = 0; responses != 0 && index < tx_messages.watermark(); ++index) {
        if (!tx_messages.live(index)) {
            continue;
        }
        TxMessage& message = tx_messages[index];
        if (message.response && message.key == key && message.state != TxMessage::State::done) {
            message.revoked = true;
            message.level = CompletionLevel::none;
            message.iov_count = 0;
            withdrawal = true;
        }
    }
}

wire::FaultFrame Engine::Impl::denied_frame(const TxMessage& response) noexcept
{
    wire::FaultFrame frame;
    frame.type = static_cast<std::uint8_t>(wire::FrameType::denied);
    frame.cause = wire::fault_cause::region_closed;
    frame.is_read = 1;
    frame.sequence = response.sequence;
    frame.handle = response.remote_handle;
    return frame;
}

/// A record for an answer to the frame that the cursor describes.
std::uint32_t Engine::Impl::new_answer(std::uint32_t sequence, std::uint32_t handle)
{
    const std::uint32_t index = rx_messages.alloc();
    if (index == no_index) {
        return no_index;
    }
    RxMessage& message = rx_messages[index];
    message.peer = cursor.peer;
    message.sequence = sequence;
    message.sender_handle = handle;
    message.state = RxMessage::State::answering;
    peers[cursor.peer].rx_messages.push_back(rx_messages, index);
    return index;
}

void Engine::Impl::owe(std::uint32_t record, RxMessage::Owed owed, Cause cause)
{
    RxMessage& message = rx_messages[record];
    Peer& peer = peers[message.peer];
    message.state = RxMessage::State::answering;
    message.owed = owed;
    message.cause = cause;
    message.on_control = true;
    peer.control.push_back(rx_messages, record);
    if (owed == RxMessage::Owed::fault) {
        ++peer.faults_made; // before the acknowledgement of the packet is made
    }
    activate(message.peer);
}

/// Puts a result, fault or denied frame into the open slot; the record is done with.
bool Engine::Impl::frame_owed(std::uint32_t peer_index, std::uint32_t record)
{
    RxMessage& message = rx_messages[record];
    const bool is_result = message.owed == RxMessage::Owed::result;
    const bool is_fault = message.owed == RxMessage::Owed::fault;
    const std::size_t length = is_result ? std::size_t{message.atomic.length} : 0;
    // A fault frame is counted, so it must not be in a packet that may be refused and come again.
    std::byte* out =
        small_space(peer_index, (is_result ? sizeof(wire::ResultFrame) : sizeof(wire::FaultFrame)) + length,
                    is_fault ? TxSlot::Contents::rma : TxSlot::Contents::neutral);
    if (out == nullptr) {
        return false;
    }
    if (is_result) {
        wire::ResultFrame frame;
        frame.length = static_cast<std::uint16_t>(length);
        frame.sequence = message.sequence;
        frame.handle = message.sender_handle;
        const std::byte* stored = payloads.data({message.chunk, message.chunk_class});
        std::copy_n(stored + message.total - length, length, put(out, frame));
    } else {
        wire::FaultFrame frame;
        frame.type = static_cast<std::uint8_t>(is_fault ? wire::FrameType::fault : wire::FrameType::denied);
        frame.cause = code_of(message.cause);
        frame.is_read = message.answers_read ? 1 : 0;
        frame.sequence = message.sequence;
        frame.handle = message.sender_handle;
        frame.faults = peers[peer_index].faults_made;
        put(out, frame);
    }
    peers[peer_index].control.erase(rx_messages, record);
    message.on_control = false;
    release_rx(record);
    return true;
}

// ---------------------------------------------------------------------------

bool Engine::place(std::span<const iovec> memory)
{
    return impl_->place(memory);
}

void Engine::confirm(Time now)
{
    impl_->now_ = now;
    impl_->confirm();
}

void Engine::serve(std::span<const iovec> memory, std::uint64_t key, bool tell, std::uint64_t cookie,
                   Time now)
{
    impl_->now_ = now;
    impl_->serve(memory, key, tell, cookie);
}

void Engine::reject(Cause cause, Time now)
{
    impl_->now_ = now;
    impl_->reject(cause);
}

void Engine::revoke(std::uint64_t key, Time now)
{
    impl_->now_ = now;
    impl_->revoke(key);
}

} // namespace srd
