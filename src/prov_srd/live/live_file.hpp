// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// This process's file of live statistics (srd/live_stats.hpp), and an endpoint's place in it.
//
// Laws:
//  - The file is there while the process has endpoints, and goes with the last one. That of a process that
//  ends
//    otherwise, killed or by exit(), stays for whoever looks into it, until there are more than `kept`.
//  - An endpoint without a place (no file can be made, or all places are taken) counts in memory of its own.
//  - A child of fork() leaves its parent's file alone.
//
// Threading: any thread may make and destroy places. Of one place, publish() is called by one thread at a
// time.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <sys/types.h>

#include <srd/counters.hpp>
#include <srd/live_stats.hpp>

namespace srd {

class LivePlace {
public:
    /// So many files of ended processes of a user are kept; the oldest go.
    static constexpr std::size_t kept = 256;

    /// `host`, `rank`: of the process, for whoever reads.
    LivePlace(const std::string& host, const std::string& rank) noexcept;
    ~LivePlace();
    LivePlace(const LivePlace&) = delete;
    LivePlace& operator=(const LivePlace&) = delete;

    Counters& counters() noexcept { return place_ == nullptr ? own_ : place_->counters; }
    const Counters& counters() const noexcept { return place_ == nullptr ? own_ : place_->counters; }

    /// The endpoint runs: from now on it is listed. `address`: its own; `domain`: what it belongs to.
    void show(std::span<const std::byte> address, const std::string& domain) noexcept;

    /// Somebody waits for a snapshot.
    bool is_asked() const noexcept;
    /// Events that somebody wants to be kept (trace_order()), or `otherwise` if nobody has said.
    std::uint32_t traced(std::uint32_t otherwise) const noexcept;
    void publish(const LiveSnapshot& snapshot) noexcept;

private:
    LiveHeader* header_ = nullptr;  ///< of the file; null: there is none
    LiveEndpoint* place_ = nullptr; ///< in it
    pid_t owner_ = 0;
    Counters own_;
};

} // namespace srd
