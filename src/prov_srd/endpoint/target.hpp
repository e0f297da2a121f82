// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What peers do to registered memory of ours: reads, writes, atomics.
//
// Laws:
//  - A key from the wire becomes memory in find_memory() only, and what it yields
//    is used before the endpoint's lock is left: revoke() passes the lock, and after it nothing here
//    touches the region.
//  - Each event is answered exactly once, by confirm(), serve() or reject(); a write whose bytes could not
//    be had is not answered and comes again.
//
// Threading: the endpoint's lock.
#pragma once

#include <span>

#include "endpoint/bindings.hpp"
#include "endpoint/peers.hpp"
#include "endpoint/progress_unit.hpp"
#include "endpoint/reports.hpp"
#include "mr_table.hpp"

namespace srd {

class Target {
public:
    /// `regions`: the domain's.
    Target(ProgressUnit& unit, const MrTable& regions, const Bindings& bindings, Peers& peers,
           Reports& reports) noexcept
        : unit_(unit), regions_(regions), bindings_(bindings), peers_(peers), reports_(reports)
    {
    }

    void on_write(const Event& event) noexcept SRD_REQUIRES(endpoint_lock);
    void on_read(const Event& event) noexcept SRD_REQUIRES(endpoint_lock);
    void on_read_served(const Event& event) noexcept SRD_REQUIRES(endpoint_lock);
    void on_atomic(const Event& event) noexcept SRD_REQUIRES(endpoint_lock);

private:
    bool execute(const Event& event, std::span<const iovec> target, DeviceId device) noexcept
        SRD_REQUIRES(endpoint_lock);
    /// The memory that `peer` names, if it may have that access. Else `cause` is for reject(), and the log
    /// has a line.
    Resolved find_memory(const RemoteRange& range, Access access, PeerId peer) noexcept
        SRD_REQUIRES(endpoint_lock);
    /// A peer's operation is complete, which did all of `access` to each of the regions (Resolved::owner, at
    /// most max_iov, possibly repeated): counts it here and at each region.
    void count_access(std::span<const void* const> regions, Access access) noexcept
        SRD_REQUIRES(endpoint_lock);

    ProgressUnit& unit_;
    const MrTable& regions_;
    const Bindings& bindings_;
    Peers& peers_;
    Reports& reports_;
    MrTable::Cache cache_ SRD_GUARDED_BY(endpoint_lock);
};

} // namespace srd
