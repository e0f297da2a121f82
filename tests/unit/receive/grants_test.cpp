// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <vector>

#include "receive/grants.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;

constexpr std::uint64_t budget = 1000;

struct Granting {
    std::uint32_t add(std::uint64_t total = 100000)
    {
        const std::uint32_t record = pool.create(all, 0, 0, false);
        pool[record].kind = GrantedReceive{};
        pool[record].total = total;
        grants.want(pool, record);
        return record;
    }
    /// Who is granted more, in order.
    std::vector<std::uint32_t> issue()
    {
        std::vector<std::uint32_t> order;
        grants.issue(
            pool,
            [this](std::uint32_t) {
                ++looks;
                return quantum;
            },
            [&](std::uint32_t record) { order.push_back(record); });
        check();
        return order;
    }
    void arrive(std::uint32_t record, std::uint64_t bytes)
    {
        pool[record].received += bytes;
        grants.on_arrived(pool[record], bytes, false, quantum);
    }
    std::uint64_t open(std::uint32_t record) const { return pool[record].limit - pool[record].received; }
    void check() const
    {
        std::uint64_t outstanding = 0;
        std::uint32_t wanting = 0;
        for (std::uint32_t at = all.front(); at != no_index; at = IncomingPool::All::next(pool, at)) {
            outstanding += open(at);
            wanting += pool[at].grant.listed ? 1U : 0U;
        }
        CHECK(outstanding <= budget);
        grants.check(outstanding, wanting);
    }

    IncomingPool pool{64, 4096, 8, {1, 3, 5, 7}};
    IncomingPool::All all;
    Grants grants{budget};
    std::uint64_t quantum = 100;
    unsigned looks = 0; ///< at messages that want more
};

using Order = std::vector<std::uint32_t>;

} // namespace

TEST_CASE("Grants: one alone gets the whole budget, in steps, and no more")
{
    Granting world;
    CHECK_FALSE(world.grants.any_wanted());
    CHECK(world.issue().empty());
    const std::uint32_t one = world.add();
    CHECK(world.grants.any_wanted());
    CHECK(world.issue() == Order(10, one));
    CHECK(world.pool[one].limit == budget);
    CHECK(world.issue().empty());
    world.arrive(one, 99);
    CHECK(world.issue().empty()); // not enough for a step
    world.arrive(one, 1);
    CHECK(world.issue() == Order{one});
    CHECK(world.pool[one].limit == budget + 100);
}

TEST_CASE("Grants: the last step is what is left, and ends the wanting")
{
    Granting world;
    const std::uint32_t one = world.add(250);
    CHECK(world.issue() == Order(3, one));
    CHECK(world.pool[one].limit == 250);
    CHECK_FALSE(world.grants.any_wanted());
    CHECK_FALSE(world.pool[one].grant.listed);
    world.arrive(one, 250);
    CHECK(world.issue().empty());
}

TEST_CASE("Grants: a step is at most half of the budget")
{
    Granting world;
    world.quantum = 1U << 20;
    const std::uint32_t one = world.add();
    const std::uint32_t two = world.add();
    CHECK(world.issue() == Order{one, two});
    CHECK(world.open(one) == budget / 2);
    CHECK(world.open(two) == budget / 2);
}

TEST_CASE("Grants: several take turns, and equal shares")
{
    Granting world;
    const Order all{world.add(), world.add(), world.add(), world.add()};
    const Order order = world.issue();
    REQUIRE(order.size() >= 8);
    for (std::size_t i = 0; i < 8; ++i) {
        CHECK(order[i] == all[i % 4]);
    }
    for (const std::uint32_t record : all) {
        CHECK(world.open(record) <= budget / 4);
        CHECK(world.open(record) >= 200);
    }
}

TEST_CASE("Grants: who holds its share gets nothing more while another wants")
{
    Granting world;
    const std::uint32_t stopped = world.add();
    world.issue();
    CHECK(world.open(stopped) == budget);
    const std::uint32_t second = world.add();
    CHECK(world.issue().empty());
    world.arrive(stopped, 500); // and then its sender stops
    CHECK(world.issue() == Order(5, second));
    for (int i = 0; i < 20; ++i) {
        world.arrive(second, 100);
        CHECK(world.issue() == Order{second});
    }
    CHECK(world.open(stopped) == 500);
}

TEST_CASE("Grants: where each holds its share, nobody is looked at until one may have more")
{
    Granting world;
    world.quantum = 90; // the budget is not used up, but nobody's share has room for two steps
    Order all;
    for (int i = 0; i < 10; ++i) {
        all.push_back(world.add());
    }
    CHECK(world.issue() == all);
    world.looks = 0;
    CHECK(world.issue().empty());
    world.arrive(all[3], 79);
    CHECK(world.issue().empty());
    CHECK(world.looks == 0);
    world.arrive(all[3], 1); // 10 and a step more are its share
    CHECK(world.issue() == Order{all[3]});
    world.arrive(all[7], 90);
    CHECK(world.issue() == Order{all[7]});
    world.looks = 0;
    CHECK(world.issue().empty());
    CHECK(world.looks == 0);
    const std::uint32_t last = world.add();
    CHECK(world.issue() == Order{last}); // one more that wants
    world.grants.stop(world.pool, all[0]);
    world.grants.stop(world.pool, all[1]);
    world.arrive(all[2], 80); // the share is larger
    CHECK_FALSE(world.issue().empty());
}

TEST_CASE("Grants: where several send and much of it is marked, less is under way")
{
    constexpr std::uint64_t kib = 1024;
    for (const std::uint32_t senders : {2U, 40U}) { // whose shares are more than a step, and less
        for (const bool marked : {false, true}) {
            IncomingPool pool{64, 4096, 8, {1, 3, 5, 7}};
            IncomingPool::All all;
            Grants grants{4096 * kib};
            std::uint64_t outstanding = 0, most = 0;
            std::vector<std::uint32_t> records;
            for (std::uint32_t peer = 0; peer < senders; ++peer) {
                records.push_back(pool.create(all, peer, 0, false));
                pool[records.back()].kind = GrantedReceive{};
                pool[records.back()].total = 1U << 30;
                grants.want(pool, records.back());
            }
            for (std::size_t i = 0; i < 40000; ++i) {
                grants.issue(
                    pool, [](std::uint32_t) { return 64 * kib; }, [](std::uint32_t) {});
                outstanding = 0;
                for (const std::uint32_t record : records) {
                    outstanding += pool[record].limit - pool[record].received;
                }
                most = std::max(most, outstanding);
                RxMessage& message = pool[records[i % senders]];
                if (message.limit - message.received >= kib) {
                    message.received += kib;
                    grants.on_arrived(message, kib, marked, 64 * kib);
                }
            }
            INFO(senders << " senders, " << (marked ? "marked" : "not marked"));
            CHECK(most > (marked ? 448 : 2500) * kib);
            CHECK(most <= (marked ? 512 : 4096) * kib);
            CHECK(outstanding <= (marked ? 384 : 4096) * kib);
            CHECK(outstanding > (marked ? 300 : 2400) * kib);
        }
    }
}

TEST_CASE("Grants: a step is whole packets, and at most one batch of them but sixteen")
{
    constexpr std::uint64_t overhead = sizeof(wire::PacketHeader) + sizeof(wire::DataFrame);
    CHECK(Grants::quantum(1472) == 44 * (1472 - overhead));
    CHECK(Grants::quantum(8972) == 16 * (8972 - overhead));
}

TEST_CASE("Grants: more than the budget has steps for wait for their turn")
{
    Granting world;
    Order all;
    for (int i = 0; i < 15; ++i) {
        all.push_back(world.add());
    }
    CHECK(world.issue() == Order(all.begin(), all.begin() + 10));
    for (std::size_t i = 0; i < 10; ++i) {
        world.arrive(all[i], 100);
        CHECK(world.issue() == Order{all[(i + 10) % 15]});
    }
}

TEST_CASE("Grants: who stops gives back what it will not use")
{
    Granting world;
    const std::uint32_t one = world.add();
    world.issue();
    world.arrive(one, 300);
    const std::uint32_t two = world.add();
    CHECK(world.issue() == Order(3, two));
    world.grants.stop(world.pool, one);
    CHECK(world.pool[one].limit == 300);
    world.check();
    CHECK(world.issue() == Order(7, two));
    world.grants.stop(world.pool, one); // again: nothing
    world.check();
    world.grants.stop(world.pool, two);
    CHECK_FALSE(world.grants.any_wanted());
    world.check();
}

TEST_CASE("Grants: stopping who was never granted anything is nothing")
{
    Granting world;
    const std::uint32_t record = world.pool.create(world.all, 0, 0, false);
    world.pool[record].total = world.pool[record].received = 10; // eager
    world.grants.stop(world.pool, record);
    world.pool[record].received = 0;
    world.check();
}
