// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Somebody who can send datagrams to an endpoint's port, under any name, and sees none of its traffic:
// nothing ends, nobody is kept out.
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>

#include <srd/address.hpp>
#include <srd/file_descriptor.hpp>

#include "fabric/fabric_fixture.hpp"
#include "support/sim/stranger.hpp"

using namespace fabric_test;

namespace {

class Stranger {
public:
    explicit Stranger(const TestEndpoint& victim) : victim_(victim.name()) { REQUIRE(socket_.get() >= 0); }

    /// Sends forged packets, most of them introductions, in the name of `claimed`.
    void forge(const srd::SocketAddress& claimed, int packets)
    {
        for (int i = 0; i < packets; ++i) {
            const std::vector<std::byte> packet = srd::sim::forge_packet(random_, claimed);
            // Bytes of an address, as libfabric hands them out.
            const auto* const to = reinterpret_cast<const sockaddr*>(victim_.data());
            ::sendto(socket_.get(), packet.data(), packet.size(), 0, to,
                     static_cast<socklen_t>(victim_.size()));
        }
    }
    void forge(const TestEndpoint& claimed, int packets)
    {
        srd::SocketAddress address;
        REQUIRE(srd::SocketAddress::parse(claimed.name(), address));
        forge(address, packets);
    }

private:
    std::vector<std::byte> victim_;
    srd::FileDescriptor socket_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    srd::sim::SimRandom random_{4711};
};

/// One message from `from` to `to`, both of which are polled by the pair.
void send(Pair& pair, TestEndpoint& from, fi_addr_t to_at_from, TestEndpoint& to)
{
    std::uint64_t word = 42;
    std::uint64_t arrived = 0;
    REQUIRE(fi_trecv(to.ep.get(), &arrived, sizeof(arrived), nullptr, FI_ADDR_UNSPEC, 5, 0, &arrived) == 0);
    REQUIRE(pair.retry([&] {
        return fi_tsend(from.ep.get(), &word, sizeof(word), nullptr, to_at_from, 5, &word);
    }) == 0);
    CHECK_FALSE(pair.next(from).failed);
    CHECK_FALSE(pair.next(to).failed);
    CHECK(arrived == 42);
}

} // namespace

TEST_CASE("stranger: introductions forged before two meet do not come between them")
{
    Pair pair;
    Stranger at_a(pair.a);
    Stranger at_b(pair.b);
    at_a.forge(pair.b, 20);
    at_b.forge(pair.a, 20);
    for (int i = 0; i < 100; ++i) {
        pair.poll();
    }
    send(pair, pair.a, pair.b_at_a, pair.b);
    at_a.forge(pair.b, 20);
    at_b.forge(pair.a, 20);
    send(pair, pair.b, pair.a_at_b, pair.a);
}

TEST_CASE("stranger: a flood of introductions takes nobody's place")
{
    ::setenv("FI_SRD_MAX_PEERS", "4", 1);
    Pair pair;
    ::unsetenv("FI_SRD_MAX_PEERS");
    send(pair, pair.a, pair.b_at_a, pair.b);
    Stranger stranger(pair.a);
    for (std::uint32_t claimed = 1; claimed < 2000; ++claimed) {
        stranger.forge(srd::SocketAddress::of_ipv4(INADDR_LOOPBACK + claimed, 40'000), 3);
        pair.poll();
    }
    // Whoever comes now is served, and who was there before is, too.
    const Options options;
    TestEndpoint newcomer(pair.domain, options);
    const fi_addr_t a_at_newcomer = newcomer.insert(pair.a);
    std::uint64_t word = 43;
    std::uint64_t arrived = 0;
    REQUIRE(fi_trecv(pair.a.ep.get(), &arrived, sizeof(arrived), nullptr, FI_ADDR_UNSPEC, 6, 0, &arrived) ==
            0);
    REQUIRE(fi_tsend(newcomer.ep.get(), &word, sizeof(word), nullptr, a_at_newcomer, 6, &word) == 0);
    pair.until([&] {
        newcomer.poll();
        return !newcomer.ready.empty() && !pair.a.ready.empty();
    });
    CHECK_FALSE(newcomer.ready.front().failed);
    CHECK_FALSE(pair.a.ready.front().failed);
    CHECK(arrived == 43);
    pair.a.ready.clear();
    send(pair, pair.b, pair.a_at_b, pair.a);
}
