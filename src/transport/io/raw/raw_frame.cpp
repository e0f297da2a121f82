// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/raw/raw_frame.hpp"

#include <bit>
#include <cstring>

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>

#include <srd/check.hpp>

namespace srd {

namespace {

// Internet checksums are sums of 16-bit words in any byte order, as long as it is one: the memory's.

/// Adds the words of `data`; an odd last byte is followed by a zero.
std::uint64_t sum_of(const void* data, std::size_t length, std::uint64_t sum = 0) noexcept
{
    const auto* at = static_cast<const std::byte*>(data);
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    for (; length >= 16; length -= 16, at += 16) {
        std::array<std::uint32_t, 4> words;
        std::memcpy(words.data(), at, sizeof(words));
        low += std::uint64_t{words[0]} + words[1];
        high += std::uint64_t{words[2]} + words[3];
    }
    for (; length >= 2; length -= 2, at += 2) {
        std::uint16_t word = 0;
        std::memcpy(&word, at, sizeof(word));
        low += word;
    }
    if (length != 0) {
        std::uint16_t word = 0;
        std::memcpy(&word, at, 1);
        low += word;
    }
    const std::uint64_t both = low + high; // each is below 2^50
    return sum + (both & 0xffffffff) + (both >> 32);
}

std::uint16_t fold(std::uint64_t sum) noexcept
{
    while (sum > 0xffff) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(sum);
}

std::uint16_t checksum(std::uint64_t sum) noexcept
{
    return static_cast<std::uint16_t>(~fold(sum));
}

template <typename T>
T load(const std::byte* at) noexcept
{
    T value;
    std::memcpy(&value, at, sizeof(value));
    return value;
}

template <typename T>
void store(std::byte* at, T value) noexcept
{
    std::memcpy(at, &value, sizeof(value));
}

constexpr std::size_t ip_offset = ethernet_header;
// Within the IP headers.
constexpr std::size_t ip4_length_offset = 2;
constexpr std::size_t ip4_checksum_offset = 10;
constexpr std::size_t ip4_source_offset = 12;
constexpr std::size_t ip6_flow_offset = 0;
constexpr std::size_t ip6_length_offset = 4;
constexpr std::size_t ip6_source_offset = 8;
// Within the UDP header.
constexpr std::size_t udp_length_offset = 4;
constexpr std::size_t udp_checksum_offset = 6;
static_assert(sizeof(ether_header) == ethernet_header && sizeof(iphdr) == 20 && sizeof(ip6_hdr) == 40 &&
              sizeof(udphdr) == 8);

/// Path 0 leaves by our own port, so that ICMP errors find our socket; the others by what is far enough
/// apart for any hash, or in the range that is given.
std::uint16_t source_port(std::uint16_t own, PathId path, PortRange ports) noexcept
{
    const auto index = static_cast<std::uint32_t>(index_of(path));
    if (!ports.empty() && index != 0) {
        return ports.sources() != 0 ? ports.source_port(index) : own;
    }
    return index == 0 ? own : static_cast<std::uint16_t>(0xc000U | ((own + index * 257U) & 0x3fffU));
}

} // namespace

FrameTemplate::FrameTemplate(const MacAddress& source_mac, const SocketAddress& source,
                             const SocketAddress& destination, PortRange ports)
    : length_(raw_overhead(source.family())), port_(source.port()), ports_(ports)
{
    SRD_CHECK(source.family() == destination.family());
    const bool ipv4 = source.family() == AF_INET;
    ether_header ethernet{};
    std::memcpy(ethernet.ether_shost, source_mac.data(), source_mac.size());
    ethernet.ether_type = htons(ipv4 ? ETHERTYPE_IP : ETHERTYPE_IPV6);
    std::memcpy(bytes_.data(), &ethernet, sizeof(ethernet));
    std::uint8_t* const ip = bytes_.data() + ip_offset;
    std::size_t ip_length = 0;
    if (ipv4) {
        iphdr header{};
        header.version = 4;
        header.ihl = sizeof(header) / 4;
        header.tos = ecn_capable;
        header.frag_off = htons(IP_DF);
        header.ttl = hop_limit;
        header.protocol = IPPROTO_UDP;
        std::memcpy(&header.saddr, source.host().data(), sizeof(header.saddr));
        std::memcpy(&header.daddr, destination.host().data(), sizeof(header.daddr));
        std::memcpy(ip, &header, sizeof(header));
        ip_sum_ = sum_of(&header, sizeof(header));
        ip_length = sizeof(header);
    } else {
        ip6_hdr header{};
        header.ip6_flow = htonl(0x60000000U | static_cast<std::uint32_t>(ecn_capable) << 20);
        header.ip6_nxt = IPPROTO_UDP;
        header.ip6_hlim = hop_limit;
        std::memcpy(&header.ip6_src, source.host().data(), sizeof(header.ip6_src));
        std::memcpy(&header.ip6_dst, destination.host().data(), sizeof(header.ip6_dst));
        std::memcpy(ip, &header, sizeof(header));
        ip_length = sizeof(header);
    }
    udphdr udp{};
    udp.dest = htons(destination.port());
    std::memcpy(ip + ip_length, &udp, sizeof(udp));
    pseudo_sum_ = sum_of(source.host().data(), source.host().size());
    pseudo_sum_ = sum_of(destination.host().data(), destination.host().size(), pseudo_sum_);
    pseudo_sum_ += std::uint64_t{htons(IPPROTO_UDP)} + udp.dest;
}

std::uint32_t FrameTemplate::write(std::byte* frame, const MacAddress& destination_mac,
                                   const TxPacket& packet) const noexcept
{
    std::memcpy(frame, bytes_.data(), length_);
    std::memcpy(frame, destination_mac.data(), destination_mac.size());
    std::byte* const ip = frame + ip_offset;
    std::byte* const udp = frame + length_ - sizeof(udphdr);
    std::byte* payload = frame + length_;
    for (std::size_t i = 0; i < packet.iov_count; ++i) {
        std::memcpy(payload, packet.iov[i].iov_base, packet.iov[i].iov_len);
        payload += packet.iov[i].iov_len;
    }
    const std::uint16_t udp_length = htons(static_cast<std::uint16_t>(packet.length + sizeof(udphdr)));
    const std::uint16_t port = htons(source_port(port_, packet.path, ports_));
    if (length_ == raw_overhead(AF_INET)) {
        const std::uint16_t total = htons(static_cast<std::uint16_t>(packet.length + udp_overhead(AF_INET)));
        store(ip + ip4_length_offset, total);
        store(ip + ip4_checksum_offset, checksum(ip_sum_ + total));
    } else {
        store(ip + ip6_length_offset, udp_length);
        const std::uint32_t label = (static_cast<std::uint32_t>(index_of(packet.path)) + 1) * 0x9e37U;
        store(ip + ip6_flow_offset, load<std::uint32_t>(ip + ip6_flow_offset) | htonl(label & 0xfffffU));
    }
    store(udp, port);
    store(udp + udp_length_offset, udp_length);
    // The length is summed twice: in the pseudo header and in the UDP header.
    const std::uint64_t sum = pseudo_sum_ + port + std::uint64_t{udp_length} * 2;
    const std::uint16_t check = checksum(sum_of(frame + length_, packet.length, sum));
    store(udp + udp_checksum_offset, check == 0 ? std::uint16_t{0xffff} : check);
    return length_ + packet.length;
}

FrameVerdict read_frame(std::span<const std::byte> frame, const SocketAddress& local, bool verified,
                        FrameContent& content) noexcept
{
    const bool ipv4 = local.family() == AF_INET;
    const std::uint32_t overhead = raw_overhead(local.family());
    if (frame.size() < overhead || load<std::uint16_t>(frame.data() + offsetof(ether_header, ether_type)) !=
                                       htons(ipv4 ? ETHERTYPE_IP : ETHERTYPE_IPV6)) {
        return FrameVerdict::foreign;
    }
    const std::byte* const ip = frame.data() + ip_offset;
    const std::byte* const udp = frame.data() + overhead - sizeof(udphdr);
    const std::span<const std::byte> host = local.host();
    const std::uint16_t udp_length_field = load<std::uint16_t>(udp + udp_length_offset);
    const std::uint32_t udp_length = ntohs(udp_length_field);
    bool damaged = udp_length < sizeof(udphdr) || udp_length > frame.size() - (overhead - sizeof(udphdr));
    std::uint8_t traffic_class = 0;
    if (ipv4) {
        const auto header = load<iphdr>(ip);
        if (header.version != 4 || header.ihl != sizeof(iphdr) / 4 || header.protocol != IPPROTO_UDP ||
            (header.frag_off & htons(IP_MF | IP_OFFMASK)) != 0 ||
            std::memcmp(&header.daddr, host.data(), host.size()) != 0) {
            return FrameVerdict::foreign;
        }
        traffic_class = header.tos;
        damaged = damaged || fold(sum_of(ip, sizeof(iphdr))) != 0xffff ||
                  ntohs(header.tot_len) != udp_length + sizeof(iphdr);
    } else {
        const auto header = load<ip6_hdr>(ip);
        if (header.ip6_vfc >> 4 != 6 || header.ip6_nxt != IPPROTO_UDP ||
            std::memcmp(&header.ip6_dst, host.data(), host.size()) != 0) {
            return FrameVerdict::foreign;
        }
        traffic_class = static_cast<std::uint8_t>(ntohl(header.ip6_flow) >> 20);
        damaged = damaged || header.ip6_plen != udp_length_field;
    }
    if (load<std::uint16_t>(udp + offsetof(udphdr, dest)) != htons(local.port())) {
        return FrameVerdict::foreign;
    }
    if (damaged) {
        return FrameVerdict::damaged;
    }
    if (!verified) {
        const std::size_t source_offset = ipv4 ? ip4_source_offset : ip6_source_offset;
        const std::uint64_t pseudo =
            sum_of(ip + source_offset, 2 * host.size(), std::uint64_t{udp_length_field} + htons(IPPROTO_UDP));
        const auto check = load<std::uint16_t>(udp + udp_checksum_offset);
        // A peer on a virtual device may leave the checksum to hardware that is not there: then the field
        // holds the pseudo header's sum, and the packet never was on a wire.
        const bool unfinished = check == fold(pseudo);
        if (check == 0 || (!unfinished && fold(sum_of(udp, udp_length, pseudo)) != 0xffff)) {
            return FrameVerdict::damaged;
        }
    }
    content = {udp + sizeof(udphdr), udp_length - static_cast<std::uint32_t>(sizeof(udphdr)),
               (traffic_class & ecn_mask) == ecn_experienced};
    return FrameVerdict::ours;
}

} // namespace srd
