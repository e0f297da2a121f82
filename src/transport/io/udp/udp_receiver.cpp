// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/udp/udp_receiver.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <srd/check.hpp>

#include "io/core/arrival_time.hpp"
#include "io/udp/udp_socket.hpp"

namespace srd {

namespace {

template <typename T>
T read_control(const cmsghdr& item) noexcept
{
    T value{};
    std::memcpy(&value, CMSG_DATA(&item), sizeof(value));
    return value;
}

} // namespace

UdpReceiver::UdpReceiver(const FileDescriptor& socket, Counters& counters)
    : socket_(socket), counters_(counters),
      memory_(std::make_unique_for_overwrite<std::byte[]>(max_messages * buffer_stride))
{
    for (std::size_t i = 0; i < max_messages; ++i) {
        iovs_[i] = {memory_.get() + i * buffer_stride, buffer_size};
        msghdr& header = messages_[i].msg_hdr;
        header.msg_iov = &iovs_[i];
        header.msg_iovlen = 1;
        header.msg_control = controls_[i].data();
        header.msg_controllen = control_size;
    }
}

void UdpReceiver::prepare_socket(const FileDescriptor& socket, const SocketAddress& local,
                                 bool offload) noexcept
{
    // Best effort: an old or restricted kernel may refuse any of these, and the socket works without.
    const int fd = socket.get();
    // Not on loopback: nobody marks packets there, and to be told so takes a quarter of a microsecond each
    // time.
    if (!local.is_loopback()) {
        const bool ipv4 = local.family() == AF_INET;
        set_option(fd, ipv4 ? IPPROTO_IP : IPPROTO_IPV6, ipv4 ? IP_RECVTOS : IPV6_RECVTCLASS, 1);
    }
    timespec stamp{};
    (void)::ioctl(fd, SIOCGSTAMPNS, &stamp); // from now on the kernel remembers when packets came
    set_option(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
    if (offload) {
        set_option(fd, IPPROTO_UDP, UDP_GRO, 1);
    }
}

std::size_t UdpReceiver::rx_burst(std::span<RxPacket> packets, Time now, bool& socket_error)
{
    SRD_DCHECK(!held_);
    if (packets.empty() || (!holding() && !receive(now, socket_error))) {
        return 0;
    }
    std::size_t count = 0;
    while (count < packets.size() && next_ < filled_) {
        Buffer& buffer = buffers_[next_];
        if (buffer.length == 0) {
            counters_.io_rx_dropped.add(); // an empty or oversized datagram: not from one of us
            ++next_;
            continue;
        }
        const std::uint32_t length = std::min(buffer.segment_size, buffer.length - buffer.offset);
        packets[count++] = {memory_.get() + next_ * buffer_stride + buffer.offset, length, buffer.marked,
                            false, buffer.arrived};
        buffer.offset += length;
        if (buffer.offset == buffer.length) {
            ++next_;
        }
    }
    held_ = count != 0;
    return count;
}

bool UdpReceiver::receive(Time now, bool& socket_error)
{
    int got = 0;
    int error = 0;
    if (offered_ == 1) {
        const ssize_t length = ::recvmsg(socket_.get(), &messages_[0].msg_hdr, MSG_DONTWAIT);
        error = errno;
        got = length < 0 ? -1 : 1;
        messages_[0].msg_len = length < 0 ? 0 : static_cast<unsigned>(length);
    } else {
        got = ::recvmmsg(socket_.get(), messages_.data(), static_cast<unsigned>(offered_), MSG_DONTWAIT,
                         nullptr);
        error = errno;
    }
    if (got <= 0) {
        if (error == EAGAIN || error == EWOULDBLOCK) {
            drained_at_ = now;
        } else if (error != EINTR) {
            socket_error = true;
        }
        offered_ = 1;
        streak_ = false;
        return false;
    }
    const Time arrived = now - drained_at_ > late_poll ? arrival_time(now) : now;
    const auto received = static_cast<std::size_t>(got);
    for (std::size_t i = 0; i < received; ++i) {
        msghdr& header = messages_[i].msg_hdr;
        const bool truncated = (header.msg_flags & MSG_TRUNC) != 0;
        describe(i, truncated ? 0 : messages_[i].msg_len, arrived);
        header.msg_controllen = control_size;
    }
    next_ = 0;
    filled_ = received;
    if (received == offered_) {
        // A lone packet is followed by none more often than not, and recvmsg is the cheaper way to see that.
        offered_ = offered_ == 1 && !streak_ ? 1 : std::min(offered_ * 2, max_messages);
        streak_ = true;
    } else {
        drained_at_ = now;
        offered_ = received;
    }
    return true;
}

void UdpReceiver::describe(std::size_t index, std::size_t length, Time arrived)
{
    Buffer& buffer = buffers_[index];
    buffer = {static_cast<std::uint32_t>(length), 0, static_cast<std::uint32_t>(length), false, arrived};
    msghdr& header = messages_[index].msg_hdr;
    for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
        if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SO_RXQ_OVFL) {
            count_drops(read_control<std::uint32_t>(*item));
        } else if (item->cmsg_level == IPPROTO_UDP && item->cmsg_type == UDP_GRO) {
            const int segment_size = read_control<int>(*item);
            if (segment_size > 0 && static_cast<std::size_t>(segment_size) < length) {
                buffer.segment_size = static_cast<std::uint32_t>(segment_size);
            }
        } else if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_TOS) {
            buffer.marked = (read_control<std::uint8_t>(*item) & ecn_mask) == ecn_experienced;
        } else if (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_TCLASS) {
            buffer.marked = (read_control<unsigned>(*item) & ecn_mask) == ecn_experienced;
        }
    }
}

Time UdpReceiver::arrival_time(Time now) const noexcept
{
    timespec stamp{};
    if (::ioctl(socket_.get(), SIOCGSTAMPNS, &stamp) != 0) {
        return now;
    }
    const std::int64_t stamp_ns = static_cast<std::int64_t>(stamp.tv_sec) * 1'000'000'000 + stamp.tv_nsec;
    return srd::arrival_time(stamp_ns, drained_at_, now);
}

void UdpReceiver::count_drops(std::uint32_t total)
{
    // The kernel reports its count since the socket was made, modulo 2^32.
    counters_.io_rx_dropped.add(total - drops_seen_);
    drops_seen_ = total;
}

} // namespace srd
