// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Libraries that are loaded when they are first needed. A provider that is linked with a library that a
// machine lacks is not there at all, without a word; one that loads it loses what needs the library, can say
// so, and nothing else.
#pragma once

#include <string>

namespace srd {

/// A library for as long as the object lives; its functions are looked up one by one. Not thread-safe.
class SharedLibrary {
public:
    /// `name` is the file's, with its version: "libxdp.so.1". `advice` ends the sentence about one that is
    /// not there: "install ...".
    SharedLibrary(const char* name, const char* advice);
    ~SharedLibrary();
    SharedLibrary(const SharedLibrary&) = delete;
    SharedLibrary& operator=(const SharedLibrary&) = delete;

    /// `function` becomes the library's of that name; null if there is none.
    template <typename Function>
    void find(Function& function, const char* name)
    {
        function = reinterpret_cast<Function>(address_of(name));
    }

    /// Why it cannot be used, as a sentence: it is not there, or a function was not found. Empty: it can.
    const std::string& error() const noexcept { return error_; }

private:
    void* address_of(const char* function);

    const char* name_;
    void* handle_;
    std::string error_;
};

} // namespace srd
