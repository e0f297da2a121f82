// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <srd/check.hpp>
#include <srd/time.hpp>

namespace srd {

/// How far one route's bypass is, when a question is due, and which answer counts: that to the question asked
/// last. bypass_routes.hpp draws the states.
class BypassState {
public:
    enum class Stage : std::uint8_t { unknown, asking, proving, open, refused };

    Stage stage() const noexcept { return stage_; }
    bool is_open() const noexcept { return stage_ == Stage::open; }
    bool is_refused() const noexcept { return stage_ == Stage::refused; }
    /// Times that the stage's question was asked, without an answer; at most 255 are counted.
    std::uint8_t asked() const noexcept { return asked_; }
    std::uint64_t nonce() const noexcept { return nonce_; }

    /// A packet wants to go: true if a question may be asked for it.
    bool is_due(Time now) const noexcept { return now >= due_ && !is_open() && !is_refused(); }
    /// Begins `asking` or `proving`: the question, with that nonce, is due at once.
    void begin(Stage stage, std::uint64_t nonce, Time now) noexcept
    {
        SRD_DCHECK(stage == Stage::asking || stage == Stage::proving);
        *this = BypassState{};
        stage_ = stage;
        nonce_ = nonce;
        due_ = now;
    }
    /// The question is asked now; the waits after it double, up to about a second.
    void note_asked(Time now) noexcept
    {
        SRD_DCHECK(stage_ == Stage::asking || stage_ == Stage::proving);
        due_ = now + first_wait * (1U << std::min(asked_, max_doublings));
        asked_ = static_cast<std::uint8_t>(std::min(asked_ + 1, 255));
    }
    bool is_answered_by(std::uint64_t nonce) const noexcept
    {
        return (stage_ == Stage::asking || stage_ == Stage::proving) && nonce == nonce_;
    }
    void open() noexcept
    {
        SRD_DCHECK(stage_ == Stage::proving);
        stage_ = Stage::open;
    }
    /// Nothing is asked any more until there is a suspicion.
    void refuse() noexcept { stage_ = Stage::refused; }
    /// Whatever was known may be different now.
    void suspect() noexcept { *this = BypassState{}; }

private:
    static constexpr Duration first_wait = std::chrono::milliseconds(2);
    static constexpr std::uint8_t max_doublings = 9;

    Stage stage_ = Stage::unknown;
    std::uint8_t asked_ = 0;
    std::uint64_t nonce_ = 0;
    Time due_{};
};

/// How many questions of strangers are looked at: some at once, then one in each `interval`. What looking
/// costs (a few system calls) times that is what a flood can take from the traffic of others. A question that
/// is not looked at is lost, as any packet may be: who asks repeats it.
class QuestionBudget {
public:
    static constexpr int at_once = 256; ///< processes of one job that start at the same moment
    static constexpr Duration interval = std::chrono::microseconds(100);

    /// True if one more may be looked at now.
    bool take(Time now) noexcept
    {
        spent_until_ = std::max(spent_until_, now - at_once * interval);
        if (spent_until_ + interval > now) {
            return false;
        }
        spent_until_ += interval;
        return true;
    }

private:
    Time spent_until_{};
};

} // namespace srd
