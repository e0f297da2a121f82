// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// This executable's operator new counts. The provider's calls reach it, because it is the first definition
// that the dynamic linker finds.
#include <array>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "fabric/fabric_fixture.hpp"
#include "support/alloc_guard.hpp"

using namespace fabric_test;

namespace {

void read_one(TestEndpoint& who, int& outstanding)
{
    fi_cq_tagged_entry entry{};
    fi_cq_err_entry error{};
    const ssize_t got = fi_cq_read(who.cq.get(), &entry, 1);
    if (got == 1) {
        --outstanding;
    } else if (got == -FI_EAVAIL) {
        fi_cq_readerr(who.cq.get(), &error, 0);
        --outstanding;
    }
}

/// Messages of all protocols, expected and unexpected, and peeks that find nothing.
void traffic(Pair& pair, std::vector<std::uint8_t>& out, std::vector<std::uint8_t>& in, int rounds)
{
    constexpr std::size_t sizes[] = {0, 8, 1000, 4000, 16000, 60000};
    for (int i = 0; i < rounds; ++i) {
        const std::size_t size = sizes[static_cast<std::size_t>(i) % std::size(sizes)];
        const auto tag = static_cast<std::uint64_t>(i);
        const bool early = i % 2 == 0;
        int outstanding = 3; // a receive, a send, a peek
        const auto receive = [&] {
            return fi_trecv(pair.b.ep.get(), in.data(), in.size(), nullptr,
                            i % 3 == 0 ? pair.a_at_b : FI_ADDR_UNSPEC, tag,
                            i % 5 == 0 ? 0xff00000000000000 : 0, nullptr);
        };
        ssize_t result = early ? receive() : 0;
        result |= fi_tsend(pair.a.ep.get(), out.data(), size, nullptr, pair.b_at_a, tag, nullptr);
        fi_msg_tagged peek{};
        peek.addr = FI_ADDR_UNSPEC;
        peek.tag = ~std::uint64_t{0};
        result |= fi_trecvmsg(pair.b.ep.get(), &peek, FI_PEEK);
        for (int polls = 0; polls < 20; ++polls) {
            read_one(pair.a, outstanding);
            read_one(pair.b, outstanding);
        }
        result |= early ? 0 : receive();
        while (outstanding > 0) {
            read_one(pair.a, outstanding);
            read_one(pair.b, outstanding);
        }
        if (result != 0) {
            throw std::runtime_error("a call failed");
        }
    }
}

} // namespace

TEST_CASE("alloc: the guard sees what it must see")
{
    const std::uint64_t before = srd::sim::allocation_violations();
    {
        const srd::sim::AllocationBan ban;
        Handle<fid_av> av;
        OpenDomain domain; // fi_domain() allocates with operator new inside the provider
    }
    CHECK(srd::sim::allocation_violations() > before);
}

TEST_CASE("alloc: the data path does not allocate once it is warm")
{
    Pair pair;
    std::vector<std::uint8_t> out(60000);
    std::vector<std::uint8_t> in(60000);
    traffic(pair, out, in, 300);
    const std::uint64_t before = srd::sim::allocation_violations();
    {
        const srd::sim::AllocationBan ban;
        traffic(pair, out, in, 3000);
    }
    CHECK(srd::sim::allocation_violations() == before);
}

TEST_CASE("alloc: a completion queue without memory to grow is overrun, and says so for good")
{
    Pair pair;
    std::vector<std::uint8_t> out(60000);
    std::vector<std::uint8_t> in(60000);
    traffic(pair, out, in, 300);
    constexpr int room = 1024; // of a queue without a size of its own
    constexpr int sends = room + 100;
    for (int i = 0; i < sends; ++i) {
        const auto tag = static_cast<std::uint64_t>(i);
        REQUIRE(fi_trecv(pair.b.ep.get(), in.data(), 8, nullptr, FI_ADDR_UNSPEC, tag, 0, nullptr) == 0);
    }
    {
        const srd::sim::AllocationFailure failing(0);
        for (int i = 0; i < sends; ++i) {
            const auto tag = static_cast<std::uint64_t>(i);
            while (fi_tsend(pair.a.ep.get(), out.data(), 8, nullptr, pair.b_at_a, tag, &pair) != 0) {
                fi_cq_read(pair.a.cq.get(), nullptr, 0); // progress alone
                fi_cq_read(pair.b.cq.get(), nullptr, 0);
            }
        }
        for (int i = 0; i < 20000; ++i) {
            fi_cq_read(pair.a.cq.get(), nullptr, 0);
            fi_cq_read(pair.b.cq.get(), nullptr, 0);
        }
    }
    for (TestEndpoint* who : {&pair.a, &pair.b}) {
        int good = 0;
        fi_cq_tagged_entry entry{};
        ssize_t result = 0;
        while ((result = fi_cq_read(who->cq.get(), &entry, 1)) == 1) {
            ++good;
        }
        CHECK(good == room);
        CHECK(result == -FI_EAVAIL);
        for (int i = 0; i < 2; ++i) {
            fi_cq_err_entry error{};
            REQUIRE(fi_cq_readerr(who->cq.get(), &error, 0) == 1);
            CHECK(error.err == FI_EOVERRUN);
            CHECK(fi_cq_read(who->cq.get(), &entry, 1) == -FI_EAVAIL);
        }
    }
}

namespace {

/// Whether the endpoint takes part in data transfer.
bool takes_receives(fid_ep* ep)
{
    static std::array<std::uint8_t, 8> buffer;
    const ssize_t result = fi_trecv(ep, buffer.data(), buffer.size(), nullptr, FI_ADDR_UNSPEC, 7, 0, nullptr);
    REQUIRE((result == 0 || result == -FI_EOPBADSTATE));
    return result == 0;
}

/// fi_enable() of a new endpoint of `domain`, which gets no memory after `allocations` allocations. True:
/// that was enough.
bool enable_with(OpenDomain& domain, std::uint64_t allocations)
{
    int code = -1;
    Options options;
    options.before_enable = [&](fid_ep* ep) {
        std::array<std::byte, 64> name{};
        std::size_t size = name.size();
        REQUIRE(fi_getname(&ep->fid, name.data(), &size) == 0); // opens the socket
        {
            const srd::sim::AllocationFailure failing(allocations);
            code = fi_enable(ep);
        }
        CHECK(takes_receives(ep) == (code == 0));
    };
    TestEndpoint endpoint(domain, options); // whose own fi_enable() must succeed now
    INFO(allocations << " allocations");
    REQUIRE((code == 0 || code == -FI_ENOMEM));
    CHECK(takes_receives(endpoint.ep.get()));
    return code == 0;
}

} // namespace

TEST_CASE("alloc: an endpoint is enabled or not, whatever memory lacks, and can be enabled later")
{
    Options options;
    options.caps |= FI_RMA;
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    OpenDomain domain("127.0.0.1", hints_for(options));
    // All endpoints of the domain make progress for this counter.
    Handle<fid_cntr> counter = open_counter(domain);
    std::array<std::byte, 64> memory{};
    Handle<fid_mr> region;
    REQUIRE(fi_mr_reg(domain.domain.get(), memory.data(), memory.size(), FI_REMOTE_WRITE, 0, 1, 0,
                      region.out(), nullptr) == 0);
    REQUIRE(fi_mr_bind(region.get(), &counter->fid, FI_REMOTE_WRITE) == 0);
    std::uint64_t allocations = 0;
    while (!enable_with(domain, allocations)) {
        ++allocations;
        REQUIRE(allocations < 10000);
    }
    CHECK(allocations > 5);
}

namespace {

/// Descriptors that the epoll instance `fd` watches.
int watched_by(int fd)
{
    std::ifstream info("/proc/self/fdinfo/" + std::to_string(fd));
    int count = 0;
    for (std::string line; std::getline(info, line);) {
        count += line.starts_with("tfd:") ? 1 : 0;
    }
    return count;
}

} // namespace

TEST_CASE("alloc: a counter that gets no memory to watch all endpoints watches none of them")
{
    Options options;
    options.caps |= FI_RMA;
    OpenDomain domain("127.0.0.1", hints_for(options));
    TestEndpoint first(domain, options);
    TestEndpoint second(domain, options);
    TestEndpoint third(domain, options);
    Handle<fid_cntr> counter = open_counter(domain, FI_WAIT_FD);
    int fd = -1;
    REQUIRE(fi_control(&counter->fid, FI_GETWAIT, &fd) == 0);
    std::array<std::byte, 64> memory{};
    Handle<fid_mr> region;
    REQUIRE(fi_mr_reg(domain.domain.get(), memory.data(), memory.size(), FI_REMOTE_WRITE, 0, 1, 0,
                      region.out(), nullptr) == 0);
    const int before = watched_by(fd);
    int failures = 0;
    const auto bind_with = [&](std::uint64_t allocations) {
        const srd::sim::AllocationFailure failing(allocations);
        return fi_mr_bind(region.get(), &counter->fid, FI_REMOTE_WRITE);
    };
    int code = -FI_ENOMEM;
    for (std::uint64_t allocations = 0; (code = bind_with(allocations)) != 0; ++allocations) {
        REQUIRE(code == -FI_ENOMEM);
        CHECK(watched_by(fd) == before);
        ++failures;
    }
    CHECK(failures > 1);
    CHECK(watched_by(fd) == before + 3);
    CHECK(region.close() == 0); // before the counter
}
