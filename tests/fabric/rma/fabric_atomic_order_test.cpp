// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Atomics in order, in number, and from many sides at once.
#include "fabric/atomic_support.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <thread>

using namespace fabric_test;

TEST_CASE("atomic: one initiator's are carried out in its order")
{
    AtomicPair pair;
    fid_ep* ep = pair.a.ep.get();
    constexpr std::size_t count = 3000;
    // Each number is written, or swapped in if the one before it is there, and each is then fetched.
    std::vector<std::uint64_t> number(count);
    std::vector<std::uint64_t> before(count);
    std::vector<std::uint64_t> found(count);
    for (std::size_t i = 0; i < count; ++i) {
        number[i] = i + 1;
        before[i] = i;
        const auto update = [&]() -> ssize_t {
            switch (i % 3) {
            case 0:
                return fi_inject_atomic(ep, &number[i], 1, pair.b_at_a, 0, key, FI_UINT64, FI_ATOMIC_WRITE);
            case 1:
                return fi_compare_atomic(ep, &number[i], 1, nullptr, &before[i], nullptr, &before[i], nullptr,
                                         pair.b_at_a, 0, key, FI_UINT64, FI_CSWAP, &before[i]);
            default:
                return fi_atomic(ep, &number[0], 1, nullptr, pair.b_at_a, 0, key, FI_UINT64, FI_SUM,
                                 &number[i]);
            }
        };
        REQUIRE(pair.retry(update) == 0);
        REQUIRE(pair.retry([&] {
            return fi_fetch_atomic(ep, nullptr, 1, nullptr, &found[i], nullptr, pair.b_at_a, 0, key,
                                   FI_UINT64, FI_ATOMIC_READ, &found[i]);
        }) == 0);
    }
    pair.until([&] { return pair.a.ready.size() == count + count / 3 * 2; });
    CHECK(found == number);
    for (std::size_t i = 0; i < count; ++i) {
        REQUIRE(before[i] == i);
    }
    CHECK(std::none_of(pair.a.ready.begin(), pair.a.ready.end(),
                       [](const Entry& entry) { return entry.failed; }));
}

TEST_CASE("atomic: a send that follows finds it done")
{
    AtomicPair pair;
    const std::uint64_t one = 1;
    for (std::uint64_t round = 1; round <= 500; ++round) {
        std::uint64_t message = 0;
        REQUIRE(fi_recv(pair.b.ep.get(), &message, 8, nullptr, FI_ADDR_UNSPEC, &message) == 0);
        REQUIRE(fi_inject_atomic(pair.a.ep.get(), &one, 1, pair.b_at_a, 0, key, FI_UINT64, FI_SUM) == 0);
        REQUIRE(fi_inject(pair.a.ep.get(), &one, 8, pair.b_at_a) == 0);
        pair.next(pair.b);
        REQUIRE(pair.words[0] == round);
    }
}

TEST_CASE("atomic: counted at both ends, as reads if they fetch and as writes if they do not")
{
    const std::array<std::uint64_t, 4> kinds = {FI_WRITE, FI_READ, FI_REMOTE_WRITE, FI_REMOTE_READ};
    Options options = atomic_options();
    options.caps |= FI_RMA_EVENT;
    OpenDomain domain("127.0.0.1", hints_for(options));
    std::array<std::array<Handle<fid_cntr>, 4>, 2> counters; // of the initiator and of the target
    std::size_t side = 0;
    options.before_enable = [&](fid_ep* ep) {
        for (std::size_t i = 0; i < kinds.size(); ++i) {
            counters[side][i] = open_counter(domain, FI_WAIT_NONE);
            REQUIRE(fi_ep_bind(ep, &counters[side][i]->fid, kinds[i]) == 0);
        }
    };
    TestEndpoint a(domain, options);
    side = 1;
    TestEndpoint b(domain, options);
    const fi_addr_t to = a.insert(b);
    b.insert(a);
    std::uint64_t word = 0;
    Handle<fid_mr> region;
    REQUIRE(fi_mr_reg(domain.domain.get(), &word, 8, FI_REMOTE_READ | FI_REMOTE_WRITE, 0, key, 0,
                      region.out(), nullptr) == 0);
    const std::uint64_t operand = 1;
    std::uint64_t result = 0;
    REQUIRE(fi_inject_atomic(a.ep.get(), &operand, 1, to, 0, key, FI_UINT64, FI_SUM) == 0);
    REQUIRE(fi_atomic(a.ep.get(), &operand, 1, nullptr, to, 0, key, FI_UINT64, FI_SUM, nullptr) == 0);
    for (int i = 0; i < 2; ++i) {
        REQUIRE(fi_fetch_atomic(a.ep.get(), &operand, 1, nullptr, &result, nullptr, to, 0, key, FI_UINT64,
                                FI_SUM, nullptr) == 0);
    }
    REQUIRE(fi_fetch_atomic(a.ep.get(), nullptr, 1, nullptr, &result, nullptr, to, 0, key, FI_UINT64,
                            FI_ATOMIC_READ, nullptr) == 0);
    REQUIRE(fi_compare_atomic(a.ep.get(), &operand, 1, nullptr, &operand, nullptr, &result, nullptr, to, 0,
                              key, FI_UINT64, FI_CSWAP, nullptr) == 0);
    // Those that fail count as errors, and not at the target.
    REQUIRE(fi_inject_atomic(a.ep.get(), &operand, 1, to, 0, key + 1, FI_UINT64, FI_SUM) == 0);
    REQUIRE(fi_fetch_atomic(a.ep.get(), &operand, 1, nullptr, &result, nullptr, to, 1, key, FI_UINT64, FI_SUM,
                            nullptr) == 0);
    const auto values = [&](std::size_t which) {
        std::array<std::uint64_t, 4> value{};
        for (std::size_t i = 0; i < value.size(); ++i) {
            value[i] = fi_cntr_read(counters[which][i].get());
        }
        return value;
    };
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while ((fi_cntr_readerr(counters[0][0].get()) == 0 || fi_cntr_readerr(counters[0][1].get()) == 0) &&
           std::chrono::steady_clock::now() < end) {
        a.poll();
        b.poll();
    }
    CHECK(values(0) == std::array<std::uint64_t, 4>{2, 4, 0, 0});
    CHECK(values(1) == std::array<std::uint64_t, 4>{0, 0, 2, 4});
    CHECK(fi_cntr_readerr(counters[0][0].get()) == 1);
    CHECK(fi_cntr_readerr(counters[0][1].get()) == 1);
    CHECK(word == 4);
}

// fi_mr(3): "an event whenever a remote RMA write or atomic operation modifies the memory region". Fetching
// forms modify it as well: OpenSHMEM sleeps on such a counter until a peer's swap has changed a word.
TEST_CASE("atomic: a region's counters count each operation that modifies it, and each that reads it")
{
    Options options = atomic_options();
    options.caps |= FI_RMA_EVENT;
    Pair pair(options);
    fid_domain* domain = pair.domain.domain.get();
    std::array<std::uint64_t, 2> words{};
    std::array<Handle<fid_cntr>, 3> counters; // writes of the first region, its reads, both of the second
    for (Handle<fid_cntr>& counter : counters) {
        REQUIRE(fi_cntr_open(domain, nullptr, counter.out(), nullptr) == 0);
    }
    std::array<Handle<fid_mr>, 2> regions;
    for (std::size_t i = 0; i < regions.size(); ++i) {
        REQUIRE(fi_mr_reg(domain, &words[i], 8, FI_REMOTE_READ | FI_REMOTE_WRITE, 0, key + i, FI_RMA_EVENT,
                          regions[i].out(), nullptr) == 0);
    }
    REQUIRE(fi_mr_bind(regions[0].get(), &counters[0]->fid, FI_REMOTE_WRITE) == 0);
    REQUIRE(fi_mr_bind(regions[0].get(), &counters[1]->fid, FI_REMOTE_READ) == 0);
    REQUIRE(fi_mr_bind(regions[1].get(), &counters[2]->fid, FI_REMOTE_WRITE | FI_REMOTE_READ) == 0);
    for (Handle<fid_mr>& region : regions) {
        REQUIRE(fi_mr_enable(region.get()) == 0);
    }
    const auto counted = [&] {
        std::array<std::uint64_t, 3> values{};
        for (std::size_t i = 0; i < values.size(); ++i) {
            values[i] = fi_cntr_read(counters[i].get());
        }
        return values;
    };
    fid_ep* a = pair.a.ep.get();
    std::array<std::uint64_t, 2> operand{5, 5};
    std::array<std::uint64_t, 2> result{};
    const auto finish = [&] { REQUIRE_FALSE(pair.next(pair.a).failed); };
    using Values = std::array<std::uint64_t, 3>;

    REQUIRE(fi_atomic(a, operand.data(), 1, nullptr, pair.b_at_a, 0, key, FI_UINT64, FI_SUM, nullptr) == 0);
    finish();
    CHECK(counted() == Values{1, 0, 0});
    REQUIRE(fi_fetch_atomic(a, operand.data(), 1, nullptr, result.data(), nullptr, pair.b_at_a, 0, key,
                            FI_UINT64, FI_ATOMIC_WRITE, nullptr) == 0); // a swap
    finish();
    CHECK(counted() == Values{2, 1, 0});
    REQUIRE(fi_fetch_atomic(a, nullptr, 1, nullptr, result.data(), nullptr, pair.b_at_a, 0, key, FI_UINT64,
                            FI_ATOMIC_READ, nullptr) == 0);
    finish();
    CHECK(counted() == Values{2, 2, 0});
    REQUIRE(fi_compare_atomic(a, operand.data(), 1, nullptr, operand.data(), nullptr, result.data(), nullptr,
                              pair.b_at_a, 0, key, FI_UINT64, FI_CSWAP, nullptr) == 0);
    finish();
    CHECK(counted() == Values{3, 3, 0});

    // One operation on both regions is an event of each; the same counter for both kinds sees it once.
    fi_ioc from{operand.data(), 2};
    fi_ioc to{result.data(), 2};
    std::array<fi_rma_ioc, 2> targets{{{0, 1, key}, {0, 1, key + 1}}};
    const fi_msg_atomic message{&from,          nullptr,   1,      pair.b_at_a, targets.data(),
                                targets.size(), FI_UINT64, FI_SUM, nullptr,     0};
    REQUIRE(fi_fetch_atomicmsg(a, &message, &to, nullptr, 1, 0) == 0);
    finish();
    CHECK(counted() == Values{4, 4, 1});
    targets[1].key = key;
    REQUIRE(fi_fetch_atomicmsg(a, &message, &to, nullptr, 1, 0) == 0); // twice in one region: one event
    finish();
    CHECK(counted() == Values{5, 5, 1});
    CHECK(words == std::array<std::uint64_t, 2>{20, 5});
}

TEST_CASE("atomic: completions are selected as for any other operation")
{
    Options options = atomic_options();
    options.bind_flags |= FI_SELECTIVE_COMPLETION;
    AtomicPair pair(options);
    fid_ep* ep = pair.a.ep.get();
    const std::uint64_t operand = 1;
    const fi_ioc ioc{const_cast<std::uint64_t*>(&operand), 1};
    const fi_rma_ioc remote{0, 1, key};
    fi_msg_atomic message{};
    message.msg_iov = &ioc;
    message.iov_count = 1;
    message.addr = pair.b_at_a;
    message.rma_iov = &remote;
    message.rma_iov_count = 1;
    message.datatype = FI_UINT64;
    message.op = FI_SUM;
    for (const std::uint64_t level :
         {FI_TRANSMIT_COMPLETE, FI_DELIVERY_COMPLETE, FI_INJECT_COMPLETE, FI_INJECT + 0ULL}) {
        REQUIRE(fi_atomic(ep, &operand, 1, nullptr, pair.b_at_a, 0, key, FI_UINT64, FI_SUM, nullptr) == 0);
        REQUIRE(fi_atomicmsg(ep, &message, FI_COMPLETION | level) == 0);
        pair.finish(wrote, nullptr);
        REQUIRE(fi_atomicmsg(ep, &message, level) == 0);
    }
    pair.until([&] { return polled(pair.words[0]) == 12; });
    for (int i = 0; i < 100; ++i) {
        pair.poll();
    }
    CHECK(pair.a.ready.empty());
    // But errors are never silent.
    REQUIRE(fi_atomic(ep, &operand, 1, nullptr, pair.b_at_a, 0, key + 100, FI_UINT64, FI_SUM, nullptr) == 0);
    CHECK(pair.failure() == FI_EKEYREJECTED);
}

TEST_CASE("atomic: on one's own memory")
{
    AtomicPair pair;
    const fi_addr_t self = pair.a.insert(pair.a);
    std::uint64_t operand = 5;
    std::uint64_t result = 1;
    pair.words[1] = 10;
    REQUIRE(fi_fetch_atomic(pair.a.ep.get(), &operand, 1, nullptr, &result, nullptr, self, 8, key, FI_UINT64,
                            FI_PROD, &result) == 0);
    pair.finish(fetched, &result);
    CHECK(result == 10);
    CHECK(pair.words[1] == 50);
    // The result may take the operand's place, and even lie in the target.
    REQUIRE(fi_fetch_atomic(pair.a.ep.get(), &operand, 1, nullptr, &operand, nullptr, self, 8, key, FI_UINT64,
                            FI_SUM, &operand) == 0);
    pair.finish(fetched, &operand);
    CHECK(operand == 50);
    CHECK(pair.words[1] == 55);
}

namespace {

/// Adds one as often as there is room in `found` for what was there. True: each had a good completion.
/// (Runs in threads, where there is no REQUIRE.)
bool add_from(TestEndpoint& endpoint, fi_addr_t to, std::uint64_t address, std::vector<std::uint64_t>& found)
{
    const std::uint64_t one = 1;
    std::size_t done = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (std::size_t started = 0; done < found.size();) {
        if (started < found.size() &&
            fi_fetch_atomic(endpoint.ep.get(), &one, 1, nullptr, &found[started], nullptr, to, address, key,
                            FI_UINT64, FI_SUM, nullptr) == 0) {
            ++started;
        }
        fi_cq_tagged_entry entry{};
        const ssize_t result = fi_cq_read(endpoint.cq.get(), &entry, 1);
        if (result == 1) {
            ++done;
        } else if (result != -FI_EAGAIN || std::chrono::steady_clock::now() > end) {
            return false;
        }
    }
    return true;
}

void check_many(std::uint64_t address)
{
    constexpr std::size_t count = 3000;
    constexpr std::size_t initiators = 3;
    Options options = atomic_options();
    OpenDomain domain("127.0.0.1", hints_for(options));
    alignas(8) std::array<std::byte, 32> memory{};
    Handle<fid_mr> region;
    REQUIRE(fi_mr_reg(domain.domain.get(), memory.data(), memory.size(), FI_REMOTE_READ | FI_REMOTE_WRITE, 0,
                      key, 0, region.out(), nullptr) == 0);
    std::array<TestEndpoint, 2> targets = {{{domain, options}, {domain, options}}};
    std::deque<TestEndpoint> sources;
    std::array<fi_addr_t, initiators> to{};
    std::array<std::vector<std::uint64_t>, initiators> found;
    std::array<std::atomic<bool>, initiators> good{};
    for (std::size_t i = 0; i < initiators; ++i) {
        found[i].resize(count);
        to[i] = sources.emplace_back(domain, options).insert(targets[i % 2]);
    }
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (TestEndpoint& target : targets) {
        threads.emplace_back([&] {
            while (!stop.load()) {
                fi_cq_read(target.cq.get(), nullptr, 0);
                std::this_thread::yield();
            }
        });
    }
    for (std::size_t i = 0; i < initiators; ++i) {
        threads.emplace_back([&, i] { good[i] = add_from(sources[i], to[i], address, found[i]); });
    }
    for (std::size_t i = 2; i < threads.size(); ++i) {
        threads[i].join();
    }
    stop.store(true);
    threads[0].join();
    threads[1].join();
    std::uint64_t sum = 0;
    std::memcpy(&sum, memory.data() + address, sizeof(sum));
    CHECK(sum == count * initiators);
    CHECK(std::all_of(good.begin(), good.end(), [](const std::atomic<bool>& one) { return one.load(); }));
    std::vector<std::uint64_t> every;
    for (const std::vector<std::uint64_t>& mine : found) {
        CHECK(std::is_sorted(mine.begin(), mine.end()));
        every.insert(every.end(), mine.begin(), mine.end());
    }
    std::sort(every.begin(), every.end());
    for (std::size_t i = 0; i < every.size(); ++i) {
        REQUIRE(every[i] == i);
    }
}

} // namespace

TEST_CASE("atomic: many add to one number through two endpoints, and each finds a value of its own")
{
    check_many(8);
    check_many(13); // unaligned
}
