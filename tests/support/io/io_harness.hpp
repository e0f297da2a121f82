// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What tests of backends need: the clock, packets with checkable content, and
// loops that wait for something with a bound (of patience, not of correctness).
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <srd/counters.hpp>

#include "io/core/packet_io.hpp"
#include "io/host/interfaces.hpp"
#include "io/udp/udp_io.hpp"

namespace srd::test {

inline Time clock_now()
{
    return Time(std::chrono::steady_clock::now().time_since_epoch());
}

/// Repeats `step` until it returns true; false after ten seconds without.
template <typename Step>
bool eventually(Step&& step)
{
    const Time end = clock_now() + std::chrono::seconds(10);
    while (!step()) {
        if (clock_now() > end) {
            return false;
        }
    }
    return true;
}

/// True if `kind` is noticed about `route` while `step` runs repeatedly.
template <typename Step>
bool noticed(PacketIo& io, RouteId route, RouteNotice::Kind kind, Step&& step)
{
    return eventually([&] {
        step();
        std::array<RouteNotice, 8> notices;
        const std::size_t count = io.poll_notices(notices, clock_now());
        for (const RouteNotice& notice : std::span(notices).first(count)) {
            if (notice.route == route && notice.kind == kind) {
                return true;
            }
        }
        return false;
    });
}

/// A packet whose content follows from its number and length, cut into `pieces` iovecs.
class TestPacket {
public:
    TestPacket(std::uint32_t number, std::size_t length, std::size_t pieces = 1) : bytes_(length)
    {
        for (std::size_t i = 0; i < length; ++i) {
            bytes_[i] = pattern(number, i);
        }
        if (length >= sizeof(number)) {
            std::memcpy(bytes_.data(), &number, sizeof(number));
        }
        pieces_ = pieces;
    }

    TxPacket to(RouteId route, PathId path)
    {
        TxPacket packet;
        packet.route = route;
        packet.path = path;
        packet.length = static_cast<std::uint32_t>(bytes_.size());
        packet.iov_count = static_cast<std::uint8_t>(pieces_);
        std::size_t offset = 0;
        for (std::size_t i = 0; i < pieces_; ++i) {
            const std::size_t end = bytes_.size() * (i + 1) / pieces_;
            packet.iov[i] = {bytes_.data() + offset, end - offset};
            offset = end;
        }
        return packet;
    }

    std::size_t size() const { return bytes_.size(); }

    /// The number of an intact test packet of at least four bytes; -1 if its bytes are wrong.
    static std::int64_t number_of(const RxPacket& packet)
    {
        std::uint32_t number = 0;
        if (packet.length < sizeof(number)) {
            return -1;
        }
        std::memcpy(&number, packet.data, sizeof(number));
        for (std::size_t i = sizeof(number); i < packet.length; ++i) {
            if (packet.data[i] != pattern(number, i)) {
                return -1;
            }
        }
        return number;
    }

private:
    static std::byte pattern(std::uint32_t number, std::size_t at)
    {
        return static_cast<std::byte>((number * 2654435761U + at * 131U) >> 7);
    }

    std::vector<std::byte> bytes_;
    std::size_t pieces_ = 1;
};

/// The numbers of the test packets that arrive (-1: of one whose bytes are wrong), until there are `count` or
/// none comes any more. `see(packet)`: of each.
template <typename See>
std::set<std::int64_t> arriving(PacketIo& io, std::size_t count, See&& see)
{
    std::set<std::int64_t> numbers;
    eventually([&] {
        std::array<RxPacket, 64> packets;
        const std::size_t received = io.rx_burst(packets, clock_now());
        for (const RxPacket& packet : std::span(packets).first(received)) {
            see(packet);
            numbers.insert(TestPacket::number_of(packet));
        }
        io.rx_release();
        return numbers.size() >= count;
    });
    return numbers;
}

inline SocketAddress make_address(const char* text, std::uint16_t port = 0)
{
    sockaddr_storage storage{};
    auto& in4 = reinterpret_cast<sockaddr_in&>(storage);
    auto& in6 = reinterpret_cast<sockaddr_in6&>(storage);
    if (::inet_pton(AF_INET, text, &in4.sin_addr) == 1) {
        in4.sin_family = AF_INET;
        in4.sin_port = htons(port);
    } else {
        ::inet_pton(AF_INET6, text, &in6.sin6_addr);
        in6.sin6_family = AF_INET6;
        in6.sin6_port = htons(port);
    }
    SocketAddress address;
    SocketAddress::parse(&storage, sizeof(storage), address);
    return address;
}

/// An address of this host that is not a loopback one; empty if there is none.
inline SocketAddress outer_address()
{
    for (const NetInterface& entry : list_interfaces()) {
        if (!entry.is_loopback && entry.is_up && entry.address.family() == AF_INET) {
            return entry.address;
        }
    }
    std::fprintf(stderr, "SKIPPED: this host has no IPv4 address but loopback's\n");
    return {};
}

inline RouteId route_to(PacketIo& from, PacketIo& to)
{
    RouteId route{};
    if (from.resolve(to.local_address(), route) != Status::ok) {
        throw std::runtime_error("a backend does not resolve the address of another one");
    }
    return route;
}

/// Receives and throws away, notices too, until nothing has come for `quiet`.
inline void drain(PacketIo& io, Duration quiet)
{
    std::array<RxPacket, 64> packets;
    for (Time end = clock_now() + quiet; clock_now() < end;) {
        std::array<RouteNotice, 8> notices;
        io.poll_notices(notices, clock_now());
        if (io.rx_burst(packets, clock_now()) != 0) {
            io.rx_release();
            end = clock_now() + quiet;
        }
    }
}

/// Sends until the packets of both directions take the way that `counter` counts, and nothing is under way.
inline bool open_way(Counter Counters::*counter, PacketIo& a, const Counters& a_counters, RouteId a_to_b,
                     PacketIo& b, const Counters& b_counters, RouteId b_to_a)
{
    TestPacket packet(0, 64);
    const TxPacket from_a = packet.to(a_to_b, PathId{0});
    const TxPacket from_b = packet.to(b_to_a, PathId{0});
    const bool open = eventually([&] {
        a.tx_burst({&from_a, 1});
        b.tx_burst({&from_b, 1});
        drain(a, std::chrono::microseconds(500));
        drain(b, std::chrono::microseconds(500));
        return (a_counters.*counter).value() != 0 && (b_counters.*counter).value() != 0;
    });
    drain(a, std::chrono::milliseconds(10));
    drain(b, std::chrono::milliseconds(10));
    return open;
}

/// A UDP endpoint, or why there is none.
struct Opened {
    int code = 0;
    std::string error;
    std::vector<std::string> warnings;
    Counters counters;
    std::unique_ptr<PacketIo> io;
};

inline std::unique_ptr<Opened> open_udp(const SocketAddress& address, UdpConfig config = {})
{
    auto opened = std::make_unique<Opened>();
    config.local_address = address;
    config.warn = [target = opened.get()](const char* text) { target->warnings.emplace_back(text); };
    opened->code = make_udp_io(config, opened->counters, opened->io, opened->error);
    return opened;
}

} // namespace srd::test
