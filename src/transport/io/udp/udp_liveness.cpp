// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/udp/udp_liveness.hpp"

#include <cerrno>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace srd {

namespace {

/// What the end of a connection attempt means; false: nothing.
bool classify(int error, RouteNotice::Kind& kind) noexcept
{
    switch (error) {
    case 0:
        kind = RouteNotice::Kind::process_alive;
        return true;
    case ECONNREFUSED:
        kind = RouteNotice::Kind::process_gone;
        return true;
    case EHOSTUNREACH:
    case ENETUNREACH:
        kind = RouteNotice::Kind::unreachable;
        return true;
    default:
        return false;
    }
}

} // namespace

FileDescriptor open_liveness_listener(const SocketAddress& address, int& error)
{
    FileDescriptor fd(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (fd.valid()) {
        if (address.family() == AF_INET6) {
            set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
        }
        set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1); // connections of an earlier process that linger
        set_option(fd.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
        if (::bind(fd.get(), address.get(), address.size()) == 0 && ::listen(fd.get(), 1024) == 0) {
            return fd;
        }
    }
    error = errno;
    return FileDescriptor();
}

void UdpLiveness::probe(RouteId route, const SocketAddress& address, NoticeQueue& notices, Time now)
{
    for (std::size_t i = 0; i < probe_count_; ++i) {
        if (probes_[i].route == route) {
            return;
        }
    }
    if (probe_count_ == probes_.size()) {
        collect(notices); // on one host, or in one rack, the answers are there already
        if (probe_count_ == probes_.size()) {
            return;
        }
    }
    FileDescriptor fd(::socket(local_.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd.valid()) {
        return;
    }
    const linger reset{1, 0};
    if (::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) != 0) {
        return; // the probe's end would leave a connection behind
    }
    set_option(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    SocketAddress source = local_;
    source.set_port(0);
    if (::bind(fd.get(), source.get(), source.size()) != 0) {
        return;
    }
    const int error = ::connect(fd.get(), address.get(), address.size()) == 0 ? 0 : errno;
    if (error != EINPROGRESS) {
        RouteNotice::Kind kind{};
        if (classify(error, kind)) {
            notices.push(route, kind);
        }
        return;
    }
    epoll_event event{};
    event.events = EPOLLOUT;
    event.data.u32 = epoll_tag_;
    // Best effort: without it the answer wakes nobody, but whoever polls finds it.
    (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event);
    Probe& added = probes_[probe_count_++];
    added.socket = std::move(fd);
    added.route = route;
    added.deadline = now + probe_timeout;
    next_check_ = now;
}

void UdpLiveness::collect(NoticeQueue& notices)
{
    if (probe_count_ == 0) {
        return;
    }
    std::array<pollfd, std::tuple_size_v<decltype(probes_)>> polled{};
    for (std::size_t i = 0; i < probe_count_; ++i) {
        polled[i] = {probes_[i].socket.get(), POLLOUT, 0};
    }
    if (::poll(polled.data(), probe_count_, 0) <= 0) {
        return;
    }
    for (std::size_t i = probe_count_; i-- > 0;) { // backwards: remove() moves the last one here
        if (polled[i].revents == 0) {
            continue;
        }
        int error = 0;
        socklen_t length = sizeof(error);
        RouteNotice::Kind kind{};
        if (::getsockopt(probes_[i].socket.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 &&
            classify(error, kind)) {
            notices.push(probes_[i].route, kind);
        }
        remove(i);
    }
}

void UdpLiveness::check(NoticeQueue& notices, Time now)
{
    collect(notices);
    for (std::size_t i = probe_count_; i-- > 0;) {
        if (probes_[i].deadline <= now) {
            remove(i);
        }
    }
    close_strangers();
    next_check_ = now + (probe_count_ != 0 ? probe_interval : idle_interval);
}

void UdpLiveness::remove(std::size_t index) noexcept
{
    Probe ended = std::move(probes_[index]); // closes: the epoll set forgets it too
    --probe_count_;
    if (index != probe_count_) {
        probes_[index] = std::move(probes_[probe_count_]);
    }
}

void UdpLiveness::close_strangers() noexcept
{
    if (!listener_.valid()) {
        return;
    }
    constexpr int most = 64; // the rest waits for the next time: somebody may be connecting without end
    for (int i = 0; i < most; ++i) {
        const FileDescriptor stranger(
            ::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!stranger.valid()) {
            return;
        }
    }
}

} // namespace srd
