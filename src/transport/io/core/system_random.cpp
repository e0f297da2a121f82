// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/core/system_random.hpp"

#include <cerrno>

#include <sys/random.h>

#include <srd/check.hpp>

namespace srd {

std::uint64_t system_random() noexcept
{
    std::uint64_t number = 0;
    ssize_t got = 0;
    do {
        got = ::getrandom(&number, sizeof(number), 0);
    } while (got < 0 && errno == EINTR); // only before the generator is seeded, at boot
    SRD_CHECK(got == static_cast<ssize_t>(sizeof(number)));
    return number;
}

} // namespace srd
