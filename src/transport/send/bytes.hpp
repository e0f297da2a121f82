// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Moving bytes into frames.
#pragma once

#include <cstddef>
#include <cstring>

#include <srd/iov.hpp>

namespace srd {

/// Writes `value` at `out`; returns the first byte behind it.
template <typename T>
std::byte* put(std::byte* out, const T& value) noexcept
{
    std::memcpy(out, &value, sizeof(T));
    return out + sizeof(T);
}

} // namespace srd
