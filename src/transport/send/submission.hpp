// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Operations on their way in: checks, records, and whether they go out at once;
// and the frames with which a receiver governs a message that it was asked about.
#pragma once

#include <cstdint>

#include <srd/status.hpp>
#include <srd/time.hpp>

#include "operation.hpp"
#include "peer/lifecycle.hpp"
#include "receive/frame_result.hpp"
#include "rma/initiator.hpp"
#include "send/framing.hpp"
#include "shared.hpp"

namespace srd {

class Submission {
public:
    Submission(Shared& shared, Framing& framing, RmaInitiator& initiator, PeerLifecycle& lifecycle) noexcept
        : s_(shared), framing_(framing), initiator_(initiator), lifecycle_(lifecycle)
    {
    }

    /// Engine::submit has the contract.
    Status submit(const Operation& operation, Time now);

    /// The last submissions should go out now rather than with the next pass.
    bool transmit_due() const noexcept { return transmit_due_; }
    void on_transmit() noexcept { transmit_due_ = false; }

    // -- Frames of the open packet

    FrameResult on_grant(const wire::GrantFrame& frame);
    FrameResult on_delivered(const wire::DeliveredFrame& frame);

private:
    bool is_valid(const Operation& operation, std::uint64_t total) const noexcept;
    bool is_worth_buffering(const Operation& operation, std::uint64_t total) const noexcept;
    std::uint32_t new_record(const Operation& operation, std::uint64_t total) noexcept;
    void wait(const Operation& operation, std::uint32_t record, std::uint64_t total);
    void count_operation(OperationKind kind, std::uint64_t total) noexcept;
    void launch(std::uint32_t peer, bool framed, Time now);

    Shared& s_;
    Framing& framing_;
    RmaInitiator& initiator_;
    PeerLifecycle& lifecycle_;
    bool transmit_due_ = false;
};

} // namespace srd
