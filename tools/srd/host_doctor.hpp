// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <cstdint>
#include <string>

#include "findings.hpp"

namespace srd::tool {

/// Everything about this host that srd's work depends on.
void examine_host(Findings& findings);

/// What a configuration file of Open MPI sets `name` to; empty: nothing.
std::string mca_setting(const std::string& file_text, const std::string& name);

} // namespace srd::tool
