// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A backend that is an array, for measuring the engine alone. Each has one route: to its partner.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <netinet/in.h>

#include "support/quiet_io.hpp"

namespace srd::bench {

inline constexpr std::size_t ring_size = 1024; ///< packets on the way per direction, a power of two

/// `name`: an address of its own for each side.
class NullIo final : public test::QuietIo {
public:
    NullIo(std::uint32_t mtu, std::byte name)
        : name_(SocketAddress::of_ipv4(INADDR_LOOPBACK, std::to_integer<std::uint16_t>(name))),
          memory_(ring_size * mtu), lengths_(ring_size)
    {
        caps_ = IoCaps{.max_packet = mtu, .path_count = 64, .burst_packets = 64};
    }

    void join(NullIo& partner) { partner_ = &partner; }
    /// Bytes of packets that lie in `untouched` are counted, not copied.
    void leave_untouched(std::span<const std::byte> untouched) { untouched_ = untouched; }

    const SocketAddress& local_address() const noexcept override { return name_; }
    Status resolve(const SocketAddress&, RouteId& route) override
    {
        route = RouteId{0};
        return Status::ok;
    }
    RouteId find(const SocketAddress&) const noexcept override { return RouteId{0}; }
    void reply(const SocketAddress&, std::span<const std::byte> packet) noexcept override
    {
        TxPacket whole;
        whole.iov_count = 1;
        whole.length = static_cast<std::uint32_t>(packet.size());
        whole.iov.front() = {const_cast<std::byte*>(packet.data()), packet.size()};
        partner_->push(whole, {});
    }
    const SocketAddress& route_address(RouteId) const noexcept override { return partner_->name_; }

    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override
    {
        const std::size_t count = std::min<std::size_t>(packets.size(), arrived_ - released_);
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t slot = (released_ + i) % ring_size;
            packets[i] =
                RxPacket{.data = &memory_[slot * caps_.max_packet], .length = lengths_[slot], .arrived = now};
        }
        taken_ = count;
        return count;
    }
    void rx_release() noexcept override
    {
        released_ += taken_;
        taken_ = 0;
    }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        std::size_t sent = 0;
        while (sent < packets.size() && partner_->push(packets[sent], untouched_)) {
            ++sent;
        }
        return sent;
    }

private:
    bool push(const TxPacket& packet, std::span<const std::byte> untouched)
    {
        if (arrived_ - released_ == ring_size) {
            return false;
        }
        const std::size_t slot = arrived_ % ring_size;
        std::byte* target = &memory_[slot * caps_.max_packet];
        for (std::size_t i = 0; i < packet.iov_count; ++i) {
            const iovec& piece = packet.iov[i];
            const auto* base = static_cast<const std::byte*>(piece.iov_base);
            if (base < untouched.data() || base >= untouched.data() + untouched.size()) {
                std::memcpy(target, base, piece.iov_len);
            }
            target += piece.iov_len;
        }
        lengths_[slot] = packet.length;
        ++arrived_;
        return true;
    }

    NullIo* partner_ = nullptr;
    SocketAddress name_;
    std::span<const std::byte> untouched_;
    std::vector<std::byte> memory_;
    std::vector<std::uint32_t> lengths_;
    std::size_t arrived_ = 0;  ///< packets ever pushed here
    std::size_t released_ = 0; ///< of these, given back
    std::size_t taken_ = 0;    ///< in the last rx_burst
};

} // namespace srd::bench
