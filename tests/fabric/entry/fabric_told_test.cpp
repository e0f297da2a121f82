// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What users are told although libfabric's log is off: each case is a child without FI_LOG_LEVEL, and its
// output is read.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

#include <srd/file_descriptor.hpp>
#include <srd/limits.hpp>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

/// run_child() as most users run programs.
std::string run_without_log(const std::string& name, const std::string& variables = "")
{
    return run_child(name, "env -u FI_LOG_LEVEL " + variables);
}

std::size_t count(const std::string& text, const std::string& piece)
{
    std::size_t found = 0;
    for (std::size_t at = text.find(piece); at != std::string::npos; at = text.find(piece, at + 1)) {
        ++found;
    }
    return found;
}

/// An address of this host at which nobody listens.
sockaddr_in deserted_address()
{
    return make_ipv4("127.0.0.1", free_port());
}

fi_addr_t insert(TestEndpoint& endpoint, const sockaddr_in& address)
{
    fi_addr_t fi_addr = FI_ADDR_NOTAVAIL;
    REQUIRE(fi_av_insert(endpoint.av.get(), &address, 1, &fi_addr, 0, nullptr) == 1);
    return fi_addr;
}

} // namespace

TEST_CASE("child: asks twice and finds", "[.]")
{
    for (int i = 0; i < 2; ++i) {
        int code = 0;
        const InfoPtr list = get_info(code, nullptr);
        REQUIRE(code == 0);
    }
}

TEST_CASE("child: asks twice and finds nothing", "[.]")
{
    for (int i = 0; i < 2; ++i) {
        int code = 0;
        const InfoPtr list = get_info(code, nullptr);
        CHECK(code == -FI_ENODATA);
    }
}

TEST_CASE("told: a misspelt variable is named once, with the nearest right name")
{
    const std::string output = run_without_log("child: asks twice and finds", "FI_SRD_PATH=4");
    INFO(output);
    CHECK(count(output, "FI_SRD_PATH is no variable of srd and does nothing; is FI_SRD_PATHS meant?") == 1);
}

TEST_CASE("told: where statistics cannot be written, at the start")
{
    const std::string output =
        run_without_log("child: asks twice and finds", "FI_SRD_STATS=/nowhere/at/all/%p.json");
    INFO(output);
    CHECK(count(output, "FI_SRD_STATS=\"/nowhere/at/all/%p.json\": cannot write to /nowhere/at/all/") == 1);
}

TEST_CASE("told: why srd is not offered, once, if it was asked for by name")
{
    struct Row {
        const char* variable;
        const char* text;
    };
    const Row row = GENERATE(Row{"FI_SRD_PATHS=65", "FI_SRD_PATHS=\"65\" is not allowed: give 1..64"},
                             Row{"FI_SRD_INTERFACE=nothing0", "FI_SRD_INTERFACE names no interface"});
    const std::string output = run_without_log("child: asks twice and finds nothing", row.variable);
    INFO(output);
    CHECK(count(output, "srd[") == 1);
    CHECK(count(output, row.text) == 1);
    const std::string quiet =
        run_without_log("child: asks twice and finds nothing", std::string("FI_SRD_QUIET=1 ") + row.variable);
    INFO(quiet);
    CHECK(count(quiet, "srd[") == 0);
}

// -- Peers ----------------------------------------------------------------------

TEST_CASE("child: sends to nobody", "[.]")
{
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint sender(domain, Options{});
    const char byte = 'x';
    for (int peer = 0; peer < 10; ++peer) {
        const fi_addr_t to = insert(sender, deserted_address());
        for (int i = 0; i < 3; ++i) {
            REQUIRE(fi_send(sender.ep.get(), &byte, 1, nullptr, to, nullptr) == 0);
        }
    }
    while (sender.ready.size() < 30) {
        sender.poll();
    }
    CHECK(std::all_of(sender.ready.begin(), sender.ready.end(), [](const Entry& e) { return e.failed; }));
}

TEST_CASE("told: the first failure of a peer, of so many peers as one can read")
{
    const std::string output =
        run_without_log("child: sends to nobody", "FI_SRD_SHM=0 FI_SRD_CONNECT_TIMEOUT_MS=300");
    INFO(output);
    CHECK(count(output, "operations with 127.0.0.1:") == 8);
    CHECK(count(output, "operations with further peers fail") == 1);
    CHECK(count(run_without_log("child: sends to nobody",
                                "FI_SRD_QUIET=yes FI_SRD_SHM=0 FI_SRD_CONNECT_TIMEOUT_MS=300"),
                "srd[") == 0);
}

TEST_CASE("child: sends to where no way leads", "[.]")
{
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint sender(domain, Options{});
    const fi_addr_t to = insert(sender, make_ipv4("192.0.2.1", 9)); // from loopback nothing leads out
    const char byte = 'x';
    const auto begin = std::chrono::steady_clock::now();
    ssize_t result = fi_send(sender.ep.get(), &byte, 1, nullptr, to, nullptr);
    CHECK(result == -FI_EAGAIN); // perhaps a link is down for a moment
    while (result == -FI_EAGAIN) {
        sender.poll();
        result = fi_send(sender.ep.get(), &byte, 1, nullptr, to, nullptr);
    }
    CHECK(result == -FI_EHOSTUNREACH);
    CHECK(std::chrono::steady_clock::now() - begin >= srd::way_patience);
}

TEST_CASE("told: that no way leads to a peer, once that has lasted")
{
    const std::string output = run_without_log("child: sends to where no way leads");
    INFO(output);
    CHECK(count(output,
                "operations with 192.0.2.1:9 fail: this host has no network route to the peer; see") == 1);
}

TEST_CASE("child: injects to nobody", "[.]")
{
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint sender(domain, Options{});
    const fi_addr_t to = insert(sender, deserted_address());
    const std::array<char, 2000> bytes{};
    REQUIRE(fi_inject(sender.ep.get(), bytes.data(), 100, to) == 0);  // goes into a packet
    REQUIRE(fi_inject(sender.ep.get(), bytes.data(), 2000, to) == 0); // waits
    REQUIRE(fi_send(sender.ep.get(), bytes.data(), 7, nullptr, to, nullptr) == 0);
    while (sender.ready.empty()) {
        sender.poll();
    }
    CHECK(sender.ready.front().failed);
    for (int i = 0; i < 100; ++i) {
        sender.poll();
    }
}

TEST_CASE("told: what was injected and not acknowledged, although nothing completes")
{
    const std::string output =
        run_without_log("child: injects to nobody", "FI_SRD_SHM=0 FI_SRD_CONNECT_TIMEOUT_MS=300");
    INFO(output);
    CHECK(count(output, "2 messages of 2100 bytes that were injected to 127.0.0.1:") == 1);
    CHECK(count(output, "were not acknowledged: ") == 1);
}

TEST_CASE("child: injects to nobody and closes", "[.]")
{
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint sender(domain, Options{});
    const std::array<char, 100> bytes{};
    REQUIRE(fi_inject(sender.ep.get(), bytes.data(), bytes.size(), insert(sender, deserted_address())) == 0);
}

TEST_CASE("told: what was injected and not acknowledged before the endpoint was closed")
{
    const std::string output = run_without_log("child: injects to nobody and closes", "FI_SRD_SHM=0");
    INFO(output);
    CHECK(count(output, "a message of 100 bytes that was injected to 127.0.0.1:") == 1);
}

TEST_CASE("child: talks and closes", "[.]")
{
    Pair pair;
    char text[4] = "abc";
    char received[4] = {};
    REQUIRE(fi_recv(pair.b.ep.get(), received, sizeof(received), nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
    REQUIRE(fi_recv(pair.b.ep.get(), received, 1, nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
    for (int i = 0; i < 2; ++i) {
        REQUIRE(pair.retry([&] {
            return fi_send(pair.a.ep.get(), text, sizeof(text), nullptr, pair.b_at_a, nullptr);
        }) == 0);
        CHECK_FALSE(pair.next(pair.a).failed);
    }
    CHECK_FALSE(pair.next(pair.b).failed);
    CHECK(pair.next(pair.b).failed); // truncated
    REQUIRE(fi_recv(pair.b.ep.get(), received, 1, nullptr, FI_ADDR_UNSPEC, received) == 0);
    REQUIRE(fi_cancel(&pair.b.ep->fid, received) == 0);
    CHECK(pair.next(pair.b).failed);
    REQUIRE(pair.a.ep.close() == 0);
    for (int i = 0; i < 1000; ++i) {
        pair.b.poll();
    }
}

TEST_CASE("told: nothing where nothing is wrong")
{
    const std::string output = run_without_log("child: talks and closes");
    INFO(output);
    CHECK(count(output, "srd[") == 0);
    CHECK(count(run_without_log("child: talks and closes", "FI_SRD_SHM=0"), "srd[") == 0);
}

// -- Memory ---------------------------------------------------------------------

namespace {

/// An endpoint is enabled while the process may have so many bytes of address space more than it has.
int enable_within(std::size_t bytes)
{
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    Handle<fid_av> av;
    Handle<fid_cq> cq;
    Handle<fid_ep> ep;
    fi_av_attr av_attr{};
    fi_cq_attr cq_attr{};
    REQUIRE(fi_av_open(domain.domain.get(), &av_attr, av.out(), nullptr) == 0);
    REQUIRE(fi_cq_open(domain.domain.get(), &cq_attr, cq.out(), nullptr) == 0);
    REQUIRE(fi_endpoint(domain.domain.get(), domain.info.get(), ep.out(), nullptr) == 0);
    REQUIRE(fi_ep_bind(ep.get(), &av->fid, 0) == 0);
    REQUIRE(fi_ep_bind(ep.get(), &cq->fid, FI_TRANSMIT | FI_RECV) == 0);
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlimit limit{pages * static_cast<std::size_t>(getpagesize()) + bytes, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    const int code = fi_enable(ep.get());
    const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_AS, &none) == 0);
    return code;
}

} // namespace

TEST_CASE("child: finds no memory", "[.]")
{
    CHECK(enable_within(std::size_t{50} << 20) == -FI_ENOMEM);
}

TEST_CASE("child: has half a gigabyte", "[.]")
{
    CHECK(enable_within(std::size_t{450} << 20) == 0);
}

TEST_CASE("told: which limit is too low for an endpoint, and what to lower instead")
{
    const std::string output = run_without_log("child: finds no memory");
    INFO(output);
    CHECK(count(output, "fi_enable: no address space for another ") == 1);
    CHECK(count(output, "(ulimit -v)") == 1);
    CHECK(count(output, "lower FI_SRD_MAX_PEERS and FI_SRD_UNEXPECTED_BYTES") == 1);
}

TEST_CASE("an endpoint has room in half a gigabyte of address space")
{
    const std::string output = run_without_log("child: has half a gigabyte");
    INFO(output);
    CHECK(count(output, "srd[") == 0);
}

TEST_CASE("child: floods a peer that receives nothing", "[.]")
{
    Pair pair;
    std::array<char, 2000> bytes{};
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(13);
    while (std::chrono::steady_clock::now() < end) {
        const ssize_t result =
            fi_send(pair.a.ep.get(), bytes.data(), bytes.size(), nullptr, pair.b_at_a, nullptr);
        REQUIRE((result == 0 || result == -FI_EAGAIN));
        pair.poll();
    }
}

TEST_CASE("told: that unexpected messages have filled their memory, and what to raise")
{
    const std::string road = GENERATE("FI_SRD_SHM=0", "FI_SRD_SHM=1");
    const std::string output =
        run_without_log("child: floods a peer that receives nothing",
                        road + " FI_SRD_UNEXPECTED_BYTES=65536 FI_SRD_EAGER_SIZE=4096");
    INFO(output);
    CHECK(count(output, "have filled their memory") == 1);
    CHECK(count(output, "raise FI_SRD_UNEXPECTED_BYTES") == 1);
}

TEST_CASE("child: sends and receives a NULL buffer", "[.]")
{
    Pair pair;
    for (int i = 0; i < 3; ++i) {
        CHECK(fi_tsend(pair.a.ep.get(), nullptr, 4, nullptr, pair.b_at_a, 1, nullptr) == -FI_EINVAL);
        CHECK(fi_trecv(pair.b.ep.get(), nullptr, 4, nullptr, pair.a_at_b, 1, 0, nullptr) == -FI_EINVAL);
    }
}

TEST_CASE("told: a NULL buffer that is refused is seen once, since Open MPI drops the error")
{
    const std::string output = run_without_log("child: sends and receives a NULL buffer");
    INFO(output);
    CHECK(count(output, "its buffer is NULL for a length of 4 bytes") == 1);
    CHECK(count(output, "docs/consumers.md") == 1);
}
