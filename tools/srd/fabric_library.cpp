// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fabric_library.hpp"

#include <type_traits>

#include <dlfcn.h>

namespace srd::tool {

bool Libfabric::load(std::string& error)
{
    void* const library = ::dlopen("libfabric.so.1", RTLD_NOW);
    if (library == nullptr) {
        error = ::dlerror();
        return false;
    }
    const auto find = [&](auto& function, const char* name) {
        function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, name));
        return function != nullptr;
    };
    if (find(getinfo, "fi_getinfo") && find(freeinfo, "fi_freeinfo") && find(dupinfo, "fi_dupinfo") &&
        find(fabric, "fi_fabric") && find(version, "fi_version") && find(strerror, "fi_strerror")) {
        return true;
    }
    error = "functions are missing in it";
    return false;
}

} // namespace srd::tool
