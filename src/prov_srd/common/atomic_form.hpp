// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <cstdint>

namespace srd {

/// The three families of fi_atomic(3).
enum class AtomicForm : std::uint8_t {
    base,    ///< fi_atomic: the target is updated
    fetch,   ///< fi_fetch_atomic: and its old values come back
    compare, ///< fi_compare_atomic: the same, with comparands
};

} // namespace srd
