// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <thread>

#include "support/fabric_fixture.hpp"

using namespace fabric_test;

TEST_CASE("cntr: set, add and read, values and errors apart")
{
    OpenDomain domain;
    Handle<fid_cntr> cntr;
    fi_cntr_attr attr{};
    attr.wait_obj = FI_WAIT_UNSPEC;
    REQUIRE(fi_cntr_open(domain.domain.get(), &attr, cntr.out(), nullptr) == 0);
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
    attr.wait_obj = FI_WAIT_NONE;
    Handle<fid_cntr> polled;
    REQUIRE(fi_cntr_open(domain.domain.get(), &attr, polled.out(), nullptr) == 0);
    CHECK(fi_cntr_wait(polled.get(), 0, 0) == -FI_EINVAL);
    attr.wait_obj = FI_WAIT_SET;
    Handle<fid_cntr> none;
    CHECK(fi_cntr_open(domain.domain.get(), &attr, none.out(), nullptr) == -FI_ENOSYS);
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
    REQUIRE(fi_recv(pair.b.ep.get(), &small, 8, nullptr, FI_ADDR_UNSPEC, &small) == 0);
    REQUIRE(fi_inject(pair.a.ep.get(), big, 16, pair.b_at_a) == 0);
    std::thread prompter([&] {
        for (int i = 0; i < 200; ++i) {
            fi_cq_read(pair.a.cq.get(), nullptr, 0);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    CHECK(fi_cntr_wait(pair.b.received.get(), 1, 60000) == -FI_EAVAIL);
    prompter.join();
}
