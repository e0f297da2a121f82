// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// SimLocalRoad: memory between simulated hosts that are taken to be processes of one host. It does all that
// such a road may legally do: it is full, and it closes and opens in the middle of a conversation.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "io/core/local_road.hpp"
#include <srd/time.hpp>

#include "support/sim/sim_random.hpp"

namespace srd::sim {

class SimNetwork;
class SimIo;

class SimLocalRoad final : public LocalRoad {
public:
    SimLocalRoad(SimNetwork& network, SimIo& io, std::uint64_t seed);

    Sent send(RouteId route, const LocalMessage& message, std::span<const iovec> payload,
              std::uint32_t length) noexcept override;
    std::uint32_t taken(RouteId route, std::uint32_t connection, std::uint32_t next) noexcept override;
    std::size_t stalled(std::span<RouteId> routes) noexcept override;
    bool all_taken() noexcept override;
    bool any() const noexcept override { return !found_.empty(); }
    const Arrived* front() noexcept override;
    void pop() noexcept override;
    void reject() noexcept override;
    void pass_over() noexcept override
    {
        found_.pop_back();
        passed_over_ = true;
    }
    bool any_passed_over() const noexcept override { return passed_over_; }

    /// Finds what has come by `now`.
    void look(Time now);
    /// When something comes that is not here yet; time_never if nothing does.
    Time next_due() const;

private:
    struct Item {
        LocalMessage message;
        std::vector<std::byte> bytes;
        Time due{};
        bool was_seen = false; ///< by front()
    };
    struct Writing {
        std::uint32_t connection = 0; ///< of the last message
        std::uint32_t next = 0;       ///< the first message of it that was not taken
        bool any_taken = false;
        std::uint32_t rejected = 0; ///< connection
        std::size_t waiting = 0;    ///< when stalled() looked
    };
    static constexpr std::size_t capacity = 8;

    /// Of that host; null: it does not live.
    SimLocalRoad* road_of(std::uint32_t host) const;
    void on_rejected(std::uint32_t by, std::uint32_t connection) { written_[by].rejected = connection; }
    void on_taken(std::uint32_t by, const LocalMessage& message);
    std::size_t waiting_from(std::uint32_t host) const;

    SimNetwork& network_;
    SimIo& io_;
    SimRandom random_;
    std::map<std::uint32_t, std::deque<Item>> arrived_; ///< by sender
    std::map<std::uint32_t, Writing> written_;          ///< by receiver
    std::vector<std::uint32_t> found_;                  ///< senders with messages to take
    bool passed_over_ = false;
    Arrived front_;
};

} // namespace srd::sim
