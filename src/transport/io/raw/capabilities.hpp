// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <cstdint>
#include <string>

namespace srd {

/// Capabilities a raw backend needs, as bits of 1 << CAP_*.
std::uint64_t packet_capabilities() noexcept;
std::uint64_t xdp_capabilities() noexcept;

/// A sentence that names those of `needed` that this thread lacks and how to grant them without root;
/// empty if it has them all. Any thread.
std::string missing_capabilities(std::uint64_t needed);

} // namespace srd
