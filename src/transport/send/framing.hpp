// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What is to be said becomes frames in packets.
//
// A short message is copied into the peer's open packet at once, next to others
// (coalescing). A longer one waits on SendQueue and is framed when its packets
// can be sent; its payload stays in the user's memory. Beyond Tuning::eager_size
// it asks, and the payload waits for the receiver's grants: all of it behind a
// request frame or, where nothing else is under way to the peer, what is behind
// its first bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "operation.hpp"
#include "receive/placement.hpp"
#include "rma/initiator.hpp"
#include "rma/target.hpp"
#include "shared.hpp"

namespace srd {

class Framing {
public:
    Framing(Shared& shared, Placement& placement, RmaInitiator& initiator, RmaTarget& target) noexcept
        : s_(shared), placement_(placement), initiator_(initiator), target_(target)
    {
    }

    /// Copies a short operation into packets now. False, with nothing changed, when there is no room.
    bool frame_now(const Operation& operation, std::uint32_t record, std::uint64_t total);
    /// Frames one packet's worth of what waits: answers, then operations in order, then granted data. False
    /// when nothing waits or nothing fits.
    bool frame_next(std::uint32_t peer);
    /// Bytes of the longest message that goes to the peer without asking, as things are.
    std::uint64_t eager_limit(const Peer& peer) const noexcept;
    /// Bytes with which a longer message begins that asks the peer; 0: they are not sent before it grants.
    std::uint32_t unscheduled(const Peer& peer, const TxMessage& message) const noexcept;
    /// The next packet of the oldest waiting operation, if there is room for two.
    bool frame_queued(std::uint32_t peer);
    /// Puts owed grants, answers and delivered frames into packets of their own.
    bool frame_control(std::uint32_t peer);
    /// Bytes of the packet without an acknowledgement; of one that is generated perhaps fewer.
    std::uint32_t packet_size(const TxSlot& slot) const noexcept;
    /// Writes the header of the frame that `slot`, which is generated, sends from the user's memory; all of
    /// it if the bytes are named.
    std::byte* put_piece(const TxSlot& slot, std::byte* out) const noexcept;

private:
    bool frame_message(const Operation& operation, std::uint32_t record, std::uint64_t total);
    bool frame_parts(const Operation& operation, std::uint32_t record, std::uint64_t total);
    bool frame_request(std::uint32_t peer, std::uint32_t record);
    bool frame_piece(std::uint32_t peer, std::uint32_t record, std::uint64_t limit);
    bool frame_record(std::uint32_t peer, std::uint32_t record);
    std::uint32_t piece_size(const Peer& peer, const TxMessage& message) const noexcept;
    bool has_room_at_once(const Peer& peer, std::uint64_t bytes) const noexcept;
    bool is_read_by(const Peer& peer, const TxMessage& message) const noexcept;
    std::byte* put_data(const TxSlot& slot, const TxMessage& message, std::byte* out) const noexcept;

    Shared& s_;
    Placement& placement_;
    RmaInitiator& initiator_;
    RmaTarget& target_;
};

} // namespace srd
