// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Device memory through the engine, where packets are lost and turned round, and on one host. Whoever touches
// it instead of having it copied ends the test.
#include "engine.hpp"

#include <algorithm>
#include <vector>

#include "support/catch.hpp"
#include "support/device_double.hpp"
#include "support/engine_pair.hpp"
#include "support/sim/sim_random.hpp"

using namespace srd;
using namespace srd::test;

namespace {

constexpr std::size_t large = 3'000'000;

struct DevicePair : EnginePair {
    explicit DevicePair(const Options& options = {}, double loss = 0, std::uint64_t seed = 1)
        : EnginePair(options), random(seed)
    {
        a.engine.use_devices(device_a, space_a.data());
        b.engine.use_devices(device_b, space_b.data());
        for (WireIo* const io : {&a.io, &b.io}) {
            io->drop = [this, loss](std::size_t) { return random.chance(loss); };
        }
    }

    /// From a's device to b's, or to or from host memory.
    void send_between(bool from_device, bool to_device, std::size_t size)
    {
        const Bytes bytes = pattern(size, static_cast<unsigned>(size));
        Bytes host_from = bytes;
        Bytes host_to(size);
        std::copy(bytes.begin(), bytes.end(), device_a.bytes.begin());
        std::fill(device_b.bytes.begin(), device_b.bytes.end(), std::byte{0});
        const iovec from{from_device ? device_a.data() : host_from.data(), size};
        b.buffer = {{to_device ? device_b.data() : host_to.data(), size}};
        b.buffer_device = to_device ? DeviceDouble::id : DeviceId::host;
        a.done.clear();
        b.done.clear();
        Operation operation;
        operation.iov = {&from, 1};
        operation.device = from_device ? DeviceDouble::id : DeviceId::host;
        REQUIRE(submit(operation, 1) == Status::ok);
        for (int i = 0; i < 400 && (a.done.empty() || b.done.empty()); ++i) {
            a.io.reverse = random.chance(0.3);
            b.io.reverse = random.chance(0.3);
            run(500);
        }
        REQUIRE(a.done.size() == 1);
        REQUIRE(b.done.size() == 1);
        CHECK(a.done[0].cause == Cause::none);
        CHECK(b.done[0].cause == Cause::none);
        const bool arrived =
            to_device ? std::equal(bytes.begin(), bytes.end(), device_b.bytes.begin()) : bytes == host_to;
        CHECK(arrived);
    }

    sim::SimRandom random;
    DeviceDouble device_a{large};
    DeviceDouble device_b{large};
    Bytes space_a = Bytes(Engine::device_space);
    Bytes space_b = Bytes(Engine::device_space);
};

} // namespace

TEST_CASE("device memory arrives whole through loss and reordering")
{
    for (const std::uint64_t seed : {1U, 2U, 3U, 4U, 5U, 6U}) {
        for (const double loss : {0.0, 0.05}) {
            DevicePair pair({}, loss, seed);
            for (const std::size_t size : {std::size_t{1}, std::size_t{1400}, std::size_t{9000},
                                           std::size_t{100'000}, std::size_t{700'001}}) {
                INFO("seed " << seed << ", loss " << loss << ", " << size << " bytes");
                pair.send_between(true, true, size);
                pair.send_between(true, false, size);
                pair.send_between(false, true, size);
            }
        }
    }
}

TEST_CASE("on one host device memory is neither announced nor read by others")
{
    DevicePair pair({.max_packet = 65507, .same_host = true});
    pair.send_between(false, false, 1000);
    for (const std::size_t size : {std::size_t{5000}, std::size_t{60'000}, std::size_t{400'000}, large}) {
        INFO(size);
        pair.send_between(true, true, size);
        pair.send_between(true, false, size);
        pair.send_between(false, true, size);
    }
}

TEST_CASE("a chunk is copied once for many packets, and the next one ahead of them")
{
    DevicePair pair;
    pair.send_between(true, false, large);
    CHECK(pair.device_a.copies == (large + DeviceStaging::chunk_size - 1) / DeviceStaging::chunk_size);
    CHECK(pair.device_a.waits <= pair.device_a.copies);
}

TEST_CASE("DeviceStaging: what is sent again is copied again, and nothing ahead of it")
{
    DeviceDouble device(3 * DeviceStaging::chunk_size);
    Bytes space(DeviceStaging::space);
    DeviceStaging staging;
    staging.use(device, space.data());
    TxMessage message;
    message.device = DeviceDouble::id;
    message.staged = staging.new_name();
    message.total = 3 * DeviceStaging::chunk_size;
    message.iov[0] = {device.data(), message.total};
    message.iov_count = 1;
    SECTION("first time")
    {
        message.framed = 1000;
        REQUIRE(staging.prepare(message, 0, 1000) == DeviceStaging::Result::ready);
        CHECK(device.copies == 2);
        CHECK(device.under_way() == 1);
    }
    SECTION("again")
    {
        message.framed = message.total; // it may be done before anything else is needed
        REQUIRE(staging.prepare(message, 0, 1000) == DeviceStaging::Result::ready);
        CHECK(device.copies == 1);
        CHECK(device.under_way() == 0);
    }
}

TEST_CASE("stores of a burst are waited for together")
{
    DevicePair pair;
    pair.send_between(false, true, large);
    CHECK(pair.device_b.copies > 1500); // a packet each
    CHECK(pair.device_b.waits < pair.device_b.copies / 2);
}

TEST_CASE("a message that cannot be read from its device any more ends its connection with that cause")
{
    DevicePair pair;
    pair.send_between(false, false, 10);
    pair.device_a.fail_after = 3;
    Bytes into(large);
    pair.b.buffer = whole(into);
    pair.b.buffer_device = DeviceId::host;
    pair.a.done.clear();
    const iovec from{pair.device_a.data(), large};
    Operation operation;
    operation.iov = {&from, 1};
    operation.device = DeviceDouble::id;
    REQUIRE(pair.submit(operation, 7) == Status::ok);
    pair.run();
    REQUIRE(pair.a.done.size() == 1);
    CHECK(pair.a.done[0].cookie == 7);
    CHECK(pair.a.done[0].cause == Cause::device_failed);
    pair.device_a.fail_after = -1;
    pair.run(40'000);
    pair.send_between(true, true, 50'000);
}

TEST_CASE("a receive whose device fails has that cause, also when only waiting finds out")
{
    for (const bool late : {false, true}) {
        DevicePair pair;
        pair.send_between(false, false, 10);
        pair.device_b.loses_next = late;
        pair.device_b.fail_after = late ? -1 : 0;
        Bytes from = pattern(100'000);
        pair.b.buffer = {{pair.device_b.data(), from.size()}};
        pair.b.buffer_device = DeviceDouble::id;
        pair.a.done.clear();
        pair.b.done.clear();
        pair.send(from);
        pair.run();
        REQUIRE(pair.b.done.size() == 1);
        CHECK(pair.b.done[0].cause == Cause::device_failed);
        REQUIRE(pair.a.done.size() == 1);
        CHECK(pair.a.done[0].cause == Cause::none);
    }
}
