// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/xdp/xdp_library.hpp"

#include <srd/shared_library.hpp>

namespace srd {

namespace {

constexpr const char* advice = "install libxdp and libbpf (Debian: libxdp1, libbpf1)";

struct LoadedXdp {
    SharedLibrary xdp{"libxdp.so.1", advice};
    SharedLibrary bpf{"libbpf.so.1", advice};
    XdpLibrary functions;

    LoadedXdp()
    {
#define SRD_X(library, name) library.find(functions.name, #name);
        SRD_XDP_FUNCTIONS(SRD_X)
#undef SRD_X
        if (error().empty()) {
            functions.libbpf_set_print(nullptr); // what goes wrong is told by our own sentences
        }
    }
    const std::string& error() const noexcept
    {
        return xdp.error().empty() ? bpf.error() : xdp.error();
    }
};

} // namespace

const XdpLibrary* load_xdp_library(std::string& error)
{
    // Never destroyed: endpoints may be closed by atexit handlers.
    static const LoadedXdp* const loaded = new LoadedXdp;
    if (!loaded->error().empty()) {
        error = loaded->error();
        return nullptr;
    }
    return &loaded->functions;
}

} // namespace srd
