// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Frames of messages, and a matching layer that is the test.
#pragma once

#include "support/parts_world.hpp"
#include "unit/wire/frame_bytes.hpp"

namespace srd::test {

inline constexpr std::uint32_t no_handle = wire::no_handle;

inline Envelope envelope()
{
    Envelope value;
    value.tag = 5;
    value.data = 6;
    value.flags.has_data = true;
    return value;
}

/// Bytes [offset, offset + length) of a message of `total` bytes, which is filler().
inline Bytes eager(std::uint32_t sequence, std::uint64_t total, std::uint64_t offset, std::uint64_t length,
                   std::uint32_t handle = no_handle)
{
    const Bytes payload = filler(total);
    const auto from = payload.begin() + static_cast<std::ptrdiff_t>(offset);
    return written([&](std::byte* out) {
               return wire::put_eager(out, envelope(), sequence, handle, offset, length, total);
           }) +
           Bytes(from, from + static_cast<std::ptrdiff_t>(length));
}
inline Bytes eager(std::uint32_t sequence, std::uint64_t total)
{
    return eager(sequence, total, 0, total);
}
inline Bytes request(std::uint32_t sequence, std::uint64_t total, std::span<const iovec> source = {})
{
    return written(
        [&](std::byte* out) { return wire::put_request(out, envelope(), sequence, 9, total, 0, 3, source); });
}
/// A message of `total` bytes is requested, and `unscheduled` of them come without a grant.
inline Bytes request_unscheduled(std::uint32_t sequence, std::uint64_t total, std::uint32_t unscheduled)
{
    return written([&](std::byte* out) {
        return wire::put_request(out, envelope(), sequence, 9, total, unscheduled, 0, {});
    });
}
/// Bytes [offset, offset + length) of those.
inline Bytes unscheduled_part(std::uint32_t sequence, std::uint64_t total, std::uint32_t unscheduled,
                              std::uint64_t offset, std::uint64_t length)
{
    wire::UnscheduledMessage message;
    message.handle = 9;
    message.total = total;
    const Bytes payload = filler(total);
    const auto from = payload.begin() + static_cast<std::ptrdiff_t>(offset);
    return written([&](std::byte* out) {
               return wire::put_unscheduled(out, envelope(), sequence, message, offset, length, unscheduled);
           }) +
           Bytes(from, from + static_cast<std::ptrdiff_t>(length));
}
inline Bytes data(std::uint32_t sequence, std::uint32_t record, std::uint64_t total, std::uint64_t offset,
                  std::uint64_t length)
{
    wire::DataFrame frame;
    frame.length = static_cast<std::uint16_t>(length);
    frame.sequence = sequence;
    frame.receiver_handle = record;
    frame.offset = offset;
    const Bytes payload = filler(total);
    const auto from = payload.begin() + static_cast<std::ptrdiff_t>(offset);
    return raw(frame) + Bytes(from, from + static_cast<std::ptrdiff_t>(length));
}

struct PlacementWorld : PartsWorld {
    explicit PlacementWorld(const IoCaps& caps = parts_caps()) : PartsWorld(parts_limits(), caps) {}
    explicit PlacementWorld(std::uint32_t peers) : PartsWorld(parts_limits(peers)) {}
    ~PlacementWorld() { check(); }

    Status accept(MessageId id, std::size_t size)
    {
        buffer.assign(size, std::byte{0xee});
        const iovec iov{buffer.data(), size};
        return placement.accept(id, std::span(&iov, 1), DeviceId::host, 42, outcome);
    }
    /// The announced message is parked.
    std::uint32_t park()
    {
        MessageId id = event.message;
        REQUIRE(placement.park(id) == Status::ok);
        return static_cast<std::uint32_t>(index_of(id));
    }
    /// What the event loop does when turn_of() says that a held message's turn may have come.
    bool announce_held()
    {
        const std::uint32_t peer = shared.reader.turn_of();
        shared.reader.set_turn_of(no_index);
        const std::uint32_t record = shared.incoming.find(peer, receiver(peer).message_next());
        if (record == no_index) {
            return false;
        }
        receiver(peer).on_unheld();
        shared.incoming.unhold(shared.incoming[record]);
        if (shared.incoming[record].has_unasked()) {
            shared.incoming.erase(record);
        }
        shared.incoming[record].stage = RxMessage::Stage::parked;
        placement.announce(record, event);
        return true;
    }
    RxMessage& message(std::uint32_t record) { return shared.incoming[record]; }
    std::uint32_t first_record() { return peer(a).incoming.front(); }

    Bytes buffer;
    Accepted outcome{};
    std::uint32_t a = meet(0);
};

} // namespace srd::test
