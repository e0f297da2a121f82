// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// FI_PROGRESS_AUTO: one thread per domain that makes the same passes as a
// reader of a completion queue does, and sleeps on the endpoints' descriptors until the
// earliest of their timers.
#pragma once

#include <string>

#include <srd/file_descriptor.hpp>
#include <srd/service_thread.hpp>

namespace srd {

class DomainProgress;

class ProgressThread {
public:
    /// Starts the thread, which ends with this: no endpoint may be enabled any more then. If the domain's
    /// interface is on a NUMA node, it stays on that node's processors.
    /// Throws std::system_error if the operating system has no descriptors or threads.
    ProgressThread(DomainProgress& domain, const std::string& domain_name);

    /// Starts watching an endpoint's descriptor. Throws std::system_error.
    void watch(int io_fd);
    /// Stops that; nothing happens if it is not watched.
    void unwatch(int io_fd) noexcept;

private:
    void start(const std::string& domain_name);
    void run() noexcept;
    void sleep_all() noexcept;

    DomainProgress& domain_;
    FileDescriptor epoll_;
    ServiceThread thread_;
};

} // namespace srd
