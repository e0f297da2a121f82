// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <cstddef>
#include <cstdint>

namespace srd::fuzz {

/// One input of the harnesses that are about frames. `sealed`: all have the key of one job.
void run_frames(const std::uint8_t* data, std::size_t size, bool sealed);

} // namespace srd::fuzz
