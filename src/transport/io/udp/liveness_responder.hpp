// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Tells peers whether the endpoints of this process read what comes for them.
//
// To a peer that never hears from us, a firewall that drops UDP and a process that computes look the
// same. The kernel answers its connection to our TCP port in both cases. So one thread, which serves
// all endpoints of the process and sleeps until somebody asks, looks whether the endpoint makes
// passes, and says so:
//
//     peer -> us    LivenessRequest, after which the connection counts as established
//     us -> peer    LivenessReply, after `look_time`
//
// Strangers can ask, too: they learn nothing else. At most `batch` are served in `look_time`, few of them of
// one host; who says nothing is not kept. A process that has no descriptors left answers one at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <srd/file_descriptor.hpp>

namespace srd {

inline constexpr std::array<char, 8> liveness_request{'s', 'r', 'd', ' ', 'r', 'e', 'a', 'd'};
enum class LivenessReply : char { reads = 'r', busy = 'b' };

/// One endpoint's share.
class LivenessResponder {
public:
    /// Serves `listener`, a TCP socket that listens, until the end of this object. Throws
    /// std::system_error if the operating system has no descriptors or threads, std::bad_alloc.
    explicit LivenessResponder(FileDescriptor listener);
    ~LivenessResponder();
    LivenessResponder(const LivenessResponder&) = delete;
    LivenessResponder& operator=(const LivenessResponder&) = delete;

    /// The endpoint has read everything that had come. Whoever reads, and has always more to read, is busy:
    /// what is missed may lie there, or have found no room. One thread at a time.
    void on_drained() noexcept
    {
        drains_.store(drains_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }

    /// In a child of fork(), which has no such thread: later objects start another one.
    static void forget_thread() noexcept;

private:
    class Thread;

    FileDescriptor listener_;
    std::atomic<std::uint32_t> drains_{0};
    std::shared_ptr<Thread> thread_;
};

} // namespace srd
