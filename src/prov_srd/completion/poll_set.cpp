// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "completion/poll_set.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "common/c_api.hpp"
#include "common/stubs.hpp"
#include "completion/cntr.hpp"
#include "completion/cq.hpp"
#include "objects/domain.hpp"

namespace srd {
namespace {

/// Threading: every function may be called by any thread.
struct PollSet {
    explicit PollSet(Domain& owner) : domain(owner)
    {
        fid.fid.fclass = FI_CLASS_POLL;
        domain.retain();
    }
    ~PollSet() { domain.release(); }
    PollSet(const PollSet&) = delete;
    PollSet& operator=(const PollSet&) = delete;

    fid_poll fid{}; ///< must be first
    Domain& domain;
    std::mutex mutex; ///< before every other lock
    std::vector<::fid*> members;
};

PollSet& as_poll_set(fid* object) noexcept
{
    return *static_cast<PollSet*>(static_cast<void*>(object));
}

/// Counts the poll sets that `object` is in, or is null if no poll set of `domain` takes it.
std::atomic<std::uint32_t>* membership(fid* object, const Domain& domain) noexcept
{
    void* const pointer = object;
    if (object != nullptr && object->fclass == FI_CLASS_CQ) {
        CompletionQueue& queue = cq_from(static_cast<fid_cq*>(pointer));
        return &queue.domain == &domain ? &queue.poll_sets : nullptr;
    }
    if (object != nullptr && object->fclass == FI_CLASS_CNTR) {
        CompletionCounter& counter = cntr_from(static_cast<fid_cntr*>(pointer));
        return &counter.domain == &domain ? &counter.poll_sets : nullptr;
    }
    return nullptr;
}

bool has_news(fid* object) noexcept
{
    void* const pointer = object;
    if (object->fclass == FI_CLASS_CQ) {
        CompletionQueue& queue = cq_from(static_cast<fid_cq*>(pointer));
        queue.group.progress();
        return queue.has_entries();
    }
    CompletionCounter& counter = cntr_from(static_cast<fid_cntr*>(pointer));
    counter.group.progress();
    return counter.take_news(counter.polled);
}

int poll_poll(fid_poll* object, void** contexts, int count) noexcept
{
    if (contexts == nullptr || count <= 0) {
        SRD_WARN(FI_LOG_DOMAIN, "fi_poll: the array of contexts is NULL or empty");
        return -FI_EINVAL;
    }
    PollSet& set = as_poll_set(&object->fid);
    const std::lock_guard guard(set.mutex);
    int found = 0;
    for (fid* member : set.members) {
        if (found == count) {
            break;
        }
        if (has_news(member)) {
            contexts[found++] = member->context;
        }
    }
    return found;
}

int poll_add(fid_poll* object, fid* member, std::uint64_t flags) noexcept
{
    return guarded([&]() -> int {
        PollSet& set = as_poll_set(&object->fid);
        std::atomic<std::uint32_t>* const sets = membership(member, set.domain);
        if (sets == nullptr || flags != 0) {
            SRD_WARN(
                FI_LOG_DOMAIN,
                "fi_poll_add takes completion queues and counters of the poll set's domain, and no flags");
            return -FI_EINVAL;
        }
        const std::lock_guard guard(set.mutex);
        if (std::find(set.members.begin(), set.members.end(), member) != set.members.end()) {
            SRD_WARN(FI_LOG_DOMAIN, "fi_poll_add: the object is in the poll set already");
            return -FI_EALREADY;
        }
        set.members.push_back(member);
        sets->fetch_add(1);
        return 0;
    });
}

int poll_del(fid_poll* object, fid* member, std::uint64_t flags) noexcept
{
    PollSet& set = as_poll_set(&object->fid);
    const std::lock_guard guard(set.mutex);
    if (flags != 0 || std::erase(set.members, member) == 0) {
        SRD_WARN(FI_LOG_DOMAIN, "fi_poll_del: the object is not in the poll set, or there are flags");
        return -FI_EINVAL;
    }
    membership(member, set.domain)->fetch_sub(1);
    return 0;
}

int poll_close(fid* object) noexcept
{
    PollSet* set = &as_poll_set(object);
    if (set->domain.fabric.inherited()) {
        return 0;
    }
    {
        const std::lock_guard guard(set->mutex);
        if (!set->members.empty()) {
            SRD_WARN(FI_LOG_DOMAIN, "fi_close: the poll set holds %zu objects; call fi_poll_del first",
                     set->members.size());
            return -FI_EBUSY;
        }
    }
    delete set;
    return 0;
}

fi_ops poll_fid_ops = {sizeof(fi_ops),  poll_close, stubs::bind, stubs::control,
                       stubs::ops_open, nullptr,    nullptr};
fi_ops_poll poll_ops = {sizeof(fi_ops_poll), poll_poll, poll_add, poll_del};

} // namespace

int poll_open(fid_domain* domain, fi_poll_attr* attr, fid_poll** poll_set) noexcept
{
    return guarded([&]() -> int {
        if (poll_set == nullptr || (attr != nullptr && attr->flags != 0)) {
            SRD_WARN(FI_LOG_DOMAIN, "fi_poll_open: the result pointer is NULL, or there are flags");
            return -FI_EINVAL;
        }
        auto set = std::make_unique<PollSet>(domain_from(domain));
        set->fid.fid.ops = &poll_fid_ops;
        set->fid.ops = &poll_ops;
        *poll_set = &set.release()->fid;
        return 0;
    });
}

} // namespace srd
