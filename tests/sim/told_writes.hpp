// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Writes that carry data (fi_writedata), as many as there is time for: each is told at the target exactly
// once, and completes exactly once where it began. Two engines, with a wire that loses packets and turns
// bursts round; a program that posts several at a time before any goes out (FI_MORE). What is remembered of
// them is a window, so their number has no bound.
#pragma once

#include <cstdint>
#include <string>

namespace srd::sim {

struct ToldWrites {
    std::uint64_t operations = 0;
    std::uint64_t seed = 1;
    double loss = 0.02; ///< of packets, each way
    // Broken on purpose (canaries), one operation in a few thousand:
    bool tell_twice = false;
    bool forget_to_tell = false;
};

struct ToldResult {
    std::string failure; ///< empty: every operation kept the law
    std::uint64_t lost_packets = 0;
    std::uint64_t retransmissions = 0;
};

ToldResult run_told_writes(const ToldWrites& config);

} // namespace srd::sim
