// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd stat, srd top: live statistics as people, scripts and Prometheus want them.
#pragma once

#include <iosfwd>

#include <nlohmann/json.hpp>

#include "live/live_files.hpp"

namespace srd::tool {

/// Sums under the names that EFA's hardware counters have.
std::map<std::string, std::uint64_t> efa_counters(const std::map<std::string, std::uint64_t>& counters);

/// "running", "stopped", "ended", "not answering".
const char* state_of(const ProcessView& process);

/// Why a program may hang, a line each: whom it waits for, since when, and what is known of that.
std::vector<std::string> waits_of(const EndpointView& endpoint);

void print_stat(const LiveView& live, std::ostream& out);
nlohmann::json stat_json(const LiveView& live);
/// The text format of Prometheus, as its node exporter reads it from files.
void print_prometheus(const LiveView& live, std::ostream& out);

/// One line per endpoint, with rates since `before` (of `seconds` ago), and who is waited for.
void print_top(const LiveView& live, const LiveView& before, double seconds, std::ostream& out);
nlohmann::json top_json(const LiveView& live, const LiveView& before, double seconds);

} // namespace srd::tool
