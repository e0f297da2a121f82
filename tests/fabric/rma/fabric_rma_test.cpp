// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fabric/load_support.hpp"
#include "fabric/rma_support.hpp"

#include <array>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <thread>

#include <sys/mman.h>
#include <unistd.h>

using namespace fabric_test;

namespace {

/// Cuts `size` bytes at `data` into `count` pieces of different lengths.
template <typename Piece>
std::vector<Piece> cut(std::size_t size, std::size_t count,
                       const std::function<Piece(std::size_t, std::size_t)>& make)
{
    std::vector<Piece> pieces;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t end = i + 1 == count ? size : size * (i + 1) * (i + 1) / (count * count);
        pieces.push_back(make(begin, end - begin));
        begin = end;
    }
    return pieces;
}

/// Gigabytes of addresses that a few megabytes of memory repeat in.
class Repeated {
public:
    explicit Repeated(std::size_t size)
        : size_(size), data_(static_cast<std::uint8_t*>(mmap(
                           nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)))
    {
        REQUIRE(data_ != MAP_FAILED);
        const int file = memfd_create("srd-test", MFD_CLOEXEC);
        REQUIRE(ftruncate(file, period) == 0);
        for (std::size_t at = 0; at < size; at += period) {
            REQUIRE(mmap(data_ + at, std::min<std::size_t>(period, size - at), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_FIXED, file, 0) != MAP_FAILED);
        }
        close(file);
    }
    ~Repeated() { munmap(data_, size_); }
    Repeated(const Repeated&) = delete;
    Repeated& operator=(const Repeated&) = delete;
    std::uint8_t* data() { return data_; }

    static constexpr std::size_t period = std::size_t{1} << 22;

private:
    std::size_t size_;
    std::uint8_t* data_;
};

} // namespace

TEST_CASE("rma: writes and reads of every length, unaligned at both ends")
{
    const std::size_t size =
        GENERATE(0U, 1U, 7U, 8U, 63U, 1000U, 1024U, 1025U, 8191U, 16384U, 16385U, 100003U, 1000003U);
    const std::size_t shift = GENERATE(0U, 3U);
    RmaPair pair(size + 16);
    std::vector<std::uint8_t> data = pattern(size + shift);
    const std::vector<std::uint8_t> sent(data.begin() + static_cast<std::ptrdiff_t>(shift), data.end());
    pair.write(data.data() + shift, size, 5);
    CHECK(pair.window.holds(sent, 5));
    CHECK(std::count(pair.window.data(), pair.window.data() + 5, 0) == 5);
    CHECK(std::count(pair.window.data() + 5 + size, pair.window.data() + 16 + size, 0) == 11);

    std::vector<std::uint8_t> back(size + 2 * shift, 0x77);
    pair.read(back.data() + shift, size, 5);
    CHECK(std::equal(sent.begin(), sent.end(), back.begin() + static_cast<std::ptrdiff_t>(shift)));
    CHECK(std::count(back.begin() + static_cast<std::ptrdiff_t>(size + shift), back.end(), 0x77) ==
          static_cast<std::ptrdiff_t>(shift));
    CHECK(pair.b.ready.empty()); // the target's application hears nothing
}

TEST_CASE("rma: four pieces here, four there, in two regions")
{
    const std::size_t local = GENERATE(1U, 3U, 4U);
    const std::size_t remote = GENERATE(1U, 2U, 4U);
    const std::size_t size = GENERATE(40U, 5000U, 300000U);
    RmaPair pair(size);
    Window second(pair.domain, size, all_access, 0xbeef);
    std::vector<std::uint8_t> data = pattern(size);
    std::vector<iovec> iov = cut<iovec>(size, local, [&](std::size_t begin, std::size_t length) {
        return iovec{data.data() + begin, length};
    });
    std::size_t index = 0;
    const std::vector<fi_rma_iov> ranges =
        cut<fi_rma_iov>(size, remote, [&](std::size_t begin, std::size_t length) {
            Window& window = index++ % 2 == 0 ? pair.window : second;
            return fi_rma_iov{window.address(begin), length, window.key()};
        });
    fi_msg_rma message{};
    message.msg_iov = iov.data();
    message.iov_count = iov.size();
    message.addr = pair.b_at_a;
    message.rma_iov = ranges.data();
    message.rma_iov_count = ranges.size();
    message.context = &iov;
    REQUIRE(pair.retry([&] { return fi_writemsg(pair.a.ep.get(), &message, 0); }) == 0);
    pair.check_done(FI_RMA | FI_WRITE, &iov);
    index = 0;
    for (const fi_rma_iov& range : ranges) {
        Window& window = index++ % 2 == 0 ? pair.window : second;
        const auto begin = static_cast<std::ptrdiff_t>(range.addr);
        CHECK(std::equal(window.data() + begin,
                         window.data() + begin + static_cast<std::ptrdiff_t>(range.len),
                         data.begin() + begin));
    }

    std::vector<std::uint8_t> back(size);
    for (iovec& piece : iov) {
        piece.iov_base = back.data() + (static_cast<std::uint8_t*>(piece.iov_base) - data.data());
    }
    REQUIRE(pair.retry([&] { return fi_readmsg(pair.a.ep.get(), &message, FI_COMPLETION); }) == 0);
    pair.check_done(FI_RMA | FI_READ, &iov);
    CHECK(back == data);
}

TEST_CASE("rma: vectors with one remote range")
{
    RmaPair pair;
    std::vector<std::uint8_t> data = pattern(300);
    const std::array<iovec, 3> iov{iovec{data.data(), 100}, iovec{data.data() + 100, 0},
                                   iovec{data.data() + 100, 200}};
    REQUIRE(pair.retry([&] {
        return fi_writev(pair.a.ep.get(), iov.data(), nullptr, 3, pair.b_at_a, pair.window.address(8),
                         pair.window.key(), &pair);
    }) == 0);
    pair.check_done(FI_RMA | FI_WRITE, &pair);
    CHECK(pair.window.holds(data, 8));
    std::vector<std::uint8_t> sent = data;
    std::fill(data.begin(), data.end(), std::uint8_t{0});
    REQUIRE(pair.retry([&] {
        return fi_readv(pair.a.ep.get(), iov.data(), nullptr, 3, pair.b_at_a, pair.window.address(8),
                        pair.window.key(), &pair);
    }) == 0);
    pair.check_done(FI_RMA | FI_READ, &pair);
    CHECK(data == sent);
}

TEST_CASE("rma: an injected write leaves its buffer at once and no entry")
{
    RmaPair pair;
    std::array<std::uint8_t, 64> buffer{};
    for (std::uint8_t i = 0; i < 32; ++i) {
        buffer.fill(i);
        REQUIRE(pair.retry([&] {
            return fi_inject_write(pair.a.ep.get(), buffer.data(), buffer.size(), pair.b_at_a,
                                   pair.window.address(i * buffer.size()), pair.window.key());
        }) == 0);
    }
    buffer.fill(0xff);
    pair.write(buffer.data(), 1, 4095);
    pair.fence();
    for (std::uint8_t i = 0; i < 32; ++i) {
        CHECK(std::count(pair.window.data() + i * 64, pair.window.data() + i * 64 + 64, i) == 64);
    }
    CHECK(pair.a.ready.empty());
    std::vector<std::uint8_t> large(pair.domain.info->tx_attr->inject_size + 1);
    CHECK(fi_inject_write(pair.a.ep.get(), large.data(), large.size(), pair.b_at_a, 0, pair.window.key()) ==
          -FI_EMSGSIZE);
}

TEST_CASE("rma: a completed write is in the target's memory, at every level but inject complete")
{
    const std::uint64_t level = GENERATE(std::uint64_t{0}, FI_INJECT_COMPLETE, FI_TRANSMIT_COMPLETE,
                                         FI_DELIVERY_COMPLETE, FI_DELIVERY_COMPLETE | FI_INJECT);
    const std::size_t size = (level & FI_INJECT) != 0 ? 4096 : 200000;
    RmaPair pair(size);
    for (unsigned round = 0; round < 20; ++round) {
        std::vector<std::uint8_t> data = pattern(size, round);
        const std::vector<std::uint8_t> sent = data;
        const iovec iov{data.data(), size};
        const fi_rma_iov range{pair.window.address(), size, pair.window.key()};
        const fi_msg_rma message{&iov, nullptr, 1, pair.b_at_a, &range, 1, &pair, 0};
        REQUIRE(pair.retry([&] { return fi_writemsg(pair.a.ep.get(), &message, level); }) == 0);
        if ((level & FI_INJECT) != 0) {
            std::fill(data.begin(), data.end(), std::uint8_t{0xee});
        }
        pair.check_done(FI_RMA | FI_WRITE, &pair);
        std::fill(data.begin(), data.end(), std::uint8_t{0xee}); // a completion gives the buffer back
        if (level == FI_INJECT_COMPLETE) {
            pair.fence();
        }
        REQUIRE(pair.window.holds(sent));
    }
}

TEST_CASE("rma: a fenced operation starts when everything before it is complete")
{
    const std::size_t size = 600000;
    RmaPair pair(size);
    for (unsigned round = 0; round < 5; ++round) {
        const std::vector<std::uint8_t> data = pattern(size, round);
        std::uint64_t word = round;
        std::uint64_t got = ~std::uint64_t{0};
        REQUIRE(fi_recv(pair.b.ep.get(), &got, 8, nullptr, FI_ADDR_UNSPEC, &got) == 0);
        REQUIRE(pair.retry([&] {
            return fi_write(pair.a.ep.get(), data.data(), size, nullptr, pair.b_at_a, pair.window.address(),
                            pair.window.key(), nullptr);
        }) == 0);
        const iovec iov{&word, 8};
        fi_msg message{};
        message.msg_iov = &iov;
        message.iov_count = 1;
        message.addr = pair.b_at_a;
        REQUIRE(pair.retry([&] { return fi_sendmsg(pair.a.ep.get(), &message, FI_FENCE); }) == 0);
        CHECK(pair.next(pair.b).good.op_context == &got);
        CHECK(got == round);
        REQUIRE(pair.window.holds(data));
        // A fenced read sees the write before it.
        const std::vector<std::uint8_t> other = pattern(size, round + 1000);
        std::vector<std::uint8_t> back(size);
        const iovec in{back.data(), size};
        const fi_rma_iov range{pair.window.address(), size, pair.window.key()};
        const fi_msg_rma access{&in, nullptr, 1, pair.b_at_a, &range, 1, &back, 0};
        REQUIRE(pair.retry([&] {
            return fi_write(pair.a.ep.get(), other.data(), size, nullptr, pair.b_at_a, pair.window.address(),
                            pair.window.key(), nullptr);
        }) == 0);
        REQUIRE(pair.retry([&] { return fi_readmsg(pair.a.ep.get(), &access, FI_FENCE); }) == 0);
        while (pair.next(pair.a).good.op_context != &back) {
        }
        REQUIRE(back == other);
    }
}

TEST_CASE("rma: an endpoint accesses its own domain through itself")
{
    Pair pair(rma_options());
    Window window(pair.domain, 100000);
    const fi_addr_t self = pair.a.insert(pair.a);
    const std::vector<std::uint8_t> data = pattern(100000);
    std::vector<std::uint8_t> back(100000);
    REQUIRE(pair.retry([&] {
        return fi_writedata(pair.a.ep.get(), data.data(), data.size(), nullptr, 5, self, 0, window.key(),
                            &pair);
    }) == 0);
    std::uint64_t seen = 0;
    for (int i = 0; i < 2; ++i) {
        const Entry entry = pair.next(pair.a);
        CHECK_FALSE(entry.failed);
        seen |= entry.good.flags;
    }
    CHECK(seen == (FI_RMA | FI_WRITE | FI_REMOTE_WRITE | FI_REMOTE_CQ_DATA));
    CHECK(window.holds(data));
    REQUIRE(pair.retry([&] {
        return fi_read(pair.a.ep.get(), back.data(), back.size(), nullptr, self, 0, window.key(), &pair);
    }) == 0);
    CHECK_FALSE(pair.next(pair.a).failed);
    CHECK(back == data);
}

TEST_CASE("rma: many operations at once, each complete once and in its place")
{
    constexpr std::size_t size = 1500;
    constexpr std::size_t count = 3000;
    RmaPair pair(size * count);
    const std::vector<std::uint8_t> data = pattern(size * count);
    std::vector<std::uint8_t> back(size * count);
    std::vector<int> completions(2 * count);
    const auto drain = [&] {
        pair.poll();
        for (; !pair.a.ready.empty(); pair.a.ready.pop_front()) {
            REQUIRE_FALSE(pair.a.ready.front().failed);
            ++*static_cast<int*>(pair.a.ready.front().good.op_context);
        }
    };
    const auto post = [&](const std::function<ssize_t()>& call) {
        ssize_t result = 0;
        while ((result = call()) == -FI_EAGAIN) {
            drain();
        }
        REQUIRE(result == 0);
    };
    const auto all = [&](std::size_t from) {
        return std::count(completions.begin() + static_cast<std::ptrdiff_t>(from),
                          completions.begin() + static_cast<std::ptrdiff_t>(from + count),
                          1) == static_cast<std::ptrdiff_t>(count);
    };
    for (std::size_t i = 0; i < count; ++i) {
        post([&] {
            return fi_write(pair.a.ep.get(), data.data() + i * size, size, nullptr, pair.b_at_a, i * size,
                            pair.window.key(), &completions[i]);
        });
    }
    while (!all(0)) {
        drain();
    }
    CHECK(pair.window.holds(data));
    for (std::size_t i = 0; i < count; ++i) {
        post([&] {
            return fi_read(pair.a.ep.get(), back.data() + i * size, size, nullptr, pair.b_at_a, i * size,
                           pair.window.key(), &completions[count + i]);
        });
    }
    while (!all(count)) {
        drain();
    }
    CHECK(back == data);
    CHECK(all(0));
}

TEST_CASE("rma: one operation of more bytes than 32 bits count", "[.][large]")
{
    constexpr std::size_t size = (std::size_t{1} << 32) + 12345;
    RmaPair pair;
    Repeated here(size);
    Repeated there(size);
    const std::vector<std::uint8_t> data = pattern(Repeated::period);
    std::copy(data.begin(), data.end(), here.data());
    Handle<fid_mr> mr;
    REQUIRE(fi_mr_reg(pair.domain.domain.get(), there.data(), size, all_access, 0, 1, 0, mr.out(), nullptr) ==
            0);
    // The roads share the work: through memory both ways, over UDP there, sealed back.
    const bool sealed = std::getenv("FI_SRD_JOB_KEY_FILE") != nullptr;
    const char* shm = std::getenv("FI_SRD_SHM");
    const bool udp = shm != nullptr && std::string_view(shm) == "0";
    constexpr std::chrono::minutes busy(4); // the machine, that is
    if (!sealed) {
        REQUIRE(pair.retry([&] {
            return fi_writedata(pair.a.ep.get(), here.data(), size, nullptr, 1, pair.b_at_a, 0, 1, &pair);
        }) == 0);
        pair.until([&] { return !pair.b.ready.empty(); }, busy);
        CHECK(pair.next(pair.b).good.len == size);
        pair.check_done(FI_RMA | FI_WRITE, &pair);
        CHECK(std::equal(data.begin(), data.end(), there.data()));
    }
    if (sealed || !udp) {
        std::copy(data.begin(), data.end(), there.data());
        std::fill_n(here.data(), Repeated::period, std::uint8_t{0});
        REQUIRE(pair.retry([&] {
            return fi_read(pair.a.ep.get(), here.data(), size, nullptr, pair.b_at_a, 0, 1, &pair);
        }) == 0);
        pair.until([&] { return !pair.a.ready.empty(); }, busy);
        pair.check_done(FI_RMA | FI_READ, &pair);
        CHECK(std::equal(data.begin(), data.end(), here.data()));
    }
}

TEST_CASE("rma: under automatic progress a target need not call anything")
{
    Options options = rma_options();
    options.progress = FI_PROGRESS_AUTO;
    RmaPair pair(300000, options);
    const std::vector<std::uint8_t> data = pattern(300000);
    std::vector<std::uint8_t> back(300000);
    const auto wait = [&] {
        while (pair.a.ready.empty()) {
            pair.a.poll();
            std::this_thread::yield();
        }
        CHECK_FALSE(pair.a.ready.front().failed);
        pair.a.ready.pop_front();
    };
    REQUIRE(fi_write(pair.a.ep.get(), data.data(), data.size(), nullptr, pair.b_at_a, 0, pair.window.key(),
                     nullptr) == 0);
    wait();
    REQUIRE(fi_read(pair.a.ep.get(), back.data(), back.size(), nullptr, pair.b_at_a, 0, pair.window.key(),
                    nullptr) == 0);
    wait();
    CHECK(back == data);
}

TEST_CASE("rma: memory is named as the registration mode says")
{
    const int mode = GENERATE(0, FI_MR_BASIC, FI_MR_SCALABLE, FI_MR_VIRT_ADDR, FI_MR_PROV_KEY,
                              FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY);
    Options options = rma_options();
    options.mr_mode = mode;
    RmaPair pair(1000, options);
    CHECK(pair.domain.info->domain_attr->mr_mode == mode);
    const bool chooses = (mode & (FI_MR_BASIC | FI_MR_PROV_KEY)) != 0;
    CHECK((pair.window.key() == 0xfeed) == !chooses);
    const std::vector<std::uint8_t> data = pattern(500);
    pair.write(data.data(), data.size(), 500);
    CHECK(pair.window.holds(data, 500));
    std::vector<std::uint8_t> back(500);
    pair.read(back.data(), back.size(), 500);
    CHECK(back == data);
}

TEST_CASE("rma: the whole address space, several pieces, and thousands of regions")
{
    RmaPair pair(8000);
    fid_domain* domain = pair.domain.domain.get();
    fid_ep* a = pair.a.ep.get();
    Handle<fid_mr> everything;
    REQUIRE(fi_mr_reg(domain, nullptr, UINTPTR_MAX, all_access, 0, 1, 0, everything.out(), nullptr) == 0);
    const std::vector<std::uint8_t> data = pattern(900);
    REQUIRE(pair.retry([&] {
        return fi_write(a, data.data(), 900, nullptr, pair.b_at_a,
                        reinterpret_cast<std::uint64_t>(pair.window.data() + 11), 1, &pair);
    }) == 0);
    pair.check_done(FI_RMA | FI_WRITE, &pair);
    CHECK(pair.window.holds(data, 11));

    const std::array<iovec, 4> iov{iovec{pair.window.data() + 1000, 100}, iovec{pair.window.data() + 1300, 1},
                                   iovec{pair.window.data() + 1400, 0},
                                   iovec{pair.window.data() + 1500, 200}};
    Handle<fid_mr> pieces;
    REQUIRE(fi_mr_regv(domain, iov.data(), 4, all_access, 0, 2, 0, pieces.out(), nullptr) == 0);
    REQUIRE(pair.retry([&] { return fi_write(a, data.data(), 250, nullptr, pair.b_at_a, 51, 2, &pair); }) ==
            0);
    pair.check_done(FI_RMA | FI_WRITE, &pair);
    CHECK(std::equal(data.begin(), data.begin() + 49, pair.window.data() + 1051));
    CHECK(pair.window.data()[1300] == data[49]);
    CHECK(std::equal(data.begin() + 50, data.begin() + 250, pair.window.data() + 1500));
    std::vector<std::uint8_t> back(250);
    REQUIRE(pair.retry([&] { return fi_read(a, back.data(), 250, nullptr, pair.b_at_a, 51, 2, &pair); }) ==
            0);
    pair.check_done(FI_RMA | FI_READ, &pair);
    CHECK(std::equal(back.begin(), back.end(), data.begin()));

    constexpr std::size_t count = 4000;
    std::vector<Handle<fid_mr>> regions(count);
    for (std::size_t i = 0; i < count; ++i) {
        REQUIRE(fi_mr_reg(domain, pair.window.data() + 2 * i, 2, all_access, 0, 100 + i, 0, regions[i].out(),
                          nullptr) == 0);
    }
    for (std::size_t i = 0; i < count; ++i) {
        const auto value = static_cast<std::uint16_t>(i * 31);
        REQUIRE(pair.retry([&] { return fi_inject_write(a, &value, 2, pair.b_at_a, 0, 100 + i); }) == 0);
    }
    pair.fence();
    for (std::size_t i = 0; i < count; ++i) {
        std::uint16_t value = 0xffff;
        std::memcpy(&value, pair.window.data() + 2 * i, 2);
        REQUIRE(value == static_cast<std::uint16_t>(i * 31));
    }
}

// -- Arguments ------------------------------------------------------------------

TEST_CASE("rma: mistakes are refused with the documented error")
{
    RmaPair pair;
    fid_ep* a = pair.a.ep.get();
    std::vector<std::uint8_t> data(100);
    const std::uint64_t key = pair.window.key();
    const fi_addr_t to = pair.b_at_a;
    CHECK(fi_write(a, nullptr, 1, nullptr, to, 0, key, nullptr) == -FI_EINVAL);
    CHECK(fi_read(a, nullptr, 1, nullptr, to, 0, key, nullptr) == -FI_EINVAL);
    CHECK(fi_write(a, data.data(), 1, nullptr, 12345, 0, key, nullptr) == -FI_EINVAL);
    CHECK(fi_writemsg(a, nullptr, 0) == -FI_EINVAL);
    CHECK(fi_readmsg(a, nullptr, 0) == -FI_EINVAL);
    CHECK(fi_write(a, data.data(), (std::size_t{1} << 40) + 1, nullptr, to, 0, key, nullptr) == -FI_EMSGSIZE);
    std::array<iovec, 5> iov{};
    iov.fill({data.data(), 10});
    CHECK(fi_writev(a, iov.data(), nullptr, 5, to, 0, key, nullptr) == -FI_EINVAL);
    CHECK(fi_readv(a, nullptr, nullptr, 1, to, 0, key, nullptr) == -FI_EINVAL);

    std::array<fi_rma_iov, 5> ranges{};
    ranges.fill({0, 10, key});
    const auto message = [&](std::size_t count, std::size_t remote) {
        return fi_msg_rma{iov.data(), nullptr, count, to, ranges.data(), remote, nullptr, 0};
    };
    const auto both = [&](const fi_msg_rma& msg, ssize_t expected) {
        CHECK(fi_writemsg(a, &msg, 0) == expected);
        CHECK(fi_readmsg(a, &msg, 0) == expected);
    };
    both(message(4, 5), -FI_EINVAL);
    both(message(1, 0), -FI_EINVAL);
    both(message(2, 1), -FI_EINVAL); // 20 bytes here, 10 there
    both(message(1, 2), -FI_EINVAL);
    fi_msg_rma none = message(1, 1);
    none.rma_iov = nullptr;
    both(none, -FI_EINVAL);
    // Sums that wrap are no lengths.
    ranges[0].len = std::numeric_limits<std::size_t>::max();
    ranges[1].len = 11;
    both(message(1, 2), -FI_EINVAL);
    iov[0].iov_len = std::numeric_limits<std::size_t>::max();
    iov[1].iov_len = 11;
    ranges[0].len = 10;
    both(message(2, 1), -FI_EINVAL);

    for (int i = 0; i < 100; ++i) {
        pair.poll();
    }
    CHECK(pair.a.ready.empty());
    CHECK(pair.window.is_zero());
}
