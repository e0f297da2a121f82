// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "rma/target.hpp"

#include <algorithm>
#include <cstring>

#include <srd/iov.hpp>

namespace srd {

// -- Frames -------------------------------------------------------------------------

FrameResult RmaTarget::open_access(bool goes_on)
{
    if (s_.reader.rma_frames() != 1) {
        return FrameResult::next;
    }
    const std::uint32_t peer = s_.reader.packet().peer;
    const bool room = s_.incoming.has_room(wire::max_rma_frames) &&
                      s_.outgoing.has_room_for_responses(wire::max_rma_frames);
    const bool greedy =
        s_.incoming.has_its_share(peer) || s_.outgoing.has_its_share(s_.peers[peer].connection.queue);
    if (!room || (greedy && !goes_on)) {
        return FrameResult::refuse;
    }
    placement_.accept_again(peer);
    return FrameResult::next;
}

FrameResult RmaTarget::on_write(const wire::WritePiece& frame, Event& event)
{
    const std::uint32_t peer = s_.reader.packet().peer;
    const std::uint64_t size = frame.payload.size;
    const bool partial = size != frame.total;
    if ((partial || frame.payload.named()) && s_.reader.rma_frames() != 1) {
        return FrameResult::malformed; // a piece of a longer write has its packet for itself
    }
    std::uint32_t record = partial ? s_.incoming.find(peer, frame.handle, true) : no_index;
    if (open_access(record != no_index) == FrameResult::refuse) {
        return FrameResult::refuse;
    }
    bool last = true;
    if (partial) {
        if (record == no_index) {
            record = s_.incoming.create(s_.peers[peer].incoming, peer, frame.handle, false);
            SRD_CHECK(record != no_index); // open_access() has made sure of room
            s_.incoming[record].kind = WriteReceive{};
            s_.incoming[record].total = frame.total;
            s_.incoming.insert(record);
        }
        RxMessage& message = s_.incoming[record];
        if (message.total != frame.total || size > frame.total - message.received) {
            return FrameResult::malformed;
        }
        if (message.cause != Cause::none) {
            // The operation has failed already: its pieces are only counted, so that its end is known.
            message.received += size;
            if (message.complete()) {
                placement_.release(record);
            }
            return FrameResult::next;
        }
        last = message.received + size == frame.total;
    }
    s_.reader.ask(PacketReader::Question::write, peer, record);
    s_.reader.ranges()[0] = {frame.address, size, frame.key};
    event = Event{};
    event.kind = Event::Kind::write;
    event.peer = PeerId{peer};
    event.flags = frame.flags;
    event.data = frame.data;
    event.length = frame.total;
    event.payload = frame.payload.bytes;
    event.ranges = s_.reader.ranges().first(1);
    event.last = last;
    return FrameResult::event;
}

FrameResult RmaTarget::on_read(const wire::ReadFrame& frame, Event& event)
{
    if (open_access(false) == FrameResult::refuse) {
        return FrameResult::refuse;
    }
    const std::uint32_t peer = s_.reader.packet().peer;
    s_.reader.ask(PacketReader::Question::read, peer, no_index);
    s_.reader.ranges()[0] = {frame.address, frame.length, frame.key};
    event = Event{};
    event.kind = Event::Kind::read;
    event.peer = PeerId{peer};
    event.length = frame.length;
    event.ranges = s_.reader.ranges().first(1);
    event.last = (frame.flags & wire::rma_flag::last) != 0;
    return FrameResult::event;
}

FrameResult RmaTarget::on_atomic(const wire::AtomicRequest& frame, Event& event)
{
    const std::uint32_t peer = s_.reader.packet().peer;
    const std::uint32_t sequence = frame.frame.sequence;
    if (frame.fetches() &&
        sizeof(wire::ResultFrame) + frame.frame.length > s_.peers[peer].least_frame_capacity()) {
        return FrameResult::malformed; // the result would fit no packet that its sender takes
    }
    // A record has room for the result.
    const std::uint64_t total = frame.body.size() + (frame.fetches() ? std::size_t{frame.frame.length} : 0);
    const auto fill = [&](std::uint32_t record) {
        RxMessage& message = s_.incoming[record];
        message.kind = AtomicReceive{frame.frame};
        message.sender_handle = frame.frame.handle;
        message.total = total;
        if (!s_.incoming.store(message, 0, frame.body)) {
            return false;
        }
        message.received = total; // its bytes never come in parts
        return true;
    };
    const std::int32_t ahead = s_.peers[peer].connection.receiver.ahead(sequence);
    if (ahead != 0) {
        return ahead < 0 ? FrameResult::next : placement_.hold(peer, sequence, total, fill);
    }
    std::uint32_t record = no_index;
    const std::byte* body = frame.body.data();
    if (frame.fetches()) {
        record = s_.incoming.create(s_.peers[peer].incoming, peer, sequence, true);
        if (record == no_index) {
            return FrameResult::refuse;
        }
        if (!fill(record)) {
            placement_.release(record);
            return FrameResult::refuse;
        }
        body = s_.incoming.stored(s_.incoming[record]);
    }
    announce_atomic(peer, record, frame.frame, body, event);
    return FrameResult::event;
}

void RmaTarget::announce_held(std::uint32_t record, Event& event)
{
    const RxMessage& message = s_.incoming[record];
    announce_atomic(message.peer, record, message.as<AtomicReceive>()->frame, s_.incoming.stored(message),
                    event);
}

void RmaTarget::announce_atomic(std::uint32_t peer, std::uint32_t record, const wire::AtomicFrame& frame,
                                const std::byte* body, Event& event)
{
    const std::size_t length = frame.length;
    for (std::size_t i = 0; i < frame.ranges; ++i) {
        wire::AtomicRange range;
        std::memcpy(&range, body, sizeof(range));
        s_.reader.ranges()[i] = {range.address, range.length, range.key};
        body += sizeof(range);
    }
    s_.reader.ask(PacketReader::Question::atomic, peer, record);
    event = Event{};
    event.kind = Event::Kind::atomic;
    event.peer = PeerId{peer};
    event.length = length;
    event.ranges = s_.reader.ranges().first(frame.ranges);
    event.operation = frame.operation;
    event.datatype = frame.datatype;
    if ((frame.flags & wire::atomic_flag::has_operand) != 0) {
        event.payload = {body, length};
        body += length;
    }
    if ((frame.flags & wire::atomic_flag::has_compare) != 0) {
        event.compare = {body, length};
    }
    if ((frame.flags & wire::atomic_flag::fetch) != 0) {
        const RxMessage& message = s_.incoming[record];
        event.result = {s_.incoming.stored(message) + message.total - length, length};
    }
}

// -- Answers to events ----------------------------------------------------------------

bool RmaTarget::place(std::span<const iovec> memory, DeviceId device)
{
    SRD_CHECK(s_.reader.question() == PacketReader::Question::write);
    const auto& frame = s_.reader.frame_as<wire::WritePiece>();
    const std::uint32_t peer = s_.reader.peer();
    Placement::Fetched fetched =
        Placement::Fetched::unread; // the memory of another process is not read into a device
    if (device == DeviceId::host) [[likely]] {
        fetched = placement_.fetch(peer, frame.payload, memory, 0);
    } else if (!frame.payload.named()) {
        switch (place_on_device(memory, device)) {
        case DevicePlacement::Result::done:
            fetched = Placement::Fetched::here;
            break;
        case DevicePlacement::Result::failed:
            reject(Cause::region_closed);
            return false;
        case DevicePlacement::Result::lost:
            fetched = Placement::Fetched::lost;
            break;
        }
    }
    if (fetched == Placement::Fetched::here) {
        return true;
    }
    s_.reader.answered();
    if (fetched == Placement::Fetched::lost) {
        s_.reader.close();
    } else {
        const bool told = placement_.tell_unread(peer, 0, frame.handle);
        SRD_CHECK(told); // open_access() has made sure of room
    }
    return false;
}

/// With the last bytes of a write all of it is settled: what follows may tell of it.
DevicePlacement::Result RmaTarget::place_on_device(std::span<const iovec> memory, DeviceId device)
{
    const wire::Payload& payload = s_.reader.frame_as<wire::WritePiece>().payload;
    const std::uint32_t record = s_.reader.record();
    const bool last =
        record == no_index || s_.incoming[record].received + payload.size == s_.incoming[record].total;
    const DevicePlacement::Result result = s_.devices.place(s_.reader, payload, device, memory, 0);
    if (result == DevicePlacement::Result::done && last && !s_.devices.settle()) {
        return DevicePlacement::Result::failed;
    }
    return result;
}

void RmaTarget::confirm()
{
    if (s_.reader.question() == PacketReader::Question::write) {
        s_.count.rx_writes.add();
        finish_write_piece(Cause::none);
        return;
    }
    SRD_CHECK(s_.reader.question() == PacketReader::Question::atomic);
    s_.count.rx_atomics.add();
    const std::uint32_t record = s_.reader.record();
    if (record != no_index) {
        const wire::AtomicFrame& frame = s_.incoming[record].as<AtomicReceive>()->frame;
        if ((frame.flags & wire::atomic_flag::fetch) != 0) {
            placement_.owe(record, {Answer::Kind::result, false, frame.length}, Cause::none);
        } else {
            placement_.release(record);
        }
    }
    placement_.finish_turn();
}

void RmaTarget::reject(Cause cause)
{
    SRD_CHECK(cause >= Cause::bad_key && cause <= Cause::region_closed);
    s_.count.rx_denied.add();
    const std::uint32_t peer = s_.reader.peer();
    s_.trace_event(TraceKind::denied, s_.peers[peer], static_cast<std::uint32_t>(cause));
    switch (s_.reader.question()) {
    case PacketReader::Question::write:
        finish_write_piece(cause);
        return;
    case PacketReader::Question::read: {
        const auto& frame = s_.reader.frame_as<wire::ReadFrame>();
        const std::uint32_t answer = placement_.new_answer(peer, frame.sequence, frame.handle);
        SRD_CHECK(answer != no_index); // open_access() has made sure of room
        placement_.owe(answer, {Answer::Kind::denied, true, 0}, cause);
        s_.reader.answered();
        return;
    }
    case PacketReader::Question::atomic: {
        std::uint32_t answer = s_.reader.record();
        bool fetch = false;
        if (answer != no_index) {
            fetch = (s_.incoming[answer].as<AtomicReceive>()->frame.flags & wire::atomic_flag::fetch) != 0;
        } else {
            const wire::AtomicFrame& frame = s_.reader.frame_as<wire::AtomicRequest>().frame;
            answer = placement_.new_answer(peer, frame.sequence, frame.handle);
        }
        if (answer == no_index) {
            s_.reader.answered();
            placement_.refuse_packet(); // nothing was carried out, so it may come again
            return;
        }
        placement_.owe(answer, {fetch ? Answer::Kind::denied : Answer::Kind::fault, false, 0}, cause);
        placement_.finish_turn();
        return;
    }
    case PacketReader::Question::none:
    case PacketReader::Question::message:
        break;
    }
    SRD_CHECK(false);
}

/// The bytes of one write frame are dealt with.
void RmaTarget::finish_write_piece(Cause cause)
{
    const auto& frame = s_.reader.frame_as<wire::WritePiece>();
    const std::uint32_t record = s_.reader.record();
    if (cause != Cause::none) {
        const std::uint32_t answer = placement_.new_answer(s_.reader.peer(), 0, frame.handle);
        SRD_CHECK(answer != no_index); // open_access() has made sure of room
        placement_.owe(answer, {Answer::Kind::fault, false, 0}, cause);
    }
    s_.reader.answered();
    if (record == no_index) {
        return;
    }
    RxMessage& message = s_.incoming[record];
    message.received += frame.payload.size;
    message.cause = cause; // the first fault answers for the whole operation: no further piece is announced
    if (message.complete()) {
        placement_.release(record);
    }
}

void RmaTarget::serve(std::span<const iovec> memory, DeviceId device, std::uint64_t key, bool tell,
                      std::uint64_t cookie)
{
    SRD_CHECK(s_.reader.question() == PacketReader::Question::read && memory.size() <= max_iov);
    const auto& frame = s_.reader.frame_as<wire::ReadFrame>();
    const std::uint32_t peer = s_.reader.peer();
    s_.count.rx_reads.add();
    TxMessage& message = s_.outgoing.respond(s_.peers[peer].connection.queue, peer);
    message.kind = ReadResponse{frame.handle, frame.offset, key, false};
    message.sequence = frame.sequence;
    message.total = total_length(memory);
    message.level = tell ? CompletionLevel::transmit : CompletionLevel::none;
    message.cookie = cookie;
    message.device = device;
    if (device != DeviceId::host) {
        message.staged = s_.staging.new_name();
    }
    message.iov_count = static_cast<std::uint8_t>(memory.size());
    std::copy(memory.begin(), memory.end(), message.iov.begin());
    s_.reader.answered();
    s_.peers.activate(peer);
}

void RmaTarget::revoke(std::uint64_t key) noexcept
{
    s_.revocation_due = s_.outgoing.revoke(key) || s_.revocation_due;
}

// -- Answers that are owed ------------------------------------------------------------

bool RmaTarget::frame_answer(std::uint32_t record)
{
    const RxMessage& message = s_.incoming[record];
    const Answer& answer = *message.as<Answer>();
    Peer& peer = s_.peers[message.peer];
    const bool is_result = answer.kind == Answer::Kind::result;
    const bool is_fault = answer.kind == Answer::Kind::fault;
    // A fault frame is counted, so it must not be in a packet that may be refused and come again.
    std::byte* out = peer.connection.window.frame_space(
        s_.packets, message.peer,
        (is_result ? sizeof(wire::ResultFrame) : sizeof(wire::FaultFrame)) + answer.length,
        peer.frame_capacity(), is_fault ? wire::Contents::rma : wire::Contents::neutral);
    if (out == nullptr) {
        return false;
    }
    if (is_result) {
        wire::ResultFrame frame;
        frame.length = answer.length;
        frame.sequence = message.sequence;
        frame.handle = message.sender_handle;
        const std::byte* stored = s_.incoming.stored(message);
        std::copy_n(stored + message.total - answer.length, answer.length, wire::put(out, frame));
    } else {
        wire::put_failure(out,
                          {message.cause, !is_fault, answer.is_read, message.sequence, message.sender_handle,
                           peer.connection.receiver.faults_made(), answer.unread});
    }
    peer.connection.receiver.settle(s_.incoming, record);
    placement_.release(record);
    return true;
}

} // namespace srd
