// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <atomic>
#include <thread>

#include <poll.h>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

TEST_CASE("cntr: set, add and read, values and errors apart")
{
    OpenDomain domain;
    const Handle<fid_cntr> cntr = open_counter(domain);
    CHECK(fi_cntr_read(cntr.get()) == 0);
    REQUIRE(fi_cntr_set(cntr.get(), 10) == 0);
    REQUIRE(fi_cntr_add(cntr.get(), 5) == 0);
    REQUIRE(fi_cntr_seterr(cntr.get(), 2) == 0);
    REQUIRE(fi_cntr_adderr(cntr.get(), 1) == 0);
    CHECK(fi_cntr_read(cntr.get()) == 15);
    CHECK(fi_cntr_readerr(cntr.get()) == 3);
    CHECK(fi_cntr_wait(cntr.get(), 15, 0) == 0);
    CHECK(fi_cntr_wait(cntr.get(), 16, 5) == -FI_ETIMEDOUT);
    std::thread adder([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        fi_cntr_add(cntr.get(), 1);
    });
    CHECK(fi_cntr_wait(cntr.get(), 16, 60000) == 0);
    adder.join();
    const Handle<fid_cntr> polled = open_counter(domain, FI_WAIT_NONE);
    CHECK(fi_cntr_wait(polled.get(), 1, 5) == -FI_ETIMEDOUT); // fabtests and others wait on these too
    Handle<fid_cntr> none;
    fi_cntr_attr attr{};
    attr.wait_obj = FI_WAIT_MUTEX_COND;
    CHECK(fi_cntr_open(domain.domain.get(), &attr, none.out(), nullptr) == -FI_ENOSYS);
    attr.wait_obj = FI_WAIT_SET; // without a wait set
    CHECK(fi_cntr_open(domain.domain.get(), &attr, none.out(), nullptr) == -FI_EINVAL);
}

TEST_CASE("cntr: counts every message, also the silent ones")
{
    Options options;
    options.counters = true;
    options.wait = FI_WAIT_UNSPEC;
    Pair pair(options);
    CHECK(fi_close(&pair.a.sent->fid) == -FI_EBUSY);
    std::uint64_t words[6]{};
    const std::uint64_t value = 1;
    for (std::uint64_t& word : words) {
        REQUIRE(fi_trecv(pair.b.ep.get(), &word, 8, nullptr, FI_ADDR_UNSPEC, 1, 0, &word) == 0);
    }
    for (int i = 0; i < 3; ++i) {
        REQUIRE(fi_tinject(pair.a.ep.get(), &value, 8, pair.b_at_a, 1) == 0);
        REQUIRE(fi_tsend(pair.a.ep.get(), &value, 8, nullptr, pair.b_at_a, 1, nullptr) == 0);
    }
    // Reading the counters alone must drive progress.
    pair.until(
        [&] { return fi_cntr_read(pair.b.received.get()) == 6 && fi_cntr_read(pair.a.sent.get()) == 6; });
    CHECK(fi_cntr_wait(pair.b.received.get(), 6, 60000) == 0);
    CHECK(fi_cntr_read(pair.a.received.get()) == 0);
    CHECK(fi_cntr_read(pair.b.sent.get()) == 0);
}

TEST_CASE("cntr: an error counts as an error and ends a wait")
{
    Options options;
    options.counters = true;
    options.wait = FI_WAIT_UNSPEC;
    Pair pair(options);
    std::uint64_t small = 0;
    const std::uint64_t big[2] = {1, 2};
    REQUIRE(fi_recv(pair.b.ep.get(), &small, 8, nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
    REQUIRE(fi_inject(pair.a.ep.get(), big, 16, pair.b_at_a) == 0);
    pair.until([&] { return fi_cntr_readerr(pair.b.received.get()) == 1; });
    CHECK(fi_cntr_read(pair.b.received.get()) == 0);
    // A wait knows only the errors counted since it began; when that is, no other thread can see: one error
    // after another comes until it ends.
    constexpr int attempts = 500;
    for (int i = 0; i < attempts; ++i) {
        REQUIRE(fi_recv(pair.b.ep.get(), &small, 8, nullptr, FI_ADDR_UNSPEC, &small) == 0);
    }
    std::atomic<bool> ended{false};
    std::atomic<int> refused{0};
    std::thread prompter([&] {
        for (int i = 0; i < attempts && !ended.load(); ++i) {
            refused += fi_inject(pair.a.ep.get(), big, 16, pair.b_at_a) != 0 ? 1 : 0;
            fi_cq_read(pair.a.cq.get(), nullptr, 0);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    CHECK(fi_cntr_wait(pair.b.received.get(), 1, 60000) == -FI_EAVAIL);
    ended.store(true);
    prompter.join();
    CHECK(refused.load() == 0);
}

TEST_CASE("cntr: several threads wait for different values, and each wakes at its own")
{
    OpenDomain domain;
    const Handle<fid_cntr> cntr = open_counter(domain);
    constexpr std::uint64_t count = 8;
    for (int round = 0; round < 50; ++round) {
        REQUIRE(fi_cntr_set(cntr.get(), 0) == 0);
        std::atomic<std::uint64_t> awake{0};
        std::vector<std::thread> waiters;
        for (std::uint64_t i = 1; i <= count; ++i) {
            waiters.emplace_back([&, i] {
                if (fi_cntr_wait(cntr.get(), i, 60000) == 0) {
                    awake.fetch_add(1);
                }
            });
        }
        for (std::uint64_t i = 1; i <= count; ++i) {
            fi_cntr_add(cntr.get(), 1);
            const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
            while (awake.load() < i && std::chrono::steady_clock::now() < end) {
                std::this_thread::yield();
            }
            REQUIRE(awake.load() >= i);
        }
        for (std::thread& waiter : waiters) {
            waiter.join();
        }
    }
}

TEST_CASE("cntr: a change just before a waiter falls asleep wakes it")
{
    OpenDomain domain;
    const Handle<fid_cntr> question = open_counter(domain);
    const Handle<fid_cntr> answer = open_counter(domain);
    constexpr std::uint64_t rounds = 50000;
    std::atomic<bool> over{false};
    // Answers at once, that is, about when the other has looked in vain and is going to sleep.
    std::thread answerer([&] {
        for (std::uint64_t i = 1; i <= rounds; ++i) {
            while (fi_cntr_read(question.get()) < i && !over.load()) {
            }
            fi_cntr_add(answer.get(), 1);
        }
    });
    // Who sleeps over the change finds it at the timeout, so it is the time that tells.
    const auto slept_over = [&](std::uint64_t threshold) {
        const auto begin = std::chrono::steady_clock::now();
        return fi_cntr_wait(answer.get(), threshold, 20000) != 0 ||
               std::chrono::steady_clock::now() - begin > std::chrono::seconds(15);
    };
    bool missed = false;
    for (std::uint64_t i = 1; i <= rounds && !missed; ++i) {
        fi_cntr_add(question.get(), 1);
        missed = slept_over(i);
    }
    over.store(true);
    answerer.join();
    CHECK_FALSE(missed);
}

TEST_CASE("cntr: a value that is reached counts for more than an error")
{
    OpenDomain domain;
    const Handle<fid_cntr> cntr = open_counter(domain, GENERATE(FI_WAIT_UNSPEC, FI_WAIT_FD, FI_WAIT_YIELD));
    const auto wait_while = [&](const std::function<void()>& action) {
        std::thread helper([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            action();
        });
        const int code = fi_cntr_wait(cntr.get(), 5, 60000);
        helper.join();
        return code;
    };
    CHECK(wait_while([&] { fi_cntr_adderr(cntr.get(), 1); }) == -FI_EAVAIL);
    CHECK(wait_while([&] { fi_cntr_seterr(cntr.get(), 0); }) == -FI_EAVAIL); // any change
    CHECK(wait_while([&] { fi_cntr_set(cntr.get(), 5); }) == 0);
    REQUIRE(fi_cntr_adderr(cntr.get(), 1) == 0);
    CHECK(fi_cntr_wait(cntr.get(), 5, 0) == 0);
    CHECK(fi_cntr_wait(cntr.get(), 6, 0) == -FI_ETIMEDOUT); // an error that was there before
}

TEST_CASE("cntr: fi_trywait knows what was read, and the descriptor tells of a change")
{
    OpenDomain domain;
    const Handle<fid_cntr> cntr = open_counter(domain, FI_WAIT_FD);
    int descriptor = -1;
    REQUIRE(fi_control(&cntr->fid, FI_GETWAIT, &descriptor) == 0);
    fid* object = &cntr->fid;
    pollfd entry{descriptor, POLLIN, 0};
    REQUIRE(fi_trywait(domain.fabric.get(), &object, 1) == 0);
    CHECK(poll(&entry, 1, 0) == 0);
    REQUIRE(fi_cntr_add(cntr.get(), 1) == 0);
    CHECK(poll(&entry, 1, 60000) == 1);
    CHECK(fi_trywait(domain.fabric.get(), &object, 1) == -FI_EAGAIN); // not read yet
    CHECK(fi_cntr_read(cntr.get()) == 1);
    CHECK(fi_trywait(domain.fabric.get(), &object, 1) == 0);
    CHECK(poll(&entry, 1, 0) == 0);
    REQUIRE(fi_cntr_seterr(cntr.get(), 4) == 0);
    CHECK(poll(&entry, 1, 60000) == 1);
    CHECK(fi_cntr_readerr(cntr.get()) == 4);
    CHECK(fi_trywait(domain.fabric.get(), &object, 1) == 0);
}

TEST_CASE("cntr: may be bound to an endpoint that is enabled")
{
    Pair pair;
    const Handle<fid_cntr> cntr = open_counter(pair.domain);
    REQUIRE(fi_ep_bind(pair.a.ep.get(), &cntr->fid, FI_SEND) == 0);
    std::uint64_t word = 0;
    const std::uint64_t value = 7;
    REQUIRE(fi_trecv(pair.b.ep.get(), &word, 8, nullptr, FI_ADDR_UNSPEC, 1, 0, &word) == 0);
    REQUIRE(fi_tinject(pair.a.ep.get(), &value, 8, pair.b_at_a, 1) == 0);
    pair.next(pair.b);
    CHECK(word == value);
    // Nobody reads a's completion queue now: waiting on the counter makes the progress.
    CHECK(fi_cntr_wait(cntr.get(), 1, 60000) == 0);
    pair.a.ep.close();
}
