// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "mr_table.hpp"

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"

using namespace srd;

namespace {

std::uint64_t next_random()
{
    static std::uint64_t state = 1;
    state = state * 6364136223846793005U + 1442695040888963407U;
    return state;
}

constexpr Access both = Access::remote_read | Access::remote_write;

struct Fixture {
    std::vector<std::byte> memory = std::vector<std::byte>(1000);
    MrTable table{next_random};
    MrTable::Cache cache;
    Resolved found;

    /// Cause::none: `found` has the pieces.
    Cause resolve(std::uint64_t key, std::uint64_t address, std::uint64_t length,
                  Access access = Access::remote_write)
    {
        found = table.resolve(cache, key, address, length, access);
        CHECK((found.cause == Cause::none) == (found.count != 0));
        return found.cause;
    }
    const iovec& piece(std::size_t index) const { return found.memory()[index]; }
};

} // namespace

TEST_CASE_METHOD(Fixture, "a region is found inside its bounds and nowhere else")
{
    constexpr std::uint64_t last = std::numeric_limits<std::uint64_t>::max();
    const iovec iov{memory.data(), memory.size()};
    std::uint64_t key = 0;
    int owner = 0;
    REQUIRE(table.insert({.memory = {&iov, 1}, .access = both, .owner = &owner}, key) == Status::ok);

    REQUIRE(resolve(key, 0, 1000) == Cause::none);
    CHECK(found.count == 1);
    CHECK(found.owner == &owner);
    CHECK(piece(0).iov_base == memory.data());
    CHECK(piece(0).iov_len == 1000);
    REQUIRE(resolve(key, 999, 1) == Cause::none);
    CHECK(piece(0).iov_base == memory.data() + 999);
    CHECK(resolve(key, 1000, 0) == Cause::none);

    CHECK(resolve(key, 0, 1001) == Cause::out_of_bounds);
    CHECK(resolve(key, 1000, 1) == Cause::out_of_bounds);
    CHECK(resolve(key, 1001, 0) == Cause::out_of_bounds);
    CHECK(resolve(key, 1, last) == Cause::out_of_bounds);
    CHECK(resolve(key, last, 2) == Cause::out_of_bounds);
    CHECK(resolve(key, last, last) == Cause::out_of_bounds);
    CHECK(found.owner == &owner);
    CHECK(resolve(key + 1, 0, 1) == Cause::bad_key);
    CHECK(found.owner == nullptr);
}

TEST_CASE_METHOD(Fixture, "virtual addresses and offsets shift the origin")
{
    const iovec iov{memory.data(), memory.size()};
    const auto base = reinterpret_cast<std::uintptr_t>(memory.data());
    REQUIRE(table.insert_as({.memory = {&iov, 1}, .access = both, .addressing = Addressing::virtual_address},
                            1) == Status::ok);
    REQUIRE(resolve(1, base + 10, 20) == Cause::none);
    CHECK(piece(0).iov_base == memory.data() + 10);
    CHECK(resolve(1, base - 1, 2) == Cause::out_of_bounds);
    CHECK(resolve(1, 0, 1) == Cause::out_of_bounds);

    REQUIRE(table.insert_as({.memory = {&iov, 1}, .access = both, .offset = 500}, 2) == Status::ok);
    REQUIRE(resolve(2, 500, 1) == Cause::none);
    CHECK(piece(0).iov_base == memory.data());
    CHECK(resolve(2, 499, 1) == Cause::out_of_bounds);
    CHECK(resolve(2, 1500, 1) == Cause::out_of_bounds);
}

TEST_CASE_METHOD(Fixture, "several pieces are one range")
{
    const std::array<iovec, 3> iov{iovec{memory.data(), 100}, iovec{memory.data() + 500, 0},
                                   iovec{memory.data() + 600, 100}};
    REQUIRE(table.insert_as({.memory = iov, .access = both}, 7) == Status::ok);
    REQUIRE(resolve(7, 90, 20) == Cause::none);
    CHECK(piece(0).iov_base == memory.data() + 90);
    CHECK(piece(0).iov_len == 10);
    std::size_t total = 0;
    for (const iovec& each : found.memory()) {
        total += each.iov_len;
    }
    CHECK(total == 20);
    CHECK(piece(found.count - 1).iov_base == memory.data() + 600);
    REQUIRE(resolve(7, 100, 100) == Cause::none);
    CHECK(found.count == 1);
    CHECK(piece(0).iov_base == memory.data() + 600);
    CHECK(resolve(7, 101, 100) == Cause::out_of_bounds);
}

TEST_CASE_METHOD(Fixture, "access is granted bit by bit")
{
    const iovec iov{memory.data(), memory.size()};
    REQUIRE(table.insert_as({.memory = {&iov, 1}, .access = Access::remote_read}, 1) == Status::ok);
    CHECK(resolve(1, 0, 1, Access::remote_read) == Cause::none);
    CHECK(resolve(1, 0, 1, Access::remote_write) == Cause::access_denied);
    CHECK(resolve(1, 0, 1, both) == Cause::access_denied);
}

TEST_CASE_METHOD(Fixture, "a removed key is gone, a taken one is refused")
{
    const iovec iov{memory.data(), memory.size()};
    REQUIRE(table.insert_as({.memory = {&iov, 1}, .access = both}, 5) == Status::ok);
    CHECK(table.insert_as({.memory = {&iov, 1}, .access = both}, 5) == Status::again);
    CHECK(resolve(5, 0, 1) == Cause::none); // now the cache knows it
    CHECK(table.remove(5));
    CHECK_FALSE(table.remove(5));
    CHECK(resolve(5, 0, 1) == Cause::bad_key);
    CHECK(table.size() == 0);
    const iovec other{memory.data() + 10, 10};
    REQUIRE(table.insert_as({.memory = {&other, 1}, .access = both}, 5) == Status::ok);
    REQUIRE(resolve(5, 0, 1) == Cause::none);
    CHECK(piece(0).iov_base == memory.data() + 10);
}

TEST_CASE_METHOD(Fixture, "thousands of regions are told apart, whatever the cache has seen")
{
    constexpr std::uint64_t count = 5000;
    for (std::uint64_t key = 0; key < count; ++key) {
        const iovec iov{memory.data() + key % 1000, 1};
        REQUIRE(table.insert_as({.memory = {&iov, 1}, .access = both}, key) == Status::ok);
    }
    for (std::uint64_t i = 0; i < 4 * count; ++i) {
        const std::uint64_t key = i * 7919 % count;
        REQUIRE(resolve(key, 0, 1) == Cause::none);
        REQUIRE(piece(0).iov_base == memory.data() + key % 1000);
    }
    CHECK(resolve(count, 0, 1) == Cause::bad_key);
}

TEST_CASE_METHOD(Fixture, "ranges that leave the address space are refused, all of it is not")
{
    const iovec all{nullptr, std::numeric_limits<std::uintptr_t>::max()};
    CHECK(table.insert_as({.memory = {&all, 1}, .access = both}, 1) == Status::ok);
    const iovec wrapping{memory.data(), std::numeric_limits<std::uintptr_t>::max()};
    CHECK(table.insert_as({.memory = {&wrapping, 1}, .access = both}, 2) == Status::invalid);
    CHECK(table.insert_as({.memory = {}, .access = both}, 3) == Status::invalid);
    const std::array<iovec, 5> many{};
    CHECK(table.insert_as({.memory = many, .access = both}, 4) == Status::invalid);
}
