// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets written by hand, piece by piece.
#pragma once

#include <cstddef>
#include <cstring>
#include <functional>
#include <vector>

namespace srd::test {

using Bytes = std::vector<std::byte>;

inline Bytes filler(std::size_t size)
{
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<std::byte>(i * 7 + 1);
    }
    return bytes;
}

template <typename T>
inline Bytes raw(const T& layout)
{
    Bytes bytes(sizeof(T));
    std::memcpy(bytes.data(), &layout, sizeof(T));
    return bytes;
}

inline Bytes operator+(Bytes left, const Bytes& right)
{
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

/// What `write(out)`, which returns the end, has written.
inline Bytes written(const std::function<std::byte*(std::byte*)>& write)
{
    Bytes room(512);
    const auto size = static_cast<std::size_t>(write(room.data()) - room.data());
    return {room.begin(), room.begin() + static_cast<std::ptrdiff_t>(size)};
}

} // namespace srd::test
