// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "trigger/deferred_work.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "common/c_api.hpp"
#include "completion/cntr.hpp"
#include "objects/domain.hpp"

namespace srd {
namespace {

template <typename... Visitors>
struct Overloaded : Visitors... {
    using Visitors::operator()...;
};
template <typename... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;

/// What a queued operation does not need again: to be queued, and to wait for more of its kind.
constexpr std::uint64_t spent_flags = FI_TRIGGER | FI_MORE;

/// Where an operation's context, flags and deferral stand.
template <typename Arguments>
auto& request_of(Arguments& arguments) noexcept
{
    if constexpr (std::is_same_v<std::remove_const_t<Arguments>, ReceiveArguments>) {
        return arguments;
    } else {
        return arguments.request;
    }
}

/// Makes `items` point to a copy of itself in `to`. Arrays that an operation ignores (FI_ATOMIC_READ) may be
/// null or have any length.
template <typename Item>
void own(std::vector<Item>& to, const Item*& items, std::size_t count)
{
    if (items == nullptr || count > max_iov) {
        items = nullptr;
        return;
    }
    to.assign(items, items + count);
    items = to.data();
}

} // namespace

DeferredQueue& deferred_queue(const Domain& domain) noexcept
{
    return static_cast<DeferredQueue&>(domain.progress.due_work()); // domain_open() makes no other
}

// -- Queueing -----------------------------------------------------------------

template <typename Arguments>
void DeferredQueue::keep(Work& work, const Arguments& arguments)
{
    Arguments kept = arguments;
    if constexpr (std::is_same_v<Arguments, AtomicArguments>) {
        own(work.operands, kept.operands, kept.operand_count);
        own(work.compare, kept.compare, kept.compare_count);
        own(work.result, kept.result, kept.result_count);
        own(work.remote_operands, kept.remote, kept.remote_count);
    } else {
        own(work.iov, kept.iov, kept.count);
    }
    if constexpr (std::is_same_v<Arguments, RmaArguments>) {
        own(work.remote, kept.remote, kept.remote_count);
    }
    request_of(kept).flags &= ~spent_flags;
    work.operation = kept;
}

void DeferredQueue::insert(CompletionCounter& counter, std::uint64_t threshold, Work&& work)
{
    const Guard guard(*this);
    waiting_[&counter].emplace(threshold, std::move(work));
    counter.trigger_at.store(std::min(threshold, counter.trigger_at.load()), std::memory_order_seq_cst);
    // Either this sees the counter's last change, or that change saw the threshold.
    if (counter.total() >= threshold) {
        mark_due();
    }
}

template <typename Arguments>
ssize_t DeferredQueue::queue(OperationStarter& endpoint, const Arguments& arguments) noexcept
{
    const auto& request = request_of(arguments);
    if (!endpoint.triggerable() || !endpoint.enabled()) {
        SRD_WARN(FI_LOG_EP_DATA, "FI_TRIGGER: the endpoint %s",
                 endpoint.enabled() ? "was opened without the capability; ask fi_getinfo for FI_TRIGGER"
                                    : "is not enabled; call fi_enable first");
        return endpoint.enabled() ? -FI_EOPNOTSUPP : -FI_EOPBADSTATE;
    }
    CompletionCounter* counter = nullptr;
    std::uint64_t threshold = 0;
    if (request.deferral != nullptr) {
        counter = &cntr_from(request.deferral->work->triggering_cntr); // checked by queue_work()
        threshold = request.deferral->work->threshold;
    } else {
        const auto* condition = static_cast<const fi_triggered_context*>(request.context);
        if (condition == nullptr || raw(condition->event_type) != FI_TRIGGER_THRESHOLD ||
            (request.flags & FI_INJECT) != 0) {
            SRD_WARN(FI_LOG_EP_DATA,
                     "FI_TRIGGER goes with a context of type struct fi_triggered_context whose event is "
                     "FI_TRIGGER_THRESHOLD, and without FI_INJECT");
            return -FI_EINVAL;
        }
        threshold = condition->trigger.threshold.threshold;
        counter = counter_of(condition->trigger.threshold.cntr, endpoint.owner(), "triggering");
        if (counter == nullptr) {
            return -FI_EINVAL;
        }
    }
    return guarded([&]() -> ssize_t {
        Work work;
        work.endpoint = &endpoint;
        if (request.deferral != nullptr) {
            work.deferral = *request.deferral;
        }
        keep(work, arguments);
        insert(*counter, threshold, std::move(work));
        return 0;
    });
}

template ssize_t DeferredQueue::queue(OperationStarter&, const SendArguments&) noexcept;
template ssize_t DeferredQueue::queue(OperationStarter&, const RmaArguments&) noexcept;
template ssize_t DeferredQueue::queue(OperationStarter&, const AtomicArguments&) noexcept;
template ssize_t DeferredQueue::queue(OperationStarter&, const ReceiveArguments&) noexcept;

// -- Running ------------------------------------------------------------------

void DeferredQueue::run() noexcept
{
    do {
        if (!lock_.try_lock()) {
            return; // whoever has it looks again
        }
        clear_due();
        bool blocked = false;
        for (auto item = waiting_.begin(); item != waiting_.end();) {
            blocked |= run_counter(*item->first, item->second);
            item = item->second.empty() ? waiting_.erase(item) : std::next(item);
        }
        if (blocked) {
            mark_due();
        }
        lock_.unlock();
        if (blocked) {
            return; // until somebody has made a pass
        }
    } while (is_due());
}

/// True if work must be tried again after a pass.
bool DeferredQueue::run_counter(CompletionCounter& counter, Waiting& waiting) noexcept
{
    bool blocked = false;
    for (auto item = waiting.begin(); item != waiting.end() && item->first <= counter.total();) {
        Work& work = item->second;
        const bool ignores_errors = work.deferral.work == nullptr;
        if (ignores_errors && counter.value.load(std::memory_order_acquire) < item->first) {
            ++item;
            continue;
        }
        const ssize_t result = start(work);
        if (result == -FI_EAGAIN) {
            blocked = true;
            break;
        }
        if (result != 0) {
            SRD_WARN(FI_LOG_EP_DATA, "a triggered operation could not be started: %s",
                     fi_strerror(static_cast<int>(-result)));
        }
        item = waiting.erase(item);
    }
    update_trigger(counter, waiting);
    return blocked;
}

ssize_t DeferredQueue::start(Work& work) noexcept
{
    return std::visit(Overloaded{
                          [](const CounterChange& change) -> ssize_t {
                              change.adds ? change.counter->add(change.value)
                                          : change.counter->set(change.value);
                              return 0;
                          },
                          [&](SendArguments& arguments) {
                              arguments.request.deferral = &work.deferral;
                              return work.endpoint->send(arguments);
                          },
                          [&](RmaArguments& arguments) {
                              arguments.request.deferral = &work.deferral;
                              return work.endpoint->access(arguments);
                          },
                          [&](AtomicArguments& arguments) {
                              arguments.request.deferral = &work.deferral;
                              return work.endpoint->atomic(arguments);
                          },
                          [&](ReceiveArguments& arguments) {
                              arguments.deferral = &work.deferral;
                              return work.endpoint->receive(arguments);
                          },
                      },
                      work.operation);
}

void DeferredQueue::update_trigger(CompletionCounter& counter, const Waiting& waiting) noexcept
{
    counter.trigger_at.store(waiting.empty() ? UINT64_MAX : waiting.begin()->first,
                             std::memory_order_seq_cst);
}

// -- Canceling ----------------------------------------------------------------

template <typename Match>
bool DeferredQueue::drop(Match&& match) noexcept
{
    bool found = false;
    for (auto item = waiting_.begin(); item != waiting_.end();) {
        CompletionCounter& counter = *item->first;
        Waiting& waiting = item->second;
        found |= std::erase_if(waiting, [&](const auto& entry) { return match(counter, entry.second); }) != 0;
        update_trigger(counter, waiting);
        item = waiting.empty() ? waiting_.erase(item) : std::next(item);
    }
    return found;
}

bool DeferredQueue::cancel(const OperationStarter& endpoint, const void* context) noexcept
{
    const auto is_meant = [&](const Work& work) {
        return work.endpoint == &endpoint && work.deferral.work == nullptr && context_of(work) == context;
    };
    const Guard guard(*this);
    for (auto& [counter, waiting] : waiting_) {
        const auto item = std::find_if(waiting.begin(), waiting.end(),
                                       [&](const auto& entry) { return is_meant(entry.second); });
        if (item == waiting.end()) {
            continue;
        }
        item->second.deferral.canceled = true;
        start(item->second); // which reports it
        waiting.erase(item);
        update_trigger(*counter, waiting);
        return true; // an empty list goes with the next run
    }
    return false;
}

const void* DeferredQueue::context_of(const Work& work) noexcept
{
    return std::visit(Overloaded{
                          [](const CounterChange&) -> const void* { return nullptr; },
                          [](const auto& arguments) -> const void* { return request_of(arguments).context; },
                      },
                      work.operation);
}

void DeferredQueue::forget(const OperationStarter& endpoint) noexcept
{
    const Guard guard(*this);
    drop([&](const CompletionCounter&, const Work& work) { return work.endpoint == &endpoint; });
}

bool DeferredQueue::names(const CompletionCounter& counter) noexcept
{
    const auto names_it = [&](const Work& work) {
        const auto* change = std::get_if<CounterChange>(&work.operation);
        return work.deferral.counter == &counter || (change != nullptr && change->counter == &counter);
    };
    const Guard guard(*this);
    for (const auto& [triggering, waiting] : waiting_) {
        if ((triggering == &counter && !waiting.empty()) ||
            std::any_of(waiting.begin(), waiting.end(),
                        [&](const auto& entry) { return names_it(entry.second); })) {
            return true;
        }
    }
    bool found = false;
    domain_.for_each([&](ProgressMember& endpoint) { found = found || endpoint.counts_work_by(counter); });
    return found;
}

// -- Deferred work ------------------------------------------------------------

void DeferredQueue::queue_change(CompletionCounter& counter, std::uint64_t value, bool adds,
                                 CompletionCounter& triggering, const fi_deferred_work& work)
{
    Work change;
    change.deferral.work = &work;
    change.operation = CounterChange{&counter, value, adds};
    insert(triggering, work.threshold, std::move(change));
}

int DeferredQueue::cancel_work(const fi_deferred_work& work) noexcept
{
    const Guard guard(*this);
    const bool found =
        drop([&](const CompletionCounter&, const Work& item) { return item.deferral.work == &work; });
    return found ? 0 : -FI_ENOENT;
}

void DeferredQueue::flush_work(const CompletionCounter* counter) noexcept
{
    const Guard guard(*this);
    drop([&](const CompletionCounter& triggering, const Work& item) {
        return item.deferral.work != nullptr && (counter == nullptr || counter == &triggering);
    });
}

} // namespace srd
