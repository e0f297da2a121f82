// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Endpoints for tests through libfabric: opened, bound, enabled and introduced to
// each other in a few words, and polled together (they share the test's thread).
#pragma once

#include <chrono>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <rdma/fi_tagged.h>

#include "fabric/fabric_support.hpp"

namespace fabric_test {

/// A completion, good or bad.
struct Entry {
    fi_cq_tagged_entry good{};
    fi_addr_t source = FI_ADDR_NOTAVAIL;
    bool failed = false;
    fi_cq_err_entry error{};

    void* context() const { return failed ? error.op_context : good.op_context; }
};

struct Options {
    std::uint64_t caps = FI_MSG | FI_TAGGED | FI_MULTI_RECV | FI_DIRECTED_RECV | FI_SOURCE;
    fi_threading threading = FI_THREAD_SAFE;
    fi_progress progress = FI_PROGRESS_MANUAL;
    fi_wait_obj wait = FI_WAIT_NONE;
    std::uint64_t bind_flags = FI_TRANSMIT | FI_RECV; ///< of the completion queue
    bool counters = false;
    std::size_t cq_size = 0;
    int mr_mode = 0;
    std::function<void(fid_ep*)> before_enable; ///< binds what only some tests need
};

inline InfoPtr hints_for(const Options& options)
{
    InfoPtr hints = make_hints(options.caps);
    hints->domain_attr->threading = options.threading;
    hints->domain_attr->data_progress = options.progress;
    hints->domain_attr->control_progress = options.progress;
    hints->domain_attr->mr_mode = options.mr_mode;
    return hints;
}

/// An endpoint with an address vector, one queue for everything and, if asked for, counters.
struct TestEndpoint {
    TestEndpoint(OpenDomain& domain, const Options& options)
    {
        fi_av_attr av_attr{};
        REQUIRE(fi_av_open(domain.domain.get(), &av_attr, av.out(), nullptr) == 0);
        fi_cq_attr cq_attr{};
        cq_attr.format = FI_CQ_FORMAT_TAGGED;
        cq_attr.wait_obj = options.wait;
        cq_attr.size = options.cq_size;
        REQUIRE(fi_cq_open(domain.domain.get(), &cq_attr, cq.out(), this) == 0);
        REQUIRE(fi_endpoint(domain.domain.get(), domain.info.get(), ep.out(), this) == 0);
        REQUIRE(fi_ep_bind(ep.get(), &av->fid, 0) == 0);
        REQUIRE(fi_ep_bind(ep.get(), &cq->fid, options.bind_flags) == 0);
        if (options.counters) {
            sent = open_counter(domain, options.wait);
            received = open_counter(domain, options.wait);
            REQUIRE(fi_ep_bind(ep.get(), &sent->fid, FI_SEND) == 0);
            REQUIRE(fi_ep_bind(ep.get(), &received->fid, FI_RECV) == 0);
        }
        if (options.before_enable) {
            options.before_enable(ep.get());
        }
        REQUIRE(fi_enable(ep.get()) == 0);
    }

    std::vector<std::byte> name() const
    {
        std::size_t size = 0;
        REQUIRE(fi_getname(&ep->fid, nullptr, &size) == -FI_ETOOSMALL);
        std::vector<std::byte> address(size);
        REQUIRE(fi_getname(&ep->fid, address.data(), &size) == 0);
        return address;
    }

    fi_addr_t insert(const TestEndpoint& other)
    {
        const std::vector<std::byte> address = other.name();
        fi_addr_t fi_addr = FI_ADDR_NOTAVAIL;
        REQUIRE(fi_av_insert(av.get(), address.data(), 1, &fi_addr, 0, nullptr) == 1);
        return fi_addr;
    }

    /// Reads at most one completion into `ready`.
    void poll()
    {
        Entry entry;
        const ssize_t result = fi_cq_readfrom(cq.get(), &entry.good, 1, &entry.source);
        if (result == 1) {
            ready.push_back(entry);
        } else if (result == -FI_EAVAIL) {
            entry.failed = true;
            REQUIRE(fi_cq_readerr(cq.get(), &entry.error, 0) == 1);
            ready.push_back(entry);
        } else {
            REQUIRE(result == -FI_EAGAIN);
        }
    }

    // Destroyed from the last to the first.
    Handle<fid_av> av;
    Handle<fid_cq> cq;
    Handle<fid_cntr> sent;
    Handle<fid_cntr> received;
    Handle<fid_ep> ep;
    std::deque<Entry> ready;
};

/// Two endpoints of one domain that know each other.
struct Pair {
    explicit Pair(const Options& options = {})
        : domain("127.0.0.1", hints_for(options)), a(domain, options), b(domain, options)
    {
        b_at_a = a.insert(b);
        a_at_b = b.insert(a);
    }

    void poll()
    {
        a.poll();
        b.poll();
    }

    /// Polls until `done`; fails the test after a time that no healthy machine needs.
    void until(const std::function<bool()>& done, std::chrono::minutes most = std::chrono::minutes(1))
    {
        const auto end = std::chrono::steady_clock::now() + most;
        while (!done()) {
            poll();
            if (std::chrono::steady_clock::now() > end) {
                FAIL("nothing happened for " << most.count() << " min");
            }
        }
    }

    /// The next completion of `who`.
    Entry next(TestEndpoint& who)
    {
        until([&] { return !who.ready.empty(); });
        Entry entry = who.ready.front();
        who.ready.pop_front();
        return entry;
    }

    /// Repeats `call` while it says -FI_EAGAIN.
    ssize_t retry(const std::function<ssize_t()>& call)
    {
        ssize_t result = 0;
        until([&] { return (result = call()) != -FI_EAGAIN; });
        return result;
    }

    /// Sends a tagged message from a to b that lies there unexpected when this returns.
    void park(const void* data, std::size_t size, std::uint64_t tag)
    {
        REQUIRE(retry([&] { return fi_tsend(a.ep.get(), data, size, nullptr, b_at_a, tag, this); }) == 0);
        fi_msg_tagged peek{};
        peek.addr = FI_ADDR_UNSPEC;
        peek.tag = tag;
        peek.context = &peek;
        until([&] {
            REQUIRE(fi_trecvmsg(b.ep.get(), &peek, FI_PEEK) == 0);
            return !next(b).failed;
        });
    }

    OpenDomain domain;
    TestEndpoint a;
    TestEndpoint b;
    fi_addr_t b_at_a = FI_ADDR_NOTAVAIL;
    fi_addr_t a_at_b = FI_ADDR_NOTAVAIL;
};

/// `size` bytes that differ by position and by `seed`.
inline std::vector<std::uint8_t> pattern(std::size_t size, unsigned seed = 1)
{
    std::vector<std::uint8_t> bytes(size);
    std::uint32_t state = seed * 2654435761U + 12345U;
    for (std::uint8_t& byte : bytes) {
        state = state * 1664525U + 1013904223U;
        byte = static_cast<std::uint8_t>(state >> 24);
    }
    return bytes;
}

} // namespace fabric_test
