// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/udp/udp_liveness.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "io/udp/liveness_responder.hpp"

namespace srd {

namespace {

/// What the end of a connection attempt means; false: nothing.
bool kind_of_attempt(int error, RouteNotice::Kind& kind) noexcept
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
        return false; // nobody has answered, or the question was never asked
    }
}

/// Connections of strangers who say nothing, or something else, never reach the accept queue, whose end would
/// be silence for everybody: of what comes for the listener, the kernel drops everything but beginnings,
/// which it answers from no memory if it must, resets, and our question. Best effort: without it,
/// TCP_DEFER_ACCEPT.
void admit_questions_only(int fd) noexcept
{
    const auto word = [](const char* text) {
        return static_cast<std::uint32_t>(text[0]) << 24U | static_cast<std::uint32_t>(text[1]) << 16U |
               static_cast<std::uint32_t>(text[2]) << 8U | static_cast<std::uint32_t>(text[3]);
    };
    constexpr std::uint32_t flags_at = 13; // in the TCP header
    constexpr std::uint32_t length_at = 12;
    std::array<sock_filter, 12> program{{
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, flags_at),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, TH_SYN | TH_RST, 8, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, length_at),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
        BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 2),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),       // X: where the data begin
        BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), // past the end: dropped
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word(&liveness_request[0]), 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_IND, 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word(&liveness_request[4]), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, ~std::uint32_t{0}),
        BPF_STMT(BPF_RET | BPF_K, 0),
    }};
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    (void)::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter));
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
        admit_questions_only(fd.get());
        if (::bind(fd.get(), address.get(), address.size()) == 0 && ::listen(fd.get(), 1024) == 0) {
            return fd;
        }
    }
    error = errno;
    return FileDescriptor();
}

bool UdpLiveness::make_room(NoticeQueue& notices, Time now)
{
    if (probe_count_ == probes_.size()) {
        collect(notices); // on one host, or in one rack, the answers are there already
    }
    if (probe_count_ == probes_.size()) {
        const auto oldest = std::min_element(
            probes_.begin(), probes_.end(), [](const Probe& a, const Probe& b) { return a.since < b.since; });
        if (now - oldest->since < probe_patience) {
            return false;
        }
        remove(static_cast<std::size_t>(oldest - probes_.begin()));
    }
    return true;
}

void UdpLiveness::probe(RouteId route, LivenessProbe what, const SocketAddress& address, NoticeQueue& notices,
                        Time now)
{
    for (std::size_t i = 0; i < probe_count_; ++i) {
        if (probes_[i].route == route) {
            if (now - probes_[i].since < probe_patience) {
                return;
            }
            remove(i);
            break;
        }
    }
    if (!make_room(notices, now)) {
        return;
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
        if (kind_of_attempt(error, kind)) {
            notices.push(route, kind, now);
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
    added.what = what;
    added.asked = false;
    added.since = now;
    next_check_ = now;
}

void UdpLiveness::collect(NoticeQueue& notices)
{
    if (probe_count_ == 0) {
        return;
    }
    std::array<pollfd, std::tuple_size_v<decltype(probes_)>> polled{};
    for (std::size_t i = 0; i < probe_count_; ++i) {
        polled[i] = {probes_[i].socket.get(), static_cast<short>(probes_[i].asked ? POLLIN : POLLOUT), 0};
    }
    if (::poll(polled.data(), probe_count_, 0) <= 0) {
        return;
    }
    for (std::size_t i = probe_count_; i-- > 0;) { // backwards: remove() moves the last one here
        if (polled[i].revents != 0 && !advance(probes_[i], notices)) {
            remove(i);
        }
    }
}

/// The probe's socket has something to say. False: all that is to be learnt is learnt.
bool UdpLiveness::advance(Probe& probe, NoticeQueue& notices)
{
    const int fd = probe.socket.get();
    if (probe.asked) {
        LivenessReply reply{};
        if (::recv(fd, &reply, sizeof(reply), 0) != sizeof(reply)) {
            return false;
        }
        if (reply == LivenessReply::reads || reply == LivenessReply::busy) {
            notices.push(probe.route,
                         reply == LivenessReply::reads ? RouteNotice::Kind::process_reads
                                                       : RouteNotice::Kind::process_busy,
                         probe.since);
        }
        return false;
    }
    int error = 0;
    socklen_t length = sizeof(error);
    RouteNotice::Kind kind{};
    if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || !kind_of_attempt(error, kind)) {
        return false;
    }
    notices.push(probe.route, kind, probe.since);
    if (error != 0 || probe.what == LivenessProbe::exists) {
        return false;
    }
    probe.asked = ::send(fd, liveness_request.data(), liveness_request.size(), MSG_NOSIGNAL) ==
                  static_cast<ssize_t>(liveness_request.size());
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = epoll_tag_;
    (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
    return probe.asked;
}

void UdpLiveness::check(NoticeQueue& notices, Time now)
{
    collect(notices);
    for (std::size_t i = probe_count_; i-- > 0;) {
        if (now - probes_[i].since >= probe_timeout) {
            remove(i);
        }
    }
    next_check_ = probe_count_ != 0 ? now + probe_interval : time_never;
}

void UdpLiveness::remove(std::size_t index) noexcept
{
    Probe ended = std::move(probes_[index]); // closes: the epoll set forgets it too
    --probe_count_;
    if (index != probe_count_) {
        probes_[index] = std::move(probes_[probe_count_]);
    }
}

} // namespace srd
