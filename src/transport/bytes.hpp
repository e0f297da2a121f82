// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Moving bytes between frames and iovec lists.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <sys/uio.h>

namespace srd {

/// Writes `value` at `out`; returns the first byte behind it.
template <typename T>
std::byte* put(std::byte* out, const T& value) noexcept
{
    std::memcpy(out, &value, sizeof(T));
    return out + sizeof(T);
}

inline std::uint64_t total_length(std::span<const iovec> iov) noexcept
{
    std::uint64_t total = 0;
    for (const iovec& piece : iov) {
        total += piece.iov_len;
    }
    return total;
}

/// Copies bytes [offset, offset + length) of `iov` to `out`; returns the first byte behind them.
inline std::byte* copy_range(std::span<const iovec> iov, std::uint64_t offset, std::uint64_t length,
                             std::byte* out) noexcept
{
    for (const iovec& piece : iov) {
        if (length == 0) {
            break;
        }
        if (offset >= piece.iov_len) {
            offset -= piece.iov_len;
            continue;
        }
        const std::uint64_t take = std::min<std::uint64_t>(length, piece.iov_len - offset);
        std::memcpy(out, static_cast<const std::byte*>(piece.iov_base) + offset, take);
        out += take;
        length -= take;
        offset = 0;
    }
    return out;
}

/// The pieces of bytes [offset, offset + length) of `iov`, as far as there are any. Returns their number.
inline std::size_t slice(std::span<const iovec> iov, std::uint64_t offset, std::uint64_t length,
                         std::span<iovec> pieces) noexcept
{
    std::size_t count = 0;
    for (const iovec& piece : iov) {
        if (length == 0) {
            break;
        }
        if (offset >= piece.iov_len) {
            offset -= piece.iov_len;
            continue;
        }
        const std::size_t take = std::min<std::uint64_t>(length, piece.iov_len - offset);
        pieces[count++] = {static_cast<std::byte*>(piece.iov_base) + offset, take};
        length -= take;
        offset = 0;
    }
    return count;
}

/// Copies `bytes` to `iov` from `offset` on; what lies beyond its end is dropped.
inline void scatter(std::span<const iovec> iov, std::uint64_t offset,
                    std::span<const std::byte> bytes) noexcept
{
    for (const iovec& piece : iov) {
        if (bytes.empty()) {
            return;
        }
        if (offset >= piece.iov_len) {
            offset -= piece.iov_len;
            continue;
        }
        const std::size_t take = std::min<std::size_t>(bytes.size(), piece.iov_len - offset);
        std::memcpy(static_cast<std::byte*>(piece.iov_base) + offset, bytes.data(), take);
        bytes = bytes.subspan(take);
        offset = 0;
    }
}

} // namespace srd
