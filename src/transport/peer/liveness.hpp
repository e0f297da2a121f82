// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// When a silent peer is dead.
//
// Silence for the stated time ends a connection: Tuning::peer_timeout, or
// connect_timeout for an address that has never answered. Three things change that:
//
//  - ICMP messages are hints: they may be forged, late, or speak of one path of many. Each makes us
//    ask at once: the peer for a sign of life, and the backend whether the process exists. Only if
//    that confirms it, nobody being there is a fact. Any sign of life clears all suspicion, and an
//    answer to a question that was asked before it is history.
//  - A process that is stopped, or computes without making progress, is silent too. As long as the
//    backend sees that it exists, it gets Tuning::stopped_timeout.
//  - From one that was never heard, existing is not enough: a firewall may drop all that we send. It
//    gets that time only while it says itself that it has not read what came for it.
//
// It may also be us who were stopped, with the peer's answers unread, or whose clock went ahead: so time in
// which nobody looked is no silence, and nobody is given up before a last question has gone unanswered for a
// whole interval, and before everything that has come is read.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <srd/counters.hpp>
#include <srd/limits.hpp>
#include <srd/status.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "io/core/packet_io.hpp"

namespace srd {

/// Routes whose silent peers the backend is to look for (PacketIo::probe_liveness), of all peers. A batch at
/// a time: the backend has no room for all peers' answers at once.
class LivenessQuestions {
public:
    struct Question {
        RouteId route{};
        LivenessProbe probe{};
    };

    /// False: no room; ask again when what has come is read.
    bool add(const Question& question, Time now) noexcept
    {
        const bool room = count_ == 0 ? drained_at_ > asked_at_ : count_ < questions_.size();
        if (room) {
            questions_[count_++] = question;
            asked_at_ = now;
        }
        return room;
    }
    bool take(Question& question) noexcept
    {
        if (count_ == 0) {
            return false;
        }
        question = questions_[--count_];
        return true;
    }
    bool empty() const noexcept { return count_ == 0; }

    /// Everything that had come by `now` has been handed over, notices included.
    void on_rx_drained(Time now) noexcept { drained_at_ = now; }
    Time drained_at() const noexcept { return drained_at_; }

private:
    std::array<Question, 64> questions_{};
    std::size_t count_ = 0;
    Time asked_at_{}; ///< the latest of them
    Time drained_at_{};
};

class Liveness {
public:
    /// Between two looks at a peer that owes us something.
    static constexpr Duration interval = std::chrono::milliseconds(500);
    /// Between two looks at a peer that owes nothing, and from which messages are awaited.
    static constexpr Duration sign_interval = std::chrono::seconds(5);
    /// So many of these questions unanswered, by one whose host did answer before, are a death.
    static constexpr std::uint8_t signs_missed = 3;
    /// A process that was heard and is silent for too long is asked at each so manieth look whether it reads.
    static constexpr std::uint8_t looks_per_reads = 4;
    /// It has said so often that it does, and yet nothing comes: it is cut off from us.
    static constexpr std::uint8_t reads_in_vain = 3;
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
        forget_evidence();
        waiting_since_ = now;
        heard_at_ = std::max(heard_at_, now);
        check_at_ = now + interval;
    }
    void on_established(Time now) noexcept
    {
        forget_evidence(); // that was about an earlier process at this address
        waiting_since_ = now;
    }
    /// A valid packet has come.
    void on_heard(Time now) noexcept
    {
        heard_ = true;
        is_refused_ = false;
        last_call_ = false;
        proof_wanted_ = false;
        sign_wanted_ = false;
        signs_missed_ = 0;
        overdue_looks_ = 0;
        reads_in_vain_ = 0;
        forget_evidence();
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
    /// Somebody waits for messages that the peer may or may not send. Call again every sign_interval, as long
    /// as that is so.
    void want_sign(Time now) noexcept
    {
        if (now - heard_at_ >= sign_interval) {
            sign_wanted_ = true;
            check_at_ = std::min(check_at_, now);
        }
    }
    /// How long we have waited in vain, or been silent ourselves.
    Duration silence(Time now) const noexcept { return now - std::max(heard_at_, waiting_since_); }
    /// There is more to it than a process that computes: nothing was ever heard (and it does not say itself
    /// that it has not read yet), it is not even seen to exist, or ICMP speaks of trouble.
    bool is_suspect(Time now) const noexcept
    {
        return evidence_.port_unreachable || evidence_.host_unreachable || evidence_.gone ||
               (heard_ ? !is_seen(now) || reads_in_vain_ != 0 : !(evidence_.busy_known && evidence_.is_busy));
    }
    /// Nothing has come for so long that asking is worth it.
    bool is_silent(Time now) const noexcept { return now - heard_at_ >= interval; }
    /// Something is sent, and nothing was outstanding before. What the backend did not take is no new wait
    /// when it is offered again, or one for which there never is room would be waited for, for ever.
    void on_wait_begins(Time now) noexcept
    {
        waiting_since_ = is_refused_ ? waiting_since_ : now;
        check_at_ = std::min(check_at_, now + interval);
    }

    /// The backend did not take what was sent, and nothing else is outstanding.
    void on_refused() noexcept { is_refused_ = true; }

    // -- What the backend learns. Call arm() after each.

    /// ICMP says that nobody has the address.
    void on_port_unreachable(Time now) noexcept
    {
        evidence_.port_unreachable = true;
        on_hint(now);
        believe_gone(now);
    }
    /// ICMP says that there is no way to the address (RFC 1122, 4.2.3.9: a hint, not a verdict).
    void on_host_unreachable(Time now) noexcept
    {
        evidence_.host_unreachable = true;
        on_hint(now);
    }
    /// The answer to a question that was asked at `since`. True: the peer, never heard, is not to be had.
    bool on_answer(RouteNotice::Kind kind, Time since, Time now) noexcept;

    /// Why the peer is given up, if it is.
    Cause cause(Time now) const noexcept;

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
    /// What was learned since the last sign of life.
    struct Evidence {
        bool hint : 1 = false; ///< something was heard that is to be asked about
        bool port_unreachable : 1 = false;
        bool host_unreachable : 1 = false;
        bool gone : 1 = false;       ///< the backend was told that nobody has the address
        bool is_busy : 1 = false;    ///< the process says that it has not read what came for it
        bool busy_known : 1 = false; ///< it has said so, or the contrary, since it was last asked
    };

    /// The backend has seen the process lately.
    bool is_seen(Time now) const noexcept { return alive_at_ != Time{} && now - alive_at_ <= 4 * interval; }
    void on_hint(Time now) noexcept
    {
        if (!hint_asked_) { // each question may bring another one
            evidence_.hint = true;
            check_at_ = std::min(check_at_, now);
        }
    }
    /// Both say so: somebody who forges the one cannot forge the other.
    void believe_gone(Time now) noexcept
    {
        if (evidence_.port_unreachable && evidence_.gone) {
            gone_at_ = std::min(gone_at_, now + last_words_time);
        }
    }
    void forget_evidence() noexcept
    {
        evidence_ = Evidence{};
        gone_at_ = time_never;
    }
    Time forgive_absence(Time last_pass, Time now) noexcept;
    bool may_yet_answer(Duration silence, Duration bound, Time asked_at, const Tuning& tuning,
                        Time now) const noexcept;
    Verdict look_for_sign(RouteId route, LivenessQuestions& questions, Counters& count, Time now) noexcept;

    bool heard_ = false;
    bool is_refused_ = false; ///< on_refused(), and nothing was heard since
    bool proof_wanted_ = false;
    bool sign_wanted_ = false;
    bool hint_asked_ = false; ///< a hint has caused a question, and the next look is still to come
    std::uint8_t signs_missed_ = 0;
    std::uint8_t overdue_looks_ = 0; ///< since it was heard last, after the bound
    std::uint8_t reads_in_vain_ = 0; ///< answers in turn that it reads, since then
    bool last_call_ = false;         ///< silent for too long; one last question is out
    Evidence evidence_;
    Time heard_at_{};            ///< last valid packet
    Time waiting_since_{};       ///< since when something is outstanding without a sign of life
    Time alive_at_{};            ///< last evidence that the process exists
    Time check_at_ = time_never; ///< next look
    Time gone_at_ = time_never;  ///< the news that the process is gone counts from then on
};

} // namespace srd
