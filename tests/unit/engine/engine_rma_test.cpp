// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Remote memory access between two engines that are joined by a wire in
// memory. Every law is tried under many seeds in tests/sim; here stands how
// the calls are meant, one case each.
#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <functional>
#include <numeric>
#include <vector>

#include "engine.hpp"

#include "support/catch.hpp"
#include "support/gather.hpp"

namespace {

using namespace srd;
using std::chrono::microseconds;

/// Two endpoints. Each serves accesses to its `memory` under key 7, addresses being offsets.
class Pair {
public:
    struct Side {
        explicit Side(std::uint8_t name)
            : address{std::byte{name}}, engine(caps(), limits(), Tuning{}, counters, address, name)
        {
        }
        static IoCaps caps()
        {
            IoCaps caps;
            caps.max_packet = 1472;
            return caps;
        }
        static Limits limits()
        {
            Limits limits;
            limits.max_peers = 4;
            limits.max_routes = 4;
            limits.max_packet = 1472;
            limits.tx_slots = 2048;
            limits.tx_messages = 2048;
            limits.rx_messages = 2048;
            limits.unexpected_bytes = 1U << 20;
            return limits;
        }

        std::array<std::byte, 1> address;
        Counters counters;
        Engine engine;
        PeerId peer{};
        std::vector<std::byte> memory = std::vector<std::byte>(1U << 20);
        std::vector<Event> done;
        std::vector<std::uint64_t> remote_data;
        std::size_t remote_writes = 0;
        bool revoke_at_serve = false;
    };

    Pair()
    {
        a.peer = a.engine.open_peer(RouteId{0}, 1472, now);
        b.peer = b.engine.open_peer(RouteId{0}, 1472, now);
    }

    /// Passes until nothing is left to do, or `rounds` are over.
    void run(int rounds = 4000)
    {
        for (int round = 0; round < rounds; ++round) {
            pass(a, to_a, to_b);
            pass(b, to_b, to_a);
            now += microseconds(5);
            a.engine.check_invariants();
            b.engine.check_invariants();
        }
    }

    /// One operation of `a`; fills in peer and cookie.
    Status submit(Operation operation, std::uint64_t cookie)
    {
        operation.peer = a.peer;
        operation.cookie = cookie;
        return a.engine.submit(operation, now);
    }

    Side a{1};
    Side b{2};
    Time now = Time(std::chrono::seconds(1));
    std::function<bool(std::size_t)> drop; ///< by number of the packet
    bool reverse = false;                  ///< packets of a burst arrive in the wrong order

private:
    using Bytes = std::vector<std::byte>;

    void pass(Side& side, std::deque<Bytes>& in, std::deque<Bytes>& out)
    {
        std::vector<Bytes> held(std::make_move_iterator(in.begin()), std::make_move_iterator(in.end()));
        in.clear();
        std::vector<RxPacket> packets;
        for (const Bytes& bytes : held) {
            packets.push_back({bytes.data(), static_cast<std::uint32_t>(bytes.size()), false, now});
        }
        if (reverse) {
            std::reverse(packets.begin(), packets.end());
        }
        side.engine.on_packets(packets, now);
        if (side.engine.next_timeout() <= now) {
            side.engine.on_timeout(now);
        }
        Event event;
        while (side.engine.poll_event(event)) {
            serve(side, event);
        }
        std::array<TxPacket, 64> burst;
        const std::size_t count = side.engine.poll_transmit(burst, now);
        for (const TxPacket& packet : std::span(burst).first(count)) {
            Bytes bytes;
            test::gather(std::span(packet.iov).first(packet.iov_count), bytes);
            if (!drop || !drop(sent_)) {
                out.push_back(std::move(bytes));
            }
            ++sent_;
        }
        side.engine.on_tx_done();
    }

    void serve(Side& side, const Event& event)
    {
        switch (event.kind) {
        case Event::Kind::hello:
            side.engine.accept_hello(RouteId{0}, 1472, now);
            return;
        case Event::Kind::write:
        case Event::Kind::read:
        case Event::Kind::atomic:
            access(side, event);
            return;
        case Event::Kind::message: {
            Accepted outcome{};
            CHECK(side.engine.accept(event.message, {}, 0, now, outcome) == Status::ok);
            return;
        }
        default:
            side.done.push_back(event);
        }
    }

    void access(Side& side, const Event& event)
    {
        const RemoteRange& range = event.ranges.front();
        if (range.key != 7) {
            side.engine.reject(Cause::bad_key, now);
            return;
        }
        if (range.address > side.memory.size() || range.length > side.memory.size() - range.address) {
            side.engine.reject(Cause::out_of_bounds, now);
            return;
        }
        std::byte* const at = side.memory.data() + range.address;
        if (event.kind == Event::Kind::write) {
            std::copy(event.payload.begin(), event.payload.end(), at);
            side.remote_writes += event.last ? 1U : 0U;
            if (event.last && event.flags.has_data) {
                side.remote_data.push_back(event.data);
            }
            side.engine.confirm(now);
        } else if (event.kind == Event::Kind::read) {
            const iovec iov{at, range.length};
            side.engine.serve({&iov, 1}, 7, true, 99, now);
            if (side.revoke_at_serve) {
                side.engine.revoke(7, now);
            }
        } else {
            std::uint64_t old = 0;
            std::memcpy(&old, at, sizeof(old));
            if (!event.result.empty()) {
                std::memcpy(event.result.data(), &old, sizeof(old));
            }
            std::uint64_t operand = 0;
            std::memcpy(&operand, event.payload.data(), sizeof(operand));
            const std::uint64_t sum = old + operand;
            std::memcpy(at, &sum, sizeof(sum));
            side.engine.confirm(now);
        }
    }

    std::deque<Bytes> to_a;
    std::deque<Bytes> to_b;
    std::size_t sent_ = 0;
};

std::vector<std::byte> pattern(std::size_t size)
{
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
    }
    return bytes;
}

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

bool every_third(std::size_t number)
{
    return number % 3 == 2;
}

} // namespace

TEST_CASE("write: is placed and completes", "[engine][rma]")
{
    Pair pair;
    const auto size = GENERATE(as<std::size_t>{}, 0, 1, 8, 1300, 1500, 4096, 100000);
    const bool inject = GENERATE(false, true);
    pair.reverse = GENERATE(false, true);
    if (GENERATE(false, true)) {
        pair.drop = every_third;
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
    Pair pair;
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
    Pair pair;
    const auto size = GENERATE(as<std::size_t>{}, 8, 20000);
    if (GENERATE(false, true)) {
        pair.drop = every_third;
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
    Pair pair;
    const auto size = GENERATE(as<std::size_t>{}, 0, 1, 8, 1500, 300000);
    pair.reverse = GENERATE(false, true);
    if (GENERATE(false, true)) {
        pair.drop = every_third;
    }
    const auto source = pattern(size);
    std::copy(source.begin(), source.end(), pair.b.memory.begin() + 100);
    Transfer read(size, OperationKind::read);
    std::fill(read.bytes.begin(), read.bytes.end(), std::byte{0xee});
    REQUIRE(pair.submit(read.get(), 6) == Status::ok);
    pair.run();
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
    Pair pair;
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
    Pair pair;
    pair.reverse = GENERATE(false, true);
    if (GENERATE(false, true)) {
        pair.drop = every_third;
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
    Pair pair;
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
    Pair pair;
    pair.drop = every_third;
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
