// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <map>
#include <random>
#include <vector>

#include "support/catch.hpp"
#include "timing_wheel.hpp"

using srd::Duration;
using srd::Time;
using srd::TimingWheel;
using namespace std::chrono_literals;

namespace {

const Time origin{Duration(123'456'789'012)};

std::vector<std::uint32_t> expire(TimingWheel& wheel, Time now)
{
    std::vector<std::uint32_t> fired;
    wheel.expire(now, [&](std::uint32_t id) { fired.push_back(id); });
    return fired;
}

/// A duration whose magnitude, not its value, is uniform: nanoseconds to an hour.
Duration random_duration(std::mt19937_64& random)
{
    const unsigned bits = static_cast<unsigned>(random() % 42);
    return Duration(static_cast<std::int64_t>(random() & ((std::uint64_t{1} << bits) - 1)));
}

} // namespace

TEST_CASE("TimingWheel: an empty wheel has nothing to say")
{
    TimingWheel wheel(10, origin);
    CHECK(wheel.next() == srd::time_never);
    CHECK(expire(wheel, origin + 24h).empty());
    CHECK(wheel.next() == srd::time_never);
    CHECK_FALSE(wheel.armed(3));
    wheel.cancel(3);
    CHECK(wheel.armed_count() == 0);
}

TEST_CASE("TimingWheel: fires exactly at next(), never early, at most a tick late")
{
    for (const Duration delay : {Duration(1), Duration(4095), Duration(4096), Duration(4097), Duration(300us),
                                 Duration(16ms), Duration(5s), Duration(1h), Duration(24h * 365)}) {
        TimingWheel wheel(2, origin);
        const Time deadline = origin + delay;
        wheel.arm(1, deadline);
        REQUIRE(wheel.armed(1));
        CHECK(expire(wheel, deadline - Duration(1)).empty());
        const Time due = wheel.next();
        CHECK(due >= deadline);
        CHECK(due < deadline + TimingWheel::resolution);
        CHECK(expire(wheel, due - Duration(1)).empty());
        CHECK(wheel.next() == due);
        CHECK(expire(wheel, due) == std::vector<std::uint32_t>{1});
        CHECK_FALSE(wheel.armed(1));
        CHECK(wheel.next() == srd::time_never);
    }
}

TEST_CASE("TimingWheel: the far end of time is no horizon")
{
    TimingWheel wheel(3, origin);
    wheel.arm(0, srd::time_never - Duration(1));
    wheel.arm(1, origin + 1s);
    CHECK(wheel.next() < origin + 1s + TimingWheel::resolution);
    CHECK(expire(wheel, origin + 2s) == std::vector<std::uint32_t>{1});
    const Time due = wheel.next();
    CHECK(due > origin + 24h * 365 * 100);
    CHECK(due < srd::time_never);
    wheel.arm(0, srd::time_never);
    CHECK_FALSE(wheel.armed(0));
    CHECK(wheel.next() == srd::time_never);
}

TEST_CASE("TimingWheel: a deadline in the past fires with the next call, not within the running one")
{
    TimingWheel wheel(4, origin);
    REQUIRE(expire(wheel, origin + 1s).empty());
    wheel.arm(2, origin - 5s);
    wheel.arm(3, origin + 1ms);
    CHECK(wheel.next() <= origin + 1s);
    int calls = 0;
    const auto again = [&](std::uint32_t id) {
        ++calls;
        wheel.arm(id, origin);
    };
    wheel.expire(origin + 1s, again);
    CHECK(calls == 2);
    wheel.expire(origin + 1s, again);
    CHECK(calls == 4);
    CHECK(expire(wheel, origin + 1s).size() == 2);
    CHECK(wheel.next() == srd::time_never);
}

TEST_CASE("TimingWheel: the callback may arm and cancel any id")
{
    TimingWheel wheel(8, origin);
    const Time deadline = origin + 100us;
    for (std::uint32_t id = 0; id < 4; ++id) {
        wheel.arm(id, deadline);
    }
    std::vector<std::uint32_t> fired;
    wheel.expire(origin + 10ms, [&](std::uint32_t id) {
        if (fired.empty()) {
            for (std::uint32_t other = 0; other < 4; ++other) {
                if (other != id) {
                    wheel.cancel(other);
                }
            }
            wheel.arm(6, origin + 5ms);  // due in this very call
            wheel.arm(7, origin + 20ms); // not yet
        }
        fired.push_back(id);
    });
    REQUIRE(fired.size() == 2);
    CHECK(fired[1] == 6);
    CHECK(wheel.armed_count() == 1);
    CHECK(expire(wheel, origin + 21ms) == std::vector<std::uint32_t>{7});
}

TEST_CASE("TimingWheel: arming again replaces, also within a callback and to an earlier time")
{
    TimingWheel wheel(2, origin);
    wheel.arm(0, origin + 1s);
    wheel.arm(0, origin + 1ms);
    CHECK(wheel.armed_count() == 1);
    CHECK(wheel.next() < origin + 1ms + TimingWheel::resolution);
    wheel.arm(0, origin + 2s);
    CHECK(expire(wheel, origin + 1s + 500ms).empty());
    CHECK(expire(wheel, origin + 3s) == std::vector<std::uint32_t>{0});
    CHECK(wheel.next() == srd::time_never);
}

TEST_CASE("TimingWheel: time that goes backwards does nothing")
{
    TimingWheel wheel(2, origin);
    wheel.arm(0, origin + 2ms);
    REQUIRE(expire(wheel, origin + 1ms).empty());
    CHECK(expire(wheel, origin - 1s).empty());
    CHECK(expire(wheel, origin).empty());
    CHECK(wheel.armed(0));
    CHECK(expire(wheel, origin + 3ms).size() == 1);
}

TEST_CASE("TimingWheel: sleeping until next() wakes at most a few times for nothing")
{
    std::mt19937_64 random(7);
    for (int round = 0; round < 200; ++round) {
        TimingWheel wheel(1, origin);
        wheel.arm(0, origin + random_duration(random));
        int wakeups = 0;
        Time last = origin - Duration(1);
        while (wheel.next() != srd::time_never) {
            const Time now = wheel.next();
            REQUIRE(now > last);
            last = now;
            ++wakeups;
            wheel.expire(now, [](std::uint32_t) {});
        }
        REQUIRE(wakeups == 1);
    }
}

TEST_CASE("TimingWheel: agrees with an ordered map")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    constexpr std::uint32_t ids = 200;
    TimingWheel wheel(ids, origin);
    std::map<std::uint32_t, Time> model;
    Time now = origin;
    for (int step = 0; step < 60000; ++step) {
        const auto id = static_cast<std::uint32_t>(random() % ids);
        switch (random() % 4) {
        case 0:
        case 1: {
            const Time deadline = now + random_duration(random) - Duration(random() % 3 == 0 ? 10000 : 0);
            wheel.arm(id, deadline);
            model[id] = deadline;
            break;
        }
        case 2:
            wheel.cancel(id);
            model.erase(id);
            break;
        default: {
            const bool sleep = random() % 2 == 0 && wheel.next() != srd::time_never;
            const Time from = now;
            now = sleep ? std::max(now, wheel.next()) : now + random_duration(random) / 64;
            Time previous = from;
            wheel.expire(now, [&](std::uint32_t fired) {
                REQUIRE(model.count(fired) == 1);
                const Time deadline = model[fired];
                REQUIRE(deadline <= now); // never early
                const Time due = std::max(deadline, from);
                REQUIRE(due > previous - TimingWheel::resolution); // in order, to the tick
                previous = due;
                model.erase(fired);
            });
            for (const auto& [left, deadline] : model) {
                REQUIRE(wheel.armed(left));
                REQUIRE(deadline + TimingWheel::resolution > now); // at most a tick late
            }
            REQUIRE(wheel.next() > now);
            break;
        }
        }
        REQUIRE(wheel.armed_count() == model.size());
        REQUIRE((wheel.next() == srd::time_never) == model.empty());
        for (const auto& [armed, deadline] : model) {
            REQUIRE(wheel.next() < std::max(deadline, now) + TimingWheel::resolution);
        }
    }
}
