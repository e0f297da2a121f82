// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Accesses that a target must refuse, and regions that go while they are being accessed.
#include "fabric/rma_support.hpp"

#include <array>
#include <atomic>
#include <cstdio>
#include <limits>
#include <thread>

#include <sys/mman.h>
#include <unistd.h>

using namespace fabric_test;

namespace {

constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();

/// Accesses that must fail, one after the other, with one error completion each.
struct FaultPair : Pair {
    explicit FaultPair(const Options& options = rma_options()) : Pair(options), window(domain, 1000) {}

    void check_failed(std::uint64_t flags, int error)
    {
        const Entry entry = next(a);
        REQUIRE(entry.failed);
        CHECK(entry.error.op_context == this);
        CHECK(entry.error.flags == flags);
        CHECK(entry.error.err == error);
        CHECK(entry.error.prov_errno != 0);
        CHECK(entry.error.err_data_size == sizeof(sockaddr_in)); // who refused it
        CHECK(
            std::string(fi_cq_strerror(a.cq.get(), entry.error.prov_errno, entry.error.err_data, nullptr, 0))
                .find("memory") != std::string::npos);
    }
    /// Writes and reads [address, address + size) in vain.
    void refused(std::uint64_t address, std::size_t size, std::uint64_t key, int error)
    {
        INFO("address " << address << ", " << size << " bytes, key " << key);
        refused_write(address, size, key, error);
        refused_read(address, size, key, error);
    }
    void refused_write(std::uint64_t address, std::size_t size, std::uint64_t key, int error)
    {
        const std::vector<std::uint8_t> data(size, 0xdd);
        REQUIRE(retry([&] {
                    return fi_write(a.ep.get(), data.data(), size, nullptr, b_at_a, address, key, this);
                }) == 0);
        check_failed(FI_RMA | FI_WRITE, error);
        REQUIRE(retry([&] {
                    return fi_writedata(a.ep.get(), data.data(), size, nullptr, 1, b_at_a, address, key,
                                        this);
                }) == 0);
        check_failed(FI_RMA | FI_WRITE, error);
    }
    void refused_read(std::uint64_t address, std::size_t size, std::uint64_t key, int error)
    {
        std::vector<std::uint8_t> back(size, 0x11);
        REQUIRE(retry([&] {
                    return fi_read(a.ep.get(), back.data(), size, nullptr, b_at_a, address, key, this);
                }) == 0);
        check_failed(FI_RMA | FI_READ, error);
    }
    /// The target has seen nothing, its memory is whole, and both go on working.
    void check_unharmed()
    {
        CHECK(window.is_zero());
        CHECK(window.guards_intact());
        CHECK(b.ready.empty());
        const std::uint64_t word = 42;
        REQUIRE(retry([&] {
                    return fi_write(a.ep.get(), &word, 8, nullptr, b_at_a, window.address(), window.key(),
                                    nullptr);
                }) == 0);
        CHECK_FALSE(next(a).failed);
        CHECK(window.data()[0] == 42);
        window.data()[0] = 0;
    }

    Window window;
};

/// Memory that can be taken away, so that whoever touches it dies.
class Pages {
public:
    explicit Pages(std::size_t size)
        : size_(size),
          memory_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    {
        REQUIRE(memory_ != MAP_FAILED);
    }
    ~Pages() { munmap(memory_, size_); }
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;
    void* data() { return memory_; }
    void forbid() { REQUIRE(mprotect(memory_, size_, PROT_NONE) == 0); }
    void allow() { REQUIRE(mprotect(memory_, size_, PROT_READ | PROT_WRITE) == 0); }

private:
    std::size_t size_;
    void* memory_;
};

} // namespace

TEST_CASE("rma fault: where nothing is accessed no key is needed, and the data arrives")
{
    FaultPair pair;
    const std::uint64_t wrong = pair.window.key() + 1234567;
    REQUIRE(pair.retry([&] {
        return fi_writedata(pair.a.ep.get(), nullptr, 0, nullptr, 77, pair.b_at_a, 0, wrong, &pair);
    }) == 0);
    CHECK_FALSE(pair.next(pair.a).failed);
    const Entry told = pair.next(pair.b);
    REQUIRE_FALSE(told.failed);
    CHECK(told.good.flags == (FI_RMA | FI_REMOTE_WRITE | FI_REMOTE_CQ_DATA));
    CHECK(told.good.data == 77);
    REQUIRE(pair.retry([&] {
        return fi_read(pair.a.ep.get(), nullptr, 0, nullptr, pair.b_at_a, 0, wrong, &pair);
    }) == 0);
    CHECK_FALSE(pair.next(pair.a).failed);
    pair.check_unharmed();
}

TEST_CASE("rma fault: a wrong key, a closed region's key, a key of another domain")
{
    FaultPair pair;
    OpenDomain other("127.0.0.1", hints_for(rma_options()));
    Window elsewhere(other, 1000, all_access, 0xabcd);
    for (const std::size_t size : {std::size_t{8}, std::size_t{1000}, std::size_t{200000}}) {
        pair.refused(0, size, 0xdead, FI_EKEYREJECTED);
    }
    pair.refused(0, 8, 0, FI_EKEYREJECTED);
    pair.refused(0, 8, top, FI_EKEYREJECTED);
    pair.refused(0, 8, elsewhere.key(), FI_EKEYREJECTED);
    CHECK(elsewhere.is_zero());
    {
        Window gone(pair.domain, 100, all_access, 0x5555);
        const std::uint64_t word = 1;
        REQUIRE(pair.retry([&] {
            return fi_write(pair.a.ep.get(), &word, 8, nullptr, pair.b_at_a, 0, 0x5555, nullptr);
        }) == 0);
        CHECK_FALSE(pair.next(pair.a).failed);
        REQUIRE(gone.mr.close() == 0);
        pair.refused(0, 8, 0x5555, FI_EKEYREJECTED);
        CHECK(gone.data()[0] == 1);
    }
    pair.check_unharmed();
}

TEST_CASE("rma fault: a byte out of bounds at either end, and addresses that wrap around")
{
    const int mode = GENERATE(0, FI_MR_VIRT_ADDR, FI_MR_BASIC);
    FaultPair pair(rma_options(mode));
    const std::uint64_t begin = pair.window.address();
    const std::uint64_t end = pair.window.address(pair.window.size());
    const std::uint64_t key = pair.window.key();
    pair.refused(begin, 1001, key, FI_EINVAL);
    pair.refused(begin + 1, 1000, key, FI_EINVAL);
    pair.refused(end, 1, key, FI_EINVAL);
    pair.refused(end - 1, 2, key, FI_EINVAL);
    pair.refused(begin - 1, 1, key, FI_EINVAL);
    pair.refused(begin - 1, 2, key, FI_EINVAL);
    pair.refused(begin - 1, 1002, key, FI_EINVAL);
    pair.refused(top, 1, key, FI_EINVAL);
    pair.refused(top, 2, key, FI_EINVAL);
    pair.refused(top - 99, 100 + 16, key, FI_EINVAL);
    pair.refused(top - 50000, 100000, key, FI_EINVAL); // wraps after some packets
    pair.refused(end - 8, 100000, key, FI_EINVAL);
    pair.check_unharmed();
}

TEST_CASE("rma fault: access that was not granted")
{
    FaultPair pair;
    Window readable(pair.domain, 100, FI_REMOTE_READ, 1);
    Window writable(pair.domain, 100, FI_REMOTE_WRITE, 2);
    Window local(pair.domain, 100, FI_SEND | FI_RECV | FI_READ | FI_WRITE, 3);
    pair.refused_write(0, 8, 1, FI_EACCES);
    pair.refused_read(0, 8, 2, FI_EACCES);
    pair.refused(0, 8, 3, FI_EACCES);
    CHECK(readable.is_zero());
    CHECK(local.is_zero());
    std::uint64_t word = 0;
    REQUIRE(pair.retry([&] {
        return fi_read(pair.a.ep.get(), &word, 8, nullptr, pair.b_at_a, 0, 1, nullptr);
    }) == 0);
    CHECK_FALSE(pair.next(pair.a).failed);
    pair.check_unharmed();
}

TEST_CASE("rma fault: one bad range among good ones fails the operation once")
{
    const std::size_t bad = GENERATE(0U, 1U, 3U);
    FaultPair pair;
    Window good(pair.domain, 200000, all_access, 0x600d);
    std::vector<std::uint8_t> data(200000, 0xcc);
    std::array<fi_rma_iov, 4> ranges{};
    ranges.fill({0, 50000, 0x600d});
    ranges[bad] = {0, 50000, 0xbad};
    const iovec iov{data.data(), data.size()};
    const fi_msg_rma message{&iov, nullptr, 1, pair.b_at_a, ranges.data(), 4, &pair, 0};
    REQUIRE(pair.retry([&] { return fi_writemsg(pair.a.ep.get(), &message, FI_REMOTE_CQ_DATA); }) == 0);
    pair.check_failed(FI_RMA | FI_WRITE, FI_EKEYREJECTED);
    REQUIRE(pair.retry([&] { return fi_readmsg(pair.a.ep.get(), &message, 0); }) == 0);
    pair.check_failed(FI_RMA | FI_READ, FI_EKEYREJECTED);
    for (int i = 0; i < 200; ++i) {
        pair.poll();
    }
    CHECK(pair.a.ready.empty());
    pair.check_unharmed();
}

TEST_CASE("child: is refused", "[.]")
{
    FaultPair pair;
    pair.refused_write(0, 8, 0xdead, FI_EKEYREJECTED);
}

TEST_CASE("rma fault: the target's log says who was refused what and why")
{
    const std::string output = run_child("child: is refused");
    INFO(output);
    CHECK(output.find("127.0.0.1:") != std::string::npos);
    CHECK(output.find("was refused a write of 8 bytes at 0 with key 0xdead") != std::string::npos);
}

TEST_CASE("rma fault: a region that is closed under fire is not touched any more, and every operation ends")
{
    const fi_progress progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    const bool reads = GENERATE(false, true);
    const std::size_t size = GENERATE(64U, 3000U, 400000U);
    Options options = rma_options();
    options.progress = progress;
    Pair pair(options);
    constexpr std::size_t outstanding = 24;
    Pages pages(size);
    std::vector<std::uint8_t> local(size * outstanding);
    std::size_t refused = 0;
    for (unsigned round = 0; round < 40; ++round) {
        Handle<fid_mr> mr;
        REQUIRE(fi_mr_reg(pair.domain.domain.get(), pages.data(), size, all_access, 0, 9, 0, mr.out(),
                          nullptr) == 0);
        for (std::size_t i = 0; i < outstanding; ++i) {
            void* const buffer = local.data() + i * size;
            REQUIRE(pair.retry([&] {
                return reads ? fi_read(pair.a.ep.get(), buffer, size, nullptr, pair.b_at_a, 0, 9, &pair)
                             : fi_write(pair.a.ep.get(), buffer, size, nullptr, pair.b_at_a, 0, 9, &pair);
            }) == 0);
        }
        for (unsigned i = 0; i < round; ++i) {
            pair.poll();
        }
        REQUIRE(mr.close() == 0);
        pages.forbid();
        for (std::size_t i = 0; i < outstanding; ++i) {
            const Entry entry = pair.next(pair.a);
            if (entry.failed) {
                CHECK(entry.error.err == FI_EKEYREJECTED);
                CHECK(entry.error.op_context == &pair);
                ++refused;
            }
        }
        CHECK(pair.a.ready.empty());
        pages.allow();
    }
    CHECK(refused != 0);
}
