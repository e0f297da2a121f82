// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "memory/atomic_execute.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>

#include "support/atomic_model.hpp"
#include "support/catch.hpp"

using namespace srd;
using namespace atomic_model;

namespace {

// -- What is served ---------------------------------------------------------------
// Columns: INT8 UINT8 INT16 UINT16 INT32 UINT32 INT64 UINT64 | FLOAT DOUBLE FLOAT_COMPLEX DOUBLE_COMPLEX
// LONG_DOUBLE LONG_DOUBLE_COMPLEX | INT128 UINT128 | FLOAT16 BFLOAT16 FLOAT8_E4M3 FLOAT8_E5M2

constexpr const char* all = "11111111"
                            "111111"
                            "11"
                            "1111";
constexpr const char* real = "11111111"
                             "110010"
                             "11"
                             "1111";
constexpr const char* bits = "11111111"
                             "000000"
                             "11"
                             "0000";

struct Row {
    std::uint32_t operation;
    const char* name;
    const char* forms; ///< w, f, c
    const char* types;
};
const std::vector<Row> table = {
    {FI_MIN, "MIN", "wf", real},          {FI_MAX, "MAX", "wf", real},
    {FI_SUM, "SUM", "wf", all},           {FI_PROD, "PROD", "wf", all},
    {FI_LOR, "LOR", "wf", all},           {FI_LAND, "LAND", "wf", all},
    {FI_BOR, "BOR", "wf", bits},          {FI_BAND, "BAND", "wf", bits},
    {FI_LXOR, "LXOR", "wf", all},         {FI_BXOR, "BXOR", "wf", bits},
    {FI_ATOMIC_READ, "READ", "f", all},   {FI_ATOMIC_WRITE, "WRITE", "wf", all},
    {FI_CSWAP, "CSWAP", "c", all},        {FI_CSWAP_NE, "CSWAP_NE", "c", all},
    {FI_CSWAP_LE, "CSWAP_LE", "c", real}, {FI_CSWAP_LT, "CSWAP_LT", "c", real},
    {FI_CSWAP_GE, "CSWAP_GE", "c", real}, {FI_CSWAP_GT, "CSWAP_GT", "c", real},
    {FI_MSWAP, "MSWAP", "c", bits},       {operation_diff, "DIFF", "wf", all},
};

constexpr std::array<std::pair<AtomicForm, char>, 3> forms = {
    {{AtomicForm::base, 'w'}, {AtomicForm::fetch, 'f'}, {AtomicForm::compare, 'c'}}};

bool is_served(const Row& row, char form, std::uint32_t type)
{
    return std::strchr(row.forms, form) != nullptr && row.types[type] == '1';
}

/// `bytes` at `shift` bytes past a 16-byte boundary.
struct Shifted {
    Shifted(const Bytes& bytes, std::size_t shift)
        : room(bytes.size() + 48, std::byte{0xa5}), size(bytes.size())
    {
        const auto misaligned = reinterpret_cast<std::uintptr_t>(room.data()) % 16;
        first = room.data() + (16 - misaligned) + shift;
        std::copy(bytes.begin(), bytes.end(), first);
    }
    Shifted(const Shifted&) = delete;
    Shifted& operator=(const Shifted&) = delete;
    std::span<std::byte> span() { return {first, size}; }
    bool equals(const Bytes& bytes) const { return std::equal(bytes.begin(), bytes.end(), first); }
    bool is_framed() const
    {
        const std::byte* begin = first;
        return std::all_of(static_cast<const std::byte*>(room.data()), begin, is_filler) &&
               std::all_of(begin + size, static_cast<const std::byte*>(room.data()) + room.size(), is_filler);
    }
    static bool is_filler(std::byte byte) { return byte == std::byte{0xa5}; }

    Bytes room;
    std::size_t size;
    std::byte* first;
};

iovec piece_of(std::span<std::byte> bytes)
{
    return {bytes.data(), bytes.size()};
}

/// The atomic of `row` with what its form ('w', 'f' or 'c') takes.
AtomicTask task_of(const Row& row, char form, std::uint32_t type, std::span<const iovec> target,
                   const Bytes& operand, const Bytes& compare, std::span<std::byte> result)
{
    AtomicTask task{.operation = row.operation,
                    .datatype = type,
                    .target = target,
                    .operand = operand,
                    .compare = {},
                    .result = {}};
    if (form == 'c') {
        task.compare = compare;
    }
    if (form != 'w') {
        task.result = result;
    }
    return task;
}

} // namespace

TEST_CASE("atomic execute: served is exactly what fi_atomic(3) lists")
{
    REQUIRE(table.size() == 20);
    for (const Row& row : table) {
        for (std::uint32_t type = 0; type < type_count; ++type) {
            for (const auto& [form, letter] : forms) {
                INFO(row.name << " on datatype " << type << ", form " << letter);
                CHECK(atomic_valid(form, row.operation, type) == is_served(row, letter, type));
            }
        }
    }
    for (std::uint32_t type = 0; type < type_count; ++type) {
        CHECK(datatype_size(type) == sizes[type]);
    }
    for (const std::uint32_t beyond : {20U, 31U, 255U, 256U, 257U, 0x80000000U, 0xffffffffU}) {
        CHECK(datatype_size(beyond) == 0);
        for (const auto& [form, letter] : forms) {
            CHECK_FALSE(atomic_valid(form, FI_SUM, beyond));
            CHECK_FALSE(atomic_valid(form, beyond, FI_UINT64));
        }
    }
}

TEST_CASE("atomic execute: every operation on every datatype, at every alignment")
{
    for (const Row& row : table) {
        for (std::uint32_t type = 0; type < type_count; ++type) {
            for (const auto& [form, letter] : forms) {
                if (!is_served(row, letter, type)) {
                    continue;
                }
                for (const std::size_t shift : {0U, 1U, 4U, 8U, 11U}) {
                    INFO(row.name << " on datatype " << type << ", form " << letter << ", shift " << shift);
                    const std::size_t count = 1 + next_random() % 40;
                    const Bytes before = numbers(type, count);
                    const Bytes operand = numbers(type, count);
                    const Bytes compare = numbers(type, count);
                    Shifted target(before, shift);
                    Shifted result(Bytes(before.size()), shift + 3);
                    const iovec piece = piece_of(target.span());
                    REQUIRE(execute_atomic(
                        task_of(row, letter, type, {&piece, 1}, operand, compare, result.span())));
                    REQUIRE(target.equals(expected(row.operation, type, before, operand, compare)));
                    REQUIRE(result.equals(letter == 'w' ? Bytes(before.size()) : before));
                    REQUIRE((target.is_framed() && result.is_framed()));
                }
            }
        }
    }
}

TEST_CASE("atomic execute: elements that lie in several pieces of memory")
{
    for (const Row& row : table) {
        for (const std::uint32_t type : {FI_UINT16 + 0U, FI_UINT64 + 0U, FI_LONG_DOUBLE_COMPLEX + 0U}) {
            const char form = row.forms[0];
            if (!is_served(row, form, type)) {
                continue;
            }
            INFO(row.name << " on datatype " << type);
            const Bytes before = numbers(type, 6);
            const Bytes operand = numbers(type, 6);
            const Bytes compare = numbers(type, 6);
            std::array<Bytes, 5> memory;
            std::array<iovec, 5> pieces{};
            // Of 1, 2, 0, some and the remaining bytes, in an order of memory that is not theirs.
            const std::array<std::size_t, 5> ends = {1, 3, 3, before.size() - 5, before.size()};
            std::size_t begin = 0;
            for (std::size_t i = 0; i < pieces.size(); ++i) {
                memory[i].assign(before.data() + begin, before.data() + ends[i]);
                pieces[i] = piece_of(memory[i]);
                begin = ends[i];
            }
            Bytes result(before.size());
            REQUIRE(execute_atomic(task_of(row, form, type, pieces, operand, compare, result)));
            Bytes after;
            for (const Bytes& part : memory) {
                after.insert(after.end(), part.begin(), part.end());
            }
            CHECK(after == expected(row.operation, type, before, operand, compare));
            CHECK(result == (form == 'w' ? Bytes(before.size()) : before));
        }
    }
}

TEST_CASE("atomic execute: what cannot be done is refused and touches nothing")
{
    const Bytes before = numbers(FI_UINT64, 4);
    Bytes memory = before;
    Bytes result(32);
    const iovec piece = piece_of(memory);
    const Bytes operand(32, std::byte{1});
    const AtomicTask sound{.operation = FI_SUM,
                           .datatype = FI_UINT64,
                           .target = {&piece, 1},
                           .operand = operand,
                           .compare = {},
                           .result = result};
    const auto refused = [&](AtomicTask task) {
        return !execute_atomic(task) && memory == before && result == Bytes(32);
    };
    AtomicTask task = sound;
    for (const std::uint32_t beyond : {20U, 255U, 256U, 0xffffffffU}) {
        task = sound;
        task.operation = beyond;
        CHECK(refused(task));
        task = sound;
        task.datatype = beyond;
        CHECK(refused(task));
    }
    task = sound;
    task.operation = FI_CSWAP; // without comparands
    CHECK(refused(task));
    task = sound;
    task.compare = operand; // with comparands
    CHECK(refused(task));
    task = sound;
    task.operation = FI_ATOMIC_READ; // with nowhere to put it
    task.result = {};
    CHECK(refused(task));
    task = sound;
    task.datatype = FI_FLOAT;
    task.operation = FI_BOR;
    CHECK(refused(task));
    task = sound;
    task.operand = task.operand.first(24);
    CHECK(refused(task));
    task = sound;
    task.operand = {};
    CHECK(refused(task));
    task = sound;
    task.result = task.result.first(24);
    CHECK(refused(task));
    task = sound;
    task.operation = FI_CSWAP;
    task.compare = task.operand.first(8);
    CHECK(refused(task));
    const iovec odd{memory.data(), 28};
    task = sound;
    task.target = {&odd, 1};
    task.operand = task.operand.first(28);
    task.result = task.result.first(28);
    CHECK(refused(task));
    task.target = {};
    task.operand = {};
    CHECK(refused(task));
    CHECK(execute_atomic(sound));
    CHECK((memory != before && result == before));
}

TEST_CASE("atomic execute: a read does not write, so it can read what is read-only")
{
    void* page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    for (std::uint32_t type = 0; type < type_count; ++type) {
        Bytes result(4 * sizes[type], std::byte{7});
        const iovec piece{page, result.size()};
        CHECK(execute_atomic({.operation = FI_ATOMIC_READ,
                              .datatype = type,
                              .target = {&piece, 1},
                              .operand = {},
                              .compare = {},
                              .result = result}));
        CHECK(result == Bytes(result.size()));
    }
    munmap(page, 4096);
}

TEST_CASE("atomic execute: comparisons are by value")
{
    const auto swaps = [](double target, double compare, std::uint32_t operation) {
        const double operand = 42;
        iovec piece{&target, sizeof(target)};
        REQUIRE(execute_atomic({.operation = operation,
                                .datatype = FI_DOUBLE,
                                .target = {&piece, 1},
                                .operand = std::as_bytes(std::span(&operand, 1)),
                                .compare = std::as_bytes(std::span(&compare, 1)),
                                .result = {}}));
        return target == 42;
    };
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(swaps(0.0, -0.0, FI_CSWAP));
    CHECK_FALSE(swaps(0.0, -0.0, FI_CSWAP_NE));
    CHECK_FALSE(swaps(nan, nan, FI_CSWAP));
    CHECK(swaps(nan, nan, FI_CSWAP_NE));
    CHECK_FALSE(swaps(nan, 1, FI_CSWAP_LE));
    CHECK_FALSE(swaps(1, nan, FI_CSWAP_GE));
}

namespace {

/// Adds `addend` to `target` a number of times and keeps what it found.
template <typename T>
void add_often(std::byte* target, std::uint32_t type, T addend, std::vector<T>& found)
{
    const iovec piece{target, sizeof(T)};
    for (T& old : found) {
        if (!execute_atomic({.operation = FI_SUM,
                             .datatype = type,
                             .target = {&piece, 1},
                             .operand = std::as_bytes(std::span(&addend, 1)),
                             .compare = {},
                             .result = std::as_writable_bytes(std::span(&old, 1))})) {
            return;
        }
    }
}

template <typename T>
void check_threads(std::uint32_t type, std::size_t shift)
{
    constexpr std::size_t count = 20000;
    alignas(16) std::array<std::byte, 64> memory{};
    std::array<std::vector<T>, 4> found;
    std::vector<std::thread> threads;
    for (std::vector<T>& mine : found) {
        mine.resize(count);
        threads.emplace_back([&] { add_often<T>(memory.data() + shift, type, 1, mine); });
    }
    std::vector<T> every;
    for (std::size_t i = 0; i < threads.size(); ++i) {
        threads[i].join();
        every.insert(every.end(), found[i].begin(), found[i].end());
    }
    std::sort(every.begin(), every.end());
    for (std::size_t i = 0; i < every.size(); ++i) {
        REQUIRE(every[i] == static_cast<T>(i));
    }
}

} // namespace

TEST_CASE("atomic execute: threads never lose an update and never see one twice")
{
    check_threads<std::uint64_t>(FI_UINT64, 0);
    check_threads<std::uint64_t>(FI_UINT64, 3);
    check_threads<std::int32_t>(FI_INT32, 4);
    check_threads<double>(FI_DOUBLE, 8);
    check_threads<long double>(FI_LONG_DOUBLE, 16);
    check_threads<UInt128>(FI_UINT128, 16);
}

TEST_CASE("atomic execute: elements of different size that overlap are updated in turn too")
{
    constexpr std::size_t count = 50000;
    alignas(16) std::array<std::byte, 16> memory{};
    std::vector<UInt128> wide(count);
    std::vector<std::uint64_t> narrow(count);
    std::thread wide_adder([&] { add_often<UInt128>(memory.data(), FI_UINT128, 1, wide); });
    std::thread narrow_adder(
        [&] { add_often<std::uint64_t>(memory.data(), FI_UINT64, std::uint64_t{1} << 32, narrow); });
    wide_adder.join();
    narrow_adder.join();
    std::uint64_t low = 0;
    std::memcpy(&low, memory.data(), sizeof(low));
    CHECK(low == count + (std::uint64_t{count} << 32));
}

TEST_CASE("atomic execute: the processor's own atomic instructions fit in")
{
    constexpr std::size_t count = 2000000; // time enough for the threads to run side by side
    alignas(8) std::uint64_t counter = 0;
    std::atomic<bool> done{false};
    std::vector<std::uint64_t> found(count);
    std::thread adder([&] {
        add_often<std::uint64_t>(reinterpret_cast<std::byte*>(&counter), FI_UINT64, 1, found);
        done.store(true);
    });
    std::uint64_t own = 0;
    for (; !done.load(std::memory_order_relaxed); ++own) {
        __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);
    }
    adder.join();
    CHECK(counter == count + own);
}
