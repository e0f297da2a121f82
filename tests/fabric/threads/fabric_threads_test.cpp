// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <poll.h>

#include <atomic>
#include <thread>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

/// `threads` threads send `count` tagged messages each from a to b, as many receive; every message is
/// checked.
void exchange(Pair& pair, std::uint64_t threads, std::uint64_t count, bool blocking)
{
    std::atomic<std::uint64_t> sent{0};
    std::atomic<std::uint64_t> received{0};
    std::atomic<std::uint64_t> wrong{0};
    std::vector<std::vector<std::uint64_t>> buffers(threads,
                                                    std::vector<std::uint64_t>(count, ~std::uint64_t{0}));
    const auto read = [&](fid_cq* cq, std::atomic<std::uint64_t>& done) {
        fi_cq_tagged_entry entry{};
        const ssize_t got = blocking ? fi_cq_sread(cq, &entry, 1, nullptr, 100) : fi_cq_read(cq, &entry, 1);
        if (got == 1) {
            done.fetch_add(1);
        } else if (got != -FI_EAGAIN) {
            wrong.fetch_add(1);
        }
    };
    std::vector<std::thread> workers;
    for (std::uint64_t t = 0; t < threads; ++t) {
        workers.emplace_back([&, t] {
            for (std::uint64_t i = 0; i < count; ++i) {
                buffers[t][i] = 0;
                while (fi_trecv(pair.b.ep.get(), &buffers[t][i], 8, nullptr, FI_ADDR_UNSPEC, t << 32 | i, 0,
                                nullptr) == -FI_EAGAIN) {
                    read(pair.b.cq.get(), received);
                }
            }
            while (received.load() < threads * count && wrong.load() == 0) {
                read(pair.b.cq.get(), received);
            }
        });
        workers.emplace_back([&, t] {
            std::vector<std::uint64_t> values(count);
            for (std::uint64_t i = 0; i < count; ++i) {
                values[i] = t * 1000003 + i;
                while (fi_tsend(pair.a.ep.get(), &values[i], 8, nullptr, pair.b_at_a, t << 32 | i, nullptr) ==
                       -FI_EAGAIN) {
                    read(pair.a.cq.get(), sent);
                }
            }
            while (sent.load() < threads * count && wrong.load() == 0) {
                read(pair.a.cq.get(), sent);
            }
        });
    }
    for (std::thread& worker : workers) {
        worker.join();
    }
    CHECK(wrong.load() == 0);
    CHECK(sent.load() == threads * count);
    CHECK(received.load() == threads * count);
    for (std::uint64_t t = 0; t < threads; ++t) {
        for (std::uint64_t i = 0; i < count; ++i) {
            REQUIRE(buffers[t][i] == t * 1000003 + i);
        }
    }
}

} // namespace

TEST_CASE("threads: many threads share two endpoints under FI_THREAD_SAFE")
{
    Pair pair;
    exchange(pair, 3, 2000, false);
}

TEST_CASE("threads: many threads sleep on the same queues")
{
    Options options;
    options.wait = FI_WAIT_UNSPEC;
    Pair pair(options);
    exchange(pair, 2, 500, true);
}

TEST_CASE("threads: automatic progress needs no calls from the application")
{
    Options options;
    options.progress = FI_PROGRESS_AUTO;
    options.wait = FI_WAIT_FD;
    options.threading = GENERATE(FI_THREAD_SAFE, FI_THREAD_DOMAIN);
    Pair pair(options);
    constexpr std::size_t size = 300000;
    const auto data = pattern(size);
    std::vector<std::uint8_t> buffer(size, 0);
    REQUIRE(fi_recv(pair.b.ep.get(), buffer.data(), size, nullptr, FI_ADDR_UNSPEC, &buffer) == 0);
    fid* queue = &pair.b.cq->fid;
    REQUIRE(fi_trywait(pair.domain.fabric.get(), &queue, 1) == 0); // it is still empty
    REQUIRE(fi_send(pair.a.ep.get(), data.data(), size, nullptr, pair.b_at_a, nullptr) == 0);
    int fd = -1;
    REQUIRE(fi_control(queue, FI_GETWAIT, &fd) == 0);
    pollfd entry{fd, POLLIN, 0};
    REQUIRE(poll(&entry, 1, 60000) == 1); // from here to there no call into libfabric
    fi_cq_tagged_entry completion{};
    CHECK(fi_cq_read(pair.b.cq.get(), &completion, 1) == 1);
    CHECK(completion.op_context == &buffer);
    CHECK(buffer == data);
    CHECK_FALSE(pair.next(pair.a).failed);
}

TEST_CASE("threads: automatic progress with threads that sleep on the queues")
{
    Options options;
    options.wait = FI_WAIT_UNSPEC;
    options.progress = FI_PROGRESS_AUTO;
    Pair pair(options);
    exchange(pair, 2, 500, true);
}
