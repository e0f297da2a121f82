// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "sim/told_writes.hpp"
#include "support/catch.hpp"

using namespace srd::sim;

TEST_CASE("writedata: a million writes under FI_MORE and loss are each told exactly once")
{
    const ToldResult result = run_told_writes({.operations = 1'000'000});
    CHECK(result.failure.empty());
    INFO(result.failure);
    CHECK(result.lost_packets > 100);
    CHECK(result.retransmissions > 100);
}

TEST_CASE("writedata: the same of other seeds, and in worse weather")
{
    for (const std::uint64_t seed : {2U, 3U, 4U, 5U}) {
        for (const double loss : {0.0, 0.1, 0.25}) {
            const ToldResult result = run_told_writes({.operations = 10'000, .seed = seed, .loss = loss});
            INFO("seed " << seed << ", loss " << loss << ": " << result.failure);
            CHECK(result.failure.empty());
        }
    }
}

TEST_CASE("canary writedata: told twice, or not at all, is seen")
{
    CHECK_FALSE(run_told_writes({.operations = 20'000, .tell_twice = true}).failure.empty());
    CHECK_FALSE(run_told_writes({.operations = 80'000, .forget_to_tell = true}).failure.empty());
}
