// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The sender's side of receiver-not-ready: the peer has no memory for our
// messages and drops them. Nothing is lost and nothing is congested: wait, then
// send everything again; the wait doubles as long as nothing is taken.
//
// Before it comes to that the peer says that its memory is scarce: what is longer
// than careful_eager_size then asks first, and lies in ours until it is wanted. A
// peer that has said nothing yet may have little. Or it says that what asks should
// not begin before it is granted, because its messages come before their buffers,
// or because it has many senders.
#pragma once

#include <algorithm>
#include <cstdint>

#include <srd/counters.hpp>
#include <srd/limits.hpp>
#include <srd/time.hpp>

#include "wire/layout.hpp"

namespace srd {

class ReceiverNotReady {
public:
    static constexpr Duration backoff_first = std::chrono::microseconds(50);
    static constexpr Duration backoff_max = std::chrono::milliseconds(10);

    /// Messages wait; answers (control packets) still go.
    bool blocked() const noexcept { return blocked_; }
    /// The peer wants longer messages to ask first.
    bool scarce() const noexcept { return scarce_; }
    /// The first bytes of a message may come with its request.
    bool takes_unscheduled() const noexcept { return takes_unscheduled_; }
    Time next_timeout() const noexcept { return retry_at_; }

    /// The peer took something: it is worth asking soon.
    void on_progress() noexcept { count_ = 0; }

    /// What an acknowledgement says, `flags` of wire::ack_flag. True: the peer takes messages again, send
    /// everything anew.
    bool on_ack(std::uint8_t flags, Counters& counters, Time now) noexcept
    {
        const bool not_ready = (flags & wire::ack_flag::receiver_not_ready) != 0;
        scarce_ = (flags & wire::ack_flag::memory_scarce) != 0;
        takes_unscheduled_ = (flags & wire::ack_flag::no_unscheduled) == 0;
        if (not_ready && !blocked_) {
            if (count_ == 0) {
                since_ = now;
            }
            const Duration backoff = backoff_first * (1U << std::min<unsigned>(count_, 8));
            count_ = static_cast<std::uint8_t>(std::min<unsigned>(count_ + 1U, 255));
            blocked_ = true;
            retry_at_ = now + std::min(backoff, backoff_max);
            counters.tx_rnr_backoffs.add();
        } else if (!not_ready && blocked_) {
            blocked_ = false;
            retry_at_ = time_never;
            count_ = 0;
            return true;
        }
        return false;
    }

    enum class Due : std::uint8_t { nothing, resend, give_up };
    Due on_timeout(const Tuning& tuning, Time now) noexcept
    {
        if (retry_at_ > now) {
            return Due::nothing;
        }
        retry_at_ = time_never;
        blocked_ = false;
        return now - since_ >= tuning.rnr_timeout ? Due::give_up : Due::resend;
    }

private:
    bool blocked_ = false;
    bool scarce_ = true;
    bool takes_unscheduled_ = false;
    std::uint8_t count_ = 0; ///< refusals in a row
    Time retry_at_ = time_never;
    Time since_{}; ///< the first of them
};

} // namespace srd
