// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <string>

#include "findings.hpp"

namespace srd::tool {

/// Whether libfabric finds srd here, and an endpoint of it opens. What the provider itself says of its
/// variables and of the host becomes findings.
void check_provider(Findings& findings);

/// "1.17", or empty if there is no libfabric.
std::string libfabric_version();

} // namespace srd::tool
