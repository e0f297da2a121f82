// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which ways lead to peers that have several addresses, as we have: what they tell of their addresses, what
// their questions and answers mean (Rails has the law).
#pragma once

#include <cstdint>

#include <srd/time.hpp>

#include "operation.hpp"
#include "receive/frame_result.hpp"
#include "shared.hpp"

namespace srd {

class RailSearch {
public:
    explicit RailSearch(Shared& shared) noexcept : s_(shared) {}

    /// A question or an answer, of the open packet.
    FrameResult on_rails(const wire::RailsWord& word, Event& event, Time now);
    /// Answers Event::rails: with `count` addresses of the peer, packets can be sent on the ways `askable`.
    void told(std::uint32_t peer, std::uint8_t count, std::uint16_t askable, Time now);
    /// The peer's timer has come.
    void on_timeout(std::uint32_t peer, Time now);

private:
    Shared& s_;
};

} // namespace srd
