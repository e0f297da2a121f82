// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The receiving half of the UDP backend.
//
// A receive call fills 64 KiB buffers; with UDP_GRO each may hold up to 64
// datagrams of one sender. Buffers are handed out packet by packet, and only
// when all are handed out and released is the next call made.
//
// An empty poll is one system call. The number of buffers offered to the
// kernel follows the load (1 when idle, so that a lone packet costs one
// recvmsg), because offering more makes the kernel look once more in vain.
//
// Arrival times: a caller that polls all the time gets its own `now`. One that
// comes late gets the kernel's time of arrival, so that the peer does not take the
// pause for congestion. It is asked for by an ioctl then, because a timestamp with
// every packet costs 4 % of a ping-pong.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <sys/socket.h>

#include <srd/counters.hpp>
#include <srd/time.hpp>

#include "io/core/packet_io.hpp"
#include "io/udp/udp_socket.hpp"

namespace srd {

class UdpReceiver {
public:
    /// Both must outlive the receiver.
    UdpReceiver(const FileDescriptor& socket, Counters& counters);

    /// Options that a receiving socket needs. `offload`: ask for UDP_GRO.
    static void prepare_socket(const FileDescriptor& socket, const SocketAddress& local,
                               bool offload) noexcept;

    /// As PacketIo::rx_burst. `socket_error` becomes true if the kernel reported an asynchronous error
    /// (read the error queue).
    std::size_t rx_burst(std::span<RxPacket> packets, Time now, bool& socket_error);
    /// The socket was last seen empty then.
    Time drained_at() const noexcept { return drained_at_; }
    void rx_release() noexcept { held_ = false; }
    /// True if received packets wait to be handed out.
    bool holding() const noexcept { return next_ < filled_; }

private:
    static constexpr std::size_t max_messages = 16;
    static constexpr std::size_t buffer_size = 65536; // the largest datagram or GRO batch
    // Not a power of two, so that the packet headers in different buffers do not share one cache set.
    static constexpr std::size_t buffer_stride = buffer_size + 192;
    static constexpr std::size_t control_size = 256; // TOS, GRO size, drop count

    struct Buffer {
        std::uint32_t length = 0;       // bytes received
        std::uint32_t offset = 0;       // bytes handed out
        std::uint32_t segment_size = 0; // of every packet but the last
        bool marked = false;
        Time arrived{};
    };

    /// Receives into the buffers; true if anything came.
    bool receive(Time now, bool& socket_error);
    /// Fills in buffers_[index] from the message's control data.
    void describe(std::size_t index, std::size_t length, Time arrived);
    /// When the last packet received came in, by the kernel's clock.
    Time arrival_time(Time now) const noexcept;
    void count_drops(std::uint32_t total);

    const FileDescriptor& socket_;
    Counters& counters_;
    std::unique_ptr<std::byte[]> memory_;
    std::array<Buffer, max_messages> buffers_{};
    std::array<mmsghdr, max_messages> messages_{};
    std::array<iovec, max_messages> iovs_{};
    alignas(cmsghdr) std::array<std::array<char, control_size>, max_messages> controls_{};
    std::size_t offered_ = 1; // buffers to offer in the next call
    bool streak_ = false;     // the last call found something
    std::size_t filled_ = 0;  // buffers that hold packets
    std::size_t next_ = 0;    // the buffer to hand out from
    bool held_ = false;       // packets are handed out and not released
    std::uint32_t drops_seen_ = 0;
    Time drained_at_{}; // what comes now arrived later
};

} // namespace srd
