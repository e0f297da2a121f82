// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The frame that tells further addresses.
#include "unit/wire/frame_bytes.hpp"

namespace {

using namespace srd;
using namespace srd::wire;
using namespace srd::test;

Bytes rails(std::uint8_t flags, std::uint8_t way, std::uint8_t count)
{
    RailsFrame frame;
    frame.flags = flags;
    frame.way = way;
    frame.count = count;
    frame.nonce = 0x0102030405060708;
    return raw(frame) + filler(count * rail_size);
}

} // namespace

TEST_CASE("frames: what is told of further addresses")
{
    const Bytes packet = rails(question_flag::answer, 15, 2);
    const auto word = only<RailsWord>(packet);
    CHECK(word.answers());
    CHECK(word.frame.way == 15);
    CHECK(word.frame.nonce == 0x0102030405060708);
    CHECK(of(word.addresses) == filler(2 * rail_size));
    CHECK_FALSE(malformed(rails(0, 0, 0)));
    CHECK_FALSE(malformed(rails(0, 0, 3)));
    CHECK(malformed(rails(2, 0, 0)));  // no such flag
    CHECK(malformed(rails(0, 16, 0))); // nor such a way
    CHECK(malformed(rails(0, 0, 4)));  // more addresses than an endpoint has
    CHECK(malformed(packet + Bytes(1)));
    for (std::size_t size = 0; size < packet.size(); ++size) {
        INFO("cut to " << size << " of " << packet.size() << " bytes");
        CHECK(malformed({packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(size)}));
    }
}
