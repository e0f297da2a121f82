// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Frames that say where bytes are, and the fault that says that they were not read.
#include <array>
#include <vector>

#include "unit/wire/frame_bytes.hpp"

namespace {

using namespace srd;
using namespace srd::wire;
using namespace srd::test;

using Lengths = std::vector<std::uint64_t>;

Bytes names(const Lengths& lengths)
{
    Bytes bytes = raw(SourceEpoch{6});
    for (const std::uint64_t length : lengths) {
        bytes = bytes + raw(MessagePiece{0x1000 + length, length});
    }
    return bytes;
}

/// A named write of these pieces, `total` 0: the whole of it.
Bytes write_of(const Lengths& lengths, std::uint64_t total = 0)
{
    WriteHeader header;
    header.range = {0x1000, 0, 0x2000};
    header.handle = 8;
    header.total = total;
    header.whole = total == 0;
    header.named = true;
    header.pieces = static_cast<std::uint8_t>(lengths.size());
    return written([&](std::byte* out) { return put_write(out, header); }) + names(lengths);
}

Bytes data_of(const Lengths& lengths, std::uint8_t flags = data_flag::answers_read | data_flag::named)
{
    DataFrame layout;
    layout.flags = flags;
    layout.length = static_cast<std::uint16_t>(lengths.size());
    layout.sequence = 1;
    layout.receiver_handle = 2;
    layout.offset = 3;
    return raw(layout) + raw(MessageHandle{4}) + names(lengths);
}

void check_names(const Payload& payload, const Lengths& lengths)
{
    CHECK(payload.named());
    CHECK_FALSE(payload.remote);
    CHECK(payload.bytes.empty());
    CHECK(payload.source_epoch == 6);
    std::array<iovec, max_iov> pieces;
    REQUIRE(payload.source(pieces) == lengths.size());
    std::uint64_t size = 0;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        CHECK(reinterpret_cast<std::uintptr_t>(pieces[i].iov_base) == 0x1000 + lengths[i]);
        CHECK(pieces[i].iov_len == lengths[i]);
        size += lengths[i];
    }
    CHECK(payload.size == size);
}

} // namespace

TEST_CASE("named frames: writes and data say where up to 1 MiB is, in up to four pieces")
{
    for (const Lengths& lengths :
         {Lengths{10}, Lengths{0, 0, 7, 0}, Lengths{1, 2, 3, 4}, Lengths{max_named}}) {
        const Bytes whole = write_of(lengths);
        const auto write = only<WritePiece>(whole);
        check_names(write.payload, lengths);
        CHECK(write.total == write.payload.size);
        CHECK(write.handle == 8);
        const Bytes piece = write_of(lengths, 1ULL << 40);
        CHECK(only<WritePiece>(piece).total == 1ULL << 40);
        check_names(only<WritePiece>(piece).payload, lengths);
        const Bytes packet = data_of(lengths);
        const auto data = only<DataPiece>(packet);
        check_names(data.payload, lengths);
        CHECK(data.answers_read);
        CHECK(data.sequence == 1);
        CHECK(data.handle == 2);
        CHECK(data.offset == 3);
        CHECK(data.sender_handle == 4);
        for (const Bytes& good : {whole, piece, packet}) {
            CHECK(good.size() <= max_named_frame);
            CHECK(malformed(good + Bytes(1)));  // they end their packet
            CHECK(malformed(good, {true, 10})); // which is all here
            for (std::size_t size = 0; size < good.size(); ++size) {
                CHECK(malformed({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)}));
            }
        }
    }
}

TEST_CASE("named frames: no bytes, too many, or in too many pieces are malformed")
{
    const auto bad = [](const Lengths& lengths) {
        return malformed(write_of(lengths)) && malformed(write_of(lengths, 1ULL << 40)) &&
               malformed(data_of(lengths));
    };
    CHECK(bad({}));
    CHECK(bad({0}));
    CHECK(bad({0, 0, 0, 0}));
    CHECK(bad({max_named + 1ULL}));
    CHECK(bad({1, max_named}));
    CHECK(bad({10, ~std::uint64_t{0}})); // a sum that wraps to 9
    CHECK(bad({1, 1, 1, 1, 1}));
    CHECK_FALSE(bad({1, max_named - 1, 0, 0}));
    CHECK(malformed(write_of({10}, 9))); // more than all
    CHECK_FALSE(malformed(write_of({10}, 10)));
    CHECK(malformed(data_of({10}, data_flag::named))); // a message's are not named here
}

TEST_CASE("named frames: a fault says that they were not read, now or ever; a denial does not")
{
    for (const Unread unread : {Unread::now, Unread::ever}) {
        const Bytes packet = written([&](std::byte* out) {
            return put_failure(out, {Cause::none, false, false, 5, 6, 7, unread});
        });
        const auto frame = only<AccessFailure>(packet);
        CHECK(frame.unread == unread);
        CHECK(frame.cause == Cause::none);
        CHECK_FALSE(frame.denied);
        CHECK(frame.sequence == 5);
        CHECK(frame.handle == 6);
        CHECK(frame.faults == 7);
        Bytes denied = packet;
        denied[0] = static_cast<std::byte>(FrameType::denied);
        CHECK(malformed(denied));
    }
    Bytes packet = written([](std::byte* out) {
        return put_failure(out, {Cause::bad_key, false, false, 5, 6, 7});
    });
    CHECK(only<AccessFailure>(packet).unread == Unread::no);
    packet[1] = std::byte{fault_cause::unreadable + 1};
    CHECK(malformed(packet));
}
