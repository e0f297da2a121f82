// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Remote memory access, at the initiator: what goes out, and the target's answers.
//
//   write    needs no answer: its acknowledgement says that it is placed, unless the acknowledgement also
//            counts a fault frame that has not come yet (FaultLedger)
//   read     receives as a granted message does (ReadReceive), each grant being a read frame
//   atomic   is a message that the target carries out instead of matching; one that fetches completes with
//            its result frame, whatever is acknowledged meanwhile
//
// FI_FENCE is kept here, too: a fenced operation starts when all before it are
// complete, those included that left no record (acknowledged, and no atomic held
// for its turn).
#pragma once

#include <cstddef>
#include <cstdint>

#include "operation.hpp"
#include "receive/frame_result.hpp"
#include "receive/placement.hpp"
#include "rma/target.hpp"
#include "shared.hpp"

namespace srd {

class RmaInitiator {
public:
    RmaInitiator(Shared& shared, Placement& placement, RmaTarget& target) noexcept
        : s_(shared), placement_(placement), target_(target)
    {
    }

    // -- Frames of the open packet

    FrameResult on_result(const wire::AtomicResult& frame);
    FrameResult on_failure(const wire::AccessFailure& frame);

    // -- Frames out. `record`: of the operation, no_index if it has none.

    /// True if the atomic's frame, and that of its result, fit packets with room for `capacity` bytes.
    static bool atomic_fits(const Operation& operation, std::uint64_t total, std::uint32_t capacity) noexcept;
    /// True if the write takes one frame of a packet that it may share.
    bool write_fits_frame(const Operation& operation, std::uint64_t total) const noexcept;
    /// Copies a short write into the open packet, or into packets of its own. False, with nothing changed,
    /// when there is no room, or when it needs several frames and may wait for them.
    bool frame_write(const Operation& operation, std::uint32_t record, std::uint64_t total);
    bool frame_atomic(const Operation& operation, std::uint32_t record, std::uint64_t total);
    /// The header of the piece of a write that `slot` sends from the user's memory.
    std::byte* put_piece(const TxSlot& slot, std::byte* out) const noexcept;
    /// The read at the front of the queue gets a record to receive into and asks for its first bytes. False:
    /// too many records are in use.
    bool start_read(std::uint32_t peer, std::uint32_t record);
    /// Asks for what has been granted to a ReadReceive. True when all of that is framed.
    bool frame_reads(std::uint32_t record);

    // -- Fences

    /// True if every operation to the peer is complete.
    bool quiet(std::uint32_t peer) const noexcept;
    /// May the fenced operation start?
    bool fence_open(std::uint32_t peer, std::uint32_t record) const noexcept;

private:
    static std::size_t atomic_frame_size(const Operation& operation, std::uint64_t total) noexcept;
    bool frame_write_pieces(const Operation& operation, std::uint32_t record, std::uint64_t total);
    void on_fault(const wire::AccessFailure& frame);
    void fail(TxMessage& message, const wire::AccessFailure& frame, SendQueue& queue);
    void on_denied(const wire::AccessFailure& frame);

    Shared& s_;
    Placement& placement_;
    RmaTarget& target_;
};

} // namespace srd
