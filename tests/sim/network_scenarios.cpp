// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What a network does: it loses, doubles, delays, damages, takes paths away and changes their MTU.
#include <algorithm>
#include <array>
#include <vector>

#include "sim/scenarios.hpp"

namespace srd::sim {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

void lossless(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 5);
    add_traffic(config, random, {.longest = 4 << 20});
}

void loss(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 5);
    config.net.loss = 0.01;
    config.net.loss_burst = static_cast<std::uint32_t>(random.between(1, 4));
    add_traffic(config, random, {});
}

void heavy_loss(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 3);
    config.net.loss = random.chance(0.5) ? 0.05 : 0.2;
    add_traffic(config, random, {.messages = 100, .longest = 300'000, .budget = 3 << 20});
}

void duplication(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.net.duplicate = random.chance(0.5) ? 0.02 : 0.5;
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    add_traffic(config, random, {.budget = 6 << 20});
}

void reordering(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.net.reorder = random.chance(0.5) ? 0.02 : 0.5;
    config.net.reorder_max = pick(random, microseconds(20), microseconds(800));
    config.net.spine_spread = pick(random, microseconds(0), microseconds(200));
    add_traffic(config, random, {});
}

void corruption(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.net.corrupt = random.chance(0.5) ? 0.01 : 0.1;
    add_traffic(config, random, {.budget = 6 << 20});
}

/// A device on the way changes headers, acknowledgements, introductions, and computes checksums anew.
void mangled(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.net.mangle = random.chance(0.5) ? 0.01 : 0.1;
    config.net.loss = random.chance(0.3) ? 0.01 : 0;
    for (auto changes = random.between(0, 2); changes > 0; --changes) { // so that fragments are among them
        const std::uint32_t from = pick_host(config, random);
        config.faults.push_back({pick_time(random, milliseconds(0), milliseconds(5)), Fault::Kind::mtu, from,
                                 (from + 1) % config.hosts, random.between(1232, 8972)});
    }
    add_traffic(config, random, {.budget = 6 << 20});
}

void blackholes(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    const auto count = random.between(1, 48);
    for (std::uint64_t index = 0; index < count; ++index) {
        const auto spine = static_cast<std::uint32_t>(random.between(0, config.net.spines - 1));
        const Time down = pick_time(random, milliseconds(0), milliseconds(4));
        config.faults.push_back({down, Fault::Kind::spine_down, spine});
        if (random.chance(0.7)) {
            config.faults.push_back(
                {down + pick(random, microseconds(100), milliseconds(50)), Fault::Kind::spine_up, spine});
        }
    }
    add_traffic(config, random, {});
}

/// One switch after the other is down for a while, or the last for good, and little is sent meanwhile: what
/// is known of the paths is old when it is needed.
void rolling_repair(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.net.spines = static_cast<std::uint32_t>(random.between(2, 6));
    Time at = pick_time(random, milliseconds(0), milliseconds(4));
    for (std::uint32_t spine = 0; spine < config.net.spines; ++spine) {
        config.faults.push_back({at, Fault::Kind::spine_down, spine});
        at += pick(random, milliseconds(20), milliseconds(1500));
        if (spine + 1 < config.net.spines || random.chance(0.5)) {
            config.faults.push_back({at, Fault::Kind::spine_up, spine});
        }
    }
    config.host.tuning.peer_timeout = seconds(5);
    add_traffic(config, random, {.budget = 6 << 20});
    add_traffic(config, random, {.messages = 60, .horizon = at.time_since_epoch(), .longest = 20'000});
}

void blackout(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.tuning.peer_timeout = seconds(5);
    const std::uint32_t host = pick_host(config, random);
    const Time cut = pick_time(random, milliseconds(0), milliseconds(4));
    config.faults.push_back({cut, Fault::Kind::host_cut, host});
    config.faults.push_back({cut + pick(random, milliseconds(1), seconds(3)), Fault::Kind::host_mend, host});
    add_traffic(config, random, {});
}

/// Packets go one way only: both sides are heard, or neither is answered, depending on who asks.
void one_way(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.tuning.peer_timeout = seconds(5);
    config.host.io.answers_liveness = random.chance(0.5);
    const std::uint32_t host = pick_host(config, random);
    const Time deaf = pick_time(random, milliseconds(0), milliseconds(4));
    config.faults.push_back({deaf, Fault::Kind::host_deaf, host});
    config.faults.push_back(
        {deaf + pick(random, milliseconds(1), seconds(3)), Fault::Kind::host_hears, host});
    add_traffic(config, random, {});
}

/// A firewall begins to drop what comes for a host, for good, but its process is seen to exist and to read.
void deaf(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.tuning.connect_timeout = seconds(8);
    config.host.io.answers_liveness = true;
    const std::uint32_t host = pick_host(config, random);
    config.faults.push_back(
        {pick_time(random, milliseconds(0), milliseconds(4)), Fault::Kind::host_deaf, host});
    config.allowed.assign(config.hosts, cause_bit(Cause::never_answered) | cause_bit(Cause::not_heard) |
                                            cause_bit(Cause::cut_off) | cause_bit(Cause::stopped_answering));
    add_traffic(config, random, {});
}

/// Somebody forges ICMP messages all the time, before anybody has met and after.
void false_news(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.io.answers_liveness = random.chance(0.5);
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    for (int i = 0; i < 400; ++i) {
        const auto host = pick_host(config, random);
        const auto other =
            (host + 1 + static_cast<std::uint32_t>(random.between(0, config.hosts - 2))) % config.hosts;
        config.faults.push_back({pick_time(random, microseconds(0), milliseconds(8)), Fault::Kind::false_news,
                                 host, other, random.chance(0.5) ? 1U : 0U});
    }
    add_traffic(config, random, {});
}

void slow_queue(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 3, 6);
    config.net.down.ps_per_byte = random.chance(0.5) ? 8000 : 2000; // 1 or 4 Gbit/s
    config.net.down.queue_bytes = static_cast<std::uint32_t>(random.between(20'000, 200'000));
    config.net.down.mark_bytes = config.net.down.queue_bytes / 3;
    add_traffic(config, random, {.budget = 8 << 20});
}

void unequal_paths(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.net.spine_spread = pick(random, microseconds(10), microseconds(500));
    config.net.loss = 0.01;
    config.net.spines = static_cast<std::uint32_t>(random.between(2, 64));
    add_traffic(config, random, {});
}

void mtu_changes(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 3);
    config.host.io.caps.max_packet = 8972;
    for (int index = 0; index < 4; ++index) {
        const std::uint32_t from = pick_host(config, random);
        const std::uint32_t to = (from + 1) % config.hosts;
        config.faults.push_back({pick_time(random, milliseconds(0), milliseconds(5)), Fault::Kind::mtu, from,
                                 to, random.chance(0.5) ? 8972 : random.between(1232, 8972)});
    }
    add_traffic(config, random, {});
}

/// A size of packets that a host or a path may have.
std::uint32_t pick_packet(SimRandom& random)
{
    constexpr std::array usual{1232U, 1472U, 4068U, 8972U};
    return random.chance(0.7) ? usual[random.between(0, usual.size() - 1)]
                              : static_cast<std::uint32_t>(random.between(1232, 8972));
}

/// What a host sends before it has heard how much the other one takes may be too long for it, and so may what
/// it sends after its own path has grown.
void mixed_mtu(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 5);
    for (std::uint32_t host = 0; host < config.hosts; ++host) {
        config.max_packets.push_back(pick_packet(random));
    }
    config.max_packets[0] = 1232;
    config.max_packets[1] = 8972;
    for (auto count = random.between(0, 6); count > 0; --count) {
        const std::uint32_t from = pick_host(config, random);
        const auto to =
            static_cast<std::uint32_t>((from + random.between(1, config.hosts - 1)) % config.hosts);
        config.faults.push_back({pick_time(random, milliseconds(0), milliseconds(6)), Fault::Kind::mtu, from,
                                 to, random.chance(0.5) ? 8972 : pick_packet(random)});
    }
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    add_traffic(config, random, {.budget = 8 << 20});
}

/// Releases before, of and after this one meet, some sealed, while hellos are lost and hosts restart with
/// another.
void releases(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 5);
    constexpr std::uint8_t v = base_version;
    const std::array<Dialect, 4> known{Dialect::untold(), Dialect{}, Dialect{v, v + 1, ~std::uint64_t{0}},
                                       Dialect{v, v + 2, 0x5555}};
    for (std::uint32_t host = 0; host < config.hosts; ++host) {
        config.dialects.push_back(known[(host + config.seed) % known.size()]);
    }
    config.host.sealed = random.chance(0.3);
    config.net.loss = random.chance(0.5) ? 0.05 : 0;
    config.net.reorder = 0.1;
    add_traffic(config, random, {.budget = 4 << 20});
}

void shrinking_mtu(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 3);
    config.host.io.caps.max_packet = 8972;
    config.host.io.mtu_delay = pick(random, microseconds(20), milliseconds(5));
    std::vector<std::uint32_t> sizes(random.between(2, 4));
    std::generate(sizes.begin(), sizes.end(), [&] { return pick_packet(random); });
    std::sort(sizes.rbegin(), sizes.rend());
    sizes.push_back(1232);
    for (auto up = sizes.size() - 1; up-- > 0;) {
        sizes.push_back(sizes[up]);
    }
    sizes.push_back(8972);
    for (std::uint32_t from = 0; from < config.hosts; ++from) {
        for (std::uint32_t to = 0; to < config.hosts; ++to) {
            Time at = pick_time(random, milliseconds(0), milliseconds(1));
            for (const std::uint32_t size : sizes) {
                if (from != to) {
                    config.faults.push_back({at, Fault::Kind::mtu, from, to, size});
                }
                at += pick(random, microseconds(100), milliseconds(2));
            }
        }
    }
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    add_traffic(config, random, {.horizon = milliseconds(10), .budget = 8 << 20});
}

/// A switch or a tunnel on the way drops what is too long for it, and no word of it gets through: from the
/// start, from the middle on, or for a while.
void silent_mtu(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 3);
    config.host.io.caps.max_packet = 8972;
    for (std::uint32_t from = 0; from < config.hosts; ++from) {
        for (std::uint32_t to = 0; to < config.hosts; ++to) {
            Time at = random.chance(0.5) ? Time{} : pick_time(random, milliseconds(0), milliseconds(8));
            for (auto changes = random.between(0, 3); changes > 0 && from != to; --changes) {
                config.faults.push_back({at, Fault::Kind::black_hole, from, to, pick_packet(random)});
                at += pick(random, milliseconds(1), milliseconds(400));
            }
        }
    }
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    add_traffic(config, random, {.horizon = milliseconds(10), .budget = 8 << 20});
    add_traffic(config, random, {.messages = 60, .horizon = milliseconds(800), .longest = 100'000});
}

/// Somebody floods hosts with forged introductions, from before they meet. There are hardly more records
/// than hosts: whoever got one would keep another out.
void strangers(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 5);
    config.host.limits.max_peers = config.hosts;
    config.net.loss = random.chance(0.3) ? 0.01 : 0;
    for (auto floods = random.between(20, 60); floods > 0; --floods) {
        const Time at = random.chance(0.3) ? Time{} : pick_time(random, milliseconds(0), milliseconds(8));
        config.faults.push_back({at, Fault::Kind::stranger, pick_host(config, random),
                                 pick_host(config, random), random.between(1, 300)});
    }
    add_traffic(config, random, {.budget = 6 << 20});
}

/// All traffic is sealed, on an ordinary network.
void sealed(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.sealed = true;
    config.host.io.caps.max_packet = pick_packet(random);
    config.host.io.partial_burst = random.chance(0.5) ? 0.1 : 0;
    config.net.loss = random.chance(0.5) ? 0.02 : 0;
    config.net.duplicate = random.chance(0.5) ? 0.02 : 0;
    config.net.reorder = random.chance(0.5) ? 0.2 : 0;
    config.net.reorder_max = milliseconds(1);
    add_traffic(config, random, {.budget = 3 << 20});
}

/// The job key is replaced while everybody meets everybody: by another one, or again and again. What is lost
/// must not make a handshake take longer than a key that is no longer sent with stands in the file.
void new_keys(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 3, 8);
    config.host.sealed = true;
    const bool once = random.chance(0.7);
    config.host.key_steps = once ? 2 : 1000;
    config.host.key_step = once ? pick(random, microseconds(20), milliseconds(3))
                                : pick(random, milliseconds(1), milliseconds(5));
    config.net.loss = once && random.chance(0.5) ? 0.05 : 0;
    config.net.duplicate = random.chance(0.5) ? 0.1 : 0;
    config.net.reorder = once && random.chance(0.5) ? 0.2 : 0;
    config.net.reorder_max = microseconds(200);
    add_traffic(config, random, {.budget = 1 << 20});
}

/// Somebody on the way sees everything and does what he likes; of what he does, only loss and delay have an
/// effect.
void meddling(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.sealed = true;
    config.net.meddling = random.chance(0.5) ? 0.02 : 0.2;
    config.net.loss = random.chance(0.5) ? 0.02 : 0;
    for (auto floods = random.between(0, 5); floods > 0; --floods) {
        config.faults.push_back({pick_time(random, milliseconds(0), milliseconds(8)), Fault::Kind::stranger,
                                 pick_host(config, random), pick_host(config, random), 20});
    }
    add_traffic(config, random, {.budget = 2 << 20});
}

/// Hosts have up to four interfaces, all in one network or each in one of its own. Interfaces fail and come
/// back, the first ones too; one that works in every plane is left.
void rails(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    for (std::uint32_t host = 0; host < config.hosts; ++host) {
        config.rails.push_back(static_cast<std::uint8_t>(random.between(1, max_rails)));
    }
    config.rails[0] = config.rails[1] = 2;
    config.net.planes = random.chance(0.5);
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    config.host.sealed = random.chance(0.2);
    config.host.io.caps.burst_packets = random.chance(0.5) ? std::uint16_t{40} : std::uint16_t{1};
    const bool all_have_several =
        std::all_of(config.rails.begin(), config.rails.end(), [](auto count) { return count > 1; });
    const std::uint32_t failing =
        all_have_several && random.chance(0.5) ? 0 : 1; // of each host, or of a plane
    for (auto count = random.between(0, 6); count > 0; --count) {
        const std::uint32_t host = pick_host(config, random);
        if (config.rails[host] > 1) {
            const Time down = pick_time(random, milliseconds(failing == 0 ? 3 : 0), milliseconds(8));
            config.faults.push_back({down, Fault::Kind::rail_down, host, failing});
            config.faults.push_back({down + pick(random, microseconds(100), milliseconds(100)),
                                     Fault::Kind::rail_up, host, failing});
        }
    }
    add_traffic(config, random, {.horizon = milliseconds(10), .budget = 6 << 20});
}

constexpr std::array network_table{
    Scenario{"lossless", "nothing goes wrong", lossless},
    Scenario{"loss", "1 % of the datagrams are lost, singly or in bursts", loss},
    Scenario{"heavy_loss", "5 % or 20 % are lost", heavy_loss},
    Scenario{"duplication", "datagrams arrive twice", duplication},
    Scenario{"reordering", "datagrams overtake each other", reordering},
    Scenario{"corruption", "datagrams arrive with flipped bits", corruption},
    Scenario{"mangled", "headers and acknowledgements are changed on the way, under a right checksum",
             mangled},
    Scenario{"blackholes", "up to 48 of 64 paths swallow everything for a while or for good", blackholes},
    Scenario{"rolling_repair", "switches are down in turn, each of them a good part of the paths",
             rolling_repair},
    Scenario{"blackout", "a host is cut off for less than peer_timeout", blackout},
    Scenario{"one_way",
             "a host receives nothing for less than peer_timeout, and sends, as one whose address is changed "
             "and back",
             one_way},
    Scenario{
        "deaf",
        "a host receives nothing any more, as one whose address has changed, and its process is seen to read",
        deaf},
    Scenario{"false_news", "forged ICMP messages say that peers are gone, and harm nobody", false_news},
    Scenario{"strangers", "forged introductions and other packets of those who see no traffic", strangers},
    Scenario{"sealed", "traffic is sealed with a job key", sealed},
    Scenario{"new_keys", "sealed, and the job key is replaced while hosts meet", new_keys},
    Scenario{"meddling", "sealed, and somebody on the way changes, repeats and forges", meddling},
    Scenario{"slow_queue", "the receivers' links are slow, with short queues that mark and drop", slow_queue},
    Scenario{"unequal_paths", "paths differ in delay, and 1 % is lost", unequal_paths},
    Scenario{"mtu_changes", "a path's MTU changes under way", mtu_changes},
    Scenario{"releases", "hosts speak other versions and have other features", releases},
    Scenario{"rails", "hosts have several interfaces, some of which fail and come back", rails},
    Scenario{"mixed_mtu", "hosts take packets of different sizes, and MTUs change under way", mixed_mtu},
    Scenario{"silent_mtu", "paths swallow packets that are too long for them", silent_mtu},
    Scenario{"shrinking_mtu", "every MTU shrinks to the smallest and grows again", shrinking_mtu},
};

} // namespace

std::span<const Scenario> network_scenarios()
{
    return network_table;
}

} // namespace srd::sim
