// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What an application that takes turns with others on a processor gets from one look.
#include "fabric/profile.hpp"

using namespace fabric_test;

namespace {

/// As MPI libraries read: until there is nothing. Returns the number of completions.
int read_all(TestEndpoint& who)
{
    int count = 0;
    fi_cq_tagged_entry entry{};
    ssize_t result = 0;
    while ((result = fi_cq_read(who.cq.get(), &entry, 1)) > 0) {
        ++count;
    }
    REQUIRE(result == -FI_EAGAIN);
    return count;
}

/// A first message has been sent, and the wait for what tells of it is over.
void meet(Pair& pair)
{
    std::uint64_t word = 1;
    pair.park(&word, sizeof(word), 99);
    REQUIRE(fi_trecv(pair.b.ep.get(), &word, sizeof(word), nullptr, FI_ADDR_UNSPEC, 99, 0, nullptr) == 0);
    pair.next(pair.a);
    pair.next(pair.b);
}

} // namespace

TEST_CASE("turns: an answer that comes with a completion finds the receive that is posted because of it")
{
    Pair pair;
    const Profile counters(pair.a.ep->fid);
    const std::size_t length = GENERATE(8192, 200000); // eager; with a request
    const auto question = pattern(length, 1);
    const auto answer = pattern(length, 2);
    std::vector<std::uint8_t> at_a(length);
    std::vector<std::uint8_t> at_b(length);
    meet(pair);
    const std::uint64_t before = counters["rx_unexpected_messages"];
    for (int round = 0; round < 20; ++round) {
        REQUIRE(fi_trecv(pair.b.ep.get(), at_b.data(), length, nullptr, FI_ADDR_UNSPEC, 1, 0, nullptr) == 0);
        REQUIRE(fi_tsend(pair.a.ep.get(), question.data(), length, nullptr, pair.b_at_a, 1, nullptr) == 0);
        int received = 0;
        int sent = 0;
        while (received == 0) { // b answers at once, and its answer goes with the last acknowledgement
            sent += read_all(pair.a);
            received += read_all(pair.b);
        }
        REQUIRE(fi_tsend(pair.b.ep.get(), answer.data(), length, nullptr, pair.a_at_b, 2, nullptr) == 0);
        while (sent == 0) {
            sent += read_all(pair.a);
            if (sent == 0) {
                read_all(pair.b);
            }
        }
        REQUIRE(fi_trecv(pair.a.ep.get(), at_a.data(), length, nullptr, FI_ADDR_UNSPEC, 2, 0, nullptr) == 0);
        for (int done = 0; done < 2;) {
            done += read_all(pair.a) + read_all(pair.b);
        }
        REQUIRE(at_a == answer);
        REQUIRE(at_b == question);
    }
    CHECK(counters["rx_unexpected_messages"] == before);
}

TEST_CASE("turns: who does not post a receive gets its completions all the same, and the message later")
{
    Pair pair;
    const auto answer = pattern(8192);
    std::vector<std::uint8_t> received(answer.size());
    std::uint64_t word = 1;
    REQUIRE(fi_tsend(pair.a.ep.get(), &word, sizeof(word), nullptr, pair.b_at_a, 1, nullptr) == 0);
    REQUIRE(fi_tsend(pair.b.ep.get(), answer.data(), answer.size(), nullptr, pair.a_at_b, 2, nullptr) == 0);
    const Profile counters(pair.a.ep->fid);
    pair.until([&] { return counters["pvar_unexp_msg_cnt"] == 1 && !pair.a.ready.empty(); });
    REQUIRE(fi_trecv(pair.a.ep.get(), received.data(), received.size(), nullptr, FI_ADDR_UNSPEC, 2, 0,
                     nullptr) == 0);
    pair.until([&] { return pair.a.ready.size() == 2 && pair.b.ready.size() == 1; });
    CHECK(received == answer);
}

TEST_CASE("turns: a peek sees what has come, whatever the application has still to read")
{
    Pair pair;
    meet(pair);
    const auto answer = pattern(8192);
    for (int round = 0; round < 3; ++round) {
        std::uint64_t word = 1;
        REQUIRE(fi_trecv(pair.b.ep.get(), &word, sizeof(word), nullptr, FI_ADDR_UNSPEC, 1, 0, nullptr) == 0);
        REQUIRE(fi_tsend(pair.a.ep.get(), &word, sizeof(word), nullptr, pair.b_at_a, 1, nullptr) == 0);
        while (read_all(pair.b) == 0) {
        }
        REQUIRE(fi_tsend(pair.b.ep.get(), answer.data(), answer.size(), nullptr, pair.a_at_b, 2, nullptr) ==
                0);
        fi_msg_tagged peek{};
        peek.addr = FI_ADDR_UNSPEC;
        peek.tag = 2;
        peek.context = &peek;
        REQUIRE(fi_trecvmsg(pair.a.ep.get(), &peek, FI_PEEK) ==
                0); // the answer, and that the question was sent
        fi_cq_tagged_entry entry{};
        int completions = 0;
        while (fi_cq_read(pair.a.cq.get(), &entry, 1) > 0) {
            completions += entry.op_context == &peek ? 1 : 0;
        }
        CHECK(completions == 1);
        std::vector<std::uint8_t> received(answer.size());
        REQUIRE(fi_trecv(pair.a.ep.get(), received.data(), received.size(), nullptr, FI_ADDR_UNSPEC, 2, 0,
                         nullptr) == 0);
        for (int done = 0; done < 2;) {
            done += read_all(pair.a) + read_all(pair.b);
        }
        CHECK(received == answer);
    }
}

TEST_CASE("turns: one look takes in a message of several packets that is all there")
{
    Pair pair;
    const auto message = pattern(65536); // more than one packet over loopback
    std::vector<std::uint8_t> received(message.size());
    fi_cq_tagged_entry entry{};
    meet(pair);
    REQUIRE(fi_cq_read(pair.b.cq.get(), &entry, 1) == -FI_EAGAIN);
    REQUIRE(fi_trecv(pair.b.ep.get(), received.data(), received.size(), nullptr, FI_ADDR_UNSPEC, 1, 0,
                     nullptr) == 0);
    REQUIRE(fi_tsend(pair.a.ep.get(), message.data(), message.size(), nullptr, pair.b_at_a, 1, nullptr) == 0);
    CHECK(fi_cq_read(pair.b.cq.get(), &entry, 1) == 1);
    CHECK(received == message);
    pair.until([&] { return pair.a.ready.size() == 1; });
}
