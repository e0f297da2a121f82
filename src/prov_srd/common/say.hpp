// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What users must learn although libfabric's log is off, as it is by default: why srd is not offered, and
// that a peer failed. An error code alone ends as "fi_getinfo: -61" in front of somebody who cannot ask.
//
// Law: every call is a warn line of the log. Where that is off, the first with a `topic` is a line on
// stderr: one write, "srd[PID]: TEXT". Never twice per process, and never with FI_SRD_QUIET.
#pragma once

#include <string_view>

namespace srd {

void say(std::string_view topic, const char* text) noexcept;

/// The same for the failure of `peer`. After the first few peers one line says that there are more, because
/// a job whose network is gone has as many failures as it has peers.
void say_of_peer(std::string_view peer, const char* text) noexcept;

/// FI_SRD_QUIET: from now on nothing goes to stderr.
void be_quiet(bool quiet) noexcept;

} // namespace srd
