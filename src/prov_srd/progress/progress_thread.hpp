// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// FI_PROGRESS_AUTO: one thread per domain that makes the same passes as a
// reader of a completion queue does, and sleeps on the endpoints' descriptors until the
// earliest of their timers.
#pragma once

#include <atomic>
#include <thread>

namespace srd {

struct Domain;

class ProgressThread {
public:
    /// Throws std::system_error if the operating system has no descriptors or threads.
    explicit ProgressThread(Domain& domain);
    /// Ends the thread. No endpoint may be enabled any more.
    ~ProgressThread();
    ProgressThread(const ProgressThread&) = delete;
    ProgressThread& operator=(const ProgressThread&) = delete;

    /// Starts or stops watching an endpoint's descriptor. Domain::endpoints_mutex is held.
    void watch(int io_fd);
    void unwatch(int io_fd) noexcept;

private:
    void run() noexcept;
    bool progress_all() noexcept;
    void sleep_all() noexcept;

    Domain& domain_;
    int epoll_fd_ = -1;
    int event_fd_ = -1;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

} // namespace srd
