// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// One engine under fire, and the application above it: a few peers, little memory, time in the harness's
// hands. It is made once and serves many inputs, which is what makes them cheap: at the end of each its peers
// are closed, and then nothing may be left.
//
// What is held against it beside its own checks: who was told that a message is complete has all its bytes;
// an operation completes exactly once; memory that a peer may reach is on the heap with nothing behind it, so
// that AddressSanitizer sees who goes too far.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <srd/address.hpp>
#include <srd/counters.hpp>

#include "engine.hpp"
#include "progress.hpp"

namespace srd::fuzz {

/// The bytes of message or read `sequence` from `offset` on, which whoever sends them must send; fewer than
/// `size` near the end of what there is of them.
std::span<const std::byte> pattern(std::uint32_t sequence, std::uint64_t offset, std::uint64_t size);

/// A tag that tells whose bytes a message must have.
inline constexpr std::uint64_t honest_tag = std::uint64_t{0x5eed} << 32;

[[noreturn]] void fail(const char* what);

/// Those of an endpoint; all have the same key.
std::unique_ptr<EndpointSeals> make_seals();

class Victim final : private ProcessMemory {
public:
    static constexpr std::uint32_t max_packet = 8972;
    static constexpr std::uint64_t region_key = 7;
    static constexpr std::size_t region_size = 4096; ///< from address 0 on

    /// What the application does with what comes. The lowest bits choose for messages, those above them for
    /// accesses.
    using Mood = std::uint8_t;

    /// `seals`: null, or all traffic is sealed.
    Victim(std::uint32_t max_peers, std::uint32_t max_routes, std::unique_ptr<EndpointSeals> seals = nullptr);
    Victim(const Victim&) = delete;
    Victim& operator=(const Victim&) = delete;

    void set_mood(Mood mood) noexcept { mood_ = mood; }
    /// The packet changes while it is read, as memory that is shared with its sender may; whatever comes of
    /// that need not be what was sent.
    void set_tamper(std::span<std::byte> packet) noexcept
    {
        tamper_ = packet;
        tampered_ = tampered_ || !packet.empty();
    }

    /// Packets that were not taken, for what they are or who sent them.
    std::uint64_t dropped() const noexcept;
    Engine& engine() noexcept { return engine_; }
    const Counters& counters() const noexcept { return counters_; }
    const SocketAddress& address() const noexcept { return address_; }
    std::uint32_t largest() const noexcept
    {
        return largest_;
    } ///< packet of the engine's, before it is sealed
    Time now() const noexcept { return now_; }
    /// Time passes, and timers fire.
    void advance(Duration duration);

    /// The packets of one burst, and all that follows from them.
    void receive(std::span<const RxPacket> packets);
    /// Hands what the engine sends to `sink(route, bytes)`: first the answers to those who introduced
    /// themselves, who need not have a route.
    template <typename Sink>
    void transmit(Sink&& sink)
    {
        for (const Reply& reply : std::span(replies_).first(reply_count_)) {
            sink(reply.route, reply.packet.bytes());
        }
        reply_count_ = 0;
        std::array<TxPacket, 32> packets;
        for (int round = 0; round < 8; ++round) {
            const std::size_t built = engine_.poll_transmit(packets, now_);
            if (built == 0) {
                return;
            }
            const std::size_t taken = unsent_next_ ? built / 2 : built;
            for (const TxPacket& packet : std::span(packets).first(taken)) {
                sink(packet.route, gathered(packet));
            }
            if (taken < built) {
                engine_.return_unsent(std::span(packets).subspan(taken, built - taken), now_);
            }
            unsent_next_ = false;
            engine_.on_tx_done();
        }
    }
    /// The backend takes half of the next burst.
    void take_half_next() noexcept { unsent_next_ = true; }

    /// Submits an operation to the peer behind `route`, if there is room for one more.
    struct Wish {
        OperationKind kind = OperationKind::message;
        CompletionLevel level = CompletionLevel::transmit;
        std::uint64_t length = 0;
        std::uint8_t pieces = 1;
        bool copied = false;
        bool fence = false;
        bool fetch = false;
    };
    void submit(RouteId route, const Wish& wish);

    /// Does something with the message parked longest: accepts it, or discards it.
    void take_parked(bool discard);

    /// The address resolves to that route, its port, if there are so many.
    static SocketAddress address_of(std::uint32_t route);
    static SocketAddress own_address() { return address_of(9999); }
    void open(RouteId route);
    void close(RouteId route);

    /// All peers go, and nothing may be left.
    void finish();

private:
    static constexpr std::size_t max_operations = 64;
    static constexpr std::size_t buffers = 8;
    static constexpr std::size_t buffer_size = 16384;

    struct Buffer {
        std::vector<std::byte> memory = std::vector<std::byte>(buffer_size);
        std::size_t length = 0;
        bool busy = false;
        /// So many bytes before the end of the memory.
        iovec begin(std::size_t bytes);
        std::span<const std::byte> content() const noexcept { return std::span(memory).last(length); }
    };
    struct Sent {
        std::vector<std::byte> memory;
        bool awaited = false;
    };

    /// To somebody who introduced himself.
    struct Reply {
        RouteId route{};
        HelloPacket packet;
    };

    /// Where a peer on this host has its bytes: at their sequence.
    Read read(RouteId route, std::uint32_t epoch, std::span<const iovec> from,
              std::span<const iovec> into) noexcept override;
    std::uint32_t epoch() const noexcept override { return 1; }

    void drain();
    void on_event(const Event& event);
    void on_hello(const Event& event);
    RouteInfo route_info(RouteId route);
    void on_message(const Event& event);
    void on_access(const Event& event);
    void on_done(const Event& event);
    bool accept(MessageId message, const Event& event, std::size_t capacity);
    void check_message(const Event& event, const Buffer& buffer) const;
    std::span<const std::byte> gathered(const TxPacket& packet);

    SocketAddress address_ = own_address();
    std::unique_ptr<EndpointSeals> seals_;
    std::uint32_t largest_;
    Counters counters_;
    std::uint32_t max_routes_;
    Engine engine_;
    Time now_{std::chrono::seconds(1)};
    Mood mood_ = 0;
    std::uint8_t turn_ = 0; ///< goes round with every event, so that moods vary
    bool unsent_next_ = false;
    std::span<std::byte> tamper_;
    bool tampered_ = false; ///< since the last finish()
    std::array<Buffer, buffers> buffers_;
    std::array<Sent, max_operations> sent_;
    std::size_t sent_count_ = 0;
    std::vector<Event> parked_;
    std::vector<std::byte> region_ = std::vector<std::byte>(region_size);
    std::vector<std::byte> packet_;
    std::vector<std::byte> sealed_packet_;
    std::vector<SocketAddress> addresses_; ///< by route
    std::vector<bool> resolved_;           ///< routes that were ever used
    std::vector<bool> used_routes_;        ///< since the last finish()
    std::array<Reply, max_answers> replies_;
    std::size_t reply_count_ = 0;
};

} // namespace srd::fuzz
