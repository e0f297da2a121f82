// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What became of a frame.
#pragma once

#include <cstdint>

namespace srd {

enum class FrameResult : std::uint8_t {
    next,      ///< taken, or an echo of the past: go on
    event,     ///< an event is to be handed over
    refuse,    ///< no memory: the rest of the packet is taken later
    malformed, ///< against the protocol: the packet is dropped
    lost,      ///< its bytes, with the sender, could not be had
    stop,      ///< the connection has ended, or the packet needs no further reading
};

} // namespace srd
