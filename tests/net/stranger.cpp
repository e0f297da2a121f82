// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Somebody in the network who sees no traffic of others: datagrams to an endpoint, half of them with the
// source address of another one, all of them in its name.
//   stranger DATAGRAMS VICTIM CLAIMED FIRST_PORT LAST_PORT
// IPv4 addresses; the ports of both are in that range.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <srd/address.hpp>
#include <srd/file_descriptor.hpp>

#include "support/sim/stranger.hpp"

namespace {

/// An IP packet. The kernel fills in the checksum of its header; that of UDP may be left out.
std::vector<std::byte> datagram(in_addr from, std::uint16_t source, in_addr to, std::uint16_t destination,
                                const std::vector<std::byte>& payload)
{
    std::vector<std::byte> packet(sizeof(iphdr) + sizeof(udphdr) + payload.size());
    iphdr ip{};
    ip.version = 4;
    ip.ihl = sizeof(iphdr) / 4;
    ip.ttl = 64;
    ip.protocol = IPPROTO_UDP;
    ip.tot_len = htons(static_cast<std::uint16_t>(packet.size()));
    ip.saddr = from.s_addr;
    ip.daddr = to.s_addr;
    udphdr udp{};
    udp.source = htons(source);
    udp.dest = htons(destination);
    udp.len = htons(static_cast<std::uint16_t>(sizeof(udphdr) + payload.size()));
    std::memcpy(packet.data(), &ip, sizeof(ip));
    std::memcpy(packet.data() + sizeof(ip), &udp, sizeof(udp));
    std::memcpy(packet.data() + sizeof(ip) + sizeof(udp), payload.data(), payload.size());
    return packet;
}

} // namespace

int main(int argc, char** argv)
{
    in_addr victim{};
    in_addr claimed{};
    if (argc != 6 || ::inet_pton(AF_INET, argv[2], &victim) != 1 ||
        ::inet_pton(AF_INET, argv[3], &claimed) != 1) {
        std::fprintf(stderr, "usage: stranger DATAGRAMS VICTIM CLAIMED FIRST_PORT LAST_PORT\n");
        return 2;
    }
    const auto first = static_cast<std::uint64_t>(std::atoi(argv[4]));
    const auto last = static_cast<std::uint64_t>(std::atoi(argv[5]));
    const srd::FileDescriptor forged(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
    const srd::FileDescriptor own(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!forged.valid() || !own.valid()) {
        std::perror("stranger: socket");
        return 1;
    }
    srd::sim::SimRandom random(4711);
    const auto port = [&] { return static_cast<std::uint16_t>(random.between(first, last)); };
    for (long left = std::atol(argv[1]); left > 0; --left) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_addr = victim;
        to.sin_port = htons(port());
        const std::uint16_t source = port();
        std::vector<std::byte> packet =
            srd::sim::forge_packet(random, srd::SocketAddress::of_ipv4(ntohl(claimed.s_addr), source));
        const bool spoofed = random.chance(0.5);
        if (spoofed) {
            packet = datagram(claimed, source, victim, ntohs(to.sin_port), packet);
            to.sin_port = 0;
        }
        // Refused ones (no listener yet) and those without room are as good as lost.
        ::sendto(spoofed ? forged.get() : own.get(), packet.data(), packet.size(), 0,
                 reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    }
    return 0;
}
