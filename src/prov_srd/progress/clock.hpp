// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The provider's only clock, and sleeping by it. Any thread.
#pragma once

#include <span>

#include <poll.h>

#include <srd/time.hpp>

namespace srd {

/// CLOCK_MONOTONIC.
Time clock_now() noexcept;
/// When a wait of `timeout_ms` that begins now ends; negative: never.
Time end_of_wait(int timeout_ms) noexcept;
/// Sleeps until `descriptor` is readable, `deadline`, or a signal.
void sleep_on(int descriptor, Time deadline) noexcept;
/// Until one of several is.
void sleep_on(std::span<pollfd> descriptors, Time deadline) noexcept;

} // namespace srd
