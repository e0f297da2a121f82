// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How large a packet the way to a peer carries: found by asking, not believed
// (RFC 8899, Datagram Packetization Layer Path MTU Discovery).
//
//     base ............ confirmed ............ failed ............ ceiling
//      every path         the MTU            does not arrive     what both ends take
//
// Laws:
//  - packets are no larger than what an answered probe has confirmed, or than the base, which is not doubted;
//  - a size has failed only after `max_tries` probes to each of which no answer came in time, although
//    something else was heard of the peer: one that computes, or is gone, says nothing about the path;
//  - the ceiling is asked for first. When it has failed: the sizes that are usual, then the middle, until
//    `precision` bytes are in doubt. Then from the beginning after some seconds, for where many probes met at
//    one receiver all of them may have been lost; and again after longer and longer times, for paths change;
//  - when large packets are lost again and again (suspect()), the confirmed size is asked for once more. If
//  it
//    fails now, the MTU falls to the base and is searched anew. What backends hear of MTUs moves the ceiling:
//    a hint. The loss of a probe says nothing about congestion, its answer nothing about the round trip;
//  - no timer runs for a peer that is idle: the search goes on with the next traffic.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include <srd/check.hpp>
#include <srd/limits.hpp>
#include <srd/time.hpp>

namespace srd {

class PathMtu {
public:
    /// What fits the smallest MTU of IPv6 (1280 bytes, RFC 8200, with its header and UDP's).
    static constexpr std::uint32_t base = 1280 - 40 - 8;
    static constexpr std::uint32_t precision = 8;
    static constexpr std::uint8_t max_tries = 3;
    /// An answer has at least this time; each further try has twice as long.
    static constexpr Duration timeout_min = std::chrono::milliseconds(15);
    /// From the end of a search below the ceiling to the next, at least; doubles up to the maximum (RFC 8899:
    /// 600 s). Up to twice that, so that not all peers of a host ask at one time.
    static constexpr Duration raise_first = std::chrono::seconds(5);
    static constexpr Duration raise_max = std::chrono::seconds(640);

    struct Probe {
        std::uint16_t number = 0; ///< of the question, the same in all its tries
        std::uint16_t size = 0;   ///< bytes
    };

    PathMtu() noexcept = default;
    /// `certain`: no network is between, whatever both ends take arrives.
    explicit PathMtu(std::uint32_t ceiling, bool certain = false) noexcept
        : confirmed_(size_of(certain ? ceiling : std::min(base, ceiling))), ceiling_(size_of(ceiling)),
          failed_(size_of(ceiling + 1)), certain_(certain)
    {
    }

    std::uint32_t confirmed() const noexcept { return confirmed_; }
    /// What both ends and, as far as they know, the way between them would take.
    std::uint32_t ceiling() const noexcept { return ceiling_; }
    /// The peer is met, and answers from now on.
    void begin(Time now) noexcept
    {
        running_ = true;
        ask_next(now);
    }
    void set_ceiling(std::uint32_t bytes, Time now) noexcept;

    // -- Questions and answers

    /// A probe or an answer is to be sent.
    bool any_due() const noexcept { return due_ || owed_.size != 0; }
    bool due() const noexcept { return due_; }
    /// The probe is sent now. `rto`: after which a packet of another kind would be sent again.
    Probe take(Duration rto, Time now) noexcept;
    /// It was not sent after all.
    void unsent() noexcept
    {
        due_ = size_ != 0;
        timer_at_ = due_ ? time_never : timer_at_;
    }
    /// False: it does not answer what was asked last.
    bool on_answer(const Probe& answer, Time now) noexcept;
    /// The peer's probe has arrived. Only the latest is answered.
    void owe(const Probe& answer) noexcept { owed_ = answer; }
    /// Its size is 0 if none is owed.
    Probe take_owed() noexcept { return std::exchange(owed_, Probe{}); }

    /// A packet larger than the base was lost, and so was its repetition.
    void suspect(Time now) noexcept;
    /// Something is sent to a peer that had answered everything.
    void on_traffic(Time now) noexcept
    {
        if (parked_) {
            resume(now);
        }
    }

    // -- Time

    Time next_timeout() const noexcept { return timer_at_; }
    enum class Outcome : std::uint8_t {
        nothing,
        fallen, ///< confirmed() has failed and is the base now
    };
    /// `heard_at`: when anything came from the peer; `busy`: something is to come.
    Outcome on_timeout(Time heard_at, bool busy, Time now) noexcept;

    /// True, once for each size, when two searches in a row have ended with it, below the ceiling.
    bool take_finding() noexcept;

private:
    static constexpr std::uint16_t size_of(std::uint32_t bytes) noexcept
    {
        return static_cast<std::uint16_t>(std::min(bytes, max_udp_payload + 1));
    }
    static constexpr std::uint8_t max_searches = 8;

    Duration raise_interval(Time now) const noexcept;
    Duration timeout() const noexcept { return timeout_min * (1U << doublings_); }
    std::uint32_t wanted() const noexcept;
    void ask_next(Time now) noexcept;
    void resume(Time now) noexcept;

    // Sizes are those of packets, for which 16 bits are enough: an idle peer is to be small.
    std::uint16_t confirmed_ = 0;
    std::uint16_t ceiling_ = 0;
    std::uint16_t failed_ = 0; ///< the least size that has failed; ceiling + 1: none
    std::uint16_t size_ = 0;   ///< asked for; 0: nothing is
    Probe owed_;
    std::uint16_t number_ = 0;
    std::uint8_t tries_ : 3 = 0; ///< in vain, of the current question
    std::uint8_t certain_ : 1 = 0;
    std::uint8_t searches_ : 4 = 0;  ///< in a row that end below the ceiling, up to max_searches
    std::uint8_t doublings_ : 3 = 0; ///< of the try's timeout
    bool running_ : 1 = false;
    bool due_ : 1 = false;       ///< a probe is to be sent
    bool suspected_ : 1 = false; ///< the confirmed size is asked for
    bool parked_ : 1 = false;    ///< the timer waits for traffic
    bool told_ : 1 = false;      ///< take_finding() has told of the confirmed size
    Time timer_at_ = time_never; ///< of the try, or of the next search
};
static_assert(sizeof(PathMtu) == 24);

} // namespace srd
