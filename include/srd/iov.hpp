// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Lists of memory ranges, and whose memory they are: some only its device may touch. A processor that reads
// it faults, and so does the kernel in a system call; so whoever moves bytes from or to a buffer of the
// application asks whose memory it is, and has a DeviceMemory copy them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <sys/uio.h>

namespace srd {

/// Whose memory a buffer is in: the host's, or one of those that a DeviceMemory has given numbers to.
enum class DeviceId : std::uint8_t { host = 0 };

/// Copies between device memory and the host's. Copies are begun, and waited for together.
class DeviceMemory {
public:
    /// Begins to copy `size` bytes from `from`, on the device, to `to`. They are there after settle().
    /// False: they cannot be had.
    virtual bool fetch(DeviceId device, const std::byte* from, std::size_t size, std::byte* to) noexcept = 0;
    /// Begins to copy `size` bytes at `from`, which stay as they are until settle(), to `to` on the device.
    /// False: they cannot be put there.
    virtual bool store(DeviceId device, std::byte* to, std::size_t size, const std::byte* from) noexcept = 0;
    /// Waits for all that was begun. False: something has failed, and nothing that was begun is sure to have
    /// happened. So it is from then on: whoever asks first is not whose copy it was, so all learn of it.
    virtual bool settle() noexcept = 0;

protected:
    ~DeviceMemory() = default;
};

inline std::uint64_t total_length(std::span<const iovec> iov) noexcept
{
    std::uint64_t total = 0;
    for (const iovec& piece : iov) {
        total += piece.iov_len;
    }
    return total;
}

/// Calls `visit(memory, length)` for the pieces of bytes [offset, offset + length) of `iov`, as far as there
/// are any.
template <typename Visitor>
void for_each_piece(std::span<const iovec> iov, std::uint64_t offset, std::uint64_t length, Visitor&& visit)
{
    for (const iovec& piece : iov) {
        if (length == 0) {
            return;
        }
        if (offset >= piece.iov_len) {
            offset -= piece.iov_len;
            continue;
        }
        const std::size_t take = std::min<std::uint64_t>(length, piece.iov_len - offset);
        visit(static_cast<std::byte*>(piece.iov_base) + offset, take);
        length -= take;
        offset = 0;
    }
}

namespace detail {

inline std::byte* copy_pieces(std::span<const iovec> iov, std::uint64_t offset, std::uint64_t length,
                              std::byte* out) noexcept
{
    for_each_piece(iov, offset, length, [&out](const std::byte* from, std::size_t size) {
        std::memcpy(out, from, size);
        out += size;
    });
    return out;
}

inline void scatter_pieces(std::span<const iovec> iov, std::uint64_t offset,
                           std::span<const std::byte> bytes) noexcept
{
    const std::byte* from = bytes.data();
    for_each_piece(iov, offset, bytes.size(), [&from](std::byte* to, std::size_t size) {
        std::memcpy(to, from, size);
        from += size;
    });
}

/// True if `length` bytes, at least one, from `offset` on lie in one piece; nearly always.
inline bool is_one_piece(std::span<const iovec> iov, std::uint64_t offset, std::uint64_t length) noexcept
{
    return iov.size() == 1 && length != 0 && offset + length <= iov[0].iov_len;
}

} // namespace detail

/// Copies bytes [offset, offset + length) of `iov` to `out`; returns the first byte behind them.
inline std::byte* copy_range(std::span<const iovec> iov, std::uint64_t offset, std::uint64_t length,
                             std::byte* out) noexcept
{
    if (!detail::is_one_piece(iov, offset, length)) [[unlikely]] {
        return detail::copy_pieces(iov, offset, length, out);
    }
    std::memcpy(out, static_cast<const std::byte*>(iov[0].iov_base) + offset, length);
    return out + length;
}

/// Puts these pieces into `pieces`, which has room for them; returns their number.
inline std::size_t slice(std::span<const iovec> iov, std::uint64_t offset, std::uint64_t length,
                         std::span<iovec> pieces) noexcept
{
    std::size_t count = 0;
    for_each_piece(iov, offset, length, [&](std::byte* memory, std::size_t size) {
        pieces[count++] = {memory, size};
    });
    return count;
}

/// Copies `bytes` to `iov` from `offset` on; what lies beyond its end is dropped.
inline void scatter(std::span<const iovec> iov, std::uint64_t offset,
                    std::span<const std::byte> bytes) noexcept
{
    if (!detail::is_one_piece(iov, offset, bytes.size())) [[unlikely]] {
        detail::scatter_pieces(iov, offset, bytes);
        return;
    }
    std::memcpy(static_cast<std::byte*>(iov[0].iov_base) + offset, bytes.data(), bytes.size());
}

} // namespace srd
