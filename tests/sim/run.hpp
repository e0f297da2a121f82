// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// One simulated run: hosts, traffic and faults in, a verdict out. A run is a
// function of its RunConfig, and scenarios.hpp makes that a function of a name and a seed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "sim/workload.hpp"
#include "support/checkers.hpp"
#include "support/sim/sim_host.hpp"
#include "support/sim/sim_net.hpp"

namespace srd::sim {

struct Fault {
    enum class Kind : std::uint8_t {
        spine_down,   ///< a: spine
        spine_up,     ///< a: spine
        host_stop,    ///< a: host; value: nanoseconds
        host_kill,    ///< a: host; value: 1 if its machine then says that the address is free
        host_restart, ///< a: host
        host_close,   ///< a: host; it closes its endpoint in good order, and exits soon after
        host_cut,     ///< a: host; the network no longer reaches it
        host_mend,    ///< a: host
        rail_down,    ///< a: host, b: one of its interfaces; nothing leaves or comes by it
        rail_up,      ///< a: host, b: interface
        host_deaf,    ///< a: host; nothing reaches it any more, what it sends arrives
        host_hears,   ///< a: host
        false_news,   ///< a: host, b: host; somebody tells a by ICMP that nobody has b's address, or no way
                      ///< leads there
        mtu,          ///< a: host, b: host, value: bytes, from a to b
        black_hole,   ///< a: host, b: host, value: bytes; longer packets from a to b vanish silently
        no_room,    ///< a: host, b: host, value: nanoseconds; a's system has no room for packets to b so long
        way_cut,    ///< a: host, b: host; from a to b nothing gets through
        way_mend,   ///< a: host, b: host
        suspend,    ///< a: host, value: nanoseconds; its machine sleeps: nothing runs, nothing is heard, and
                    ///< its clock stands still
        clock_leap, ///< a: host, value: nanoseconds by which its clock goes ahead at once
        stranger,   ///< a: host, b: host, value: number; somebody who sees no traffic sends a so many forged
                    ///< packets, most of which claim to come from b
        remove_peer, ///< a: host, b: host; a forgets b
        calm,        ///< chance strikes no more: no loss, corruption, duplication
    };
    Time at{};
    Kind kind{};
    std::uint32_t a = 0;
    std::uint32_t b = 0;
    std::uint64_t value = 0;
};

struct RunConfig {
    std::string scenario;
    std::uint64_t seed = 0;
    std::uint32_t hosts = 2;
    LossyNet::Config net;
    SimHostOptions host;
    std::vector<std::uint32_t> max_packets; ///< per host, where they differ; else host.io.caps.max_packet
    std::vector<Dialect> dialects;          ///< per host, where they differ; else host.tuning.dialect
    std::vector<std::uint8_t> rails;        ///< interfaces per host, where they differ; else host.io.rails
    Workload::Options work;
    std::vector<MessagePlan> messages;
    std::vector<RmaPlan> operations; ///< remote memory access
    std::vector<RegionPlan> regions;
    RmaApp::Options rma;
    std::vector<Fault> faults;
    std::vector<CauseSet> allowed;  ///< per host: causes with which operations that involve it may fail
    Time certain_from = time_never; ///< what is submitted from then on does not fail, whatever was before
    bool trace = false;             ///< print every datagram, submission, announcement and completion
    Duration patience =
        std::chrono::seconds(30); ///< after the last fault and submission: all must be settled
    Duration error_bound = std::chrono::seconds(40); ///< from a host's death (or the submission) to the error
};

struct RunResult {
    bool ok = false;
    std::string failure;
    Time ended{};
    std::uint64_t events = 0;
    LossyNet::Totals net;
    std::uint64_t failed_operations = 0;
    std::uint64_t rejected_operations = 0;         ///< of those: by their target
    std::map<std::string, std::uint64_t> counters; ///< summed over all hosts
    std::uint64_t received_bytes = 0;
};

RunResult run(const RunConfig& config);

} // namespace srd::sim
