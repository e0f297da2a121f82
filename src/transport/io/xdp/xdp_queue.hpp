// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// One AF_XDP socket on one queue of an interface: its memory, its four rings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/raw/raw_io.hpp"
#include "io/xdp/xdp_library.hpp"

namespace srd {

class XdpQueue {
public:
    struct Settings {
        std::string interface;
        std::uint32_t queue = 0;
        std::uint32_t chunk = 0;     ///< bytes per frame of memory: 2048 or 4096
        std::uint32_t rx_frames = 0; ///< a power of two, as
        std::uint32_t tx_frames = 0;
        bool native = false;
    };

    /// Longest frame that a chunk holds: the kernel keeps the front of it.
    static constexpr std::uint32_t frame_limit(std::uint32_t chunk) noexcept { return chunk - 256; }

    XdpQueue(const XdpLibrary& library, const Settings& settings) noexcept
        : library_(library), settings_(settings)
    {
    }
    ~XdpQueue();
    XdpQueue(const XdpQueue&) = delete;
    XdpQueue& operator=(const XdpQueue&) = delete;

    /// 0 or errno; EBUSY: the queue is another socket's.
    int open();

    std::uint32_t queue() const noexcept { return settings_.queue; }
    int fd() const noexcept { return library_.xsk_socket__fd(socket_); }
    bool zero_copy() const noexcept { return zero_copy_; }

    std::size_t rx_burst(std::span<RxFrame> frames, Time now);
    void rx_release() noexcept;
    bool rx_waiting() const noexcept;
    std::byte* tx_room();
    void tx_push(std::uint32_t length);
    void tx_flush();
    std::uint64_t drops() const noexcept; ///< since open()

private:
    int try_open(std::uint16_t bind_flags);
    void close() noexcept;
    void collect_sent() noexcept;

    const XdpLibrary& library_;
    const Settings settings_;
    std::byte* memory_ = nullptr;
    std::size_t memory_bytes_ = 0;
    xsk_umem* umem_ = nullptr;
    xsk_socket* socket_ = nullptr;
    xsk_ring_prod fill_{};
    xsk_ring_cons completion_{};
    xsk_ring_cons rx_{};
    xsk_ring_prod tx_{};
    bool zero_copy_ = false;
    std::vector<std::uint64_t> held_;      // chunks handed out
    std::vector<std::uint64_t> returning_; // chunks released and not yet back in the fill ring
    std::vector<std::uint64_t> free_;      // chunks to send from
    std::uint32_t pushed_ = 0;             // frames reserved and not yet submitted
};

} // namespace srd
