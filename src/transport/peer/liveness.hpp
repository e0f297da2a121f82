// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// When a silent peer is dead.
//
// Only silence for the stated time ends a connection (Tuning::peer_timeout, or
// connect_timeout for an address that never answered); what routers and the
// system say is a hint. A process that is stopped, or computes without making
// progress, is silent too: as long as the backend sees that it exists, it gets
// Tuning::stopped_timeout. It may also be us who were stopped, with the peer's
// answers unread: so nobody is given up before a last question has gone
// unanswered for a whole interval, and before everything that has come is read.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <srd/counters.hpp>
#include <srd/limits.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

namespace srd {

/// Routes whose silent peers the backend is to look for (PacketIo::probe_liveness), of all peers. A batch at
/// a time: the backend has no room for all peers' answers at once.
class LivenessQuestions {
public:
    /// False: no room; ask again when what has come is read.
    bool add(RouteId route, Time now) noexcept
    {
        const bool room = count_ == 0 ? drained_at_ > asked_at_ : count_ < routes_.size();
        if (room) {
            routes_[count_++] = route;
            asked_at_ = now;
        }
        return room;
    }
    bool take(RouteId& route) noexcept
    {
        if (count_ == 0) {
            return false;
        }
        route = routes_[--count_];
        return true;
    }
    bool empty() const noexcept { return count_ == 0; }

    /// Everything that had come by `now` has been handed over, notices included.
    void on_rx_drained(Time now) noexcept { drained_at_ = now; }
    Time drained_at() const noexcept { return drained_at_; }

private:
    std::array<RouteId, 64> routes_{};
    std::size_t count_ = 0;
    Time asked_at_{}; ///< the latest of them
    Time drained_at_{};
};

class Liveness {
public:
    /// Between two looks at a peer that owes us something.
    static constexpr Duration interval = std::chrono::milliseconds(500);
    /// How long packets of a process may come after the news that it is gone: another processor or another
    /// path delivers them.
    static constexpr Duration last_words_time = std::chrono::milliseconds(5);

    Liveness() noexcept = default;
    explicit Liveness(Time now) noexcept : heard_at_(now) {}

    /// Anything has ever come from this incarnation.
    bool heard() const noexcept { return heard_; }
    Time heard_at() const noexcept { return heard_at_; } ///< the last valid packet came

    /// We begin to introduce ourselves.
    void on_greeting(Time now) noexcept
    {
        gone_at_ = time_never;
        waiting_since_ = now;
        heard_at_ = std::max(heard_at_, now);
        check_at_ = now + interval;
    }
    void on_established(Time now) noexcept
    {
        gone_at_ = time_never; // that was about an earlier process at this address
        waiting_since_ = now;
    }
    /// A valid packet has come.
    void on_heard(Time now) noexcept
    {
        heard_ = true;
        last_call_ = false;
        proof_wanted_ = false;
        heard_at_ = now;
        waiting_since_ = now;
        check_at_ = now + interval;
    }
    /// The peer's record is wanted for another one: it is to prove that it is there, although it owes
    /// nothing.
    void demand_proof(Time now) noexcept
    {
        if (!proof_wanted_) {
            proof_wanted_ = true;
            on_wait_begins(now);
        }
    }
    /// Nothing has come for so long that asking is worth it.
    bool is_silent(Time now) const noexcept { return now - heard_at_ >= interval; }
    /// Something is sent, and nothing was outstanding before.
    void on_wait_begins(Time now) noexcept
    {
        waiting_since_ = now;
        check_at_ = std::min(check_at_, now + interval);
    }

    /// The backend has seen that the process exists.
    void on_process_alive(Time now) noexcept { alive_at_ = now; }
    /// The system says that nobody has the address.
    void on_process_gone(Time now) noexcept { gone_at_ = std::min(gone_at_, now + last_words_time); }
    /// Does a router's "unreachable" count? It may speak of one path while the others work (RFC 1122,
    /// 4.2.3.9: a hint, not a verdict).
    bool believes_unreachable(const Tuning& tuning, Time now) const noexcept
    {
        return !heard_ || now - std::max({heard_at_, waiting_since_, alive_at_}) >= tuning.peer_timeout;
    }

    Time next_timeout() const noexcept { return std::min(check_at_, gone_at_); }
    bool check_due(Time now) const noexcept { return check_at_ <= now; }
    /// The news that the process is gone counts now. True once.
    bool take_gone(Time now) noexcept
    {
        if (gone_at_ > now) {
            return false;
        }
        gone_at_ = time_never;
        return true;
    }

    enum class Verdict : std::uint8_t {
        wait,
        ask, ///< a question (hello) is to be sent
        dead,
    };
    /// Looks at the peer when next_timeout() has come. `unanswered`: packets or an introduction are out;
    /// `owed`: nothing is in flight, but a grant or a delivery is awaited, which only a living peer can send.
    Verdict check(bool unanswered, bool owed, RouteId route, LivenessQuestions& questions,
                  const Tuning& tuning, Counters& count, Time now) noexcept;

private:
    bool heard_ = false;
    bool proof_wanted_ = false;
    bool last_call_ = false;     ///< silent for too long; one last question is out
    Time heard_at_{};            ///< last valid packet
    Time waiting_since_{};       ///< since when something is outstanding without a sign of life
    Time alive_at_{};            ///< last evidence that the process exists
    Time check_at_ = time_never; ///< next look
    Time gone_at_ = time_never;  ///< the news that the process is gone counts from then on
};

} // namespace srd
