// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Descriptors of registered memory, as fi_mr_desc() gives them out and data transfer calls hand them back:
// they say whose memory a buffer is, which only matters if it is a device's. So a device's number is all that
// such a descriptor is, marked by an odd value; those of host memory are even, and nobody looks at them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <srd/iov.hpp>
#include <srd/limits.hpp>

#include "hmem/devices.hpp"

namespace srd {

inline void* device_descriptor(DeviceId device) noexcept
{
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(device) << 1 | 1U); // NOLINT: a number
}

/// The first device that is named by the descriptors of `count` buffers; `desc` may be null.
inline DeviceId device_of(void* const* desc, std::size_t count) noexcept
{
    if (desc == nullptr) [[likely]] {
        return DeviceId::host;
    }
    for (std::size_t i = 0; i < std::min(count, max_iov); ++i) {
        const auto value = reinterpret_cast<std::uintptr_t>(desc[i]);
        if ((value & 1U) != 0) [[unlikely]] {
            return Devices::process().known(value >> 1);
        }
    }
    return DeviceId::host;
}

} // namespace srd
