// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// FrameRing: the part in which raw backends differ. It moves Ethernet frames of one interface through rings
// shared with the kernel, a burst per system call. It delivers frames to our port only; the kernel's own
// stack takes all others. It is called by the thread that calls PacketIo.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <srd/time.hpp>

namespace srd {

/// A received frame; the memory is the ring's until rx_release().
struct RxFrame {
    std::span<const std::byte> bytes;
    bool verified = false; ///< the kernel vouches for the UDP checksum
    /// Not 0: the kernel has joined packets of this length, of which the last may be shorter.
    std::uint32_t segment = 0;
    Time arrived{};
};

class FrameRing {
public:
    FrameRing() = default;
    FrameRing(const FrameRing&) = delete;
    FrameRing& operator=(const FrameRing&) = delete;
    virtual ~FrameRing() = default;

    /// Longest frame it can send or receive, bytes.
    virtual std::uint32_t max_frame() const noexcept = 0;
    /// Bytes of frames that can wait to be received.
    virtual std::uint32_t rx_capacity() const noexcept = 0;

    virtual std::size_t rx_burst(std::span<RxFrame> frames, Time now) = 0;
    virtual void rx_release() noexcept = 0;
    /// True if rx_burst() has something.
    virtual bool rx_waiting() const noexcept = 0;

    /// Room for a frame of max_frame() bytes, the same until tx_push(); nullptr: none at the moment.
    virtual std::byte* tx_room() = 0;
    virtual void tx_push(std::uint32_t length) = 0;
    /// Makes the kernel send what was pushed.
    virtual void tx_flush() = 0;

    /// Readable when rx_waiting() becomes true.
    virtual std::span<const int> wait_fds() const noexcept = 0;
    /// Frames lost on our side since the last call. A system call.
    virtual std::uint64_t take_drops() noexcept = 0;
};

} // namespace srd
