// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A thread of ours in somebody else's process: no signal comes to it, it can be
// woken while it sleeps on descriptors, and it ends with its owner.
#pragma once

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <system_error>
#include <thread>
#include <utility>

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <srd/file_descriptor.hpp>

namespace srd {

/// The application's signal handlers must not run on a thread it does not know: while one lives, no signal
/// comes to the calling thread and to those that it starts.
class SignalsBlocked {
public:
    /// Throws std::system_error.
    SignalsBlocked()
    {
        sigset_t all;
        sigfillset(&all);
        if (const int code = pthread_sigmask(SIG_SETMASK, &all, &before_); code != 0) {
            throw std::system_error(code, std::generic_category(), "pthread_sigmask");
        }
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
    sigset_t before_{};
};

/// The last member of its owner, whose others the thread uses. wake() and stopping() may be called by any
/// thread.
class ServiceThread {
public:
    /// Starts nothing yet. Throws std::system_error if the operating system has no descriptors.
    ServiceThread() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
    {
        if (!event_.valid()) {
            throw std::system_error(errno, std::generic_category(),
                                    "no descriptors for a thread; raise the limit (ulimit -n)");
        }
    }
    /// Wakes the thread, which finds that it is stopping(), and waits for its end.
    ~ServiceThread()
    {
        if (thread_.joinable()) {
            stop_.store(true, std::memory_order_release);
            wake();
            thread_.join();
        }
    }
    ServiceThread(const ServiceThread&) = delete;
    ServiceThread& operator=(const ServiceThread&) = delete;

    /// `body` runs until it returns, which it does when stopping(). `name`: for people, at most 15 bytes.
    /// Once. Throws std::system_error if the operating system has no threads.
    template <typename Body>
    void start(const char* name, Body&& body)
    {
        const SignalsBlocked blocked;
        thread_ = std::thread(std::forward<Body>(body));
        ::pthread_setname_np(thread_.native_handle(), name); // may fail
    }

    bool stopping() const noexcept { return stop_.load(std::memory_order_acquire); }
    /// Makes fd() readable. Any lock may be held.
    void wake() noexcept
    {
        const std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof(one)); // full: readable
    }
    int fd() const noexcept { return event_.get(); }
    /// Until the next wake() it is not readable.
    void drain() noexcept
    {
        std::uint64_t count = 0;
        [[maybe_unused]] const ssize_t got = ::read(event_.get(), &count, sizeof(count)); // empty is fine
    }

private:
    FileDescriptor event_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

} // namespace srd
