// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_mr_reg and its relatives: fid_mr objects over the domain's MrTable.
#pragma once

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

namespace srd {

/// The table for fid_domain.mr.
extern fi_ops_mr memory_region_ops;

} // namespace srd
