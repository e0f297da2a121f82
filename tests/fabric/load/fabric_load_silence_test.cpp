// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <thread>

#include "fabric/load_support.hpp"

using namespace fabric_test;

namespace {

/// Before the provider reads it.
const bool bound_is_set = [] { return setenv("FI_SRD_PEER_TIMEOUT_MS", "100", 1) == 0; }();

void talk(TestEndpoint& from, TestEndpoint& to, fi_addr_t address)
{
    std::uint64_t word = 0;
    REQUIRE(fi_trecv(to.ep.get(), &word, 8, nullptr, FI_ADDR_UNSPEC, 1, 0, &word) == 0);
    REQUIRE(fi_tsend(from.ep.get(), &word, 8, nullptr, address, 1, &word) == 0);
    const Patience patience;
    while (from.ready.empty() || to.ready.empty()) {
        from.poll();
        to.poll();
        REQUIRE_FALSE(patience.over());
    }
    REQUIRE_FALSE((from.ready.front().failed || to.ready.front().failed));
    from.ready.clear();
    to.ready.clear();
}

} // namespace

TEST_CASE("silence: a peer whose answer waits unread behind a flood is not given up")
{
    REQUIRE(bound_is_set);
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint slow(domain, Options{});
    TestEndpoint peer(domain, Options{});
    TestEndpoint flooder(domain, Options{});
    const fi_addr_t peer_at_slow = slow.insert(peer);
    const fi_addr_t slow_at_flooder = flooder.insert(slow);
    talk(slow, peer, peer_at_slow);
    talk(flooder, slow, slow_at_flooder);

    // Far more packets than a pass reads, and then the peer's acknowledgement.
    const std::vector<std::uint8_t> data(100, 1);
    for (int i = 0; i < 300; ++i) {
        const ssize_t result = fi_tinject(flooder.ep.get(), data.data(), data.size(), slow_at_flooder, 7);
        REQUIRE((result == 0 || result == -FI_EAGAIN));
    }
    std::uint64_t word = 0;
    REQUIRE(fi_tsend(slow.ep.get(), &word, 8, nullptr, peer_at_slow, 2, &word) == 0);
    for (int i = 0; i < 1000; ++i) {
        peer.poll();
    }
    // An application that computes, and looks at its queue now and then.
    for (int i = 0; i < 10; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        slow.poll();
        peer.poll();
    }
    const Patience patience;
    while (slow.ready.empty()) {
        slow.poll();
        peer.poll();
        REQUIRE_FALSE(patience.over());
    }
    CHECK_FALSE(slow.ready.front().failed);
    CHECK(slow.ready.front().context() == &word);
}
