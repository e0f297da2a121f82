// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <array>
#include <cstdint>

namespace srd {

/// The hardware address of an Ethernet interface.
using MacAddress = std::array<std::uint8_t, 6>;

} // namespace srd
