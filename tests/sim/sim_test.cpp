// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Named cases in simulation: laws with a figure, and the canaries that prove
// that the checkers see.
#include <algorithm>
#include <array>
#include <string>

#include "sim/must_pass.hpp"
#include "sim/scenarios.hpp"
#include "support/catch.hpp"
#include "support/sim/sim_clock.hpp"

using namespace srd;
using namespace srd::sim;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

/// Two hosts, 64 paths, 10 Gbit/s, and `count` messages of `length` from host 0 to host 1.
RunConfig bulk(std::uint64_t seed, std::uint32_t count, std::uint64_t length)
{
    RunConfig config = make_run(*find_scenario("lossless"), seed);
    config.hosts = 2;
    config.host.io.caps.max_packet = 4096;
    config.host.check_period = 64;
    config.messages.clear();
    for (std::uint32_t id = 0; id < count; ++id) {
        MessagePlan plan;
        plan.source = 0;
        plan.destination = 1;
        plan.length = length;
        plan.capacity = length;
        plan.flags.tagged = true;
        plan.tag = id;
        config.messages.push_back(plan);
    }
    return config;
}

/// Every other message goes the other way: both hosts learn what is dead.
void send_both_ways(RunConfig& config)
{
    for (std::uint32_t id = 0; id < config.messages.size(); id += 2) {
        std::swap(config.messages[id].source, config.messages[id].destination);
    }
}

void kill_quarter_of_paths(RunConfig& config)
{
    for (std::uint32_t spine = 0; spine < 16; ++spine) {
        config.faults.push_back({Time(milliseconds(2)), Fault::Kind::spine_down, spine * 4});
    }
}

/// One more message, of 64 bytes.
void add_small_message(RunConfig& config, Time submit_at)
{
    MessagePlan plan = config.messages.front();
    plan.length = plan.capacity = 64;
    plan.tag = config.messages.size();
    plan.submit_at = submit_at;
    config.messages.push_back(plan);
}

std::uint64_t retransmits(const RunResult& result)
{
    return result.counters.at("retransmits_rack") + result.counters.at("retransmits_probe") +
           result.counters.at("retransmits_timeout");
}

} // namespace

TEST_CASE("loss detection: 1 % loss over 64 unequal paths repeats almost nothing in vain")
{
    const Duration spread =
        GENERATE(Duration(microseconds(20)), Duration(microseconds(100)), Duration(microseconds(500)));
    RunConfig config = bulk(11, 64, 1 << 20);
    config.net.loss = 0.01;
    config.net.spine_spread = spread;
    const RunResult result = must_pass(config);
    INFO("spread " << to_us(spread) << " us, " << result.counters.at("tx_packets") << " packets, "
                   << result.counters.at("retransmits_spurious") << " spurious of " << retransmits(result));
    CHECK(result.net.lost > 100);
    CHECK(retransmits(result) >= result.net.lost / 2);
    CHECK(result.counters.at("retransmits_spurious") * 100 <= result.counters.at("tx_packets"));
}

TEST_CASE("loss detection: without loss nothing is repeated, whatever the skew of the paths")
{
    RunConfig config = bulk(12, 32, 1 << 20);
    config.net.spine_spread = microseconds(100);
    const RunResult result = must_pass(config);
    CHECK(result.net.lost == 0);
    CHECK(result.counters.at("retransmits_spurious") * 100 <= result.counters.at("tx_packets"));
}

TEST_CASE("recovery: 1 % loss costs bulk transfer little time")
{
    const RunResult clean = must_pass(bulk(13, 64, 1 << 20));
    RunConfig lossy_config = bulk(13, 64, 1 << 20);
    lossy_config.net.loss = 0.01;
    const RunResult lossy = must_pass(lossy_config);
    // Virtual time: no property of the machine that runs the test.
    const auto clean_us = to_us(clean.ended.time_since_epoch());
    const auto lossy_us = to_us(lossy.ended.time_since_epoch());
    INFO("clean " << clean_us << " us, lossy " << lossy_us << " us");
    CHECK(lossy_us - 100'000 <= (clean_us - 100'000) * 5 / 4 + 2000); // 100 ms: the closing phase of a run
}

TEST_CASE("mtu: a path that swallows large packets from the start is found to be narrow, and bulk goes on")
{
    RunConfig config = bulk(31, 16, 1 << 20);
    config.host.io.caps.max_packet = 8972;
    config.faults.push_back({Time{}, Fault::Kind::black_hole, 0, 1, 1472});
    const RunResult result = must_pass(config);
    CHECK(result.counters.at("mtu_falls") == 0); // it never rose
    CHECK(result.counters.at("mtu_probes") < 20);
    CHECK(retransmits(result) <= result.net.tail_dropped + 20);
    CHECK(result.ended < Time(milliseconds(100 + 60)));
}

TEST_CASE(
    "mtu: a path that begins to swallow large packets is noticed, and what is under way goes in fragments")
{
    RunConfig config = bulk(32, 64, 1 << 20);
    config.host.io.caps.max_packet = 8972;
    config.faults.push_back({Time(milliseconds(10)), Fault::Kind::black_hole, 0, 1, 1472});
    const RunResult result = must_pass(config);
    CHECK(result.counters.at("mtu_falls") == 1);
    CHECK(result.counters.at("retransmits_mtu") > 0);
    CHECK(result.counters.at("tx_fragments") >= 7);
    CHECK(result.counters.at("rx_fragments_dropped") == 0);
    CHECK(result.ended < Time(milliseconds(600)));
}

TEST_CASE("trains: where batches vanish that are longer than one packet, packets go alone")
{
    RunConfig config = bulk(34, 16, 1 << 20);
    config.host.io.caps.burst_packets = 16;
    const RunResult clean = must_pass(config);
    config.host.io.swallows_trains = true;
    const RunResult result = must_pass(config);
    const std::uint64_t needed = 16 * ((1U << 20) / 4096);
    INFO(retransmits(result) << " repetitions of " << needed << " packets, ended at "
                             << to_us(result.ended.time_since_epoch()));
    CHECK(retransmits(result) > 16);         // it lost some
    CHECK(retransmits(result) < needed / 4); // and then knew it
    CHECK(result.ended < clean.ended + milliseconds(60));
}

TEST_CASE("mtu: losses alone do not lower it")
{
    RunConfig config = bulk(33, 64, 1 << 20);
    config.host.io.caps.max_packet = 8972;
    config.net.loss = 0.1;
    const RunResult result = must_pass(config);
    CHECK(result.counters.at("mtu_probes") > 2); // it was in doubt
    CHECK(result.counters.at("mtu_falls") == 0);
    CHECK(result.counters.at("tx_fragments") == 0);
}

TEST_CASE("mtu: what the peer's end takes is known from its hello")
{
    RunConfig config = bulk(34, 4, 1 << 20);
    config.max_packets = {8972, 1472};
    const RunResult result = must_pass(config);
    CHECK(result.counters.at("mtu_probes") >= 2);    // one each, and when the queue drops them, more
    CHECK(result.counters.at("io_rx_dropped") == 0); // but none that it does not take
    CHECK(retransmits(result) <= result.net.tail_dropped + 20);
}

TEST_CASE("sealed: somebody on the way changes and repeats packets in vain, and is believed without keys")
{
    RunConfig config = bulk(51, 64, 1 << 18);
    config.net.meddling = 0.2;
    config.host.sealed = true;
    const RunResult result = must_pass(config);
    CHECK(result.counters.at("rx_auth_failed") > 10);
    CHECK(result.counters.at("rx_replayed") > 10);
    config.host.sealed = false;
    CHECK_FALSE(run(config).ok);
}

TEST_CASE("paths: a quarter of the paths dies for good and the transfer goes on")
{
    RunConfig config = bulk(14, 64, 1 << 20);
    kill_quarter_of_paths(config);
    const RunResult result = must_pass(config);
    INFO("ended at " << to_us(result.ended.time_since_epoch()) << " us, blackholed "
                     << result.net.blackholed);
    CHECK(result.net.blackholed > 0);
    CHECK(result.counters.at("path_blackouts") > 0);
    // A dead path is taken out of use rather than tried again and again.
    CHECK(result.net.blackholed < result.counters.at("tx_packets") / 20);
    CHECK(result.ended < Time(milliseconds(100 + 60 + 100)));
}

TEST_CASE("paths: where most are dead in both directions, those that live are soon found")
{
    std::vector<Duration> ends;
    for (std::uint64_t seed = 60; seed < 80; ++seed) {
        RunConfig config = bulk(seed, 16, 1 << 18);
        for (std::uint32_t spine = 0; spine < config.net.spines; ++spine) {
            if (spine % 8 != seed % 8) {
                config.faults.push_back({Time(milliseconds(2)), Fault::Kind::spine_down, spine});
            }
        }
        ends.push_back(must_pass(config).ended - Time(milliseconds(2)));
    }
    std::sort(ends.begin(), ends.end());
    INFO("median " << ends[ends.size() / 2].count() << " ns, last " << ends.back().count() << " ns");
    CHECK(ends.back() < seconds(20)); // the former engine lost connections there
}

TEST_CASE("paths: dead ones do not swallow the few packets of a quiet connection")
{
    RunConfig config = bulk(20, 64, 1 << 20);
    send_both_ways(config);
    kill_quarter_of_paths(config);
    const std::uint64_t learned = must_pass(config).net.blackholed;
    constexpr std::uint32_t quiet = 300;
    for (std::uint32_t id = 0; id < quiet; ++id) {
        add_small_message(config, Time(seconds(1) + id * milliseconds(40)));
    }
    const RunResult result = must_pass(config);
    INFO(result.net.blackholed << " packets into the void, " << learned << " until it was known");
    // A message and its acknowledgement: one in sixteen may find out whether a path is back.
    CHECK(result.net.blackholed - learned <= 2 * quiet / 8);
}

TEST_CASE("paths: when those that worked die together, the ones given up are found to be back")
{
    unsigned quick = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        RunConfig config = bulk(seed, 40, 1 << 20);
        config.net.spines = 2;
        send_both_ways(config);
        config.faults.push_back({Time(milliseconds(2)), Fault::Kind::spine_down, 0});
        config.faults.push_back({Time(seconds(1)), Fault::Kind::spine_up, 0});
        config.faults.push_back({Time(seconds(1)), Fault::Kind::spine_down, 1});
        add_small_message(config, Time(milliseconds(1001)));
        quick += must_pass(config).ended < Time(milliseconds(1200)); // 100 ms of it: the closing phase
    }
    CHECK(quick >= 14);
}

TEST_CASE("peers: a silent death is an error within peer_timeout")
{
    RunConfig config = bulk(15, 64, 1 << 20);
    config.allowed = {0, cause_bit(Cause::stopped_answering) | cause_bit(Cause::never_answered)};
    config.faults.push_back({Time(milliseconds(5)), Fault::Kind::host_kill, 1, 0, 0});
    config.host.tuning.peer_timeout = seconds(5);
    config.host.tuning.connect_timeout = seconds(5); // for those submitted after the first error
    config.error_bound = seconds(6);
    const RunResult result = must_pass(config);
    CHECK(result.failed_operations > 0);
}

TEST_CASE("peers: an address that never answered is an error within connect_timeout")
{
    RunConfig config = bulk(16, 4, 1000);
    config.allowed = {0, cause_bit(Cause::never_answered)};
    config.faults.push_back({Time(Duration(0)), Fault::Kind::host_kill, 1, 0, 0});
    config.host.tuning.connect_timeout = seconds(3);
    config.error_bound = seconds(4);
    for (MessagePlan& plan : config.messages) {
        plan.submit_at = Time(milliseconds(1));
    }
    const RunResult result = must_pass(config);
    CHECK(result.failed_operations == 4);
}

TEST_CASE("peers: who speaks none of our versions is an error that says so, on both sides")
{
    RunConfig config = bulk(16, 4, 1000);
    config.dialects = {Dialect{}, Dialect{base_version + 1, base_version + 1, 0}};
    config.allowed = {cause_bit(Cause::version_mismatch), cause_bit(Cause::version_mismatch)};
    config.host.tuning.connect_timeout = seconds(3);
    config.error_bound = seconds(4);
    const RunResult result = must_pass(config);
    CHECK(result.failed_operations == 4);
    CHECK(result.counters.at("rx_version") > 0);
    CHECK(result.counters.at("handshakes") == 0);
}

TEST_CASE("peers: a process stopped for 20 s loses nothing")
{
    RunConfig config = bulk(17, 64, 1 << 20);
    config.host.io.answers_liveness = true;
    config.host.tuning.peer_timeout = seconds(5);
    const std::uint32_t host = GENERATE(0U, 1U);
    config.faults.push_back({Time(milliseconds(5)), Fault::Kind::host_stop, host, 0, 20'000'000'000});
    const RunResult result = must_pass(config);
    CHECK(result.failed_operations == 0);
    CHECK(result.ended > Time(seconds(20)));
}

TEST_CASE("congestion: an incast of large messages overruns neither queue nor socket for long")
{
    RunConfig config = bulk(18, 0, 0);
    config.hosts = 9;
    config.net.down.queue_bytes = 200'000;
    config.net.down.mark_bytes = 60'000;
    config.host.io.caps.rx_buffer = 256 << 10;
    for (std::uint32_t id = 0; id < 32; ++id) {
        MessagePlan plan;
        plan.source = 1 + id % 8;
        plan.destination = 0;
        plan.length = plan.capacity = 1 << 20;
        plan.flags.tagged = true;
        plan.tag = id;
        config.messages.push_back(plan);
    }
    const RunResult result = must_pass(config);
    INFO("tail-dropped " << result.net.tail_dropped << " of " << result.net.sent << ", ended at "
                         << to_us(result.ended.time_since_epoch()) << " us");
    CHECK(result.net.tail_dropped * 20 < result.net.sent);
}

TEST_CASE("numbers: more messages than a sender may be ahead, over the end of their sequence")
{
    RunConfig config = bulk(61, 2 * message_window, 8);
    config.host.tuning.first = {.chosen = true, .psn = 0U - 500, .message = 0U - 4000};
    const RunResult result = must_pass(config);
    CHECK(result.counters.at("retransmits_spurious") < 100);
}

TEST_CASE("replay: a seed gives the same run every time")
{
    for (const Scenario& scenario : scenarios()) {
        if (std::string(scenario.name) != "chaos" && std::string(scenario.name) != "restart") {
            continue;
        }
        const RunResult first = run(make_run(scenario, 5));
        const RunResult second = run(make_run(scenario, 5));
        CHECK(first.failure == second.failure);
        CHECK(first.ended == second.ended);
        CHECK(first.events == second.events);
        CHECK(first.counters == second.counters);
    }
}

TEST_CASE("regressions: seeds that once broke the law")
{
    struct Seed {
        const char* scenario;
        std::uint64_t seed;
    };
    const Seed seed = GENERATE(values<Seed>({
        {"many_small", 2}, // a copied inject of two packets: its slots named a record that was in use again
        {"silent_death", 15},      // only a delivery was awaited: nobody noticed that the peer was dead
        {"silent_death", 17},      // every repetition of the only packet in flight restarted the patience
        {"unexpected_flood", 14},  // held messages kept out the one whose turn it was
        {"unexpected_flood", 19},  // the packet that the receiver lacked was never among those sent again
        {"unexpected_flood", 503}, // held messages took more memory than was counted
        {"chaos", 20},             // we were stopped, and blamed the peer for the silence
    }));
    must_pass(make_run(*find_scenario(seed.scenario), seed.seed));
}

TEST_CASE("handshake: whoever of a crowd was told how its connection is called may use that name, whatever "
          "the others do")
{
    constexpr std::uint32_t crowd = 600;
    RunConfig config = make_run(*find_scenario("lossless"), 1);
    config.hosts = crowd + 1;
    config.host.check_period = 256;
    config.host.limits.max_peers = crowd;
    config.messages.clear();
    for (std::uint32_t host = 1; host <= crowd; ++host) {
        MessagePlan plan;
        plan.source = host;
        plan.destination = 0;
        plan.length = plan.capacity = 64;
        plan.flags.tagged = true;
        plan.tag = config.messages.size();
        plan.submit_at = Time(microseconds(host % 50));
        config.messages.push_back(plan);
    }
    const RunResult result = must_pass(config);
    CHECK(result.counters.at("handshakes") == 2 * crowd);
    CHECK(result.counters.at("peer_failures") == 0);
}

TEST_CASE("canary: a backend that delivers corrupted datagrams is caught")
{
    const RunResult result = run(make_run(*find_scenario("canary_checksum"), 1));
    INFO(result.failure);
    CHECK_FALSE(result.ok);
}

TEST_CASE("canary: a provider that loses completions is caught")
{
    const RunResult result = run(make_run(*find_scenario("canary_completion"), 1));
    INFO(result.failure);
    REQUIRE_FALSE(result.ok);
    CHECK(result.failure.find("not completed") != std::string::npos);
}

TEST_CASE("ledger: what the law forbids is reported")
{
    MessagePlan plan;
    plan.source = 0;
    plan.destination = 1;
    plan.length = 16;
    plan.flags.tagged = true;
    MessagePlan second = plan;
    second.tag = 1;
    Ledger ledger(7, {plan, second}, 2);
    ledger.on_submitted(0, 1, 0, Time{});
    ledger.on_submitted(1, 1, 0, Time{});
    Event event;
    event.kind = Event::Kind::message;
    event.flags.tagged = true;
    event.length = 16;
    std::array<std::byte, 16> bytes{};

    SECTION("order")
    {
        event.tag = 1;
        CHECK_THROWS_AS(ledger.on_announced(0, 1, event), SimFailure);
    }
    SECTION("wrong bytes, a second reception, a second announcement")
    {
        CHECK(ledger.on_announced(0, 1, event) == 0);
        ledger.on_taken(0, 1);
        CHECK_THROWS_AS(ledger.on_received(0, 16, bytes), SimFailure);
        pattern_fill(bytes, 7, 0);
        ledger.on_received(0, 16, bytes);
        CHECK_THROWS_AS(ledger.on_received(0, 16, bytes), SimFailure);
        CHECK_THROWS_AS(ledger.on_announced(0, 1, event), SimFailure);
    }
    SECTION("transmitted before arrival, failed without a reason, completed twice")
    {
        CHECK_THROWS_AS(ledger.on_completed(0, Cause::none, 15, Time{}), SimFailure);
        CHECK_THROWS_AS(ledger.on_completed(0, Cause::stopped_answering, 16, Time{}), SimFailure);
        ledger.on_completed(0, Cause::none, 16, Time{});
        CHECK_THROWS_AS(ledger.on_completed(0, Cause::none, 16, Time{}), SimFailure);
    }
    SECTION("never finished")
    {
        CHECK_FALSE(ledger.settled({false, false}));
        CHECK_THROWS_AS(ledger.check_end({false, false}), SimFailure);
    }
}

TEST_CASE("link: drops at the tail, marks above the threshold, keeps its rate")
{
    SimLink link({.ps_per_byte = 1000, .queue_bytes = 3000, .mark_bytes = 1500, .delay = microseconds(1)});
    bool marked = false;
    CHECK(link.push(1000, Time{}, marked) == Time(microseconds(2)));
    CHECK(link.push(1000, Time{}, marked) == Time(microseconds(3)));
    CHECK_FALSE(marked);
    CHECK(link.push(1000, Time{}, marked) == Time(microseconds(4)));
    CHECK(marked);
    CHECK_FALSE(link.push(1000, Time{}, marked).has_value());
    CHECK(link.backlog(Time(microseconds(2))) == 1000);
}
