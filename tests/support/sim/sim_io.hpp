// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// SimIo: the backend of a simulated host. It does all that a backend may
// legally do to an engine (partial bursts, drops at a full socket) and checks
// all that an engine may not do to a backend (packets that are too long, lengths
// that do not add up).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/core/packet_io.hpp"
#include <srd/counters.hpp>

#include "support/sim/sim_local.hpp"
#include "support/sim/sim_net.hpp"
#include "support/sim/sim_random.hpp"

namespace srd::sim {

/// What a run throws when a checker is not content. The text says what is wrong, with numbers.
struct SimFailure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct SimIoOptions {
    IoCaps caps{.max_packet = 1472, .rx_buffer = 4 << 20, .path_count = 64, .burst_packets = 1};
    double partial_burst = 0;                                 ///< probability that a burst is cut short
    Duration liveness_delay = std::chrono::microseconds(200); ///< of the answer to probe_liveness
    Duration mtu_delay = std::chrono::microseconds(200);      ///< from a change of MTU to the notice of it
    /// Peers are on the same host, short messages go through memory: probability that memory is read instead
    /// of copied, when it may be.
    double near = 0;
    std::uint8_t rails = 1; ///< addresses of the host, each of an interface of its own
    double forbidden = 0;   ///< of reads in a process: the system refuses it, and those that follow
    bool swallows_trains =
        false; ///< what the backend would send as one batch is lost on the way as one packet
    bool answers_liveness = false;  ///< the backend can tell whether a process exists
    bool exact_arrival = true;      ///< RxPacket::arrived is the arrival, not the burst's time
    bool deliver_corrupted = false; ///< a broken backend that verifies no checksum (canary)
};

class SimIo final : public PacketIo, public ProcessMemory, private RemoteBytes {
public:
    SimIo(SimNetwork& network, std::uint32_t host, const SimIoOptions& options, Counters& counters,
          std::uint64_t seed);
    ~SimIo() override;

    const IoCaps& caps() const noexcept override { return caps_; }
    const SocketAddress& local_address() const noexcept override { return address_; }
    Status resolve(const SocketAddress& address, RouteId& route) override;
    RouteId find(const SocketAddress& address) const noexcept override;
    bool forget_route(RouteId route) noexcept override;
    void reply(const SocketAddress& address, std::span<const std::byte> packet) noexcept override;
    const SocketAddress& route_address(RouteId route) const noexcept override;
    std::uint32_t route_mtu(RouteId route) const noexcept override;
    std::uint16_t set_peer_rails(RouteId route, std::span<const std::byte> rails) noexcept override;
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override;
    void rx_release() noexcept override;
    std::size_t tx_burst(std::span<const TxPacket> packets) override;
    void probe_liveness(RouteId route, LivenessProbe probe, Time now) override;
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override;
    int wait_fd() const noexcept override { return -1; }
    bool arm_wait() override { return rx_queue_.empty() && !local_.any(); }
    void notify() noexcept override {}
    void revoke() noexcept override { ++epoch_; }
    std::uint32_t epoch() const noexcept override { return epoch_; }
    Read read(RouteId route, std::uint32_t epoch, std::span<const iovec> from,
              std::span<const iovec> into) noexcept override;

    // -- The network's and the host's side

    /// Queues an arrived datagram, or drops it (checksum, longer than this host takes, full socket).
    void deliver(SimPacket* packet);
    /// `since`: RouteNotice::since.
    void push_notice(std::uint32_t about_host, RouteNotice::Kind kind, Time due, Time since = {});
    /// Changes the MTU towards `host`. Packets that are too long are lost until the backend finds out
    /// and tells the engine; then those that were built before go as fragments.
    void set_mtu(std::uint32_t host, std::uint32_t mtu, Time now);
    /// From now on packets towards `host` of more than `bytes` vanish, and nobody is told.
    void set_black_hole(std::uint32_t host, std::uint32_t bytes) { other(host).carried = bytes; }
    /// The host's clock, which is what the engine knows of time, is ahead of the world's by this.
    void set_clock_ahead(Duration ahead) noexcept { ahead_ = ahead; }
    /// Until then the system has no room for packets towards `host`; those for others it takes.
    void set_no_room(std::uint32_t host, Time until) { other(host).no_room_until = until; }
    /// When a pass would find something to do here; time_never if nothing is foreseen.
    Time next_due() const;
    std::uint32_t route_host(RouteId route) const { return route_hosts_.at(index_of(route)); }
    RouteId route_to(std::uint32_t host);
    /// Most that there ever were at a time.
    std::size_t route_peak() const noexcept { return route_hosts_.size(); }
    SimLocalRoad& local_road() noexcept { return local_; }
    /// Bytes of a message from `host` have arrived in memory.
    void on_local_bytes(std::uint32_t host, std::uint64_t bytes) { other(host).bytes_from += bytes; }
    std::uint32_t host() const noexcept { return host_; }
    /// Called at every virtual call, i.e. between any two entries into the engine.
    class Hook {
    public:
        virtual void between_entries() = 0;

    protected:
        ~Hook() = default;
    };
    void set_hook(Hook* hook) noexcept { hook_ = hook; }

    /// Bytes of packets from `host` handed to the engine so far.
    std::uint64_t bytes_from(std::uint32_t host) const
    {
        const auto place = others_.find(host);
        return place == others_.end() ? 0 : place->second.bytes_from;
    }
    /// 10.0.0.0 and up, counted by host.
    static SocketAddress address_of(std::uint32_t host);
    /// What peers are told of the further addresses of `host`, `count` in all.
    static std::vector<std::byte> rails_of(std::uint32_t host, std::uint32_t count);
    /// Packets sent by ways other than the first, questions aside.
    std::uint64_t by_other_ways() const noexcept { return by_other_ways_; }

private:
    struct Notice {
        Time due{};
        RouteNotice notice;
    };

    /// What there is to know of another host. Of those that it never dealt with a host knows nothing: where
    /// there are thousands, memory for all would be most of the simulation's.
    struct Other {
        std::uint32_t mtu_known = 0; ///< towards it, to the backend
        std::uint32_t mtu_true = 0;  ///< that the path has
        std::uint32_t carried = 0;   ///< longer packets vanish
        bool forbidden = false;      ///< we may not read there
        Time no_room_until{};
        std::uint64_t bytes_from = 0;
    };
    Other& other(std::uint32_t host);

    bool fetch(std::uint32_t mapping_id, std::span<const iovec> into) noexcept override;
    bool read_host(std::uint32_t host, std::uint32_t epoch, std::span<const iovec> from,
                   std::span<const iovec> into) noexcept;
    bool transmit(const TxPacket& packet);
    bool choose_way(const TxPacket& packet, SimPacket& datagram) const;
    void between_entries()
    {
        if (hook_ != nullptr) {
            hook_->between_entries();
        }
    }

    SimNetwork& network_;
    const std::uint32_t host_;
    const SimIoOptions options_;
    SimLocalRoad local_;
    const std::vector<std::byte> rails_;
    const IoCaps caps_;
    std::uint32_t epoch_;
    Counters& counters_;
    SimRandom random_;
    const SocketAddress address_;
    struct Rail { ///< a further address of a peer, as it has told: somebody's interface
        std::uint32_t host = 0;
        std::uint8_t rail = 0;
    };
    std::map<std::uint32_t, std::vector<Rail>> peer_rails_; ///< by route
    std::uint64_t by_other_ways_ = 0;
    std::vector<std::uint32_t> route_hosts_;
    std::deque<SocketAddress> route_addresses_;
    std::vector<RouteId> forgotten_routes_;           ///< to be used again
    std::unordered_map<std::uint32_t, Other> others_; ///< by host
    std::map<std::uint32_t, RouteId> routes_;
    std::deque<SimPacket*> rx_queue_;
    std::size_t rx_queued_bytes_ = 0;
    std::vector<SimPacket*> rx_lent_;
    std::vector<Notice> notices_;
    Duration ahead_{};
    Time tx_blocked_until_ = time_never; ///< time_never: not blocked
    Hook* hook_ = nullptr;
};

} // namespace srd::sim
