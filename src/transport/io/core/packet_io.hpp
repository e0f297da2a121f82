// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// PacketIo: the one seam between the engine and anything that moves packets.
// Virtual, and only in batches, so the cost of the call is spread over a burst.
//
// A backend moves datagrams: it may lose, duplicate and reorder them, but what
// it delivers is intact (it verifies a checksum) and whole. It knows nothing of
// peers, windows or messages. One thread at a time calls it (the endpoint's
// lock); only notify() may be called from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

#include <srd/address.hpp>
#include <srd/limits.hpp>
#include <srd/status.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

namespace srd {

struct Counters;
class LocalRoad;
class SealedSession;

/// Reads the memory of other processes on this host (cross-memory attach).
class ProcessMemory {
public:
    enum class Read : std::uint8_t {
        done,
        changed,   ///< the epoch has passed: the bytes may have changed; a later epoch may be read
        forbidden, ///< this process may not read that one's memory, now or later
    };

    /// The current epoch of our own memory. Peers may read what was announced in it; PacketIo::revoke()
    /// ends it and begins another.
    virtual std::uint32_t epoch() const noexcept = 0;
    /// Copies from `from`, addresses in the process behind `route`, as many bytes as `into` has room for.
    /// Fails with `changed` if `epoch` is not that process's current one. Unless done, the contents of
    /// `into` are undefined.
    virtual Read read(RouteId route, std::uint32_t epoch, std::span<const iovec> from,
                      std::span<const iovec> into) noexcept = 0;

protected:
    ~ProcessMemory() = default;
};

struct IoCaps {
    std::uint32_t max_packet = 0; ///< largest packet on any route, bytes
    std::uint32_t rx_buffer = 0;  ///< bytes the receive side can queue; 0 = unknown
    std::uint16_t path_count = 1; ///< entropies per route, 1..64
    std::uint16_t burst_packets =
        1;                      ///< packets of equal size on one path that cost about one call (GSO), >= 1
    std::uint16_t overhead = 0; ///< bytes by which packets grow on the way: what an MTU is beyond max_packet
    /// What packets wait in the hosts themselves when these are busy: in sockets, for processors. Congestion
    /// control allows it beside the delay that it aims at in the network.
    Duration host_delay{};
    // Several interfaces, one endpoint. A way to a peer with S addresses has the number
    // (ours + rail_count * the peer's): TxPacket::way.
    std::uint8_t rail_count = 1;           ///< addresses of this endpoint, 1..max_rails
    std::span<const std::byte> rails = {}; ///< what peers are told of all but the first: rail_size bytes each
    // For routes to the same host (RouteNotice); null: there are none ever.
    ProcessMemory* memory = nullptr;
    LocalRoad* local = nullptr;
};

/// Tails of received packets that were not copied: they still lie in the memory of the process that sent
/// them.
class RemoteBytes {
public:
    /// Copies the tail of the packet with that RxPacket::mapping_id, as many bytes of it as `into` has room
    /// for. False: it cannot be read, or may have changed by now; the packet then counts as lost.
    virtual bool fetch(std::uint32_t mapping_id, std::span<const iovec> into) noexcept = 0;

protected:
    ~RemoteBytes() = default;
};

/// A received packet. The memory belongs to the backend and stays valid until rx_release(). It may be written
/// meanwhile, unless the packet is `local`: sealed packets are opened in place.
struct RxPacket {
    const std::byte* data = nullptr;
    std::uint32_t length = 0;
    bool marked = false;             ///< ECN congestion experienced
    bool local = false;              ///< came through memory that only this user's processes can write
    Time arrived{};                  ///< when the kernel or NIC received it, if known, else the burst's `now`
    std::uint32_t remote_length = 0; ///< bytes of the packet that follow those at `data`, read by `remote`
    std::uint32_t mapping_id = 0;    ///< names them to `remote`
    RemoteBytes* remote = nullptr;   ///< reads the tail of the packet; null: it has none
};

inline constexpr std::size_t max_tx_iov = 2 + max_iov; ///< header, frames, payload pieces

/// A packet to send. A packet's memory belongs to the engine and stays valid until tx_burst returns.
struct TxPacket {
    RouteId route{};
    PathId path{};
    std::uint8_t way =
        0; ///< from which address of ours to which of the peer's; 0: from the first to the first
    std::uint8_t iov_count = 0;
    /// The pieces from this one on stay valid and unchanged for longer, until the packet is acknowledged or
    /// PacketIo::revoke(): a receiver on the same host may read them where they are.
    std::uint8_t stable_from = max_tx_iov;
    /// Not one of a batch that the system sees as one packet.
    bool alone = false;
    /// It asks whether a packet of this size arrives: `alone` and unfragmented, or lost.
    bool probe = false;
    /// Seals the packet where it leaves the host; null: it goes in clear.
    SealedSession* seal = nullptr;
    std::uint32_t cookie = 0; ///< the sender's own; not interpreted
    std::uint32_t length = 0; ///< sum over iov
    std::array<iovec, max_tx_iov> iov{};
};

/// How large a packet a route carries.
struct RouteMtu {
    // Implicit: a size alone is a claim about a network, which may be narrower.
    RouteMtu(std::uint32_t size, bool is_certain = false) noexcept // NOLINT(google-explicit-constructor)
        : bytes(size), certain(is_certain)
    {
    }

    std::uint32_t bytes;
    bool certain; ///< no network is between that could carry less
};

/// What a backend learns about a route outside of packets.
struct RouteNotice {
    enum class Kind : std::uint8_t {
        mtu_changed, ///< read route_mtu() again
        // Hints, which may be about an earlier process, speak of one path of many, or be forged.
        port_unreachable, ///< ICMP says that nobody has that address
        host_unreachable, ///< ICMP, or this host, knows no way there
        // Answers to probe_liveness.
        process_gone,  ///< the peer's host says that nobody has that address
        process_alive, ///< somebody has it, though it may be stopped
        process_reads, ///< LivenessProbe::reads: the process is reading what comes for it
        process_busy,  ///< LivenessProbe::reads: it has not read for a while, and may do so later
        unreachable,   ///< the network knows no way there
        // The way.
        same_host, ///< from now on packets go through shared memory, whose round trip is so short that a
                   ///< few packets now are better than many in one burst later
        network,   ///< packets go through the network again
    };
    RouteId route{};
    Kind kind{};
    Time since{}; ///< of an answer: when it was asked for. It says nothing about the time before
};

/// What to find out about a process.
enum class LivenessProbe : std::uint8_t {
    exists, ///< cheap, and answered for a stopped process too
    reads,  ///< whether it reads what comes for it
};

class PacketIo {
public:
    PacketIo() = default;
    PacketIo(const PacketIo&) = delete;
    PacketIo& operator=(const PacketIo&) = delete;
    virtual ~PacketIo() = default;

    virtual const IoCaps& caps() const noexcept = 0;

    /// This endpoint's own address, as fi_getname() reports it and peers resolve it. Never changes.
    virtual const SocketAddress& local_address() const noexcept = 0;

    /// Finds or makes the route to `address` (a peer's local_address()).
    /// The same address gives the same RouteId. Not on the data path; may allocate.
    /// Errors: invalid (empty, of another family, or nobody's: wildcard, multicast), no_memory, unreachable.
    virtual Status resolve(const SocketAddress& address, RouteId& route) = 0;

    /// The route that resolve() has made for `address`, or no_id<RouteId>. Makes none: for addresses that
    /// strangers name.
    virtual RouteId find(const SocketAddress& address) const noexcept = 0;

    /// Nobody uses `route` any more: its id may be given to another address. False: it stays, for the backend
    /// needs it. What still comes of it in notices is about whoever has the id then, as a hint may be.
    virtual bool forget_route(RouteId route) noexcept
    {
        static_cast<void>(route);
        return false;
    }

    /// The peer behind `route` has told its further addresses, as IoCaps::rails, in place of any that it told
    /// before. Returns the ways that packets can be sent on, a bit for each; whether anything comes of it is
    /// another matter. They are the peer's word, which may be wrong. May allocate.
    virtual std::uint16_t set_peer_rails(RouteId route, std::span<const std::byte> rails) noexcept
    {
        static_cast<void>(route);
        static_cast<void>(rails);
        return 1;
    }

    /// Sends one packet to an address that needs no route, as an answer to whoever is not known yet. It may
    /// get lost. Never blocks.
    virtual void reply(const SocketAddress& address, std::span<const std::byte> packet) noexcept = 0;

    /// The address `route` was resolved from; valid as long as the backend.
    virtual const SocketAddress& route_address(RouteId route) const noexcept = 0;

    /// Largest packet, in bytes of ours (headers below excluded), that `route` carries unfragmented.
    virtual std::uint32_t route_mtu(RouteId route) const noexcept = 0;

    /// The other end is on this host: there is no network between.
    virtual bool on_this_host(RouteId route) const noexcept
    {
        static_cast<void>(route);
        return false;
    }

    /// How many of caps().path_count entropies are worth using on `route`: 1 to a peer on this host.
    virtual std::uint16_t route_paths(RouteId route) const noexcept
    {
        static_cast<void>(route);
        return caps().path_count;
    }

    /// Fills a prefix of `packets`; returns how many. Never blocks. `now` is the pass's clock reading.
    virtual std::size_t rx_burst(std::span<RxPacket> packets, Time now) = 0;

    /// Gives the memory of all packets of the last rx_burst back.
    virtual void rx_release() noexcept = 0;

    /// Sends a prefix of `packets`; returns its length. Consecutive packets of the
    /// same route, path and length may go as one batch. A packet that the operating system
    /// refuses for good counts as accepted and lost. Never blocks. What there is no room for, perhaps on its
    /// route alone, ends the prefix; the caller then offers what follows on other routes (send_burst).
    virtual std::size_t tx_burst(std::span<const TxPacket> packets) = 0;

    /// Ends the promise of TxPacket::stable_from for all packets sent so far: their pieces may change after
    /// the return. A receiver that still reads them must notice that and treat the packet as lost.
    virtual void revoke() noexcept {}

    /// Asks, without blocking, about the process behind `route`.
    /// The answer, if any, comes through poll_notices. A backend that cannot tell does nothing.
    virtual void probe_liveness(RouteId route, LivenessProbe probe, Time now) = 0;

    /// Fills a prefix of `notices`; returns how many. Cheap when there are none.
    virtual std::size_t poll_notices(std::span<RouteNotice> notices, Time now) = 0;

    /// A descriptor that, after arm_wait(), polls readable when rx_burst or poll_notices may have
    /// something, or after notify(). Valid as long as the backend.
    virtual int wait_fd() const noexcept = 0;

    /// Call before sleeping on wait_fd(): clears notify() and returns true if it is safe to
    /// sleep, false if packets are already waiting.
    virtual bool arm_wait() = 0;

    /// Wakes a sleeper on wait_fd(). Any thread.
    virtual void notify() noexcept = 0;
};

/// What an engine is told of a route when it begins to use it.
struct RouteInfo {
    RouteId id{};
    std::span<const std::byte> address; ///< valid as long as the backend
    RouteMtu mtu;
    std::uint16_t paths = max_paths; ///< worth using, 1 .. IoCaps::path_count; more count as so many
};

inline RouteInfo route_info(const PacketIo& io, RouteId route) noexcept
{
    return {route,
            io.route_address(route).bytes(),
            {io.route_mtu(route), io.on_this_host(route)},
            io.route_paths(route)};
}

} // namespace srd
