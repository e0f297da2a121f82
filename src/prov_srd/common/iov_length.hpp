// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Checks and sums of the arrays that calls have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>

#include <array>

#include <rdma/fabric.h>
#include <rdma/fi_rma.h>

#include <sys/uio.h>

#include <srd/limits.hpp>

#include "common/log.hpp"
#include "common/say.hpp"
#include "engine.hpp"

namespace srd {

constexpr std::uint64_t kind_of(bool tagged) noexcept
{
    return tagged ? FI_TAGGED : FI_MSG;
}

/// The sum of the lengths of an iovec array, bytes. False: it cannot be served (and a line says why).
inline bool iov_length(const char* call, const iovec* iov, std::size_t count, std::size_t& length) noexcept
{
    length = 0;
    if (count > max_iov || (iov == nullptr && count != 0)) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s: %zu iovecs at %p; 0 to %zu are served", call, count,
                        static_cast<const void*>(iov), max_iov);
        return false;
    }
    for (std::size_t i = 0; i < count; ++i) {
        if (iov[i].iov_base == nullptr && iov[i].iov_len != 0) [[unlikely]] {
            // Open MPI drops the refusal of a buffer that it made of MPI_BOTTOM, and waits for ever.
            char text[192];
            std::snprintf(
                text, sizeof(text),
                "a %s was refused because its buffer is NULL for a length of %zu bytes; the caller gets "
                "-FI_EINVAL, and some drop it and wait (docs/consumers.md)",
                call, iov[i].iov_len);
            say("NULL buffer", text);
            return false;
        }
        if (__builtin_add_overflow(length, iov[i].iov_len, &length)) [[unlikely]] {
            SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s: the lengths add up to more than 2^64 bytes", call);
            return false;
        }
    }
    return true;
}

/// Reads an fi_rma_iov array that must name `length` bytes. False: it cannot be served (and a line says why).
inline bool remote_ranges(const char* call, const fi_rma_iov* iov, std::size_t count, std::size_t length,
                          std::span<RemoteRange, max_iov> ranges) noexcept
{
    if (count == 0 || count > max_iov || iov == nullptr) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s: %zu fi_rma_iovs at %p; 1 to %zu are served", call, count,
                        static_cast<const void*>(iov), max_iov);
        return false;
    }
    std::uint64_t sum = 0;
    bool wraps = false;
    for (std::size_t i = 0; i < count; ++i) {
        ranges[i] = {.address = iov[i].addr, .length = iov[i].len, .key = iov[i].key};
        wraps |= __builtin_add_overflow(sum, iov[i].len, &sum);
    }
    if (wraps || sum != length) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s: %zu bytes here, %llu at the peer; the lengths must be the same",
                        call, length, static_cast<unsigned long long>(sum));
        return false;
    }
    return true;
}

} // namespace srd
