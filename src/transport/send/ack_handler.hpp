// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What acknowledgements and their absence mean for what was sent. Processing has
// a fixed order, because each step reads what the ones before it have settled:
//
//   stale → unsent → release → round trip → paths → congestion → loss → receiver-not-ready → turn and timer
#pragma once

#include <cstdint>

#include <srd/time.hpp>

#include "cc/congestion.hpp"
#include "lb/path_selector.hpp"
#include "shared.hpp"
#include "wire/layout.hpp"

namespace srd {

class AckHandler {
public:
    explicit AckHandler(Shared& shared) noexcept : s_(shared) {}

    /// `marks`: of no packet if the block has none. `words`: block.words bitmap words. `arrived`: the
    /// packet's arrival.
    void on_ack(std::uint32_t peer, const wire::AckBlock& block, const wire::MarkBlock& marks,
                const std::byte* words, Time arrived, Time now);

    enum class Due : std::uint8_t { nothing, give_up };
    /// The peer's timer has come: receiver-not-ready, losses, probes, pacing. give_up: it has refused our
    /// messages for too long, and nothing was done.
    Due on_timeout(std::uint32_t peer, Time now);

private:
    /// A block, what it says of marks, and what it tells us.
    struct Told {
        const wire::AckBlock& block;
        std::uint32_t marks_first;
        std::uint64_t marks;
        Time oldest = time_never; ///< sending of the oldest packet that it acknowledges

        bool marked(std::uint32_t psn) const noexcept
        {
            return marks != 0 && psn - marks_first < 64 && (marks >> (psn - marks_first) & 1) != 0;
        }
    };

    AckSample sample_of(const Connection& connection, const Told& told, Time arrived,
                        Time now) const noexcept;
    void release_block(std::uint32_t index, Told& told, const std::byte* words, AckSample& sample);
    void release(std::uint32_t index, std::uint32_t psn, Told& told, AckSample& sample);
    void on_lost_way(std::uint32_t index, PathId path, Time now);
    void on_lost_path(std::uint32_t peer, PathId path, Time now);
    void detect_losses(std::uint32_t peer, Time now);
    void resend_all(std::uint32_t peer);

    Shared& s_;
};

} // namespace srd
