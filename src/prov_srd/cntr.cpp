// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "cntr.hpp"

#include <algorithm>
#include <memory>

#include "boundary.hpp"
#include "endpoint.hpp"
#include "fabric_domain.hpp"
#include "stubs.hpp"

namespace srd {

CompletionCounter::CompletionCounter(Domain& owner, fi_wait_obj wait_object, void* context)
    : domain(owner), wait_obj(wait_object), group(owner)
{
    fid.fid.fclass = FI_CLASS_CNTR;
    fid.fid.context = context;
}

namespace {

CompletionCounter& self(fid* object) noexcept
{
    return *static_cast<CompletionCounter*>(static_cast<void*>(object));
}

uint64_t cntr_read(fid_cntr* cntr)
{
    CompletionCounter& counter = cntr_from(cntr);
    counter.group.progress();
    return counter.value.load(std::memory_order_acquire);
}

uint64_t cntr_readerr(fid_cntr* cntr)
{
    CompletionCounter& counter = cntr_from(cntr);
    counter.group.progress();
    return counter.errors.load(std::memory_order_acquire);
}

int cntr_add(fid_cntr* cntr, uint64_t value)
{
    CompletionCounter& counter = cntr_from(cntr);
    counter.value.fetch_add(value, std::memory_order_acq_rel);
    counter.group.notify();
    return 0;
}

int cntr_set(fid_cntr* cntr, uint64_t value)
{
    CompletionCounter& counter = cntr_from(cntr);
    counter.value.store(value, std::memory_order_release);
    counter.group.notify();
    return 0;
}

int cntr_adderr(fid_cntr* cntr, uint64_t value)
{
    CompletionCounter& counter = cntr_from(cntr);
    counter.errors.fetch_add(value, std::memory_order_acq_rel);
    counter.group.notify();
    return 0;
}

int cntr_seterr(fid_cntr* cntr, uint64_t value)
{
    CompletionCounter& counter = cntr_from(cntr);
    counter.errors.store(value, std::memory_order_release);
    counter.group.notify();
    return 0;
}

int cntr_wait(fid_cntr* cntr, uint64_t threshold, int timeout)
{
    CompletionCounter& counter = cntr_from(cntr);
    if (counter.wait_obj == FI_WAIT_NONE) {
        SRD_WARN(FI_LOG_CNTR,
                 "fi_cntr_wait: the counter was opened with FI_WAIT_NONE; open it with FI_WAIT_UNSPEC");
        return -FI_EINVAL;
    }
    if (const int error = counter.group.open_descriptors(); error != 0) {
        return error;
    }
    const std::uint64_t errors = counter.errors.load(std::memory_order_acquire);
    const Time end = timeout < 0 ? time_never : clock_now() + std::chrono::milliseconds(timeout);
    const auto done = [&] {
        return counter.value.load(std::memory_order_acquire) >= threshold ||
               counter.errors.load(std::memory_order_acquire) != errors;
    };
    while (true) {
        counter.group.progress();
        if (done()) {
            return counter.errors.load(std::memory_order_acquire) != errors ? -FI_EAVAIL : 0;
        }
        if (end != time_never && clock_now() >= end) {
            return -FI_ETIMEDOUT;
        }
        Time deadline{};
        if (!counter.group.arm(deadline)) {
            continue;
        }
        if (!done()) {
            counter.group.sleep(std::min(deadline, end));
        }
        counter.group.disarm();
    }
}

int cntr_close(fid* object)
{
    CompletionCounter* counter = &self(object);
    if (counter->group.has_members()) {
        SRD_WARN(FI_LOG_CNTR, "fi_close: endpoints still use the counter; close them first");
        return -FI_EBUSY;
    }
    Domain& domain = counter->domain;
    delete counter;
    domain.release();
    return 0;
}

int cntr_control(fid* object, int command, void* argument)
{
    CompletionCounter& counter = self(object);
    if (argument == nullptr) {
        return -FI_EINVAL;
    }
    switch (command) {
    case FI_GETWAIT:
        if (counter.wait_obj != FI_WAIT_FD) {
            SRD_WARN(FI_LOG_CNTR, "FI_GETWAIT: the counter has no descriptor; open it with FI_WAIT_FD");
            return -FI_ENODATA;
        }
        *static_cast<int*>(argument) = counter.group.fd();
        return 0;
    case FI_GETWAITOBJ:
        *static_cast<fi_wait_obj*>(argument) = counter.wait_obj;
        return 0;
    case FI_GETOPSFLAG:
        *static_cast<uint64_t*>(argument) = 0;
        return 0;
    case FI_SETOPSFLAG:
        return *static_cast<const uint64_t*>(argument) == 0 ? 0 : -FI_EINVAL;
    default:
        return -FI_ENOSYS;
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
        const fi_wait_obj wait_obj = attr != nullptr ? attr->wait_obj : FI_WAIT_NONE;
        if (attr != nullptr && (attr->events != FI_CNTR_EVENTS_COMP || attr->flags != 0)) {
            SRD_WARN(FI_LOG_CNTR, "fi_cntr_open: only FI_CNTR_EVENTS_COMP without flags is served");
            return -FI_EINVAL;
        }
        if (wait_obj != FI_WAIT_NONE && wait_obj != FI_WAIT_UNSPEC && wait_obj != FI_WAIT_FD) {
            SRD_WARN(FI_LOG_CNTR,
                     "fi_cntr_open: wait object %d is not served; use FI_WAIT_NONE, _UNSPEC or _FD",
                     static_cast<int>(wait_obj));
            return -FI_ENOSYS;
        }
        Domain& owner = domain_from(domain);
        auto counter = std::make_unique<CompletionCounter>(owner, wait_obj, context);
        if (wait_obj == FI_WAIT_FD) {
            if (const int error = counter->group.open_descriptors(); error != 0) {
                return error;
            }
        }
        counter->fid.fid.ops = &cntr_fid_ops;
        counter->fid.ops = &cntr_ops;
        owner.retain();
        *cntr = &counter.release()->fid;
        return 0;
    });
}

int cntr_trywait(fid* cntr) noexcept
{
    CompletionCounter& counter = self(cntr);
    if (const int error = counter.group.open_descriptors(); error != 0) {
        return error;
    }
    counter.group.progress();
    return counter.group.arm_for_fd() ? 0 : -FI_EAGAIN;
}

} // namespace srd
