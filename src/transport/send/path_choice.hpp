// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which path each packet to one peer takes. The policy (lb/) knows the paths;
// here is what a batch means: packets that the backend may send with one call share
// a path, whether they are pieces of one message or many messages, and what is sent
// while nothing is in flight stays on a path that works.
#pragma once

#include <algorithm>
#include <cstdint>
#include <variant>

#include <srd/counters.hpp>
#include <srd/limits.hpp>
#include <srd/peer_view.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "lb/adaptive.hpp"
#include "lb/path_selector.hpp"
#include "lb/round_robin.hpp"
#include "lb/single.hpp"

namespace srd {

class PathChoice {
public:
    PathChoice() noexcept = default;
    PathChoice(PathPolicy policy, std::uint16_t paths, std::uint64_t seed)
    {
        switch (policy) {
        case PathPolicy::adaptive:
            policy_ = AdaptivePaths(paths, seed);
            break;
        case PathPolicy::round_robin:
            policy_ = RoundRobinPaths(paths, seed);
            break;
        case PathPolicy::single:
            policy_ = SinglePath(paths, seed);
            break;
        }
    }

    /// For a new packet, of which `batch` like it fit one call; `alone`: nothing is in flight; `bulk`: it is
    /// the first of more than a batch.
    PathId next(std::uint32_t batch, bool alone, bool bulk, Time now) noexcept
    {
        begins_ = false;
        if (burst_left_ != 0 && !alone && batch > 1) {
            burst_left_ = static_cast<std::uint16_t>(std::min<std::uint32_t>(burst_left_, batch) - 1);
            return burst_path_;
        }
        burst_left_ = static_cast<std::uint16_t>(std::max<std::uint32_t>(batch, 1) - 1);
        if (alone && proven_ && !bulk) {
            return burst_path_; // one batch has nothing to be spread from; another path is only colder
        }
        proven_ = false;
        begins_ = true;
        burst_path_ = next(now);
        return burst_path_;
    }
    /// The path that next() has chosen is a new one, for a batch of which nothing was sent yet.
    bool begins_batch() const noexcept { return begins_; }
    /// That batch goes by one of `paths` instead.
    PathId redirect(std::uint64_t paths, Time now) noexcept
    {
        burst_path_ = next_among(paths, now);
        return burst_path_;
    }
    /// For a packet of no train.
    PathId next(Time now) noexcept
    {
        return std::visit([&](auto& paths) { return paths.next(now); }, policy_);
    }
    /// For a repetition of a packet that was lost on `lost_on`.
    PathId next_avoiding(PathId lost_on, Time now) noexcept
    {
        return std::visit([&](auto& paths) { return paths.next_avoiding(lost_on, now); }, policy_);
    }
    /// For what must get through although nothing does. By chance (`random`): turns may keep step with those
    /// of another kind of packet, or of the peer, and meet the same dead paths for ever.
    PathId any(std::uint64_t random) noexcept
    {
        return std::visit([&](auto& paths) { return paths.any(random); }, policy_);
    }

    /// Paths lead to so many places in turn; those that may be chosen from now on, a bit for each.
    void set_open(unsigned places, std::uint16_t open) noexcept
    {
        proven_ = false;
        burst_left_ = 0;
        std::visit([&](auto& policy) { policy.set_open(places, open); }, policy_);
    }
    /// One of `paths` where one is as good as others: for packets of which nothing is heard.
    PathId next_among(std::uint64_t paths, Time now) noexcept
    {
        return std::visit([&](auto& policy) { return policy.next_among(paths, now); }, policy_);
    }

    void on_good(PathId path, Time now) noexcept
    {
        proven_ = proven_ || path == burst_path_;
        std::visit([&](auto& paths) { paths.feedback(path, PathOutcome::good, now); }, policy_);
    }
    /// A mark or a loss; what the policy makes of it is counted.
    void on_bad(PathId path, PathOutcome outcome, Counters& count, Time now) noexcept
    {
        Counters::Path& seen = count.paths[index_of(path)];
        if (outcome == PathOutcome::lost) {
            doubt(path);
            seen.lost.add();
        } else {
            seen.marked.add();
        }
        std::visit(
            [&](auto& paths) {
                if constexpr (requires { paths.blackouts(); }) {
                    const std::uint32_t switches = paths.switches();
                    const std::uint32_t blackouts = paths.blackouts();
                    paths.feedback(path, outcome, now);
                    count.path_switches.add(paths.switches() - switches);
                    count.path_blackouts.add(paths.blackouts() - blackouts);
                } else {
                    paths.feedback(path, outcome, now);
                }
            },
            policy_);
    }
    /// Nothing has been heard for so long that a packet sent on `path` is repeated.
    void on_timed_out(PathId path, Counters& count, Time now) noexcept
    {
        doubt(path);
        count.paths[index_of(path)].lost.add();
        std::visit([&](auto& paths) { paths.feedback(path, PathOutcome::timed_out, now); }, policy_);
    }

    /// What is known of the paths, for people; of which there are `count`.
    PathsView view(std::uint32_t count) const noexcept
    {
        return std::visit(
            [&](const auto& paths) {
                if constexpr (requires { paths.view(); }) {
                    return paths.view();
                } else {
                    return PathsView{.count = count};
                }
            },
            policy_);
    }

private:
    void doubt(PathId path) noexcept
    {
        if (path == burst_path_) {
            proven_ = false;
            burst_left_ = 0;
        }
    }

    using Policy = std::variant<AdaptivePaths, RoundRobinPaths, SinglePath>;
    static_assert(PathSelector<AdaptivePaths> && PathSelector<RoundRobinPaths> && PathSelector<SinglePath>);

    bool proven_ = false; ///< the last thing heard of burst_path_ was an acknowledgement
    bool begins_ = false; ///< next() has chosen it anew
    PathId burst_path_{};
    std::uint16_t burst_left_ = 0; ///< packets that the batch may still put on burst_path_
    Policy policy_{SinglePath(1, 0)};
};

} // namespace srd
