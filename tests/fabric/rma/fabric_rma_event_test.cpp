// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What remote access tells the applications of both sides: completions, remote CQ data, counters.
#include "fabric/rma_support.hpp"

#include <chrono>
#include <map>
#include <set>
#include <thread>

using namespace fabric_test;

TEST_CASE("rma: remote CQ data comes once, when every byte of the write is there")
{
    const std::size_t size = GENERATE(0U, 8U, 4000U, 700000U);
    RmaPair pair(size + 1);
    const std::vector<std::uint8_t> data = pattern(size);
    constexpr std::uint64_t expected = FI_RMA | FI_REMOTE_WRITE | FI_REMOTE_CQ_DATA;
    const auto check = [&](std::uint64_t value) {
        const Entry entry = pair.next(pair.b);
        CHECK_FALSE(entry.failed);
        CHECK(entry.good.flags == expected);
        CHECK(entry.good.op_context == nullptr);
        CHECK(entry.good.len == size);
        CHECK(entry.good.data == value);
        CHECK(entry.source == pair.a_at_b);
        CHECK(pair.window.holds(data));
    };
    fid_ep* a = pair.a.ep.get();
    REQUIRE(pair.retry([&] {
        return fi_writedata(a, data.data(), size, nullptr, 0x1122334455667788, pair.b_at_a,
                            pair.window.address(), pair.window.key(), &pair);
    }) == 0);
    check(0x1122334455667788);
    pair.check_done(FI_RMA | FI_WRITE, &pair);
    if (size <= pair.domain.info->tx_attr->inject_size) {
        REQUIRE(pair.retry([&] {
            return fi_inject_writedata(a, data.data(), size, 2, pair.b_at_a, pair.window.address(),
                                       pair.window.key());
        }) == 0);
        check(2);
    }
    const iovec iov{const_cast<std::uint8_t*>(data.data()), size};
    const fi_rma_iov range{pair.window.address(), size, pair.window.key()};
    const fi_msg_rma message{&iov, nullptr, 1, pair.b_at_a, &range, 1, &pair.window, 3};
    REQUIRE(pair.retry([&] { return fi_writemsg(a, &message, FI_REMOTE_CQ_DATA); }) == 0);
    check(3);
    pair.check_done(FI_RMA | FI_WRITE, &pair.window);
    REQUIRE(pair.retry([&] { return fi_writemsg(a, &message, 0); }) == 0); // data without the flag
    pair.check_done(FI_RMA | FI_WRITE, &pair.window);
    CHECK(pair.a.ready.empty());
    CHECK(pair.b.ready.empty());
}

TEST_CASE("rma: selective completion reports only what asks for it, and remote CQ data always")
{
    Options options = rma_options();
    options.bind_flags |= FI_SELECTIVE_COMPLETION;
    RmaPair pair(64, options);
    std::uint64_t word = 1;
    const iovec iov{&word, 8};
    const fi_rma_iov range{pair.window.address(), 8, pair.window.key()};
    fi_msg_rma message{&iov, nullptr, 1, pair.b_at_a, &range, 1, nullptr, 9};
    for (std::uint64_t i = 0; i < 6; ++i) {
        message.context = reinterpret_cast<void*>(i);
        REQUIRE(pair.retry([&] {
            return fi_writemsg(pair.a.ep.get(), &message,
                               (i % 3 == 2 ? FI_COMPLETION : 0) | (i == 4 ? FI_REMOTE_CQ_DATA : 0));
        }) == 0);
    }
    std::uint64_t back = 0;
    const iovec in{&back, 8};
    message.msg_iov = &in;
    message.context = &back;
    std::set<std::uintptr_t> reported; // writes complete in any order
    reported.insert(reinterpret_cast<std::uintptr_t>(pair.next(pair.a).good.op_context));
    reported.insert(reinterpret_cast<std::uintptr_t>(pair.next(pair.a).good.op_context));
    CHECK(reported == std::set<std::uintptr_t>{2, 5});
    REQUIRE(pair.retry([&] { return fi_readmsg(pair.a.ep.get(), &message, 0); }) == 0);
    pair.until([&] { return polled(back) == 1; });
    CHECK(pair.next(pair.b).good.data == 9);
    for (int i = 0; i < 100; ++i) {
        pair.poll();
    }
    CHECK(pair.a.ready.empty());
    CHECK(pair.b.ready.empty());
}

TEST_CASE("rma: counters of both sides, of the endpoint and of the region")
{
    const std::vector<std::uint64_t> kinds = {FI_READ, FI_WRITE, FI_REMOTE_READ, FI_REMOTE_WRITE};
    Options options = rma_options();
    options.caps |= FI_RMA_EVENT;
    OpenDomain domain("127.0.0.1", hints_for(options));
    std::map<fid_ep*, std::map<std::uint64_t, Handle<fid_cntr>>> counters; // closed after the endpoints
    options.before_enable = [&](fid_ep* ep) {
        for (const std::uint64_t kind : kinds) {
            Handle<fid_cntr>& counter = counters[ep][kind];
            REQUIRE(fi_cntr_open(domain.domain.get(), nullptr, counter.out(), nullptr) == 0);
            REQUIRE(fi_ep_bind(ep, &counter->fid, kind) == 0);
            CHECK(fi_ep_bind(ep, &counter->fid, kind) == -FI_EINVAL); // twice
        }
    };
    Handle<fid_cntr> region_reads = open_counter(domain);
    Handle<fid_cntr> region_writes = open_counter(domain);
    std::vector<std::uint8_t> memory(100000);
    Handle<fid_mr> mr;
    REQUIRE(fi_mr_reg(domain.domain.get(), memory.data(), memory.size(), all_access, 0, 7, FI_RMA_EVENT,
                      mr.out(), nullptr) == 0);
    REQUIRE(fi_mr_bind(mr.get(), &region_reads->fid, FI_REMOTE_READ) == 0);
    CHECK(fi_mr_bind(mr.get(), &region_reads->fid, FI_REMOTE_READ) == -FI_EINVAL);
    CHECK(fi_mr_bind(mr.get(), &region_reads->fid, FI_SEND) == -FI_EINVAL);
    {
        TestEndpoint a(domain, options);
        TestEndpoint b(domain, options);
        REQUIRE(fi_mr_bind(mr.get(), &region_writes->fid, FI_REMOTE_WRITE) == 0);
        REQUIRE(fi_mr_enable(mr.get()) == 0);
        const fi_addr_t b_at_a = a.insert(b);
        CHECK(region_writes.close() == -FI_EBUSY);
        std::vector<std::uint8_t> data(memory.size());
        const auto value = [&](const TestEndpoint& who, std::uint64_t kind) {
            return fi_cntr_read(counters[who.ep.get()][kind].get());
        };
        const auto until = [&](const TestEndpoint& who, std::uint64_t kind, std::uint64_t count) {
            while (value(who, kind) != count) {
                value(b, FI_REMOTE_READ); // under manual progress the target must look, to acknowledge
            }
        };
        for (std::uint64_t done = 1; done <= 3; ++done) {
            const std::size_t size = done == 2 ? data.size() : done;
            REQUIRE(fi_write(a.ep.get(), data.data(), size, nullptr, b_at_a, 0, 7, nullptr) == 0);
            // Nobody but the region's counter is waited for: it makes the endpoints progress.
            REQUIRE(fi_cntr_wait(region_writes.get(), done, 10000) == 0);
            until(a, FI_WRITE, done);
            CHECK(value(b, FI_REMOTE_WRITE) == done);
            REQUIRE(fi_read(a.ep.get(), data.data(), size, nullptr, b_at_a, 0, 7, nullptr) == 0);
            REQUIRE(fi_cntr_wait(region_reads.get(), done, 10000) == 0);
            until(a, FI_READ, done);
            CHECK(value(b, FI_REMOTE_READ) == done);
        }
        CHECK(fi_inject_write(a.ep.get(), data.data(), 8, b_at_a, 0, 7) == 0);
        until(a, FI_WRITE, 4);
        CHECK(value(a, FI_REMOTE_WRITE) == 0);
        CHECK(value(b, FI_WRITE) == 0);
        // A failure counts as one.
        REQUIRE(fi_write(a.ep.get(), data.data(), 8, nullptr, b_at_a, memory.size(), 7, nullptr) == 0);
        while (fi_cntr_readerr(counters[a.ep.get()][FI_WRITE].get()) != 1) {
            value(b, FI_REMOTE_READ);
        }
        CHECK(value(a, FI_WRITE) == 4);
        CHECK(value(b, FI_REMOTE_WRITE) == 4);
        CHECK(fi_cntr_read(region_writes.get()) == 4);
    }
    CHECK(mr.close() == 0);
    CHECK(region_writes.close() == 0);
}

TEST_CASE(
    "rma: the counter of a region wakes for an endpoint that is enabled after its descriptors were made")
{
    Options options = rma_options();
    options.caps |= FI_RMA_EVENT;
    OpenDomain domain("127.0.0.1", hints_for(options));
    TestEndpoint first(domain, options);
    Handle<fid_cntr> writes = open_counter(domain, FI_WAIT_FD);
    std::vector<std::uint8_t> memory(64);
    Handle<fid_mr> mr;
    REQUIRE(fi_mr_reg(domain.domain.get(), memory.data(), memory.size(), all_access, 0, 7, FI_RMA_EVENT,
                      mr.out(), nullptr) == 0);
    REQUIRE(fi_mr_bind(mr.get(), &writes->fid, FI_REMOTE_WRITE) == 0);
    TestEndpoint second(domain, options);

    Options peer_options = options;
    peer_options.progress = FI_PROGRESS_AUTO;
    OpenDomain peer_domain("127.0.0.1", hints_for(peer_options));
    TestEndpoint peer(peer_domain, peer_options);
    const fi_addr_t second_at_peer = peer.insert(second);
    const std::uint64_t word = 1;
    std::thread helper([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50)); // until this thread is asleep
        fi_write(peer.ep.get(), &word, sizeof(word), nullptr, second_at_peer, 0, 7, nullptr);
    });
    const auto start = std::chrono::steady_clock::now();
    CHECK(fi_cntr_wait(writes.get(), 1, 20000) == 0);
    // One that is not woken looks again when its time is over.
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
    helper.join();
}
