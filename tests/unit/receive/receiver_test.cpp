// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <array>
#include <bit>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "receive/receiver.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;
using namespace std::chrono_literals;

const Time start{Duration(1h)};
constexpr Duration ack_delay = 25us;

struct Ack {
    wire::AckBlock block;
    wire::MarkBlock marks;
    std::vector<std::uint64_t> words;
};

Ack ack_of(Receiver& receiver, Time now, std::size_t room = 1000)
{
    std::array<std::byte, 1000> bytes{};
    const std::byte* const end = receiver.write_ack(bytes.data(), room, 0, now);
    Ack ack;
    std::memcpy(&ack.block, bytes.data(), sizeof(ack.block));
    ack.words.resize(ack.block.words);
    const std::byte* rest = bytes.data() + sizeof(ack.block);
    if ((ack.block.flags & wire::ack_flag::marks) != 0) {
        std::memcpy(&ack.marks, rest, sizeof(ack.marks));
        rest += sizeof(ack.marks);
    }
    const std::size_t size = ack.words.size() * sizeof(std::uint64_t);
    if (size != 0) {
        std::memcpy(ack.words.data(), rest, size);
    }
    REQUIRE(end == rest + size);
    REQUIRE(static_cast<std::size_t>(end - bytes.data()) <= room);
    return ack;
}

Receiver::Echo echo_of(std::uint32_t psn, Time arrived = start, std::uint8_t attempt = 0)
{
    Receiver::Echo echo;
    echo.psn = psn;
    echo.attempt = attempt;
    echo.path = 9;
    echo.arrived = arrived;
    return echo;
}

/// A packet of `bytes`. True: the delayed acknowledgement's timer has been set.
bool receive(Receiver& receiver, std::uint32_t psn, std::uint32_t bytes = 100, bool requested = false)
{
    return receiver.on_received(echo_of(psn), false, bytes, requested, ack_delay, start);
}

} // namespace

TEST_CASE("Receiver: an acknowledgement waits for company, but not for ever")
{
    Receiver receiver;
    CHECK_FALSE(receiver.ack_pending());
    CHECK(receive(receiver, 0));
    CHECK(receiver.ack_pending());
    CHECK_FALSE(receiver.ack_now());
    CHECK(receiver.next_timeout() == start + ack_delay);
    CHECK_FALSE(
        receiver.on_received(echo_of(1), false, 100, false, ack_delay, start + 20us)); // the timer runs
    CHECK(receiver.next_timeout() == start + ack_delay);
    CHECK_FALSE(receiver.on_timeout(start + ack_delay - 1ns));
    CHECK_FALSE(receiver.ack_now());
    CHECK(receiver.on_timeout(start + ack_delay));
    CHECK(receiver.ack_now());
    CHECK(receiver.next_timeout() == time_never);
    ack_of(receiver, start);
    CHECK_FALSE(receiver.ack_pending());
    CHECK(receive(receiver, 2)); // and the next one waits again
    ack_of(receiver, start);
    CHECK(receiver.next_timeout() == time_never);
}

TEST_CASE("Receiver: an acknowledgement is due at once when asked for, or after so much")
{
    Receiver receiver;
    CHECK_FALSE(receive(receiver, 0, 100, true));
    CHECK(receiver.ack_now());
    ack_of(receiver, start);
    for (int round = 0; round < 2; ++round) {
        for (std::uint32_t i = 1; i < Receiver::ack_every_packets; ++i) {
            receive(receiver, receiver.highest());
            REQUIRE_FALSE(receiver.ack_now());
        }
        receive(receiver, receiver.highest());
        CHECK(receiver.ack_now());
        ack_of(receiver, start);
    }
    for (int round = 0; round < 2; ++round) {
        receive(receiver, receiver.highest(), Receiver::ack_every_bytes - 1);
        CHECK_FALSE(receiver.ack_now());
        receive(receiver, receiver.highest(), 1);
        CHECK(receiver.ack_now());
        ack_of(receiver, start);
    }
    receiver.request_ack();
    CHECK(receiver.ack_now());
}

TEST_CASE("Receiver: what was told to be missing is told of at once when it comes")
{
    Receiver receiver;
    receive(receiver, 0);
    receive(receiver, 4);
    receive(receiver, 2); // overtaken, but nobody has heard of that
    CHECK_FALSE(receiver.ack_now());
    CHECK(ack_of(receiver, start).block.cumulative == 1); // 1 and 3 are missing
    receive(receiver, 5);
    CHECK_FALSE(receiver.ack_now());
    receive(receiver, 3);
    CHECK(receiver.ack_now());
    CHECK(ack_of(receiver, start).block.cumulative == 1);
    receive(receiver, 1);
    CHECK(receiver.ack_now());
    CHECK(ack_of(receiver, start).block.cumulative == 6);
    receive(receiver, 6);
    CHECK_FALSE(receiver.ack_now());
}

TEST_CASE("Receiver: a packet that came late is echoed only if it came alone")
{
    Receiver receiver;
    receive(receiver, 3);
    ack_of(receiver, start);
    receive(receiver, 4);
    receive(receiver, 1);
    CHECK(ack_of(receiver, start).block.echo_psn == 4);
    receive(receiver, 2);
    CHECK(ack_of(receiver, start).block.echo_psn == 2);
}

TEST_CASE("Receiver: whose first packet is not number 0 waits for company, too")
{
    for (const std::uint32_t first : {7U, 0x80000000U, 0xfffffffeU}) {
        Receiver receiver;
        receiver.start(first);
        receive(receiver, first + 1);
        CHECK_FALSE(receiver.ack_now());
        receive(receiver, first);
        CHECK_FALSE(receiver.ack_now());
    }
}

TEST_CASE("Receiver: the latest packet is echoed, with the time for which it lay here")
{
    Receiver receiver;
    receiver.start(50);
    CHECK((ack_of(receiver, start).block.flags & wire::ack_flag::echo) == 0);
    receive(receiver, 51);
    Receiver::Echo echo = echo_of(50, start + 1us);
    echo.attempt = 3;
    echo.path = 7;
    receiver.on_received(echo, false, 100, false, ack_delay, start + 1us);
    const wire::AckBlock block = ack_of(receiver, start + 5us).block;
    CHECK(block.flags == wire::ack_flag::echo);
    CHECK(block.echo_psn == 50);
    CHECK(block.echo_attempt == 3);
    CHECK(block.echo_path == 7);
    CHECK(block.hold_ns == 4000);
    CHECK(ack_of(receiver, start).block.hold_ns == 0); // clocks of packets may be ahead of ours
    CHECK(ack_of(receiver, start + 10s).block.hold_ns == 0xffffffff);
    receive(receiver, 52);
    CHECK(ack_of(receiver, start).block.flags == wire::ack_flag::echo);
}

TEST_CASE("Receiver: a duplicate is told of at once, and not echoed")
{
    Receiver receiver;
    receive(receiver, 0);
    receive(receiver, 1);
    ack_of(receiver, start);
    CHECK(receiver.check(0) == Receiver::Window::duplicate);
    receiver.on_duplicate();
    CHECK(receiver.ack_now());
    const wire::AckBlock block = ack_of(receiver, start).block;
    CHECK(block.duplicates == 1);
    CHECK(block.echo_psn == 1);
    for (int i = 0; i < 0xffff; ++i) {
        receiver.on_duplicate();
    }
    CHECK(ack_of(receiver, start).block.duplicates == 0); // wraps
}

TEST_CASE("Receiver: what has arrived, in as many words as there is room for")
{
    Receiver receiver;
    receiver.start(0xfffffff0);
    CHECK(receiver.check(0xfffffff0) == Receiver::Window::fresh);
    CHECK(ack_of(receiver, start).block.cumulative == 0xfffffff0);
    for (const std::uint32_t offset : {0U, 1U, 3U, 66U, 200U, packet_window - 1}) {
        receive(receiver, 0xfffffff0 + offset);
    }
    CHECK(receiver.highest() == 0xfffffff0 + packet_window);
    const Ack all = ack_of(receiver, start);
    CHECK(all.block.cumulative == 0xfffffff2);
    REQUIRE(all.words.size() == wire::max_ack_words);
    for (std::uint32_t i = 0; i < packet_window; ++i) {
        const bool arrived = i == 1 || i == 64 || i == 198 || i == packet_window - 3;
        REQUIRE(((all.words[i / 64] >> (i % 64)) & 1) == (arrived ? 1U : 0U));
    }
    for (std::size_t words = 0; words < 4; ++words) {
        const Ack some = ack_of(receiver, start, sizeof(wire::AckBlock) + words * 8 + 7);
        CHECK(some.block.cumulative == 0xfffffff2);
        CHECK(some.words == std::vector(all.words.begin(), all.words.begin() + static_cast<int>(words)));
    }
    receive(receiver, 0xfffffff2);
    CHECK(ack_of(receiver, start).block.cumulative == 0xfffffff4);
}

TEST_CASE("Receiver: no words without gaps")
{
    Receiver receiver;
    receive(receiver, 0);
    CHECK(ack_of(receiver, start).words.empty());
    receive(receiver, 2);
    CHECK(ack_of(receiver, start).words == std::vector<std::uint64_t>{2});
}

TEST_CASE("Receiver: refusals are told of at once, and that they are over")
{
    Receiver receiver;
    CHECK_FALSE(receiver.accept_again());
    CHECK(receiver.refuse());
    CHECK(receiver.refusing());
    CHECK(receiver.ack_now());
    CHECK(ack_of(receiver, start).block.flags == wire::ack_flag::receiver_not_ready);
    CHECK_FALSE(receiver.refuse()); // not from now on
    CHECK(receiver.ack_now());
    ack_of(receiver, start);
    CHECK(receiver.accept_again());
    CHECK(receiver.ack_now());
    CHECK(ack_of(receiver, start).block.flags == 0);
    CHECK_FALSE(receiver.accept_again());
}

TEST_CASE("Receiver: a question is answered at once over any path, and over more where it comes again")
{
    Receiver receiver;
    const auto answers = [&] {
        int count = 0;
        for (; receiver.ack_now(); ++count) {
            CHECK(receiver.questioned());
            receiver.on_answer();
            ack_of(receiver, start);
        }
        CHECK_FALSE(receiver.questioned());
        return count;
    };
    const auto asked = [&] {
        receiver.on_question();
        receiver.on_question(); // over another path: the same question
        return answers();
    };
    CHECK(asked() == 1);
    CHECK(asked() == 2);
    CHECK(asked() == 4);
    CHECK(asked() == 8);
    CHECK(asked() == 8);
    // A repetition: he has not heard us. But does he want to know?
    receiver.on_received(echo_of(0, start, 2), false, 100, false, ack_delay, start);
    CHECK(answers() == 0);
    receiver.on_received(echo_of(1, start, 2), false, 100, true, ack_delay, start);
    CHECK(answers() == 8);
    receiver.on_received(echo_of(2), false, 100, true, ack_delay, start);
    CHECK(receiver.ack_now());
    CHECK_FALSE(receiver.questioned());
    ack_of(receiver, start);
    CHECK_FALSE(receiver.ack_now());
    CHECK(asked() == 1);
}

TEST_CASE("Receiver: where packets are repeated acknowledgements go out twice for a while")
{
    Receiver receiver;
    const auto acks_of = [&](std::uint32_t psn, std::uint8_t attempt) {
        receiver.on_received(echo_of(psn, start, attempt), false, 100, true, ack_delay, start);
        int count = 0;
        for (; receiver.ack_now(); ++count) {
            CHECK(ack_of(receiver, start).block.cumulative == psn + 1);
        }
        return count;
    };
    CHECK(acks_of(0, 0) == 1);
    CHECK(acks_of(1, 1) == 2);
    for (std::uint32_t psn = 2; psn < 1 + Receiver::acks_twice; ++psn) {
        CHECK(acks_of(psn, 0) == 2);
    }
    CHECK(acks_of(1 + Receiver::acks_twice, 0) == 1);
    CHECK_FALSE(receiver.ack_pending());
}

TEST_CASE("Receiver: the order of messages is told, and the faults made")
{
    Receiver receiver;
    CHECK(receiver.ahead(0) == 0);
    CHECK(receiver.ahead(5) == 5);
    CHECK(receiver.ahead(0xffffffff) == -1);
    receiver.announced();
    receiver.announced();
    CHECK(receiver.ahead(1) == -1);
    CHECK(receiver.message_next() == 2);
    receiver.on_fault_owed();
    receiver.on_held();
    CHECK(receiver.held() == 1);
    receiver.on_unheld();
    CHECK(receiver.held() == 0);
    const wire::AckBlock block = ack_of(receiver, start).block;
    CHECK(block.message_next == 2);
    CHECK(block.faults == 1);
}

TEST_CASE("Receiver: the last word acknowledges all that was received, and says nothing else")
{
    Receiver receiver;
    receive(receiver, 0);
    receive(receiver, 2, 100, true);
    receiver.announced();
    receiver.on_duplicate();
    receiver.on_fault_owed();
    receiver.refuse();
    receiver.on_question();
    Receiver word = receiver.last_word();
    CHECK_FALSE(word.ack_pending());
    CHECK_FALSE(word.questioned());
    CHECK_FALSE(word.refusing());
    CHECK(word.next_timeout() == time_never);
    const Ack ack = ack_of(word, start);
    CHECK(ack.block.flags == 0);
    CHECK(ack.block.cumulative == 1);
    CHECK(ack.words == std::vector<std::uint64_t>{2});
    CHECK(ack.block.message_next == 1);
    CHECK(ack.block.duplicates == 1);
    CHECK(ack.block.faults == 1);
}

TEST_CASE("Receiver: who has something to say says it in turn, and once")
{
    Receiver receiver;
    IncomingPool pool(8, 4096, 8, {1, 3, 5, 7});
    IncomingPool::All all;
    std::array<std::uint32_t, 3> records{};
    for (std::uint32_t& record : records) {
        record = pool.create(all, 0, 0, false);
        receiver.owe(pool, record);
    }
    receiver.owe(pool, records[0]); // listed already
    CHECK(receiver.any_control());
    CHECK(receiver.first_control() == records[0]);
    receiver.settle(pool, records[1]);
    receiver.settle(pool, records[1]);
    receiver.settle(pool, records[0]);
    CHECK(receiver.first_control() == records[2]);
    receiver.owe(pool, records[0]);
    receiver.settle(pool, records[2]);
    CHECK(receiver.first_control() == records[0]);
    receiver.settle(pool, records[0]);
    CHECK_FALSE(receiver.any_control());
}

TEST_CASE("Receiver: every marked packet is told of, twice, and none that was not marked")
{
    Receiver receiver;
    receiver.start(50);
    const auto take = [&](std::uint32_t psn, bool marked) {
        receiver.on_received(echo_of(psn), marked, 100, false, ack_delay, start);
    };
    take(50, false);
    CHECK(ack_of(receiver, start).block.flags == wire::ack_flag::echo);
    take(52, true);
    take(51, true);
    take(53, false);
    take(55, true);
    const std::size_t size = receiver.ack_size();
    const Ack first = ack_of(receiver, start, size); // as long as was announced
    CHECK(size == sizeof(wire::AckBlock) + sizeof(wire::MarkBlock) + 8);
    CHECK(first.block.flags == (wire::ack_flag::echo | wire::ack_flag::marks));
    CHECK(first.marks.first == 51);
    CHECK(first.marks.bits == 0b10011);
    CHECK(first.words == std::vector<std::uint64_t>{0b10});
    take(54, true);
    CHECK(ack_of(receiver, start).marks.bits == 0b11011); // the first may be lost, or come later
    const Ack third = ack_of(receiver, start);
    CHECK(third.marks.first == 51);
    CHECK(third.marks.bits == 0b01000);
    CHECK((ack_of(receiver, start).block.flags & wire::ack_flag::marks) == 0);
}

TEST_CASE("Receiver: of marks that lie too far apart the earlier are forgotten")
{
    Receiver receiver;
    const auto marks = [&](std::initializer_list<std::uint32_t> psns) {
        receiver = Receiver{};
        receiver.start(0xffffff00);
        for (const std::uint32_t psn : psns) {
            receiver.on_received(echo_of(psn), true, 100, false, ack_delay, start);
        }
        return ack_of(receiver, start).marks;
    };
    wire::MarkBlock block = marks({0xfffffff0, 0x30}); // numbers wrap
    CHECK(block.first == 0xfffffff1);
    CHECK(block.bits == 1ULL << 63);
    block = marks({0xfffffff0, 0xfffffff1, 0x2f, 0x5});
    CHECK(block.first == 0xfffffff0);
    CHECK(block.bits == (3U | 1ULL << 21 | 1ULL << 63));
    block = marks({0x30, 0xfffffff0}); // an old one does not drive out a later one
    CHECK(block.first == 0x30);
    CHECK(block.bits == 1);
    block = marks({0xffffff10, 0x80});
    CHECK(block.bits != 0);
    CHECK(block.first + static_cast<std::uint32_t>(std::countr_zero(std::uint64_t{block.bits})) == 0x80);
    block = marks({0x30, 0xfffffff1});
    CHECK(block.first == 0xfffffff1);
    CHECK(block.bits == (1U | 1ULL << 63));
}
