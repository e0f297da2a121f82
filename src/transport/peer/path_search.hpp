// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How large a packet goes to a peer: what its probes and answers, and their
// absence, mean for the peer and for what is under way (PathMtu has the law).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <srd/time.hpp>

#include "operation.hpp"
#include "receive/frame_result.hpp"
#include "shared.hpp"

namespace srd {

class PathSearch {
public:
    explicit PathSearch(Shared& shared) noexcept : s_(shared) {}

    /// A probe, or the answer to one, of the open packet.
    FrameResult on_probe(const wire::MtuProbeFrame& frame, Time now);
    /// The peer's timer has come.
    void on_timeout(std::uint32_t peer, Time now);

    bool any_event() const noexcept { return finding_count_ != 0; }
    bool poll_event(Event& event) noexcept;

private:
    void take_note(std::uint32_t peer) noexcept;

    Shared& s_;
    std::array<std::uint32_t, 16> findings_{}; ///< peers; more at one time are not told of
    std::size_t finding_count_ = 0;
};

} // namespace srd
