// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/xdp/xdp_library.hpp"

#include <dlfcn.h>

namespace srd {

namespace {

struct Loaded {
    XdpLibrary functions;
    std::string error;

    Loaded()
    {
        void* const xdp = open("libxdp.so.1");
        void* const bpf = open("libbpf.so.1");
#define SRD_X(library, name) find(functions.name, library, #name);
        SRD_XDP_FUNCTIONS(SRD_X)
#undef SRD_X
        if (error.empty()) {
            functions.libbpf_set_print(nullptr); // what goes wrong is told by our own sentences
        }
    }

    void* open(const char* name)
    {
        void* const library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr && error.empty()) {
            const char* const reason = ::dlerror();
            error = std::string("cannot load ") + name + " (" + (reason != nullptr ? reason : "unknown") +
                    "); install libxdp and libbpf (Debian: libxdp1, libbpf1)";
        }
        return library;
    }

    template <typename Function>
    void find(Function& function, void* library, const char* name)
    {
        if (library != nullptr) {
            function = reinterpret_cast<Function>(::dlsym(library, name));
            if (function == nullptr && error.empty()) {
                error =
                    std::string(name) + " is missing from the installed libxdp or libbpf; install newer ones";
            }
        }
    }
};

} // namespace

const XdpLibrary* load_xdp_library(std::string& error)
{
    static const Loaded* const loaded =
        new Loaded; // never destroyed: endpoints may be closed by atexit handlers
    if (!loaded->error.empty()) {
        error = loaded->error;
        return nullptr;
    }
    return &loaded->functions;
}

} // namespace srd
