// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <rdma/fabric.h>

namespace srd {

/// fi_control(3) of a domain: FI_QUEUE_WORK, FI_CANCEL_WORK, FI_FLUSH_WORK.
int domain_control(fid* object, int command, void* argument) noexcept;

} // namespace srd
