// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How two endpoints find out that they are on one host (protocol.md, section 11), message by message.
#include <functional>

#include "support/io/shm_segments.hpp"
#include "support/io/shm_talk.hpp"

using namespace srd;
using namespace srd::test;
using std::chrono::milliseconds;

namespace {

using Kind = RouteNotice::Kind;
using Numbers = std::vector<std::int64_t>;

} // namespace

// -- Questions ----------------------------------------------------------------------

TEST_CASE("shm routes: two questions and two answers open a way, and what is written arrives")
{
    Two two;
    CHECK(two.way() == nullptr);
    const ShmMessage question = two.a.next();
    CHECK(question.kind == BypassKind::question);
    CHECK(question.ring == ShmMessage::no_ring);
    two.b->hear(question, two.now);
    const ShmMessage answer = two.b->next();
    CHECK(answer.kind == BypassKind::answer);
    CHECK(answer.nonce == question.nonce);
    two.a.hear(answer, two.now);
    CHECK(two.way() == nullptr);
    CHECK(two.a.notices().empty());
    const ShmMessage offer = two.a.next();
    CHECK(offer.kind == BypassKind::question);
    CHECK(offer.ring == 0);
    CHECK(offer.nonce != question.nonce);
    two.b->hear(offer, two.now);
    two.a.hear(two.b->next(), two.now);
    CHECK(two.a.notices() == Kinds{Kind::same_host});
    ShmWay* const way = two.way();
    REQUIRE(way != nullptr);
    CHECK(two.write(*way, 1));
    CHECK(two.b->look() == Numbers{1});
    CHECK(two.a.mail.sent.empty());
    CHECK(two.b->mail.sent.empty());
}

TEST_CASE("shm routes: a question is repeated while there are packets, with waits that double up to a second")
{
    Two two;
    std::vector<std::int64_t> asked_at; // ms
    for (int ms = 0; ms < 5000; ++ms, two.now += milliseconds(1)) {
        CHECK(two.way() == nullptr);
        if (!two.a.mail.sent.empty()) {
            asked_at.push_back(ms);
            CHECK(two.a.next().kind == BypassKind::question);
        }
        CHECK(two.a.mail.sent.empty());
    }
    CHECK(asked_at == std::vector<std::int64_t>{0, 2, 6, 14, 30, 62, 126, 254, 510, 1022, 2046, 3070, 4094});
    two.a.routes.suspect(RouteId{2}); // silence: things may be different now
    two.open();
}

TEST_CASE("shm routes: a peer that could not answer is reached later")
{
    Two two;
    CHECK(two.way() == nullptr);
    two.a.next(); // lost, as if it had no shared memory
    two.now += std::chrono::minutes(1);
    two.open();
}

TEST_CASE("shm routes: only the answer to the latest question counts, and only with its proof")
{
    Two two;
    const ShmMessage right = two.last_answer();
    REQUIRE(right.kind == BypassKind::answer);
    const auto refused = [&](const std::function<void(ShmMessage&)>& spoil) {
        ShmMessage wrong = right;
        spoil(wrong);
        two.a.hear(wrong, two.now);
        CHECK(two.way() == nullptr);
        CHECK(two.a.notices().empty());
    };
    refused([](ShmMessage& message) { message.nonce = message.nonce + 1; });
    refused([](ShmMessage& message) { message.proof = message.proof + 1; });
    refused([](ShmMessage& message) { message.ring = message.ring + 1; });
    refused([](ShmMessage& message) { message.ring = shm_rings; });
    refused([](ShmMessage& message) { message.ring = ShmMessage::no_ring; });
    refused([](ShmMessage& message) { message.start = 1; });
    refused([](ShmMessage& message) { message.token[0] ^= 1; });
    refused([](ShmMessage& message) { message.kind = 7; });
    refused([](ShmMessage& message) { set_sender(message, Mail::address_of(3)); });
    two.a.hear(right, two.now);
    CHECK(two.a.notices() == Kinds{Kind::same_host});
    CHECK(two.way() != nullptr);
    two.a.hear(right, two.now); // again
    CHECK(two.way() != nullptr);
}

TEST_CASE("shm routes: rings that do not exist are not read")
{
    Two two;
    CHECK(two.way() == nullptr);
    for (const std::uint32_t ring : {shm_rings, shm_rings + 1, 0x7fffffffU, 0xfffffffeU}) {
        ShmMessage question = two.a.mail.sent.front();
        question.ring = ring;
        prove(question, question, two.b->mail.address());
        two.b->hear(question, two.now);
        CHECK(two.b->next().ring == ShmMessage::no_ring);
    }
    REQUIRE(two.b->routes.receiver() != nullptr);
    CHECK(two.b->routes.receiver()->empty());
}

// -- Sleep and doorbells ----------------------------------------------------------------

TEST_CASE("shm routes: a wake-up message goes to who sleeps, and only then")
{
    Two two;
    ShmWay& way = two.open();
    CHECK(two.write(way, 1));
    CHECK(two.a.mail.sent.empty());
    two.b->routes.set_asleep(true);
    way.touched = true;
    CHECK(two.write(way, 2));
    CHECK_FALSE(way.touched);
    CHECK(two.a.next().kind == ShmMessage::wake_up);
    two.b->routes.set_asleep(false);
    CHECK(two.write(way, 3));
    CHECK(two.a.mail.sent.empty());
    CHECK(two.b->look() == Numbers{1, 2, 3});
}

// -- Suspicion and endings ----------------------------------------------------------

TEST_CASE("shm routes: a suspected way is closed until it has proved itself, and loses nothing")
{
    Two two;
    ShmWay& way = two.open();
    CHECK(two.write(way, 1));
    two.a.routes.suspect(RouteId{2});
    CHECK(two.a.notices() == Kinds{Kind::network});
    two.a.routes.suspect(RouteId{2});
    CHECK(two.a.notices().empty());
    two.open();
    CHECK(two.write(way, 2));
    CHECK(two.b->look() == Numbers{1, 2});
    CHECK(way.sender.ring() == 0);
}

TEST_CASE("shm routes: the last word about a way is true, whatever happened before anybody asked")
{
    Two two;
    const auto open = [&] {
        two.way();
        two.talk();
        return two.way() != nullptr;
    };
    REQUIRE(open());
    two.a.routes.suspect(RouteId{2});
    REQUIRE(open());
    const Kinds opened = two.a.notices();
    REQUIRE(!opened.empty());
    CHECK(opened.back() == Kind::same_host);
    two.a.routes.suspect(RouteId{2});
    REQUIRE(open());
    two.a.routes.suspect(RouteId{2});
    const Kinds closed = two.a.notices();
    REQUIRE(!closed.empty());
    CHECK(closed.back() == Kind::network);
}

TEST_CASE("shm routes: a way is not used once its peer has closed, and its ring serves the next one")
{
    Two two;
    ShmWay& way = two.open();
    for (std::uint32_t number = 0; number < shm_ring_entries; ++number) {
        CHECK(two.write(way, number)); // never read
    }
    two.b = std::make_unique<End>(std::uint16_t{3});
    CHECK(two.way() == nullptr);
    CHECK(two.a.notices() == Kinds{Kind::network});
    CHECK(two.a.next().ring == ShmMessage::no_ring);
    CHECK(two.way_to(3) == nullptr);
    two.talk();
    ShmWay* const other = two.way_to(3);
    REQUIRE(other != nullptr);
    CHECK(other->sender.ring() == 0);
    CHECK(two.write(*other, 100));
    CHECK(two.b->look() == Numbers{100});
}

TEST_CASE("shm routes: another process at the same address does not get what was written to the one before")
{
    const bool killed = GENERATE(false, true); // before anybody knows that it has gone
    const bool it_asks = GENERATE(false, true);
    Two two;
    ShmWay& way = two.open();
    for (std::uint32_t number = 0; number < shm_ring_entries; ++number) {
        CHECK(two.write(way, number));
    }
    const std::unique_ptr<End> before = std::move(two.b);
    two.b = std::make_unique<End>(std::uint16_t{2});
    if (it_asks) { // and so we learn of it
        CHECK(two.b->ask(1, two.now) == nullptr);
        two.talk();
        CHECK(two.b->notices() == Kinds{Kind::same_host});
        CHECK(two.a.notices() == Kinds{Kind::network});
    } else if (killed) {
        two.a.routes.forget(RouteId{2});
        CHECK(two.a.notices() == Kinds{Kind::network});
    } else {
        two.a.routes.suspect(RouteId{2});
        CHECK(two.a.notices() == Kinds{Kind::network});
    }
    ShmWay& next = two.open();
    CHECK(two.write(next, 100));
    CHECK(two.b->look() == Numbers{100});
}

TEST_CASE("shm routes: an offer to one process is not taken by the answer of another at its address")
{
    Two two;
    ShmMessage answer = two.last_answer();
    const std::unique_ptr<End> before = std::move(two.b);
    two.b = std::make_unique<End>(std::uint16_t{2});
    CHECK(two.b->ask(1, two.now) == nullptr); // makes its object
    ShmMessage offer = answer;
    offer.token = two.a.token;
    answer.token = two.b->next().token;
    prove(answer, offer, two.a.mail.address());
    two.a.hear(answer, two.now);
    CHECK(two.way() == nullptr);
    CHECK(two.a.notices().empty());
}

TEST_CASE("shm routes: who is said to have gone, and has its object, is read on")
{
    Two two;
    ShmWay& way = two.open();
    two.b->routes.forget(RouteId{1});
    for (int i = 0; i < 1 << 15; ++i) {
        REQUIRE(two.b->look().empty());
    }
    CHECK_FALSE(two.b->routes.receiver()->empty());
    CHECK(two.write(way, 5));
    CHECK(way.lane->send({.sequence = 6}, {}, 0) == LocalRoad::Sent::done);
    CHECK(two.b->look() == Numbers{5});
    REQUIRE(two.b->routes.receiver()->front_message() != nullptr);
    CHECK(two.b->routes.receiver()->front_message()->sequence == 6);
}

TEST_CASE("shm routes: the rings of a process that has gone are closed, those of its heir are not")
{
    Two two;
    two.open();
    ShmReceiver& rings = *two.b->routes.receiver();
    CHECK_FALSE(rings.empty());
    REQUIRE(::unlink(path_of(two.a.token).c_str()) == 0); // as when it was killed, and others clean up
    two.b->routes.forget(RouteId{1});
    for (int i = 0; i < 1 << 15; ++i) {
        REQUIRE(two.b->look().empty());
    }
    CHECK(rings.empty());

    Two other;
    other.open();
    ShmReceiver& receiver = *other.b->routes.receiver();
    End heir(1);
    CHECK(heir.ask(2, other.now) == nullptr);
    other.b->hear(heir.next(), other.now); // the end before, at this address, has gone
    const ShmMessage answer = other.b->next();
    for (int i = 0; i < 1 << 15; ++i) {
        REQUIRE(other.b->look().empty());
    }
    CHECK(receiver.empty());
    heir.hear(answer, other.now);
    other.b->hear(heir.next(), other.now);
    heir.hear(other.b->next(), other.now);
    CHECK(heir.notices() == Kinds{Kind::same_host});
    CHECK_FALSE(receiver.empty());
}

// -- Memory -------------------------------------------------------------------------

TEST_CASE("shm routes: a peer's memory is read while its segment is known, and not after it was taken back")
{
    Two two;
    two.open();
    std::array<std::byte, 100> from{};
    std::array<std::byte, 100> into{};
    from.fill(std::byte{9});
    const iovec there{from.data(), from.size()};
    const iovec here{into.data(), into.size()};
    const std::uint32_t epoch = two.a.routes.epoch();
    const auto read = [&](std::uint32_t at) {
        return two.b->routes.read(RouteId{1}, at, {&there, 1}, {&here, 1});
    };
    CHECK(read(epoch) == ProcessMemory::Read::done);
    CHECK(from == into);
    two.a.routes.revoke();
    CHECK(two.a.routes.epoch() == epoch + 1);
    CHECK(read(epoch) == ProcessMemory::Read::changed);
    CHECK(read(epoch + 1) == ProcessMemory::Read::done);
    REQUIRE(::unlink(path_of(two.a.token).c_str()) == 0);
    two.b->routes.forget(RouteId{1});
    CHECK(read(epoch + 1) == ProcessMemory::Read::changed);
    CHECK(two.b->routes.read(RouteId{77}, epoch + 1, {&there, 1}, {&here, 1}) ==
          ProcessMemory::Read::changed);
}
