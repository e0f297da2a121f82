// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/raw/raw_io.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include <linux/capability.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <srd/check.hpp>

#include "io/core/look_rule.hpp"
#include "io/host/netlink_routes.hpp"
#include "io/raw/raw_frame.hpp"

namespace srd {

namespace {

// How often to look where little comes from: each look is a system call.
constexpr Duration kernel_interval = std::chrono::microseconds(20); // at the UDP socket
constexpr Duration event_interval = std::chrono::milliseconds(1);   // at the kernel's announcements
constexpr Duration drop_interval = std::chrono::milliseconds(100);  // at the ring's statistics

class RawIo final : public PacketIo {
public:
    RawIo(std::unique_ptr<PacketIo> udp, std::unique_ptr<FrameRing> ring,
          std::unique_ptr<NetlinkRoutes> links, const RawConfig& config, const SocketAddress& local,
          Counters& counters);

    int open_wait();

    const IoCaps& caps() const noexcept override { return caps_; }
    const SocketAddress& local_address() const noexcept override { return udp_->local_address(); }
    Status resolve(const SocketAddress& address, RouteId& route) override;
    const SocketAddress& route_address(RouteId route) const noexcept override
    {
        return udp_->route_address(route);
    }
    std::uint32_t route_mtu(RouteId route) const noexcept override
    {
        return std::min(udp_->route_mtu(route), caps_.max_packet);
    }
    std::uint16_t route_paths(RouteId route) const noexcept override { return udp_->route_paths(route); }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override;
    void rx_release() noexcept override;
    std::size_t tx_burst(std::span<const TxPacket> packets) override;
    void probe_liveness(RouteId route, Time now) override { udp_->probe_liveness(route, now); }
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override;
    int wait_fd() const noexcept override { return epoll_.get(); }
    bool arm_wait() override;
    void notify() noexcept override { udp_->notify(); }

private:
    struct Route {
        std::uint32_t generation = 0;  // of links_ when `next_hop` was asked for
        Neighbour* next_hop = nullptr; // null: through the kernel
        FrameTemplate frame;
    };

    std::size_t receive_kernel(std::span<RxPacket> packets, Time now);
    std::size_t receive_ring(std::span<RxPacket> packets, Time now);
    /// The route if the ring can take a packet of that length to it now, else nullptr.
    const Route* ring_route(const TxPacket& packet);
    bool watch(int fd) noexcept;
    bool watch_ring() noexcept;

    // The ring goes first: the kernel's stack must have the port as long as frames come in.
    const std::unique_ptr<PacketIo> udp_;
    const std::unique_ptr<NetlinkRoutes> links_;
    const std::unique_ptr<FrameRing> ring_;
    const SocketAddress local_;
    Counters& counters_;
    IoCaps caps_;
    FileDescriptor epoll_;
    bool ring_watched_ = false;
    bool kernel_held_ = false;       // packets of udp_ are handed out
    std::array<RxFrame, 64> frames_; // of the ring's last burst
    std::size_t frame_count_ = 0;    // not 0: they are still the ring's to get back
    std::size_t next_frame_ = 0;     // before it, all packets are handed out
    std::uint32_t frame_offset_ = 0; // of the next packet in that frame
    LookRule kernel_looks_{kernel_interval};
    Time events_due_{};
    Time drops_due_{};
    std::vector<Route> routes_;
};

RawIo::RawIo(std::unique_ptr<PacketIo> udp, std::unique_ptr<FrameRing> ring,
             std::unique_ptr<NetlinkRoutes> links, const RawConfig& config, const SocketAddress& local,
             Counters& counters)
    : udp_(std::move(udp)), links_(std::move(links)), ring_(std::move(ring)), local_(local),
      counters_(counters)
{
    caps_.max_packet = std::min(
        {config.max_packet, udp_->caps().max_packet, ring_->max_frame() - raw_overhead(local.family())});
    caps_.rx_buffer = ring_->rx_capacity();
    caps_.path_count = config.path_count;
}

int RawIo::open_wait()
{
    epoll_ = FileDescriptor(::epoll_create1(EPOLL_CLOEXEC));
    return epoll_.valid() && watch(udp_->wait_fd()) && watch(links_->fd()) ? 0 : errno;
}

bool RawIo::watch(int fd) noexcept
{
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

/// Only when somebody sleeps for the first time, as the UDP backend does with its socket.
bool RawIo::watch_ring() noexcept
{
    if (!ring_watched_) {
        ring_watched_ =
            std::ranges::all_of(ring_->wait_fds(), [this](int fd) { return watch(fd) || errno == EEXIST; });
    }
    return ring_watched_;
}

Status RawIo::resolve(const SocketAddress& address, RouteId& route)
{
    RouteId resolved{};
    const Status status = udp_->resolve(address, resolved);
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
        const SocketAddress& destination = udp_->route_address(packet.route);
        route.generation = links_->generation();
        route.next_hop = links_->next_hop(destination);
        route.frame = FrameTemplate(links_->link_mac(), local_, destination);
    }
    Neighbour* const hop = route.next_hop;
    const std::uint32_t limit =
        std::min({udp_->route_mtu(packet.route), caps_.max_packet,
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

std::size_t RawIo::tx_burst(std::span<const TxPacket> packets)
{
    std::size_t accepted = 0;
    while (accepted < packets.size()) {
        const TxPacket& packet = packets[accepted];
        const Route* const route = ring_route(packet);
        if (route == nullptr) {
            std::size_t end = accepted + 1;
            while (end < packets.size() && ring_route(packets[end]) == nullptr) {
                ++end;
            }
            const std::size_t sent = udp_->tx_burst(packets.subspan(accepted, end - accepted));
            accepted += sent;
            if (accepted < end) {
                break;
            }
            continue;
        }
        std::byte* room = ring_->tx_room();
        if (room == nullptr) {
            ring_->tx_flush();
            room = ring_->tx_room();
            if (room == nullptr) {
                break;
            }
        }
        ring_->tx_push(route->frame.write(room, route->next_hop->mac, packet));
        ++accepted;
    }
    ring_->tx_flush();
    return accepted;
}

std::size_t RawIo::receive_kernel(std::span<RxPacket> packets, Time now)
{
    const std::size_t count = udp_->rx_burst(packets, now);
    kernel_held_ = count != 0;
    kernel_looks_.looked(now, count != 0);
    return count;
}

std::size_t RawIo::receive_ring(std::span<RxPacket> packets, Time now)
{
    if (next_frame_ == frame_count_) {
        const std::size_t wanted = std::min(packets.size(), frames_.size());
        frame_count_ = ring_->rx_burst(std::span(frames_).first(wanted), now);
        next_frame_ = 0;
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
        packets[count++] = {content.data + frame_offset_, length, content.marked, frame.arrived};
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
    SRD_DCHECK(!kernel_held_);
    if (packets.empty()) {
        return 0;
    }
    ring_->tx_flush(); // what the kernel could not take at once
    std::size_t count = 0;
    if (kernel_looks_.due(now)) {
        count = receive_kernel(packets, now);
    }
    if (count < packets.size()) {
        count += receive_ring(packets.subspan(count), now);
    }
    if (count == 0) {
        rx_release(); // the caller releases only what it got
    }
    return count;
}

void RawIo::rx_release() noexcept
{
    if (kernel_held_) {
        udp_->rx_release();
        kernel_held_ = false;
    }
    if (frame_count_ != 0 && next_frame_ == frame_count_) {
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
    const std::size_t count = udp_->poll_notices(notices, now);
    if (count != 0) {
        kernel_looks_.hurry(); // before a notice is acted on, all that came earlier must have been read
    }
    return count;
}

bool RawIo::arm_wait()
{
    if (!watch_ring()) {
        return false; // no more watches for this user: poll
    }
    links_->poll();
    const bool kernel_idle = udp_->arm_wait();
    if (!kernel_idle) {
        kernel_looks_.hurry();
    }
    return kernel_idle && next_frame_ == frame_count_ && !ring_->rx_waiting();
}

} // namespace

std::uint64_t packet_capabilities() noexcept
{
    return std::uint64_t{1} << CAP_NET_RAW;
}

std::uint64_t xdp_capabilities() noexcept
{
    return std::uint64_t{1} << CAP_NET_RAW | std::uint64_t{1} << CAP_NET_ADMIN | std::uint64_t{1} << CAP_BPF;
}

std::string missing_capabilities(std::uint64_t needed)
{
    struct Name {
        int bit;
        const char* text;
    };
    constexpr std::array<Name, 3> names{
        {{CAP_NET_RAW, "CAP_NET_RAW"}, {CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {CAP_BPF, "CAP_BPF"}}};
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
    ::syscall(SYS_capget, &header, sets.data());
    const std::uint64_t held = std::uint64_t{sets[1].effective} << 32 | sets[0].effective;
    std::string missing;
    std::string wanted;
    for (const Name& name : names) {
        const std::uint64_t bit = std::uint64_t{1} << name.bit;
        if ((needed & bit) == 0) {
            continue;
        }
        std::string lower = name.text;
        std::ranges::transform(lower, lower.begin(),
                               [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
        wanted += (wanted.empty() ? "" : ",") + lower;
        if ((held & bit) == 0) {
            missing += (missing.empty() ? "" : " and ") + std::string(name.text);
        }
    }
    if (missing.empty()) {
        return {};
    }
    std::array<char, 4096> path{};
    const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
    return "the process lacks " + missing + "; grant it without root by: setcap " + wanted + "+ep " +
           (length > 0 ? path.data() : "PROGRAM");
}

int make_raw_io(const RawConfig& config, bool taps, const MakeRing& make_ring, Counters& counters,
                std::unique_ptr<PacketIo>& io, std::string& error)
{
    UdpConfig udp_config;
    RingPlan plan;
    plan.interface = config.interface;
    plan.index = ::if_nametoindex(config.interface.c_str());
    plan.ring_bytes = config.ring_bytes;
    const bool ipv4 = config.local_address.family() == AF_INET;
    NetlinkRoutes probe(plan.index, plan.local);
    if (plan.index == 0 || probe.open() != 0 || !probe.link_is_ethernet()) {
        error =
            config.interface + (plan.index == 0 ? " is no network interface of this host"
                                                : " is not an Ethernet device; use the udp backend there");
        return ENODEV;
    }
    plan.max_frame = probe.link_mtu() + ethernet_header;
    try {
        udp_config.local_address = config.local_address;
        udp_config.path_count = config.path_count;
        udp_config.max_packet = config.max_packet;
        udp_config.max_routes = config.max_routes;
        udp_config.warn = config.warn;
        if (taps) {
            udp_config.ring_interface = plan.index;
            udp_config.ring_packet = plan.max_frame - raw_overhead(ipv4 ? AF_INET : AF_INET6);
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
        auto made = std::make_unique<RawIo>(std::move(udp), std::move(ring), std::move(links), config,
                                            plan.local, counters);
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
