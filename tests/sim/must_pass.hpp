// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include "sim/run.hpp"
#include "support/catch.hpp"

namespace srd::sim {

/// Runs; ends the case, with scenario, seed and reason, if a law was broken.
inline RunResult must_pass(const RunConfig& config)
{
    RunResult result = run(config);
    INFO(config.scenario << " seed " << config.seed << ": " << result.failure);
    REQUIRE(result.ok);
    return result;
}

} // namespace srd::sim
