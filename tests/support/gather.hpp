// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <sys/uio.h>

namespace srd::test {

/// Copies `pieces` into `bytes`, one after the other.
inline void gather(std::span<const iovec> pieces, std::vector<std::byte>& bytes)
{
    bytes.clear();
    for (const iovec& piece : pieces) {
        const auto* const base = static_cast<const std::byte*>(piece.iov_base);
        bytes.insert(bytes.end(), base, base + piece.iov_len);
    }
}

} // namespace srd::test
