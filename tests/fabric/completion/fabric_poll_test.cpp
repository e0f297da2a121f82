// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_poll(3), poll sets.
#include "fabric/fabric_fixture.hpp"

#include <array>
#include <set>

using namespace fabric_test;

namespace {

using PollSet = Handle<fid_poll>;

PollSet open_poll_set(OpenDomain& domain)
{
    PollSet set;
    fi_poll_attr attr{};
    REQUIRE(fi_poll_open(domain.domain.get(), &attr, set.out()) == 0);
    return set;
}

/// The contexts that one fi_poll() reports.
std::multiset<void*> poll_once(PollSet& set, int count = 8)
{
    std::array<void*, 8> contexts{};
    const int found = fi_poll(set.get(), contexts.data(), count);
    REQUIRE(found >= 0);
    REQUIRE(found <= count);
    return std::multiset<void*>(contexts.begin(), contexts.begin() + found);
}

} // namespace

TEST_CASE("poll set: reports queues that are not empty and counters that have changed, and makes progress")
{
    Pair pair;
    PollSet set = open_poll_set(pair.domain);
    Handle<fid_cntr> counter;
    fi_cntr_attr attr{};
    REQUIRE(fi_cntr_open(pair.domain.domain.get(), &attr, counter.out(), &counter) == 0);
    REQUIRE(fi_poll_add(set.get(), &pair.a.cq->fid, 0) == 0);
    REQUIRE(fi_poll_add(set.get(), &pair.b.cq->fid, 0) == 0);
    REQUIRE(fi_poll_add(set.get(), &counter->fid, 0) == 0);
    CHECK(poll_once(set).empty());

    std::uint64_t got = 0;
    const std::uint64_t word = 5;
    REQUIRE(fi_recv(pair.b.ep.get(), &got, 8, nullptr, FI_ADDR_UNSPEC, &got) == 0);
    REQUIRE(fi_send(pair.a.ep.get(), &word, 8, nullptr, pair.b_at_a, nullptr) == 0);
    std::multiset<void*> expected{&pair.a, &pair.b};
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (poll_once(set) != expected) { // nothing else makes progress
        REQUIRE(std::chrono::steady_clock::now() < end);
    }
    CHECK(got == word);
    CHECK(poll_once(set) == expected); // until they are read
    CHECK(poll_once(set, 1).size() == 1);
    pair.b.poll();
    CHECK(poll_once(set) == std::multiset<void*>{&pair.a});
    pair.a.poll();
    CHECK(poll_once(set).empty());

    REQUIRE(fi_cntr_adderr(counter.get(), 1) == 0);
    CHECK(poll_once(set) == std::multiset<void*>{&counter});
    CHECK(poll_once(set).empty());
    REQUIRE(fi_cntr_add(counter.get(), 1) == 0); // what the application does itself is no news
    REQUIRE(fi_cntr_set(counter.get(), 9) == 0);
    CHECK(poll_once(set).empty());

    REQUIRE(fi_recv(pair.b.ep.get(), &got, 1, nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
    REQUIRE(fi_inject(pair.a.ep.get(), &word, 8, pair.b_at_a) == 0);
    while (poll_once(set).count(&pair.b) == 0) { // an error is something to read as well
        REQUIRE(std::chrono::steady_clock::now() < end);
    }
    pair.b.poll();
    CHECK(pair.b.ready.back().error.err == FI_ETRUNC);
    CHECK(fi_close(&counter->fid) == -FI_EBUSY);
    CHECK(fi_close(&set->fid) == -FI_EBUSY);
    REQUIRE(fi_poll_del(set.get(), &pair.a.cq->fid, 0) == 0);
    REQUIRE(fi_poll_del(set.get(), &pair.b.cq->fid, 0) == 0);
    REQUIRE(fi_poll_del(set.get(), &counter->fid, 0) == 0);
}

TEST_CASE("poll set: counters of endpoints are reported with every completion")
{
    Options options;
    options.counters = true;
    Pair pair(options);
    PollSet set = open_poll_set(pair.domain);
    pair.b.received->fid.context = &pair.b.received;
    REQUIRE(fi_poll_add(set.get(), &pair.b.received->fid, 0) == 0);
    std::array<std::uint64_t, 3> got{};
    for (std::uint64_t i = 0; i < got.size(); ++i) {
        REQUIRE(fi_recv(pair.b.ep.get(), &got[i], 8, nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
        REQUIRE(pair.retry([&] { return fi_inject(pair.a.ep.get(), &i, 8, pair.b_at_a); }) == 0);
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (poll_once(set).empty()) {
            pair.a.poll();
            REQUIRE(std::chrono::steady_clock::now() < end);
        }
        CHECK(fi_cntr_read(pair.b.received.get()) == i + 1);
        CHECK(poll_once(set).empty());
    }
    REQUIRE(fi_poll_del(set.get(), &pair.b.received->fid, 0) == 0);
}

TEST_CASE("poll set: bad arguments")
{
    Pair pair;
    OpenDomain other;
    PollSet set = open_poll_set(pair.domain);
    PollSet none;
    fi_poll_attr attr{};
    attr.flags = 1;
    CHECK(fi_poll_open(pair.domain.domain.get(), &attr, none.out()) == -FI_EINVAL);
    CHECK(fi_poll_add(set.get(), &pair.a.av->fid, 0) == -FI_EINVAL);
    CHECK(fi_poll_add(set.get(), &pair.a.cq->fid, 1) == -FI_EINVAL);
    CHECK(fi_poll_del(set.get(), &pair.a.cq->fid, 0) == -FI_EINVAL);
    REQUIRE(fi_poll_add(set.get(), &pair.a.cq->fid, 0) == 0);
    CHECK(fi_poll_add(set.get(), &pair.a.cq->fid, 0) == -FI_EALREADY);
    void* context = nullptr;
    CHECK(fi_poll(set.get(), &context, 0) == -FI_EINVAL);
    CHECK(fi_poll(set.get(), nullptr, 1) == -FI_EINVAL);
    PollSet foreign = open_poll_set(other);
    CHECK(fi_poll_add(foreign.get(), &pair.a.cq->fid, 0) == -FI_EINVAL);
    REQUIRE(fi_poll_del(set.get(), &pair.a.cq->fid, 0) == 0);
}
