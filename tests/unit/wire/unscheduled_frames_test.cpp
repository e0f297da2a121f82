// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The frames of messages that are requested and begin without a grant.
#include <array>

#include "support/catch.hpp"
#include "unit/wire/frame_bytes.hpp"

using namespace srd;
using namespace srd::test;
using namespace srd::wire;

namespace {

Envelope envelope(bool has_data)
{
    Envelope value;
    value.tag = 0x1122334455667788;
    value.data = 99;
    value.flags.tagged = true;
    value.flags.has_data = has_data;
    return value;
}

Bytes part(const Envelope& head, std::uint64_t offset, std::uint16_t length, std::uint32_t unscheduled,
           std::uint64_t total)
{
    UnscheduledMessage message;
    message.handle = 8;
    message.total = total;
    return written([&](std::byte* out) {
               return put_unscheduled(out, head, 77, message, offset, length, unscheduled);
           }) +
           filler(length);
}
Bytes request(const Envelope& head, std::uint32_t unscheduled, std::uint64_t total)
{
    return written([&](std::byte* out) { return put_request(out, head, 77, 8, total, unscheduled, 0, {}); });
}

bool well_formed(const Bytes& packet)
{
    Reader reader(packet);
    Frame frame;
    return decode(reader, false, 0, frame) && reader.remaining() == 0;
}

} // namespace

TEST_CASE("unscheduled frames: a part says all that the request says")
{
    for (const bool has_data : {false, true}) {
        const Envelope head = envelope(has_data);
        const Bytes packet = part(head, 300, 40, 1000, 1ULL << 40);
        CHECK(packet.size() == unscheduled_size(head.flags) + 40);
        const auto frame = only<EagerFrame>(packet);
        CHECK(frame.is_requested());
        CHECK_FALSE(frame.whole());
        CHECK_FALSE(frame.want_delivered);
        CHECK(frame.tag == head.tag);
        CHECK(frame.flags.has_data == has_data);
        CHECK((!has_data || frame.data == 99));
        CHECK(frame.sequence == 77);
        CHECK(frame.handle == 8);
        CHECK(frame.offset == 300);
        CHECK(frame.payload.size() == 40);
        CHECK(frame.unasked() == 1000);
        CHECK(frame.total == 1ULL << 40);

        const Bytes asks = request(head, 1000, 1ULL << 40);
        CHECK(asks.size() == request_size(head.flags, 1000, 0));
        const auto asked = only<RequestedMessage>(asks);
        CHECK(asked.unscheduled == 1000);
        CHECK(asked.total == 1ULL << 40);
        CHECK(asked.source_count == 0);
        CHECK(only<RequestedMessage>(request(head, 0, 1000)).unscheduled == 0);
    }
}

TEST_CASE("unscheduled frames: nothing is believed that cannot be")
{
    const Envelope head = envelope(true);
    CHECK(well_formed(part(head, 0, 10, 10, 11))); // one part of them all
    CHECK(well_formed(part(head, 90, 10, 100, 101)));
    CHECK_FALSE(well_formed(part(head, 0, 10, 10, 10)));  // and nothing is left to be granted
    CHECK_FALSE(well_formed(part(head, 0, 10, 100, 99))); // more than all
    CHECK_FALSE(well_formed(part(head, 91, 10, 100, 101)));
    CHECK_FALSE(well_formed(part(head, 0, 0, 100, 101)));
    CHECK(well_formed(part(head, 0, 10, max_eager_total, max_eager_total + 1)));
    CHECK_FALSE(well_formed(part(head, 0, 10, max_eager_total + 1, max_eager_total + 2)));
    Bytes both = part(head, 0, 10, 100, 101) + Bytes(8);
    both[1] |= std::byte{frame_flag::want_delivered};
    CHECK_FALSE(well_formed(both));
    for (std::size_t size = 0; size < unscheduled_size(head.flags) + 10; ++size) {
        Bytes cut = part(head, 0, 10, 100, 101);
        cut.resize(size);
        CHECK_FALSE(well_formed(cut));
    }

    CHECK(well_formed(request(head, 10, 11)));
    CHECK_FALSE(well_formed(request(head, 10, 10)));
    CHECK(well_formed(request(head, max_eager_total, max_eager_total + 1)));
    CHECK_FALSE(well_formed(request(head, max_eager_total + 1, max_eager_total + 2)));
    RequestFrame none;
    none.flags = frame_flag::unscheduled;
    none.total = 100;
    CHECK_FALSE(well_formed(raw(none) + raw(UnscheduledBytes{0})));
    CHECK(well_formed(raw(none) + raw(UnscheduledBytes{1})));
    none.pieces = 1; // it would be read, and sent as well
    CHECK_FALSE(
        well_formed(raw(none) + raw(UnscheduledBytes{1}) + raw(SourceEpoch{1}) + raw(MessagePiece{1, 100})));
}
