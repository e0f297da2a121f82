// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <string>
#include <vector>

#include "findings.hpp"
#include "net/measure.hpp"

namespace srd::tool {

/// What the observations mean, in words, and what is to be done. No I/O.
void diagnose(const Observations& seen, Findings& findings);

/// "7000-7003, 7005"; `ports` in order.
std::string port_list(const std::vector<std::uint16_t>& ports);

} // namespace srd::tool
