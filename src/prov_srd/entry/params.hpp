// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Every FI_SRD_* variable, read once per process: params.cpp has the one table of
// names, ranges, texts and where the values go, and nothing else of the provider looks at the
// environment, but for stats_file.cpp, which learns there which rank of a job this is. Values are kept in the
// very structs that the engine (Limits, Tuning) and the backends (IoOptions) take, whose defaults are the
// variables' defaults.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rdma/fabric.h>

#include <srd/limits.hpp>

#include "entry/backend.hpp"
#include "entry/job_keys.hpp"
#include "entry/stats_file.hpp"
#include "io/core/io_options.hpp"

namespace srd {

struct Params {
    Limits limits;                       ///< MAX_PEERS, UNEXPECTED_BYTES applied
    Tuning tuning;                       ///< EAGER_SIZE, WINDOW, CONGESTION, ... applied
    IoOptions io;                        ///< PATHS, MTU, SOCKET_BUFFER applied; no address, nowhere to log
    Backend backend = Backend::udp;      ///< whose domains fi_getinfo lists
    std::uint32_t xdp_queues = 0;        ///< receive queues an xdp endpoint takes; 0: all that are free
    bool shm = true;                     ///< shared memory to peers on this host
    std::vector<std::string> interfaces; ///< the only interfaces to use, together; empty: all that are up
    bool all_interfaces = false;         ///< and those together, too
    std::string job_key_file;            ///< empty: nothing is sealed
    std::shared_ptr<JobKeys> job_keys;   ///< its keys; null: there is none
    bool forward_secrecy = true;         ///< connections have keys that the job's do not tell
    ProcessPlace place;                  ///< for the names and the lines of statistics
    std::string stats;       ///< where to write statistics when an endpoint closes; empty: nowhere
    std::uint32_t trace = 0; ///< events of each endpoint that are kept
    bool quiet = false;      ///< nothing goes to stderr
};

/// Announces the variables to libfabric (fi_info -e). Called once, from fi_prov_ini().
void params_define() noexcept;

/// Reads and checks them. 0, or -FI_EINVAL after one line per wrong variable. A name that is none of ours
/// gets a line, too: it is a misspelt one. The first call decides for the process. Thread-safe.
int params_load() noexcept;

/// The values; params_load() must have returned 0 (fi_getinfo and fi_fabric see to it).
const Params& params() noexcept;

/// FI_PROVIDER or `hints` (may be null) name srd: somebody counts on it.
bool asked_by_name(const fi_info* hints);

} // namespace srd
