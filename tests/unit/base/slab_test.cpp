// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <srd/growing_slab.hpp>
#include <srd/slab.hpp>

#include "support/catch.hpp"
#include "support/child.hpp"

namespace {

/// Counts how many exist.
struct Tracked {
    Tracked() noexcept { ++alive; }
    Tracked(const Tracked&) = delete;
    Tracked& operator=(const Tracked&) = delete;
    ~Tracked() { --alive; }
    std::uint64_t value = 42;
    static inline int alive = 0;
};

struct Big {
    std::array<std::byte, 4096> bytes;
};

/// Pages of `memory` that are resident.
std::size_t resident_pages(const std::byte* memory, std::size_t bytes)
{
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    std::vector<unsigned char> pages((bytes + page - 1) / page);
    REQUIRE(mincore(const_cast<std::byte*>(memory), bytes, pages.data()) == 0);
    std::size_t count = 0;
    for (const unsigned char flags : pages) {
        count += flags & 1U;
    }
    return count;
}

} // namespace

TEST_CASE("Reserve: memory is zero, untouched until written, and moves")
{
    constexpr std::size_t size = 64U << 20;
    srd::Reserve reserve(size);
    REQUIRE(reserve.size() == size);
    REQUIRE(resident_pages(reserve.data(), size) == 0);
    reserve.data()[size - 1] = std::byte{7};
    CHECK(resident_pages(reserve.data(), size) >= 1);

    srd::Reserve moved(std::move(reserve));
    CHECK(moved.data()[size - 1] == std::byte{7});
    CHECK(moved.data()[0] == std::byte{0});
    srd::Reserve assigned;
    assigned = std::move(moved);
    CHECK(assigned.size() == size);
    CHECK(assigned.data()[size - 1] == std::byte{7});
}

TEST_CASE("Reserve: no bytes are legal, the impossible is refused")
{
    CHECK(srd::Reserve(0).data() == nullptr);
    CHECK_THROWS_AS(srd::Reserve(std::size_t{1} << 60), std::bad_alloc);
}

TEST_CASE("Slab: hands out every index once, then none")
{
    srd::Slab<Tracked> slab(5);
    for (std::uint32_t i = 0; i < 5; ++i) {
        CHECK(slab.alloc() == i);
        CHECK(slab[i].value == 42);
    }
    CHECK(Tracked::alive == 5);
    CHECK(slab.alloc() == srd::Slab<Tracked>::none);
    CHECK(slab.in_use() == 5);
    CHECK(slab.capacity() == 5);
    slab.release(3);
    slab.release(1);
    CHECK(Tracked::alive == 3);
    CHECK_FALSE(slab.live(3));
    CHECK(slab.live(4));
    CHECK(slab.alloc() == 1); // last released, first reused
    CHECK(slab.alloc() == 3);
    CHECK(slab.alloc() == srd::Slab<Tracked>::none);
}

TEST_CASE("Slab: destroys what is live, and only that")
{
    {
        srd::Slab<Tracked> slab(1000);
        for (int i = 0; i < 10; ++i) {
            slab.alloc();
        }
        slab.release(4);
        REQUIRE(Tracked::alive == 9);
    }
    CHECK(Tracked::alive == 0);
}

TEST_CASE("Slab: an object is made anew on reuse")
{
    srd::Slab<Tracked> slab(1);
    slab[slab.alloc()].value = 7;
    slab.release(0);
    CHECK(slab[slab.alloc()].value == 42);
}

TEST_CASE("Slab: objects smaller than a link keep their neighbours intact")
{
    srd::Slab<std::uint8_t> slab(64);
    for (std::uint32_t i = 0; i < 64; ++i) {
        slab[slab.alloc()] = static_cast<std::uint8_t>(i);
    }
    for (std::uint32_t i = 0; i < 64; i += 2) {
        slab.release(i);
    }
    for (std::uint32_t i = 1; i < 64; i += 2) {
        CHECK(slab[i] == i);
    }
}

TEST_CASE("Slab: capacity zero is legal and empty; any number may be asked about")
{
    srd::Slab<Tracked> slab(0);
    CHECK(slab.alloc() == srd::Slab<Tracked>::none);
    CHECK_FALSE(slab.live(0));
    CHECK_FALSE(slab.live(srd::Slab<Tracked>::none));
}

TEST_CASE("Slab: resident memory follows use, not capacity")
{
    srd::Slab<Big> slab(1U << 16); // 256 MiB
    const std::uint32_t first = slab.alloc();
    const auto* base = slab[first].bytes.data();
    for (int i = 0; i < 1000; ++i) {
        const std::uint32_t index = slab.alloc();
        slab[index].bytes[0] = std::byte{1};
        slab.release(index);
    }
    CHECK(slab.watermark() == 2);
    CHECK(resident_pages(base, std::size_t{4096} << 16) <= 2);
}

TEST_CASE("Slab: random use agrees with a set of live indices")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    srd::Slab<Tracked> slab(100);
    std::set<std::uint32_t> live;
    for (int step = 0; step < 20000; ++step) {
        if (random() % 2 == 0) {
            const std::uint32_t index = slab.alloc();
            if (live.size() == 100) {
                REQUIRE(index == srd::Slab<Tracked>::none);
            } else {
                REQUIRE(index < 100);
                REQUIRE(live.insert(index).second);
                slab[index].value = index * 3;
            }
        } else if (!live.empty()) {
            auto victim = live.begin();
            std::advance(victim, static_cast<std::ptrdiff_t>(random() % live.size()));
            REQUIRE(slab[*victim].value == *victim * 3);
            slab.release(*victim);
            live.erase(victim);
        }
        REQUIRE(slab.in_use() == live.size());
        const std::uint32_t asked = static_cast<std::uint32_t>(random() % 110);
        REQUIRE(slab.live(asked) == (live.count(asked) == 1));
    }
    REQUIRE(Tracked::alive == static_cast<int>(live.size()));
}

TEST_CASE("ByteSlab: chunks are aligned, apart, and keep their bytes")
{
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{64}, std::size_t{100}, std::size_t{4608}}) {
        srd::ByteSlab slab(size, 17);
        CHECK(slab.chunk_size() == size);
        for (std::uint32_t i = 0; i < 17; ++i) {
            REQUIRE(slab.alloc() == i);
            REQUIRE(reinterpret_cast<std::uintptr_t>(slab.data(i)) % 64 == 0);
            std::memset(slab.data(i), static_cast<int>(i), size);
        }
        CHECK(slab.alloc() == srd::ByteSlab::none);
        slab.release(8);
        CHECK(slab.in_use() == 16);
        for (std::uint32_t i = 0; i < 17; ++i) {
            for (std::size_t at = 0; i != 8 && at < size; ++at) {
                REQUIRE(slab.data(i)[at] == std::byte{static_cast<unsigned char>(i)});
            }
        }
        CHECK(slab.alloc() == 8);
    }
}

namespace {

/// Bytes of address space that the process has.
std::size_t address_space()
{
    std::size_t pages = 0;
    std::FILE* const file = std::fopen("/proc/self/statm", "r");
    REQUIRE(file != nullptr);
    REQUIRE(std::fscanf(file, "%zu", &pages) == 1);
    std::fclose(file);
    return pages * static_cast<std::size_t>(getpagesize());
}

} // namespace

TEST_CASE("GrowingSlab: chunks are aligned, apart, and keep their bytes")
{
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{100}, std::size_t{131072}, std::size_t{3} << 20}) {
        constexpr std::uint32_t count = 40;
        srd::GrowingSlab slab(size, count);
        for (std::uint32_t i = 0; i < count; ++i) {
            REQUIRE(slab.alloc() == i);
            REQUIRE(reinterpret_cast<std::uintptr_t>(slab.data(i)) % 64 == 0);
            std::memset(slab.data(i), static_cast<int>(i), size);
        }
        CHECK(slab.alloc() == srd::GrowingSlab::none);
        slab.release(8);
        CHECK(slab.in_use() == count - 1);
        for (std::uint32_t i = 0; i < count; ++i) {
            if (i != 8) {
                REQUIRE(slab.data(i)[0] == std::byte{static_cast<unsigned char>(i)});
                REQUIRE(slab.data(i)[size - 1] == std::byte{static_cast<unsigned char>(i)});
            }
        }
        CHECK(slab.alloc() == 8);
    }
}

TEST_CASE("GrowingSlab: takes address space as it is used, and is exhausted where there is none")
{
    const std::size_t before = address_space();
    srd::GrowingSlab slab(131072, 8192);
    CHECK(address_space() - before < 4U << 20);
    for (int i = 0; i < 32; ++i) {
        REQUIRE(slab.alloc() != srd::GrowingSlab::none);
    }
    CHECK(address_space() - before < 16U << 20);
    srd::test::Child limited([&] {
        const rlim_t most = address_space() + (std::size_t{16} << 20);
        const rlimit limit{most, RLIM_INFINITY};
        if (setrlimit(RLIMIT_AS, &limit) != 0) {
            return 1;
        }
        int taken = 0;
        while (slab.alloc() != srd::GrowingSlab::none) {
            ++taken;
        }
        const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
        const bool lifted = setrlimit(RLIMIT_AS, &none) == 0 && slab.alloc() != srd::GrowingSlab::none;
        return taken > 0 && taken < 256 && lifted ? 0 : 2;
    });
    CHECK(limited.wait() == 0);
}
