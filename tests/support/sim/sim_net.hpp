// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The simulated network: what carries datagrams between simulated hosts.
//
//     SimIo of the sender ── send() ──▶ SimNetwork ── SimPort::deliver() ──▶ SimIo of the receiver
//
// LossyNet is a small fabric for correctness: every host has one link up and
// one link down; between them lie `spines` parallel links, and a datagram's
// (source, destination, path) chooses its spine, as ECMP hashing would.
//
//     host ─▶ [up link] ─▶ [spine s] ─▶ [down link] ─▶ host
//
// A host with several interfaces has an up link and a down link for each.
//
// Each is a queue with a rate and a tail to drop; on the way a datagram may be
// lost, duplicated, delayed out of order or corrupted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <sys/uio.h>

#include "io/core/packet_io.hpp"
#include <srd/limits.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "support/sim/sim_clock.hpp"
#include "support/sim/sim_random.hpp"

namespace srd::sim {

/// One datagram in the network. Owned by the network's pool.
struct SimPacket {
    std::uint32_t source = 0;
    std::uint32_t destination = 0;
    PathId path{};
    std::uint8_t source_rail = 0;      ///< which of its interfaces it leaves by,
    std::uint8_t destination_rail = 0; ///< and which one it goes to
    std::uint8_t stage = 0;            ///< how far it has come; the network's own
    bool marked = false;               ///< ECN congestion experienced
    bool corrupted = false;            ///< bits were flipped: the receiver's checksum would tell
    Time arrived{};                    ///< at the receiver's socket
    std::vector<std::byte> bytes;
    std::vector<iovec> remote; ///< the end of the datagram, still in the sender's memory
    std::uint32_t epoch = 0;   ///< of the sender, when it was sent
};

/// A queue in front of a wire of fixed rate. Drops at the tail, marks above a threshold.
class SimLink {
public:
    struct Config {
        std::uint32_t ps_per_byte = 800;     ///< 800: 10 Gbit/s; 80: 100 Gbit/s
        std::uint32_t queue_bytes = 1 << 20; ///< a datagram that would make the queue longer is dropped
        std::uint32_t mark_bytes = 1 << 20;  ///< datagrams that find a longer queue are marked
        Duration delay = std::chrono::microseconds(1);
    };

    explicit SimLink(const Config& config) : config_(config) {}

    /// The time at which `bytes` arrive at the far end; nothing if they were dropped.
    std::optional<Time> push(std::uint32_t bytes, Time now, bool& marked);
    std::uint32_t backlog(Time now) const noexcept;
    /// When the backlog will have shrunk to `bytes`.
    Time ready_at(std::uint32_t bytes) const noexcept;
    Config& config() noexcept { return config_; }
    const Config& config() const noexcept { return config_; }

private:
    Config config_;
    std::int64_t busy_until_ps_ = 0;
};

/// Whether a host's process can be found.
enum class ProcessState : std::uint8_t {
    reading,
    busy,   ///< with something else for now
    gone,   ///< its host says that nobody has the address
    silent, ///< nothing answers
};

class SimLocalRoad;

/// A host as the network sees it.
class SimPort {
public:
    virtual void deliver(SimPacket* packet) = 0;
    /// The host of `peer` told us that nobody has that address.
    virtual void on_unreachable_port(std::uint32_t peer) = 0;
    virtual ProcessState process_state() const = 0;
    /// The process's memory, if it lives on the same host as everybody; null: it does not live.
    virtual ProcessMemory* process_memory() = 0;
    /// Likewise: the end of its memory where messages for it are written.
    virtual SimLocalRoad* local_road() = 0;
    /// A message has been written there, to be read at `due`.
    virtual void on_local_message(Time due) = 0;

protected:
    ~SimPort() = default;
};

class SimNetwork {
public:
    SimNetwork(SimClock& clock, std::uint32_t hosts) : clock_(clock), ports_(hosts) {}
    virtual ~SimNetwork() = default;
    SimNetwork(const SimNetwork&) = delete;
    SimNetwork& operator=(const SimNetwork&) = delete;

    /// Takes the datagram, or returns false if the sender's NIC queue has no room.
    virtual bool send(SimPacket* packet) = 0;
    /// When the NIC queue of `host` will have drained to half.
    virtual Time nic_ready(std::uint32_t host) const = 0;

    SimClock& clock() noexcept { return clock_; }
    SimPort* port(std::uint32_t host) const { return ports_.at(host); }
    void attach(std::uint32_t host, SimPort& port) { ports_.at(host) = &port; }
    std::uint32_t host_count() const noexcept { return static_cast<std::uint32_t>(ports_.size()); }

    SimPacket* acquire();
    void release(SimPacket* packet);

protected:
    SimClock& clock_;

private:
    std::vector<SimPort*> ports_;
    std::vector<std::unique_ptr<SimPacket>> pool_;
    std::vector<SimPacket*> free_;
};

class Meddler;

class LossyNet final : public SimNetwork, public SimTarget {
public:
    struct Config {
        SimLink::Config up;
        SimLink::Config down;
        SimLink::Config spine;
        std::uint32_t spines = 64;
        Duration spine_spread{};      ///< spine s is slower by s / (spines - 1) of this
        double loss = 0;              ///< per datagram
        std::uint32_t loss_burst = 1; ///< datagrams in a row that a loss takes with it
        double duplicate = 0;
        double corrupt = 0;
        std::array<std::uint32_t, max_rails> rail_slowness{1, 1, 1, 1}; ///< of each host's interfaces
        bool planes = false; ///< each interface of a host has a network of its own with the same of others
        double mangle =
            0; ///< share that a device changes in what is bound (wire::bind_packet), with a right checksum
        double meddling = 0;    ///< share of datagrams at which somebody on the way (Meddler) does something
        double reorder = 0;     ///< share of datagrams that get an extra delay ...
        Duration reorder_max{}; ///< ... of up to this
        Time clean_until{};     ///< chance strikes only from here on
        std::uint32_t overhead = 66; ///< bytes on the wire around each datagram
    };
    struct Totals {
        std::uint64_t sent = 0, lost = 0, blackholed = 0, tail_dropped = 0, duplicated = 0, corrupted = 0,
                      mangled = 0, reordered = 0, marked = 0, delivered = 0;
    };

    LossyNet(SimClock& clock, std::uint32_t hosts, const Config& config, std::uint64_t seed);
    ~LossyNet() override;

    bool send(SimPacket* packet) override;
    Time nic_ready(std::uint32_t host) const override;
    void fire(std::uint32_t what, std::uint64_t value) override;

    /// A spine that is down swallows what is sent over it.
    void set_spine_down(std::uint32_t spine, bool down) { spine_down_.at(spine) = down; }
    /// A host that is cut off neither receives nor gets anything out.
    void set_host_cut(std::uint32_t host, bool cut) { host_cut_.at(host) = cut; }
    /// Nothing leaves or comes by one of a host's interfaces.
    void set_rail_down(std::uint32_t host, std::uint32_t rail, bool down)
    {
        rail_down_.at(host * max_rails + rail) = down;
    }
    /// One that is deaf only does not receive.
    void set_host_deaf(std::uint32_t host, bool deaf) { host_deaf_.at(host) = deaf; }
    /// Nothing gets from one host to the other; the other way is another matter.
    void set_way_cut(std::uint32_t from, std::uint32_t to, bool cut)
    {
        way_cut_.at(from * host_count() + to) = cut;
    }
    SimLink& spine(std::uint32_t index) { return spines_.at(index); }
    Config& config() noexcept { return config_; }
    const Totals& totals() const noexcept { return totals_; }

    /// Sees every datagram and its fate; for traces and for tests that capture traffic.
    class Tap {
    public:
        virtual void on_packet(const char* fate, const SimPacket& packet) = 0;

    protected:
        ~Tap() = default;
    };
    void set_tap(Tap* tap) noexcept { tap_ = tap; }

private:
    std::uint32_t spine_of(const SimPacket& packet) const noexcept;
    bool strikes(double probability);
    void pass_spine(SimPacket* packet);
    void pass_down(SimPacket* packet);
    void finish(SimPacket* packet);
    void hop(SimLink& link, SimPacket* packet, Duration extra);
    void mangle(SimPacket& packet);
    void meddle(SimPacket& packet, SimLink& spine);

    Config config_;
    SimRandom random_;
    std::vector<SimLink> up_, down_, spines_;
    bool is_rail_down(const SimPacket& packet) const;

    std::vector<bool> spine_down_, host_cut_, host_deaf_, way_cut_, rail_down_;
    std::uint32_t burst_left_ = 0;
    std::unique_ptr<Meddler> meddler_; ///< null: there is none
    Totals totals_;
    Tap* tap_ = nullptr;

    void tell(const char* fate, const SimPacket& packet)
    {
        if (tap_ != nullptr) {
            tap_->on_packet(fate, packet);
        }
    }
};

} // namespace srd::sim
