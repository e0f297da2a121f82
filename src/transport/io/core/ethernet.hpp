// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <array>
#include <cstdint>

namespace srd {

using MacAddress = std::array<std::uint8_t, 6>;

inline constexpr std::uint32_t ethernet_header = 14; ///< bytes, without a VLAN tag

} // namespace srd
