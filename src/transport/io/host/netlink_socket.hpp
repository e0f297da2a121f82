// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A socket for questions to the kernel about links, routes and neighbours (rtnetlink(7)). libmnl's own
// sockets would do, but a child of fork() must be able to close ours (srd/file_descriptor.hpp).
#pragma once

#include <cstdint>

#include <srd/file_descriptor.hpp>

struct nlmsghdr;

namespace srd {

class NetlinkRequest;

/// A socket to the kernel in the network namespace of the thread that opens it. Not thread-safe.
class NetlinkSocket {
public:
    /// Refers to what is called with each message, a lambda in the caller's expression.
    class Visitor {
    public:
        template <typename Visit>
        Visitor(const Visit& visit) noexcept
            : visit_(&visit), call_([](const void* target, const nlmsghdr& message) {
                  (*static_cast<const Visit*>(target))(message);
              })
        {
        }
        void operator()(const nlmsghdr& message) const { call_(visit_, message); }

    private:
        const void* visit_;
        void (*call_)(const void*, const nlmsghdr&);
    };

    /// `groups`: whose announcements poll() reads. 0 or errno.
    int open(unsigned groups = 0) noexcept;

    /// Asks and visits what the kernel answers, which it does at once. 0, or the kernel's errno (ENETUNREACH:
    /// no route), or that of the socket.
    int ask(NetlinkRequest& request, const Visitor& visit);

    /// Visits the announcements that are there. ENOBUFS if some were lost, else 0. Never blocks.
    int poll(const Visitor& visit);

    /// Readable when poll() has something to do.
    int fd() const noexcept { return socket_.get(); }

private:
    FileDescriptor socket_;
    std::uint32_t sequence_ = 0;
};

} // namespace srd
