// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Remote memory access, at the target.
//
// A write is placed when it arrives; a read is served from memory as the peer
// takes it; an atomic is a message that is carried out instead of matched. What
// an access names is judged by the layer above, which answers every event with
// place() and confirm(), serve(), or reject().
//
// Answers that are owed (a fetched result, a denial, a fault) are records on
// Receiver's control list until a packet takes them: that packet is repeated
// until it is acknowledged, so a result is never lost. A fault is counted when it
// comes to be owed, before the acknowledgement of its packet is made.
//
// A packet with accesses is taken as a whole or not at all: before the first of
// them is acted upon there must be a record for every answer it may need.
#pragma once

#include <cstdint>
#include <span>

#include <sys/uio.h>

#include <srd/status.hpp>

#include "operation.hpp"
#include "receive/frame_result.hpp"
#include "receive/placement.hpp"
#include "shared.hpp"

namespace srd {

class RmaTarget {
public:
    RmaTarget(Shared& shared, Placement& placement) noexcept : s_(shared), placement_(placement) {}

    // -- Frames of the open packet

    FrameResult on_write(const wire::WritePiece& frame, Event& event);
    FrameResult on_read(const wire::ReadFrame& frame, Event& event);
    FrameResult on_atomic(const wire::AtomicRequest& frame, Event& event);
    /// Before the first write, read or fault frame of a packet is acted upon. FrameResult::refuse: no room,
    /// or the peer has its share. `goes_on`: a write whose earlier pieces were taken, which must come to its
    /// end.
    FrameResult open_access(bool goes_on);
    /// Announces a held atomic whose turn has come.
    void announce_held(std::uint32_t record, Event& event);

    // -- Answers to the events (Engine has their contract)

    bool place(std::span<const iovec> memory, DeviceId device);
    void confirm();
    void serve(std::span<const iovec> memory, DeviceId device, std::uint64_t key, bool tell,
               std::uint64_t cookie);
    void reject(Cause cause);
    void revoke(std::uint64_t key) noexcept;

    // -- Frames out

    /// Writes the frame of an Answer into the peer's open packet; the record is done with. False: no room.
    bool frame_answer(std::uint32_t record);

private:
    void announce_atomic(std::uint32_t peer, std::uint32_t record, const wire::AtomicFrame& frame,
                         const std::byte* body, Event& event);
    DevicePlacement::Result place_on_device(std::span<const iovec> memory, DeviceId device);
    void finish_write_piece(Cause cause);

    Shared& s_;
    Placement& placement_;
};

} // namespace srd
