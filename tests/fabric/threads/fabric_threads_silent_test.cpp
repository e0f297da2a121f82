// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Manual progress, and an application that waits for something else after its last call.
#include <chrono>
#include <thread>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

/// The next completion of b, while nobody calls for a.
Entry next_of_b_alone(Pair& pair)
{
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (pair.b.ready.empty()) {
        pair.b.poll();
        if (std::chrono::steady_clock::now() > end) {
            FAIL("nothing came for a minute");
        }
    }
    Entry entry = pair.b.ready.front();
    pair.b.ready.pop_front();
    return entry;
}

Options options_for(fi_threading threading)
{
    Options options;
    options.threading = threading;
    return options;
}

} // namespace

// It is complete at once, but needs an answer of the peer, whom nobody has met, to go out.
TEST_CASE("silent: what was injected arrives though the application makes no more calls")
{
    Pair pair(options_for(GENERATE(FI_THREAD_SAFE, FI_THREAD_DOMAIN)));
    std::uint64_t value = 1;
    REQUIRE(fi_inject(pair.a.ep.get(), &value, sizeof(value), pair.b_at_a) == 0);
    std::uint64_t got = 0;
    REQUIRE(fi_recv(pair.b.ep.get(), &got, sizeof(got), nullptr, FI_ADDR_UNSPEC, &got) == 0);
    CHECK(next_of_b_alone(pair).context() == &got);
    CHECK(got == value);

    // And again after a silence, in which its thread has gone to sleep.
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    Pair other(options_for(FI_THREAD_DOMAIN));
    value = 2;
    const fi_addr_t stranger = pair.a.insert(other.b);
    REQUIRE(fi_inject(pair.a.ep.get(), &value, sizeof(value), stranger) == 0);
    REQUIRE(fi_recv(other.b.ep.get(), &got, sizeof(got), nullptr, FI_ADDR_UNSPEC, &got) == 0);
    CHECK(next_of_b_alone(other).context() == &got);
    CHECK(got == value);
}

TEST_CASE("silent: a message that takes many passes arrives, and completes")
{
    Pair pair(options_for(GENERATE(FI_THREAD_SAFE, FI_THREAD_DOMAIN)));
    const auto data = pattern(3000000);
    std::vector<std::uint8_t> buffer(data.size(), 0);
    REQUIRE(fi_recv(pair.b.ep.get(), buffer.data(), buffer.size(), nullptr, FI_ADDR_UNSPEC, &buffer) == 0);
    REQUIRE(fi_send(pair.a.ep.get(), data.data(), data.size(), nullptr, pair.b_at_a, nullptr) == 0);
    CHECK(next_of_b_alone(pair).context() == &buffer);
    CHECK(buffer == data);
    CHECK_FALSE(pair.next(pair.a).failed);
}
