// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <vector>

#include "peer/path_mtu.hpp"
#include "support/catch.hpp"

using namespace srd;
using namespace std::chrono_literals;
using Outcome = PathMtu::Outcome;

namespace {

/// A path that carries packets of `carries` bytes at most, and a peer at its end.
struct Path {
    explicit Path(std::uint32_t ceiling, std::uint32_t path_carries) : mtu(ceiling), carries(path_carries)
    {
        mtu.begin(now);
    }

    /// Probes and answers, and timers, until nothing is due. The peer is heard all the time if `heard`.
    void run(bool heard = true, bool busy = true)
    {
        for (int steps = 0; steps < 1000 && (mtu.due() || mtu.next_timeout() <= now + 1s); ++steps) {
            if (mtu.due()) {
                const PathMtu::Probe probe = mtu.take(1ms, now);
                sizes.push_back(probe.size);
                now += 10us;
                heard_at = heard ? now : heard_at;
                if (probe.size <= carries && heard) {
                    REQUIRE(mtu.on_answer(probe, now));
                }
            } else {
                now = std::max(now, mtu.next_timeout());
                heard_at = heard ? now : heard_at;
                falls += mtu.on_timeout(heard_at, busy, now) == Outcome::fallen ? 1 : 0;
                if (!heard && sizes.size() + waits++ > 20) {
                    return;
                }
            }
        }
    }

    /// The search begins anew when its time has come.
    void search_again()
    {
        now = mtu.next_timeout();
        REQUIRE(mtu.on_timeout(heard_at, true, now) == Outcome::nothing);
        run();
    }

    PathMtu mtu;
    std::uint32_t carries;
    Time now{1h};
    Time heard_at{};
    std::vector<std::uint32_t> sizes; ///< asked for
    int falls = 0;
    std::size_t waits = 0;
};

} // namespace

TEST_CASE("PathMtu: what both ends take is asked for first, and one answer is enough")
{
    Path path(65507, 65507);
    CHECK(path.mtu.confirmed() == PathMtu::base);
    path.run();
    CHECK(path.mtu.confirmed() == 65507);
    CHECK(path.sizes == std::vector<std::uint32_t>{65507});
    CHECK(path.mtu.next_timeout() == time_never);
    CHECK_FALSE(path.mtu.take_finding());
}

TEST_CASE("PathMtu: where there is no network, nothing is asked")
{
    PathMtu mtu(PathMtu::base, true);
    mtu.begin(Time(1h));
    mtu.set_ceiling(65507, Time(1h));
    CHECK(mtu.confirmed() == 65507);
    mtu.suspect(Time(1h));
    CHECK_FALSE(mtu.due());
    CHECK(mtu.next_timeout() == time_never);
    mtu.set_ceiling(3000, Time(1h));
    CHECK(mtu.confirmed() == 3000);
    mtu.set_ceiling(9000, Time(1h));
    CHECK(mtu.confirmed() == 9000);
}

TEST_CASE("PathMtu: a path no wider than the base is not asked")
{
    Path path(1000, 1000);
    CHECK(path.mtu.confirmed() == 1000);
    CHECK_FALSE(path.mtu.due());
}

TEST_CASE("PathMtu: below a ceiling that fails the usual sizes are found soon, others by halving")
{
    Path usual(8972, 1472);
    usual.run();
    CHECK(usual.mtu.confirmed() == 1472);
    CHECK(usual.sizes.size() == 3 + 2 + 3 + 3); // the ceiling thrice, 1452, 1472, 8952 thrice, 1480 thrice
    CHECK_FALSE(usual.mtu.take_finding());      // it may have been a crowd
    usual.search_again();
    CHECK(usual.mtu.take_finding());
    CHECK_FALSE(usual.mtu.take_finding());
    usual.search_again();
    CHECK_FALSE(usual.mtu.take_finding());
    for (const std::uint32_t carries :
         {1232U, 1233U, 1300U, 1451U, 1453U, 3000U, 5000U, 8951U, 8960U, 8971U}) {
        Path path(8972, carries);
        path.run();
        CHECK(path.mtu.confirmed() <= carries);
        CHECK(path.mtu.confirmed() + PathMtu::precision > carries);
        CHECK(path.sizes.size() < 60);
    }
}

TEST_CASE("PathMtu: a peer that is not heard says nothing about the path")
{
    Path path(8972, 8972);
    path.run(false);
    CHECK(path.sizes == std::vector<std::uint32_t>{8972}); // and waits, without a further probe
    path.run();
    CHECK(path.mtu.confirmed() == 8972);
}

TEST_CASE("PathMtu: an idle peer has no timer, and the search goes on with traffic")
{
    Path path(8972, 1472);
    path.run(false, false);
    CHECK(path.mtu.next_timeout() == time_never);
    CHECK_FALSE(path.mtu.due());
    path.mtu.on_traffic(path.now);
    CHECK(path.mtu.due());
    path.run();
    CHECK(path.mtu.confirmed() == 1472);
}

TEST_CASE("PathMtu: only the latest question can be answered")
{
    Path path(8972, 8972);
    const PathMtu::Probe probe = path.mtu.take(1ms, path.now);
    CHECK_FALSE(path.mtu.on_answer({static_cast<std::uint16_t>(probe.number - 1), probe.size}, path.now));
    CHECK_FALSE(path.mtu.on_answer({probe.number, static_cast<std::uint16_t>(probe.size - 1)}, path.now));
    CHECK(path.mtu.confirmed() == PathMtu::base);
    CHECK(path.mtu.on_answer(probe, path.now));
    CHECK_FALSE(path.mtu.on_answer(probe, path.now));
}

TEST_CASE("PathMtu: a probe that was not sent is sent again, and none is counted")
{
    Path path(8972, 8972);
    path.mtu.take(1ms, path.now);
    path.mtu.unsent();
    CHECK(path.mtu.due());
    CHECK(path.mtu.next_timeout() == time_never);
}

TEST_CASE("PathMtu: it falls when a suspicion is confirmed, and only then")
{
    Path path(8972, 8972);
    path.run();
    path.sizes.clear();
    path.mtu.suspect(path.now);
    path.run();
    CHECK(path.sizes == std::vector<std::uint32_t>{8972}); // losses only
    CHECK(path.falls == 0);
    path.carries = 1472;
    path.mtu.suspect(path.now);
    path.run();
    CHECK(path.falls == 1);
    CHECK(path.mtu.confirmed() == 1472);
    path.search_again();
    CHECK(path.mtu.take_finding());
}

TEST_CASE("PathMtu: the base is not doubted")
{
    Path path(8972, 1232);
    path.run();
    path.now += 1s;
    path.sizes.clear();
    path.mtu.suspect(path.now);
    path.run();
    CHECK(path.sizes.empty());
}

TEST_CASE("PathMtu: after a time, and with traffic, the ceiling is asked for again")
{
    Path path(8972, 1472);
    path.run();
    path.sizes.clear();
    path.carries = 8972;
    const bool busy = GENERATE(false, true);
    path.now = path.mtu.next_timeout();
    CHECK(path.mtu.on_timeout(path.heard_at, busy, path.now) == Outcome::nothing);
    CHECK(path.mtu.due() == busy);
    path.mtu.on_traffic(path.now);
    path.run();
    CHECK(path.sizes == std::vector<std::uint32_t>{8972});
    CHECK(path.mtu.confirmed() == 8972);
    CHECK(path.mtu.next_timeout() == time_never);
}

TEST_CASE(
    "PathMtu: a search that was wrong is soon corrected, one that is right is repeated less and less often")
{
    Path path(8972, 1472);
    path.run();
    for (int search = 0; search < 12; ++search) {
        const Duration interval = path.mtu.next_timeout() - path.now;
        CHECK(interval >= std::min<Duration>(PathMtu::raise_first * (1 << search), PathMtu::raise_max));
        CHECK(interval < 2 * std::min<Duration>(PathMtu::raise_first * (1 << search), PathMtu::raise_max));
        path.search_again();
    }
    path.carries = 8972;
    path.search_again();
    CHECK(path.mtu.confirmed() == 8972);
    CHECK(path.mtu.next_timeout() == time_never);
    path.carries = 1472;
    path.mtu.suspect(path.now);
    path.run();
    CHECK(path.mtu.next_timeout() - path.now < 2 * PathMtu::raise_first); // all over
}

TEST_CASE("PathMtu: a ceiling that moves takes the MTU down at once, and up by asking")
{
    Path path(8972, 8972);
    path.run();
    path.mtu.set_ceiling(4000, path.now);
    CHECK(path.mtu.confirmed() == 4000);
    CHECK_FALSE(path.mtu.due());
    path.mtu.set_ceiling(1000, path.now);
    CHECK(path.mtu.confirmed() == 1000);
    path.mtu.set_ceiling(8000, path.now);
    CHECK(path.mtu.confirmed() == PathMtu::base);
    path.run();
    CHECK(path.mtu.confirmed() == 8000);
}

TEST_CASE("PathMtu: the latest probe of the peer is owed an answer")
{
    PathMtu mtu(8972);
    CHECK_FALSE(mtu.any_due());
    mtu.owe({1, 500});
    mtu.owe({2, 700});
    CHECK(mtu.any_due());
    CHECK(mtu.take_owed().size == 700);
    CHECK(mtu.take_owed().size == 0);
    CHECK_FALSE(mtu.any_due());
}
