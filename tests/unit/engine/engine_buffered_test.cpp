// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Messages that the engine copies, so that their sender need not wait for the peer's acknowledgement: done at
// once, whatever becomes of the user's memory then, and not asked to be acknowledged at once.
#include <algorithm>

#include "support/catch.hpp"
#include "support/engine_pair.hpp"

#include "wire/layout.hpp"

using namespace srd;
using namespace srd::test;

namespace {

/// Two that have acknowledged each other's packets.
class Acquainted : public EnginePair {
public:
    explicit Acquainted(const Options& options = {}) : EnginePair(options) { REQUIRE(meet()); }

    /// Sends, without another pass than the sender's next; is it done?
    bool done_at_once(const Bytes& bytes, CompletionLevel level = CompletionLevel::inject)
    {
        const std::size_t before = a.done.size();
        send(bytes, level);
        a.pass(now);
        return a.done.size() == before + 1;
    }
};

} // namespace

TEST_CASE("buffered: done before the peer knows of it, and sent again from a copy")
{
    Acquainted pair;
    const Bytes original = pattern(buffered_size, 3);
    Bytes bytes = original;
    const std::vector<iovec> pieces{{bytes.data(), 1000}, {bytes.data() + 1000, bytes.size() - 1000}};
    Bytes received(original.size());
    pair.b.buffer = whole(received);
    const std::size_t first = pair.b.done.size();
    pair.a.io.drop = [](std::size_t number) { return number < 40 && number % 3 == 0; };
    Operation operation;
    operation.level = CompletionLevel::inject;
    operation.iov = pieces;
    operation.flags.tagged = true;
    REQUIRE(pair.submit(operation, 77) == Status::ok);
    pair.a.pass(pair.now);
    REQUIRE(pair.a.done.size() == 1);
    const Event& done = pair.a.done.back();
    CHECK(done.cause == Cause::none);
    CHECK(done.length == bytes.size());
    CHECK(done.cookie == 77);
    CHECK(done.flags.tagged);
    CHECK(done.peer == pair.a.peer);
    std::fill(bytes.begin(), bytes.end(), std::byte{0xee}); // the user's again
    pair.run();
    REQUIRE(pair.b.done.size() == first + 1);
    CHECK(received == original);
    CHECK(pair.a.done.size() == 1); // reported once
}

TEST_CASE("buffered: what is longer, or must have been received, waits for the peer")
{
    Acquainted pair;
    CHECK_FALSE(pair.done_at_once(pattern(buffered_size + 1)));
    Acquainted another;
    CHECK_FALSE(another.done_at_once(pattern(20000), CompletionLevel::transmit));
    Acquainted third;
    CHECK_FALSE(third.done_at_once(pattern(20000), CompletionLevel::delivery));
}

TEST_CASE("buffered: in a stream, where acknowledgements come anyway, nothing is copied")
{
    Acquainted pair;
    const Bytes bytes = pattern(buffered_size / 2);
    CHECK(pair.done_at_once(bytes));
    CHECK(pair.done_at_once(bytes));
    CHECK_FALSE(pair.done_at_once(bytes));
    pair.run();
    CHECK(pair.a.done.size() == 3);
    CHECK(pair.done_at_once(bytes)); // all is quiet again
}

TEST_CASE("buffered: a peer on the same host is not worth a copy")
{
    Acquainted pair({.same_host = true});
    const Bytes bytes = pattern(careful_eager_size);
    CHECK_FALSE(pair.done_at_once(bytes));
}

TEST_CASE("buffered: nobody waits, so nobody asks for an acknowledgement at once")
{
    Acquainted pair({.max_packet = 65507});
    bool asked = false;
    pair.a.io.watch = [&](const TxPacket& packet) {
        const auto& header = *static_cast<const wire::PacketHeader*>(packet.iov[0].iov_base);
        asked = asked || (header.flags & wire::packet_flag::ack_requested) != 0;
    };
    const Bytes bytes = pattern(20000);
    pair.send(bytes, CompletionLevel::inject);
    pair.a.pass(pair.now);
    CHECK_FALSE(asked);
    pair.run();
    pair.send(bytes, CompletionLevel::transmit);
    pair.run();
    CHECK(asked);
}

TEST_CASE("buffered: buffers come back, and while there is none the sender waits")
{
    Acquainted pair; // with three of them
    const Bytes bytes = pattern(5000);
    for (int round = 0; round < 3; ++round) {
        CHECK(pair.done_at_once(bytes));
        CHECK(pair.done_at_once(bytes));
        CHECK(pair.done_at_once(bytes));
        CHECK_FALSE(pair.done_at_once(bytes));
        pair.run();
    }
    CHECK(pair.a.done.size() == 12);
}

TEST_CASE("buffered: what the peer's death took is told, though it was reported done")
{
    Acquainted pair;
    pair.a.io.drop = [](std::size_t) { return true; };
    const Bytes bytes = pattern(20000);
    REQUIRE(pair.done_at_once(bytes));
    pair.b.engine.close(pair.now);
    pair.run(100);
    REQUIRE(pair.a.lost.size() == 1);
    CHECK(pair.a.lost[0].cookie == 1);
    CHECK(pair.a.lost[0].length == bytes.size());
    CHECK(pair.a.done.size() == 1);
}
