// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// FI_PROGRESS_MANUAL: progress for an application that calls no more.
//
// An application that waits for something else than us (a file, a TCP connection, its own computation) makes
// no calls. If a packet of its last message is lost meanwhile, nobody repeats it; if it is our last
// acknowledgement that is lost, nobody sends it again: its peer would wait for ever. So one thread per domain
// sees when the application has been silent for `patience`, and makes the passes instead until it is back: as
// ProgressThread does, it sleeps on the endpoints' descriptors until the earliest of their timers.
//
// Next to an application that calls, it looks at the time once per `patience`, and an application that
// sleeps in a libfabric call, or on a descriptor of ours, is not silent.
#pragma once

#include <chrono>
#include <vector>

#include <poll.h>

#include <srd/service_thread.hpp>
#include <srd/time.hpp>

namespace srd {

class DomainProgress;

class ProgressWatchdog {
public:
    /// Far more than a process that shares its core waits for it, far less than a user notices.
    static constexpr Duration patience = std::chrono::milliseconds(100);

    /// Between two passes, however much there is to do: whoever closes an endpoint waits for the domain's
    /// mutex.
    static constexpr Duration shortest_sleep = std::chrono::microseconds(50);

    /// Starts the thread, which ends with this: no endpoint may be enabled any more then. Throws
    /// std::system_error if the operating system has no descriptors or threads.
    explicit ProgressWatchdog(DomainProgress& domain);

    /// Makes it look now. Any lock may be held.
    void wake() noexcept { thread_.wake(); }

private:
    void run() noexcept;

    DomainProgress& domain_;
    std::vector<pollfd> asleep_on_; ///< the thread's own, and the endpoints' of silent applications
    ServiceThread thread_;
};

} // namespace srd
