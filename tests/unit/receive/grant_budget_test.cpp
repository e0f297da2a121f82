// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "receive/grant_budget.hpp"

#include <vector>

#include "support/catch.hpp"

namespace {

using namespace srd;

constexpr std::uint64_t most = 4U << 20;
constexpr std::uint64_t kib = 1024;

/// As many bytes as may be under way arrive, by turns from so many peers, the first `marked` KiB of them
/// marked.
bool round(GrantBudget& budget, std::uint32_t senders, std::uint64_t marked = 0)
{
    bool grown = false;
    const std::uint64_t all = budget.bytes() / kib;
    for (std::uint64_t at = 0; at < all; ++at) {
        grown = budget.on_arrived(static_cast<std::uint32_t>(at % senders), kib, at < marked) || grown;
    }
    return grown;
}

/// Several senders are known.
GrantBudget crowded()
{
    GrantBudget budget(most);
    budget.on_sender(0);
    budget.on_sender(1);
    return budget;
}

} // namespace

TEST_CASE("GrantBudget: one sender has all of it, whatever is marked")
{
    GrantBudget budget(most);
    budget.on_sender(0);
    CHECK(budget.bytes() == most);
    for (int i = 0; i < 5; ++i) {
        CHECK_FALSE(round(budget, 1, most / kib));
        CHECK(budget.bytes() == most);
    }
}

TEST_CASE("GrantBudget: it is crowded while several send who once had more under way than may be")
{
    GrantBudget one(most);
    one.on_unscheduled(0, 2 * most);
    CHECK_FALSE(one.is_crowded());

    GrantBudget budget = crowded();
    budget.on_unscheduled(1, budget.bytes());
    CHECK_FALSE(budget.is_crowded());
    budget.on_unscheduled(1, budget.bytes() + 1);
    CHECK(budget.is_crowded());
    round(budget, 2);
    CHECK(budget.is_crowded());
    budget.on_unscheduled(1, kib); // what they send is asked for now
    CHECK(budget.is_crowded());
    for (int i = 0; i < 2; ++i) {
        round(budget, 1);
    }
    CHECK_FALSE(budget.is_crowded());
    round(budget, 2); // that is forgotten
    CHECK_FALSE(budget.is_crowded());
}

TEST_CASE("GrantBudget: several begin with little, and reach the most in three rounds without a mark")
{
    GrantBudget budget = crowded();
    std::vector<std::uint64_t> sizes{budget.bytes() / kib};
    for (int i = 0; i < 4; ++i) {
        const bool grown = round(budget, 2);
        sizes.push_back(budget.bytes() / kib);
        CHECK(grown == (sizes.end()[-1] > sizes.end()[-2]));
    }
    CHECK(sizes == std::vector<std::uint64_t>{512, 1024, 2048, 4096, 4096});
}

TEST_CASE("GrantBudget: marks take some of it, many marks more, and never the least")
{
    GrantBudget few = crowded(), all = crowded();
    CHECK_FALSE(round(few, 2, 51)); // a tenth
    CHECK_FALSE(round(all, 2, 512));
    CHECK(few.bytes() / kib == 508); // a fortieth of it, by four
    CHECK(all.bytes() / kib == 480); // a quarter, by four
    for (int i = 0; i < 50; ++i) {
        CHECK_FALSE(round(all, 2, all.bytes() / kib));
        CHECK(all.bytes() >= 384 * kib);
    }
    CHECK(all.bytes() == 384 * kib);
}

TEST_CASE("GrantBudget: after marks it grows slowly, then faster")
{
    GrantBudget budget = crowded();
    round(budget, 2, 512);
    std::vector<std::uint64_t> sizes{budget.bytes() / kib};
    for (int i = 0; i < 4; ++i) {
        CHECK(round(budget, 2));
        sizes.push_back(budget.bytes() / kib);
    }
    CHECK(sizes == std::vector<std::uint64_t>{480, 544, 672, 928, 1440});
}

TEST_CASE("GrantBudget: who is left alone has all of it again, and a crowd goes on where it was")
{
    GrantBudget budget = crowded();
    for (int i = 0; i < 50; ++i) {
        round(budget, 2, budget.bytes() / kib);
    }
    round(budget, 1); // it began as a crowd
    CHECK(round(budget, 1));
    CHECK(budget.bytes() == most);
    budget.on_sender(1);
    CHECK(budget.bytes() < 512 * kib);
}

TEST_CASE("GrantBudget: never more than it was given")
{
    GrantBudget budget(64 * kib);
    budget.on_sender(0);
    budget.on_sender(1);
    for (int i = 0; i < 5; ++i) {
        CHECK(budget.bytes() == 64 * kib);
        round(budget, 2, 64);
    }
}
