// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Messages from and to device memory. A byte of it that anything but the driver touches ends the test.
#include "fabric/device/device_support.hpp"

#include <algorithm>

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <srd/file_descriptor.hpp>

using namespace fabric_test;

namespace {

/// One message, whichever calls carry it.
void send_message(Pair& pair, Buffer& from, Buffer& to, bool tagged, bool expected)
{
    const auto receive = [&] {
        REQUIRE((tagged ? fi_trecv(pair.b.ep.get(), to.data(), to.size(), to.desc(), pair.a_at_b, 7, 0, &to)
                        : fi_recv(pair.b.ep.get(), to.data(), to.size(), to.desc(), pair.a_at_b, &to)) == 0);
    };
    if (expected) {
        receive();
    }
    REQUIRE(pair.retry([&] {
        return tagged
                   ? fi_tsend(pair.a.ep.get(), from.data(), from.size(), from.desc(), pair.b_at_a, 7, &from)
                   : fi_send(pair.a.ep.get(), from.data(), from.size(), from.desc(), pair.b_at_a, &from);
    }) == 0);
    if (!expected) {
        for (int i = 0; i < 50; ++i) {
            pair.poll(); // it arrives
        }
        receive();
    }
    const Entry received = pair.next(pair.b);
    REQUIRE_FALSE(received.failed);
    CHECK(received.good.len == from.size());
    CHECK(received.context() == &to);
    CHECK(to.read() == from.read());
    const Entry sent = pair.next(pair.a);
    REQUIRE_FALSE(sent.failed);
    CHECK(sent.context() == &from);
}

} // namespace

TEST_CASE("messages of every size between all kinds of memory")
{
    Pair pair(device_options());
    unsigned seed = 0;
    for (const Way& way : ways) {
        for (const std::size_t size : sizes) {
            for (const bool expected : {true, false}) {
                INFO("from " << int(way.from) << " to " << int(way.to) << ", " << size << " bytes, "
                             << (expected ? "expected" : "unexpected"));
                Buffer from(pair.domain, way.from, pattern(size, ++seed));
                Buffer to(pair.domain, way.to, size);
                send_message(pair, from, to, (seed / 2) % 2 == 0, expected);
            }
        }
    }
    CHECK(fake_cuda_copies() > 0);
}

TEST_CASE("the application's context is what it was")
{
    Pair pair(device_options());
    Buffer from(pair.domain, Place::other_device, pattern(100'000));
    Buffer to(pair.domain, Place::other_device, 100'000);
    const OnDevice here(0);
    void* before = nullptr;
    REQUIRE(cuCtxGetCurrent(&before) == 0);
    send_message(pair, from, to, false, true);
    void* after = nullptr;
    REQUIRE(cuCtxGetCurrent(&after) == 0);
    CHECK(after == before);
}

TEST_CASE("pieces of host and device memory make one message")
{
    Pair pair(device_options());
    for (const std::size_t unit : {std::size_t{10}, std::size_t{3000}, std::size_t{90'000}}) {
        INFO(unit);
        Buffer from_host(pair.domain, Place::host, pattern(unit, 1));
        Buffer from_device(pair.domain, Place::device, pattern(unit, 2));
        Buffer from_other(pair.domain, Place::other_device, pattern(unit, 3));
        Buffer to_device(pair.domain, Place::device, 2 * unit);
        Buffer to_host(pair.domain, Place::host, unit);
        const iovec out[] = {{from_host.data(), unit}, {from_device.data(), unit}, {from_other.data(), unit}};
        void* out_desc[] = {from_host.desc(), from_device.desc(), from_other.desc()};
        const iovec in[] = {{to_device.data(), 2 * unit}, {to_host.data(), unit}};
        void* in_desc[] = {to_device.desc(), to_host.desc()};
        REQUIRE(fi_recvv(pair.b.ep.get(), in, in_desc, 2, pair.a_at_b, nullptr) == 0);
        REQUIRE(fi_sendv(pair.a.ep.get(), out, out_desc, 3, pair.b_at_a, nullptr) == 0);
        CHECK_FALSE(pair.next(pair.b).failed);
        CHECK_FALSE(pair.next(pair.a).failed);
        Bytes whole = pattern(unit, 1);
        const Bytes second = pattern(unit, 2);
        whole.insert(whole.end(), second.begin(), second.end());
        CHECK(to_device.read() == whole);
        CHECK(to_host.read() == pattern(unit, 3));
    }
}

TEST_CASE("a buffer on a device takes many messages (FI_MULTI_RECV)")
{
    Pair pair(device_options());
    constexpr std::size_t total = 200'000;
    Buffer to(pair.domain, Place::device, total);
    const iovec iov{to.data(), total};
    void* desc = to.desc();
    const fi_msg msg = message_of(iov, desc, FI_ADDR_UNSPEC);
    REQUIRE(fi_recvmsg(pair.b.ep.get(), &msg, FI_MULTI_RECV) == 0);
    std::size_t at = 0;
    Bytes expected(total);
    for (const std::size_t size : {std::size_t{20}, std::size_t{5000}, std::size_t{0}, std::size_t{100'000},
                                   std::size_t{1}, std::size_t{30'000}}) {
        INFO(size);
        Buffer from(pair.domain, Place::device, pattern(size, static_cast<unsigned>(at) + 1));
        REQUIRE(fi_send(pair.a.ep.get(), from.data(), size, from.desc(), pair.b_at_a, nullptr) == 0);
        const Entry received = pair.next(pair.b);
        REQUIRE_FALSE(received.failed);
        CHECK(received.good.buf == to.at(at));
        CHECK(received.good.len == size);
        CHECK_FALSE(pair.next(pair.a).failed);
        const Bytes bytes = from.read();
        std::copy(bytes.begin(), bytes.end(), expected.begin() + static_cast<std::ptrdiff_t>(at));
        at += size;
    }
    Bytes there = to.read();
    there.resize(at);
    expected.resize(at);
    CHECK(there == expected);
}

TEST_CASE("what is longer than a buffer on a device is cut off")
{
    Pair pair(device_options());
    for (const std::size_t size : {std::size_t{200}, std::size_t{20'000}, std::size_t{400'000}}) {
        INFO(size);
        Buffer from(pair.domain, Place::device, pattern(size));
        Buffer to(pair.domain, Place::device, size / 2);
        REQUIRE(fi_recv(pair.b.ep.get(), to.data(), to.size(), to.desc(), pair.a_at_b, nullptr) == 0);
        REQUIRE(fi_send(pair.a.ep.get(), from.data(), size, from.desc(), pair.b_at_a, nullptr) == 0);
        const Entry received = pair.next(pair.b);
        REQUIRE(received.failed);
        CHECK(received.error.err == FI_ETRUNC);
        CHECK(received.error.olen == size - size / 2);
        CHECK_FALSE(pair.next(pair.a).failed);
        Bytes half = from.read();
        half.resize(size / 2);
        CHECK(to.read() == half);
    }
}

TEST_CASE("more is under way than the host has memory for on its behalf")
{
    Pair pair(device_options());
    constexpr std::size_t count = 48;
    constexpr std::size_t size = 1'000'003;
    std::deque<Buffer> from;
    std::deque<Buffer> to;
    for (std::size_t i = 0; i < count; ++i) {
        from.emplace_back(pair.domain, Place::device, pattern(size, static_cast<unsigned>(i)));
        to.emplace_back(pair.domain, i % 2 == 0 ? Place::device : Place::other_device, size);
        TestEndpoint& sender = i % 2 == 0 ? pair.a : pair.b;
        TestEndpoint& receiver = i % 2 == 0 ? pair.b : pair.a;
        const fi_addr_t peer = i % 2 == 0 ? pair.b_at_a : pair.a_at_b;
        REQUIRE(fi_trecv(receiver.ep.get(), to[i].data(), size, to[i].desc(), FI_ADDR_UNSPEC, i, 0,
                         nullptr) == 0);
        REQUIRE(pair.retry([&] {
            return fi_tsend(sender.ep.get(), from[i].data(), size, from[i].desc(), peer, i, nullptr);
        }) == 0);
    }
    for (std::size_t i = 0; i < count; ++i) { // a receive and a send for each, at either end
        CHECK_FALSE(pair.next(pair.a).failed);
        CHECK_FALSE(pair.next(pair.b).failed);
    }
    for (std::size_t i = 0; i < count; ++i) {
        INFO(i);
        CHECK(to[i].read() == from[i].read());
    }
}

TEST_CASE("delivery complete, and an inject, from a device")
{
    Pair pair(device_options());
    for (const std::size_t size :
         {std::size_t{64}, std::size_t{4096}, std::size_t{9000}, std::size_t{70'000}}) {
        INFO(size);
        Buffer from(pair.domain, Place::device, pattern(size));
        Buffer to(pair.domain, Place::device, size);
        const iovec iov{from.data(), size};
        void* desc = from.desc();
        const fi_msg msg = message_of(iov, desc, pair.b_at_a);
        const std::uint64_t flags =
            size <= 4096 ? FI_INJECT | FI_COMPLETION : FI_DELIVERY_COMPLETE | FI_FENCE;
        REQUIRE(fi_recv(pair.b.ep.get(), to.data(), size, to.desc(), pair.a_at_b, nullptr) == 0);
        REQUIRE(pair.retry([&] { return fi_sendmsg(pair.a.ep.get(), &msg, flags); }) == 0);
        CHECK_FALSE(pair.next(pair.b).failed);
        CHECK_FALSE(pair.next(pair.a).failed);
        CHECK(to.read() == from.read());
    }
}

// -- What can be registered ------------------------------------------------------------

namespace {

int try_register(OpenDomain& domain, fi_hmem_iface iface, void* start, std::size_t size,
                 std::uint64_t flags = 0)
{
    Handle<fid_mr> region;
    return register_memory(domain, iface, 0, start, size, region, flags);
}

} // namespace

TEST_CASE("registration of device memory is refused where it cannot be")
{
    Pair pair(device_options());
    Buffer buffer(pair.domain, Place::device, 10'000);
    CHECK(try_register(pair.domain, FI_HMEM_CUDA, buffer.data(), 10'000) == 0);
    CHECK(try_register(pair.domain, FI_HMEM_CUDA, buffer.at(9000), 1000) == 0);
    CHECK(try_register(pair.domain, FI_HMEM_CUDA, buffer.at(9000), 1001) == -FI_EINVAL);
    CHECK(try_register(pair.domain, FI_HMEM_CUDA, &pair, 8) == -FI_EINVAL);
    CHECK(try_register(pair.domain, FI_HMEM_ROCR, buffer.data(), 8) == -FI_ENOSYS);
    CHECK(try_register(pair.domain, FI_HMEM_CUDA, buffer.data(), 8, 1ULL << 41) == -FI_EBADFLAGS);

    Options without = device_options();
    without.caps &= ~FI_HMEM;
    Pair plain(without);
    CHECK(try_register(plain.domain, FI_HMEM_CUDA, buffer.data(), 8) == -FI_EOPNOTSUPP);
}

TEST_CASE("a DMA buffer is registered by its address (FI_MR_DMABUF)")
{
    constexpr std::uint64_t flag_dmabuf = 1ULL << 40;
    struct {
        int fd;
        std::uint64_t offset;
        std::size_t len;
        void* base_addr;
    } dmabuf{};
    Pair pair(device_options());
    Buffer buffer(pair.domain, Place::device, 10'000);
    fi_mr_attr attr{};
    attr.mr_iov = reinterpret_cast<const iovec*>(&dmabuf);
    attr.iov_count = 1;
    attr.access = every_access;
    attr.requested_key = 4712;
    attr.iface = FI_HMEM_CUDA;
    dmabuf = {77, 1000, 9000, buffer.data()};
    Handle<fid_mr> region;
    REQUIRE(fi_mr_regattr(pair.domain.domain.get(), &attr, flag_dmabuf, region.out()) == 0);
    Buffer from(pair.domain, Place::device, pattern(9000));
    REQUIRE(fi_write(pair.a.ep.get(), from.data(), 9000, from.desc(), pair.b_at_a, 0, 4712, nullptr) == 0);
    CHECK_FALSE(pair.next(pair.a).failed);
    Bytes there = buffer.read();
    there.erase(there.begin(), there.begin() + 1000);
    CHECK(there == from.read());
    REQUIRE(region.close() == 0);

    dmabuf.len = 9001;
    CHECK(fi_mr_regattr(pair.domain.domain.get(), &attr, flag_dmabuf, region.out()) == -FI_EINVAL);
    dmabuf.base_addr = nullptr;
    CHECK(fi_mr_regattr(pair.domain.domain.get(), &attr, flag_dmabuf, region.out()) == -FI_EOPNOTSUPP);
    dmabuf.base_addr = &dmabuf;
    attr.iface = FI_HMEM_SYSTEM;
    CHECK(fi_mr_regattr(pair.domain.domain.get(), &attr, flag_dmabuf, region.out()) == -FI_EOPNOTSUPP);
}

TEST_CASE("host memory that device memory is copied by way of is pinned, and is not for ever")
{
    const int before = fake_cuda_registered();
    {
        Pair pair(device_options());
        CHECK(fake_cuda_registered() - before <= 2);
        Buffer buffer(pair.domain, Place::device, 10);
        CHECK(fake_cuda_registered() == before + 2); // of both endpoints
    }
    CHECK(fake_cuda_registered() == before);
}

TEST_CASE("who asks for CUDA not to be called is refused, as is who asks for direct access")
{
    Pair pair(device_options());
    constexpr int cuda_api_permitted = 10;
    bool permitted = false;
    fid* const ep = &pair.a.ep->fid;
    CHECK(fi_setopt(ep, FI_OPT_ENDPOINT, cuda_api_permitted, &permitted, sizeof(permitted)) ==
          -FI_EOPNOTSUPP);
    permitted = true;
    CHECK(fi_setopt(ep, FI_OPT_ENDPOINT, cuda_api_permitted, &permitted, sizeof(permitted)) == 0);
    permitted = false;
    std::size_t size = sizeof(permitted);
    CHECK(fi_getopt(ep, FI_OPT_ENDPOINT, cuda_api_permitted, &permitted, &size) == 0);
    CHECK(permitted);
    int mode = FI_HMEM_P2P_REQUIRED;
    CHECK(fi_setopt(ep, FI_OPT_ENDPOINT, FI_OPT_FI_HMEM_P2P, &mode, sizeof(mode)) == -FI_EOPNOTSUPP);
    mode = FI_HMEM_P2P_ENABLED;
    CHECK(fi_setopt(ep, FI_OPT_ENDPOINT, FI_OPT_FI_HMEM_P2P, &mode, sizeof(mode)) == 0);
}

// -- Pinned host memory -------------------------------------------------------------------

TEST_CASE("host memory that nobody reads for another process, as a driver's may be, takes the copying road")
{
    // Of the kinds that every kernel has, memory of memfd_secret(2) is like it: the kernel pins none of it.
    constexpr std::size_t size = 2U << 20;
    const srd::FileDescriptor file(static_cast<int>(syscall(SYS_memfd_secret, 0)));
    if (file.get() < 0 || ftruncate(file.get(), 2 * size) != 0) {
        WARN("SKIPPED: this kernel has no memfd_secret");
        return;
    }
    void* const memory = mmap(nullptr, 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (memory == MAP_FAILED) {
        WARN("SKIPPED: the limit of locked memory is below 4 MiB");
        return;
    }
    auto* const from = static_cast<std::uint8_t*>(memory);
    std::uint8_t* const to = from + size;
    Pair pair;
    for (const std::size_t length : {std::size_t{100}, std::size_t{20'000}, std::size_t{200'000}, size}) {
        INFO(length);
        const Bytes bytes = pattern(length, static_cast<unsigned>(length));
        std::copy(bytes.begin(), bytes.end(), from);
        std::fill_n(to, length, std::uint8_t{0});
        REQUIRE(fi_recv(pair.b.ep.get(), to, length, nullptr, pair.a_at_b, nullptr) == 0);
        REQUIRE(pair.retry([&] {
            return fi_send(pair.a.ep.get(), from, length, nullptr, pair.b_at_a, nullptr);
        }) == 0);
        CHECK_FALSE(pair.next(pair.b).failed);
        CHECK_FALSE(pair.next(pair.a).failed);
        CHECK(std::equal(bytes.begin(), bytes.end(), to));
    }
    munmap(memory, 2 * size);
}
