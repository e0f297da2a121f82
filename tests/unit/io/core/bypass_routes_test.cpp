// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The laws of bypass_routes.hpp, whatever the kind of bypass: when a question is asked, which answer counts,
// and what suspicion does.
#include <deque>
#include <random>
#include <sstream>
#include <vector>

#include <netinet/in.h>

#include <srd/wire.hpp>

#include "io/core/bypass_routes.hpp"

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/quiet_io.hpp"

using namespace srd;
using namespace srd::test;
using std::chrono::milliseconds;

namespace {

struct TestMessage {
    static constexpr std::array<std::uint8_t, 8> right_magic{0xf5, 't', 'e', 's', 't', 0, 0, 1};

    std::array<std::uint8_t, 8> magic = right_magic;
    wire::u32 kind;
    wire::u64 nonce;
    std::array<std::byte, sizeof(sockaddr_in6)> address{};
};

constexpr RouteId peer{2};

/// Keeps what is sent; its routes are numbered by the peer's port.
class Mail final : public QuietIo {
public:
    const SocketAddress& local_address() const noexcept override { return address_; }
    Status resolve(const SocketAddress& address, RouteId& route) override
    {
        route = RouteId{address.port()};
        ++resolved;
        return Status::ok;
    }
    RouteId find(const SocketAddress& address) const noexcept override
    {
        return RouteId{address.port()} == peer ? peer : no_id<RouteId>;
    }
    const SocketAddress& route_address(RouteId) const noexcept override { return address_; }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        for (const TxPacket& packet : packets) {
            TestMessage message;
            REQUIRE(packet.length == sizeof(message));
            std::memcpy(&message, packet.iov[0].iov_base, sizeof(message));
            sent.push_back(message);
        }
        return packets.size();
    }

    std::deque<TestMessage> sent;
    int resolved = 0;

private:
    const SocketAddress address_ = make_address("127.0.0.1", 1);
};

struct TestWay {
    int value = 0;
};

class TestRoutes final : public BypassRoutes<TestMessage, TestWay> {
public:
    explicit TestRoutes(PacketIo& base) : BypassRoutes(base, base.local_address()) {}

    using BypassRoutes::OnSilence;
    using BypassRoutes::Verdict;

    /// A packet wants to go; true if the bypass takes it.
    bool open(Time now)
    {
        if (const Route* const known = find(peer); known != nullptr && known->state.is_open()) {
            return true;
        }
        want(peer, now);
        return false;
    }
    bool refused() { return route_at(peer).state.is_refused(); }

    bool can = true;
    Verdict verdict = Verdict::accepted;
    OnSilence silence = OnSilence::refuse;
    bool suspects = false; ///< in the middle of an answer
    int opened = 0;
    int closed = 0;
    int questions = 0; ///< from others, believed
    std::vector<Stage> asked;

private:
    bool can_ask(RouteId /*id*/) override { return can; }
    void ask(RouteId id, Route& route, Time /*now*/) override
    {
        asked.push_back(route.state.stage());
        send(id, message(BypassKind::question, route.state.nonce()));
    }
    void on_question(const TestMessage& question, Time now) override
    {
        const RouteId id = route_of(question);
        if (id != no_id<RouteId> && may_look(now)) {
            ++questions;
            send(id, message(BypassKind::answer, question.nonce));
        }
    }
    Verdict on_answer(RouteId id, Route& /*route*/, const TestMessage& /*answer*/) override
    {
        if (suspects) {
            suspect(id);
        }
        return verdict;
    }
    OnSilence on_silence(RouteId /*id*/, Stage /*stage*/) override { return silence; }
    void on_opened(RouteId /*id*/, Route& /*route*/) override { ++opened; }
    void on_closed(RouteId /*id*/) noexcept override { ++closed; }
};

struct End {
    Time now = Time(std::chrono::seconds(1));
    Mail mail;
    TestRoutes routes{mail};

    bool open() { return routes.open(now); }
    TestMessage next()
    {
        REQUIRE(!mail.sent.empty());
        const TestMessage message = mail.sent.front();
        mail.sent.pop_front();
        return message;
    }
    void hear(const TestMessage& message) { hear_from(static_cast<std::uint16_t>(index_of(peer)), message); }
    /// It names that port as its sender's.
    void hear_from(std::uint16_t port, TestMessage message)
    {
        set_sender(message, make_address("127.0.0.1", port));
        const RxPacket packet{reinterpret_cast<const std::byte*>(&message), sizeof(message), false, false,
                              now};
        REQUIRE(routes.take(packet, now));
    }
    /// The peer answers the question asked last.
    void answer()
    {
        TestMessage message = next();
        message.kind = BypassKind::answer;
        hear(message);
    }
    /// Milliseconds at which questions were asked, while there are packets all the time.
    std::vector<std::int64_t> ask_for(int ms)
    {
        std::vector<std::int64_t> at;
        for (int i = 0; i < ms; ++i, now += milliseconds(1)) {
            CHECK_FALSE(open());
            for (; !mail.sent.empty(); mail.sent.pop_front()) {
                at.push_back(i);
            }
        }
        return at;
    }
};

// A Mersenne Twister gives itself away: from 312 of its numbers follow all others.
constexpr std::size_t twister_state = 312;

/// The inverse of x ^ (shifted(x) & mask).
template <typename Shifted>
std::uint64_t undo(std::uint64_t result, std::uint64_t mask, Shifted&& shifted)
{
    std::uint64_t x = result;
    for (int i = 0; i < 64; ++i) {
        x = result ^ (shifted(x) & mask);
    }
    return x;
}

/// How many of the numbers after the first 312 can be computed from these.
std::size_t guessed_of(const std::vector<std::uint64_t>& seen)
{
    std::ostringstream state;
    for (std::size_t i = 0; i < twister_state; ++i) {
        std::uint64_t x = undo(seen[i], ~std::uint64_t{0}, [](std::uint64_t y) { return y >> 43U; });
        x = undo(x, 0xfff7eee000000000U, [](std::uint64_t y) { return y << 37U; });
        x = undo(x, 0x71d67fffeda60000U, [](std::uint64_t y) { return y << 17U; });
        state << undo(x, 0x5555555555555555U, [](std::uint64_t y) { return y >> 29U; }) << ' ';
    }
    state << twister_state;
    std::mt19937_64 copy;
    std::istringstream(state.str()) >> copy;
    std::size_t guessed = 0;
    for (std::size_t i = twister_state; i < seen.size(); ++i) {
        guessed += copy() == seen[i] ? 1 : 0;
    }
    return guessed;
}

using Times = std::vector<std::int64_t>;
const Times eight{0, 2, 6, 14, 30, 62, 126, 254};

} // namespace

TEST_CASE("bypass routes: two questions and two answers open a route")
{
    End end;
    CHECK(end.mail.sent.empty()); // without packets nothing is asked
    CHECK_FALSE(end.open());
    const TestMessage first = end.mail.sent.front();
    CHECK(first.kind == BypassKind::question);
    end.answer();
    CHECK_FALSE(end.open());
    CHECK(end.mail.sent.front().nonce != first.nonce);
    CHECK(end.routes.opened == 0);
    end.answer();
    CHECK(end.routes.opened == 1);
    CHECK(end.open());
    CHECK(end.mail.sent.empty());
    using Stage = BypassState::Stage;
    CHECK(end.routes.asked == std::vector{Stage::asking, Stage::proving});
}

TEST_CASE("bypass routes: questions are repeated with doubled waits, and after eight it is as the kind says")
{
    End end;
    SECTION("refused")
    {
        CHECK(end.ask_for(3000) == eight);
        CHECK(end.routes.refused());
    }
    SECTION("ask on, once a second")
    {
        end.routes.silence = TestRoutes::OnSilence::ask_on;
        Times times = eight;
        times.insert(times.end(), {510, 1022, 2046, 3070, 4094});
        CHECK(end.ask_for(5000) == times);
    }
    SECTION("start over")
    {
        end.routes.silence = TestRoutes::OnSilence::start_over;
        Times times = eight;
        times.insert(times.end(), {510, 512, 516, 524, 540, 572, 636, 764});
        CHECK(end.ask_for(1000) == times);
    }
}

TEST_CASE("bypass routes: a question that starts over begins at the first stage")
{
    End end;
    end.routes.silence = TestRoutes::OnSilence::start_over;
    CHECK_FALSE(end.open());
    end.answer();
    end.now += milliseconds(2);
    end.ask_for(600);
    CHECK(end.routes.asked.at(1) == BypassState::Stage::proving);
    CHECK(end.routes.asked.back() == BypassState::Stage::asking);
}

TEST_CASE("bypass routes: only the answer to the question asked last counts")
{
    End end;
    CHECK_FALSE(end.open());
    const TestMessage first = end.next();
    TestMessage wrong = first;
    wrong.kind = BypassKind::answer;
    wrong.nonce = wrong.nonce + 1;
    end.hear(wrong);
    CHECK(end.mail.sent.empty());
    wrong.nonce = first.nonce;
    end.hear_from(3, wrong); // who answers for another answers nothing
    CHECK(end.mail.sent.empty());
    TestMessage right = first;
    right.kind = BypassKind::answer;
    end.hear(right);
    REQUIRE(end.mail.sent.size() == 1); // the second question
    end.hear(right);                    // late, to the first one
    CHECK(end.routes.opened == 0);
    end.answer();
    CHECK(end.routes.opened == 1);
    end.hear(right);
    CHECK(end.routes.opened == 1);
}

TEST_CASE("bypass routes: an answer may be worth nothing, or show that there is no way")
{
    End end;
    CHECK_FALSE(end.open());
    SECTION("nothing: as if it had not come")
    {
        end.routes.verdict = TestRoutes::Verdict::ignored;
        end.answer();
        CHECK(end.ask_for(300).size() == 7);
        CHECK(end.routes.opened == 0);
    }
    SECTION("refused by the kind of bypass")
    {
        end.routes.verdict = TestRoutes::Verdict::refused;
        end.answer();
        CHECK(end.ask_for(3000).empty());
    }
    SECTION("refused, but things may be different after a silence")
    {
        end.routes.verdict = TestRoutes::Verdict::refused;
        end.answer();
        end.routes.verdict = TestRoutes::Verdict::accepted;
        end.routes.suspect(peer);
        CHECK_FALSE(end.open());
        end.answer();
        end.answer();
        CHECK(end.open());
    }
    SECTION("accepted, but the route was suspected meanwhile")
    {
        end.routes.suspects = true;
        end.answer();
        CHECK(end.mail.sent.empty());
        end.routes.suspects = false;
        CHECK_FALSE(end.open());
        end.answer();
        end.answer();
        CHECK(end.open());
    }
}

TEST_CASE("bypass routes: a suspected route has to prove itself again, and is told once")
{
    End end;
    CHECK_FALSE(end.open());
    end.answer();
    end.answer();
    REQUIRE(end.open());
    end.routes.suspect(peer);
    CHECK(end.routes.closed == 1);
    end.routes.suspect(peer);
    CHECK(end.routes.closed == 1);
    CHECK_FALSE(end.open());
    end.answer();
    CHECK_FALSE(end.open());
    end.answer();
    CHECK(end.open());
    CHECK(end.routes.opened == 2);
    end.routes.suspect(RouteId{77}); // of which nothing is known
    CHECK(end.routes.closed == 1);
}

TEST_CASE("bypass routes: who has nothing to ask with asks nothing, and answers all the same")
{
    End end;
    end.routes.can = false;
    CHECK(end.ask_for(3000).empty());
    TestMessage question;
    question.kind = BypassKind::question;
    question.nonce = 42;
    end.hear(question);
    CHECK(end.routes.questions == 1);
    const TestMessage reply = end.next();
    CHECK(reply.kind == BypassKind::answer);
    CHECK(reply.nonce == 42);
}

TEST_CASE("bypass routes: strangers get no answer, and no route is made for the addresses that they name")
{
    End end;
    TestMessage message;
    for (const std::uint32_t kind :
         {BypassKind::question, BypassKind::answer, BypassKind::first_other, 0U, 99U}) {
        message.kind = kind;
        for (std::uint16_t port = 3; port < 1000; ++port) {
            end.hear_from(port, message);
        }
    }
    CHECK(end.mail.sent.empty());
    CHECK(end.mail.resolved == 0);
}

TEST_CASE("bypass routes: of a flood of questions few are looked at, in any time")
{
    End end;
    TestMessage question;
    question.kind = BypassKind::question;
    const auto flood = [&] {
        const int before = end.routes.questions;
        for (int i = 0; i < 10000; ++i) {
            end.hear(question);
        }
        end.mail.sent.clear();
        return end.routes.questions - before;
    };
    CHECK(flood() == QuestionBudget::at_once);
    CHECK(flood() == 0);
    end.now += QuestionBudget::interval - std::chrono::nanoseconds(1);
    CHECK(flood() == 0);
    end.now += std::chrono::nanoseconds(1);
    CHECK(flood() == 1);
    end.now += milliseconds(10);
    CHECK(flood() == 100);
    end.now += std::chrono::hours(1);
    CHECK(flood() == QuestionBudget::at_once);
}

TEST_CASE("bypass routes: messages of other kinds, and other packets, change nothing")
{
    End end;
    CHECK_FALSE(end.open());
    TestMessage other = end.next();
    other.kind = BypassKind::first_other;
    end.hear(other);
    CHECK(end.mail.sent.empty());
    other.magic[7] = 9;
    const RxPacket packet{reinterpret_cast<const std::byte*>(&other), sizeof(other), false, false, end.now};
    CHECK_FALSE(end.routes.take(packet, end.now));
    const RxPacket shorter{reinterpret_cast<const std::byte*>(&other), 20, false, false, end.now};
    CHECK_FALSE(end.routes.take(shorter, end.now));
}

TEST_CASE("bypass routes: nobody who has seen nonces can compute the next ones")
{
    std::mt19937_64 twister(7);
    std::vector<std::uint64_t> seen;
    for (std::size_t i = 0; i < 2 * twister_state; ++i) {
        seen.push_back(twister());
    }
    REQUIRE(guessed_of(seen) == twister_state); // the attack works

    End end;
    seen.clear();
    for (std::size_t i = 0; i < 2 * twister_state; ++i) {
        CHECK_FALSE(end.open());
        seen.push_back(end.next().nonce);
        end.routes.suspect(peer);
    }
    CHECK(guessed_of(seen) == 0);
}
