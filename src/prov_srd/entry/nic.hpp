// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The fid_nic of an fi_info: the device behind the interface, so that MPI can
// choose the one next to its core and people can see what they use.
#pragma once

#include <rdma/fabric.h>

#include "io/host/interfaces.hpp"

namespace srd {

/// A fid_nic for `entry`, owned by whoever closes it (fi_freeinfo does); null for loopback.
/// What is not known is null, 0 or FI_BUS_UNKNOWN. Throws std::bad_alloc.
fid_nic* make_nic(const NetInterface& entry);

} // namespace srd
