// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <cstdint>

#include <rdma/fabric.h>
#include <rdma/fi_atomic.h>

namespace srd {

/// For fid_ep.
extern fi_ops_atomic atomic_ops;

/// fi_query_atomic(3), for fid_domain.
int query_atomic(fid_domain* domain, fi_datatype datatype, fi_op op, fi_atomic_attr* attr,
                 std::uint64_t flags) noexcept;

} // namespace srd
