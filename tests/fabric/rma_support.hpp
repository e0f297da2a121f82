// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Registered memory for tests of remote access, with guard bytes on both sides.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <rdma/fi_rma.h>

#include "fabric/fabric_fixture.hpp"

namespace fabric_test {

constexpr std::uint64_t rma_caps = FI_MSG | FI_TAGGED | FI_RMA | FI_SOURCE | FI_DIRECTED_RECV;
constexpr std::uint64_t all_access =
    FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;

/// `size` zero bytes that peers may access, between guards that nobody may.
class Window {
public:
    explicit Window(OpenDomain& domain, std::size_t size, std::uint64_t access = all_access,
                    std::uint64_t requested_key = 0xfeed)
        : bytes_(size + 2 * guard, guard_byte), size_(size),
          is_virtual_((domain.info->domain_attr->mr_mode & (FI_MR_BASIC | FI_MR_VIRT_ADDR)) != 0)
    {
        std::fill_n(data(), size, std::uint8_t{0});
        REQUIRE(fi_mr_reg(domain.domain.get(), data(), size, access, 0, requested_key, 0, mr.out(),
                          nullptr) == 0);
    }
    ~Window() { CHECK(guards_intact()); }
    Window(const Window&) = delete;
    Window& operator=(const Window&) = delete;

    std::uint8_t* data() { return bytes_.data() + guard; }
    std::size_t size() const { return size_; }
    std::uint64_t key() const { return fi_mr_key(mr.get()); }
    /// What a peer calls byte `offset`.
    std::uint64_t address(std::uint64_t offset = 0)
    {
        return (is_virtual_ ? reinterpret_cast<std::uint64_t>(data()) : 0) + offset;
    }
    bool holds(const std::vector<std::uint8_t>& expected, std::size_t offset = 0)
    {
        return std::equal(expected.begin(), expected.end(), data() + offset);
    }
    bool is_zero()
    {
        return std::all_of(data(), data() + size_, [](std::uint8_t byte) { return byte == 0; });
    }
    bool guards_intact()
    {
        const auto intact = [](std::uint8_t byte) { return byte == guard_byte; };
        return std::all_of(bytes_.begin(), bytes_.begin() + guard, intact) &&
               std::all_of(bytes_.end() - guard, bytes_.end(), intact);
    }

private:
    static constexpr std::ptrdiff_t guard = 64;
    static constexpr std::uint8_t guard_byte = 0xa5;
    std::vector<std::uint8_t> bytes_;
    std::size_t size_;
    bool is_virtual_;

public:
    Handle<fid_mr> mr;
};

inline Options rma_options(int mr_mode = 0)
{
    Options options;
    options.caps = rma_caps;
    options.mr_mode = mr_mode;
    return options;
}

/// Two endpoints, and memory of b that a accesses.
struct RmaPair : Pair {
    explicit RmaPair(std::size_t size = 4096, const Options& options = rma_options())
        : Pair(options), window(domain, size)
    {
    }

    void check_done(std::uint64_t flags, void* context)
    {
        const Entry entry = next(a);
        CHECK_FALSE(entry.failed);
        CHECK(entry.good.flags == flags);
        CHECK(entry.good.op_context == context);
    }
    void write(const void* from, std::size_t size, std::uint64_t offset = 0)
    {
        REQUIRE(retry([&] {
                    return fi_write(a.ep.get(), from, size, nullptr, b_at_a, window.address(offset),
                                    window.key(), &window);
                }) == 0);
        check_done(FI_RMA | FI_WRITE, &window);
    }
    void read(void* to, std::size_t size, std::uint64_t offset = 0)
    {
        REQUIRE(retry([&] {
                    return fi_read(a.ep.get(), to, size, nullptr, b_at_a, window.address(offset),
                                   window.key(), &window);
                }) == 0);
        check_done(FI_RMA | FI_READ, &window);
    }
    /// All that a began is done. Who looks into the window before may meet a thread of srd's that writes.
    void fence()
    {
        fi_msg_rma nothing{};
        const fi_rma_iov place{window.address(), 0, window.key()};
        nothing.addr = b_at_a;
        nothing.rma_iov = &place;
        nothing.rma_iov_count = 1;
        nothing.context = &window;
        REQUIRE(retry([&] { return fi_writemsg(a.ep.get(), &nothing, FI_FENCE | FI_COMPLETION); }) == 0);
        check_done(FI_RMA | FI_WRITE, &window);
    }

    Window window;
};

} // namespace fabric_test
