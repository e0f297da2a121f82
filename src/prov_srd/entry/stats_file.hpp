// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The file that FI_SRD_STATS names.
#pragma once

#include <string>
#include <string_view>

namespace srd {

/// Which process of a job this is.
struct ProcessPlace {
    std::string host;
    std::string rank; ///< of MPI, as the launcher has numbered it; empty: unknown
};
/// Of this process. Reads the environment.
ProcessPlace process_place();

/// Its name: `setting` with the process id for every "%p", the host for "%h" and the rank, or "-", for "%r".
std::string stats_file(std::string_view setting, const ProcessPlace& place);

/// Why nothing can be written there, as a clause; empty if nothing is known against it. A hint, before there
/// is anything to write: the file is not made for it.
std::string stats_obstacle(const std::string& setting, const ProcessPlace& place);

} // namespace srd
