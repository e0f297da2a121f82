// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "progress/domain_progress.hpp"

#include <algorithm>
#include <utility>

#include <srd/check.hpp>

#include "progress/clock.hpp"
#include "progress/progress_group.hpp"
#include "progress/progress_thread.hpp"
#include "progress/watchdog.hpp"

namespace srd {

DomainProgress::DomainProgress(std::string name, fi_progress data_progress)
    : name_(std::move(name)), data_progress_(data_progress)
{
}

DomainProgress::~DomainProgress()
{
    thread_.reset(); // they use the rest
    watchdog_.reset();
    SRD_CHECK(members_.empty() && groups_.empty());
}

/// Everything that may fail; undone if any of it does.
void DomainProgress::admit(ProgressMember& member)
{
    SRD_CHECK(std::find(members_.begin(), members_.end(), &member) == members_.end());
    members_.reserve(members_.size() + 1);
    if (is_threaded()) {
        if (thread_ == nullptr) {
            thread_ = std::make_unique<ProgressThread>(*this, name_);
        }
        thread_->watch(member.io_fd());
    } else if (watchdog_ == nullptr) {
        watchdog_ = std::make_unique<ProgressWatchdog>(*this);
    }
    auto group = groups_.begin();
    try {
        for (; group != groups_.end(); ++group) {
            (*group)->admit(member);
        }
    } catch (...) {
        std::for_each(groups_.begin(), group, [&](ProgressGroup* each) { each->dismiss(member); });
        if (thread_ != nullptr) {
            thread_->unwatch(member.io_fd());
        }
        throw;
    }
}

/// Groups that admitted it before it was enabled do not watch it yet.
void DomainProgress::announce(const ProgressMember& member) noexcept
{
    for (ProgressGroup* group : groups_) {
        group->member_enabled(member);
    }
}

void DomainProgress::remove(ProgressMember& member) noexcept
{
    const std::lock_guard guard(mutex_);
    SRD_CHECK(std::erase(members_, &member) == 1);
    member.profile(closed_);
    closed_.unexpected = 0; // they are gone
    for (ProgressGroup* group : groups_) {
        group->detach(member);
    }
    if (thread_ != nullptr) {
        thread_->unwatch(member.io_fd());
    }
}

void DomainProgress::add_group(ProgressGroup& group)
{
    const std::lock_guard guard(mutex_);
    if (std::find(groups_.begin(), groups_.end(), &group) != groups_.end()) {
        return;
    }
    groups_.reserve(groups_.size() + 1);
    auto member = members_.begin();
    try {
        for (; member != members_.end(); ++member) {
            group.admit(**member);
        }
    } catch (...) {
        std::for_each(members_.begin(), member, [&](ProgressMember* each) { group.dismiss(*each); });
        throw;
    }
    groups_.push_back(&group);
}

void DomainProgress::remove_group(ProgressGroup& group) noexcept
{
    const std::lock_guard guard(mutex_);
    std::erase(groups_, &group);
}

ProfileValues DomainProgress::profile() noexcept
{
    const std::lock_guard guard(mutex_);
    ProfileValues sums = closed_;
    for (ProgressMember* member : members_) {
        member->profile(sums);
    }
    return sums;
}

bool DomainProgress::progress_all() noexcept
{
    const std::lock_guard guard(mutex_);
    const Time now = clock_now(); // not before: whoever waited would take an old time for the present
    bool busy = false;
    for (ProgressMember* member : members_) {
        busy |= member->progress(now) != Found::nothing;
    }
    return busy;
}

bool DomainProgress::arm_all(Time& deadline) noexcept
{
    const std::lock_guard guard(mutex_);
    for (auto member = members_.begin(); member != members_.end(); ++member) {
        if (!(*member)->arm_sleep(deadline)) {
            std::for_each(members_.begin(), member, [](ProgressMember* armed) { armed->disarm_sleep(); });
            return false;
        }
    }
    return true;
}

void DomainProgress::disarm_all() noexcept
{
    for_each([](ProgressMember& member) { member.disarm_sleep(); });
}

Time DomainProgress::look_after_silent(std::vector<pollfd>& descriptors) noexcept
{
    const std::lock_guard guard(mutex_);
    const Time now = clock_now();
    Time next = time_never;
    for (ProgressMember* member : members_) {
        int descriptor = -1;
        next = std::min(next, member->look_after(now, descriptor));
        if (descriptor >= 0) {
            descriptors.push_back({descriptor, POLLIN, 0});
        }
    }
    return next;
}

void DomainProgress::application_is_back() noexcept
{
    if (watchdog_ != nullptr) {
        watchdog_->wake();
    }
}

} // namespace srd
