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
    std::array<iovec, max_iov> pieces{};

    std::size_t resolve(std::uint64_t key, std::uint64_t address, std::uint64_t length,
                        Access access = Access::remote_write)
    {
        return table.resolve(key, address, length, access, pieces);
    }
};

} // namespace

TEST_CASE_METHOD(Fixture, "a region is found inside its bounds and nowhere else")
{
    const iovec iov{memory.data(), memory.size()};
    std::uint64_t key = 0;
    REQUIRE(table.insert({.memory = {&iov, 1}, .access = both}, key) == Status::ok);

    REQUIRE(resolve(key, 0, 1000) == 1);
    CHECK(pieces[0].iov_base == memory.data());
    CHECK(pieces[0].iov_len == 1000);
    REQUIRE(resolve(key, 999, 1) == 1);
    CHECK(pieces[0].iov_base == memory.data() + 999);
    CHECK(resolve(key, 1000, 0) == 1);

    CHECK(resolve(key, 0, 1001) == 0);
    CHECK(resolve(key, 1000, 1) == 0);
    CHECK(resolve(key, 1001, 0) == 0);
    CHECK(resolve(key, 1, std::numeric_limits<std::uint64_t>::max()) == 0);
    CHECK(resolve(key, std::numeric_limits<std::uint64_t>::max(), 2) == 0);
    CHECK(resolve(key + 1, 0, 1) == 0);
}

TEST_CASE_METHOD(Fixture, "virtual addresses and offsets shift the origin")
{
    const iovec iov{memory.data(), memory.size()};
    const auto base = reinterpret_cast<std::uintptr_t>(memory.data());
    REQUIRE(table.insert_as({.memory = {&iov, 1}, .access = both, .addressing = Addressing::virtual_address},
                            1) == Status::ok);
    REQUIRE(resolve(1, base + 10, 20) == 1);
    CHECK(pieces[0].iov_base == memory.data() + 10);
    CHECK(resolve(1, base - 1, 2) == 0);
    CHECK(resolve(1, 0, 1) == 0);

    REQUIRE(table.insert_as({.memory = {&iov, 1}, .access = both, .offset = 500}, 2) == Status::ok);
    REQUIRE(resolve(2, 500, 1) == 1);
    CHECK(pieces[0].iov_base == memory.data());
    CHECK(resolve(2, 499, 1) == 0);
    CHECK(resolve(2, 1500, 1) == 0);
}

TEST_CASE_METHOD(Fixture, "several pieces are one range")
{
    const std::array<iovec, 3> iov{iovec{memory.data(), 100}, iovec{memory.data() + 500, 0},
                                   iovec{memory.data() + 600, 100}};
    REQUIRE(table.insert_as({.memory = iov, .access = both}, 7) == Status::ok);
    REQUIRE(resolve(7, 90, 20) >= 2);
    CHECK(pieces[0].iov_base == memory.data() + 90);
    CHECK(pieces[0].iov_len == 10);
    std::size_t total = 0;
    const std::size_t count = resolve(7, 90, 20);
    for (std::size_t i = 0; i < count; ++i) {
        total += pieces[i].iov_len;
    }
    CHECK(total == 20);
    CHECK(pieces[count - 1].iov_base == memory.data() + 600);
    REQUIRE(resolve(7, 100, 100) == 1);
    CHECK(pieces[0].iov_base == memory.data() + 600);
    CHECK(resolve(7, 101, 100) == 0);
}

TEST_CASE_METHOD(Fixture, "access is granted bit by bit")
{
    const iovec iov{memory.data(), memory.size()};
    REQUIRE(table.insert_as({.memory = {&iov, 1}, .access = Access::remote_read}, 1) == Status::ok);
    CHECK(resolve(1, 0, 1, Access::remote_read) == 1);
    CHECK(resolve(1, 0, 1, Access::remote_write) == 0);
    CHECK(resolve(1, 0, 1, both) == 0);
}

TEST_CASE_METHOD(Fixture, "a removed key is gone, a taken one is refused")
{
    const iovec iov{memory.data(), memory.size()};
    REQUIRE(table.insert_as({.memory = {&iov, 1}, .access = both}, 5) == Status::ok);
    CHECK(table.insert_as({.memory = {&iov, 1}, .access = both}, 5) == Status::again);
    CHECK(table.remove(5));
    CHECK_FALSE(table.remove(5));
    CHECK(resolve(5, 0, 1) == 0);
    CHECK(table.size() == 0);
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
