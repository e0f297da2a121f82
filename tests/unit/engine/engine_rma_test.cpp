// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Remote memory access between two engines that are joined by a wire in
// memory. Every law is tried under many seeds in tests/sim; here stands how
// the calls are meant, one case each.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "support/catch.hpp"
#include "support/engine_pair.hpp"

namespace {

using namespace srd;
using namespace srd::test;

struct Transfer {
    explicit Transfer(std::size_t size, OperationKind kind = OperationKind::write) : bytes(pattern(size))
    {
        operation.kind = kind;
        iov = {bytes.data(), bytes.size()};
        range = {.address = 100, .length = size, .key = 7};
    }
    const Operation& get()
    {
        operation.iov = {&iov, 1};
        operation.remote = {&range, 1};
        return operation;
    }
    std::vector<std::byte> bytes;
    iovec iov{};
    RemoteRange range;
    Operation operation;
};

/// Every third packet of all.
void lose(EnginePair& pair)
{
    pair.a.io.drop =
        pair.b.io.drop = [count = std::make_shared<std::size_t>()](std::size_t) { return ++*count % 3 == 0; };
}

} // namespace

TEST_CASE("write: is placed and completes", "[engine][rma]")
{
    EnginePair pair;
    const auto size = GENERATE(as<std::size_t>{}, 0, 1, 8, 1300, 1500, 4096, 100000);
    const bool inject = GENERATE(false, true);
    pair.a.io.reverse = pair.b.io.reverse = GENERATE(false, true);
    if (GENERATE(false, true)) {
        lose(pair);
    }
    if (inject && size > max_inject_size) {
        return;
    }
    Transfer write(size);
    write.operation.copy_payload = inject;
    write.operation.flags.has_data = true;
    write.operation.data = 4711;
    REQUIRE(pair.submit(write.get(), 5) == Status::ok);
    pair.run();
    REQUIRE(pair.a.done.size() == 1);
    CHECK(pair.a.done[0].kind == Event::Kind::send_done);
    CHECK(pair.a.done[0].cause == Cause::none);
    CHECK(pair.a.done[0].cookie == 5);
    CHECK(std::equal(write.bytes.begin(), write.bytes.end(), pair.b.memory.begin() + 100));
    CHECK(pair.b.memory[99] == std::byte{0});
    CHECK(pair.b.memory[100 + size] == std::byte{0});
    CHECK(pair.b.remote_data == std::vector<std::uint64_t>{4711});
    CHECK(pair.b.remote_writes == 1);
    CHECK(pair.a.engine.drained());
    CHECK(pair.b.engine.drained());
}

TEST_CASE("write: several ranges are one operation", "[engine][rma]")
{
    EnginePair pair;
    const bool inject = GENERATE(false, true);
    const auto size = GENERATE(as<std::size_t>{}, 40, 3000);
    auto bytes = pattern(size);
    const iovec iov{bytes.data(), bytes.size()};
    const std::array<RemoteRange, 3> ranges{
        {{10, 8, 7}, {size + 1000, 0, 7}, {2 * size + 5000, size - 8, 7}}};
    Operation operation;
    operation.kind = OperationKind::write;
    operation.copy_payload = inject;
    operation.iov = {&iov, 1};
    operation.remote = ranges;
    REQUIRE(pair.submit(operation, 1) == Status::ok);
    pair.run();
    REQUIRE(pair.a.done.size() == 1);
    CHECK(std::equal(bytes.begin(), bytes.begin() + 8, pair.b.memory.begin() + 10));
    CHECK(std::equal(bytes.begin() + 8, bytes.end(),
                     pair.b.memory.begin() + static_cast<std::ptrdiff_t>(2 * size + 5000)));
    CHECK(pair.b.remote_writes == 1);
}

TEST_CASE("write: a fault reaches the operation that caused it, and only that", "[engine][rma]")
{
    EnginePair pair;
    const auto size = GENERATE(as<std::size_t>{}, 8, 20000);
    if (GENERATE(false, true)) {
        lose(pair);
    }
    Transfer good(size);
    Transfer bad(size);
    bad.range.key = 8;
    Transfer outside(size);
    outside.range.address = pair.b.memory.size() - size + 1;
    REQUIRE(pair.submit(good.get(), 1) == Status::ok);
    REQUIRE(pair.submit(bad.get(), 2) == Status::ok);
    REQUIRE(pair.submit(outside.get(), 3) == Status::ok);
    REQUIRE(pair.submit(good.get(), 4) == Status::ok);
    pair.run();
    REQUIRE(pair.a.done.size() == 4);
    for (const Event& event : pair.a.done) {
        const Cause expected = event.cookie == 2   ? Cause::bad_key
                               : event.cookie == 3 ? Cause::out_of_bounds
                                                   : Cause::none;
        CHECK(event.cause == expected);
    }
    CHECK(pair.b.remote_writes == 2);
    CHECK(pair.a.engine.drained());
    CHECK(pair.b.engine.drained());
}

TEST_CASE("read: fetches what is there", "[engine][rma]")
{
    EnginePair pair;
    const auto size = GENERATE(as<std::size_t>{}, 0, 1, 8, 1500, 300000);
    pair.a.io.reverse = pair.b.io.reverse = GENERATE(false, true);
    if (GENERATE(false, true)) {
        lose(pair);
    }
    const auto source = pattern(size);
    std::copy(source.begin(), source.end(), pair.b.memory.begin() + 100);
    Transfer read(size, OperationKind::read);
    std::fill(read.bytes.begin(), read.bytes.end(), std::byte{0xee});
    REQUIRE(pair.submit(read.get(), 6) == Status::ok);
    pair.run(8000);
    REQUIRE(pair.a.done.size() == 1);
    CHECK(pair.a.done[0].cause == Cause::none);
    CHECK(pair.a.done[0].cookie == 6);
    CHECK(read.bytes == source);
    CHECK(pair.b.done.size() == (size == 300000 ? pair.b.counters.rx_reads.value() : 1));
    CHECK(pair.b.done[0].kind == Event::Kind::read_served);
    CHECK(pair.a.engine.drained());
    CHECK(pair.b.engine.drained());
}

TEST_CASE("read: is denied, or its region closes", "[engine][rma]")
{
    EnginePair pair;
    pair.b.revoke_at_serve = GENERATE(false, true);
    Transfer read(50000, OperationKind::read);
    if (!pair.b.revoke_at_serve) {
        read.range.key = 9;
    }
    REQUIRE(pair.submit(read.get(), 6) == Status::ok);
    pair.run();
    REQUIRE(pair.a.done.size() == 1);
    CHECK(pair.a.done[0].cause == (pair.b.revoke_at_serve ? Cause::region_closed : Cause::bad_key));
    CHECK(pair.a.engine.drained());
    CHECK(pair.b.engine.drained());
}

TEST_CASE("atomic: fetches old values in order, exactly once", "[engine][rma]")
{
    EnginePair pair;
    pair.a.io.reverse = pair.b.io.reverse = GENERATE(false, true);
    if (GENERATE(false, true)) {
        lose(pair);
    }
    constexpr std::size_t rounds = 300;
    std::vector<std::uint64_t> results(rounds, 77);
    std::uint64_t one = 1;
    const iovec operand{&one, sizeof(one)};
    const RemoteRange range{.address = 64, .length = 8, .key = 7};
    for (std::size_t i = 0; i < rounds; ++i) {
        const iovec result{&results[i], sizeof(results[i])};
        Operation operation;
        operation.kind = OperationKind::atomic;
        operation.iov = {&operand, 1};
        operation.remote = {&range, 1};
        operation.atomic.fetch = i % 2 == 0;
        operation.atomic.result = {&result, 1};
        REQUIRE(pair.submit(operation, i) == Status::ok);
    }
    pair.run();
    CHECK(pair.a.done.size() == rounds);
    std::uint64_t sum = 0;
    std::memcpy(&sum, pair.b.memory.data() + 64, sizeof(sum));
    CHECK(sum == rounds);
    for (std::size_t i = 0; i < rounds; ++i) {
        CHECK(results[i] == (i % 2 == 0 ? i : 77));
    }
    CHECK(pair.a.engine.drained());
    CHECK(pair.b.engine.drained());
}

TEST_CASE("atomic: is denied with or without a fetch", "[engine][rma]")
{
    EnginePair pair;
    std::uint64_t value = 1;
    const iovec operand{&value, sizeof(value)};
    const RemoteRange range{.address = 64, .length = 8, .key = 8};
    Operation operation;
    operation.kind = OperationKind::atomic;
    operation.iov = {&operand, 1};
    operation.remote = {&range, 1};
    operation.atomic.fetch = GENERATE(false, true);
    operation.atomic.result = {&operand, 1};
    REQUIRE(pair.submit(operation, 3) == Status::ok);
    pair.run(200);
    REQUIRE(pair.a.done.size() == 1);
    CHECK(pair.a.done[0].cause == Cause::bad_key);
    CHECK(value == 1);
}

TEST_CASE("fence: starts when everything before it is complete", "[engine][rma]")
{
    EnginePair pair;
    lose(pair);
    Transfer first(60000);
    Transfer second(60000);
    std::fill(second.bytes.begin(), second.bytes.end(), std::byte{1});
    second.operation.fence = true;
    Transfer third(8);
    std::fill(third.bytes.begin(), third.bytes.end(), std::byte{2});
    REQUIRE(pair.submit(first.get(), 1) == Status::ok);
    REQUIRE(pair.submit(second.get(), 2) == Status::ok);
    third.operation.fence = true;
    REQUIRE(pair.submit(third.get(), 3) == Status::ok);
    pair.run();
    REQUIRE(pair.a.done.size() == 3);
    CHECK(pair.a.done[0].cookie == 1);
    CHECK(pair.a.done[1].cookie == 2);
    CHECK(pair.a.done[2].cookie == 3);
    CHECK(pair.b.memory[100] == std::byte{2});
    CHECK(pair.b.memory[108] == std::byte{1});
    CHECK(pair.b.memory[60099] == std::byte{1});
}
