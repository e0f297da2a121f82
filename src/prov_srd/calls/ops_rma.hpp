// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <rdma/fi_rma.h>

namespace srd {

/// For fid_ep.
extern fi_ops_rma rma_ops;

} // namespace srd
