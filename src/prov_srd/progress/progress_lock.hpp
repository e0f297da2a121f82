// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The lock of the data path, and the annotations with which clang
// (-Wthread-safety) checks that it is held.
//
// Order, outermost first: the mutexes of wait and poll sets → DeferredQueue's lock →
// DomainProgress's mutex → ProgressGroup::members_lock → an address vector's
// observers → an endpoint's lock (ProgressUnit) → address tables, memory regions →
// CompletionQueue::lock. Nothing is called out of the provider, and nobody
// sleeps, while one is held.
#pragma once

#include <atomic>

#include <sched.h>

#if defined(__clang__)
#define SRD_THREAD_SAFETY(attribute) __attribute__((attribute))
#else
#define SRD_THREAD_SAFETY(attribute)
#endif
#define SRD_CAPABILITY(name) SRD_THREAD_SAFETY(capability(name))
#define SRD_SCOPED_CAPABILITY SRD_THREAD_SAFETY(scoped_lockable)
#define SRD_GUARDED_BY(lock) SRD_THREAD_SAFETY(guarded_by(lock))
#define SRD_REQUIRES(...) SRD_THREAD_SAFETY(requires_capability(__VA_ARGS__))
#define SRD_EXCLUDES(...) SRD_THREAD_SAFETY(locks_excluded(__VA_ARGS__))
#define SRD_ACQUIRE(...) SRD_THREAD_SAFETY(acquire_capability(__VA_ARGS__))
#define SRD_RELEASE(...) SRD_THREAD_SAFETY(release_capability(__VA_ARGS__))
#define SRD_TRY_ACQUIRE(...) SRD_THREAD_SAFETY(try_acquire_capability(__VA_ARGS__))
/// For a function that takes or has the lock in a way that the analysis cannot see.
#define SRD_NO_LOCK_ANALYSIS SRD_THREAD_SAFETY(no_thread_safety_analysis)

namespace srd {

/// A spin lock for sections of at most one batch of packets. It is taken also where the application promised
/// to serialize its calls (FI_THREAD_DOMAIN): a thread of ours may be inside.
class SRD_CAPABILITY("lock") ProgressLock {
public:
    ProgressLock() = default;
    ProgressLock(const ProgressLock&) = delete;
    ProgressLock& operator=(const ProgressLock&) = delete;

    void lock() noexcept SRD_ACQUIRE()
    {
        while (held_.exchange(true, std::memory_order_acquire)) {
            wait();
        }
    }

    bool try_lock() noexcept SRD_TRY_ACQUIRE(true)
    {
        return !held_.load(std::memory_order_relaxed) && !held_.exchange(true, std::memory_order_acquire);
    }

    void unlock() noexcept SRD_RELEASE() { held_.store(false, std::memory_order_release); }

    /// In a child of fork(): whichever thread held the lock does not exist here.
    void abandon() noexcept { held_.store(false); }

private:
    void wait() const noexcept
    {
        for (int spins = 0; held_.load(std::memory_order_relaxed); ++spins) {
            if (spins < 128) {
#if defined(__x86_64__) || defined(__i386__)
                __builtin_ia32_pause();
#endif
            } else {
                sched_yield(); // the holder may have lost its processor
            }
        }
    }

    std::atomic<bool> held_{false};
};

/// Holds a ProgressLock for a scope.
class SRD_SCOPED_CAPABILITY ProgressGuard {
public:
    explicit ProgressGuard(ProgressLock& lock) noexcept SRD_ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
    ~ProgressGuard() SRD_RELEASE() { lock_.unlock(); }
    ProgressGuard(const ProgressGuard&) = delete;
    ProgressGuard& operator=(const ProgressGuard&) = delete;

private:
    ProgressLock& lock_;
};

} // namespace srd
