// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Remote memory under load: ten thousand accesses at one time, several threads at one endpoint, endpoints and
// regions that go in the middle of it.
#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>

#include <rdma/fi_atomic.h>

#include "fabric/load_support.hpp"
#include "fabric/rma_support.hpp"

using namespace fabric_test;

namespace {

Options atomic_options(fi_progress progress = FI_PROGRESS_MANUAL)
{
    Options options = rma_options();
    options.caps |= FI_ATOMIC;
    options.progress = progress;
    return options;
}

std::uint64_t word_of(Window& window, std::size_t index)
{
    std::uint64_t word = 0;
    std::memcpy(&word, window.data() + index * 8, 8);
    return word;
}

/// Does `post(i)` for every i below `count`, without waiting for any, and then waits for all.
void all_at_once(Pair& pair, std::uint64_t count, const std::function<ssize_t(std::uint64_t)>& post)
{
    std::uint64_t good = 0;
    const auto drain = [&] {
        pair.poll();
        for (; !pair.a.ready.empty(); pair.a.ready.pop_front()) {
            REQUIRE_FALSE(pair.a.ready.front().failed);
            ++good;
        }
    };
    for (std::uint64_t i = 0; i < count; ++i) {
        ssize_t result = 0;
        while ((result = post(i)) == -FI_EAGAIN) {
            drain();
        }
        REQUIRE(result == 0);
    }
    const Patience patience;
    while (good < count) {
        drain();
        REQUIRE_FALSE(patience.over());
    }
}

} // namespace

TEST_CASE("load rma: ten thousand writes, reads and atomics at one time")
{
    constexpr std::uint64_t count = 10000;
    RmaPair pair(count * 8, atomic_options());
    fid_ep* const ep = pair.a.ep.get();
    const fi_addr_t to = pair.b_at_a;
    const std::uint64_t key = pair.window.key();
    std::vector<std::uint64_t> out(count);
    std::iota(out.begin(), out.end(), std::uint64_t{1});

    all_at_once(pair, count, [&](std::uint64_t i) {
        return fi_write(ep, &out[i], 8, nullptr, to, pair.window.address(i * 8), key, nullptr);
    });
    for (std::uint64_t i = 0; i < count; ++i) {
        REQUIRE(word_of(pair.window, i) == out[i]);
    }

    std::vector<std::uint64_t> in(count, 0);
    all_at_once(pair, count, [&](std::uint64_t i) {
        return fi_read(ep, &in[i], 8, nullptr, to, pair.window.address(i * 8), key, nullptr);
    });
    CHECK(in == out);

    const std::uint64_t thousand = 1000;
    all_at_once(pair, count, [&](std::uint64_t i) {
        return fi_fetch_atomic(ep, &thousand, 1, nullptr, &in[i], nullptr, to,
                               pair.window.address(i % 100 * 8), key, FI_UINT64, FI_SUM, nullptr);
    });
    for (std::uint64_t i = 0; i < count; ++i) { // in the order in which they were posted
        REQUIRE(in[i] == out[i % 100] + i / 100 * thousand);
    }
}

TEST_CASE("load rma: long accesses of all kinds at one time keep their bytes apart")
{
    constexpr std::size_t size = 60000;
    const std::uint64_t count = scaled(200);
    RmaPair pair(size * count, atomic_options());
    const std::vector<std::uint8_t> data = pattern(size + count);
    all_at_once(pair, count, [&](std::uint64_t i) {
        return fi_write(pair.a.ep.get(), &data[i], size, nullptr, pair.b_at_a, pair.window.address(i * size),
                        pair.window.key(), nullptr);
    });
    std::vector<std::uint8_t> in(size * count);
    all_at_once(pair, count, [&](std::uint64_t i) {
        return fi_read(pair.a.ep.get(), &in[i * size], size, nullptr, pair.b_at_a,
                       pair.window.address(i * size), pair.window.key(), nullptr);
    });
    for (std::uint64_t i = 0; i < count; ++i) {
        REQUIRE(std::equal(in.begin() + static_cast<std::ptrdiff_t>(i * size),
                           in.begin() + static_cast<std::ptrdiff_t>((i + 1) * size),
                           data.begin() + static_cast<std::ptrdiff_t>(i)));
    }
}

TEST_CASE("load rma: threads at one endpoint, whose fetch-adds all count once")
{
    constexpr std::uint64_t threads = 4;
    const std::uint64_t count = scaled(1500);
    const fi_progress progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    RmaPair pair(64, atomic_options(progress));
    std::atomic<std::uint64_t> wrong{0};
    std::atomic<std::uint64_t> completed{0};
    std::vector<std::vector<std::uint64_t>> before(threads,
                                                   std::vector<std::uint64_t>(count, ~std::uint64_t{0}));
    const std::uint64_t address = pair.window.address();
    const std::uint64_t key = pair.window.key();
    const Patience patience;
    const auto read_one = [&](fid_cq* cq) {
        fi_cq_tagged_entry entry{};
        const ssize_t got = fi_cq_read(cq, &entry, 1);
        wrong.fetch_add(got != 1 && got != -FI_EAGAIN ? 1 : 0);
        completed.fetch_add(got == 1 ? 1 : 0);
    };
    std::vector<std::thread> workers;
    for (std::uint64_t t = 0; t < threads; ++t) {
        workers.emplace_back([&, t] {
            const std::uint64_t one = 1;
            for (std::uint64_t i = 0; i < count; ++i) {
                ssize_t result = 0;
                while ((result = fi_fetch_atomic(pair.a.ep.get(), &one, 1, nullptr, &before[t][i], nullptr,
                                                 pair.b_at_a, address, key, FI_UINT64, FI_SUM, nullptr)) ==
                           -FI_EAGAIN &&
                       !patience.over()) {
                    read_one(pair.a.cq.get());
                }
                wrong.fetch_add(result != 0 ? 1 : 0);
            }
            while (completed.load() < threads * count && wrong.load() == 0 && !patience.over()) {
                read_one(pair.a.cq.get());
            }
        });
    }
    if (progress == FI_PROGRESS_MANUAL) { // otherwise the target does nothing
        while (completed.load() < threads * count && wrong.load() == 0 && !patience.over()) {
            pair.b.poll();
        }
    }
    for (std::thread& worker : workers) {
        worker.join();
    }
    CHECK(wrong.load() == 0);
    CHECK(completed.load() == threads * count);
    CHECK(word_of(pair.window, 0) == threads * count);
    std::vector<std::uint64_t> all;
    for (const auto& values : before) { // every thread saw the word grow, and nobody saw the same value
        CHECK(std::is_sorted(values.begin(), values.end()));
        all.insert(all.end(), values.begin(), values.end());
    }
    std::sort(all.begin(), all.end());
    for (std::uint64_t i = 0; i < all.size(); ++i) {
        REQUIRE(all[i] == i);
    }
}

TEST_CASE("load rma: a region closes while accesses fly, and each of them completes once")
{
    const fi_progress progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    std::uint64_t failed = 0;
    for (std::uint64_t round = 0; round < scaled(30); ++round) {
        constexpr std::uint64_t count = 60;
        constexpr std::size_t size = 30000;
        Pair pair(atomic_options(progress));
        std::vector<std::uint8_t> memory(size, 0);
        std::vector<std::uint8_t> data(size, 9);
        Handle<fid_mr> region;
        REQUIRE(fi_mr_reg(pair.domain.domain.get(), memory.data(), size, FI_REMOTE_READ | FI_REMOTE_WRITE, 0,
                          77, 0, region.out(), nullptr) == 0);
        const std::uint64_t key = fi_mr_key(region.get());
        std::uint64_t open = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            const ssize_t result =
                i % 2 == 0
                    ? fi_write(pair.a.ep.get(), data.data(), size, nullptr, pair.b_at_a, 0, key, nullptr)
                    : fi_read(pair.a.ep.get(), data.data(), size, nullptr, pair.b_at_a, 0, key, nullptr);
            REQUIRE((result == 0 || result == -FI_EAGAIN));
            open += result == 0 ? 1 : 0;
            if (i % 7 == round % 7) {
                pair.poll();
            }
        }
        REQUIRE(region.close() == 0);
        memory.assign(size, 1); // what is written from here on is not allowed any more
        pair.until([&] { return pair.a.ready.size() >= open; });
        for (int i = 0; i < 50; ++i) {
            pair.poll();
        }
        CHECK(pair.a.ready.size() == open);
        for (const Entry& entry : pair.a.ready) {
            failed += entry.failed ? 1 : 0;
        }
        CHECK(std::all_of(memory.begin(), memory.end(), [](std::uint8_t byte) { return byte == 1; }));
    }
    CHECK(failed > 0); // or nothing was closed in the middle of anything
}
