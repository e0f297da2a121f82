// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <cstdint>

namespace srd {

/// Sets an int-valued socket option; false if the kernel refuses.
bool set_option(int fd, int level, int name, int value) noexcept;

/// Asks for `wanted` bytes of SO_RCVBUF or SO_SNDBUF (`force_name`: the privileged variant).
/// Returns what the kernel granted, in the unit of the request.
std::uint32_t set_socket_buffer(int fd, int name, int force_name, std::uint32_t wanted) noexcept;

} // namespace srd
