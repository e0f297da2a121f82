// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The file that FI_SRD_STATS names.
#pragma once

#include <string>
#include <string_view>

namespace srd {

/// Its name: `setting` with the process id for every "%p".
std::string stats_file(std::string_view setting);

/// Why nothing can be written there, as a clause; empty if nothing is known against it. A hint, before there
/// is anything to write: the file is not made for it.
std::string stats_obstacle(const std::string& setting);

} // namespace srd
