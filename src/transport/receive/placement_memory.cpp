// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Bytes that lie in the memory of a process on this host.
#include <array>

#include <srd/iov.hpp>

#include "receive/placement.hpp"

namespace srd {

/// True if a large message has been copied straight from the sender's memory, `from`: no data will follow.
bool Placement::read_from_sender(RxMessage& message, std::span<const iovec> from) noexcept
{
    std::array<iovec, max_iov> into;
    const std::size_t used = slice(message.pieces(), 0, message.total, into);
    if (from.empty() || message.device != DeviceId::host || total_length(from) != message.total ||
        !read(message.peer, message.as<GrantedReceive>()->source_epoch, from, std::span(into).first(used))) {
        return false;
    }
    message.received = message.limit = message.total;
    message.want_delivered = true;
    return true;
}

bool Placement::read(std::uint32_t index, std::uint32_t epoch, std::span<const iovec> from,
                     std::span<const iovec> into) noexcept
{
    Peer& peer = s_.peers[index];
    if (peer.connection.unreadable || !peer.route.same_host() || s_.caps.memory == nullptr) {
        return false;
    }
    const ProcessMemory::Read result = s_.caps.memory->read(peer.route.id(), epoch, from, into);
    peer.connection.unreadable = result == ProcessMemory::Read::forbidden;
    return result == ProcessMemory::Read::done;
}

Placement::Fetched Placement::fetch(std::uint32_t peer, const wire::Payload& payload,
                                    std::span<const iovec> into, std::uint64_t offset) noexcept
{
    if (!payload.named()) {
        return s_.reader.copy_payload(payload, into, offset) ? Fetched::here : Fetched::lost;
    }
    std::array<iovec, max_iov> from;
    std::array<iovec, max_iov> pieces;
    const std::size_t sources = payload.source(from);
    const std::size_t used = slice(into, offset, payload.size, pieces);
    return read(peer, payload.source_epoch, std::span(from).first(sources), std::span(pieces).first(used))
               ? Fetched::here
               : Fetched::unread;
}

bool Placement::tell_unread(std::uint32_t peer, std::uint32_t sequence, std::uint32_t handle)
{
    const std::uint32_t record = new_answer(peer, sequence, handle);
    if (record == no_index) {
        return false;
    }
    Answer answer;
    answer.unread = s_.peers[peer].connection.unreadable ? wire::Unread::ever : wire::Unread::now;
    owe(record, answer, Cause::none);
    return true;
}

// -- Answers that are owed ------------------------------------------------------------

std::uint32_t Placement::new_answer(std::uint32_t peer, std::uint32_t sequence, std::uint32_t handle)
{
    const std::uint32_t record = s_.incoming.create(s_.peers[peer].incoming, peer, sequence, false);
    if (record != no_index) {
        s_.incoming[record].sender_handle = handle;
    }
    return record;
}

void Placement::owe(std::uint32_t record, const Answer& answer, Cause cause)
{
    RxMessage& message = s_.incoming[record];
    Receiver& receiver = s_.peers[message.peer].connection.receiver;
    message.kind = answer;
    message.stage = RxMessage::Stage::settling;
    message.cause = cause;
    receiver.owe(s_.incoming, record);
    if (answer.kind == Answer::Kind::fault) {
        receiver.on_fault_owed();
    }
    s_.peers.activate(message.peer);
}

} // namespace srd
