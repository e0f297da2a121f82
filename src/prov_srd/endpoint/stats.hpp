// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// FI_SRD_STATS: an endpoint's counters as one JSON object on one line.
#pragma once

#include <string>
#include <string_view>

#include <srd/counters.hpp>

#include "entry/stats_file.hpp"

namespace srd {

/// {"provider":"srd","pid":…,"host":"…","rank":…,"address":"…","tx_packets":…,…} and a newline.
std::string stats_json(const Counters& counters, std::string_view address, const ProcessPlace& place);

/// Appends the line where FI_SRD_STATS says (`target`, "-": standard error) with a single write, so that
/// lines of several processes do not mix. Failure is said. Throws std::bad_alloc.
void stats_write(const std::string& target, const std::string& line);

} // namespace srd
