// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <rdma/fi_tagged.h>

namespace srd {

/// For fid_ep.
extern fi_ops_msg msg_ops;
extern fi_ops_tagged tagged_ops;

} // namespace srd
