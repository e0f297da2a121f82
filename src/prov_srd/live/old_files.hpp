// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What processes leave that do not end by closing their endpoints.
#pragma once

#include <cstddef>
#include <string>

namespace srd {

/// Removes the oldest files of ended processes of this user in `folder` whose names begin with `beginning`,
/// but for `kept` of them.
void remove_old(const std::string& folder, const char* beginning, std::size_t kept);

} // namespace srd
