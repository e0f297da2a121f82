// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <array>
#include <cstring>

#include "peer/handshake.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;
using namespace std::chrono_literals;
using State = Handshake::State;
using Judgment = Handshake::Judgment;

const Time start{Duration(1h)};

Identity identity()
{
    Identity self;
    self.address.fill(std::byte{7});
    self.address_length = 5;
    self.incarnation = 99;
    self.max_packet = 1500;
    self.rx_buffer = 4096;
    return self;
}

wire::HelloFrame written(Handshake& handshake)
{
    std::array<std::byte, sizeof(wire::HelloFrame)> bytes{};
    CHECK(handshake.write_hello(bytes.data(), identity(), 1400, 1234, 0) == bytes.data() + bytes.size());
    wire::HelloFrame frame;
    std::memcpy(&frame, bytes.data(), sizeof(frame));
    return frame;
}

wire::HelloFrame remote(std::uint64_t connection, std::uint64_t incarnation)
{
    wire::HelloFrame hello;
    hello.connection = connection;
    hello.incarnation = incarnation;
    return hello;
}

} // namespace

TEST_CASE("Handshake: a hello says who we are and what we want to be called")
{
    Handshake handshake(55);
    CHECK(handshake.state() == State::idle);
    CHECK(handshake.rx_connection() == 55);
    CHECK_FALSE(handshake.hello_due());
    handshake.greet(start);
    CHECK(handshake.greeting());
    CHECK(handshake.hello_due());
    const wire::HelloFrame hello = written(handshake);
    CHECK_FALSE(handshake.hello_due());
    CHECK(hello.flags == wire::hello_flag::answer_wanted);
    CHECK(hello.connection == 55);
    CHECK(hello.incarnation == 99);
    CHECK(hello.first_psn == 1234);
    CHECK(hello.max_packet == 1400);
    CHECK(hello.rx_buffer == 4096);
    CHECK(hello.address_length == 5);
    CHECK(hello.address == identity().address);
}

TEST_CASE("Handshake: we introduce ourselves again, ever more seldom, until the remote has a record of us")
{
    Handshake handshake(55);
    CHECK(handshake.next_timeout() == time_never);
    handshake.greet(start);
    Time now = start;
    for (const Duration wait : {1ms, 2ms, 4ms, 8ms, 16ms, 32ms, 64ms, 128ms, 200ms, 200ms}) {
        written(handshake);
        CHECK(handshake.next_timeout() - now == wait);
        CHECK_FALSE(handshake.on_timeout(now + wait - 1ns));
        CHECK_FALSE(handshake.hello_due());
        now += wait;
        CHECK(handshake.on_timeout(now));
        CHECK(handshake.hello_due());
    }
    for (int i = 0; i < 100; ++i) {
        now = handshake.next_timeout();
        REQUIRE(handshake.on_timeout(now));
        REQUIRE(handshake.next_timeout() - now == Handshake::interval_max);
    }
    handshake.learn(remote(66, 77), Dialect{});
    CHECK(handshake.greeting());
    handshake.establish(now);
    CHECK(handshake.established());
    CHECK_FALSE(handshake.confirmed());
    CHECK(handshake.hello_due()); // now under the remote's identifier
    CHECK(handshake.next_timeout() - now == Handshake::interval_first);
    CHECK(written(handshake).flags == (wire::hello_flag::answer_wanted | wire::hello_flag::met));
    now = handshake.next_timeout();
    CHECK(handshake.on_timeout(now));
    CHECK(handshake.next_timeout() - now == 2 * Handshake::interval_first);
    handshake.confirm();
    CHECK(handshake.confirmed());
    CHECK(handshake.next_timeout() == time_never);
    CHECK_FALSE(handshake.on_timeout(now + 1h));
}

TEST_CASE("Handshake: the remote may be first")
{
    Handshake handshake(55);
    CHECK_FALSE(handshake.knows_remote());
    CHECK(handshake.tx_connection() == 0);
    handshake.learn(remote(66, 77), Dialect{});
    CHECK(handshake.knows_remote());
    CHECK(handshake.tx_connection() == 66);
    CHECK(handshake.remote_incarnation() == 77);
    handshake.establish(start);
    handshake.confirm();
    handshake.reply();
    CHECK(handshake.hello_due());
    CHECK(written(handshake).flags == wire::hello_flag::met); // an answer asks for none
    handshake.reply();
    handshake.ask(); // a question serves as an answer, too
    CHECK(written(handshake).flags == (wire::hello_flag::answer_wanted | wire::hello_flag::met));
}

TEST_CASE("Handshake: what an answer means for a remote that is known")
{
    Handshake handshake(55);
    handshake.learn(remote(66, 77), Dialect{});
    CHECK(handshake.judge(remote(66, 77)) == Judgment::same);
    CHECK(handshake.judge(remote(67, 77)) == Judgment::gave_up);
    CHECK(handshake.judge(remote(66, 78)) == Judgment::damaged);
    CHECK(handshake.judge(remote(67, 78)) == Judgment::restarted);
}

TEST_CASE("Handshake: no room is why a peer is not met, until it has a record of us")
{
    Handshake handshake(55);
    CHECK_FALSE(handshake.refused());
    handshake.greet(start);
    handshake.on_no_room();
    CHECK(handshake.refused());
    CHECK(handshake.greeting());
    CHECK(handshake.next_timeout() == start + Handshake::interval_first); // we go on asking
    handshake.learn(remote(66, 77), Dialect{});
    handshake.establish(start);
    CHECK(handshake.refused()); // the room may have gone to another meanwhile
    handshake.confirm();
    CHECK_FALSE(handshake.refused());
    handshake.on_no_room();
    CHECK_FALSE(handshake.refused());
}

TEST_CASE("Handshake: questions to a peer that is met count as such until it is heard")
{
    Handshake handshake(55);
    handshake.greet(start);
    CHECK_FALSE(handshake.questioning()); // an introduction
    handshake.learn(remote(66, 77), Dialect{});
    handshake.establish(start);
    CHECK_FALSE(handshake.questioning()); // still one
    handshake.confirm();
    handshake.ask();
    CHECK(handshake.questioning());
    written(handshake);
    CHECK(handshake.questioning());
    handshake.on_heard();
    CHECK_FALSE(handshake.questioning());
}

TEST_CASE("Handshake: a farewell goes to the remote's record of us")
{
    Handshake ended(55);
    ended.learn(remote(66, 77), Dialect{});
    Handshake next(56);
    next.address_farewell(ended);
    CHECK(next.tx_connection() == 66);
    CHECK(next.rx_connection() == 56);
    CHECK(next.state() == State::idle);
}

TEST_CASE("Handshake: a question to a silent peer goes out as often as is wanted, anything else once")
{
    Handshake handshake(5);
    std::array<std::byte, sizeof(wire::HelloFrame)> room{};
    const auto count = [&] {
        unsigned sent = 0;
        for (; handshake.hello_due(); ++sent) {
            handshake.on_hello_sent(PathId{0});
            handshake.write_hello(room.data(), identity(), 1400, 0, 0);
        }
        return sent;
    };
    for (const unsigned paths : {1U, 2U, 4U, Handshake::most_asked}) {
        handshake.ask_over(paths);
        CHECK(count() == paths);
        handshake.ask();
        CHECK(count() == 1);
    }
    handshake.ask_over(Handshake::most_asked);
    handshake.reply();
    CHECK(count() == 1);
}

TEST_CASE("Handshake: both use the newest version that both speak, and the features that both have")
{
    const auto met = [](const Dialect& own, const wire::HelloFrame& hello) {
        Handshake handshake(55);
        CHECK(handshake.version() == base_version);
        handshake.greet(start);
        handshake.learn(hello, own);
        return handshake;
    };
    const auto hello_of = [](const Dialect& dialect) {
        Identity self = identity();
        self.dialect = dialect;
        wire::HelloFrame hello = self.hello();
        hello.connection = 66;
        return hello;
    };
    const Dialect next{base_version, base_version + 1, ~std::uint64_t{0}};
    CHECK(met(Dialect{}, hello_of(next)).version() == base_version);
    CHECK(met(next, hello_of(Dialect{})).version() == base_version);
    CHECK(met(next, hello_of(next)).version() == base_version + 1);
    CHECK(met(Dialect{}, hello_of(next)).features() == feature::all);
    CHECK(met(next, hello_of(Dialect::untold())).features() == 0);
    // A release that does not tell: what it leaves 0.
    CHECK(met(next, remote(66, 77)).version() == base_version);
    CHECK(met(next, remote(66, 77)).features() == 0);
    const Dialect later{base_version + 1, base_version + 2, 0};
    CHECK(later.any_common(next));
    CHECK(met(next, hello_of(later)).version() == base_version + 1);
    CHECK_FALSE(later.any_common(Dialect{}));
    CHECK_FALSE(Dialect{}.any_common(later));
}
