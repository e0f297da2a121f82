// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Remote memory access and atomics from, to and on device memory.
#include "fabric/device/device_support.hpp"

#include <rdma/fi_atomic.h>

using namespace fabric_test;

namespace {

void check_done(Pair& pair, TestEndpoint& who)
{
    const Entry entry = pair.next(who);
    INFO(entry.error.err);
    REQUIRE_FALSE(entry.failed);
}

} // namespace

TEST_CASE("writes and reads of every size between all kinds of memory")
{
    Pair pair(device_options());
    unsigned seed = 0;
    for (const Way& way : ways) {
        for (const std::size_t size : sizes) {
            if (size == 0) {
                continue;
            }
            INFO("from " << int(way.from) << " to " << int(way.to) << ", " << size << " bytes");
            Buffer from(pair.domain, way.from, pattern(size, ++seed));
            Buffer to(pair.domain, way.to, size + 16);
            REQUIRE(pair.retry([&] {
                return fi_write(pair.a.ep.get(), from.data(), size, from.desc(), pair.b_at_a, 16, to.key(),
                                nullptr);
            }) == 0);
            check_done(pair, pair.a);
            Bytes there = to.read();
            there.erase(there.begin(), there.begin() + 16);
            REQUIRE(there == from.read());

            Buffer back(pair.domain, way.from, size);
            REQUIRE(pair.retry([&] {
                return fi_read(pair.a.ep.get(), back.data(), size, back.desc(), pair.b_at_a, 16, to.key(),
                               nullptr);
            }) == 0);
            check_done(pair, pair.a);
            REQUIRE(back.read() == from.read());
        }
    }
}

TEST_CASE("a message that tells of a write comes after its bytes")
{
    Pair pair(device_options());
    for (const std::size_t size : {std::size_t{8}, std::size_t{5000}, std::size_t{300'000}}) {
        for (unsigned round = 0; round < 10; ++round) {
            INFO(size << " bytes, round " << round);
            Buffer from(pair.domain, Place::device, pattern(size, round));
            Buffer to(pair.domain, Place::device, size);
            REQUIRE(pair.retry([&] {
                return fi_writedata(pair.a.ep.get(), from.data(), size, from.desc(), 77 + round, pair.b_at_a,
                                    0, to.key(), nullptr);
            }) == 0);
            const Entry told = pair.next(pair.b);
            REQUIRE_FALSE(told.failed);
            CHECK(told.good.data == 77 + round);
            CHECK(to.read() == from.read());
            check_done(pair, pair.a);
        }
    }
}

TEST_CASE("what peers name on a device is checked as anywhere")
{
    Pair pair(device_options());
    Buffer from(pair.domain, Place::device, pattern(100'000));
    Buffer to(pair.domain, Place::device, 50'000);
    const auto fails = [&](std::size_t size, std::uint64_t address, std::uint64_t key, int error) {
        for (const bool is_read : {false, true}) {
            REQUIRE((is_read ? fi_read(pair.a.ep.get(), from.data(), size, from.desc(), pair.b_at_a, address,
                                       key, nullptr)
                             : fi_write(pair.a.ep.get(), from.data(), size, from.desc(), pair.b_at_a, address,
                                        key, nullptr)) == 0);
            const Entry entry = pair.next(pair.a);
            REQUIRE(entry.failed);
            CHECK(entry.error.err == error);
        }
    };
    fails(10, 49'991, to.key(), FI_EINVAL);
    fails(60'000, 0, to.key(), FI_EINVAL);
    fails(10, 0, to.key() + 999, FI_EKEYREJECTED);
    const std::uint64_t key = to.key();
    to.close_region();
    fails(10, 0, key, FI_EKEYREJECTED);
}

TEST_CASE("several ranges of several devices are written and read in one operation")
{
    Pair pair(device_options());
    constexpr std::size_t unit = 33'333;
    Buffer from_device(pair.domain, Place::device, pattern(unit, 1));
    Buffer from_host(pair.domain, Place::host, pattern(2 * unit, 2));
    Buffer to_first(pair.domain, Place::other_device, 2 * unit);
    Buffer to_second(pair.domain, Place::device, unit);
    const iovec iov[] = {{from_device.data(), unit}, {from_host.data(), 2 * unit}};
    void* desc[] = {from_device.desc(), from_host.desc()};
    const fi_rma_iov remote[] = {{0, 2 * unit, to_first.key()}, {0, unit, to_second.key()}};
    fi_msg_rma msg{};
    msg.msg_iov = iov;
    msg.desc = desc;
    msg.iov_count = 2;
    msg.addr = pair.b_at_a;
    msg.rma_iov = remote;
    msg.rma_iov_count = 2;
    REQUIRE(fi_writemsg(pair.a.ep.get(), &msg, FI_COMPLETION) == 0);
    check_done(pair, pair.a);
    Bytes whole = from_device.read();
    const Bytes rest = from_host.read();
    whole.insert(whole.end(), rest.begin(), rest.end());
    Bytes there = to_first.read();
    const Bytes tail = to_second.read();
    there.insert(there.end(), tail.begin(), tail.end());
    CHECK(there == whole);

    from_device.write(Bytes(unit));
    from_host.write(Bytes(2 * unit));
    REQUIRE(fi_readmsg(pair.a.ep.get(), &msg, FI_COMPLETION) == 0);
    check_done(pair, pair.a);
    Bytes back = from_device.read();
    const Bytes back_rest = from_host.read();
    back.insert(back.end(), back_rest.begin(), back_rest.end());
    CHECK(back == whole);
}

TEST_CASE("a region on a device that closes while it is read fails the read")
{
    Pair pair(device_options());
    for (int polls = 0; polls < 12; ++polls) {
        INFO(polls);
        Buffer source(pair.domain, Place::device, pattern(8U << 20));
        Buffer into(pair.domain, Place::device, 8U << 20);
        REQUIRE(fi_read(pair.a.ep.get(), into.data(), into.size(), into.desc(), pair.b_at_a, 0, source.key(),
                        nullptr) == 0);
        for (int i = 0; i < polls; ++i) {
            pair.poll();
        }
        source.close_region();
        const Entry entry = pair.next(pair.a);
        if (entry.failed) {
            CHECK(entry.error.err == FI_EKEYREJECTED);
        } else {
            CHECK(into.read() == source.read());
        }
    }
}

// -- Atomics ----------------------------------------------------------------------------

namespace {

Bytes words(const std::vector<std::uint64_t>& values)
{
    Bytes bytes(values.size() * sizeof(std::uint64_t));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

} // namespace

TEST_CASE("atomics with operands, comparands, results and targets on devices")
{
    Pair pair(device_options());
    for (const Place target_place : {Place::host, Place::device, Place::other_device}) {
        for (const Place place : {Place::device, Place::host, Place::pool}) {
            INFO("target " << int(target_place) << ", here " << int(place));
            Buffer target(pair.domain, target_place, words({10, 20, 30}));
            Buffer operand(pair.domain, place, words({1, 2, 3}));
            Buffer compare(pair.domain, place, words({11, 0, 33}));
            Buffer result(pair.domain, place, 24);
            fid_ep* const ep = pair.a.ep.get();

            REQUIRE(fi_atomic(ep, operand.data(), 3, operand.desc(), pair.b_at_a, 0, target.key(), FI_UINT64,
                              FI_SUM, nullptr) == 0);
            check_done(pair, pair.a);
            CHECK(target.read() == words({11, 22, 33}));

            REQUIRE(fi_compare_atomic(ep, operand.data(), 3, operand.desc(), compare.data(), compare.desc(),
                                      result.data(), result.desc(), pair.b_at_a, 0, target.key(), FI_UINT64,
                                      FI_CSWAP, nullptr) == 0);
            check_done(pair, pair.a);
            CHECK(result.read() == words({11, 22, 33}));
            CHECK(target.read() == words({1, 22, 3}));

            REQUIRE(fi_fetch_atomic(ep, operand.data(), 3, operand.desc(), result.data(), result.desc(),
                                    pair.b_at_a, 0, target.key(), FI_UINT64, FI_SUM, nullptr) == 0);
            check_done(pair, pair.a);
            CHECK(result.read() == words({1, 22, 3}));
            CHECK(target.read() == words({2, 24, 6}));

            REQUIRE(fi_fetch_atomic(ep, nullptr, 3, nullptr, result.data(), result.desc(), pair.b_at_a, 0,
                                    target.key(), FI_UINT64, FI_ATOMIC_READ, nullptr) == 0);
            check_done(pair, pair.a);
            CHECK(result.read() == words({2, 24, 6}));
        }
    }
}

TEST_CASE("an atomic of ranges on a device and on the host")
{
    Pair pair(device_options());
    Buffer on_device(pair.domain, Place::device, words({1, 2}));
    Buffer on_host(pair.domain, Place::host, words({3}));
    Buffer operand(pair.domain, Place::device, words({10, 20, 30}));
    fi_ioc ioc{operand.data(), 3};
    void* desc = operand.desc();
    const fi_rma_ioc remote[] = {{0, 2, on_device.key()}, {0, 1, on_host.key()}};
    fi_msg_atomic msg{};
    msg.msg_iov = &ioc;
    msg.desc = &desc;
    msg.iov_count = 1;
    msg.addr = pair.b_at_a;
    msg.rma_iov = remote;
    msg.rma_iov_count = 2;
    msg.datatype = FI_UINT64;
    msg.op = FI_SUM;
    REQUIRE(fi_atomicmsg(pair.a.ep.get(), &msg, FI_COMPLETION) == 0);
    check_done(pair, pair.a);
    CHECK(on_device.read() == words({11, 22}));
    CHECK(on_host.read() == words({33}));
}
