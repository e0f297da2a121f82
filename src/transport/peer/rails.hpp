// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which ways there are to a peer, when both have several addresses: from each of ours to each of its,
// numbered as TxPacket::way has it. A path is one of a way: path mod the number of ways.
//
//     begin() ──► the peer's addresses are asked for ──told()──► each way is asked about, in turn
//
// Laws:
//  - nothing but a question takes a way before an answer has shown that one gets there (on_answer()): the
//    peer's addresses are its word, and whoever lives there may never have heard of us;
//  - the first way, between the addresses that the two have met with, needs no answer;
//  - a way that was shown stays one of those that packets take: when it fails, its paths fail, which is the
//    business of those who choose paths;
//  - ways that do not answer are asked about again, after longer and longer times, but not while the peer is
//    idle. Where both have one address, nothing of this happens.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include <srd/check.hpp>
#include <srd/limits.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "lb/path_selector.hpp"

namespace srd {

class Rails {
public:
    /// Between two questions.
    static constexpr Duration pace = std::chrono::milliseconds(1);
    /// Between two rounds of questions, at first; it doubles.
    static constexpr Duration pause_first = std::chrono::milliseconds(8);
    static constexpr unsigned max_doublings = 10;
    /// The same where a way was open before, and may be so again.
    static constexpr unsigned max_doublings_again = 5;

    /// The peer is met, and has several addresses, too.
    void begin(Time now) noexcept
    {
        askable_ = 1;
        ask_at(now);
    }
    /// It has told its addresses: `ours` and `its` of them. Packets can be sent on the ways `askable`.
    void told(std::uint8_t ours, std::uint8_t its, std::uint16_t askable, Time now) noexcept
    {
        SRD_DCHECK(ours != 0 && its != 0 && ours * its <= 16 && (askable & 1) != 0);
        ours_ = ours;
        ways_ = static_cast<std::uint8_t>(ours * its);
        askable_ = askable;
        open_ = 1;
        next_ = rounds_ = 0;
        was_open_ = false;
        ask_at(now);
    }
    bool is_told() const noexcept { return ways_ != 0; }

    /// The way that packets on a path take.
    std::uint8_t way_of(PathId path) const noexcept
    {
        return ways_ > 1 ? static_cast<std::uint8_t>(index_of(path) % ways_) : std::uint8_t{0};
    }
    /// One of `paths` paths of the way, by chance.
    PathId path_to(std::uint8_t way, std::uint32_t paths, std::uint64_t chance) const noexcept
    {
        const std::uint64_t of_it = paths_to(way) & all_paths(paths);
        return of_it != 0 ? path_by_chance(of_it, chance) : PathId{way};
    }
    /// The paths on the way back from where packets come to us that bear the peer's path `path`. 0: nothing
    /// is known of that.
    std::uint64_t paths_back(std::uint8_t path) const noexcept
    {
        if (ways_ <= 1) {
            return 0;
        }
        const unsigned its = ways_ / ours_;
        const unsigned theirs = path % ways_; // as it numbers them
        return paths_to(theirs / its + ours_ * (theirs % its));
    }
    /// There is a choice of ways.
    bool several() const noexcept { return (open_ & (open_ - 1)) != 0; }
    std::uint16_t open() const noexcept { return open_; }
    unsigned ways() const noexcept { return ways_; }
    /// So many packets can be on the wire at the same time: no more than either side has interfaces.
    unsigned lanes() const noexcept { return std::max(1U, std::min<unsigned>(ours_, ways_ / ours_)); }
    /// The paths of the way, of as many as there can be: a bit for each.
    std::uint64_t paths_to(unsigned way) const noexcept
    {
        return OpenPaths::paths_to(std::max<unsigned>(ways_, 1), static_cast<std::uint16_t>(1U << way));
    }

    // -- Questions and answers

    bool any_due() const noexcept { return due_ || owes_; }
    /// The way that is asked about now, if any.
    std::optional<std::uint8_t> take(Time now) noexcept
    {
        if (!due_) {
            return std::nullopt;
        }
        due_ = false;
        std::optional<std::uint8_t> way;
        if (left() != 0) { // else it was answered a moment ago
            way = static_cast<std::uint8_t>(std::countr_zero(left()));
            next_ = static_cast<std::uint8_t>(*way + 1U);
        }
        if (left() != 0) {
            timer_at_ = now + pace;
        } else {
            next_ = 0;
            timer_at_ = left() != 0 ? now + pause_first * (1U << rounds_) : time_never;
            if (rounds_ < (was_open_ ? max_doublings_again : max_doublings)) {
                ++rounds_;
            }
        }
        return way;
    }
    /// True: a way is open from now on.
    bool on_answer(std::uint8_t way) noexcept
    {
        const auto bit = static_cast<std::uint16_t>(1U << way);
        if (!is_told() || (askable_ & bit) == 0 || (open_ & bit) != 0) {
            return false;
        }
        open_ |= bit;
        return true;
    }
    /// Nothing gets through on the way any more: it is asked about until something does. False: it is the
    /// last one.
    bool close(std::uint8_t way, Time now) noexcept
    {
        const auto bit = static_cast<std::uint16_t>(1U << way);
        if ((open_ & bit) == 0 || open_ == bit) {
            return false;
        }
        open_ = static_cast<std::uint16_t>(open_ & ~bit);
        next_ = rounds_ = 0;
        was_open_ = true;
        ask_at(now + pause_first);
        return true;
    }
    /// Questions of the peer are to be answered (OwedRails), or not any more.
    void set_owes(bool owes) noexcept { owes_ = owes; }
    bool owes() const noexcept { return owes_; }

    // -- Time

    Time next_timeout() const noexcept { return timer_at_; }
    /// `busy`: something is to come from the peer.
    void on_timeout(bool busy, Time now) noexcept
    {
        if (now < timer_at_) {
            return;
        }
        timer_at_ = time_never;
        parked_ = left() != 0 && !busy && next_ == 0 && rounds_ != 0;
        due_ = left() != 0 && !parked_;
    }
    /// Something is sent to a peer that had answered everything, or it is one of the ways that it asks about.
    void on_traffic(Time now) noexcept
    {
        if (parked_) {
            ask_at(now);
        }
    }

private:
    void ask_at(Time now) noexcept
    {
        parked_ = due_ = false;
        timer_at_ = now;
    }
    /// To be asked about in this round.
    std::uint32_t left() const noexcept { return (askable_ & ~open_ & 0xffffU) >> next_ << next_; }

    Time timer_at_ = time_never;
    std::uint16_t askable_ = 0; ///< ways that packets can be sent on
    std::uint16_t open_ = 0;    ///< of those, the ones that were shown to get there
    std::uint8_t ways_ = 0;     ///< 0: the peer's addresses are not known
    std::uint8_t ours_ = 1;
    std::uint8_t next_ = 0; ///< where the round goes on
    std::uint8_t rounds_ : 4 = 0;
    bool due_ : 1 = false;
    bool owes_ : 1 = false;
    bool parked_ : 1 = false;   ///< the timer waits for traffic
    bool was_open_ : 1 = false; ///< a way that is not
};
static_assert(sizeof(Rails) == 16, "one per peer");

/// Questions of peers that are not answered yet. There is no room for all that may come; those that are lost
/// come again.
class OwedRails {
public:
    struct Question {
        std::uint64_t connection = 0; ///< our identifier of the peer's connection; 0: none
        std::uint64_t nonce = 0;
        std::uint8_t way = 0;
    };

    void add(const Question& question) noexcept { questions_[next_++ % questions_.size()] = question; }
    /// The next one of that connection.
    std::optional<Question> take(std::uint64_t connection) noexcept
    {
        for (Question& question : questions_) {
            if (question.connection == connection) {
                return std::exchange(question, Question{});
            }
        }
        return std::nullopt;
    }

private:
    std::array<Question, 64> questions_{};
    std::uint32_t next_ = 0;
};

} // namespace srd
