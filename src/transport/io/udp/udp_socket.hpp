// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the parts of the UDP backend share: addresses of sockets, the options that every sending socket needs,
// and the kernel's error queue. Linux only; nothing here keeps state of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <sys/socket.h>

#include <srd/address.hpp>
#include <srd/file_descriptor.hpp>

#include "io/core/ip_header.hpp"
#include "io/core/packet_io.hpp"
#include "io/core/socket_options.hpp"

namespace srd {

/// The address that `socket` is bound to: 0 or errno.
int bound_address(const FileDescriptor& socket, SocketAddress& address) noexcept;

enum class IpFragmentation : std::uint8_t { forbidden, allowed };

/// Options of every socket that sends: ECT(0), DF or not, an error queue, a non-blocking descriptor.
void prepare_sending_socket(const FileDescriptor& socket, int family, IpFragmentation fragmentation) noexcept;

/// What the socket sends leaves by that interface, whatever routes say. 0: as they say. `only_sends`: nothing
/// need be received that comes by another one, which older kernels understand for connected sockets as well.
void leave_by(const FileDescriptor& socket, int family, unsigned interface, bool only_sends) noexcept;

/// A socket bound to `local` that only sends, unfragmented, by `interface` (as leave_by); if it is not valid,
/// `error` is errno. A port that is given is shared with all such sockets of this user: an ICMP error then
/// reaches any of them, a hint lost.
FileDescriptor open_sending_socket(const SocketAddress& local, unsigned interface,
                                   std::uint32_t socket_buffer, int& error);

/// Longest IP packet from `socket`'s address to `destination` that this host sends unfragmented, bytes: what
/// the link, the route, and the routers on the path allow, less the headers that the kernel puts before
/// (tunnels, IPsec). 0: there is no way. `socket` is a datagram socket for this alone: it gets connected.
std::uint32_t path_mtu(const FileDescriptor& socket, const SocketAddress& destination) noexcept;

/// One entry of a socket's error queue, as the kernel tells it.
struct QueuedError {
    SocketAddress destination; ///< of the datagram
    SocketAddress offender;    ///< who sent the ICMP error; empty: it is this host's
    int error = 0;             ///< errno
    std::uint32_t mtu = 0;     ///< that an EMSGSIZE tells; 0: none
};

/// Takes the next entry from the error queue of `socket`; false if there is none.
bool take_queued_error(const FileDescriptor& socket, QueuedError& error) noexcept;

/// What an entry means for a route: what happened to a datagram sent to `destination`.
struct SocketError {
    SocketAddress destination;
    RouteNotice::Kind kind{};
};

/// Takes the next entry that means something from the error queue of `socket`; false if there is none.
bool read_error_queue(const FileDescriptor& socket, SocketError& error) noexcept;

} // namespace srd
