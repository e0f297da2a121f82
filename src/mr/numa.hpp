// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which NUMA node things are on, and how to stay near one.
//
// Only the machine's number of nodes is read at first (one small file); the rest costs nothing on a machine
// with one node. hwloc, which takes milliseconds to look at a machine, is loaded when a
// thread is to be bound, if it is there at all.
//
// Memory is not bound: on backends that copy, the best node for a pool is that of
// the thread that makes progress, and its first touch decides that.
// Threading: every function may be called by any thread.
#pragma once

#include <string>
#include <vector>

namespace srd {

inline constexpr int no_node = -1; ///< unknown, or no NUMA

class Numa {
public:
    /// `sysfs` is where to look: "/sys", or a copy of it.
    explicit Numa(const std::string& sysfs);
    /// This machine, looked at by the first call. Throws std::bad_alloc.
    static const Numa& machine();

    /// Online nodes, at least 1.
    unsigned count() const noexcept { return count_; }
    /// How far memory of node `to` is from a processor of node `from`, in the firmware's unit
    /// (10 = its own); 255 if either is unknown.
    unsigned distance(int from, int to) const noexcept;

private:
    unsigned count_ = 1;
    std::vector<std::vector<unsigned>> distances_; ///< by node number; empty with one node
};

/// The node whose processor the calling thread is on; no_node if the kernel does not say.
int numa_node_of_thread() noexcept;

/// Lets the calling thread run only on those of its processors that belong to `node`. False, and nothing
/// changes: it has none there (the job's own binding is kept), or there is no hwloc.
bool numa_bind_thread(int node);

} // namespace srd
