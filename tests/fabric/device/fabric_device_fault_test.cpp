// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A driver that refuses copies: what needs them ends with an error, nothing else does, and all goes on
// afterwards.
#include "fabric/device/device_support.hpp"

#include <rdma/fi_atomic.h>

using namespace fabric_test;

namespace {

/// Copies fail for a scope.
class Failing {
public:
    explicit Failing(int after) { fake_cuda_fail_after(after); }
    ~Failing() { end(); }
    static void end() { fake_cuda_fail_after(-1); }
    Failing(const Failing&) = delete;
    Failing& operator=(const Failing&) = delete;
};

constexpr std::size_t large = 3'000'000;

/// A message and a write go from device to device as if nothing had been.
void check_well(Pair& pair)
{
    Buffer from(pair.domain, Place::device, pattern(large, 5));
    Buffer to(pair.domain, Place::device, large);
    pair.until([&] { // what the failure has left to be said
        const bool said = !pair.a.ready.empty() || !pair.b.ready.empty();
        pair.a.ready.clear();
        pair.b.ready.clear();
        return !said;
    });
    REQUIRE(fi_recv(pair.b.ep.get(), to.data(), large, to.desc(), FI_ADDR_UNSPEC, nullptr) == 0);
    REQUIRE(pair.retry([&] {
        return fi_send(pair.a.ep.get(), from.data(), large, from.desc(), pair.b_at_a, nullptr);
    }) == 0);
    CHECK_FALSE(pair.next(pair.b).failed);
    CHECK_FALSE(pair.next(pair.a).failed);
    CHECK(to.read() == from.read());
}

void check_failed(const Entry& entry, int error)
{
    REQUIRE(entry.failed);
    CHECK(entry.error.err == error);
}

} // namespace

TEST_CASE("a send whose bytes cannot be read fails, at once or when its turn comes")
{
    Pair pair(device_options());
    Buffer small(pair.domain, Place::device, pattern(1000));
    {
        const Failing failing(0);
        CHECK(fi_send(pair.a.ep.get(), small.data(), 1000, small.desc(), pair.b_at_a, nullptr) == -FI_EIO);
    }
    check_well(pair);
    for (const int after : {0, 1, 3}) {
        INFO(after);
        Buffer from(pair.domain, Place::device, pattern(large));
        Buffer to(pair.domain, Place::host, large);
        {
            const Failing failing(after);
            REQUIRE(fi_recv(pair.b.ep.get(), to.data(), large, nullptr, FI_ADDR_UNSPEC, &to) == 0);
            REQUIRE(fi_send(pair.a.ep.get(), from.data(), large, from.desc(), pair.b_at_a, &from) == 0);
            const Entry sent = pair.next(pair.a);
            check_failed(sent, FI_EIO);
            CHECK(sent.context() == &from);
        }
        if (fi_cancel(&pair.b.ep->fid, &to) == 0) {
            CHECK(pair.next(pair.b).failed); // canceled, or ended with the connection
        }
        check_well(pair);
    }
}

TEST_CASE("a receive whose buffer takes no bytes fails; its sender is done")
{
    Pair pair(device_options());
    for (const std::size_t size :
         {std::size_t{10}, std::size_t{4000}, std::size_t{9000}, std::size_t{50'000}, large}) {
        for (const bool expected : {true, false}) {
            INFO(size << (expected ? " expected" : " unexpected"));
            Bytes from = pattern(size);
            Buffer to(pair.domain, Place::device, size);
            const auto receive = [&] {
                REQUIRE(fi_recv(pair.b.ep.get(), to.data(), size, to.desc(), FI_ADDR_UNSPEC, &to) == 0);
            };
            if (expected) {
                receive();
            }
            const Failing failing(0);
            REQUIRE(pair.retry([&] {
                return fi_send(pair.a.ep.get(), from.data(), size, nullptr, pair.b_at_a, nullptr);
            }) == 0);
            if (!expected) {
                for (int i = 0; i < 50; ++i) {
                    pair.poll();
                }
                receive();
            }
            const Entry received = pair.next(pair.b);
            check_failed(received, FI_EIO);
            CHECK(received.context() == &to);
            CHECK_FALSE(pair.next(pair.a).failed);
        }
        check_well(pair);
    }
}

TEST_CASE("a driver that finds out only at the end: what was under way fails, and all that the endpoint "
          "copies later")
{
    Pair pair(device_options());
    Bytes from = pattern(large);
    Buffer to(pair.domain, Place::device, large);
    REQUIRE(fi_recv(pair.b.ep.get(), to.data(), large, to.desc(), FI_ADDR_UNSPEC, nullptr) == 0);
    fake_cuda_lose_next();
    REQUIRE(fi_send(pair.a.ep.get(), from.data(), large, nullptr, pair.b_at_a, nullptr) == 0);
    check_failed(pair.next(pair.b), FI_EIO);
    CHECK_FALSE(pair.next(pair.a).failed);
    REQUIRE(fi_recv(pair.b.ep.get(), to.data(), 10, to.desc(), FI_ADDR_UNSPEC, nullptr) == 0);
    REQUIRE(fi_send(pair.a.ep.get(), from.data(), 10, nullptr, pair.b_at_a, nullptr) == 0);
    check_failed(pair.next(pair.b), FI_EIO);
    CHECK_FALSE(pair.next(pair.a).failed);
    Bytes host(10); // memory of the host is not concerned
    REQUIRE(fi_recv(pair.b.ep.get(), host.data(), 10, nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
    REQUIRE(fi_send(pair.a.ep.get(), from.data(), 10, nullptr, pair.b_at_a, nullptr) == 0);
    CHECK_FALSE(pair.next(pair.b).failed);
    CHECK_FALSE(pair.next(pair.a).failed);
    Pair another(device_options());
    check_well(another);
}

TEST_CASE("remote access fails at either end's device")
{
    Pair pair(device_options());
    for (const std::size_t size : {std::size_t{8}, std::size_t{8000}, large}) {
        INFO(size);
        Buffer host(pair.domain, Place::host, pattern(size));
        Buffer device(pair.domain, Place::device, pattern(size, 2));
        fid_ep* const ep = pair.a.ep.get();
        const auto failing = [&](const char* what, int error, const std::function<ssize_t()>& call) {
            INFO(what);
            const Failing scope(0);
            const ssize_t code = pair.retry(call);
            if (code == 0) {
                check_failed(pair.next(pair.a), error);
            } else {
                CHECK(code == -FI_EIO); // it was found out at once
            }
        };
        failing("write to the peer's device", FI_EKEYREJECTED, [&] {
            return fi_write(ep, host.data(), size, host.desc(), pair.b_at_a, 0, device.key(), nullptr);
        });
        failing("read of the peer's device", FI_EKEYREJECTED, [&] {
            return fi_read(ep, host.data(), size, host.desc(), pair.b_at_a, 0, device.key(), nullptr);
        });
        failing("read into ours", FI_EIO, [&] {
            return fi_read(ep, device.data(), size, device.desc(), pair.b_at_a, 0, host.key(), nullptr);
        });
        check_well(pair);
        failing("write from ours", FI_EIO, [&] {
            return fi_write(ep, device.data(), size, device.desc(), pair.b_at_a, 0, host.key(), nullptr);
        });
        check_well(pair);
    }
}

TEST_CASE("an atomic fails where a device does")
{
    Pair pair(device_options());
    Buffer host(pair.domain, Place::host, Bytes(8, 1));
    Buffer device(pair.domain, Place::device, Bytes(8, 1));
    fid_ep* const ep = pair.a.ep.get();
    for (const int after : {0, 1}) { // read, then write
        const Failing failing(after);
        REQUIRE(fi_atomic(ep, host.data(), 1, nullptr, pair.b_at_a, 0, device.key(), FI_UINT64, FI_SUM,
                          nullptr) == 0);
        check_failed(pair.next(pair.a), FI_EKEYREJECTED);
    }
    {
        const Failing failing(0);
        CHECK(fi_atomic(ep, device.data(), 1, device.desc(), pair.b_at_a, 0, host.key(), FI_UINT64, FI_SUM,
                        nullptr) == -FI_EIO);
        Bytes operand(8);
        REQUIRE(fi_fetch_atomic(ep, operand.data(), 1, nullptr, device.data(), device.desc(), pair.b_at_a, 0,
                                host.key(), FI_UINT64, FI_SUM, nullptr) == 0);
        check_failed(pair.next(pair.a), FI_EIO);
    }
    CHECK(device.read() == Bytes(8, 1));
    check_well(pair);
}

TEST_CASE("memory that its owner has freed: an error, no fault")
{
    Pair pair(device_options());
    std::uint64_t address = 0;
    {
        const OnDevice here(0);
        REQUIRE(cuMemAlloc_v2(&address, large) == 0);
    }
    auto* const memory = reinterpret_cast<void*>(address); // NOLINT
    Handle<fid_mr> region;
    REQUIRE(register_memory(pair.domain, FI_HMEM_CUDA, 0, memory, large, region) == 0);
    REQUIRE(cuMemFree_v2(address) == 0);
    // Nothing here knows of that range any more but the driver, which refuses it.
    Bytes host(large);
    REQUIRE(fi_read(pair.a.ep.get(), host.data(), large, nullptr, pair.b_at_a, 0, fi_mr_key(region.get()),
                    nullptr) == 0);
    check_failed(pair.next(pair.a), FI_EKEYREJECTED);
    check_well(pair);
}
