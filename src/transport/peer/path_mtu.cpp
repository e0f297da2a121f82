// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/path_mtu.hpp"

#include <array>

namespace srd {

namespace {

/// UDP payloads of Ethernet's usual MTUs, 1500 and 9000, by IPv6 and IPv4.
constexpr std::array<std::uint32_t, 4> usual{1500 - 48, 1500 - 28, 9000 - 48, 9000 - 28};

} // namespace

/// The size to ask for; 0: nothing is in doubt.
std::uint32_t PathMtu::wanted() const noexcept
{
    if (!running_) {
        return 0;
    }
    if (suspected_) {
        return confirmed_;
    }
    if (failed_ > ceiling_) {
        return confirmed_ < ceiling_ ? ceiling_ : 0;
    }
    if (failed_ - confirmed_ <= precision) {
        return 0;
    }
    for (const std::uint32_t size : usual) { // from below: those that arrive cost no time
        if (confirmed_ < size && size < failed_) {
            return size;
        }
    }
    // A usual one is most likely the last.
    const bool at_usual = std::find(usual.begin(), usual.end(), confirmed_) != usual.end();
    return at_usual ? confirmed_ + precision : confirmed_ + (failed_ - confirmed_) / 2;
}

void PathMtu::ask_next(Time now) noexcept
{
    SRD_DCHECK(confirmed_ <= ceiling_ && confirmed_ < failed_ && failed_ <= ceiling_ + 1);
    size_ = wanted();
    ++number_;
    tries_ = 0;
    due_ = size_ != 0;
    parked_ = false;
    timer_at_ = size_ == 0 && failed_ <= ceiling_ ? now + raise_interval : time_never;
}

void PathMtu::set_ceiling(std::uint32_t bytes, Time now) noexcept
{
    if (bytes == ceiling_) {
        return;
    }
    if (bytes > ceiling_) {
        failed_ = bytes + 1;
        confirmed_ = std::max(confirmed_, std::min(base, bytes));
    } else {
        failed_ = std::min(failed_, bytes + 1);
        confirmed_ = std::min(confirmed_, bytes);
        suspected_ = suspected_ && confirmed_ > base;
    }
    ceiling_ = bytes;
    ask_next(now);
}

bool PathMtu::on_answer(const Probe& answer, Time now) noexcept
{
    if (size_ == 0 || answer.number != number_ || answer.size != size_) {
        return false;
    }
    suspected_ = false;
    confirmed_ = size_;
    ask_next(now);
    return true;
}

void PathMtu::suspect(Time now) noexcept
{
    if (running_ && !suspected_ && confirmed_ > base && now - sent_at_ >= doubt_interval) {
        suspected_ = true;
        ask_next(now);
    }
}

void PathMtu::resume(Time now) noexcept
{
    if (size_ != 0) {
        parked_ = false;
        due_ = true;
        return;
    }
    failed_ = ceiling_ + 1;
    ask_next(now);
}

PathMtu::Outcome PathMtu::on_timeout(Time heard_at, bool busy, Time now) noexcept
{
    if (timer_at_ > now) {
        return Outcome::nothing;
    }
    timer_at_ = time_never;
    if (size_ == 0 || heard_at <= sent_at_) {
        if (!busy) {
            parked_ = true;
        } else if (size_ == 0) {
            resume(now);
        } else {
            timer_at_ = now + timeout_min;
        }
        return Outcome::nothing;
    }
    if (++tries_ < max_tries) {
        due_ = true;
        return Outcome::nothing;
    }
    failed_ = size_;
    const bool fallen = std::exchange(suspected_, false);
    if (fallen) {
        confirmed_ = base;
    }
    ask_next(now);
    return fallen ? Outcome::fallen : Outcome::nothing;
}

bool PathMtu::take_finding() noexcept
{
    if (size_ != 0 || failed_ > ceiling_ || told_ == confirmed_) {
        return false;
    }
    told_ = confirmed_;
    return true;
}

} // namespace srd
