// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Adaptive path selection after REPS (arXiv 2407.21625): a path whose packet
// was acknowledged without a mark is remembered and used once more; while none
// is remembered the paths are explored. Both go round in turn. So the
// acknowledgements clock the choice: a slow path comes back late and is used
// less, a dead one does not come back at all.
//
//   marked      the path is passed over once when its turn comes to be explored. No longer: in a full
//               fabric a fifth of the packets is marked, and who stays away from every path that marks
//               crowds the others (permutation of 128 hosts: a mean of 81 % instead of 86 %)
//   lost        the path is not explored for loss_rest; blackout_losses in a row without
//               anything getting through: blacked out at once
//   blackout    after a back-off of 10 ms, doubling to 640 ms, one packet is
//               let through; one acknowledgement ends the blackout. No more than
//               one packet in sixteen: when a dead link has darkened many paths and
//               there is little to send, all of it would go there to be lost
//   timed_out   no verdict, for whatever was lost with it may have hit all paths; but the
//               repetition must not go there again
//
// Avoidance is relative. At most half of the paths rest at a time: when more
// lose packets, the network is congested rather than a path, and that is the
// congestion window's business. The last path is never blacked out, so there is
// always an answer.
//
// Not done: delay as a path signal (the clocking is one), and a path remembered
// more than once (a burst of acknowledgements from one path would herd the next
// burst onto it).
#pragma once

#include <algorithm>
#include <array>
#include <bit>

#include <srd/peer_view.hpp>

#include "lb/path_selector.hpp"

namespace srd {

class AdaptivePaths {
public:
    static constexpr unsigned blackout_losses = 3;
    static constexpr Duration loss_rest = std::chrono::milliseconds(1);
    static constexpr Duration blackout_first = std::chrono::milliseconds(10);
    static constexpr unsigned blackout_doublings = 6;
    static constexpr std::uint8_t packets_per_trial = 16;

    AdaptivePaths(std::uint32_t path_count, std::uint64_t seed) noexcept
        : open_(std::clamp(path_count, 1U, max_paths)),
          cursor_(static_cast<std::uint8_t>(seed % open_.count())), last_good_(cursor_)
    {
    }

    /// What is known of those that are not open is forgotten, and those that are remembered are not
    /// preferred: as long as enough of them come back, none of the others would ever be explored.
    void set_open(unsigned places, std::uint16_t open) noexcept
    {
        open_.set(places, open);
        proven_ = 0;
        resting_ &= all();
        dark_ = (all() & ~dark_) != 0 ? all() & dark_ : 0; // never all of them
        if (last_good_ != no_path && (all() & bit(last_good_)) == 0) {
            last_good_ = no_path;
        }
    }

    PathId next(Time now) noexcept
    {
        since_trial_ = std::min<std::uint8_t>(since_trial_ + 1U, packets_per_trial);
        if ((resting_ | dark_) != 0 && now >= review_at_) {
            const std::uint64_t due = review(now);
            if (due != 0 && since_trial_ == packets_per_trial) {
                return try_dark(due, now);
            }
        }
        const std::uint64_t usable = all() & ~(resting_ | dark_);
        if ((proven_ & usable) != 0) {
            const PathId path = take_turn(proven_ & usable, cursor_);
            proven_ &= ~bit(static_cast<unsigned>(path));
            return path;
        }
        return explore(usable != 0 ? usable : all() & ~dark_);
    }

    /// For packets of which nothing is heard: none is used up by that.
    PathId next_among(std::uint64_t paths, Time now) noexcept
    {
        const std::uint64_t usable = all() & paths & ~(resting_ | dark_);
        return usable != 0 ? take_turn(usable, cursor_) : next(now);
    }

    /// Prefers the path that was last seen to work.
    PathId next_avoiding(PathId avoid, Time) noexcept
    {
        const std::uint64_t others = all() & ~bit(static_cast<unsigned>(avoid));
        for (const std::uint64_t candidates : {others & ~(resting_ | dark_), others & ~dark_, others}) {
            if (last_good_ != no_path && (candidates & bit(last_good_)) != 0) {
                return PathId{last_good_};
            }
            if (candidates != 0) {
                return take_turn(candidates, cursor_);
            }
        }
        return avoid;
    }

    PathId any(std::uint64_t chance) const noexcept { return path_by_chance(all(), chance); }

    void feedback(PathId id, PathOutcome outcome, Time now) noexcept
    {
        const auto path = static_cast<unsigned>(id);
        if (path >= max_paths || (all() & bit(path)) == 0) {
            return; // an echo of a path that does not exist, or not any more
        }
        switch (outcome) {
        case PathOutcome::good:
            alive(path);
            last_good_ = static_cast<std::uint8_t>(path);
            proven_ |= bit(path); // if it rests, for afterwards
            break;
        case PathOutcome::marked:
            alive(path);
            proven_ &= ~bit(path);
            switches_ += (passed_over_ & bit(path)) == 0 ? 1U : 0U;
            passed_over_ |= bit(path);
            break;
        case PathOutcome::lost:
            on_lost(path, now);
            break;
        case PathOutcome::timed_out:
            doubt(path);
            break;
        }
    }

    /// Times a path was to be passed over or put to rest, after a mark or a loss.
    std::uint32_t switches() const noexcept { return switches_; }
    /// Times a path was blacked out.
    std::uint32_t blackouts() const noexcept { return blackouts_; }
    /// Paths blacked out now.
    unsigned dark_count() const noexcept { return static_cast<unsigned>(std::popcount(dark_)); }
    /// What there is to know, for people.
    PathsView view() const noexcept
    {
        return {.dark = dark_,
                .resting = resting_,
                .marked = passed_over_,
                .switches = switches_,
                .blackouts = blackouts_,
                .count = open_.count()};
    }

private:
    // Times of paths are kept in 16 bits of 2^16 ns, 4.3 s in all. Comparisons are good for half of
    // that; the longest wait is far less, and review() has its own answer to a longer absence.
    static constexpr unsigned tick_bits = 16;
    static constexpr Duration tick{1 << tick_bits};
    static constexpr Duration longest_wait = blackout_first * (1 << blackout_doublings);
    static_assert(4 * longest_wait < tick * 0x8000 * 2);

    static std::uint16_t tick_of(Time time) noexcept
    {
        return static_cast<std::uint16_t>(time.time_since_epoch().count() >> tick_bits);
    }

    static constexpr std::uint64_t bit(unsigned path) noexcept { return std::uint64_t{1} << path; }
    std::uint64_t all() const noexcept { return open_.paths(); }

    PathId take_turn(std::uint64_t candidates, std::uint8_t& cursor) const noexcept
    {
        return path_in_turn(candidates, open_.count(), cursor);
    }

    // The next in turn among `candidates`. Marked ones before it have been passed over by that.
    PathId explore(std::uint64_t candidates) noexcept
    {
        if ((candidates & ~passed_over_) == 0) {
            passed_over_ = 0;
            return take_turn(candidates, cursor_);
        }
        const std::uint64_t before_turn = bit(cursor_) - 1;
        const PathId path = take_turn(candidates & ~passed_over_, cursor_);
        const std::uint64_t before_path = bit(static_cast<unsigned>(path)) - 1;
        passed_over_ &= before_path >= before_turn ? ~before_path | before_turn : before_turn & ~before_path;
        return path;
    }

    static constexpr std::uint8_t no_path = max_paths;

    // What was learned of the path before no longer recommends it.
    void doubt(unsigned path) noexcept
    {
        proven_ &= ~bit(path);
        if (last_good_ == path) {
            last_good_ = no_path;
        }
    }

    // Something got through.
    void alive(unsigned path) noexcept
    {
        if ((dark_ & bit(path)) != 0) {
            dark_ &= ~bit(path);
            set_health(path, 0, doublings(path)); // a path that comes and goes waits longer each time
        } else {
            set_health(path, 0, 0);
        }
    }

    void on_lost(unsigned path, Time now) noexcept
    {
        if ((dark_ & bit(path)) != 0) {
            return; // sent before the blackout, or the probe: its back-off runs already
        }
        doubt(path);
        const unsigned in_a_row = std::min(losses(path) + 1, blackout_losses);
        set_health(path, in_a_row, doublings(path));
        if (in_a_row < blackout_losses || (all() & ~dark_) == bit(path)) {
            rest(path, loss_rest, now);
            return;
        }
        wait_until(path, now + blackout_first * (1 << doublings(path)), now);
        resting_ &= ~bit(path);
        dark_ |= bit(path);
        ++blackouts_;
    }

    void rest(unsigned path, Duration duration, Time now) noexcept
    {
        if ((resting_ & bit(path)) == 0) {
            if ((std::popcount(resting_) + 1) * 2 > std::popcount(all() & ~dark_)) {
                return;
            }
            ++switches_;
        }
        wait_until(path, now + duration, now);
        resting_ |= bit(path);
    }

    // To be called before the path's bit is set: with no bit set, review_at_ says nothing.
    void wait_until(unsigned path, Time until, Time now) noexcept
    {
        until_[path] = static_cast<std::uint16_t>(tick_of(until) + 1);
        review_at_ = std::min((resting_ | dark_) != 0 ? std::max(review_at_, now) : until, until);
    }

    // Ends the rests that are over. Returns the dark paths whose back-off is over.
    std::uint64_t review(Time now) noexcept
    {
        const bool long_ago = now - review_at_ > longest_wait; // whatever was waiting then is over
        const std::uint16_t current = tick_of(now);
        std::uint64_t due = 0;
        int soonest = 0x7fff;
        for (std::uint64_t waiting = resting_ | dark_; waiting != 0; waiting &= waiting - 1) {
            const auto path = static_cast<unsigned>(std::countr_zero(waiting));
            int left = static_cast<std::int16_t>(static_cast<std::uint16_t>(until_[path] - current));
            if (long_ago || left <= 0) {
                if ((resting_ & bit(path)) != 0) {
                    resting_ &= ~bit(path);
                    continue;
                }
                due |= bit(path);
                left = 1;
                until_[path] = static_cast<std::uint16_t>(current + left);
            }
            soonest = std::min(soonest, left);
        }
        review_at_ = now + tick * soonest;
        return due;
    }

    // One packet tries one of the dark paths `due`, each in its turn; that one's next back-off begins.
    PathId try_dark(std::uint64_t due, Time now) noexcept
    {
        const PathId id = take_turn(due, trial_cursor_);
        const auto path = static_cast<unsigned>(id);
        const unsigned times = std::min(doublings(path) + 1, blackout_doublings);
        set_health(path, losses(path), times);
        until_[path] = static_cast<std::uint16_t>(tick_of(now) + (blackout_first * (1 << times)) / tick);
        since_trial_ = 0;
        return id;
    }

    // Losses in a row and doublings of the back-off share a byte.
    unsigned losses(unsigned path) const noexcept { return health_[path] & 0x0fU; }
    unsigned doublings(unsigned path) const noexcept { return health_[path] >> 4; }
    void set_health(unsigned path, unsigned in_a_row, unsigned times) noexcept
    {
        health_[path] = static_cast<std::uint8_t>(in_a_row | times << 4);
    }
    static_assert(blackout_losses < 16 && blackout_doublings < 16);

    std::uint64_t proven_ = 0;      // acknowledged without a mark and not used since
    std::uint64_t passed_over_ = 0; // marked: to be passed over when its turn comes
    std::uint64_t resting_ = 0;     // not chosen until its time
    std::uint64_t dark_ = 0;        // blacked out; never resting as well
    Time review_at_{};              // earliest of the times of resting and dark paths
    std::array<std::uint16_t, max_paths> until_{};
    std::array<std::uint8_t, max_paths> health_{};
    std::uint32_t switches_ = 0;
    std::uint32_t blackouts_ = 0;
    OpenPaths open_;                               // the others are never chosen
    std::uint8_t cursor_;                          // where the turn goes on
    std::uint8_t trial_cursor_ = 0;                // the same for dark paths that are tried
    std::uint8_t since_trial_ = packets_per_trial; // packets since one tried a dark path, counted so far
    std::uint8_t last_good_; // most recently acknowledged without a mark, and not lost since; or no_path
};

static_assert(PathSelector<AdaptivePaths>);
static_assert(sizeof(AdaptivePaths) <= 248, "one per peer; an idle peer is to fit in 1 KiB");

} // namespace srd
