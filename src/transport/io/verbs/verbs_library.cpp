// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/verbs/verbs_library.hpp"

#include <srd/check.hpp>
#include <srd/shared_library.hpp>

namespace srd {

namespace {

struct Loaded {
    SharedLibrary library{"libibverbs.so.1",
                          "install libibverbs and the device's driver (Debian: ibverbs-providers)"};
    VerbsLibrary functions;

    Loaded()
    {
#define SRD_X(name) library.find(functions.name, "ibv_" #name);
        SRD_VERBS_FUNCTIONS(SRD_X)
#undef SRD_X
        library.find(functions.query_gid_table, "_ibv_query_gid_table");
    }
};

const Loaded& loaded()
{
    // Never destroyed: endpoints may be closed by atexit handlers.
    static const Loaded* const once = new Loaded;
    return *once;
}

} // namespace

const VerbsLibrary* load_verbs_library(std::string& error)
{
    if (const std::string& reason = loaded().library.error(); !reason.empty()) {
        error = reason;
        return nullptr;
    }
    return &loaded().functions;
}

const VerbsLibrary& verbs() noexcept
{
    SRD_DCHECK(loaded().library.error().empty());
    return loaded().functions;
}

} // namespace srd
