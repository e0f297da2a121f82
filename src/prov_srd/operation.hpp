// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What sends and receives have in common.
#pragma once

#include <cstddef>
#include <cstdint>

#include <rdma/fabric.h>

#include <sys/uio.h>

#include <srd/limits.hpp>

#include "log.hpp"

namespace srd {

constexpr std::uint64_t kind_of(bool tagged) noexcept
{
    return tagged ? FI_TAGGED : FI_MSG;
}

/// Sums up an iovec array. False: it cannot be served (and a line says why).
inline bool measure(const char* call, const iovec* iov, std::size_t count, std::size_t& length) noexcept
{
    length = 0;
    if (count > max_iov || (iov == nullptr && count != 0)) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s: %zu iovecs at %p; 0 to %zu are served", call, count,
                        static_cast<const void*>(iov), max_iov);
        return false;
    }
    for (std::size_t i = 0; i < count; ++i) {
        if (iov[i].iov_base == nullptr && iov[i].iov_len != 0) [[unlikely]] {
            SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s: the buffer is NULL for a length of %zu", call,
                            iov[i].iov_len);
            return false;
        }
        length += iov[i].iov_len;
    }
    return true;
}

} // namespace srd
