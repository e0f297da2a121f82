// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Two endpoints and memory for atomics.
#pragma once

#include <array>
#include <cstdint>

#include <rdma/fi_atomic.h>

#include "fabric/fabric_fixture.hpp"

namespace fabric_test {

inline constexpr std::uint64_t key = 7;
inline constexpr std::uint64_t read_only_key = 8;
inline constexpr std::uint64_t write_only_key = 9;

inline Options atomic_options()
{
    Options options;
    options.caps = FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC;
    return options;
}

/// Two endpoints, and memory of their domain in three regions with different rights.
struct AtomicPair : Pair {
    explicit AtomicPair(const Options& options = atomic_options()) : Pair(options)
    {
        expose(region, key, FI_REMOTE_READ | FI_REMOTE_WRITE);
        expose(read_only, read_only_key, FI_REMOTE_READ);
        expose(write_only, write_only_key, FI_REMOTE_WRITE);
    }

    void expose(Handle<fid_mr>& mr, std::uint64_t requested_key, std::uint64_t access)
    {
        REQUIRE(fi_mr_reg(domain.domain.get(), words.data(), sizeof(words), access, 0, requested_key, 0,
                          mr.out(), nullptr) == 0);
    }

    /// The completion of something that a has started; it must be that of `context`, and good.
    void finish(std::uint64_t flags, const void* context)
    {
        const Entry entry = next(a);
        REQUIRE_FALSE(entry.failed);
        CHECK(entry.good.op_context == context);
        CHECK(entry.good.flags == flags);
    }

    /// The same, and bad.
    int failure()
    {
        const Entry entry = next(a);
        REQUIRE(entry.failed);
        CHECK((entry.error.flags & FI_ATOMIC) != 0);
        return entry.error.err;
    }

    std::array<std::uint64_t, 128> words{};
    Handle<fid_mr> region;
    Handle<fid_mr> read_only;
    Handle<fid_mr> write_only;
};

inline constexpr std::uint64_t wrote = FI_ATOMIC | FI_WRITE;
inline constexpr std::uint64_t fetched = FI_ATOMIC | FI_READ;

} // namespace fabric_test
