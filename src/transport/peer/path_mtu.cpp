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
    if (confirmed_ + precision >= failed_) {
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
    size_ = size_of(wanted());
    ++number_;
    tries_ = 0;
    due_ = size_ != 0;
    parked_ = false;
    timer_at_ = time_never;
    if (size_ != 0) {
        return;
    }
    if (failed_ > ceiling_) {
        searches_ = 0;
        return;
    }
    searches_ = std::max<unsigned>(searches_, 1) & 15U;
    timer_at_ = now + raise_interval(now);
}

Duration PathMtu::raise_interval(Time now) const noexcept
{
    SRD_DCHECK(searches_ != 0);
    const Duration interval = std::min<Duration>(raise_first * (1U << (searches_ - 1U)), raise_max);
    // Nanoseconds of a clock are different enough.
    const auto jitter =
        (static_cast<std::uint64_t>(now.time_since_epoch().count()) + number_) * 0x9e3779b97f4a7c15U;
    return interval + Duration(static_cast<Duration::rep>(jitter >> 1U) % interval.count());
}

void PathMtu::set_ceiling(std::uint32_t bytes, Time now) noexcept
{
    const std::uint16_t ceiling = size_of(std::min(bytes, max_udp_payload));
    if (ceiling == ceiling_) {
        return;
    }
    if (certain_ != 0) {
        confirmed_ = ceiling;
        failed_ = size_of(ceiling + 1U);
    } else if (ceiling > ceiling_) {
        failed_ = size_of(ceiling + 1U);
        confirmed_ = std::max(confirmed_, size_of(std::min<std::uint32_t>(base, ceiling)));
    } else {
        failed_ = std::min(failed_, size_of(ceiling + 1U));
        confirmed_ = std::min(confirmed_, ceiling);
        suspected_ = suspected_ && confirmed_ > base;
    }
    ceiling_ = ceiling;
    ask_next(now);
}

PathMtu::Probe PathMtu::take(Duration rto, Time now) noexcept
{
    SRD_DCHECK(due_ && size_ != 0);
    due_ = false;
    doublings_ = tries_ & 7U;
    while (timeout() < rto && doublings_ < 6) {
        ++doublings_;
    }
    timer_at_ = now + timeout();
    return {number_, size_};
}

bool PathMtu::on_answer(const Probe& answer, Time now) noexcept
{
    if (size_ == 0 || answer.number != number_ || answer.size != size_) {
        return false;
    }
    suspected_ = false;
    told_ = told_ && confirmed_ == size_;
    confirmed_ = size_;
    ask_next(now);
    return true;
}

void PathMtu::suspect(Time now) noexcept
{
    if (running_ && certain_ == 0 && !suspected_ && confirmed_ > base) {
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
    searches_ = std::min<unsigned>(searches_ + 1U, max_searches) & 15U;
    failed_ = size_of(ceiling_ + 1U);
    ask_next(now);
}

PathMtu::Outcome PathMtu::on_timeout(Time heard_at, bool busy, Time now) noexcept
{
    if (timer_at_ > now) {
        return Outcome::nothing;
    }
    const bool heard = heard_at > timer_at_ - timeout(); // since the try was sent, or was looked after last
    timer_at_ = time_never;
    if (size_ == 0 || !heard) {
        if (!busy) {
            parked_ = true;
        } else if (size_ == 0) {
            resume(now);
        } else {
            timer_at_ = now + timeout();
        }
        return Outcome::nothing;
    }
    tries_ = (tries_ + 1U) & 7U;
    if (tries_ < max_tries) {
        due_ = true;
        return Outcome::nothing;
    }
    failed_ = size_;
    const bool fallen = suspected_;
    if (fallen) {
        suspected_ = told_ = false;
        confirmed_ = base;
    }
    ask_next(now);
    return fallen ? Outcome::fallen : Outcome::nothing;
}

bool PathMtu::take_finding() noexcept
{
    if (size_ != 0 || failed_ > ceiling_ || searches_ < 2 || told_) {
        return false;
    }
    told_ = true;
    return true;
}

} // namespace srd
