// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Incoming messages between their announcement and their end: buffers, the
// matching layer's answers, and the receiver's grants.
//
// A whole message that is matched when it is announced never gets a record:
// accept() copies it out of the packet. Everything else has an RxMessage.
#include "engine_impl.hpp"

#include <algorithm>
#include <cstring>

#include "send/bytes.hpp"

namespace srd {

namespace {

/// A sender gets grants in steps of this size, so that grants are few, many
/// senders share the budget, and one flow still fills its pipe.
constexpr std::uint64_t grant_quantum_packets = 16;
constexpr std::uint64_t grant_quantum_min = 64U << 10;
/// To a near peer: whole messages one after the other find their memory in the cache.
constexpr std::uint64_t near_grant_quantum = 1U << 20;

} // namespace

// -- Records ----------------------------------------------------------------

std::size_t Engine::Impl::bucket_of(std::uint32_t peer, std::uint32_t sequence) const noexcept
{
    return (sequence + peer * std::size_t{0x9e3779b1}) & rx_bucket_mask;
}

/// `sequence`: of a message, or with `writing` the sender's handle of a write.
std::uint32_t Engine::Impl::hash_find(std::uint32_t peer, std::uint32_t sequence, bool writing) const noexcept
{
    std::uint32_t at = rx_buckets[bucket_of(peer, sequence)] - 1;
    while (at != no_index && (rx_messages[at].peer != peer || rx_messages[at].sequence != sequence ||
                              (rx_messages[at].state == RxMessage::State::writing) != writing)) {
        at = rx_messages[at].hash.next;
    }
    return at;
}

void Engine::Impl::hash_insert(std::uint32_t index)
{
    RxMessage& message = rx_messages[index];
    SRD_DCHECK(!message.hashed);
    std::uint32_t& head = rx_buckets[bucket_of(message.peer, message.sequence)];
    message.hash = Link{no_index, head - 1};
    if (head != 0) {
        rx_messages[head - 1].hash.prev = index;
    }
    head = index + 1;
    message.hashed = true;
}

void Engine::Impl::hash_erase(std::uint32_t index)
{
    RxMessage& message = rx_messages[index];
    if (!message.hashed) {
        return;
    }
    message.hashed = false;
    if (message.hash.next != no_index) {
        rx_messages[message.hash.next].hash.prev = message.hash.prev;
    }
    if (message.hash.prev != no_index) {
        rx_messages[message.hash.prev].hash.next = message.hash.next;
    } else {
        rx_buckets[bucket_of(message.peer, message.sequence)] = message.hash.next + 1;
    }
}

/// A record for the message the cursor describes, on its peer's list. With
/// `reserve` an eighth of the records is left for messages that have a buffer,
/// so that unexpected ones can never keep those out.
std::uint32_t Engine::Impl::new_rx_message(bool reserve)
{
    if (reserve && rx_messages.in_use() >= rx_messages.capacity() - rx_messages.capacity() / 8) {
        return no_index;
    }
    const std::uint32_t index = rx_messages.alloc();
    if (index == no_index) {
        return no_index;
    }
    RxMessage& message = rx_messages[index];
    message.peer = cursor.peer;
    message.sequence = cursor.sequence;
    message.total = cursor.total;
    message.tag = cursor.tag;
    message.data = cursor.data;
    message.sender_handle = cursor.sender_handle;
    message.flags = cursor.flags;
    message.requested = cursor.requested;
    message.want_delivered = cursor.want_delivered;
    message.is_atomic = cursor.is_atomic;
    message.atomic = cursor.atomic;
    if (cursor.requested) {
        message.iov_count = static_cast<std::uint8_t>(cursor.source_count);
        std::copy_n(cursor.source.begin(), cursor.source_count, message.iov.begin());
        message.source_epoch = cursor.source_epoch;
    }
    peers[cursor.peer].rx_messages.push_back(rx_messages, index);
    return index;
}

void Engine::Impl::release_rx(std::uint32_t index)
{
    RxMessage& message = rx_messages[index];
    SRD_DCHECK(!message.on_control);
    SRD_DCHECK(!message.reporting);
    hash_erase(index);
    if (message.chunk != no_index) {
        payloads.release({message.chunk, message.chunk_class});
    }
    stop_granting(index);
    peers[message.peer].rx_messages.erase(rx_messages, index);
    rx_messages.release(index);
    memory_freed();
}

/// Gives back what the message was granted and will not use.
void Engine::Impl::stop_granting(std::uint32_t index)
{
    RxMessage& message = rx_messages[index];
    if (message.on_grant) {
        wanting_grants.erase(rx_messages, index);
        --wanting_count;
        message.on_grant = false;
    }
    if (message.requested) {
        grants_outstanding -= message.limit - message.received;
        message.limit = message.received;
    }
}

/// Peers that were told to wait may come again.
void Engine::Impl::memory_freed()
{
    if (refusing_peers == 0 || payloads.used() > payloads.budget() - payloads.budget() / 8 ||
        rx_messages.in_use() > rx_messages.capacity() - rx_messages.capacity() / 4) {
        return;
    }
    for (std::uint32_t index = 0; index < peers.watermark() && refusing_peers != 0; ++index) {
        if (peers.live(index) && peers[index].rnr_owed) {
            peers[index].rnr_owed = false;
            peers[index].ack_now = true;
            --refusing_peers;
            activate(index);
        }
    }
}

bool Engine::Impl::store_payload(RxMessage& message, std::uint64_t offset, std::span<const std::byte> payload)
{
    if (message.total != 0 && message.chunk == no_index) {
        const PayloadPool::Chunk chunk = payloads.alloc(message.total);
        if (chunk.index == no_index) {
            return false;
        }
        message.chunk = chunk.index;
        message.chunk_class = chunk.size_class;
    }
    if (!payload.empty()) {
        std::memcpy(payloads.data({message.chunk, message.chunk_class}) + offset, payload.data(),
                    payload.size());
    }
    message.received += payload.size();
    return true;
}

/// Puts arrived bytes where they belong: into the user's buffer if there is
/// one and nothing is stored, else to the stored bytes.
bool Engine::Impl::place(RxMessage& message, std::uint64_t offset, const Payload& payload)
{
    const iovec stored = message.chunk != no_index
                             ? iovec{payloads.data({message.chunk, message.chunk_class}), message.total}
                             : iovec{};
    const bool placed = message.chunk != no_index
                            ? copy_payload(payload, {&stored, 1}, offset)
                            : copy_payload(payload, {message.iov.data(), message.iov_count}, offset);
    message.received += placed ? payload.size : 0;
    return placed;
}

/// The write's bytes, which the event announced. False: they are lost, and nothing awaits an answer.
bool Engine::Impl::place(std::span<const iovec> memory)
{
    SRD_CHECK(cursor.awaiting && cursor.subject == Cursor::Subject::write);
    if (copy_payload({cursor.payload, cursor.ranges[0].length, cursor.remote_payload}, memory, 0)) {
        return true;
    }
    cursor.awaiting = false;
    cursor.in_packet = false;
    cursor.record = no_index;
    return false;
}

/// The next `length` bytes of the packet, if it has them: the rest of what is here, or all that is elsewhere.
std::optional<Engine::Impl::Payload> Engine::Impl::take_payload(std::size_t length) noexcept
{
    if (cursor.packet.remote != nullptr) {
        return cursor.reader.remaining() == 0 && length == cursor.packet.remote_length
                   ? std::optional(Payload{{}, length, true})
                   : std::nullopt;
    }
    const auto bytes = cursor.reader.take_bytes(length);
    return bytes ? std::optional(Payload{*bytes, length, false}) : std::nullopt;
}

/// Copies a frame's bytes to `into` from `offset` on; what lies beyond its end is dropped.
bool Engine::Impl::copy_payload(const Payload& payload, std::span<const iovec> into,
                                std::uint64_t offset) const noexcept
{
    if (!payload.remote) {
        scatter(into, offset, payload.bytes);
        return true;
    }
    std::array<iovec, max_iov> pieces;
    const std::size_t used = slice(into, offset, payload.size, pieces);
    return used == 0 || cursor.packet.remote->fetch(cursor.packet.mapping_id, std::span(pieces).first(used));
}

void Engine::Impl::attach_buffer(RxMessage& message, std::span<const iovec> iov, std::uint64_t cookie)
{
    std::copy(iov.begin(), iov.end(), message.iov.begin());
    message.iov_count = static_cast<std::uint8_t>(iov.size());
    message.cookie = cookie;
    message.state = RxMessage::State::receiving;
}

/// Every byte has arrived and a buffer is known: copy what was stored, tell the sender if it asked.
void Engine::Impl::complete_rx(std::uint32_t index)
{
    RxMessage& message = rx_messages[index];
    hash_erase(index);
    if (message.chunk != no_index) {
        scatter({message.iov.data(), message.iov_count}, 0,
                {payloads.data({message.chunk, message.chunk_class}), message.total});
        payloads.release({message.chunk, message.chunk_class});
        message.chunk = no_index;
        memory_freed();
    }
    if (message.want_delivered) {
        owe_delivered(index);
    }
}

/// After its event was reported, or if it needs none: gone, unless a delivered frame is still owed.
void Engine::Impl::settle_rx(std::uint32_t index)
{
    RxMessage& message = rx_messages[index];
    if (message.on_control) {
        message.state = RxMessage::State::settling;
        return;
    }
    release_rx(index);
}

/// The message's turn has come, or will never come.
void Engine::Impl::forget_held(const RxMessage& message) noexcept
{
    --held_messages;
    held_bytes -= message.requested ? 0 : PayloadPool::footprint(message.total);
}

/// The peer's connection has ended: what can no longer be completed is reported
/// or forgotten; whole unexpected messages stay for their receive.
void Engine::Impl::abandon_rx(std::uint32_t index, Cause cause)
{
    RxMessage& message = rx_messages[index];
    hash_erase(index);
    if (message.on_control) {
        peers[message.peer].control.erase(rx_messages, index);
        message.on_control = message.grant_due = message.delivered_due = false;
    }
    message.want_delivered = false;
    stop_granting(index);
    if (message.reporting) {
        return; // its event is on the way and ends it
    }
    const bool whole = !message.requested && message.received >= message.total;
    switch (message.state) {
    case RxMessage::State::parked:
        if (whole) {
            return;
        }
        message.report_lost = true;
        break;
    case RxMessage::State::receiving:
        if (message.silent || message.read != no_index) { // a read's operation is failed on its own account
            release_rx(index);
            return;
        }
        break;
    case RxMessage::State::reordered:
        forget_held(message);
        release_rx(index);
        return;
    case RxMessage::State::settling:
    case RxMessage::State::writing:
    case RxMessage::State::answering:
        release_rx(index);
        return;
    }
    message.cause = cause;
    report_rx(index);
}

/// Queues the event that ends `index`: receive_done, or message_lost for a parked one.
void Engine::Impl::report_rx(std::uint32_t index)
{
    rx_messages[index].reporting = true;
    rx_done.push_back(rx_messages, index);
}

void Engine::Impl::owe_delivered(std::uint32_t index)
{
    RxMessage& message = rx_messages[index];
    message.delivered_due = true;
    if (!message.on_control) {
        message.on_control = true;
        peers[message.peer].control.push_back(rx_messages, index);
    }
    activate(message.peer);
}

// -- The matching layer's answers ---------------------------------------------

/// The announced message is taken: the next one may come.
void Engine::Impl::finish_current()
{
    Peer& peer = peers[cursor.peer];
    ++peer.rx_message_next;
    if (peer.reordered != 0) {
        cursor.pump = cursor.peer;
    }
    cursor.awaiting = false;
    cursor.record = no_index;
    accept_again(cursor.peer);
}

/// True if a large message has been copied straight from the sender's memory, `from`: no data will follow.
bool Engine::Impl::read_from_sender(RxMessage& message, std::span<const iovec> from) noexcept
{
    Peer& peer = peers[message.peer];
    if (from.empty() || peer.unreadable || !peer.near || total_length(from) != message.total) {
        return false;
    }
    std::array<iovec, max_iov> into;
    const std::size_t used = slice({message.iov.data(), message.iov_count}, 0, message.total, into);
    const ProcessMemory::Read result =
        caps.memory->read(peer.route, message.source_epoch, from, std::span(into).first(used));
    peer.unreadable = result == ProcessMemory::Read::forbidden;
    if (result != ProcessMemory::Read::done) {
        return false;
    }
    message.received = message.limit = message.total;
    message.want_delivered = true;
    return true;
}

/// What was refused before has been taken now.
void Engine::Impl::accept_again(std::uint32_t index)
{
    Peer& peer = peers[index];
    if (peer.rnr_owed) {
        peer.rnr_owed = false;
        --refusing_peers;
        peer.ack_now = true;
        activate(index);
    }
}

Status Engine::Impl::accept(MessageId id, std::span<const iovec> iov, std::uint64_t cookie, Accepted& outcome)
{
    SRD_CHECK(iov.size() <= max_iov);
    std::uint32_t index = static_cast<std::uint32_t>(index_of(id));
    std::array<iovec, max_iov> pieces; // of the sender's memory
    std::size_t source_count = 0;
    if (id == current_message) {
        SRD_CHECK(cursor.awaiting && cursor.record == no_index);
        const bool whole = !cursor.requested && cursor.payload.size() == cursor.total;
        if (whole && !cursor.want_delivered) {
            scatter(iov, 0, cursor.payload);
            finish_current();
            outcome = Accepted::complete;
            return Status::ok;
        }
        index = new_rx_message(false);
        if (index == no_index) {
            return Status::again;
        }
        RxMessage& message = rx_messages[index];
        source_count = message.iov_count;
        std::copy_n(message.iov.begin(), source_count, pieces.begin());
        attach_buffer(message, iov, cookie);
        if (!cursor.requested) {
            place(message, cursor.offset, {cursor.payload, cursor.payload.size(), false});
            if (message.received < message.total) {
                hash_insert(index);
            }
        }
        finish_current();
    } else {
        SRD_CHECK(rx_messages.live(index));
        const bool current = cursor.awaiting && cursor.record == index;
        SRD_CHECK(current || rx_messages[index].state == RxMessage::State::parked);
        source_count = rx_messages[index].requested ? rx_messages[index].iov_count : 0;
        std::copy_n(rx_messages[index].iov.begin(), source_count, pieces.begin());
        attach_buffer(rx_messages[index], iov, cookie);
        if (current) {
            finish_current();
        }
    }
    RxMessage& message = rx_messages[index];
    if (message.received >= message.total ||
        read_from_sender(message, std::span(pieces).first(source_count))) {
        complete_rx(index);
        settle_rx(index);
        outcome = Accepted::complete;
        return Status::ok;
    }
    if (message.requested) {
        want_grant(index);
        issue_grants();
    }
    outcome = Accepted::pending;
    return Status::ok;
}

Status Engine::Impl::park(MessageId& id)
{
    SRD_CHECK(cursor.awaiting);
    std::uint32_t index = cursor.record;
    if (index == no_index) {
        SRD_CHECK(id == current_message);
        index = new_rx_message(true);
        if (index == no_index) {
            return Status::again;
        }
        RxMessage& message = rx_messages[index];
        if (!cursor.requested) {
            if (!store_payload(message, cursor.offset, cursor.payload)) {
                release_rx(index);
                return Status::again;
            }
            if (message.received < message.total) {
                hash_insert(index);
            }
        }
    }
    rx_messages[index].state = RxMessage::State::parked;
    count.rx_unexpected_messages.add();
    finish_current();
    id = MessageId{index};
    return Status::ok;
}

/// The announced message and the rest of its packet are not taken. The packet
/// stays unacknowledged; what was already taken from it is recognised when it
/// comes again.
void Engine::Impl::refuse()
{
    SRD_CHECK(cursor.awaiting && cursor.record == no_index);
    cursor.awaiting = false;
    cursor.in_packet = false;
    count.rx_refused_messages.add();
    Peer& peer = peers[cursor.peer];
    if (!peer.rnr_owed) {
        peer.rnr_owed = true;
        ++refusing_peers;
    }
    peer.ack_now = true;
    activate(cursor.peer);
}

void Engine::Impl::discard(MessageId id)
{
    Accepted outcome{};
    const auto index = static_cast<std::uint32_t>(index_of(id));
    SRD_CHECK(rx_messages.live(index));
    rx_messages[index].silent = true;
    const Status status = accept(id, {}, 0, outcome);
    SRD_CHECK(status == Status::ok);
}

// -- Grants -------------------------------------------------------------------

void Engine::Impl::want_grant(std::uint32_t index)
{
    RxMessage& message = rx_messages[index];
    SRD_DCHECK(message.requested && !message.on_grant && message.limit < message.total);
    message.on_grant = true;
    wanting_grants.push_back(rx_messages, index);
    ++wanting_count;
}

/// Shares the budget of granted-but-not-arrived bytes: in turns, and no message
/// holds more than its share, so a sender that has stopped cannot starve others.
void Engine::Impl::issue_grants()
{
    std::uint32_t turns = wanting_count;
    while (turns != 0) {
        const std::uint32_t index = wanting_grants.front();
        RxMessage& message = rx_messages[index];
        Peer& peer = peers[message.peer];
        const std::uint64_t quantum =
            peer.near ? near_grant_quantum : std::max(grant_quantum_min, grant_quantum_packets * peer.mtu);
        const std::uint64_t wanted = std::min(quantum, grant_budget / 2);
        const std::uint64_t step = std::min(wanted, message.total - message.limit);
        if (grants_outstanding != 0 && grants_outstanding + step > grant_budget) {
            return;
        }
        wanting_grants.erase(rx_messages, index);
        const std::uint64_t outstanding = message.limit - message.received;
        if (outstanding != 0 && outstanding + step > std::max(step, grant_budget / wanting_count)) {
            wanting_grants.push_back(rx_messages, index);
            --turns;
            continue;
        }
        message.limit += step;
        grants_outstanding += step;
        message.grant_due = true;
        if (!message.on_control) {
            message.on_control = true;
            peer.control.push_back(rx_messages, index);
        }
        activate(message.peer);
        if (message.limit < message.total) {
            wanting_grants.push_back(rx_messages, index);
        } else {
            message.on_grant = false;
            --wanting_count;
        }
        turns = wanting_count; // somebody got something: go round again
    }
}

} // namespace srd
