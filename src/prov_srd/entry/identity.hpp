// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The provider's identity; its one exported function, fi_prov_ini(), is in provider/provider.cpp.
#pragma once

#include <cstdint>

#include <rdma/fabric.h>

namespace srd {

inline constexpr std::uint32_t provider_version = FI_VERSION(SRD_VERSION_MAJOR, SRD_VERSION_MINOR);
/// fi_ep_attr.protocol: the high bit marks provider-specific numbers.
inline constexpr std::uint32_t endpoint_protocol = 0x80000000U | 0x00535244U;
/// wire::protocol_version: the newest version that is spoken; hellos tell which others are.
inline constexpr std::uint32_t endpoint_protocol_version = 2;

} // namespace srd
