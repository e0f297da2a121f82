// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Several interfaces, one endpoint: what they carry together, and what it costs when one dies.
#include <algorithm>

#include "sim/must_pass.hpp"
#include "sim/scenarios.hpp"
#include "support/catch.hpp"

using namespace srd;
using namespace srd::sim;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

/// Two hosts with `rails` interfaces each, of 10 Gbit/s, and `count` MiB from host 0 to host 1, or both ways.
RunConfig bulk(std::uint64_t seed, std::uint8_t rails, std::uint32_t count, bool both_ways = false)
{
    RunConfig config = make_run(*find_scenario("lossless"), seed);
    config.hosts = 2;
    config.host.io.caps.max_packet = 4096;
    config.host.io.rails = rails;
    config.host.check_period = 64;
    config.net.planes = true;
    config.messages.clear();
    for (std::uint32_t id = 0; id < count; ++id) {
        MessagePlan plan;
        plan.source = both_ways ? id % 2 : 0;
        plan.destination = 1 - plan.source;
        plan.length = plan.capacity = 1 << 20;
        plan.flags.tagged = true;
        plan.tag = id;
        config.messages.push_back(plan);
    }
    return config;
}

/// Without the closing phase.
double milliseconds_of(const RunResult& result)
{
    return static_cast<double>(result.ended.time_since_epoch().count()) * 1e-6 - 100;
}

} // namespace

TEST_CASE("rails: two interfaces carry nearly twice what one does, four nearly four times")
{
    const bool trains = GENERATE(false, true);
    const auto time = [&](std::uint8_t rails) {
        RunConfig config = bulk(1, rails, 128);
        config.host.io.caps.burst_packets = trains ? 40 : 1;
        const RunResult result = must_pass(config);
        CHECK(result.counters.at("peer_failures") == 0);
        CHECK(result.counters.at("rails_proven") == 2U * (rails - 1U));
        return milliseconds_of(result);
    };
    const double one = time(1);
    const double two = time(2);
    const double four = time(4);
    INFO("trains " << trains << ": one " << one << " ms, two " << two << " ms, four " << four << " ms");
    CHECK(two < 0.65 * one);
    CHECK(four < 0.45 * one);
}

// The window is small there, and a train of 40 packets would be all of it.
TEST_CASE("rails: so do those of a slow network")
{
    const auto time = [](std::uint8_t rails) {
        RunConfig config = bulk(4, rails, 8);
        config.host.io.caps.burst_packets = 40;
        config.host.io.caps.max_packet = 1472;
        config.net.rail_slowness = {60, 60, 60, 60};
        return milliseconds_of(must_pass(config));
    };
    const double one = time(1);
    const double two = time(2);
    const double four = time(4);
    INFO("one " << one << " ms, two " << two << " ms, four " << four << " ms");
    CHECK(two < 0.62 * one);
    CHECK(four < 0.4 * one);
}

TEST_CASE("rails: interfaces of different rate carry more than the faster one alone")
{
    const double one = milliseconds_of(must_pass(bulk(2, 1, 128)));
    RunConfig config = bulk(2, 2, 128);
    config.net.rail_slowness = {1, 3, 1, 1};
    const double two = milliseconds_of(must_pass(config));
    RunConfig reversed = bulk(2, 2, 128);
    reversed.net.rail_slowness = {3, 1, 1, 1};
    const double first_slow = milliseconds_of(must_pass(reversed));
    INFO("alone " << one << " ms, with one of a third of the rate " << two << " ms, or as the first one "
                  << first_slow << " ms");
    CHECK(two < 0.9 * one);
    CHECK(first_slow < 0.95 * one);
}

// Without Transmitter::balance() everything stays where it began, and takes 2.5 s.
TEST_CASE("rails: what begins on a far slower interface does not stay there")
{
    const bool trains = GENERATE(false, true);
    RunConfig config = bulk(2, 2, 128);
    config.host.io.caps.burst_packets = trains ? 40 : 1;
    const double one = milliseconds_of(must_pass(bulk(2, 1, 128)));
    config.net.rail_slowness = {20, 1, 1, 1};
    const double two = milliseconds_of(must_pass(config));
    INFO("the fast one alone " << one << " ms, behind one of a twentieth " << two << " ms");
    CHECK(two < 1.5 * one);
}

TEST_CASE("rails: one that dies costs milliseconds and no error, whichever it is; back again it is used")
{
    const std::uint32_t dying = GENERATE(0U, 1U);
    const std::uint32_t host = GENERATE(0U, 1U);
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
        RunConfig config = bulk(seed, 2, 256, true); // 54 ms by two interfaces
        const double untouched = milliseconds_of(must_pass(config));
        config.faults.push_back({Time(milliseconds(20)), Fault::Kind::rail_down, host, dying});
        RunConfig mended = config;
        const RunResult result = must_pass(config);
        CHECK(result.failed_operations == 0);
        CHECK(result.counters.at("peer_failures") == 0);
        CHECK(result.counters.at("mtu_falls") == 0);
        const double alone = milliseconds_of(result);
        mended.faults.push_back({Time(milliseconds(40)), Fault::Kind::rail_up, host, dying});
        const double back = milliseconds_of(must_pass(mended));
        INFO("seed " << seed << ", interface " << dying << " of host " << host << ": both " << untouched
                     << " ms, one dead from 20 ms on " << alone << " ms, until 40 ms " << back << " ms");
        CHECK(alone < 20 + 2 * (untouched - 20) + 40);
        CHECK(back < alone);
    }
}

TEST_CASE("rails: a quiet connection goes on at once when the interface dies that it uses")
{
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        RunConfig config = bulk(seed, 2, 1);
        MessagePlan plan = config.messages.front();
        plan.length = plan.capacity = 64;
        for (std::uint32_t id = 1; id <= 100; ++id) {
            plan.tag = id;
            plan.submit_at = Time(milliseconds(30) + microseconds(200) * id);
            config.messages.push_back(plan);
        }
        config.faults.push_back({Time(milliseconds(40)), Fault::Kind::rail_down, 1, seed % 2 == 0 ? 0U : 1U});
        const RunResult result = must_pass(config);
        CHECK(result.counters.at("peer_failures") == 0);
        CHECK(milliseconds_of(result) < 60);
    }
}

TEST_CASE("rails: hosts of which one has a single interface say nothing of it")
{
    RunConfig config = bulk(3, 1, 8, true);
    config.rails = {3, 1};
    const RunResult result = must_pass(config);
    CHECK(result.counters.at("rail_questions") == 0);
    CHECK(result.counters.at("rails_proven") == 0);
}

TEST_CASE("rails: a release that does not know them is spoken to without")
{
    RunConfig config = bulk(4, 2, 8, true);
    config.dialects = {Dialect{}, Dialect{base_version, base_version, feature::open_hello}};
    const RunResult result = must_pass(config);
    CHECK(result.counters.at("rail_questions") == 0);
    CHECK(result.counters.at("rx_malformed") == 0);
}
