// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/udp/udp_io.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include <linux/filter.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <srd/check.hpp>

#include "io/udp/liveness_responder.hpp"
#include "io/udp/udp_liveness.hpp"
#include "io/udp/udp_receiver.hpp"
#include "io/udp/udp_routes.hpp"
#include "io/udp/udp_senders.hpp"
#include "io/udp/udp_socket.hpp"
#include "io/udp/udp_transmitter.hpp"

namespace srd {

namespace {

enum EpollTag : std::uint32_t { tag_packets, tag_notify, tag_probe };

/// Says once per process and direction that the kernel caps socket buffers, to the first who listens.
void warn_capped_buffer(const UdpConfig& config, const char* direction, const char* sysctl,
                        std::uint32_t granted, std::atomic<bool>& warned)
{
    if (granted >= config.socket_buffer || !config.warn || warned.exchange(true)) {
        return;
    }
    config.warning(std::string("the kernel limits the UDP ") + direction + " buffer to " +
                   std::to_string(granted) + " of the wanted " + std::to_string(config.socket_buffer) +
                   " bytes; raise it with: sysctl -w " + sysctl + "=" + std::to_string(config.socket_buffer));
}

/// Drops at the socket what the ring receives: the kernel gives every packet to both. 0 or errno.
int leave_to_ring(const FileDescriptor& socket, unsigned interface, std::uint32_t max_payload) noexcept
{
    constexpr std::uint32_t udp_header = 8; // where a socket's filter sees a datagram begin
    std::array<sock_filter, 6> code{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_IFINDEX)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, interface, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, max_payload + udp_header, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
        BPF_STMT(BPF_RET | BPF_K, 0),
    }};
    const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
    // Every packet so refused counts as dropped at the socket: that count says nothing any more.
    const bool done =
        ::setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0 &&
        set_option(socket.get(), SOL_SOCKET, SO_RXQ_OVFL, 0);
    return done ? 0 : errno;
}

/// A sentence for errno `error` of making or binding a socket at `address`.
std::string explain(int error, const SocketAddress& address)
{
    const std::string where = address.text();
    switch (error) {
    case EADDRINUSE:
        if (address.port() == 0) {
            return "no free UDP port is left at " + where + "; widen net.ipv4.ip_local_port_range";
        }
        return "UDP port " + where + " is in use by another endpoint or program (ss -ulpn tells which); " +
               "choose another port, or none to get a free one";
    case EADDRNOTAVAIL:
        return where + " is not a usable address of this host; ip address lists those that are";
    case EACCES:
    case EPERM:
        return "this user may not bind UDP port " + where +
               "; use a port above 1023 or grant CAP_NET_BIND_SERVICE";
    case EMFILE:
        return "the process has used up its file descriptors; raise the limit (ulimit -n)";
    case ENFILE:
        return "the system has used up its file descriptors; raise it with: sysctl -w fs.file-max=...";
    case EAFNOSUPPORT:
        return std::string(address.family() == AF_INET6 ? "IPv6" : "IPv4") + " is switched off on this host";
    default:
        return "cannot open a UDP socket at " + where + ": " + std::strerror(error);
    }
}

/// The same for making the socket that the kernel is asked about routes with.
std::string explain_query(int error, const SocketAddress& address)
{
    switch (error) {
    case EACCES:
    case EPERM:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
        return std::string("this process may not ask the kernel for routes (") + std::strerror(error) +
               "); let it use netlink sockets: a filter of system calls (a container's seccomp profile, "
               "RestrictAddressFamilies= of its systemd unit) must allow AF_NETLINK";
    default:
        return explain(error, address);
    }
}

class UdpIo final : public PacketIo {
public:
    UdpIo(const UdpConfig& config, const SocketAddress& wanted, Counters& counters)
        : config_(config), counters_(counters), local_(wanted)
    {
    }

    /// Opens everything. Returns 0, or errno with `error` set.
    int open(std::string& error);

    const IoCaps& caps() const noexcept override { return caps_; }
    const SocketAddress& local_address() const noexcept override { return local_; }
    Status resolve(const SocketAddress& address, RouteId& route) override
    {
        return routes_->resolve(address, route);
    }
    RouteId find(const SocketAddress& address) const noexcept override { return routes_->find(address); }
    bool forget_route(RouteId route) noexcept override
    {
        transmitter_->forget_route(route);
        return routes_->forget(route);
    }
    void reply(const SocketAddress& address, std::span<const std::byte> packet) noexcept override
    {
        transmitter_->reply(address, packet);
    }
    const SocketAddress& route_address(RouteId route) const noexcept override
    {
        return routes_->address(route);
    }
    std::uint32_t route_mtu(RouteId route) const noexcept override { return routes_->mtu(route); }
    bool on_this_host(RouteId route) const noexcept override { return routes_->on_this_host(route); }
    std::uint16_t route_paths(RouteId route) const noexcept override
    {
        return routes_->on_this_host(route) ? std::uint16_t{1} : caps_.path_count;
    }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override;
    void rx_release() noexcept override { receiver_->rx_release(); }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        return transmitter_->tx_burst(packets);
    }
    void probe_liveness(RouteId route, LivenessProbe probe, Time now) override
    {
        if (routes_->contains(route)) {
            liveness_->probe(route, probe, routes_->address(route), notices_, now);
        }
    }
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override;
    int wait_fd() const noexcept override { return epoll_.get(); }
    bool arm_wait() override;
    void notify() noexcept override;

private:
    int open_sockets();
    int open_ports();
    int open_ports_in_range();
    int try_open_ports(bool& port_taken);
    std::string explain_ports(int error) const;
    int open_wait();
    int open_routes(std::string& error);
    bool watch_socket() noexcept;
    void size_buffers();

    const UdpConfig config_;
    Counters& counters_;
    SocketAddress local_;
    IoCaps caps_;
    UdpSender main_;
    FileDescriptor listener_;
    FileDescriptor epoll_;
    FileDescriptor event_;
    bool socket_watched_ = false;
    std::atomic<bool> notified_{false};
    std::shared_ptr<UdpSenders> senders_;
    std::uint64_t errors_seen_ = 0; // of senders_
    NoticeQueue notices_;
    std::optional<UdpRoutes> routes_;
    std::optional<UdpReceiver> receiver_;
    std::optional<UdpTransmitter> transmitter_;
    std::optional<UdpLiveness> liveness_;
    std::optional<LivenessResponder> responder_;
};

int UdpIo::open(std::string& error)
{
    int code = open_sockets();
    if (code == 0) {
        code = open_wait();
    }
    if (code != 0) {
        error = explain_ports(code);
        return code;
    }
    if (code = open_routes(error); code != 0) {
        return code;
    }
    size_buffers();
    const bool segmentation = config_.offload && set_option(main_.socket.get(), IPPROTO_UDP, UDP_SEGMENT, 0);
    // Measured at MTU 1500 on veth: bulk is a third faster than with none, and twice that adds little.
    caps_.host_delay = std::chrono::microseconds(100);
    caps_.path_count = local_.is_loopback() ? std::uint16_t{1} : config_.path_count;
    caps_.burst_packets = segmentation ? UdpTransmitter::max_segments : std::uint16_t{1};

    senders_ = UdpSenders::attach(local_, config_.common());
    errors_seen_ = senders_->error_count();
    receiver_.emplace(main_.socket, counters_);
    transmitter_.emplace(main_, senders_, local_, *routes_, notices_, counters_, config_,
                         UdpTransmitter::Settings{caps_.path_count, segmentation});
    liveness_.emplace(local_, epoll_, tag_probe);
    if (listener_.valid()) {
        try {
            responder_.emplace(std::move(listener_));
        } catch (const std::system_error& fault) {
            error = std::string("cannot watch over the endpoint: ") + fault.what() +
                    "; raise the limits of threads and file descriptors (ulimit -u, ulimit -n)";
            return fault.code().value();
        }
    }
    return 0;
}

/// A sentence for errno `error` of what open() has tried first.
std::string UdpIo::explain_ports(int error) const
{
    const PortRange& ports = config_.ports;
    const std::string setting = config_.port_setting + '=' + ports.text();
    if (!ports.empty() && error == EINVAL && !ports.contains(local_.port())) {
        return "the port of " + local_.text() + " is outside " + setting +
               "; ask for one of these, or for none";
    }
    if (!ports.empty() && error == EADDRINUSE && local_.port() == 0) {
        return setting + " is exhausted: all ports that endpoints on " + local_.host_text() +
               " may receive at, " + PortRange{ports.first, ports.last_receiving()}.text() +
               " (the others are the paths' source ports), are in use; widen it";
    }
    return explain(error, local_);
}

int UdpIo::open_sockets()
{
    const bool in_range = !config_.ports.empty();
    if (in_range && local_.port() != 0 && !config_.ports.contains(local_.port())) {
        return EINVAL;
    }
    if (const int error = in_range && local_.port() == 0 ? open_ports_in_range() : open_ports(); error != 0) {
        return error;
    }
    prepare_sending_socket(main_.socket, local_.family(), IpFragmentation::forbidden);
    leave_by(main_.socket, local_.family(), config_.interface, false);
    UdpReceiver::prepare_socket(main_.socket, local_, config_.offload);
    return config_.ring_interface == 0
               ? 0
               : leave_to_ring(main_.socket, config_.ring_interface, config_.ring_packet);
}

/// The first port that is free for UDP and TCP.
int UdpIo::open_ports_in_range()
{
    for (std::uint32_t port = config_.ports.first; port <= config_.ports.last_receiving(); ++port) {
        local_.set_port(static_cast<std::uint16_t>(port));
        bool taken = false;
        const int error = try_open_ports(taken);
        if (error != EADDRINUSE && (error != 0 || !taken)) {
            return error;
        }
    }
    local_.set_port(0);
    return EADDRINUSE;
}

int UdpIo::open_ports()
{
    constexpr int attempts = 64; // an ephemeral port is taken for TCP about as often as such ports are in use
    const bool any_port = local_.port() == 0;
    for (int attempt = 0;; ++attempt) {
        bool taken = false;
        const int error = try_open_ports(taken);
        if (error != 0) {
            return error;
        }
        if (!taken) {
            return 0;
        }
        if (!any_port || attempt == attempts) {
            config_.warning(
                "TCP port " + local_.text() +
                " is in use by another program: peers cannot tell whether this process is stopped or dead");
            return 0;
        }
        local_.set_port(0);
    }
}

int UdpIo::try_open_ports(bool& port_taken)
{
    FileDescriptor fd(::socket(local_.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd.valid()) {
        return errno;
    }
    if (local_.family() == AF_INET6) {
        set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    if (::bind(fd.get(), local_.get(), local_.size()) != 0) {
        return errno;
    }
    if (const int error = bound_address(fd, local_); error != 0) {
        return error;
    }
    main_.socket = std::move(fd);
    int error = 0;
    listener_ = open_liveness_listener(local_, error);
    port_taken = !listener_.valid() && error == EADDRINUSE;
    return listener_.valid() || port_taken ? 0 : error;
}

int UdpIo::open_wait()
{
    epoll_ = FileDescriptor(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_.valid()) {
        return errno;
    }
    event_ = FileDescriptor(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!event_.valid()) {
        return errno;
    }
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = tag_notify;
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, event_.get(), &event) == 0 ? 0 : errno;
}

int UdpIo::open_routes(std::string& error)
{
    RouteQuery query;
    int code = query.open();
    if (code != 0) {
        error = explain_query(code, local_);
        return code;
    }
    SocketAddress any_port = local_;
    any_port.set_port(0);
    FileDescriptor mtu_socket = open_sending_socket(any_port, config_.interface, 0, code);
    if (!mtu_socket.valid()) {
        error = explain(code, any_port);
        return code;
    }
    caps_.max_packet = std::min(config_.max_packet, max_udp_payload);
    routes_.emplace(local_, caps_.max_packet, config_.max_routes, std::move(query), std::move(mtu_socket));
    return 0;
}

void UdpIo::size_buffers()
{
    static std::atomic<bool> warned_rx{false};
    static std::atomic<bool> warned_tx{false};
    const int fd = main_.socket.get();
    const std::uint32_t rx = set_socket_buffer(fd, SO_RCVBUF, SO_RCVBUFFORCE, config_.socket_buffer);
    const std::uint32_t tx = set_socket_buffer(fd, SO_SNDBUF, SO_SNDBUFFORCE, config_.socket_buffer);
    warn_capped_buffer(config_, "receive", "net.core.rmem_max", rx, warned_rx);
    warn_capped_buffer(config_, "send", "net.core.wmem_max", tx, warned_tx);
    // The kernel charges a datagram with all the memory it sits in, and doubles the request for that.
    // Measured share of payload: 0.98 for GRO batches and 64 KiB, 0.64 for 1472 and 0.54 for 8972 bytes
    // singly. So the request is what large packets can really fill.
    caps_.rx_buffer = rx;
}

std::size_t UdpIo::rx_burst(std::span<RxPacket> packets, Time now)
{
    bool socket_error = false;
    const std::size_t count = receiver_->rx_burst(packets, now, socket_error);
    if (responder_ && receiver_->drained_at() == now) {
        responder_->on_drained();
    }
    if (socket_error) [[unlikely]] {
        transmitter_->collect_errors(main_);
    }
    return count;
}

std::size_t UdpIo::poll_notices(std::span<RouteNotice> notices, Time now)
{
    liveness_->poll(notices_, now);
    if (const RouteId route = routes_->review_mtu(now); route != no_id<RouteId>) [[unlikely]] {
        notices_.push(route, RouteNotice::Kind::mtu_changed);
    }
    if (senders_->error_count() != errors_seen_) [[unlikely]] {
        senders_->read_errors(errors_seen_,
                              [this](const SocketError& error) { transmitter_->report(error); });
    }
    return notices_.empty() ? 0 : notices_.take(notices);
}

/// Adds the socket to the epoll set when somebody sleeps for the first time. Without that the kernel need not
/// wake anybody for a packet, work that on one host the sender of the packet does.
bool UdpIo::watch_socket() noexcept
{
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = tag_packets;
    socket_watched_ =
        socket_watched_ || ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, main_.socket.get(), &event) == 0;
    return socket_watched_;
}

bool UdpIo::arm_wait()
{
    if (!watch_socket()) {
        return false; // the system has no room for another one (fs.epoll.max_user_watches): poll instead
    }
    bool idle = !receiver_->holding();
    std::array<epoll_event, 8> events{};
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
    if (count < 0) {
        return false;
    }
    for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        switch (event.data.u32) {
        case tag_packets:
            if ((event.events & EPOLLERR) != 0) {
                transmitter_->collect_errors(main_);
            }
            idle = false;
            break;
        case tag_notify: {
            std::uint64_t value = 0;
            if (::read(event_.get(), &value, sizeof(value)) < 0) {
                SRD_DCHECK(errno == EAGAIN);
            }
            break;
        }
        default:
            liveness_->collect(notices_);
            break;
        }
    }
    // After the read: a notify() between the two makes this call return false. The other way round, it would
    // leave the flag set with the descriptor cleared, and later ones would do nothing.
    if (notified_.exchange(false, std::memory_order_acq_rel)) {
        idle = false;
    }
    return idle && notices_.empty() && senders_->error_count() == errors_seen_;
}

void UdpIo::notify() noexcept
{
    if (notified_.exchange(true, std::memory_order_acq_rel)) {
        return; // the descriptor is readable already
    }
    const std::uint64_t one = 1;
    while (::write(event_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

} // namespace

void forget_udp_sockets() noexcept
{
    UdpSenders::forget_all();
    LivenessResponder::forget_thread();
}

int make_udp_io(const UdpConfig& config, Counters& counters, std::unique_ptr<PacketIo>& io,
                std::string& error)
{
    if (std::string fault = config.fault(); !fault.empty()) {
        error = std::move(fault);
        return EINVAL;
    }
    try {
        auto made = std::make_unique<UdpIo>(config, config.local_address, counters);
        const int code = made->open(error);
        if (code == 0) {
            io = std::move(made);
        }
        return code;
    } catch (const std::bad_alloc&) {
        error = "no memory for the UDP backend's buffers";
        return ENOMEM;
    }
}

} // namespace srd
