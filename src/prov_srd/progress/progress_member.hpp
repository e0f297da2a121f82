// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// An endpoint as those see it who make progress for it: completion queues and
// counters (ProgressGroup), the domain (DomainProgress) and its thread; and those
// who ask all endpoints of a domain: memory regions that close, deferred work. The
// rooms below endpoint/ know endpoints by interfaces only: this one, AvObserver
// (objects/) and OperationStarter (trigger/).
//
// Threading: any thread; every function takes the endpoint's lock where it needs it.
#pragma once

#include <cstdint>

#include <srd/time.hpp>

#include "common/profile.hpp"

namespace srd {

struct CompletionCounter;

/// What a pass has found.
enum class Found : std::uint8_t {
    nothing,
    something,
    bulk, ///< more is likely to be there by now
};

class ProgressMember {
public:
    /// It takes part in data transfer: since fi_enable() cannot fail any more, and until fi_close() has
    /// waited for what is under way. Never in a child of fork().
    virtual bool enabled() const noexcept = 0;
    /// What to sleep on. Valid since shortly before it is enabled, until the endpoint is destroyed.
    virtual int io_fd() const noexcept = 0;

    /// One pass, unless another thread is inside.
    virtual Found progress(Time now) noexcept = 0;
    /// The caller is going to sleep on io_fd(); `deadline` is lowered to the next timer.
    /// False: packets wait, nothing is armed.
    virtual bool arm_sleep(Time& deadline) noexcept = 0;
    /// Undoes one arm_sleep().
    virtual void disarm_sleep() noexcept = 0;
    /// For ProgressWatchdog: a pass, if the application is silent. Returns when to look again, at the latest;
    /// DomainProgress::application_is_back() asks for it earlier. `sleeps_on` is set to a descriptor that
    /// becomes readable when a pass is due, and left alone where the application makes them.
    virtual Time look_after(Time now, int& sleeps_on) noexcept = 0;

    /// For the domain's thread: writes its live statistics (srd/live_stats.hpp), if somebody has asked.
    virtual void show() noexcept = 0;
    /// Adds what fi_profile(3) shows of it.
    virtual void profile(ProfileValues& sums) noexcept = 0;

    /// Memory of devices is registered from now on.
    virtual void expect_devices() noexcept = 0;
    /// The domain's table does not have the region `key` any more: from the return on nothing here touches
    /// its memory.
    virtual void revoke(std::uint64_t key) noexcept = 0;
    /// True if deferred work that has started and is not complete is going to be counted by `counter`.
    virtual bool counts_work_by(const CompletionCounter& counter) noexcept = 0;

protected:
    ~ProgressMember() = default;
};

} // namespace srd
