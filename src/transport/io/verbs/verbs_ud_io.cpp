// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/verbs/verbs_ud_io.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <random>

#include <sched.h>
#include <sys/epoll.h>

#include <srd/check.hpp>

#include "io/core/look_rule.hpp"
#include "io/udp/udp_io.hpp"
#include "io/udp/udp_routes.hpp"
#include "io/verbs/verbs_queues.hpp"
#include "io/verbs/verbs_routes.hpp"

namespace srd {

namespace {

// How often to look where little comes from: each look is a system call.
constexpr Duration kernel_interval = std::chrono::microseconds(20); // at the UDP socket
constexpr Duration kernel_interval_busy =
    std::chrono::microseconds(500); // ... if so long each look at the queue pairs finds something
constexpr Duration event_interval = std::chrono::milliseconds(5); // at the device's events
constexpr Duration port_interval =
    std::chrono::seconds(1); // at the port itself: not all that changes is an event

// A software device (rdma_rxe, siw) works in kernel threads on the processors of those who poll it. Who has
// found nothing for so long gives way to them: otherwise they wait for the end of the poller's time slice.
constexpr Duration patience = std::chrono::microseconds(20);

constexpr std::uint16_t hardware_queue_pairs = 8; // the other paths are flow labels
constexpr std::uint16_t packets_per_post = 16;    // bulk on one path shares a doorbell, and a completion

class VerbsIo final : public PacketIo {
public:
    VerbsIo(const VerbsConfig& config, Counters& counters) : config_(config), counters_(counters) {}

    int open(const SocketAddress& wanted, std::string& error);

    const IoCaps& caps() const noexcept override { return caps_; }
    const SocketAddress& local_address() const noexcept override { return udp_->local_address(); }
    Status resolve(const SocketAddress& address, RouteId& route) override
    {
        return udp_->resolve(address, route);
    }
    const SocketAddress& route_address(RouteId route) const noexcept override
    {
        return udp_->route_address(route);
    }
    std::uint32_t route_mtu(RouteId route) const noexcept override
    {
        const std::uint32_t bound = port_mtu_ != 0 ? std::min(port_mtu_, caps_.max_packet) : caps_.max_packet;
        return std::min(udp_->route_mtu(route), bound);
    }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override;
    void rx_release() noexcept override;
    std::size_t tx_burst(std::span<const TxPacket> packets) override;
    void probe_liveness(RouteId route, Time now) override
    {
        routes_->doubt(route);
        udp_->probe_liveness(route, now);
    }
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override;
    int wait_fd() const noexcept override { return epoll_.get(); }
    bool arm_wait() override;
    void notify() noexcept override { udp_->notify(); }

private:
    int open_wait();
    bool watch(int fd) noexcept;
    std::size_t take_from_kernel(std::span<RxPacket> packets, Time now);
    /// Packets that are not messages between backends, a prefix of `packets`. Returns how many.
    std::size_t keep(std::span<RxPacket> packets, Time now);
    /// True if a packet can go through the queue pairs now. `full`: it could, but there is no room.
    bool send_by_rdma(const TxPacket& packet, bool& full);
    void give_way(Time now) noexcept;
    void read_events();
    void read_port();
    void say(const std::function<void(const char*)>& sink, const std::string& text) const
    {
        if (sink) {
            sink((port_.device + ": " + text).c_str());
        }
    }

    const VerbsConfig config_;
    Counters& counters_;
    VerbsPort port_;
    IoCaps caps_;
    std::size_t labels_ = 1;
    std::unique_ptr<PacketIo> udp_;
    std::unique_ptr<VerbsQueues> queues_;
    std::unique_ptr<VerbsRoutes> routes_; // first to go: its address handles belong to the queues' domain
    FileDescriptor epoll_;
    NoticeQueue notices_;
    std::uint32_t port_mtu_ = 0; // 0: the port is down
    bool device_lost_ = false;
    bool software_ = false; // the device is the kernel
    bool watched_ = false;
    bool kernel_held_ = false; // packets of udp_ are handed out
    bool queues_held_ = false;
    Time now_{}; // of the last pass
    Time patient_until_{};
    LookRule kernel_looks_{kernel_interval};
    Time events_due_{};
    Time port_due_{};
};

int VerbsIo::open(const SocketAddress& wanted, std::string& error)
{
    if (load_verbs_library(error) == nullptr) {
        return ENOSYS;
    }
    std::string reason;
    if (!find_verbs_port(wanted, config_.device, port_, reason)) {
        error = reason;
        return ENODEV;
    }
    software_ = !verbs_is_hardware(port_.device);
    const std::uint16_t senders =
        software_ ? config_.path_count : std::min(config_.path_count, hardware_queue_pairs);
    labels_ = config_.path_count / senders;
    std::random_device random;
    // The uppermost bit of a Q_Key asks for privileges.
    const std::uint32_t key = random() & 0x7fffffffU;
    queues_ = std::make_unique<VerbsQueues>(
        VerbsQueues::Config{port_, senders, config_.socket_buffer, key, config_.warn}, counters_);
    if (const int code = queues_->open(error); code != 0) {
        return code;
    }
    port_mtu_ = verbs_port_mtu(queues_->context(), port_.number);
    if (port_mtu_ == 0) {
        error = port_.device + " port " + std::to_string(port_.number) + " is down";
        return ENODEV;
    }
    UdpConfig udp;
    udp.local_address = config_.local_address;
    udp.path_count = config_.path_count;
    udp.socket_buffer = config_.socket_buffer;
    udp.max_packet = config_.max_packet;
    udp.max_routes = config_.max_routes;
    udp.warn = config_.warn;
    if (const int code = make_udp_io(udp, counters_, udp_, error); code != 0) {
        return code;
    }
    routes_ = std::make_unique<VerbsRoutes>(
        VerbsRoutes::Config{port_, labels_, udp_->local_address(), key, config_.warn}, *udp_, *queues_);
    caps_.max_packet = std::min(config_.max_packet, VerbsQueues::max_payload);
    caps_.rx_buffer = queues_->rx_capacity();
    caps_.path_count = static_cast<std::uint16_t>(senders * labels_);
    caps_.burst_packets = packets_per_post;
    if (const int code = open_wait(); code != 0) {
        error = "cannot wait for packets: " + std::string(std::strerror(code));
        return code;
    }
    if (config_.tell) {
        config_.tell((reason + "; MTU " + std::to_string(port_mtu_) + ", " + std::to_string(senders) +
                      " sending queue pairs, " + std::to_string(labels_) + " flow labels")
                         .c_str());
    }
    return 0;
}

bool VerbsIo::watch(int fd) noexcept
{
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST;
}

int VerbsIo::open_wait()
{
    epoll_ = FileDescriptor(::epoll_create1(EPOLL_CLOEXEC));
    return epoll_.valid() && watch(udp_->wait_fd()) ? 0 : errno;
}

std::size_t VerbsIo::keep(std::span<RxPacket> packets, Time now)
{
    std::size_t kept = 0;
    for (const RxPacket& packet : packets) {
        if (!routes_->take(packet, now)) [[likely]] {
            packets[kept++] = packet;
        }
    }
    return kept;
}

std::size_t VerbsIo::take_from_kernel(std::span<RxPacket> packets, Time now)
{
    const std::size_t received = udp_->rx_burst(packets, now);
    kernel_held_ = received != 0;
    kernel_looks_.looked(now, received != 0);
    return keep(packets.first(received), now);
}

std::size_t VerbsIo::rx_burst(std::span<RxPacket> packets, Time now)
{
    SRD_DCHECK(!kernel_held_ && !queues_held_);
    now_ = now;
    if (packets.empty()) {
        return 0;
    }
    // Where packets come from queue pairs, the socket waits until they have been dealt with: not for long.
    const bool kernel_due = kernel_looks_.due(now);
    const bool kernel_first = kernel_looks_.urgent(now, kernel_interval_busy);
    std::size_t count = kernel_first ? take_from_kernel(packets, now) : 0;
    if (count < packets.size()) {
        queues_held_ = true;
        const std::span<RxPacket> rest = packets.subspan(count);
        count += keep(rest.first(queues_->rx_burst(rest, now)), now);
    }
    if (count == 0 && kernel_due && !kernel_first) {
        count = take_from_kernel(packets, now);
    }
    if (count == 0) {
        rx_release(); // the caller releases only what it got
        give_way(now);
    } else {
        patient_until_ = now + patience;
    }
    return count;
}

void VerbsIo::give_way(Time now) noexcept
{
    if (software_ && now >= patient_until_) {
        patient_until_ = now + patience;
        ::sched_yield();
    }
}

void VerbsIo::rx_release() noexcept
{
    if (kernel_held_) {
        udp_->rx_release();
        kernel_held_ = false;
    }
    if (queues_held_) {
        queues_->rx_release();
        queues_held_ = false;
    }
}

bool VerbsIo::send_by_rdma(const TxPacket& packet, bool& full)
{
    if (port_mtu_ == 0 || device_lost_) {
        return false;
    }
    const std::size_t sender = index_of(packet.path) / labels_;
    VerbsTarget target;
    if (!routes_->open(packet.route, index_of(packet.path) % labels_, now_, target)) {
        return false;
    }
    if (packet.length > port_mtu_) { // the device would drop it without a word
        notices_.push(packet.route, RouteNotice::Kind::mtu_changed);
        return false;
    }
    if (!queues_->tx_works(sender, now_)) {
        return false;
    }
    full = !queues_->tx_push(packet, target, sender);
    return !full;
}

std::size_t VerbsIo::tx_burst(std::span<const TxPacket> packets)
{
    queues_->tx_collect(now_);
    std::size_t accepted = 0;
    std::size_t by_rdma = 0;
    while (accepted < packets.size()) {
        bool full = false;
        if (send_by_rdma(packets[accepted], full)) {
            ++accepted;
            ++by_rdma;
            continue;
        }
        if (full) {
            break;
        }
        std::size_t end = accepted + 1; // what stops one packet mostly stops all to that peer
        while (end < packets.size() && packets[end].route == packets[accepted].route) {
            ++end;
        }
        accepted += udp_->tx_burst(packets.subspan(accepted, end - accepted));
        if (accepted < end) {
            break;
        }
    }
    queues_->tx_flush();
    counters_.io_rdma_packets.add(by_rdma);
    return accepted;
}

void VerbsIo::read_events()
{
    ibv_async_event event{};
    while (!device_lost_ && verbs().get_async_event(queues_->context().get(), &event) == 0) {
        const char* const name = verbs().event_type_str(event.event_type);
        switch (event.event_type) {
        case IBV_EVENT_PORT_ERR:
        case IBV_EVENT_PORT_ACTIVE:
            if (event.element.port_num == port_.number) {
                read_port();
            }
            break;
        case IBV_EVENT_DEVICE_FATAL:
            device_lost_ = true;
            say(config_.warn, std::string(name) + "; packets take UDP sockets from now on");
            break;
        default: // queue pairs tell by their completions
            say(config_.tell, name);
            break;
        }
        verbs().ack_async_event(&event);
    }
}

void VerbsIo::read_port()
{
    const std::uint32_t before = port_mtu_;
    port_mtu_ = verbs_port_mtu(queues_->context(), port_.number);
    if (port_mtu_ == 0 && before != 0) {
        say(config_.warn, "the port is down; packets take UDP sockets until it is back");
    } else if (port_mtu_ != before) {
        say(config_.tell, "the port is up, with MTU " + std::to_string(port_mtu_));
    }
}

std::size_t VerbsIo::poll_notices(std::span<RouteNotice> notices, Time now)
{
    now_ = now;
    if (now >= events_due_) {
        events_due_ = now + event_interval;
        read_events();
    }
    if (now >= port_due_) {
        port_due_ = now + port_interval;
        read_port();
    }
    const std::size_t own = notices_.empty() ? 0 : notices_.take(notices);
    const std::size_t count = udp_->poll_notices(notices.subspan(own), now);
    if (count != 0) {
        kernel_looks_.hurry(); // before a notice is acted on, all that came earlier must have been read
    }
    return own + count;
}

bool VerbsIo::arm_wait()
{
    // Only when somebody sleeps for the first time, as the UDP backend does with its socket.
    watched_ = watched_ || (watch(queues_->wait_fd()) && watch(queues_->context().get()->async_fd));
    if (!watched_) {
        return false; // no more watches for this user: poll
    }
    read_events();
    const bool kernel_idle = udp_->arm_wait();
    if (!kernel_idle) {
        kernel_looks_.hurry();
    }
    return queues_->arm_wait() && kernel_idle && notices_.empty();
}

} // namespace

int make_verbs_io(const VerbsConfig& config, Counters& counters, std::unique_ptr<PacketIo>& io,
                  std::string& error)
{
    if (config.local_address.empty()) {
        error = "an endpoint needs one IPv4 or IPv6 address of this host";
        return EINVAL;
    }
    if (config.path_count < 1 || config.path_count > 64) {
        error = "the number of paths must be between 1 and 64";
        return EINVAL;
    }
    try {
        auto made = std::make_unique<VerbsIo>(config, counters);
        const int code = made->open(config.local_address, error);
        if (code == 0) {
            io = std::move(made);
        }
        return code;
    } catch (const std::bad_alloc&) {
        error = "no memory for the backend's buffers";
        return ENOMEM;
    }
}

} // namespace srd
