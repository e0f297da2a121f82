// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <functional>
#include <random>

#include "cc/swift.hpp"
#include "support/catch.hpp"

using srd::AckSample;
using srd::CongestionLimits;
using srd::Duration;
using srd::LossSample;
using srd::PathId;
using srd::Swift;
using srd::Time;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t packet = 4000;
const CongestionLimits limits{
    .window_start = 16 * packet,
    .window_min = packet,
    .window_max = 512 * packet,
    .packet_size = packet,
    .target_delay = 50us,
};
constexpr Duration base = 20us;
const Time start{Duration(1000s)};

/// Feeds acknowledgements of one packet each, spread over round trips.
struct Sender {
    Swift swift{limits};
    Time now = start;
    std::uint8_t path = 0;
    std::uint8_t paths = 64;

    /// `rounds` round trips; `rtt_of(path)` and `marked_of(path)` say what the network does.
    void run(
        int rounds, const std::function<Duration(unsigned)>& rtt_of,
        const std::function<bool(unsigned)>& marked_of = [](unsigned) { return false; }, bool limited = true)
    {
        for (int round = 0; round < rounds; ++round) {
            const std::uint32_t packets = std::max(1U, swift.window_bytes() / packet);
            const Duration step = rtt_of(15) / packets;
            for (std::uint32_t i = 0; i < packets; ++i) {
                now += step;
                path = static_cast<std::uint8_t>((path + 1) % paths);
                swift.on_ack({now, rtt_of(path), packet, swift.window_bytes(), PathId{path},
                              marked_of(path) ? packet : 0, limited});
            }
        }
    }
    void run_at(int rounds, Duration rtt)
    {
        run(rounds, [rtt](unsigned) { return rtt; });
    }
    std::uint32_t window() const { return swift.window_bytes(); }
};

} // namespace

TEST_CASE("Swift: starts where it is told, within the limits")
{
    CHECK(Swift(limits).window_bytes() == limits.window_start);
    CongestionLimits odd = limits;
    odd.window_start = 1;
    CHECK(Swift(odd).window_bytes() == odd.window_min);
    odd.window_start = 1U << 31;
    CHECK(Swift(odd).window_bytes() == odd.window_max);
    CHECK(Swift(CongestionLimits{}).window_bytes() >= 1);
    CHECK(Swift(limits).pacing_gap(packet) == 0ns);
}

TEST_CASE("Swift: grows faster and faster while there is no delay, but does not double beyond its start")
{
    Sender sender;
    sender.run_at(1, base);
    CHECK(sender.window() > limits.window_start);
    CHECK(sender.window() <= limits.window_start + 2 * packet);
    sender.run_at(9, base);
    const std::uint32_t ten_rounds = sender.window() - limits.window_start;
    CHECK(ten_rounds > 20 * packet);
    sender.run_at(10, base);
    CHECK(sender.window() - limits.window_start > 5 * ten_rounds / 2);
    sender.run_at(40, base);
    CHECK(sender.window() == limits.window_max);
    sender.run_at(1, base + 400us);
    sender.run_at(1, base + 400us);
    const std::uint32_t reduced = sender.window();
    CHECK(reduced < limits.window_max);
    sender.run_at(2, base);
    CHECK(sender.window() < reduced + reduced / 2); // no more doubling
}

TEST_CASE("Swift: does not grow when the window is not what limits")
{
    Sender sender;
    sender.run(
        50, [](unsigned) { return base; }, [](unsigned) { return false; }, false);
    CHECK(sender.window() == limits.window_start);
}

TEST_CASE("Swift: delay above the target shrinks, by half at most and once per round trip")
{
    Sender sender;
    sender.run_at(6, base);
    const std::uint32_t before = sender.window();
    const Time at = sender.now;
    // A whole window of late samples within an instant: one decrease.
    for (std::uint8_t i = 0; i < 64; ++i) {
        sender.swift.on_ack({at, 5ms, packet, before, PathId{i}, 0, true});
    }
    CHECK(sender.window() >= before / 2);
    CHECK(sender.window() < before);
}

TEST_CASE("Swift: the further above the target, the larger the decrease")
{
    std::uint32_t previous = limits.window_max;
    for (const Duration queue : {Duration(80us), Duration(120us), Duration(200us)}) {
        Sender sender;
        sender.run_at(6, base);
        sender.run_at(1, base + queue);
        CHECK(sender.window() < previous);
        previous = sender.window();
    }
}

TEST_CASE("Swift: persistent delay drives it to the minimum, never below, and it comes back")
{
    Sender sender;
    sender.run_at(4, base);
    sender.run_at(60, base + 10ms);
    CHECK(sender.window() == limits.window_min);
    sender.run_at(60, base);
    CHECK(sender.window() > 100 * packet);
}

TEST_CASE("Swift: settles where the delay is at the target")
{
    // A bottleneck of 100 packets per 20 us base round trip shared with nobody: queueing
    // delay grows with the window beyond it.
    Sender sender;
    const auto rtt_of = [&](unsigned) {
        const std::uint32_t packets = sender.window() / packet;
        return std::max<Duration>(base, base * packets / 100);
    };
    sender.run(20, [](unsigned) { return base; });
    sender.run(400, rtt_of);
    const Duration queue = rtt_of(0) - base;
    CHECK(queue > 20us);
    CHECK(queue < 80us);
}

TEST_CASE("Swift: a minority of bad paths is not congestion")
{
    Sender sender;
    sender.run(60, [](unsigned path) { return path * 7 % 16 < 5 ? Duration(base + 5ms) : base; });
    CHECK(sender.window() == limits.window_max);
    sender.run(
        20, [](unsigned) { return base; }, [](unsigned path) { return path * 7 % 16 < 5; });
    CHECK(sender.window() == limits.window_max);
}

TEST_CASE("Swift: a quarter of the samples marked ends growth, not more")
{
    Sender sender;
    sender.run(
        40, [](unsigned) { return base; }, [](unsigned path) { return path % 16 >= 10; });
    CHECK(sender.window() <= limits.window_start + 16 * packet);
    CHECK(sender.window() >= limits.window_start);
}

TEST_CASE("Swift: a majority of bad paths is")
{
    Sender sender;
    sender.run_at(8, base);
    sender.run(4, [](unsigned path) { return path * 7 % 16 < 11 ? Duration(base + 5ms) : base; });
    CHECK(sender.window() < limits.window_max / 4);
}

TEST_CASE("Swift: a burst of samples from one path is one opinion")
{
    Sender sender;
    sender.run_at(4, base);
    const std::uint32_t before = sender.window();
    for (int i = 0; i < 100; ++i) {
        sender.swift.on_ack({sender.now, 5ms, packet, before, PathId{3}, packet, true});
    }
    CHECK(sender.window() >= before);
}

TEST_CASE("Swift: with a single path the latest sample is the signal")
{
    Sender sender;
    sender.paths = 1;
    sender.run_at(4, base);
    const std::uint32_t before = sender.window();
    sender.run_at(2, base + 1ms);
    CHECK(sender.window() < before * 2 / 3);
}

TEST_CASE("Swift: with two samples per round trip it still answers within a few")
{
    Sender sender;
    sender.run_at(5, base);
    const auto sparse = [&](int rounds, Duration rtt) {
        for (int i = 0; i < 2 * rounds; ++i) {
            sender.now += rtt / 2;
            sender.path = static_cast<std::uint8_t>((sender.path + 1) % 64);
            sender.swift.on_ack({sender.now, rtt, 32 * packet, 64 * packet, PathId{sender.path}, 0, false});
        }
    };
    sparse(20, base);
    const std::uint32_t before = sender.window();
    sparse(4, 500us);
    CHECK(sender.window() < before);
}

TEST_CASE("Swift: marks on most packets shrink moderately")
{
    Sender sender;
    sender.run_at(6, base);
    const std::uint32_t before = sender.window();
    sender.run(
        2, [](unsigned) { return base; }, [](unsigned) { return true; });
    CHECK(sender.window() < before);
    CHECK(sender.window() > before / 2);
}

TEST_CASE("Swift: half of the bytes must be marked twice in a row, of three quarters once is enough")
{
    for (const auto& [rounds, of_four, shrinks] :
         {std::tuple{1, 3U, false}, {2, 3U, true}, {1, 4U, true}, {2, 2U, false}}) {
        Sender sender;
        sender.run_at(4, base);
        const auto round = [&](std::uint32_t marked) { // told by one acknowledgement, which ends it
            sender.now += base + 1us;
            sender.swift.on_ack({sender.now, base, 40 * packet, 40 * packet, PathId{5}, marked, false});
        };
        round(0);
        const std::uint32_t before = sender.window();
        for (int i = 0; i < rounds; ++i) {
            round(10 * of_four * packet - packet);
        }
        CHECK((sender.window() < before) == shrinks);
    }
}

TEST_CASE("Swift: among marks it grows by a packet per round trip, however few they are")
{
    Sender sender;
    sender.run(
        10, [](unsigned) { return base; }, [](unsigned path) { return path % 16 == 0; });
    CHECK(sender.window() > limits.window_start + 5 * packet);
    CHECK(sender.window() <= limits.window_start + 11 * packet);
    Sender alone;
    alone.run_at(10, base);
    CHECK(alone.window() > limits.window_start + 30 * packet);
}

TEST_CASE("Swift: marks count by bytes, not by the packets that are echoed")
{
    Swift swift(limits);
    Time now = start;
    for (int i = 0; i < 64; ++i) { // each acknowledgement is of 8 packets, of which 6 bear a mark
        now += 2us;
        swift.on_ack(
            {now, base, 8 * packet, 16 * packet, PathId(static_cast<std::uint8_t>(i)), 6 * packet, true});
    }
    CHECK(swift.window_bytes() < limits.window_start);
}

TEST_CASE("Swift: one percent of random loss costs nothing")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    Sender sender;
    sender.run_at(8, base);
    for (int i = 0; i < 20'000; ++i) {
        sender.now += 1us;
        if (random() % 100 == 0) {
            sender.swift.on_loss({sender.now, packet, sender.window(), false});
        } else {
            const PathId path{static_cast<std::uint8_t>(i % 64)};
            sender.swift.on_ack({sender.now, base, packet, sender.window(), path, 0, true});
        }
    }
    CHECK(sender.window() > limits.window_max * 3 / 4);
}

TEST_CASE("Swift: a single loss among few packets is random as well")
{
    CongestionLimits small = limits;
    small.window_max = 4 * packet;
    small.window_start = 4 * packet;
    Swift swift(small);
    Time now = start;
    for (int i = 0; i < 1000; ++i) {
        now += 5us;
        if (i % 50 == 49) {
            swift.on_loss({now, packet, 4 * packet, false});
        }
        swift.on_ack({now, base, packet, 4 * packet, PathId{static_cast<std::uint8_t>(i % 64)}, 0, true});
    }
    CHECK(swift.window_bytes() == small.window_max);
}

TEST_CASE("Swift: heavy loss shrinks in proportion")
{
    const auto after_round_with = [](int lost_of_100) {
        Sender sender;
        sender.run_at(60, base);
        sender.now += 1ms; // a new round
        sender.swift.on_ack({sender.now, base, packet, sender.window(), PathId{9}, 0, false});
        for (int i = 0; i < 100; ++i) {
            if (i < lost_of_100) {
                sender.swift.on_loss({sender.now, packet, sender.window(), false});
            } else {
                sender.swift.on_ack({sender.now, base, packet, sender.window(), PathId{9}, 0, false});
            }
        }
        sender.now += 1ms;
        sender.swift.on_ack({sender.now, base, packet, sender.window(), PathId{9}, 0, false});
        return sender.window();
    };
    const std::uint32_t full = limits.window_max;
    CHECK(after_round_with(4) == full);
    const std::uint32_t tenth = after_round_with(12);
    CHECK(tenth < full);
    CHECK(tenth > full * 8 / 10);
    CHECK(after_round_with(30) < tenth);
    CHECK(after_round_with(95) >= full / 2 - packet);
}

TEST_CASE("Swift: a timeout starts over small and is soon back")
{
    Sender sender;
    sender.run_at(60, base);
    sender.swift.on_loss({sender.now, packet, sender.window(), true});
    CHECK(sender.window() == limits.window_min);
    sender.swift.on_loss({sender.now, packet, sender.window(), true}); // a second says nothing new
    CHECK(sender.window() == limits.window_min);
    sender.run_at(10, base);
    CHECK(sender.window() > limits.window_max * 4 / 10);
}

TEST_CASE("Swift: a timeout before any sample, and a loss before any acknowledgement")
{
    Swift swift(limits);
    swift.on_loss({start, packet, packet, false});
    CHECK(swift.window_bytes() == limits.window_start);
    swift.on_loss({start, packet, packet, true});
    CHECK(swift.window_bytes() == limits.window_min);
    swift.on_ack({start, 0ns, packet, packet, PathId{0}, 0, true});
    CHECK(swift.window_bytes() == 2 * packet);
}

TEST_CASE("Swift: paces one or two packets over the round trip, never bulk")
{
    Sender sender;
    sender.run_at(8, base);
    CHECK(sender.swift.pacing_gap(packet) == 0ns);
    sender.run_at(60, base + 10ms);
    REQUIRE(sender.window() == packet);
    const Duration gap = sender.swift.pacing_gap(packet);
    CHECK(gap > 5ms);
    CHECK(gap < 11ms);
    CHECK(sender.swift.pacing_gap(packet / 10) < gap / 9);
    CHECK(sender.swift.pacing_gap(0) == 0ns);
}

TEST_CASE("Swift: when the path carries smaller packets, its least window and its pacing are theirs")
{
    CongestionLimits large = limits;
    large.packet_size = 9000;
    large.window_min = 18'000;
    large.window_max = 1'000'000;
    Swift swift(large);
    swift.set_packet_size(1500, 3000, 1);
    swift.on_ack({.now = Time(1ms), .rtt = 100us, .acked_bytes = 1500});
    swift.on_loss({.now = Time(2ms), .lost_bytes = 1500, .timeout = true});
    CHECK(swift.window_bytes() == 3000);
    CHECK(swift.pacing_gap(1500) > srd::Duration::zero());
    swift.set_packet_size(9000, 18'000, 1);
    CHECK(swift.window_bytes() == 18'000); // at least two packets, always
}

TEST_CASE("Swift: a longer base is believed after the old one is forgotten")
{
    Sender sender;
    sender.run_at(4, base);
    sender.run_at(40, 500us); // the route has changed: looks like queueing
    CHECK(sender.window() < 4 * packet);
    sender.now += 11s;
    sender.run_at(40, 500us);
    CHECK(sender.window() > 100 * packet);
}

TEST_CASE("Swift: acknowledgements without a sample neither shrink nor break")
{
    Sender sender;
    sender.run_at(3, base);
    sender.run_at(1, base + 1ms);
    const std::uint32_t before = sender.window();
    for (int i = 0; i < 1000; ++i) {
        sender.now += 100us;
        sender.swift.on_ack({sender.now, 0ns, packet, before, PathId{1}, 0, true});
    }
    CHECK(sender.window() >= before);
}

TEST_CASE("Swift: two senders of unequal windows converge")
{
    Sender first;
    Sender second;
    first.run_at(5, base); // far ahead
    second.run(
        1, [](unsigned) { return base; }, [](unsigned) { return false; },
        false); // has seen the base, no more
    const auto rtt_of = [&](unsigned) {
        const std::uint32_t packets = (first.window() + second.window()) / packet;
        return std::max<Duration>(base, base * packets / 100);
    };
    for (int round = 0; round < 3000; ++round) {
        first.run(1, rtt_of);
        second.run(1, rtt_of);
    }
    const double ratio = static_cast<double>(first.window()) / second.window();
    CHECK(ratio < 1.6);
    CHECK(ratio > 1 / 1.6);
}

TEST_CASE("Swift: stays within its limits whatever it is told")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    Swift swift(limits);
    Time now = start;
    for (int i = 0; i < 100'000; ++i) {
        now += Duration(random() % (random() % 1000 == 0 ? 4'000'000'000U : 50'000U));
        const std::uint32_t bytes = static_cast<std::uint32_t>(random() % 100'000);
        if (random() % 20 == 0) {
            swift.on_loss({now, bytes, bytes, random() % 10 == 0});
        } else {
            const Duration rtt{random() % 4 == 0 ? 0 : static_cast<std::int64_t>(random())};
            swift.on_ack({now, rtt, bytes, bytes, PathId{static_cast<std::uint8_t>(random())},
                          static_cast<std::uint32_t>(random() % (bytes + 1ULL)), random() % 2 == 0});
        }
        REQUIRE(swift.window_bytes() >= limits.window_min);
        REQUIRE(swift.window_bytes() <= limits.window_max);
        REQUIRE(swift.pacing_gap(packet) >= 0ns);
        REQUIRE(swift.pacing_gap(packet) < 10s);
    }
}

TEST_CASE("Swift: interfaces that share a window do not starve each other")
{
    for (const unsigned lanes : {1U, 2U, 4U}) {
        Swift swift(limits);
        swift.set_packet_size(packet, limits.window_min, lanes);
        Time now = start;
        for (int i = 0; i < 200; ++i, now += 10ms) {
            swift.on_ack(
                {.now = now, .rtt = i == 0 ? 10us : 5ms, .acked_bytes = packet, .path = PathId(i % 8)});
        }
        CHECK(swift.window_bytes() == limits.window_min * (2 * lanes - 1));
    }
}
