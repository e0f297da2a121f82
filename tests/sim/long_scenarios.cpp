// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What takes longer than the patience of those who wait, or looks like it: partitions, machines that sleep,
// processes that are stopped, clocks that leap. Where everybody gives everybody up, the law is that each
// learns of it, and that afterwards they meet again.
#include <array>

#include "sim/scenarios.hpp"

namespace srd::sim {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr CauseSet silence_causes = cause_bit(Cause::stopped_answering) | cause_bit(Cause::never_answered) |
                                    cause_bit(Cause::not_heard) | cause_bit(Cause::cut_off) |
                                    cause_bit(Cause::refused);
constexpr CauseSet other_process_causes = cause_bit(Cause::restarted) | cause_bit(Cause::closed);

/// A moment in which traffic is under way.
Time pick_moment(SimRandom& random)
{
    return pick_time(random, microseconds(1), milliseconds(6));
}

std::uint64_t pick_ns(SimRandom& random, Duration low, Duration high)
{
    return static_cast<std::uint64_t>(pick(random, low, high).count());
}

/// `host` is to be given up, and it gives up the others; after `end` they meet again: what then is sent
/// arrives.
void lose_and_meet_again(RunConfig& config, SimRandom& random, std::uint32_t host, CauseSet causes, Time end)
{
    config.host.tuning.peer_timeout = seconds(2);
    config.host.tuning.connect_timeout = seconds(8);
    config.allowed.assign(config.hosts, 0);
    config.allowed[host] = causes;
    add_traffic(config, random, {.identified = true});
    add_traffic_at(config.faults.front().at, config, random,
                   {.messages = 30, .horizon = seconds(3), .longest = 50'000, .identified = true});
    end += seconds(12); // by then, whoever began to wait before it has ended its wait
    add_greetings(end, config);
    config.certain_from = end + seconds(3);
    add_traffic_at(config.certain_from, config, random,
                   {.messages = 60, .longest = 50'000, .identified = true});
}

// ---------------------------------------------------------------- clocks

/// A clock goes ahead by minutes at once, as in a virtual machine that was moved: all timers are due, though
/// nobody was silent.
void clock_leaps(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.io.answers_liveness = random.chance(0.5);
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    for (auto leaps = random.between(1, 6); leaps > 0; --leaps) {
        config.faults.push_back({pick_moment(random), Fault::Kind::clock_leap, pick_host(config, random), 0,
                                 pick_ns(random, milliseconds(1), minutes(10))});
    }
    add_traffic(config, random, {});
}

/// The clock is monotonic, but threads read it before they wait for their turn: it goes back by as much as a
/// thread may have waited.
void clock_wobbles(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.clock_start = seconds(1); // never before 0
    config.host.clock_wobble = pick(random, microseconds(1), milliseconds(3));
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    config.net.reorder = random.chance(0.5) ? 0.2 : 0;
    config.net.reorder_max = microseconds(200);
    add_traffic(config, random, {});
}

/// A machine sleeps for less than peer_timeout, and its clock with it.
void nap(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.tuning.peer_timeout = seconds(5);
    config.host.io.answers_liveness = random.chance(0.5);
    config.faults.push_back({pick_moment(random), Fault::Kind::suspend, pick_host(config, random), 0,
                             pick_ns(random, milliseconds(1), seconds(4))});
    add_traffic(config, random, {});
}

/// It sleeps for minutes: to itself nothing has happened, and nobody knows it any more.
void sleep(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.io.answers_liveness = random.chance(0.5);
    const std::uint32_t host = pick_host(config, random);
    const std::uint64_t time = pick_ns(random, seconds(10), minutes(10));
    const Time at = pick_moment(random);
    config.faults.push_back({at, Fault::Kind::suspend, host, 0, time});
    lose_and_meet_again(config, random, host, silence_causes, at + Duration(static_cast<std::int64_t>(time)));
}

// ---------------------------------------------------------------- silence

/// A process is stopped for minutes while everybody floods it, has little memory, and goes on.
void stopped_flooded(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 3, 5);
    config.host.io.answers_liveness = true;
    config.host.io.caps.rx_buffer = static_cast<std::uint32_t>(random.between(64 << 10, 1 << 20));
    config.host.limits.unexpected_bytes = 256 << 10;
    config.host.limits.rx_messages = 1024;
    config.host.tuning.peer_timeout = seconds(2);
    config.faults.push_back(
        {pick_moment(random), Fault::Kind::host_stop, 0, 0, pick_ns(random, minutes(1), minutes(5))});
    add_traffic(
        config, random,
        {.messages = 1500, .longest = 16'000, .budget = 4 << 20, .late_receives = 0.9, .small_only = true});
    for (MessagePlan& plan : config.messages) {
        if (plan.source == 0 || random.chance(0.7)) {
            plan.source = plan.source == 0 ? plan.destination : plan.source;
            plan.destination = 0;
        }
    }
}

/// Two of a few hosts, between which something is wrong.
struct Two {
    std::uint32_t from = 0, to = 0;
};
Two pick_two(RunConfig& config, SimRandom& random, std::uint32_t least, std::uint32_t most)
{
    hosts_between(config, random, least, most);
    config.host.io.answers_liveness = random.chance(0.5);
    const std::uint32_t from = pick_host(config, random);
    return {from, (from + 1) % config.hosts};
}

/// The system has no room for packets to one host (ENOBUFS: its neighbour entry or a filter of the device's
/// queue), and for all others it has.
void full_neighbour(RunConfig& config, SimRandom& random)
{
    const auto [from, to] = pick_two(config, random, 3, 5);
    config.host.tuning.peer_timeout = seconds(5);
    config.faults.push_back(
        {pick_moment(random), Fault::Kind::no_room, from, to, pick_ns(random, milliseconds(1), seconds(3))});
    add_traffic(config, random, {});
}

/// It never has again, for longer than peer_timeout.
void shut_neighbour(RunConfig& config, SimRandom& random)
{
    const auto [from, to] = pick_two(config, random, 3, 5);
    const Time at = pick_moment(random);
    const std::uint64_t time = pick_ns(random, seconds(8), seconds(20));
    config.faults.push_back({at, Fault::Kind::no_room, from, to, time});
    lose_and_meet_again(config, random, to, silence_causes, at + Duration(static_cast<std::int64_t>(time)));
}

/// From one host to another nothing gets through, the other way all does. Returns when it does again.
Time cut_way(RunConfig& config, SimRandom& random, const Two& two, Duration least, Duration most)
{
    const Time at = pick_moment(random);
    const Time end = at + pick(random, least, most);
    config.faults.push_back({at, Fault::Kind::way_cut, two.from, two.to});
    config.faults.push_back({end, Fault::Kind::way_mend, two.from, two.to});
    return end;
}

/// For less than peer_timeout.
void one_way_pair(RunConfig& config, SimRandom& random)
{
    const Two two = pick_two(config, random, 2, 4);
    config.host.tuning.peer_timeout = seconds(5);
    cut_way(config, random, two, milliseconds(1), seconds(3));
    add_traffic(config, random, {});
}

/// For longer.
void one_way_long(RunConfig& config, SimRandom& random)
{
    const Two two = pick_two(config, random, 2, 4);
    const Time end = cut_way(config, random, two, seconds(10), minutes(5));
    lose_and_meet_again(config, random, random.chance(0.5) ? two.from : two.to, silence_causes, end);
}

/// A host is cut off for longer than peer_timeout, and both sides live on; or (`reuse`) another process has
/// the address when the network is whole again.
void cut_off(RunConfig& config, SimRandom& random, bool reuse)
{
    const std::uint32_t host = pick_two(config, random, 2, 4).from;
    const Time at = pick_moment(random);
    const Time end = at + pick(random, seconds(10), minutes(5));
    config.faults.push_back({at, Fault::Kind::host_cut, host});
    Time whole = end;
    if (reuse) {
        const Time restart = at + pick(random, milliseconds(1), end - at + milliseconds(20));
        config.faults.push_back({restart, Fault::Kind::host_restart, host});
        whole = std::max(end, restart);
    }
    config.faults.push_back({end, Fault::Kind::host_mend, host});
    const auto causes = reuse ? silence_causes | other_process_causes : silence_causes;
    lose_and_meet_again(config, random, host, causes, whole);
}

void partition(RunConfig& config, SimRandom& random)
{
    cut_off(config, random, false);
}
void partition_reuse(RunConfig& config, SimRandom& random)
{
    cut_off(config, random, true);
}

constexpr std::array long_table{
    Scenario{"clock_leaps", "clocks go ahead by minutes, and nobody is given up", clock_leaps},
    Scenario{"clock_wobbles", "times go back by as much as threads wait for their turn", clock_wobbles},
    Scenario{"nap", "a machine sleeps for less than peer_timeout", nap},
    Scenario{.name = "sleep",
             .what = "a machine sleeps for minutes, and is given up",
             .shape = sleep,
             .alone = true},
    Scenario{"stopped_flooded", "a process is stopped for minutes while all flood it", stopped_flooded},
    Scenario{"full_neighbour", "the system has no room for packets to one host for a while", full_neighbour},
    Scenario{.name = "shut_neighbour",
             .what = "it has none for longer than peer_timeout",
             .shape = shut_neighbour,
             .alone = true},
    Scenario{"one_way_pair", "nothing gets from one host to another for a while", one_way_pair},
    Scenario{.name = "one_way_long",
             .what = "nothing gets from one host to another for longer than peer_timeout",
             .shape = one_way_long,
             .alone = true},
    Scenario{.name = "partition",
             .what = "a host is cut off for longer than peer_timeout, and all meet again",
             .shape = partition,
             .alone = true},
    Scenario{.name = "partition_reuse",
             .what = "the same, and another process has its address",
             .shape = partition_reuse,
             .alone = true},
};

} // namespace

std::span<const Scenario> long_scenarios()
{
    return long_table;
}

} // namespace srd::sim
