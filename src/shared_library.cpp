// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <srd/shared_library.hpp>

#include <dlfcn.h>

namespace srd {

SharedLibrary::SharedLibrary(const char* name, const char* advice)
    : name_(name), handle_(::dlopen(name, RTLD_NOW | RTLD_LOCAL))
{
    if (handle_ == nullptr) {
        const char* const reason = ::dlerror();
        error_ = std::string("cannot load ") + name + " (" + (reason != nullptr ? reason : "unknown") +
                 "); " + advice;
    }
}

SharedLibrary::~SharedLibrary()
{
    if (handle_ != nullptr) {
        ::dlclose(handle_);
    }
}

void* SharedLibrary::address_of(const char* function)
{
    void* const address = handle_ != nullptr ? ::dlsym(handle_, function) : nullptr;
    if (address == nullptr && error_.empty()) {
        error_ = std::string(function) + " is missing from the installed " + name_ + "; install a newer one";
    }
    return address;
}

} // namespace srd
