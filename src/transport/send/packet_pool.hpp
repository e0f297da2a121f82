// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Sequenced packets and their memory, shared by all peers. Which packet is in
// which state is the law of PacketWindow, one per connection; only it writes
// the private members here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <srd/intrusive_list.hpp>
#include <srd/lazy_array.hpp>
#include <srd/limits.hpp>
#include <srd/slab.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "wire/frames.hpp"

namespace srd {

/// Frames of small messages are gathered in chunks of this size. Reason: the
/// longest inject with its frame header and optional fields fits one.
inline constexpr std::uint32_t chunk_size = 4608;
static_assert(chunk_size >= max_inject_size + sizeof(wire::PartFrame) + sizeof(wire::MessageData) +
                                sizeof(wire::MessageHandle));

/// One sequenced packet, from the first frame put into it until it is
/// acknowledged. Its frames never change, so a retransmission is the same packet
/// under the same psn.
///
/// Not kept: the header and the acknowledgement block, which are made anew for
/// every transmission.
class TxSlot {
public:
    enum class State : std::uint8_t { open, ready, in_flight, lost };
    enum class Repair : std::uint8_t { none, rack, probe, timeout, refused, mtu };

    State state() const noexcept { return state_; }
    std::uint32_t psn() const noexcept { return psn_; }
    Time sent_at() const noexcept { return sent_at_; } ///< of the latest transmission
    Repair repair() const noexcept { return repair_; } ///< why it is sent again
    std::uint8_t attempt() const noexcept { return attempt_; }
    bool is_generated() const noexcept { return piece && chunk == no_index; }
    /// Bytes that count against the congestion window.
    std::uint32_t wire_bytes() const noexcept
    {
        return (named ? wire::max_named_frame : length) +
               static_cast<std::uint32_t>(sizeof(wire::PacketHeader));
    }

    std::uint64_t offset = 0; ///< generated: where in the message the payload starts
    std::uint32_t peer = no_index;
    std::uint32_t length = 0;       ///< bytes of frames and payload, without header and acknowledgement block
    std::uint32_t chunk = no_index; ///< the memory that holds the frames; no_index: generated
    std::uint32_t message = no_index; ///< piece: its message; else the head of the messages complete in this
                                      ///< packet, chained by TxMessage::queue
    PathId path{};                    ///< of the latest transmission
    bool piece = false;   ///< one frame with a piece of `message`; without a chunk it is generated from the
                          ///< message whenever it is sent, and its payload is in the user's memory
    bool named = false;   ///< generated: it only says where the payload is, and its receiver reads it there
    bool control = false; ///< grants and delivered frames only: goes out even while the peer refuses messages
    bool in_train =
        false; ///< sent behind another one on the same path, in one batch with it if there are any
    wire::Contents contents = wire::Contents::neutral;
    std::uint8_t rma_frames = 0;

private:
    friend class PacketWindow;

    Link link_; ///< on the window's ready, in_flight or lost list
    Time sent_at_{};
    std::uint32_t psn_ = 0;
    std::uint8_t attempt_ = 0;
    State state_ = State::open;
    Repair repair_ = Repair::none;
};
static_assert(sizeof(TxSlot) <= 64);

/// psn → slot, for the packets in flight to one peer. Every entry is empty when a map is taken, and its
/// user leaves it so: clearing 4 KiB for each single packet would cost more than the packet.
class PsnMap {
public:
    std::uint32_t at(std::uint32_t psn) const noexcept { return entries_[psn % packet_window] - 1; }
    void set(std::uint32_t psn, std::uint32_t slot) noexcept { entries_[psn % packet_window] = slot + 1; }
    void clear(std::uint32_t psn) noexcept { entries_[psn % packet_window] = 0; }

private:
    std::array<std::uint32_t, packet_window> entries_; ///< slot + 1, 0: acknowledged or never used
};

class PacketPool {
public:
    /// `packets` in flight over all peers, to at most `peers` of them at one time.
    PacketPool(std::uint32_t packets, std::uint32_t peers)
        : slots_(packets),
          chunks_(chunk_size, packets), // a chunk per slot: every packet may carry small messages
          map_indices_(std::min(packets, peers)), maps_(std::min(packets, peers))
    {
    }

    TxSlot& operator[](std::uint32_t slot) noexcept { return slots_[slot]; }
    const TxSlot& operator[](std::uint32_t slot) const noexcept { return slots_[slot]; }

    bool has_room(std::uint32_t packets) const noexcept
    {
        return slots_.in_use() + packets <= slots_.capacity();
    }
    std::uint32_t in_use() const noexcept { return slots_.in_use(); }
    /// Peers with packets that are not acknowledged.
    std::uint32_t peers_in_use() const noexcept { return map_indices_.in_use(); }

    std::byte* chunk(std::uint32_t index) noexcept { return chunks_.data(index); }
    /// The frames of a packet; none if it is generated.
    std::span<const std::byte> frames(std::uint32_t slot) const noexcept
    {
        const TxSlot& packet = slots_[slot];
        return packet.chunk == no_index ? std::span<const std::byte>{}
                                        : std::span(chunks_.data(packet.chunk), packet.length);
    }

    /// The packet's memory is free. It must be on no list of its window any more.
    void release(std::uint32_t slot) noexcept
    {
        if (slots_[slot].chunk != no_index) {
            chunks_.release(slots_[slot].chunk);
        }
        slots_.release(slot);
    }

private:
    friend class PacketWindow;

    Slab<TxSlot> slots_;
    ByteSlab chunks_;
    IndexPool map_indices_;
    LazyArray<PsnMap> maps_;
};

} // namespace srd
