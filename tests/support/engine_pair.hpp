// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Two engines and the wire between them, in memory, with time in the test's hands: the one such world of the
// unit tests. Each engine is driven by the progress_once() of production, and above it stands an application
// that lets the other access its memory and puts messages where the test says. What a thousand seeds and
// many hosts are needed for is in tests/sim.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "engine.hpp"

#include "support/memory_road.hpp"
#include "support/quiet_io.hpp"

namespace srd::test {

using Bytes = std::vector<std::byte>;

/// Bytes that tell where they stand, and by `seed` of what they are part.
Bytes pattern(std::size_t length, unsigned seed = 0);
std::vector<iovec> whole(Bytes& bytes);

/// One end of the wire. What it does to packets is up to the test: its members say.
class WireIo final : public QuietIo, public ProcessMemory, private RemoteBytes {
public:
    struct Packet {
        Bytes bytes;
        std::vector<iovec> remote = {}; ///< its end, still in the sender's memory
        std::uint32_t remote_length = 0;
    };

    WireIo(std::uint8_t name, const IoCaps& caps, bool same_host, bool has_local = false);

    const SocketAddress& local_address() const noexcept override { return address_; }
    Status resolve(const SocketAddress&, RouteId& route) override;
    RouteId find(const SocketAddress&) const noexcept override { return RouteId{0}; }
    void reply(const SocketAddress& address, std::span<const std::byte> packet) noexcept override;
    const SocketAddress& route_address(RouteId) const noexcept override
    {
        return peer != nullptr ? peer->address_ : address_;
    }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override;
    void rx_release() noexcept override { held_.clear(); }
    bool is_holding() const noexcept { return !held_.empty(); }
    std::size_t tx_burst(std::span<const TxPacket> packets) override;
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override;
    bool arm_wait() override { return incoming.empty(); }
    void revoke() noexcept override { ++own_epoch; }
    std::uint32_t epoch() const noexcept override { return own_epoch; }
    Read read(RouteId route, std::uint32_t epoch, std::span<const iovec> from,
              std::span<const iovec> into) noexcept override;

    MemoryRoad local; ///< if it is so (EnginePair::Options::local)

    WireIo* peer = nullptr; ///< null: packets go nowhere
    std::deque<Packet> incoming;

    // On the way out
    std::function<void(const TxPacket&)> watch;
    std::function<bool(std::size_t)> drop; ///< by number of the packet
    std::function<bool(Bytes&)> tamper;    ///< with packets, until it has found the right one
    std::size_t takes = SIZE_MAX;          ///< packets of a burst; for others there is no room
    bool attach = true;                    ///< between processes of one host, ends of packets are not copied
    unsigned short_ends = 0;               ///< so many of them lack a byte

    // On the way in
    bool reverse = false;         ///< packets of a burst arrive in the wrong order
    bool marked = false;          ///< by a switch: all of them
    unsigned failing_fetches = 0; ///< of ends of packets

    // Between processes of one host
    bool may_read = true; ///< the peer's memory
    std::uint32_t own_epoch = 1;
    unsigned reads = 0;
    unsigned fetches = 0;

    /// Heard by the next pass, and these packets arrive after that pass has looked for packets.
    std::vector<RouteNotice::Kind> news;
    std::deque<Packet> last_words;

private:
    bool fetch(std::uint32_t mapping_id, std::span<const iovec> into) noexcept override;
    void send(const TxPacket& packet);

    const bool same_host_;
    const SocketAddress address_;
    std::deque<Packet> held_;
    std::size_t sent_ = 0;
};

/// An engine, its end of the wire, and the application above it.
class EngineHost {
public:
    static constexpr std::uint64_t region = 7; ///< the key under which `memory` can be accessed, from 0 on

    EngineHost(std::uint8_t name, const IoCaps& caps, bool same_host, bool local = false);

    void pass(Time now);

    WireIo io;
    Counters counters;
    Engine engine;
    PeerId peer{};                 ///< the other one, unless it came as a stranger
    PeerId sender{};               ///< of the last message
    Bytes memory = Bytes(1 << 20); ///< what accesses go to
    std::vector<iovec> buffer;     ///< for the next message; empty: it is parked
    DeviceId buffer_device = DeviceId::host;
    unsigned defers = 0;       ///< so many times messages are taken up later, ...
    unsigned defers_after = 0; ///< ... but not the first ones
    std::vector<MessageId> parked;
    std::vector<Event> done; ///< what completed, and messages that were complete when they came
    std::vector<Event> lost; ///< Event::Kind::peer_lost
    std::vector<std::uint64_t> remote_data;
    std::size_t remote_writes = 0;
    std::size_t reads_begun = 0;  ///< of `memory`
    bool revoke_at_serve = false; ///< the region closes when a read of it has begun
    bool revoked_first = false;   ///< a failure was reported, and buffers had been taken back before

private:
    void on_event(const Event& event);
    void take(const Event& event);
    void access(const Event& event);
    void execute(const Event& event);
};

class EnginePair {
public:
    struct Options {
        std::uint32_t max_packet = 1472;
        bool same_host = false;
        std::uint16_t burst_packets = 1; ///< as IoCaps; if there are more, paths are many as well
        std::uint16_t overhead = 0;      ///< as IoCaps
        bool strangers = false;          ///< b learns of a by its first packet
        bool local = false;              ///< same_host, with memory for messages
    };

    EnginePair() : EnginePair(Options{}) {}
    explicit EnginePair(const Options& options);

    /// Passes of both, 5 us apart.
    void run(int rounds = 4000);

    // From a to b
    /// Fills in peer and cookie.
    Status submit(Operation operation, std::uint64_t cookie);
    void send(std::span<const iovec> iov, CompletionLevel level = CompletionLevel::transmit);
    void send(const Bytes& bytes, CompletionLevel level = CompletionLevel::transmit);
    /// A read or write of b's memory. `bytes` are read into all the same.
    void access(OperationKind kind, std::span<const std::byte> bytes, std::uint64_t address,
                std::uint64_t cookie = 1);
    /// True if the message arrives in a buffer of its own.
    bool deliver(const Bytes& bytes);
    /// Each has acknowledged a packet of the other's, and a has nothing to report of that. False: it was
    /// lost.
    bool meet();

    EngineHost a;
    EngineHost b;
    Time now = Time(std::chrono::seconds(1));
};

} // namespace srd::test
