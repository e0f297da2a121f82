// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The fid_nic of an fi_info: which PCI device the interface is, so that MPI
// can choose the one next to its core.
#pragma once

#include <rdma/fabric.h>

#include "address.hpp"
#include "io/interfaces.hpp"

namespace srd {

/// A fid_nic for `entry` with `address`, owned by whoever closes it (fi_freeinfo does); null if the interface
/// is not a PCI device. Throws std::bad_alloc.
fid_nic* make_nic(const NetInterface& entry, const SocketAddress& address);

} // namespace srd
