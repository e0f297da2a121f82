// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets out. Peers with something to send take turns; within a turn a hello
// goes first, then what was lost, then what is new as far as the windows allow,
// and at last a bare acknowledgement if no packet could carry it.
//
// A packet's header and acknowledgement block are made anew for every
// transmission, in memory that is the backend's until on_burst_done().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <srd/lazy_array.hpp>
#include <srd/time.hpp>

#include "io/core/packet_io.hpp"
#include "send/framing.hpp"
#include "shared.hpp"

namespace srd {

class Transmitter {
public:
    /// `headers`: of packets built and not yet taken by the backend.
    Transmitter(Shared& shared, Framing& framing, std::uint32_t headers)
        : s_(shared), framing_(framing), headers_(headers), header_capacity_(headers),
          padding_(shared.caps.max_packet)
    {
    }

    /// Builds packets to send now; returns how many.
    std::size_t poll(std::span<TxPacket> packets, Time now);
    /// Books back, in reverse order, what the backend did not take of the packets built last.
    void return_unsent(std::span<const TxPacket> packets, Time now);
    /// The backend has taken or returned all packets built.
    void on_burst_done() noexcept
    {
        headers_used_ = 0;
        s_.staging.on_burst_done();
    }

private:
    /// Packets outside the sequence.
    enum class Bare : std::uint8_t { ack, hello, close };

    // TxPacket::cookie of what is in no slot and is not sent again by itself; others have no_index.
    static constexpr std::uint32_t bare_ack = no_index - 1;
    static constexpr std::uint32_t bare_close = no_index - 2;

    /// Frames up to this size are sent from behind the header: one piece instead of two.
    static constexpr std::uint32_t inline_frames = 192;

    /// What of one packet is made anew for every transmission.
    struct Header {
        alignas(8)
            std::array<std::byte, inline_frames + sizeof(wire::PacketHeader) + sizeof(wire::AckBlock) +
                                      sizeof(wire::MarkBlock) + wire::max_ack_words * sizeof(std::uint64_t) +
                                      sizeof(wire::HelloFrame)> bytes;
    };

    std::size_t acknowledge_first(std::span<TxPacket> packets, Time now);
    std::size_t take_turn(std::uint32_t peer, std::span<TxPacket> packets, Time now);
    bool another_turn(const Peer& peer, Time now) const noexcept;
    std::uint32_t next_packet(std::uint32_t peer, Time now);
    std::uint32_t next_control_packet(std::uint32_t peer);
    bool may_send(Peer& peer, const TxSlot* again, Time now) const noexcept;
    PathId choose_path(Peer& peer, TxSlot& slot, Time now);
    PathId balance(std::uint32_t peer, PathId path, Time now);
    PathId choose_bare_path(Peer& peer, Bare kind, Time now);
    bool emit(std::uint32_t peer, std::uint32_t slot, TxPacket& packet, Time now);
    bool emit_bare(std::uint32_t peer, Bare kind, TxPacket& packet, Time now);
    // What is sent from a device
    bool is_on_device(const TxSlot& slot) const noexcept
    {
        return slot.is_generated() && s_.outgoing[slot.message].device != DeviceId::host;
    }
    bool stage(std::uint32_t peer, const TxSlot& slot, Time now) noexcept;
    void add_staged(const TxSlot& slot, TxPacket& packet) const noexcept;
    void add_frames(const TxSlot& slot, std::byte* start, std::byte* out, TxPacket& packet);
    std::byte* begin(RouteId route, TxPacket& packet) noexcept;
    void seal(std::uint32_t peer, wire::PacketHeader& header, TxPacket& packet) noexcept;
    void finish(TxPacket& packet) noexcept;
    // What the search for the MTU, and its fall, ask for
    std::size_t emit_probes(std::uint32_t peer, std::span<TxPacket> packets, Time now);
    bool emit_probe(std::uint32_t peer, PathMtu::Probe probe, bool answer, TxPacket& packet, Time now);
    // What ways there are
    std::size_t emit_rails(std::uint32_t peer, std::span<TxPacket> packets, Time now);
    bool emit_rails_frame(std::uint32_t peer, wire::RailsFrame& frame, PathId path, TxPacket& packet);
    std::uint32_t next_fitting(std::uint32_t peer, std::uint32_t slot, Time now);
    bool is_too_long(const Peer& peer, const TxSlot& slot) const noexcept;
    std::uint32_t packet_under_way(const Peer& peer) const noexcept;
    bool waits_for_fragments(const Peer& peer) const noexcept;
    void cut_fragment(Peer& peer, const TxSlot& slot, bool goes_on, TxPacket& packet) noexcept;
    void return_slot(Peer& peer, const TxPacket& packet, Time now);
    void return_bare(Peer& peer, const TxPacket& packet) noexcept;
    bool take_back_fragment(Peer& peer, const TxPacket& packet) noexcept;
    void book_sent(Peer& peer, std::uint32_t slot, Time now);
    Counter& repair_counter(TxSlot::Repair repair) const noexcept;

    Shared& s_;
    Framing& framing_;
    LazyArray<Header> headers_;
    std::uint32_t header_capacity_;
    std::uint32_t headers_used_ = 0;
    LazyArray<std::byte> padding_; ///< of probes: zeros
    bool backlogged_ = false;      ///< the backend did not take all of the last poll()
};

} // namespace srd
