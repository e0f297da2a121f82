// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The statistics of running and ended processes, read from their files (srd/live_stats.hpp). Nothing that
// lies in them is believed: a file may be another user's.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <srd/live_stats.hpp>

namespace srd::tool {

struct EndpointView {
    std::string address;
    std::string domain;
    std::map<std::string, std::uint64_t> counters;
    bool has_snapshot = false;
    bool is_fresh = false;    ///< it was made when we asked
    std::uint64_t age_ms = 0; ///< of the snapshot
    std::uint64_t silent_ms = 0;
    std::uint32_t receives = 0;
    std::uint32_t peers = 0;
    std::uint32_t peers_waited = 0;
    struct Peer {
        std::string address;
        PeerView view;
    };
    struct Path {
        unsigned number = 0;
        std::uint64_t packets = 0;
        std::uint64_t marked = 0;
        std::uint64_t lost = 0;
    };
    std::vector<Path> paths; ///< that have carried packets
    std::vector<Peer> peer;  ///< those that are waited for longest come first
};

struct ProcessView {
    std::string file;
    std::uint64_t pid = 0;
    std::string host;
    std::string rank;
    std::string command;
    std::uint64_t started_ns = 0;
    bool is_dead = false;    ///< it has ended, and not closed its endpoints
    bool is_stopped = false; ///< by a signal or a debugger
    std::vector<EndpointView> endpoints;
};

struct LiveView {
    std::vector<ProcessView> processes;
    std::uint32_t forbidden = 0; ///< files of other users
    std::uint32_t strange = 0;   ///< files of other versions, or none of srd's
};

/// Asks the running processes, waits for their answers at most `patience_ms`, and reads. `pids`: of these
/// alone; empty: of all that may be read. `dead`: ended processes, too.
LiveView read_live(const std::vector<std::uint64_t>& pids, bool dead, unsigned patience_ms = 700);

/// Has the running processes keep the last `records` events of each endpoint (srd/trace.hpp); 0: none any
/// more. How many processes will.
std::size_t order_trace(const std::vector<std::uint64_t>& pids, std::uint32_t records);

/// Removes the files of ended processes. How many.
std::size_t remove_dead();

} // namespace srd::tool
