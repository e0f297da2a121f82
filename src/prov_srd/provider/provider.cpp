// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "common/log.hpp"
#include "entry/identity.hpp"
#include "entry/info.hpp"
#include "entry/params.hpp"
#include "objects/fabric.hpp"

namespace srd {

fi_provider provider{};

} // namespace srd

// Called by libfabric when it loads the library. fi_version is the running
// core's own, so that a newer core, which skips providers older than what the
// application asks for, does not skip this one.
extern "C" FI_EXT_INI
{
    srd::provider.version = srd::provider_version;
    srd::provider.fi_version = fi_version();
    srd::provider.name = "srd";
    srd::provider.getinfo = srd::get_info;
    srd::provider.fabric = srd::fabric_open;
    srd::provider.cleanup = [] {}; // nothing outlives the objects that the application closes
    srd::params_define();
    return &srd::provider;
}
