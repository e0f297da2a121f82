// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <cstring>
#include <vector>

#include "receive/incoming.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;

constexpr std::uint32_t capacity = 64; // and so many buckets
constexpr std::size_t budget = 64U << 10;

struct Incoming {
    std::uint32_t create(std::uint32_t sequence, std::uint32_t peer = 1, bool reserve = false)
    {
        return pool.create(all, peer, sequence, reserve);
    }
    std::uint32_t insert(std::uint32_t sequence, std::uint32_t peer = 1)
    {
        const std::uint32_t record = create(sequence, peer);
        pool.insert(record);
        return record;
    }
    std::uint32_t hold(std::uint64_t total)
    {
        const std::uint32_t record = create(0);
        pool[record].total = total;
        pool.hold(pool[record]);
        return record;
    }

    // The hash adds them, so that tests know which records meet in one bucket.
    IncomingPool pool{capacity, budget, 256, {0, std::uint64_t{1} << 58U, std::uint64_t{1} << 58U, 7}};
    IncomingPool::All all;
};

} // namespace

TEST_CASE("IncomingPool: an eighth of the records is for those that have a buffer")
{
    Incoming incoming;
    std::uint32_t last = no_index;
    for (std::uint32_t i = 0; i < capacity - capacity / 8; ++i) {
        CHECK_FALSE(incoming.pool.reserve_reached());
        last = incoming.create(i, i, true);
        REQUIRE(last != no_index);
    }
    CHECK(incoming.pool.reserve_reached());
    CHECK(incoming.create(0, 200, true) == no_index);
    CHECK(incoming.pool.has_room(capacity / 8));
    CHECK_FALSE(incoming.pool.has_room(capacity / 8 + 1));
    for (std::uint32_t i = 0; i < capacity / 8; ++i) {
        REQUIRE(incoming.create(i) != no_index);
    }
    CHECK(incoming.create(0) == no_index);
    incoming.pool.release(incoming.all, last);
    CHECK(incoming.create(0, 200, true) == no_index);
    CHECK(incoming.create(0) == last);
}

TEST_CASE("IncomingPool: a peer that has as much as is left gets no more, and others do")
{
    Incoming incoming;
    std::uint32_t greedy = 0;
    while (incoming.create(greedy, 1, true) != no_index) {
        ++greedy;
    }
    CHECK(greedy == capacity / 2 + 1);
    CHECK(incoming.pool.has_its_share(1));
    CHECK_FALSE(incoming.pool.has_its_share(2));
    std::uint32_t second = 0;
    while (incoming.create(second, 2, true) != no_index) {
        ++second;
    }
    CHECK(second == capacity / 4);
    CHECK(incoming.create(0, 3, true) != no_index);
    CHECK(incoming.create(0, 1) != no_index); // it has a buffer
}

TEST_CASE("IncomingPool: the same for the bytes of payload, of which any peer may store its first")
{
    Incoming incoming;
    const auto store = [&](std::uint32_t peer, std::uint64_t bytes) {
        const std::uint32_t record = incoming.create(0, peer);
        incoming.pool[record].total = bytes;
        return incoming.pool.store(incoming.pool[record], 0, {}) ? record : no_index;
    };
    const std::uint32_t first = store(1, 32768);
    CHECK(first != no_index);
    CHECK(store(1, 1) != no_index);
    CHECK(store(1, 1) == no_index);
    CHECK(store(2, 8192) != no_index);
    CHECK(store(2, 8192) != no_index);
    CHECK(store(2, 8192) == no_index);
    CHECK(store(3, 8192) != no_index);
    incoming.pool.release(incoming.all, first);
    CHECK(store(1, 8192) != no_index);
}

TEST_CASE("IncomingPool: numbers that a peer chooses to meet in one bucket do not, without the key")
{
    constexpr std::uint32_t many = 1U << 14U;
    IncomingPool pool(many, 4096, 2, {0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 7});
    IncomingPool::All all;
    for (std::uint32_t i = 0; i < many; ++i) {
        pool.insert(pool.create(all, 1, i * many, false));
    }
    std::size_t longest = 0;
    for (std::uint32_t i = 0; i < many; ++i) {
        longest = std::max(longest, pool.bucket_size(1, i * many));
    }
    CHECK(longest < 64);
}

TEST_CASE("IncomingPool: records are found by peer and number, those of one bucket as well")
{
    Incoming incoming;
    std::vector<std::uint32_t> records;
    for (std::uint32_t i = 0; i < 4; ++i) {
        records.push_back(incoming.insert(5 + i * capacity));
    }
    const auto all_found = [&](const std::vector<bool>& in) {
        for (std::uint32_t i = 0; i < 4; ++i) {
            const std::uint32_t expected = in[i] ? records[i] : no_index;
            if (incoming.pool.find(1, 5 + i * capacity) != expected) {
                return false;
            }
        }
        return true;
    };
    CHECK(incoming.pool.bucket_size(1, 5) == 4);
    CHECK(all_found({true, true, true, true}));
    CHECK(incoming.pool.find(1, 5 + 4 * capacity) == no_index);
    CHECK(incoming.pool.find(2, 5) == no_index);
    incoming.pool.erase(records[2]); // from the middle
    incoming.pool.erase(records[2]); // it is not in
    CHECK(all_found({true, true, false, true}));
    incoming.pool.erase(records[1]); // its neighbour
    CHECK(all_found({true, false, false, true}));
    incoming.pool.erase(records[3]); // the head
    CHECK(all_found({true, false, false, false}));
    incoming.pool.release(incoming.all, records[0]); // the last, and the record with it
    CHECK(all_found({false, false, false, false}));
    incoming.pool.insert(records[2]);
    CHECK(all_found({false, false, true, false}));
}

TEST_CASE("IncomingPool: the numbers of writes are others than those of messages, and of other peers")
{
    Incoming incoming;
    const std::uint32_t message = incoming.insert(7);
    const std::uint32_t write = incoming.create(7);
    incoming.pool[write].kind = WriteReceive{};
    incoming.pool.insert(write);
    const std::uint32_t other = incoming.insert(7, 2);
    CHECK(incoming.pool.find(1, 7) == message);
    CHECK(incoming.pool.find(1, 7, true) == write);
    CHECK(incoming.pool.find(2, 7) == other);
    CHECK(incoming.pool.find(2, 7, true) == no_index);
}

TEST_CASE("IncomingPool: payload is kept in pieces, in any order, within the bound")
{
    Incoming incoming;
    RxMessage& message = incoming.pool[incoming.create(0)];
    message.total = 6;
    const std::byte bytes[6] = {std::byte{1}, std::byte{2}, std::byte{3},
                                std::byte{4}, std::byte{5}, std::byte{6}};
    CHECK(incoming.pool.store(message, 4, std::span(bytes).subspan(4)));
    CHECK(message.received == 2);
    CHECK_FALSE(message.complete());
    CHECK(incoming.pool.store(message, 0, std::span(bytes).first(4)));
    CHECK(message.complete());
    CHECK(std::memcmp(incoming.pool.stored(message), bytes, 6) == 0);

    RxMessage& empty = incoming.pool[incoming.create(1)];
    CHECK(incoming.pool.store(empty, 0, {}));
    CHECK(empty.chunk.index == no_index);

    // Another of nearly all the budget does not fit beside it.
    RxMessage& large = incoming.pool[incoming.create(2)];
    large.total = budget;
    CHECK_FALSE(incoming.pool.store(large, 0, bytes));
    CHECK(large.received == 0);
    CHECK(large.chunk.index == no_index);
    incoming.pool.drop_stored(message);
    incoming.pool.drop_stored(message);
    large.total = budget / 2;
    CHECK(incoming.pool.store(large, 0, bytes));
    incoming.pool.check();
}

TEST_CASE("IncomingPool: messages before their turn take at most half of the bytes")
{
    Incoming incoming;
    constexpr std::uint64_t footprint = 8192; // of 5000 bytes
    CHECK(PayloadPool::footprint(5000) == footprint);
    std::vector<std::uint32_t> held;
    for (std::size_t i = 0; i < budget / 2 / footprint; ++i) {
        REQUIRE(incoming.pool.can_hold(footprint));
        held.push_back(incoming.hold(5000));
    }
    CHECK_FALSE(incoming.pool.can_hold(1));
    CHECK(incoming.pool.can_hold(0));
    CHECK(incoming.pool.held_messages() == held.size());
    CHECK(incoming.pool[held[0]].stage == RxMessage::Stage::held);
    incoming.pool.unhold(incoming.pool[held[0]]);
    CHECK(incoming.pool.can_hold(footprint));
    CHECK_FALSE(incoming.pool.can_hold(footprint + 1));
}

TEST_CASE("IncomingPool: and at most half of the records; requested ones have no bytes here")
{
    Incoming incoming;
    for (std::uint32_t i = 0; i < capacity / 2; ++i) {
        REQUIRE(incoming.pool.can_hold(0));
        const std::uint32_t record = incoming.create(i);
        incoming.pool[record].kind = GrantedReceive{};
        incoming.pool[record].total = 1U << 30;
        incoming.pool.hold(incoming.pool[record]);
    }
    CHECK_FALSE(incoming.pool.can_hold(0));
    incoming.pool.unhold(incoming.pool[0]);
    CHECK(incoming.pool.can_hold(budget / 2));
}

TEST_CASE("IncomingPool: recovered when an eighth of the bytes and a quarter of the records are free")
{
    Incoming incoming;
    std::vector<std::uint32_t> records;
    for (std::uint32_t i = 0; i < capacity - capacity / 4; ++i) {
        records.push_back(incoming.create(i, i));
    }
    CHECK(incoming.pool.has_recovered());
    const std::uint32_t more = incoming.create(0);
    CHECK_FALSE(incoming.pool.has_recovered());
    incoming.pool.release(incoming.all, more);
    CHECK(incoming.pool.has_recovered());
    for (std::size_t i = 0; i < 7; ++i) {
        incoming.pool[records[i]].total = budget / 8;
        REQUIRE(incoming.pool.store(incoming.pool[records[i]], 0, {}));
    }
    CHECK(incoming.pool.has_recovered());
    incoming.pool[records[7]].total = 1;
    REQUIRE(incoming.pool.store(incoming.pool[records[7]], 0, {}));
    CHECK_FALSE(incoming.pool.has_recovered());
    incoming.pool.release(incoming.all, records[0]); // with what it stores
    CHECK(incoming.pool.has_recovered());
}

TEST_CASE("IncomingPool: what is to be reported is, in order and once")
{
    Incoming incoming;
    const std::uint32_t first = incoming.create(0);
    const std::uint32_t second = incoming.create(1);
    CHECK_FALSE(incoming.pool.any_done());
    incoming.pool.report(second);
    incoming.pool.report(first);
    CHECK(incoming.pool.any_done());
    CHECK(incoming.pool.take_done() == second);
    CHECK_FALSE(incoming.pool[second].done.listed);
    CHECK(incoming.pool.take_done() == first);
    CHECK(incoming.pool.take_done() == no_index);
    CHECK(incoming.all.front() == first);
    incoming.pool.release(incoming.all, first);
    incoming.pool.release(incoming.all, second);
    CHECK(incoming.all.empty());
    CHECK_FALSE(incoming.pool.live(first));
}

TEST_CASE("PayloadPool: one bound for all sizes, counted in what the chunks take")
{
    PayloadPool pool(2048);
    CHECK(pool.alloc(PayloadPool::max_chunk + 1).index == no_index);
    const PayloadPool::Chunk chunk = pool.alloc(129);
    REQUIRE(chunk.index != no_index);
    CHECK(pool.used() == 512);
    for (int i = 0; i < 12; ++i) {
        REQUIRE(pool.alloc(1).index != no_index);
    }
    CHECK(pool.used() == 2048);
    CHECK(pool.alloc(1).index == no_index);
    pool.release(chunk);
    CHECK(pool.alloc(513).index == no_index);
    CHECK(pool.alloc(512).index != no_index);
    for (std::size_t bytes = 0; bytes <= PayloadPool::max_chunk; bytes += 127) {
        PayloadPool roomy(1U << 20);
        roomy.alloc(std::max<std::size_t>(bytes, 1));
        CHECK((bytes == 0 || roomy.used() == PayloadPool::footprint(bytes)));
    }
    CHECK(PayloadPool::footprint(0) == 0);
}
