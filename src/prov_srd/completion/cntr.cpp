// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "completion/cntr.hpp"

#include <memory>
#include <mutex>
#include <utility>

#include "common/c_api.hpp"
#include "common/stubs.hpp"
#include "objects/domain.hpp"
#include "objects/wait_set.hpp"

namespace srd {

CompletionCounter::CompletionCounter(Domain& owner, fi_wait_obj wait_object, void* context)
    : domain(owner), wait_obj(wait_object), group(owner.progress)
{
    fid.fid.fclass = FI_CLASS_CNTR;
    fid.fid.context = context;
    domain.retain();
}

CompletionCounter::~CompletionCounter()
{
    domain.release();
}

void CompletionCounter::count_for_domain()
{
    domain.progress.add_group(group);
}

void CompletionCounter::threshold_reached() noexcept
{
    domain.progress.due_work().mark_due();
}

CompletionCounter* counter_of(fid_cntr* object, const Domain& domain, const char* what) noexcept
{
    if (object != nullptr && object->fid.fclass == FI_CLASS_CNTR && &cntr_from(object).domain == &domain) {
        return &cntr_from(object);
    }
    SRD_WARN(FI_LOG_CNTR, "the %s counter is NULL or not one of this domain; open it with fi_cntr_open",
             what);
    return nullptr;
}

int CompletionCounter::wait(std::uint64_t threshold, int timeout_ms) noexcept
{
    // With FI_WAIT_NONE an application says that it will not wait; one that does all the same can be served.
    if (wait_obj == FI_WAIT_SET) {
        SRD_WARN(FI_LOG_CNTR,
                 "fi_cntr_wait: the counter was opened with FI_WAIT_SET; open it with FI_WAIT_UNSPEC");
        return -FI_EINVAL;
    }
    if (const int error = group.open_descriptors(); error != 0) {
        return error;
    }
    Waiter self{.threshold = threshold, .errors = errors.load(std::memory_order_seq_cst)};
    const Time end = end_of_wait(timeout_ms);
    {
        const std::lock_guard guard(waiters_mutex_);
        self.next = std::exchange(waiters_, &self);
    }
    const int result = sleep_until_done(self, end);
    const std::lock_guard guard(waiters_mutex_);
    Waiter** place = &waiters_;
    while (*place != &self) {
        place = &(*place)->next;
    }
    *place = self.next;
    return result;
}

int CompletionCounter::sleep_until_done(Waiter& self, Time end) noexcept
{
    while (true) {
        group.progress();
        if (is_done(self)) {
            take_news(read);
            return value.load(std::memory_order_seq_cst) >= self.threshold ? 0 : -FI_EAVAIL;
        }
        if (end != time_never && clock_now() >= end) {
            return -FI_ETIMEDOUT;
        }
        group.pause(wait_obj, end, [&] {
            if (is_done(self)) {
                return false;
            }
            pass_on(self);
            return true;
        });
    }
}

/// Arming took away the sign that something happened, which others sleep for, too: whose wait is over
/// must still wake.
void CompletionCounter::pass_on(const Waiter& self) noexcept
{
    const std::lock_guard guard(waiters_mutex_);
    for (const Waiter* other = waiters_; other != nullptr; other = other->next) {
        if (other != &self && is_done(*other)) {
            group.wake();
            return;
        }
    }
}

int CompletionCounter::try_wait() noexcept
{
    return group.try_wait([this] { return take_news(read); });
}

namespace {

CompletionCounter& as_counter(fid* object) noexcept
{
    return *static_cast<CompletionCounter*>(static_cast<void*>(object));
}

uint64_t cntr_read(fid_cntr* cntr)
{
    CompletionCounter& counter = cntr_from(cntr);
    counter.group.progress();
    const std::uint64_t value = counter.value.load(std::memory_order_acquire);
    counter.read.value.store(value, std::memory_order_relaxed);
    return value;
}

uint64_t cntr_readerr(fid_cntr* cntr)
{
    CompletionCounter& counter = cntr_from(cntr);
    counter.group.progress();
    const std::uint64_t errors = counter.errors.load(std::memory_order_acquire);
    counter.read.errors.store(errors, std::memory_order_relaxed);
    return errors;
}

int cntr_add(fid_cntr* cntr, uint64_t value)
{
    CompletionCounter& counter = cntr_from(cntr);
    counter.polled.value.fetch_add(value, std::memory_order_relaxed); // no news to fi_poll()
    counter.add(value);
    counter.domain.progress.due_work().run_due();
    return 0;
}

int cntr_set(fid_cntr* cntr, uint64_t value)
{
    CompletionCounter& counter = cntr_from(cntr);
    counter.polled.value.store(value, std::memory_order_relaxed);
    counter.set(value);
    counter.domain.progress.due_work().run_due();
    return 0;
}

int cntr_adderr(fid_cntr* cntr, uint64_t value)
{
    CompletionCounter& counter = cntr_from(cntr);
    counter.add_errors(value);
    counter.domain.progress.due_work().run_due();
    return 0;
}

int cntr_seterr(fid_cntr* cntr, uint64_t value)
{
    CompletionCounter& counter = cntr_from(cntr);
    counter.set_errors(value);
    counter.domain.progress.due_work().run_due();
    return 0;
}

int cntr_wait(fid_cntr* cntr, uint64_t threshold, int timeout)
{
    return cntr_from(cntr).wait(threshold, timeout);
}

int cntr_close(fid* object)
{
    CompletionCounter* counter = &as_counter(object);
    if (counter->domain.fabric.inherited()) {
        return 0;
    }
    Domain& domain = counter->domain;
    if (counter->group.has_members() || counter->regions.load() != 0 || counter->poll_sets.load() != 0 ||
        domain.progress.due_work().names(*counter)) {
        SRD_WARN(FI_LOG_CNTR, "fi_close: endpoints, memory regions, poll sets or triggered operations still "
                              "use the counter; close or cancel them first");
        return -FI_EBUSY;
    }
    if (counter->wait_set != nullptr) {
        counter->wait_set->remove(counter->fid.fid);
    }
    domain.progress.remove_group(counter->group);
    delete counter;
    return 0;
}

int cntr_control(fid* object, int command, void* argument)
{
    const CompletionCounter& counter = as_counter(object);
    if (argument == nullptr) {
        return -FI_EINVAL;
    }
    switch (command) {
    case FI_GETOPSFLAG:
        *static_cast<uint64_t*>(argument) = 0;
        return 0;
    case FI_SETOPSFLAG:
        return *static_cast<const uint64_t*>(argument) == 0 ? 0 : -FI_EINVAL;
    default:
        return control_wait(command, argument, counter.domain.fabric, counter.wait_obj,
                            counter.wait_obj == FI_WAIT_FD ? counter.group.fd() : -1);
    }
}

fi_ops cntr_fid_ops = {sizeof(fi_ops),  cntr_close, stubs::bind, cntr_control,
                       stubs::ops_open, nullptr,    nullptr};

fi_ops_cntr cntr_ops = {sizeof(fi_ops_cntr), cntr_read,   cntr_readerr, cntr_add, cntr_set,
                        cntr_wait,           cntr_adderr, cntr_seterr};

} // namespace

int cntr_open(fid_domain* domain, fi_cntr_attr* attr, fid_cntr** cntr, void* context) noexcept
{
    return guarded([&]() -> int {
        if (cntr == nullptr) {
            SRD_WARN(FI_LOG_CNTR, "fi_cntr_open: the result pointer is NULL");
            return -FI_EINVAL;
        }
        const unsigned wait_obj = attr != nullptr ? raw(attr->wait_obj) : unsigned{FI_WAIT_NONE};
        if (attr != nullptr && (attr->events != FI_CNTR_EVENTS_COMP || attr->flags != 0)) {
            SRD_WARN(FI_LOG_CNTR, "fi_cntr_open: only FI_CNTR_EVENTS_COMP without flags is served");
            return -FI_EINVAL;
        }
        if (wait_obj > FI_WAIT_FD && wait_obj != FI_WAIT_YIELD) {
            SRD_WARN(
                FI_LOG_CNTR,
                "fi_cntr_open: wait object %u is not served; use FI_WAIT_NONE, _UNSPEC, _SET, _FD or _YIELD",
                wait_obj);
            return -FI_ENOSYS;
        }
        Domain& owner = domain_from(domain);
        auto counter =
            std::make_unique<CompletionCounter>(owner, static_cast<fi_wait_obj>(wait_obj), context);
        if (const int error = open_wait(counter->fid.fid, counter->group, wait_obj,
                                        attr != nullptr ? attr->wait_set : nullptr, owner.fabric,
                                        cntr_trywait, counter->wait_set);
            error != 0) {
            return error;
        }
        counter->fid.fid.ops = &cntr_fid_ops;
        counter->fid.ops = &cntr_ops;
        *cntr = &counter.release()->fid;
        return 0;
    });
}

int cntr_trywait(fid* cntr) noexcept
{
    return as_counter(cntr).try_wait();
}

} // namespace srd
