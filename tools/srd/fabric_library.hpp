// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <string>

#include <rdma/fabric.h>
#include <rdma/fi_errno.h>

namespace srd::tool {

/// The functions of libfabric that are not inline in its headers. It is loaded, not linked, because that it
/// is missing is something to be told.
struct Libfabric {
    decltype(&::fi_getinfo) getinfo = nullptr;
    decltype(&::fi_freeinfo) freeinfo = nullptr;
    decltype(&::fi_dupinfo) dupinfo = nullptr;
    decltype(&::fi_fabric) fabric = nullptr;
    decltype(&::fi_version) version = nullptr;
    decltype(&::fi_strerror) strerror = nullptr;

    /// False: `error` says why.
    bool load(std::string& error);
};

} // namespace srd::tool
