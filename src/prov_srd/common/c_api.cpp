// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "common/c_api.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include <sys/resource.h>
#include <unistd.h>

#include <srd/slab.hpp>

#include "common/say.hpp"

namespace srd {
namespace {

/// The first number in a file of /proc, or `otherwise`.
unsigned long long number_in(const char* file, unsigned long long otherwise) noexcept
{
    std::FILE* const stream = std::fopen(file, "re");
    unsigned long long number = otherwise;
    if (stream != nullptr) {
        if (std::fscanf(stream, "%llu", &number) != 1) {
            number = otherwise;
        }
        std::fclose(stream);
    }
    return number;
}

} // namespace

int out_of_memory(const char* call, const std::bad_alloc& error) noexcept
{
    // What reserves address space is an endpoint; what else there is depends on what was asked for.
    const auto* const space = dynamic_cast<const NoAddressSpace*>(&error);
    const char* const less =
        space != nullptr ? "lower FI_SRD_MAX_PEERS and FI_SRD_UNEXPECTED_BYTES" : "ask for less";
    constexpr unsigned long long kib = 1024;
    std::array<char, 64> what{"no memory"};
    if (space != nullptr) {
        std::snprintf(what.data(), what.size(), "no address space for another %llu KiB",
                      space->bytes() / kib);
    }
    std::array<char, 512> text{};
    rlimit limit{};
    if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        const unsigned long long used =
            number_in("/proc/self/statm", 0) * static_cast<unsigned long long>(::sysconf(_SC_PAGESIZE));
        std::snprintf(
            text.data(), text.size(),
            "%s: %s: the process may have %llu KiB (ulimit -v) and has %llu; raise that limit, or %s", call,
            what.data(), static_cast<unsigned long long>(limit.rlim_cur) / kib, used / kib, less);
    } else if (number_in("/proc/sys/vm/overcommit_memory", 0) == 2) {
        std::snprintf(text.data(), text.size(),
                      "%s: %s: with vm.overcommit_memory=2 the system counts what is reserved, used or not; "
                      "raise vm.overcommit_ratio, or %s",
                      call, what.data(), less);
    } else {
        std::snprintf(text.data(), text.size(), "%s: %s: the system has no more", call, what.data());
    }
    say(call, text.data());
    return -FI_ENOMEM;
}

int failed(const char* call, const std::exception& error, int code) noexcept
{
    std::array<char, 512> text{};
    std::snprintf(text.data(), text.size(), "%s: %s", call, error.what());
    constexpr std::array shortages{EAGAIN, EMFILE, ENFILE, ENOMEM, ENOSPC};
    if (std::find(shortages.begin(), shortages.end(), code) != shortages.end()) {
        say(call, text.data());
    } else { // the application can have meant to try
        SRD_WARN(FI_LOG_CORE, "%s", text.data());
    }
    return code > 0 ? -code : -FI_EOTHER;
}

} // namespace srd
