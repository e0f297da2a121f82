// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/raw/raw_io.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <net/if.h>

#include <srd/check.hpp>

#include "io/core/bypass_io.hpp"
#include "io/core/epoll_set.hpp"
#include "io/host/netlink_routes.hpp"
#include "io/raw/raw_frame.hpp"
#include "io/udp/udp_io.hpp"

namespace srd {

namespace {

// How often to poll where little comes from: each poll is a system call.
constexpr Duration event_interval = std::chrono::milliseconds(1);  // netlink: links, routes, neighbours
constexpr Duration drop_interval = std::chrono::milliseconds(100); // the ring's statistics

class RawIo final : public BypassIo {
public:
    RawIo(std::unique_ptr<PacketIo> udp, std::unique_ptr<FrameRing> ring,
          std::unique_ptr<NetlinkRoutes> links, const RawConfig& config, Counters& counters);

    /// 0 or errno.
    int open_wait();

    Status resolve(const SocketAddress& address, RouteId& route) override;
    std::uint32_t route_mtu(RouteId route) const noexcept override
    {
        return std::min(inner().route_mtu(route), caps_.max_packet);
    }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override;
    bool forget_route(RouteId route) noexcept override
    {
        routes_[index_of(route)] = Route{};
        return inner().forget_route(route);
    }
    std::size_t tx_burst(std::span<const TxPacket> packets) override;
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override;
    int wait_fd() const noexcept override { return waits_.get(); }
    bool arm_wait() override;

private:
    struct Route {
        std::uint32_t generation = 0;  // of links_ when `next_hop` was asked for
        Neighbour* next_hop = nullptr; // null: through the kernel
        FrameTemplate frame;
    };

    std::size_t receive_ring(std::span<RxPacket> packets, Time now);
    void release_bypass() noexcept override;
    /// The route if the ring can take a packet of that length to it now, else nullptr.
    const Route* ring_route(const TxPacket& packet);
    Offered offer(const TxPacket& packet);
    bool watch_ring() noexcept;

    // The ring goes first, the base backend last: the kernel's stack must have the port as long as frames
    // come in.
    const std::unique_ptr<NetlinkRoutes> links_;
    const std::unique_ptr<FrameRing> ring_;
    const SocketAddress local_;
    const PortRange ports_;
    Counters& counters_;
    EpollSet waits_;
    bool ring_watched_ = false;
    std::array<RxFrame, 64> frames_; // of the ring's last burst
    std::size_t frame_count_ = 0;    // not 0: they have not been released to the ring yet
    std::size_t next_frame_ = 0;     // all packets of the frames before it have been returned
    std::uint32_t frame_offset_ = 0; // of the next packet in that frame
    Time events_due_{};
    Time drops_due_{};
    std::vector<Route> routes_;
};

RawIo::RawIo(std::unique_ptr<PacketIo> udp, std::unique_ptr<FrameRing> ring,
             std::unique_ptr<NetlinkRoutes> links, const RawConfig& config, Counters& counters)
    : BypassIo(std::move(udp)), links_(std::move(links)), ring_(std::move(ring)),
      local_(inner().local_address()), ports_(config.ports), counters_(counters)
{
    caps_ = IoCaps{};
    caps_.max_packet = std::min(
        {config.max_packet, inner().caps().max_packet, ring_->max_frame() - raw_overhead(local_.family())});
    caps_.rx_buffer = ring_->rx_capacity();
    caps_.path_count = config.path_count;
}

int RawIo::open_wait()
{
    return waits_.open() && waits_.add(inner().wait_fd()) && waits_.add(links_->fd()) ? 0 : errno;
}

/// Only before the first sleep, as the UDP backend does with its socket: an unwatched source is cheaper.
bool RawIo::watch_ring() noexcept
{
    ring_watched_ =
        ring_watched_ || std::ranges::all_of(ring_->wait_fds(), [this](int fd) { return waits_.add(fd); });
    return ring_watched_;
}

Status RawIo::resolve(const SocketAddress& address, RouteId& route)
{
    RouteId resolved{};
    const Status status = inner().resolve(address, resolved);
    if (status != Status::ok) {
        return status;
    }
    try {
        if (index_of(resolved) >= routes_.size()) {
            routes_.resize(index_of(resolved) + 1);
        }
    } catch (const std::bad_alloc&) {
        return Status::no_memory;
    }
    route = resolved;
    return Status::ok;
}

const RawIo::Route* RawIo::ring_route(const TxPacket& packet)
{
    SRD_DCHECK(index_of(packet.route) < routes_.size());
    Route& route = routes_[index_of(packet.route)];
    if (route.generation != links_->generation()) [[unlikely]] {
        const SocketAddress& destination = inner().route_address(packet.route);
        route.generation = links_->generation();
        route.next_hop = links_->next_hop(destination);
        route.frame = FrameTemplate(links_->link_mac(), local_, destination, ports_);
    }
    Neighbour* const hop = route.next_hop;
    const std::uint32_t limit =
        std::min({inner().route_mtu(packet.route), caps_.max_packet,
                  links_->link_mtu() - std::min(links_->link_mtu(), udp_overhead(local_.family()))});
    if (hop == nullptr || !hop->usable || !links_->link_up() || packet.length > limit) {
        return nullptr;
    }
    if (hop->stale) [[unlikely]] {
        hop->stale = false; // this one makes the kernel ask whether the neighbour is still there
        return nullptr;
    }
    return &route;
}

RawIo::Offered RawIo::offer(const TxPacket& packet)
{
    const Route* const route = ring_route(packet);
    if (route == nullptr) {
        return Offered::not_carried;
    }
    std::byte* room = ring_->tx_room();
    if (room == nullptr) {
        ring_->tx_flush();
        room = ring_->tx_room();
        if (room == nullptr) {
            return Offered::no_room;
        }
    }
    ring_->tx_push(route->frame.write(room, route->next_hop->mac, packet));
    return Offered::sent;
}

std::size_t RawIo::tx_burst(std::span<const TxPacket> packets)
{
    const Sent sent = send(
        packets, [this](const TxPacket& packet) { return offer(packet); },
        [this](const TxPacket& packet) { return ring_route(packet) != nullptr; });
    ring_->tx_flush();
    return sent.accepted;
}

std::size_t RawIo::receive_ring(std::span<RxPacket> packets, Time now)
{
    if (next_frame_ == frame_count_) {
        const std::size_t wanted = std::min(packets.size(), frames_.size());
        frame_count_ = ring_->rx_burst(std::span(frames_).first(wanted), now);
        next_frame_ = 0;
    }
    if (frame_count_ != 0) {
        hold_bypass();
    }
    std::size_t count = 0;
    while (next_frame_ < frame_count_ && count < packets.size()) {
        const RxFrame& frame = frames_[next_frame_];
        FrameContent content;
        const FrameVerdict verdict = read_frame(frame.bytes, local_, frame.verified, content);
        if (verdict != FrameVerdict::ours || content.length == 0) {
            counters_.io_rx_dropped.add();
            ++next_frame_;
            continue;
        }
        const std::uint32_t rest = content.length - frame_offset_;
        const std::uint32_t length = frame.segment == 0 ? rest : std::min(rest, frame.segment);
        packets[count++] = {content.data + frame_offset_, length, content.marked, false, frame.arrived};
        frame_offset_ += length;
        if (length == rest) {
            frame_offset_ = 0;
            ++next_frame_;
        }
    }
    return count;
}

std::size_t RawIo::rx_burst(std::span<RxPacket> packets, Time now)
{
    if (packets.empty()) {
        return 0;
    }
    ring_->tx_flush(); // what the kernel could not take at once
    std::size_t count = 0;
    if (base_polls().due(now)) {
        count = receive_base(packets, now);
    }
    if (count < packets.size()) {
        count += receive_ring(packets.subspan(count), now);
    }
    if (count == 0) {
        rx_release(); // the caller releases only what it got
    }
    return count;
}

void RawIo::release_bypass() noexcept
{
    if (next_frame_ == frame_count_) {
        ring_->rx_release();
        frame_count_ = 0;
        next_frame_ = 0;
    }
}

std::size_t RawIo::poll_notices(std::span<RouteNotice> notices, Time now)
{
    if (now >= events_due_) {
        events_due_ = now + event_interval;
        links_->poll();
    }
    if (now >= drops_due_) {
        drops_due_ = now + drop_interval;
        counters_.io_rx_dropped.add(ring_->take_drops());
    }
    return poll_base_notices(notices, now);
}

bool RawIo::arm_wait()
{
    if (!watch_ring()) {
        return false; // the system has no room for more watches: poll instead of sleeping
    }
    links_->poll();
    return arm_base() && next_frame_ == frame_count_ && !ring_->rx_waiting();
}

} // namespace

int make_raw_io(const RawConfig& config, bool taps, const MakeRing& make_ring, Counters& counters,
                std::unique_ptr<PacketIo>& io, std::string& error)
{
    RingPlan plan;
    plan.interface = config.interface;
    plan.index = ::if_nametoindex(config.interface.c_str());
    plan.ring_bytes = config.socket_buffer;
    NetlinkRoutes probe(plan.index, plan.local);
    if (plan.index == 0 || probe.open() != 0 || !probe.link_is_ethernet()) {
        error =
            config.interface + (plan.index == 0 ? " is no network interface of this host"
                                                : " is not an Ethernet device; use the udp backend there");
        return ENODEV;
    }
    plan.max_frame = probe.link_mtu() + ethernet_header;
    try {
        UdpConfig udp_config;
        static_cast<IoOptions&>(udp_config) = config.common();
        if (taps) {
            udp_config.ring_interface = plan.index;
            udp_config.ring_packet = plan.max_frame - raw_overhead(config.local_address.family());
        }
        std::unique_ptr<PacketIo> udp;
        if (const int code = make_udp_io(udp_config, counters, udp, error); code != 0) {
            return code;
        }
        plan.local = udp->local_address();
        std::unique_ptr<FrameRing> ring;
        if (const int code = make_ring(plan, ring, error); code != 0) {
            return code;
        }
        auto links = std::make_unique<NetlinkRoutes>(plan.index, plan.local);
        if (const int code = links->open(); code != 0) {
            error = "cannot ask the kernel for routes: " + std::string(std::strerror(code));
            return code;
        }
        auto made =
            std::make_unique<RawIo>(std::move(udp), std::move(ring), std::move(links), config, counters);
        if (const int code = made->open_wait(); code != 0) {
            error = "cannot wait for packets: " + std::string(std::strerror(code));
            return code;
        }
        io = std::move(made);
        return 0;
    } catch (const std::bad_alloc&) {
        error = "no memory for the backend's buffers";
        return ENOMEM;
    }
}

} // namespace srd
