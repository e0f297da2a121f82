// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Frames of peers that have been met (frames_run.cpp) and have the job's key: sealed, or in clear all the
// same, changed on the way, and repeated.
#include "fuzz/frames_run.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    srd::fuzz::run_frames(data, size, true);
    return 0;
}
