// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_poll(3), poll sets: progress for several completion queues and counters, and which of them have news.
#pragma once

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_eq.h>

namespace srd {

/// fi_poll_open(3).
int poll_open(fid_domain* domain, fi_poll_attr* attr, fid_poll** poll_set) noexcept;

} // namespace srd
