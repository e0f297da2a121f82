// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/core/socket_options.hpp"

#include <algorithm>

#include <sys/socket.h>

namespace srd {

bool set_option(int fd, int level, int name, int value) noexcept
{
    return ::setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

std::uint32_t set_socket_buffer(int fd, int name, int force_name, std::uint32_t wanted) noexcept
{
    const int request = static_cast<int>(std::min<std::uint32_t>(wanted, 1U << 30));
    if (!set_option(fd, SOL_SOCKET, force_name, request)) {
        set_option(fd, SOL_SOCKET, name, request);
    }
    int granted = 0;
    socklen_t length = sizeof(granted);
    if (::getsockopt(fd, SOL_SOCKET, name, &granted, &length) != 0 || granted < 0) {
        return 0;
    }
    return static_cast<std::uint32_t>(granted) / 2; // the kernel doubles requests for its own overhead
}

} // namespace srd
