// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A plain socket at the other end of a UDP backend: it sees by which ports packets leave.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <sys/socket.h>

#include <srd/address.hpp>
#include <srd/file_descriptor.hpp>

#include "io/core/packet_io.hpp"
#include "io/udp/udp_socket.hpp"

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"

namespace srd::test {

/// A plain UDP socket at `wanted`.
inline FileDescriptor plain_socket(const SocketAddress& wanted, SocketAddress& bound)
{
    FileDescriptor fd(::socket(wanted.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    REQUIRE(fd.valid());
    REQUIRE(::bind(fd.get(), wanted.get(), wanted.size()) == 0);
    REQUIRE(bound_address(fd, bound) == 0);
    return fd;
}

/// The source ports by which packets of all 64 paths leave for a socket at `host`, by path.
inline std::vector<std::uint16_t> source_ports(PacketIo& io, const SocketAddress& host)
{
    SocketAddress address;
    const FileDescriptor sink = plain_socket(host, address);
    RouteId route{};
    REQUIRE(io.resolve(address, route) == Status::ok);
    std::vector<std::uint16_t> ports;
    for (std::uint8_t path = 0; path < 64; ++path) {
        TestPacket packet(path, 100);
        const TxPacket sent = packet.to(route, PathId{path});
        REQUIRE(io.tx_burst({&sent, 1}) == 1);
        std::array<std::byte, 200> buffer;
        sockaddr_storage from{};
        socklen_t length = sizeof(from);
        REQUIRE(eventually([&] {
            return ::recvfrom(sink.get(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from),
                              &length) == 100;
        }));
        SocketAddress source;
        REQUIRE(SocketAddress::parse(&from, length, source));
        ports.push_back(source.port());
    }
    return ports;
}

} // namespace srd::test
