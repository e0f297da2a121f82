// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The sequenced packets of one connection that the peer has not acknowledged.
//
//     una()                                             next()
//      ├── in flight, lost or already acknowledged ──┬─ ready ─┬─ open ┤
//
// Laws:
//  - psns are given in the order in which packets are begun, and none is given twice;
//  - every unacknowledged packet is on exactly one of the lists ready, in flight and lost,
//    or is the open one, to which small frames are still added;
//  - the list of those in flight is in the order of their latest transmission;
//  - at most packet_window packets lie between una() and next(), which is what the
//    receiver's bitmap remembers.
//
// Not decided here: when a packet may go (CongestionWindow), whether it is lost
// (Recovery), and which path it takes (PathChoice).
// Ownership: slots are the pool's; a slot that release() returns is the caller's to finish.
#pragma once

#include <cstddef>
#include <cstdint>

#include <srd/intrusive_list.hpp>
#include <srd/time.hpp>

#include "send/packet_pool.hpp"

namespace srd {

class PacketWindow {
public:
    explicit PacketWindow(std::uint32_t first_psn = 0) noexcept
        : next_(first_psn), una_(first_psn), operations_end_(first_psn)
    {
    }

    std::uint32_t next() const noexcept { return next_; } ///< psn of the next new packet
    std::uint32_t una() const noexcept { return una_; }   ///< lowest psn not acknowledged
    bool empty() const noexcept { return una_ == next_; }
    /// The first psn after all packets with operations of ours in them (answers do not count).
    std::uint32_t operations_end() const noexcept { return operations_end_; }
    /// True while a packet before psn `end` may still be unacknowledged.
    bool outstanding_before(std::uint32_t end) const noexcept { return end - 1 - una_ < next_ - una_; }

    std::uint32_t bytes_in_flight() const noexcept { return bytes_in_flight_; }
    bool any_in_flight() const noexcept { return !in_flight_.empty(); }
    std::uint32_t oldest_in_flight() const noexcept { return in_flight_.front(); }
    std::uint32_t newest_in_flight() const noexcept { return in_flight_.back(); }
    static std::uint32_t next_in_flight(const PacketPool& pool, std::uint32_t slot) noexcept
    {
        return List::next(pool.slots_, slot);
    }
    std::uint32_t first_lost() const noexcept { return lost_.front(); }
    std::uint32_t first_ready() const noexcept { return ready_.front(); }
    std::uint32_t last_ready() const noexcept { return ready_.back(); }
    std::uint32_t open_slot() const noexcept { return open_; }
    bool any_lost() const noexcept { return !lost_.empty(); }
    bool any_ready() const noexcept { return !ready_.empty(); }
    bool any_outstanding() const noexcept { return any_in_flight() || any_lost(); }
    bool anything_to_send() const noexcept { return any_lost() || any_ready() || open_ != no_index; }

    /// True if `packets` more may be begun: by the peer's window and by the pool.
    bool has_room(const PacketPool& pool, std::uint32_t packets) const noexcept
    {
        return within_window(packets) && pool.has_room(packets) &&
               (map_ != no_index || pool.map_indices_.in_use() != pool.map_indices_.capacity());
    }
    bool within_window(std::uint32_t packets) const noexcept
    {
        return next_ - una_ + packets <= packet_window;
    }

    /// `bytes` (at most `capacity`) of frame memory in the open packet, or in a new one; nullptr, with
    /// nothing changed, when there is no room. `capacity`: of the peer's packets, at most chunk_size.
    std::byte* frame_space(PacketPool& pool, std::uint32_t peer, std::size_t bytes, std::size_t capacity,
                           wire::Contents contents) noexcept;
    /// A packet with `length` bytes of `message` from `offset` on, or the names of their places, generated
    /// when it is sent. has_room(1).
    void add_piece(PacketPool& pool, std::uint32_t peer, std::uint32_t message, std::uint64_t offset,
                   std::uint32_t length, bool is_operation, bool named = false) noexcept;
    /// Nothing more is added to the open packet.
    void close_open(PacketPool& pool) noexcept;
    /// The last packet on the ready list goes before all others there.
    void hasten_last(PacketPool& pool) noexcept;

    /// The packet, ready or lost, is handed to the backend.
    void sent(PacketPool& pool, std::uint32_t slot, Time now) noexcept;
    /// The backend did not take it after all; call in reverse order of sent().
    void unsent(PacketPool& pool, std::uint32_t slot) noexcept;
    /// The packet, in flight, is to be sent again: next (`first`), or after what is lost already.
    void lose(PacketPool& pool, std::uint32_t slot, TxSlot::Repair repair, bool first) noexcept;
    /// All that was sent is sent again: control packets first, then by psn, since the receiver's next message
    /// is in the oldest packet and anything else it can only refuse again.
    void resend_all(PacketPool& pool, TxSlot::Repair repair) noexcept;

    /// The unacknowledged packet with that psn, if it has been sent; no_index otherwise. una() <= psn <
    /// next().
    std::uint32_t find_sent(const PacketPool& pool, std::uint32_t psn) const noexcept;
    /// The packet is acknowledged: it leaves the window and is the caller's to finish and to give back.
    /// no_index: it was released before, or never sent (a forged acknowledgement).
    std::uint32_t release(PacketPool& pool, std::uint32_t psn) noexcept;
    /// After release(): moves una() past what is acknowledged.
    void advance(PacketPool& pool) noexcept;

    /// The connection ends: every packet leaves the window and is handed to `finish(slot)`.
    template <typename Finish>
    void abandon(PacketPool& pool, Finish&& finish)
    {
        close_open(pool);
        for (List* list : {&ready_, &in_flight_, &lost_}) {
            for (std::uint32_t at = list->pop_front(pool.slots_); at != no_index;
                 at = list->pop_front(pool.slots_)) {
                finish(at);
            }
        }
        give_map_back(pool);
        bytes_in_flight_ = 0;
        una_ = next_;
    }

    /// Aborts if a law of this class is broken. `peer`: whose window it is.
    void check(const PacketPool& pool, std::uint32_t peer) const;

private:
    using List = IndexList<&TxSlot::link_>;

    std::uint32_t begin(PacketPool& pool, std::uint32_t peer) noexcept;
    void give_map_back(PacketPool& pool) noexcept;

    std::uint32_t next_;
    std::uint32_t una_;
    std::uint32_t operations_end_;
    std::uint32_t map_ = no_index; ///< of the pool's PsnMaps; taken while anything is unacknowledged
    std::uint32_t open_ = no_index;
    std::uint32_t bytes_in_flight_ = 0;
    List ready_;
    List in_flight_;
    List lost_;
};

} // namespace srd
