// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <cstdint>

namespace srd {

/// A number that nobody can predict, whatever numbers they have seen: from the kernel's generator. A system
/// call, so not for the data path. Any thread.
std::uint64_t system_random() noexcept;

} // namespace srd
