// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/verbs/verbs_ud_io.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sched.h>

#include <srd/check.hpp>

#include "io/core/bypass_io.hpp"
#include "io/core/epoll_set.hpp"
#include "io/core/notice_queue.hpp"
#include "io/core/system_random.hpp"
#include "io/udp/udp_io.hpp"
#include "io/verbs/verbs_queues.hpp"
#include "io/verbs/verbs_routes.hpp"

namespace srd {

namespace {

// How often to poll where little comes from: each poll is a system call.
/// The UDP socket, while every poll of the queue pairs finds something.
constexpr Duration base_interval_busy = std::chrono::microseconds(500);
/// The device's events.
constexpr Duration event_interval = std::chrono::milliseconds(5);
/// The port itself: not every change is an event.
constexpr Duration port_interval = std::chrono::seconds(1);

// A software device (rdma_rxe, siw) works in kernel threads, often on the processor that polls it. A poller
// that has found nothing for so long yields to them: otherwise they wait for the end of its time slice.
constexpr Duration patience = std::chrono::microseconds(20);

constexpr std::uint16_t hardware_queue_pairs = 8; // the other paths are flow labels
constexpr std::uint16_t packets_per_post = 16;    // bulk on one path shares a doorbell, and a completion

/// What is known when queue pairs and sockets are open.
struct VerbsSetup {
    VerbsPort port;
    std::uint32_t port_mtu = 0;
    std::uint32_t key = 0;     ///< Q_Key
    std::uint16_t senders = 1; ///< queue pairs that send
    std::size_t labels = 1;    ///< flow labels per sender
    bool software = false;     ///< the device is the kernel
};

class VerbsIo final : public BypassIo {
public:
    VerbsIo(const VerbsConfig& config, const VerbsSetup& setup, std::unique_ptr<PacketIo> udp,
            std::unique_ptr<VerbsQueues> queues, Counters& counters);

    /// 0 or errno.
    int open_wait();

    std::uint32_t route_mtu(RouteId route) const noexcept override
    {
        const std::uint32_t bound = port_mtu_ != 0 ? std::min(port_mtu_, caps_.max_packet) : caps_.max_packet;
        return std::min(inner().route_mtu(route), bound);
    }
    /// Also on this host, where the UDP backend has one: each queue pair is a path of its own.
    std::uint16_t route_paths(RouteId /*route*/) const noexcept override { return caps_.path_count; }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override;
    bool forget_route(RouteId route) noexcept override
    {
        routes_.suspect(route);
        return inner().forget_route(route);
    }
    std::size_t tx_burst(std::span<const TxPacket> packets) override;
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override;
    int wait_fd() const noexcept override { return waits_.get(); }
    bool arm_wait() override;

private:
    std::size_t receive_queues(std::span<RxPacket> packets, Time now);
    /// Packets from the base backend.
    std::size_t receive_others(std::span<RxPacket> packets, Time now);
    std::size_t without_messages(std::span<RxPacket> packets, Time now)
    {
        return keep_packets(packets, [&](const RxPacket& packet) { return routes_.take(packet, now); });
    }
    void release_bypass() noexcept override;
    void suspect(RouteId route) noexcept override { routes_.suspect(route); }
    /// True with the target if the queue pairs can carry the packet.
    bool find_target(const TxPacket& packet, VerbsTarget& target);
    std::size_t sender_of(const TxPacket& packet) const noexcept { return index_of(packet.path) / labels_; }
    Offered offer(const TxPacket& packet);
    void yield_to_device(Time now) noexcept;
    void read_events();
    void read_port();
    void warn(const std::string& text) const { config_.warning(port_.device + ": " + text); }
    void tell(const std::string& text) const { config_.information(port_.device + ": " + text); }

    const VerbsConfig config_;
    Counters& counters_;
    const VerbsPort port_;
    const std::size_t labels_;
    const bool software_;
    const std::unique_ptr<VerbsQueues> queues_;
    VerbsRoutes routes_; // goes before the queues: its address handles belong to their domain
    EpollSet waits_;
    NoticeQueue notices_;
    std::uint32_t port_mtu_; // 0: the port is down
    bool device_lost_ = false;
    bool watched_ = false;
    Time now_{}; // of the last pass
    Time patient_until_{};
    Time events_due_{};
    Time port_due_{};
};

VerbsIo::VerbsIo(const VerbsConfig& config, const VerbsSetup& setup, std::unique_ptr<PacketIo> udp,
                 std::unique_ptr<VerbsQueues> queues, Counters& counters)
    : BypassIo(std::move(udp)), config_(config), counters_(counters), port_(setup.port),
      labels_(setup.labels), software_(setup.software), queues_(std::move(queues)),
      routes_({setup.port, setup.labels, setup.key, config.log()}, inner(), *queues_),
      port_mtu_(setup.port_mtu)
{
    caps_ = IoCaps{};
    caps_.max_packet = std::min(config.max_packet, VerbsQueues::max_payload);
    caps_.rx_buffer = queues_->rx_capacity();
    caps_.path_count = static_cast<std::uint16_t>(setup.senders * setup.labels);
    caps_.burst_packets = packets_per_post;
}

int VerbsIo::open_wait()
{
    return waits_.open() && waits_.add(inner().wait_fd()) ? 0 : errno;
}

std::size_t VerbsIo::receive_queues(std::span<RxPacket> packets, Time now)
{
    hold_bypass();
    return without_messages(packets.first(queues_->rx_burst(packets, now)), now);
}

std::size_t VerbsIo::receive_others(std::span<RxPacket> packets, Time now)
{
    return without_messages(packets.first(receive_base(packets, now)), now);
}

std::size_t VerbsIo::rx_burst(std::span<RxPacket> packets, Time now)
{
    now_ = now;
    if (packets.empty()) {
        return 0;
    }
    // While packets come from queue pairs the socket is polled after them, but not too late.
    const bool base_due = base_polls().due(now);
    const bool base_first = base_polls().overdue(now, base_interval_busy);
    std::size_t count = base_first ? receive_others(packets, now) : 0;
    if (count < packets.size()) {
        count += receive_queues(packets.subspan(count), now);
    }
    if (count == 0 && base_due && !base_first) {
        count = receive_others(packets, now);
    }
    if (count == 0) {
        rx_release(); // the caller releases only what it got
        yield_to_device(now);
    } else {
        patient_until_ = now + patience;
    }
    return count;
}

void VerbsIo::yield_to_device(Time now) noexcept
{
    if (software_ && now >= patient_until_) {
        patient_until_ = now + patience;
        ::sched_yield();
    }
}

void VerbsIo::release_bypass() noexcept
{
    queues_->rx_release();
}

bool VerbsIo::find_target(const TxPacket& packet, VerbsTarget& target)
{
    if (port_mtu_ == 0 || device_lost_ ||
        !routes_.open(packet.route, index_of(packet.path) % labels_, now_, target)) {
        return false;
    }
    if (packet.length > port_mtu_) { // the device would drop it silently
        notices_.push(packet.route, RouteNotice::Kind::mtu_changed);
        return false;
    }
    return queues_->tx_works(sender_of(packet), now_);
}

VerbsIo::Offered VerbsIo::offer(const TxPacket& packet)
{
    VerbsTarget target;
    if (!find_target(packet, target)) {
        return Offered::not_carried;
    }
    return queues_->tx_push(packet, target, sender_of(packet)) ? Offered::sent : Offered::no_room;
}

std::size_t VerbsIo::tx_burst(std::span<const TxPacket> packets)
{
    queues_->tx_collect(now_);
    const Sent sent = send(
        packets, [this](const TxPacket& packet) { return offer(packet); },
        [this](const TxPacket& packet) {
            VerbsTarget target;
            return find_target(packet, target);
        });
    queues_->tx_flush();
    counters_.io_rdma_packets.add(sent.bypassed);
    return sent.accepted;
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
            warn(std::string(name) + "; packets take UDP sockets from now on");
            break;
        default: // queue pairs report by their completions
            tell(name);
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
        warn("the port is down; packets take UDP sockets until it is back");
    } else if (port_mtu_ != before) {
        tell("the port is up, with MTU " + std::to_string(port_mtu_));
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
    return own + poll_base_notices(notices.subspan(own), now);
}

bool VerbsIo::arm_wait()
{
    // Only before the first sleep, as the UDP backend does with its socket: an unwatched source is cheaper.
    watched_ = watched_ || (waits_.add(queues_->wait_fd()) && waits_.add(queues_->context().get()->async_fd));
    if (!watched_) {
        return false; // the system has no room for more watches: poll instead of sleeping
    }
    read_events();
    const bool base_idle = arm_base();
    return queues_->arm_wait() && base_idle && notices_.empty();
}

/// The sockets of the same address.
int open_base(const VerbsConfig& config, Counters& counters, std::unique_ptr<PacketIo>& udp,
              std::string& error)
{
    UdpConfig udp_config;
    static_cast<IoOptions&>(udp_config) = config.common();
    return make_udp_io(udp_config, counters, udp, error);
}

/// Queue pairs on the port that has the address.
int open_queues(const VerbsConfig& config, Counters& counters, VerbsSetup& setup, std::string& description,
                std::unique_ptr<VerbsQueues>& queues, std::string& error)
{
    if (load_verbs_library(error) == nullptr) {
        return ENOSYS;
    }
    if (!find_verbs_port(config.local_address, config.device, setup.port, description)) {
        error = description;
        return ENODEV;
    }
    setup.software = !verbs_is_hardware(setup.port.device);
    setup.senders = setup.software ? config.path_count : std::min(config.path_count, hardware_queue_pairs);
    setup.labels = config.path_count / setup.senders;
    setup.key =
        static_cast<std::uint32_t>(system_random()) & 0x7fffffffU; // the uppermost bit asks for privileges
    queues = std::make_unique<VerbsQueues>(
        VerbsQueues::Config{setup.port, setup.senders, config.socket_buffer, setup.key, config.log()},
        counters);
    if (const int code = queues->open(error); code != 0) {
        return code;
    }
    setup.port_mtu = verbs_port_mtu(queues->context(), setup.port.number);
    if (setup.port_mtu == 0) {
        error = setup.port.device + " port " + std::to_string(setup.port.number) + " is down";
        return ENODEV;
    }
    return 0;
}

int open_all(const VerbsConfig& config, Counters& counters, std::unique_ptr<PacketIo>& io, std::string& error)
{
    VerbsSetup setup;
    std::string description;
    std::unique_ptr<VerbsQueues> queues;
    std::unique_ptr<PacketIo> udp;
    if (const int code = open_queues(config, counters, setup, description, queues, error); code != 0) {
        return code;
    }
    if (const int code = open_base(config, counters, udp, error); code != 0) {
        return code;
    }
    auto made = std::make_unique<VerbsIo>(config, setup, std::move(udp), std::move(queues), counters);
    if (const int code = made->open_wait(); code != 0) {
        error = "cannot wait for packets: " + std::string(std::strerror(code));
        return code;
    }
    config.information(description + "; MTU " + std::to_string(setup.port_mtu) + ", " +
                       std::to_string(setup.senders) + " sending queue pairs, " +
                       std::to_string(setup.labels) + " flow labels");
    io = std::move(made);
    return 0;
}

} // namespace

int make_verbs_io(const VerbsConfig& config, Counters& counters, std::unique_ptr<PacketIo>& io,
                  std::string& error)
{
    if (std::string fault = config.fault(); !fault.empty()) {
        error = std::move(fault);
        return EINVAL;
    }
    try {
        return open_all(config, counters, io, error);
    } catch (const std::bad_alloc&) {
        error = "no memory for the backend's buffers";
        return ENOMEM;
    }
}

} // namespace srd
