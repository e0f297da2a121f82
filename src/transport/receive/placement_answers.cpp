// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The matching layer's answers to an announced or parked message.
#include <algorithm>
#include <array>

#include <srd/iov.hpp>

#include "receive/placement.hpp"

namespace srd {

/// A message that is all in the packet leaves no record.
Accepted Placement::accept_whole(const wire::EagerFrame& frame, std::span<const iovec> iov, DeviceId device)
{
    bool done = true;
    if (device == DeviceId::host) [[likely]] {
        scatter(iov, 0, frame.payload);
    } else {
        done = s_.devices.store(device, iov, 0, frame.payload) && s_.devices.settle();
    }
    finish_turn();
    return done ? Accepted::complete : Accepted::failed;
}

Status Placement::accept(MessageId id, std::span<const iovec> iov, DeviceId device, std::uint64_t cookie,
                         Accepted& outcome)
{
    SRD_CHECK(iov.size() <= max_iov);
    auto record = static_cast<std::uint32_t>(index_of(id));
    std::array<iovec, max_iov> source; // of the sender's memory
    std::size_t source_count = 0;
    bool at_once = true; // it was not parked
    if (id == current_message) {
        SRD_CHECK(s_.reader.question() == PacketReader::Question::message && s_.reader.record() == no_index);
        if (const auto* frame = std::get_if<wire::EagerFrame>(&s_.reader.frame())) {
            if (frame->whole() && !frame->want_delivered) {
                outcome = accept_whole(*frame, iov, device);
                return Status::ok;
            }
            record = create(s_.reader.peer(), *frame, false);
            if (record == no_index) {
                return Status::again;
            }
            attach_buffer(s_.incoming[record], iov, device, cookie);
            place(s_.incoming[record], frame->offset, {frame->payload, frame->payload.size(), false});
        } else {
            const auto& request = s_.reader.frame_as<wire::RequestedMessage>();
            record = create(s_.reader.peer(), request, false);
            if (record == no_index) {
                return Status::again;
            }
            source_count = request.source_count;
            std::copy_n(request.source.begin(), source_count, source.begin());
            attach_buffer(s_.incoming[record], iov, device, cookie);
        }
        s_.grants.expect(s_.incoming[record]);
        find_later(record);
        finish_turn();
    } else {
        SRD_CHECK(s_.incoming.live(record));
        RxMessage& message = s_.incoming[record];
        const bool current =
            s_.reader.question() == PacketReader::Question::message && s_.reader.record() == record;
        SRD_CHECK(message.stage == RxMessage::Stage::parked);
        source_count = message.is<GrantedReceive>() ? message.iov_count : 0;
        std::copy_n(message.iov.begin(), source_count, source.begin());
        attach_buffer(message, iov, device, cookie);
        at_once = current;
        if (current) {
            finish_turn();
        }
    }
    RxMessage& message = s_.incoming[record];
    if (message.complete() || read_from_sender(message, std::span(source).first(source_count))) {
        complete(record);
        outcome = message.cause == Cause::none ? Accepted::complete : Accepted::failed;
        settle(record);
        return Status::ok;
    }
    if (message.is<GrantedReceive>()) {
        if (at_once) {
            s_.peers[message.peer].connection.receiver.on_requested(true);
        }
        want_grant(record);
        issue_grants();
        if (message.has_unasked()) {
            unstore(message);
        }
    }
    outcome = Accepted::pending;
    return Status::ok;
}

/// What else comes without a grant finds the record.
void Placement::find_later(std::uint32_t record) noexcept
{
    if (!s_.incoming[record].has_unasked()) {
        s_.incoming.insert(record);
    }
}

Status Placement::park(MessageId& id)
{
    SRD_CHECK(s_.reader.question() == PacketReader::Question::message);
    std::uint32_t record = s_.reader.record();
    if (record == no_index) {
        SRD_CHECK(id == current_message);
        const auto* eager = std::get_if<wire::EagerFrame>(&s_.reader.frame());
        record = eager != nullptr
                     ? create(s_.reader.peer(), *eager, true)
                     : create(s_.reader.peer(), s_.reader.frame_as<wire::RequestedMessage>(), true);
        if (record == no_index) {
            return Status::again;
        }
        if (!store_first(s_.incoming[record], eager != nullptr ? eager->offset : 0,
                         eager != nullptr ? eager->payload : std::span<const std::byte>{})) {
            release(record);
            return Status::again;
        }
        find_later(record);
    }
    RxMessage& message = s_.incoming[record];
    message.stage = RxMessage::Stage::parked;
    if (message.is<GrantedReceive>()) {
        s_.peers[message.peer].connection.receiver.on_requested(false);
    }
    s_.count.rx_unexpected_messages.add();
    finish_turn();
    id = MessageId{record};
    return Status::ok;
}

void Placement::refuse(MessageId id)
{
    SRD_CHECK(id == current_message && s_.reader.question() != PacketReader::Question::none);
    SRD_CHECK(s_.reader.record() == no_index);
    const bool is_local = s_.reader.is_local();
    s_.reader.answered();
    if (is_local) { // it stays where it is, and its sender is held up when the memory is full
        s_.caps.local->pass_over();
        s_.count.rx_refused_messages.add();
        return;
    }
    refuse_packet();
}

void Placement::refuse_packet()
{
    const std::uint32_t peer = s_.reader.packet().peer;
    s_.reader.close();
    s_.count.rx_refused_messages.add();
    if (s_.peers[peer].connection.receiver.refuse()) {
        ++s_.refusing_peers;
    }
    s_.peers.activate(peer);
}

void Placement::discard(MessageId id)
{
    Accepted outcome{};
    const auto record = static_cast<std::uint32_t>(index_of(id));
    SRD_CHECK(s_.incoming.live(record));
    s_.incoming[record].silent = true;
    const Status status = accept(id, {}, DeviceId::host, 0, outcome);
    SRD_CHECK(status == Status::ok);
}

} // namespace srd
