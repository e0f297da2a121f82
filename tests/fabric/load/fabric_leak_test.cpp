// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Thousands of objects opened and closed again leave nothing behind: no heap, no resident memory, no
// descriptors, threads, mappings or (as root) shared-memory objects.
#include <functional>

#include <rdma/fi_cm.h>

#include <sched.h>
#include <sys/mount.h>

#include "fabric/load_support.hpp"

using namespace fabric_test;

namespace {

/// Records of peers that have gone are used again when there are so many of them. Before the provider reads
/// it.
const bool limit_is_set = [] { return setenv("FI_SRD_MAX_PEERS", "64", 1) == 0; }();

/// Root gets a /dev/shm of its own, where nobody else makes objects. Others count everybody's.
const bool alone_in_shm = [] {
    return geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=256m") == 0;
}();

/// An endpoint remembers every address that it has ever heard of.
constexpr std::uint64_t bytes_per_address = 400;

/// Calls `round` until everything that is made once exists, and then `count` times more; those may not
/// change what the process holds, but for `kept` bytes each. Fewer than one byte per round is no leak of the
/// round's.
void expect_no_leak(std::uint64_t count, const std::function<void()>& round, std::uint64_t kept = 0)
{
    REQUIRE(limit_is_set);
    const std::uint64_t warm_up = std::max<std::uint64_t>(count / 10, 8);
    for (std::uint64_t i = 0; i < warm_up; ++i) {
        round();
    }
    const Resources before = Resources::now();
    for (std::uint64_t i = 0; i < count; ++i) {
        round();
    }
    const Resources after = Resources::now();
    CHECK(after.descriptors == before.descriptors);
    CHECK(after.threads == before.threads);
    if (alone_in_shm) {
        CHECK(after.shared_objects == before.shared_objects);
    }
    if (!sanitized) { // whose runtimes allocate as they like
        CHECK(after.heap <= before.heap + std::max<std::uint64_t>(count, 4096) + count * kept);
        CHECK(after.mappings <= before.mappings + 8); // malloc's arenas
        CHECK(after.resident <= before.resident + (2U << 20) + count * (64 + kept));
    }
}

void exchange(TestEndpoint& a, TestEndpoint& b, fi_addr_t to, std::size_t size)
{
    const std::vector<std::uint8_t> out(size, 7);
    std::vector<std::uint8_t> in(size);
    REQUIRE(fi_trecv(b.ep.get(), in.data(), size, nullptr, FI_ADDR_UNSPEC, 5, 0, &in) == 0);
    REQUIRE(fi_tsend(a.ep.get(), out.data(), size, nullptr, to, 5, &a) == 0);
    const Patience patience;
    while (a.ready.empty() || b.ready.empty()) {
        a.poll();
        b.poll();
        REQUIRE_FALSE(patience.over());
    }
    REQUIRE_FALSE(a.ready.front().failed);
    REQUIRE_FALSE(b.ready.front().failed);
    a.ready.clear();
    b.ready.clear();
    REQUIRE(in == out);
}

/// Posts receives that nothing matches, and sends in both directions that nobody receives, longest first.
void leave_outstanding(TestEndpoint& goes, TestEndpoint& stays, std::size_t longest)
{
    static std::vector<std::uint8_t> data(1 << 20);
    const fi_addr_t there = goes.insert(stays);
    fi_addr_t here = stays.insert(goes);
    constexpr std::size_t count = 20;
    const Patience patience;
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t size = longest * (count - i) / count;
        REQUIRE(fi_trecv(goes.ep.get(), data.data(), 8, nullptr, FI_ADDR_UNSPEC, i, 0, &goes) == 0);
        for (auto [end, to] : {std::pair(&goes, there), std::pair(&stays, here)}) {
            ssize_t sent = -FI_EAGAIN;
            while ((sent = fi_tsend(end->ep.get(), data.data(), size, nullptr, to, 99, end)) == -FI_EAGAIN) {
                goes.poll();
                stays.poll();
                REQUIRE_FALSE(patience.over());
            }
            REQUIRE(sent == 0);
        }
        goes.poll();
        stays.poll();
    }
    REQUIRE(fi_av_remove(stays.av.get(), &here, 1, 0) == 0);
    REQUIRE(goes.ep.close() == 0);
    while (stays.ready.size() < count) { // its sends complete, one way or the other
        stays.poll();
        REQUIRE_FALSE(patience.over());
    }
    stays.ready.clear();
    fi_msg_tagged drop{}; // what lies there for it goes
    drop.addr = FI_ADDR_UNSPEC;
    drop.tag = 99;
    for (bool found = true; found; stays.ready.clear()) {
        REQUIRE(fi_trecvmsg(stays.ep.get(), &drop, FI_PEEK | FI_DISCARD) == 0);
        while (stays.ready.empty()) {
            stays.poll();
            REQUIRE_FALSE(patience.over());
        }
        found = !stays.ready.front().failed;
    }
}

} // namespace

TEST_CASE("leak: fi_getinfo")
{
    if (!alone_in_shm) {
        WARN("SKIPPED in all of these: whether objects are left in /dev/shm (needs root)");
    }
    const InfoPtr hints = hints_for(Options{});
    expect_no_leak(scaled(5000), [&] {
        int code = 0;
        const InfoPtr all = get_info(code, hints.get());
        REQUIRE(code == 0);
        const InfoPtr one = get_info(code, hints.get(), "127.0.0.1", "7471", FI_SOURCE);
        REQUIRE(code == 0);
        hints->caps |= FI_COLLECTIVE;
        const InfoPtr none = get_info(code, hints.get());
        REQUIRE(code == -FI_ENODATA);
        hints->caps &= ~FI_COLLECTIVE;
    });
}

TEST_CASE("leak: fabrics and domains")
{
    expect_no_leak(scaled(3000), [] { const OpenDomain domain; });
}

TEST_CASE("leak: vectors, queues, counters, regions and endpoints that are never enabled")
{
    OpenDomain domain;
    std::vector<std::uint8_t> memory(10000);
    const sockaddr_in peer = make_ipv4("127.0.0.1", 4711);
    expect_no_leak(scaled(3000), [&] {
        fid_domain* const parent = domain.domain.get();
        Handle<fid_av> av;
        fi_av_attr av_attr{};
        REQUIRE(fi_av_open(parent, &av_attr, av.out(), nullptr) == 0);
        fi_addr_t fi_addr = FI_ADDR_NOTAVAIL;
        REQUIRE(fi_av_insert(av.get(), &peer, 1, &fi_addr, 0, nullptr) == 1);
        Handle<fid_cq> cq;
        fi_cq_attr cq_attr{};
        cq_attr.wait_obj = FI_WAIT_FD;
        REQUIRE(fi_cq_open(parent, &cq_attr, cq.out(), nullptr) == 0);
        Handle<fid_cntr> counter;
        fi_cntr_attr cntr_attr{};
        cntr_attr.wait_obj = FI_WAIT_UNSPEC;
        REQUIRE(fi_cntr_open(parent, &cntr_attr, counter.out(), nullptr) == 0);
        Handle<fid_eq> eq;
        fi_eq_attr eq_attr{};
        eq_attr.wait_obj = FI_WAIT_FD;
        REQUIRE(fi_eq_open(domain.fabric.get(), &eq_attr, eq.out(), nullptr) == 0);
        Handle<fid_mr> region;
        REQUIRE(fi_mr_reg(parent, memory.data(), memory.size(), FI_SEND | FI_RECV, 0, 1, 0, region.out(),
                          nullptr) == 0);
        Handle<fid_ep> endpoint;
        REQUIRE(fi_endpoint(parent, domain.info.get(), endpoint.out(), nullptr) == 0);
        REQUIRE(fi_ep_bind(endpoint.get(), &av->fid, 0) == 0);
        REQUIRE(fi_ep_bind(endpoint.get(), &cq->fid, FI_TRANSMIT | FI_RECV) == 0);
        REQUIRE(fi_ep_bind(endpoint.get(), &counter->fid, FI_SEND) == 0);
        REQUIRE(fi_ep_bind(endpoint.get(), &eq->fid, 0) == 0);
        sockaddr_in name{};
        std::size_t size = sizeof(name);
        REQUIRE(fi_getname(&endpoint->fid, &name, &size) == 0); // opens its sockets
    });
}

TEST_CASE("leak: endpoints that talk and go, in a domain that stays")
{
    Options options;
    options.counters = true;
    options.wait = FI_WAIT_FD;
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    OpenDomain domain("127.0.0.1", hints_for(options));
    TestEndpoint stays(domain, options);
    std::size_t size = 0;
    expect_no_leak(
        scaled(1000),
        [&] {
            TestEndpoint goes(domain, options);
            const fi_addr_t there = goes.insert(stays);
            exchange(goes, stays, there, size = (size + 7919) % 60000);
        },
        bytes_per_address);
}

TEST_CASE("leak: everything, from fi_getinfo to the last byte, and back")
{
    Options options;
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    expect_no_leak(scaled(500), [&] {
        Pair pair(options);
        exchange(pair.a, pair.b, pair.b_at_a, 100000);
        exchange(pair.b, pair.a, pair.a_at_b, 1000);
    });
}

TEST_CASE("leak: endpoints that close with receives posted and messages unread")
{
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint stays(domain, Options{});
    expect_no_leak(
        scaled(500),
        [&] {
            TestEndpoint goes(domain, Options{});
            leave_outstanding(goes, stays, 10000);
        },
        bytes_per_address);
}

TEST_CASE("leak: endpoints that close while their sends wait for receives")
{
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint stays(domain, Options{});
    expect_no_leak(
        scaled(10), // fi_close() gives the peers some time to take them
        [&] {
            TestEndpoint goes(domain, Options{});
            leave_outstanding(goes, stays, 100000);
        },
        bytes_per_address);
}
