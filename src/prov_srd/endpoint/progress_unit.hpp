// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The progress unit of an endpoint: {Engine, PacketIo, lock}, and the pass that
// joins them with the endpoint's other parts, which handle the engine's events.
//
// Law: engine and backend are touched under the endpoint's lock only, and so is
// the state of the parts (Peers, Transmit, Receive, Target). UnitGuard and
// CallGuard take it. For clang's analysis, which cannot see that the lock of a
// part's unit is the lock that its caller holds, all of them are one capability,
// `endpoint_lock`: no function ever holds the locks of two endpoints.
//
// Threading: functions without SRD_REQUIRES may be called by any thread; they take
// the lock where they need it. But open_io(), start() and stop() are serialized by
// the application.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <srd/address.hpp>
#include <srd/counters.hpp>
#include <srd/slab.hpp>
#include <srd/time.hpp>

#include "engine.hpp"
#include "entry/job_keys.hpp"
#include "hmem/devices.hpp"
#include "io/core/packet_io.hpp"
#include "live/live_file.hpp"
#include "live/trace_ring.hpp"
#include "progress/due_work.hpp"
#include "progress/progress_lock.hpp"
#include "progress/progress_member.hpp"

namespace srd {

class DomainProgress;
class Transmit;
class Receive;
class Target;
class Peers;

/// Stands for the lock of the endpoint at hand in annotations. Never locked itself.
class SRD_CAPABILITY("endpoint lock") EndpointLock {};
inline EndpointLock endpoint_lock;

class ProgressUnit final : public ProgressMember {
public:
    /// The parts that handle events; they may be made later than the unit.
    ProgressUnit(DomainProgress& domain, Transmit& transmit, Receive& receive, Target& target,
                 Peers& peers) noexcept;
    ~ProgressUnit();
    ProgressUnit(const ProgressUnit&) = delete;
    ProgressUnit& operator=(const ProgressUnit&) = delete;

    // -- Life ---------------------------------------------------------------

    /// Opens the backend of the domain called `domain`, bound to `address`, unless that was done. `keys` seal
    /// what leaves the host; null: nothing does. 0 or a negative fi_errno, with a line.
    int open_io(const std::string& domain, const SocketAddress& address, std::shared_ptr<JobKeys> keys);
    bool has_io() noexcept;
    /// Needs open_io().
    SocketAddress local_address() noexcept;
    /// Puts shared memory around the backend, if `shared_memory`, and makes the engine, which moves memory of
    /// devices, too, if `devices`. Needs open_io().
    /// Throws std::bad_alloc, std::system_error; then it may be called again after open_io(), because the
    /// backend may be gone.
    void start(bool shared_memory, bool devices) SRD_REQUIRES(endpoint_lock);
    /// Keeps as many of the last events as is wanted (FI_SRD_TRACE, "srd trace"). The memory is had and given
    /// back while the lock is free. By one thread at a time; needs start().
    void follow_trace_order() noexcept SRD_EXCLUDES(endpoint_lock);
    void set_enabled(bool enabled) noexcept { enabled_.store(enabled, std::memory_order_release); }
    /// In a child of fork(), while no other thread exists: this copy does nothing any more.
    void abandon() noexcept;
    /// Nothing is on its way any more; else `deadline` is when to look again. Needs start().
    bool is_drained(Time& deadline) noexcept;
    /// Says goodbye to the peers. What was outstanding is discarded without completions, as fi_endpoint(3)
    /// has it. Not enabled any more. Needs start().
    void stop() noexcept;

    const Counters& counters() const noexcept { return live_.counters(); }

    // -- ProgressMember -----------------------------------------------------

    bool enabled() const noexcept override { return enabled_.load(std::memory_order_acquire); }
    int io_fd() const noexcept override { return io_fd_; }
    Found progress(Time now) noexcept override;
    bool arm_sleep(Time& deadline) noexcept override;
    void disarm_sleep() noexcept override;
    Time look_after(Time now, int& sleeps_on) noexcept override;
    void show() noexcept override;
    void profile(ProfileValues& sums) noexcept override;
    void expect_devices() noexcept override;
    void revoke(std::uint64_t key) noexcept override;
    bool counts_work_by(const CompletionCounter& counter) noexcept override;

    // -- For the parts, which hold the lock ------------------------------------

    /// Needs start().
    Engine& engine() noexcept SRD_REQUIRES(endpoint_lock) { return *engine_; }
    /// Needs open_io().
    PacketIo& io() noexcept SRD_REQUIRES(endpoint_lock) { return *io_; }
    /// When the last pass was.
    Time passed_at() const noexcept SRD_REQUIRES(endpoint_lock) { return passed_at_; }
    /// One pass. True if anything happened. Events are handled by the parts before the return.
    bool pass(Time now) noexcept SRD_REQUIRES(endpoint_lock);
    /// After new work was given to the engine by a call that does not make a pass.
    void flush() noexcept SRD_REQUIRES(endpoint_lock);

private:
    friend class UnitGuard;
    friend class CallGuard;

    void on_event(const Event& event) noexcept SRD_REQUIRES(endpoint_lock);
    void on_outsiders(Time now) noexcept SRD_REQUIRES(endpoint_lock);
    void tell_of_outsiders() noexcept SRD_REQUIRES(endpoint_lock);
    void look_for_keys(Time now) noexcept SRD_REQUIRES(endpoint_lock);
    bool adopt_keys() noexcept SRD_REQUIRES(endpoint_lock);
    void wake_sleepers() noexcept SRD_REQUIRES(endpoint_lock);
    void application_calls() noexcept SRD_REQUIRES(endpoint_lock);
    Time next_pass() noexcept SRD_REQUIRES(endpoint_lock);
    std::unique_ptr<TraceRing> use_trace(std::unique_ptr<TraceRing> ring) noexcept
        SRD_EXCLUDES(endpoint_lock);
    void take_snapshot(LiveSnapshot& snapshot, Time now) const noexcept SRD_REQUIRES(endpoint_lock);

    ProgressLock lock_;
    DomainProgress& domain_;
    Transmit& transmit_;
    Receive& receive_;
    Target& target_;
    Peers& peers_;
    std::atomic<bool> enabled_{false};
    int io_fd_ = -1; ///< the backend's

    LivePlace live_;
    Counters& counters_ = live_.counters();
    std::unique_ptr<PacketIo> io_ SRD_GUARDED_BY(endpoint_lock);
    bool has_shared_memory_ SRD_GUARDED_BY(endpoint_lock) = false;       ///< around io_
    std::shared_ptr<JobKeys> keys_ SRD_GUARDED_BY(endpoint_lock);        ///< null: nothing is sealed
    std::unique_ptr<EndpointSeals> seals_ SRD_GUARDED_BY(endpoint_lock); ///< by `keys_`
    DeviceCopies device_copies_ SRD_GUARDED_BY(endpoint_lock);
    Reserve device_space_;                     ///< host memory that device memory is copied by way of
    std::atomic<bool> is_space_pinned_{false}; ///< it is known to the devices' driver
    std::unique_ptr<TraceRing> trace_ SRD_GUARDED_BY(endpoint_lock); ///< of `engine_`; null: off
    std::uint32_t traced_ = 0; ///< events that it was to keep; follow_trace_order()'s alone
    std::optional<Engine> engine_ SRD_GUARDED_BY(endpoint_lock);
    std::uint64_t outsiders_ SRD_GUARDED_BY(endpoint_lock) = 0; ///< packets of theirs that were looked into
    bool told_of_outsiders_ SRD_GUARDED_BY(endpoint_lock) = false;

    // Threads that sleep on io_fd() until a time.
    int sleepers_ SRD_GUARDED_BY(endpoint_lock) = 0;
    Time passed_at_ SRD_GUARDED_BY(endpoint_lock){};
    Time next_look_ SRD_GUARDED_BY(endpoint_lock){}; ///< at those from whom messages are awaited
    Time asleep_until_ SRD_GUARDED_BY(endpoint_lock) = Time::min();

    // For look_after().
    bool is_looked_at_ SRD_GUARDED_BY(endpoint_lock) = false;    ///< within the watchdog's patience
    std::uint64_t calls_ SRD_GUARDED_BY(endpoint_lock) = 0;      ///< of the application
    std::uint64_t calls_seen_ SRD_GUARDED_BY(endpoint_lock) = 0; ///< by the watchdog
    Time called_at_ SRD_GUARDED_BY(endpoint_lock){};             ///< when it last saw one
};

/// Holds the endpoint's lock for a scope.
class SRD_SCOPED_CAPABILITY UnitGuard {
public:
    explicit UnitGuard(ProgressUnit& unit) noexcept SRD_ACQUIRE(endpoint_lock) SRD_NO_LOCK_ANALYSIS
        : lock_(unit.lock_)
    {
        lock_.lock();
    }
    ~UnitGuard() SRD_RELEASE() SRD_NO_LOCK_ANALYSIS { lock_.unlock(); }
    UnitGuard(const UnitGuard&) = delete;
    UnitGuard& operator=(const UnitGuard&) = delete;

private:
    ProgressLock& lock_;
};

/// Holds the endpoint's lock during a call of the application. Afterwards starts what became due in the call.
class SRD_SCOPED_CAPABILITY CallGuard {
public:
    CallGuard(ProgressUnit& unit, DueWork& work) noexcept SRD_ACQUIRE(endpoint_lock) SRD_NO_LOCK_ANALYSIS
        : lock_(unit.lock_),
          work_(work)
    {
        lock_.lock();
    }
    ~CallGuard() SRD_RELEASE() SRD_NO_LOCK_ANALYSIS
    {
        lock_.unlock();
        work_.run_due();
    }
    CallGuard(const CallGuard&) = delete;
    CallGuard& operator=(const CallGuard&) = delete;

private:
    ProgressLock& lock_;
    DueWork& work_;
};

} // namespace srd
