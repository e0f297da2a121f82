// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "objects/wait_set.hpp"

#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>

#include <sys/epoll.h>

#include "common/c_api.hpp"
#include "common/stubs.hpp"
#include "objects/fabric.hpp"
#include "progress/clock.hpp"
#include "progress/progress_group.hpp"

namespace srd {

WaitSet::WaitSet(Fabric& owner, fi_wait_obj wait_object)
    : fabric(owner), wait_obj(wait_object), descriptor(epoll_create1(EPOLL_CLOEXEC))
{
    if (!descriptor.valid()) {
        throw std::system_error(errno, std::generic_category(),
                                "cannot make the wait set's descriptor (see ulimit -n)");
    }
    fid.fid.fclass = FI_CLASS_WAIT;
    fabric.retain();
}

WaitSet::~WaitSet()
{
    SRD_CHECK(members_.empty());
    fabric.release();
}

int WaitSet::add(::fid& object, int member_descriptor, TryWait object_try_wait)
{
    const std::lock_guard guard(mutex_);
    members_.reserve(members_.size() + 1);
    epoll_event interest{};
    interest.events = EPOLLIN;
    if (epoll_ctl(descriptor.get(), EPOLL_CTL_ADD, member_descriptor, &interest) != 0) {
        const int error = errno;
        SRD_WARN(FI_LOG_FABRIC, "a wait set cannot watch another descriptor: %s", strerror(error));
        return -error;
    }
    members_.push_back({&object, object_try_wait});
    return 0;
}

void WaitSet::remove(const ::fid& object) noexcept
{
    const std::lock_guard guard(mutex_);
    SRD_CHECK(std::erase_if(members_, [&](const Member& each) { return each.object == &object; }) == 1);
}

std::size_t WaitSet::size() noexcept
{
    const std::lock_guard guard(mutex_);
    return members_.size();
}

int open_wait(::fid& object, ProgressGroup& group, unsigned wait_obj, fid_wait* wanted, const Fabric& fabric,
              WaitSet::TryWait object_try_wait, WaitSet*& set)
{
    if (wait_obj != FI_WAIT_FD && wait_obj != FI_WAIT_SET) {
        return 0;
    }
    WaitSet* const found = wait_obj == FI_WAIT_SET ? wait_set_of(wanted, fabric) : nullptr;
    if (wait_obj == FI_WAIT_SET && found == nullptr) {
        return -FI_EINVAL;
    }
    if (const int error = group.open_descriptors(); error != 0 || found == nullptr) {
        return error;
    }
    const int error = found->add(object, group.fd(), object_try_wait);
    set = error == 0 ? found : nullptr;
    return error;
}

int WaitSet::try_wait() noexcept
{
    if (fabric.inherited()) {
        return refuse_in_child("waiting for a wait set");
    }
    const std::lock_guard guard(mutex_);
    for (const Member& member : members_) {
        if (const int code = member.try_wait(member.object); code != 0) {
            return code;
        }
    }
    return 0;
}

int WaitSet::wait(int timeout_ms) noexcept
{
    const Time end = end_of_wait(timeout_ms);
    while (true) {
        if (const int code = try_wait(); code != 0) {
            return code == -FI_EAGAIN ? 0 : code;
        }
        if (end != time_never && clock_now() >= end) {
            return -FI_ETIMEDOUT;
        }
        sleep_on(descriptor.get(), end);
    }
}

WaitSet* wait_set_of(fid_wait* object, const Fabric& fabric) noexcept
{
    if (object != nullptr && object->fid.fclass == FI_CLASS_WAIT) {
        auto* set = static_cast<WaitSet*>(static_cast<void*>(object));
        if (&set->fabric == &fabric) {
            return set;
        }
    }
    SRD_WARN(FI_LOG_FABRIC,
             "FI_WAIT_SET: wait_set is not a wait set of this fabric; open it with fi_wait_open");
    return nullptr;
}

int control_wait(int command, void* argument, const Fabric& fabric, fi_wait_obj wait_obj,
                 int descriptor) noexcept
{
    if (command != FI_GETWAIT && command != FI_GETWAITOBJ) {
        return -FI_ENOSYS;
    }
    if (argument == nullptr) {
        SRD_WARN(FI_LOG_FABRIC, "FI_GETWAIT, FI_GETWAITOBJ: the result pointer is NULL");
        return -FI_EINVAL;
    }
    if (command == FI_GETWAITOBJ) {
        *static_cast<fi_wait_obj*>(argument) = wait_obj;
        return 0;
    }
    if (fabric.inherited()) {
        return refuse_in_child("FI_GETWAIT");
    }
    if (descriptor < 0) {
        SRD_WARN(FI_LOG_FABRIC,
                 "FI_GETWAIT: the object has no descriptor of its own; open it with FI_WAIT_FD");
        return -FI_ENODATA;
    }
    *static_cast<int*>(argument) = descriptor;
    return 0;
}

namespace {

WaitSet& as_wait_set(fid* object) noexcept
{
    return *static_cast<WaitSet*>(static_cast<void*>(object));
}

int wait_close(fid* object) noexcept
{
    WaitSet* set = &as_wait_set(object);
    if (set->fabric.inherited()) {
        return 0;
    }
    if (const std::size_t members = set->size(); members != 0) {
        SRD_WARN(FI_LOG_FABRIC, "fi_close: %zu queues or counters still use the wait set; close them first",
                 members);
        return -FI_EBUSY;
    }
    delete set;
    return 0;
}

int wait_control(fid* object, int command, void* argument) noexcept
{
    const WaitSet& set = as_wait_set(object);
    return control_wait(command, argument, set.fabric, set.wait_obj,
                        set.wait_obj == FI_WAIT_FD ? set.descriptor.get() : -1);
}

int wait_wait(fid_wait* object, int timeout) noexcept
{
    return as_wait_set(&object->fid).wait(timeout);
}

fi_ops wait_fid_ops = {sizeof(fi_ops),  wait_close, stubs::bind, wait_control,
                       stubs::ops_open, nullptr,    nullptr};
fi_ops_wait wait_ops = {sizeof(fi_ops_wait), wait_wait};

} // namespace

int wait_set_trywait(fid* set) noexcept
{
    return as_wait_set(set).try_wait();
}

int wait_open(fid_fabric* fabric, fi_wait_attr* attr, fid_wait** wait_set) noexcept
{
    return guarded([&]() -> int {
        if (wait_set == nullptr || (attr != nullptr && attr->flags != 0)) {
            SRD_WARN(FI_LOG_FABRIC, "fi_wait_open: the result pointer is NULL, or there are flags");
            return -FI_EINVAL;
        }
        const unsigned wait_obj = attr != nullptr ? raw(attr->wait_obj) : unsigned{FI_WAIT_UNSPEC};
        if (wait_obj != FI_WAIT_UNSPEC && wait_obj != FI_WAIT_FD) {
            SRD_WARN(FI_LOG_FABRIC, "fi_wait_open: wait object %u is not served; use FI_WAIT_UNSPEC or _FD",
                     wait_obj);
            return -FI_ENOSYS;
        }
        auto set = std::make_unique<WaitSet>(fabric_from(fabric), static_cast<fi_wait_obj>(wait_obj));
        set->fid.fid.ops = &wait_fid_ops;
        set->fid.ops = &wait_ops;
        *wait_set = &set.release()->fid;
        return 0;
    });
}

} // namespace srd
