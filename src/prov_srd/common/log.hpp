// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// FI_LOG for the whole provider. One line per event, without a newline at the
// end of the text: the macro adds it.
#pragma once

#include <cerrno> // FI_LOG saves it

#include <rdma/fabric.h>
#include <rdma/providers/fi_log.h>
#include <rdma/providers/fi_prov.h>

namespace srd {

/// The object that fi_prov_ini() hands to libfabric. Lives as long as the process.
extern fi_provider provider;

} // namespace srd

/// A caller's mistake or trouble that a user should know of: say what was wrong and what to do.
/// `subsystem` is one of FI_LOG_CORE, _FABRIC, _DOMAIN, _EP_CTRL, _EP_DATA, _AV, _CQ, _EQ, _MR, _CNTR.
#define SRD_WARN(subsystem, text, ...)                                                                       \
    FI_WARN(&::srd::provider, subsystem, text "\n" __VA_OPT__(, ) __VA_ARGS__)
/// The same, at most once every few seconds per place: for what can repeat per operation.
#define SRD_WARN_SPARSE(subsystem, text, ...)                                                                \
    FI_WARN_SPARSE(&::srd::provider, subsystem, text "\n" __VA_OPT__(, ) __VA_ARGS__)
#define SRD_INFO(subsystem, text, ...)                                                                       \
    FI_INFO(&::srd::provider, subsystem, text "\n" __VA_OPT__(, ) __VA_ARGS__)
