// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/host/netlink_socket.hpp"

#include <array>
#include <cerrno>
#include <new>
#include <utility>

#include <linux/netlink.h>
#include <sys/socket.h>

#include "io/host/netlink.hpp"

namespace srd {

namespace {

/// Netlink fills a buffer with as many messages as fit; lists come in parts of this size.
struct Answer {
    alignas(nlmsghdr) std::array<std::byte, 32768> bytes;
};

/// recv(2) that no signal interrupts.
ssize_t receive(int fd, Answer& answer) noexcept
{
    ssize_t length = -1;
    do {
        length = ::recv(fd, answer.bytes.data(), answer.bytes.size(), 0);
    } while (length < 0 && errno == EINTR);
    return length;
}

/// Called from C, which no exception may pass.
int call_visitor(const nlmsghdr* message, void* visit) noexcept
{
    try {
        (*static_cast<const NetlinkSocket::Visitor*>(visit))(*message);
        return MNL_CB_OK;
    } catch (const std::bad_alloc&) {
        errno = ENOMEM;
        return MNL_CB_ERROR;
    }
}

/// As mnl_cb_run(), whose visitor is a C function.
int run(const Answer& answer, ssize_t length, std::uint32_t sequence, const NetlinkSocket::Visitor& visit)
{
    return mnl_cb_run(answer.bytes.data(), static_cast<std::size_t>(length), sequence, 0, &call_visitor,
                      const_cast<NetlinkSocket::Visitor*>(&visit));
}

} // namespace

int NetlinkSocket::open(unsigned groups) noexcept
{
    FileDescriptor fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
    if (!fd.valid()) {
        return errno;
    }
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = groups;
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        return errno;
    }
    socket_ = std::move(fd);
    return 0;
}

int NetlinkSocket::ask(NetlinkRequest& request, const Visitor& visit)
{
    nlmsghdr& header = request.header();
    header.nlmsg_seq = ++sequence_;
    if (::send(socket_.get(), &header, header.nlmsg_len, 0) < 0) {
        return errno;
    }
    const bool is_list = (header.nlmsg_flags & NLM_F_DUMP) != 0;
    Answer answer;
    for (;;) {
        const ssize_t length = receive(socket_.get(), answer);
        if (length < 0) {
            return errno;
        }
        const int more = run(answer, length, sequence_, visit);
        if (more < 0 && errno == EPROTO) {
            continue; // libmnl's word for another sequence number: the rest of an earlier answer
        }
        if (more < 0) {
            return errno;
        }
        if (more == MNL_CB_STOP || !is_list) {
            return 0;
        }
    }
}

int NetlinkSocket::poll(const Visitor& visit)
{
    Answer answer;
    for (;;) {
        const ssize_t length = receive(socket_.get(), answer);
        if (length < 0) {
            return errno == ENOBUFS ? ENOBUFS : 0;
        }
        run(answer, length, 0, visit);
    }
}

} // namespace srd
