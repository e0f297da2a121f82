// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "common/c_api.hpp"

#include <array>
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
    constexpr const char* lower = "lower FI_SRD_UNEXPECTED_BYTES or FI_SRD_MAX_PEERS";
    constexpr unsigned long long kib = 1024;
    std::array<char, 512> text{};
    const auto* const space = dynamic_cast<const NoAddressSpace*>(&error);
    const unsigned long long wanted = space != nullptr ? space->bytes() / kib : 0;
    rlimit limit{};
    if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        const unsigned long long used =
            number_in("/proc/self/statm", 0) * static_cast<unsigned long long>(::sysconf(_SC_PAGESIZE));
        std::snprintf(text.data(), text.size(),
                      "%s: no address space for another %llu KiB: the process may have %llu KiB (ulimit -v) "
                      "and has %llu; raise that limit, or %s",
                      call, wanted, static_cast<unsigned long long>(limit.rlim_cur) / kib, used / kib, lower);
    } else if (number_in("/proc/sys/vm/overcommit_memory", 0) == 2) {
        std::snprintf(
            text.data(), text.size(),
            "%s: no memory for another %llu KiB: with vm.overcommit_memory=2 the system counts what "
            "is reserved, used or not; raise vm.overcommit_ratio, or %s",
            call, wanted, lower);
    } else {
        std::snprintf(text.data(), text.size(), "%s: the system has no memory for another %llu KiB; %s", call,
                      wanted, lower);
    }
    say(call, text.data());
    return -FI_ENOMEM;
}

} // namespace srd
