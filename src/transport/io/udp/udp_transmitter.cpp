// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/udp/udp_transmitter.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <netinet/udp.h>
#include <sys/socket.h>

#include <srd/check.hpp>
#include <srd/iov.hpp>

namespace srd {

namespace {

void set_destination(msghdr& header, const SocketAddress& address) noexcept
{
    header.msg_name = const_cast<sockaddr*>(address.get()); // the kernel only reads it
    header.msg_namelen = address.size();
}

/// A message of one packet, pointing at the packet's own pieces.
msghdr single_message(const TxPacket& packet, const SocketAddress& address) noexcept
{
    msghdr header{};
    set_destination(header, address);
    header.msg_iov = const_cast<iovec*>(packet.iov.data());
    header.msg_iovlen = packet.iov_count;
    return header;
}

/// sendmsg, or the cheaper sendto when there is nothing to gather.
ssize_t send_message(int fd, const msghdr& header) noexcept
{
    if (header.msg_iovlen == 1 && header.msg_controllen == 0) {
        return ::sendto(fd, header.msg_iov->iov_base, header.msg_iov->iov_len, MSG_DONTWAIT,
                        static_cast<const sockaddr*>(header.msg_name), header.msg_namelen);
    }
    return ::sendmsg(fd, &header, MSG_DONTWAIT);
}

} // namespace

UdpTransmitter::UdpTransmitter(UdpSender& main, std::shared_ptr<UdpSenders> others,
                               const SocketAddress& local, UdpRoutes& routes, NoticeQueue& notices,
                               Counters& counters, const IoOptions& options, Settings settings)
    : main_(main), others_(std::move(others)), local_(local), routes_(routes), notices_(notices),
      counters_(counters), options_(options), settings_(settings),
      together_(std::make_unique_for_overwrite<std::byte[]>(together_size))
{
    SRD_CHECK(settings_.path_count >= 1 && settings_.path_count <= max_paths);
}

std::size_t UdpTransmitter::tx_burst(std::span<const TxPacket> packets)
{
    std::size_t accepted = 0;
    while (accepted < packets.size()) {
        const std::span<const TxPacket> rest = packets.subspan(accepted);
        UdpSender& sender = sender_of(rest.front().path);
        const bool trying = copy_choice_.trying();
        const Clock::time_point begun = trying ? Clock::now() : Clock::time_point{};
        const std::size_t gathered = gather(rest, sender);
        const std::size_t sent = flush(rest.first(gathered), sender);
        if (fine_bytes_ != 0 && sent == gathered) {
            if (trying) {
                copy_choice_.on_timed_batch(Clock::now() - begun, fine_bytes_);
            } else {
                copy_choice_.on_batch();
            }
        }
        accepted += sent;
        if (sent < gathered) {
            break;
        }
    }
    return accepted;
}

void UdpTransmitter::reply(const SocketAddress& wanted, std::span<const std::byte> packet) noexcept
{
    const SocketAddress address = routes_.here(wanted);
    if (address.family() != local_.family() || !address.is_unicast() || address.port() == 0 ||
        ::sendto(main_.socket.get(), packet.data(), packet.size(), MSG_DONTWAIT, address.get(),
                 address.size()) < 0) {
        counters_.io_tx_errors.add(); // it asks again, if there is anybody
    }
}

UdpSender& UdpTransmitter::sender_of(PathId path)
{
    const std::size_t index = index_of(path);
    SRD_DCHECK(index < settings_.path_count);
    if (index == 0 || index >= settings_.path_count) {
        return main_;
    }
    UdpSender* other = others_->sender(index, options_);
    return other != nullptr ? *other : main_;
}

std::size_t UdpTransmitter::run_length(std::span<const TxPacket> packets, bool segmentation) const noexcept
{
    const TxPacket& first = packets.front();
    if (!segmentation || first.length == 0 || first.alone) {
        return 1;
    }
    const std::size_t fitting = std::min<std::size_t>(max_segments, max_udp_payload / first.length);
    const std::size_t limit = std::min(packets.size(), fitting);
    std::size_t count = 1;
    std::size_t bytes = first.length;
    while (count < limit) {
        const TxPacket& packet = packets[count];
        if (packet.route != first.route || packet.path != first.path || packet.length > first.length ||
            packet.length == 0 || packet.alone) {
            break;
        }
        ++count;
        bytes += packet.length;
        if (packet.length < first.length) {
            break; // only the last may be shorter
        }
    }
    // A virtual device delivers the whole message as one frame, which a program before the kernel's stack
    // (generic XDP) at the other side would take for one packet, were it not too long for that.
    const bool could_be_a_packet = !routes_.on_this_host(first.route) && bytes <= routes_.mtu(first.route);
    return could_be_a_packet ? 1 : count;
}

bool UdpTransmitter::is_fine(const TxPacket& first, std::size_t count) noexcept
{
    return count >= fine_packets && first.length < coarse_piece;
}

std::size_t UdpTransmitter::gather(std::span<const TxPacket> packets, const UdpSender& sender) noexcept
{
    message_count_ = 0;
    piece_count_ = 0;
    fine_bytes_ = 0;
    const PathId path = packets.front().path;
    const bool segmentation = settings_.offload && sender.segmentation.load(std::memory_order_relaxed);
    std::size_t taken = 0;
    while (taken < packets.size() && packets[taken].path == path && message_count_ < max_messages) {
        const std::size_t count = run_length(packets.subspan(taken), segmentation);
        const bool together = is_fine(packets[taken], count) && copy_choice_.together();
        if (piece_count_ + count * max_tx_iov > max_pieces ||
            (together && fine_bytes_ + max_udp_payload > together_size)) {
            break;
        }
        add_message(packets.subspan(taken, count));
        if (is_fine(packets[taken], count)) {
            add_fine_message(together);
        }
        taken += count;
    }
    SRD_DCHECK(taken != 0);
    return taken;
}

void UdpTransmitter::add_message(std::span<const TxPacket> run) noexcept
{
    const TxPacket& first = run.front();
    SRD_DCHECK(routes_.contains(first.route));
    msghdr& header = messages_[message_count_].msg_hdr;
    header = single_message(first, routes_.address(first.route));
    message_packets_[message_count_] = static_cast<std::uint16_t>(run.size());
    if (run.size() > 1) {
        header.msg_iov = &pieces_[piece_count_];
        for (const TxPacket& packet : run) {
            std::copy_n(packet.iov.begin(), packet.iov_count,
                        pieces_.begin() + static_cast<long>(piece_count_));
            piece_count_ += packet.iov_count;
        }
        header.msg_iovlen = static_cast<std::size_t>(&pieces_[piece_count_ - 1] - header.msg_iov) + 1;
        header.msg_control = controls_[message_count_].bytes.data();
        header.msg_controllen = controls_[message_count_].bytes.size();
        cmsghdr* const item = CMSG_FIRSTHDR(&header);
        item->cmsg_level = IPPROTO_UDP;
        item->cmsg_type = UDP_SEGMENT;
        item->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
        const auto segment_size = static_cast<std::uint16_t>(first.length);
        std::memcpy(CMSG_DATA(item), &segment_size, sizeof(segment_size));
    }
    ++message_count_;
}

/// Of the message added last, whose pieces may be laid together.
void UdpTransmitter::add_fine_message(bool together) noexcept
{
    msghdr& header = messages_[message_count_ - 1].msg_hdr;
    const std::span<const iovec> pieces(header.msg_iov, header.msg_iovlen);
    const std::size_t bytes = total_length(pieces);
    if (together) {
        std::byte* const start = &together_[fine_bytes_];
        copy_range(pieces, 0, bytes, start);
        header.msg_iov[0] = {start, bytes};
        header.msg_iovlen = 1;
    }
    fine_bytes_ += bytes;
}

int UdpTransmitter::send_messages(int fd, std::size_t first) noexcept
{
    const std::size_t count = message_count_ - first;
    if (count == 1) {
        return send_message(fd, messages_[first].msg_hdr) < 0 ? -1 : 1;
    }
    return ::sendmmsg(fd, &messages_[first], static_cast<unsigned>(count), MSG_DONTWAIT);
}

UdpSender& UdpTransmitter::prefer_connected(UdpSender& sender, const TxPacket& packet)
{
    const RouteId route = packet.route;
    if (message_count_ != 1) {
        return sender;
    }
    if (route == connected_route_ && packet.path == connected_path_) {
        candidate_streak_ = 0;
    } else {
        if (route != candidate_ || packet.path != candidate_path_) {
            candidate_ = route;
            candidate_path_ = packet.path;
            candidate_streak_ = 0;
        }
        if (++candidate_streak_ < connect_after) {
            return sender;
        }
        candidate_streak_ = 0;
        if (!connect_to(route, packet.path)) {
            return sender;
        }
    }
    messages_[0].msg_hdr.msg_name = nullptr;
    messages_[0].msg_hdr.msg_namelen = 0;
    return connected_;
}

/// Always a new socket: another path must have another source port, or a blackholed one would stay so.
bool UdpTransmitter::connect_to(RouteId route, PathId path)
{
    connected_route_ = no_id<RouteId>;
    int error = 0;
    SocketAddress source = local_;
    source.set_port(options_.ports.source_port(index_of(path)));
    connected_.socket = open_sending_socket(source, options_.interface, options_.socket_buffer, error);
    const SocketAddress& address = routes_.address(route);
    if (!connected_.socket.valid() ||
        ::connect(connected_.socket.get(), address.get(), address.size()) != 0) {
        return false;
    }
    connected_route_ = route;
    connected_path_ = path;
    return true;
}

std::size_t UdpTransmitter::flush(std::span<const TxPacket> packets, UdpSender& unconnected)
{
    UdpSender& sender = prefer_connected(unconnected, packets.front());
    std::size_t accepted = 0; // packets
    std::size_t message = 0;
    int attempts = 0;
    while (message < message_count_) {
        const int sent = send_messages(sender.socket.get(), message);
        if (sent > 0) {
            for (int i = 0; i < sent; ++i) {
                accepted += message_packets_[message++];
            }
            if (message < message_count_) {
                // sendmmsg does not say why it stopped. If the reason persists the next call fails with it;
                // if it was an asynchronous error, that is reported now, and only the error queue has it.
                collect_errors(sender);
            }
            attempts = 0;
            continue;
        }
        const int error = errno;
        const std::size_t count = message_packets_[message];
        Verdict verdict = judge(error, packets[accepted], count > 1, sender);
        if (verdict == Verdict::retry && ++attempts >= max_attempts) {
            verdict = Verdict::lost;
        }
        if (verdict == Verdict::stop) {
            break;
        }
        if (verdict == Verdict::retry) {
            continue;
        }
        if (verdict == Verdict::one_by_one) {
            const std::size_t singly = send_one_by_one(packets.subspan(accepted, count), sender);
            accepted += singly;
            if (singly < count) {
                break;
            }
        } else {
            counters_.io_tx_errors.add(count);
            accepted += count;
        }
        ++message;
        attempts = 0;
    }
    return accepted;
}

UdpTransmitter::Verdict UdpTransmitter::judge(int error, const TxPacket& packet, bool batch,
                                              UdpSender& sender)
{
    switch (error) {
    case ENOBUFS: // the device's queue is full, or (a virtual one) its other end does not take this size
        return packet.probe ? Verdict::lost : Verdict::stop;
    case EAGAIN:
    case ENOMEM:
        return Verdict::stop;
    case EINTR:
        return Verdict::retry;
    case EMSGSIZE:
        collect_errors(sender);
        routes_.refresh_mtu(packet.route);
        notices_.push(packet.route, RouteNotice::Kind::mtu_changed);
        return Verdict::one_by_one;
    case EIO:    // the device cannot do the checksums that segmentation needs
    case EINVAL: // older kernels: also a segment larger than the MTU
        if (!batch) {
            return Verdict::lost;
        }
        if (error == EIO || packet.length <= routes_.mtu(packet.route)) {
            sender.segmentation.store(false, std::memory_order_relaxed);
        }
        return Verdict::one_by_one;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
    case EACCES:
    case EPROTO:
        // An asynchronous report of an earlier packet, unless the error queue has none: then this
        // packet itself found no way.
        if (collect_errors(sender) || error == ECONNREFUSED || error == EPROTO) {
            return Verdict::retry;
        }
        notices_.push(packet.route, RouteNotice::Kind::host_unreachable);
        return Verdict::lost;
    default: // EPERM: a packet filter, for example
        return Verdict::lost;
    }
}

std::size_t UdpTransmitter::send_one_by_one(std::span<const TxPacket> packets, UdpSender& sender)
{
    std::size_t accepted = 0;
    int attempts = 0;
    while (accepted < packets.size()) {
        const TxPacket& packet = packets[accepted];
        const msghdr header = single_message(packet, routes_.address(packet.route));
        if (send_message(sender.socket.get(), header) >= 0) {
            ++accepted;
            attempts = 0;
            continue;
        }
        const Verdict verdict = judge(errno, packet, false, sender);
        if (verdict == Verdict::stop) {
            break;
        }
        if (verdict == Verdict::retry && ++attempts < max_attempts) {
            continue;
        }
        if (verdict != Verdict::one_by_one || packet.probe || !send_fragmented(packet)) {
            counters_.io_tx_errors.add();
        }
        ++accepted;
        attempts = 0;
    }
    return accepted;
}

bool UdpTransmitter::send_fragmented(const TxPacket& packet)
{
    if (!fragmenting_.valid()) {
        FileDescriptor fd(::socket(local_.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        SocketAddress address = local_;
        address.set_port(0);
        if (!fd.valid() || ::bind(fd.get(), address.get(), address.size()) != 0) {
            return false;
        }
        prepare_sending_socket(fd, local_.family(), IpFragmentation::allowed);
        leave_by(fd, local_.family(), options_.interface, true);
        fragmenting_ = std::move(fd);
    }
    const msghdr header = single_message(packet, routes_.address(packet.route));
    if (send_message(fragmenting_.get(), header) >= 0) {
        return true;
    }
    SocketError error;
    bool any = false;
    while (read_error_queue(fragmenting_, error)) {
        report(error);
        any = true;
    }
    return any && send_message(fragmenting_.get(), header) >= 0;
}

bool UdpTransmitter::collect_errors(UdpSender& sender)
{
    if (&sender != &main_ && &sender != &connected_) {
        return others_->collect_errors(sender);
    }
    bool any = false;
    SocketError error;
    while (read_error_queue(sender.socket, error)) {
        report(error);
        any = true;
    }
    return any;
}

void UdpTransmitter::report(const SocketError& error)
{
    const RouteId route = routes_.find(error.destination);
    if (route == no_id<RouteId>) {
        return;
    }
    if (error.kind == RouteNotice::Kind::mtu_changed && !routes_.refresh_mtu(route)) {
        return; // nothing new
    }
    notices_.push(route, error.kind);
}

} // namespace srd
