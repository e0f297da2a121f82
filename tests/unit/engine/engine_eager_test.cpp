// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which messages go without asking: longer ones, too, as long as the receiver has memory for those that
// nobody wants yet. In the end every message must arrive in whatever order its receives come.
#include <vector>

#include "support/catch.hpp"
#include "support/engine_pair.hpp"

using namespace srd;
using namespace srd::test;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t longest = 65536;

/// Two that have acknowledged each other's packets.
class Acquainted : public EnginePair {
public:
    explicit Acquainted(const Options& options = {}) : EnginePair(options) { REQUIRE(meet()); }
};

/// Their hosts take turns: each looks when the other has waited for a long while.
void take_turns(EnginePair& pair)
{
    for (int i = 0; i < 32; ++i) {
        pair.send(pattern(10));
        pair.a.pass(pair.now);
        pair.now += 15us;
        pair.b.pass(pair.now);
        pair.now += 15us;
        pair.a.pass(pair.now);
    }
    pair.run(200);
    pair.a.done.clear();
    pair.b.parked.clear();
}

/// The message was sent, and nobody wants it: has it arrived all the same?
bool arrives_unasked(EnginePair& pair, std::size_t length)
{
    const Bytes bytes = pattern(length);
    pair.send(bytes);
    pair.run();
    REQUIRE(pair.b.parked.size() == 1); // it is announced in any case
    REQUIRE(pair.a.done.size() <= 1);
    return pair.a.done.size() == 1;
}

} // namespace

TEST_CASE("eager: a long message has arrived before anybody wants it, a longer one waits")
{
    Acquainted one;
    CHECK(arrives_unasked(one, longest));
    Acquainted another;
    CHECK_FALSE(arrives_unasked(another, longest + 1));
}

TEST_CASE("eager: where answers take long, a lone message may be twice as long")
{
    Acquainted one;
    take_turns(one);
    CHECK(arrives_unasked(one, 2 * longest));
    Acquainted another;
    take_turns(another);
    CHECK_FALSE(arrives_unasked(another, 2 * longest + 1));
}

TEST_CASE("eager: of several messages on their way only the first may be longer than the limit")
{
    Acquainted pair;
    take_turns(pair);
    const std::vector<Bytes> messages(4, pattern(longest + 1));
    for (const Bytes& message : messages) {
        pair.send(message);
    }
    pair.run();
    REQUIRE(pair.b.parked.size() == 4);
    CHECK(pair.a.done.size() == 1);
}

TEST_CASE("eager: a peer that has said nothing yet may have little memory")
{
    EnginePair one;
    CHECK_FALSE(arrives_unasked(one, longest));
    EnginePair another;
    CHECK(arrives_unasked(another, careful_eager_size));
}

TEST_CASE("eager: a peer on the same host reads for itself what is long")
{
    Acquainted one({.same_host = true});
    CHECK_FALSE(arrives_unasked(one, longest));
    Acquainted another({.same_host = true});
    CHECK(arrives_unasked(another, careful_eager_size));
}

TEST_CASE("eager: where memory fills up they ask, so that any receive finds its message")
{
    Acquainted pair;
    constexpr std::size_t messages = 40; // two and a half times the receiver's memory
    std::vector<Bytes> sent;
    for (std::size_t i = 0; i < messages; ++i) {
        sent.push_back(pattern(longest, static_cast<unsigned>(i)));
        pair.send(sent.back());
    }
    pair.run();
    REQUIRE(pair.b.parked.size() == messages);
    CHECK(pair.a.done.size() > 1);
    CHECK(pair.a.done.size() < messages / 4);
    CHECK(pair.a.counters.tx_rnr_backoffs.value() == 0);

    std::vector<Bytes> received(messages, Bytes(longest));
    for (std::size_t i = messages; i-- > 0;) {
        const std::size_t before = pair.b.done.size();
        Accepted outcome{};
        REQUIRE(pair.b.engine.accept(pair.b.parked[i], whole(received[i]), 9, outcome) == Status::ok);
        pair.run(200);
        CHECK((outcome == Accepted::complete || pair.b.done.size() == before + 1));
        CHECK(received[i] == sent[i]);
    }
    CHECK(pair.a.done.size() == messages);

    // The receiver has memory again, and its next acknowledgement says so.
    pair.a.done.clear();
    pair.send(pattern(10));
    pair.run();
    pair.send(sent[0]);
    pair.run();
    CHECK(pair.a.done.size() == 2);
}

TEST_CASE("eager: few packets that cannot share a call are of equal size, others are full")
{
    const auto sizes = [](std::uint32_t max_packet, std::size_t length, CompletionLevel level) {
        EnginePair pair({.max_packet = max_packet});
        REQUIRE(pair.meet());
        std::vector<std::size_t> seen;
        pair.a.io.watch = [&](const TxPacket& packet) {
            if (packet.length > 100) {
                seen.push_back(packet.length);
            }
        };
        const Bytes bytes = pattern(length);
        pair.send(bytes, level);
        pair.run();
        REQUIRE(pair.b.parked.size() == 1);
        Bytes received(length);
        Accepted outcome{};
        REQUIRE(pair.b.engine.accept(pair.b.parked.front(), whole(received), 9, outcome) == Status::ok);
        CHECK(received == bytes);
        return seen;
    };
    const auto level = GENERATE(CompletionLevel::transmit, CompletionLevel::inject);
    const std::vector<std::size_t> two = sizes(65507, longest, CompletionLevel::transmit);
    REQUIRE(two.size() == 2);
    CHECK(two[0] - two[1] <= 1);
    const std::vector<std::size_t> three = sizes(20000, 3 * 18000, level);
    REQUIRE(three.size() == 3);
    CHECK(three[0] - three[2] <= 2);
    const std::vector<std::size_t> jumbo = sizes(9000, 28000, level);
    REQUIRE(jumbo.size() == 4);
    CHECK(jumbo[0] == 9000);
    CHECK(jumbo[2] == 9000);
    const std::vector<std::size_t> many = sizes(1472, 16000, level);
    REQUIRE(many.size() > 4);
    CHECK(many[0] == 1472);
    CHECK(many[many.size() - 2] == 1472);
}
