// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/verbs/verbs_library.hpp"

#include <dlfcn.h>

#include <srd/check.hpp>

namespace srd {

namespace {

struct Loaded {
    VerbsLibrary functions;
    std::string error;

    Loaded()
    {
        void* const library = ::dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) {
            const char* const reason = ::dlerror();
            error = std::string("cannot load libibverbs.so.1 (") + (reason != nullptr ? reason : "unknown") +
                    "); install libibverbs and the device's driver (Debian: ibverbs-providers)";
            return;
        }
#define SRD_X(name) find(functions.name, library, "ibv_" #name);
        SRD_VERBS_FUNCTIONS(SRD_X)
#undef SRD_X
        find(functions.query_gid_table, library, "_ibv_query_gid_table");
    }

    template <typename Function>
    void find(Function& function, void* library, const char* name)
    {
        function = reinterpret_cast<Function>(::dlsym(library, name));
        if (function == nullptr && error.empty()) {
            error = std::string(name) + " is missing from the installed libibverbs; install a newer one";
        }
    }
};

const Loaded& loaded()
{
    static const Loaded* const once =
        new Loaded; // never destroyed: endpoints may be closed by atexit handlers
    return *once;
}

} // namespace

const VerbsLibrary* load_verbs_library(std::string& error)
{
    if (!loaded().error.empty()) {
        error = loaded().error;
        return nullptr;
    }
    return &loaded().functions;
}

const VerbsLibrary& verbs() noexcept
{
    SRD_DCHECK(loaded().error.empty());
    return loaded().functions;
}

} // namespace srd
