// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "receive/receiver.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include <srd/check.hpp>

namespace srd {

bool Receiver::on_received(const Echo& echo, bool marked, std::uint32_t bytes, bool requested,
                           Duration ack_delay, Time now) noexcept
{
    SRD_DCHECK(window_.check(echo.psn) == Window::fresh);
    window_.set(echo.psn);
    if (echo.attempt == 0) {
        questions_ = 0; // he hears us
    } else {
        twice_left_ = acks_twice;
        if (questions_ != 0 && requested) {
            repeat_answer();
        }
    }
    // It came late: to echo such ones more often than others would be to tell of longer round trips than
    // there are.
    const bool fills_gap = wire::sequence_distance(echo.psn, told_) < 0;
    if (!fills_gap || !ack_pending()) {
        echo_.psn = echo.psn;
        echo_.attempt = echo.attempt;
        echo_.path = echo.path;
        echo_.arrived = echo.arrived;
    }
    if (marked) {
        marks_.add(echo.psn);
    }
    unacked_packets_ = std::min<std::uint8_t>(unacked_packets_ + 1, ack_every_packets);
    unacked_bytes_ += bytes;
    if (requested || fills_gap || unacked_packets_ >= ack_every_packets ||
        unacked_bytes_ >= ack_every_bytes) {
        ack_now_ = true;
    } else if (ack_at_ == time_never) {
        ack_at_ = now + ack_delay;
        return true;
    }
    return false;
}

bool Receiver::on_timeout(Time now) noexcept
{
    if (ack_at_ > now) {
        return false;
    }
    ack_at_ = time_never;
    ack_now_ = true;
    return true;
}

std::byte* Receiver::write_ack(std::byte* out, std::size_t room, std::uint8_t wishes, Time now) noexcept
{
    const std::size_t fixed = sizeof(wire::AckBlock) + (marks_.any() ? sizeof(wire::MarkBlock) : 0);
    SRD_DCHECK(room >= fixed);
    std::array<std::uint64_t, wire::max_ack_words> words;
    const std::size_t max_words = std::min((room - fixed) / sizeof(std::uint64_t), words.size());
    const unsigned used = window_.export_words(std::span(words).first(max_words));
    auto& block = wire::append<wire::AckBlock>(out);
    block.cumulative = window_.cumulative();
    block.message_next = message_next_;
    block.duplicates = duplicates_;
    block.faults = faults_made_;
    block.words = static_cast<std::uint8_t>(used);
    std::uint8_t flags = wishes;
    if (echo_.arrived != time_never) {
        const Duration hold = std::clamp<Duration>(now - echo_.arrived, Duration{}, Duration(0xffffffff));
        flags |= wire::ack_flag::echo;
        block.echo_psn = echo_.psn;
        block.echo_attempt = echo_.attempt;
        block.echo_path = echo_.path;
        block.hold_ns = static_cast<std::uint32_t>(hold.count());
    }
    if (refusing_) {
        flags |= wire::ack_flag::receiver_not_ready;
    }
    if (unexpected_ != 0) {
        flags |= wire::ack_flag::no_unscheduled;
    }
    if (marks_.any()) {
        flags |= wire::ack_flag::marks;
        out = wire::put(out, marks_.tell());
    }
    block.flags = flags;
    std::memcpy(out, words.data(), used * sizeof(std::uint64_t));
    again_ = twice_left_ != 0 && !again_;
    twice_left_ = (twice_left_ - (again_ ? 1U : 0U)) & 0xfU;
    ack_now_ = again_ || answers_ != 0;
    told_ = window_.highest();
    unacked_packets_ = 0;
    unacked_bytes_ = 0;
    ack_at_ = time_never;
    return out + used * sizeof(std::uint64_t);
}

} // namespace srd
