// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Bytes on the wire: integers without alignment and in one byte order, and a
// reader that cannot run past the end of a packet. The layouts of the engine's
// packets are in src/transport/wire.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

namespace srd::wire {

static_assert(std::endian::native == std::endian::little,
              "the field wrapper stores native order; a big-endian port swaps in Le<>");

/// A little-endian integer without alignment.
template <typename T>
class Le {
    static_assert(std::is_unsigned_v<T>);

public:
    constexpr Le() noexcept = default;
    constexpr Le(T value) noexcept : bytes_(std::bit_cast<Bytes>(value)) {}
    constexpr operator T() const noexcept { return std::bit_cast<T>(bytes_); }

private:
    using Bytes = std::array<std::byte, sizeof(T)>;
    Bytes bytes_{};
};

using u8 = std::uint8_t;
using u16 = Le<std::uint16_t>;
using u32 = Le<std::uint32_t>;
using u64 = Le<std::uint64_t>;

/// Reads a packet front to back and cannot run past its end.
class Reader {
public:
    explicit Reader(std::span<const std::byte> bytes) noexcept : rest_(bytes) {}

    std::size_t remaining() const noexcept { return rest_.size(); }
    const std::byte* position() const noexcept { return rest_.data(); }

    /// The next sizeof(T) bytes as T; nullopt when fewer are left.
    template <typename T>
    std::optional<T> take() noexcept
    {
        static_assert(std::is_trivially_copyable_v<T> && alignof(T) == 1);
        if (rest_.size() < sizeof(T)) {
            return std::nullopt;
        }
        T value;
        std::memcpy(&value, rest_.data(), sizeof(T));
        rest_ = rest_.subspan(sizeof(T));
        return value;
    }

    std::optional<std::span<const std::byte>> take_bytes(std::size_t count) noexcept
    {
        if (rest_.size() < count) {
            return std::nullopt;
        }
        const auto bytes = rest_.first(count);
        rest_ = rest_.subspan(count);
        return bytes;
    }

    /// The next byte without taking it.
    std::optional<std::uint8_t> peek() const noexcept
    {
        if (rest_.empty()) {
            return std::nullopt;
        }
        return static_cast<std::uint8_t>(rest_.front());
    }

private:
    std::span<const std::byte> rest_;
};

/// a - b on wrapping sequence numbers, as a signed distance.
constexpr std::int32_t sequence_distance(std::uint32_t a, std::uint32_t b) noexcept
{
    return static_cast<std::int32_t>(a - b);
}

} // namespace srd::wire
