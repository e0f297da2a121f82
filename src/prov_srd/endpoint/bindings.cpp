// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "endpoint/bindings.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "common/log.hpp"
#include "completion/cntr.hpp"
#include "completion/cq.hpp"
#include "objects/domain.hpp"
#include "objects/eq.hpp"

namespace srd {
namespace {

constexpr std::uint64_t transmit_caps = FI_SEND | FI_READ | FI_WRITE;
constexpr std::uint64_t receive_caps = FI_RECV | FI_REMOTE_READ | FI_REMOTE_WRITE;

/// fi_getinfo(3): without a direction both are meant.
constexpr bool needs_transmit(std::uint64_t caps) noexcept
{
    return (caps & transmit_caps) != 0 || (caps & receive_caps) == 0;
}
constexpr bool needs_receive(std::uint64_t caps) noexcept
{
    return (caps & FI_RECV) != 0 || (caps & (transmit_caps | receive_caps)) == 0;
}

constexpr std::array<std::pair<std::uint64_t, CompletionCounter * OperationCounters::*>, 6> counter_places{{
    {FI_SEND | FI_TRANSMIT, &OperationCounters::send},
    {FI_RECV, &OperationCounters::receive},
    {FI_READ, &OperationCounters::read},
    {FI_WRITE, &OperationCounters::write},
    {FI_REMOTE_READ, &OperationCounters::remote_read},
    {FI_REMOTE_WRITE, &OperationCounters::remote_write},
}};

} // namespace

int Bindings::bind_vector(AddressVector& av)
{
    if (&av.domain != &domain_ || av_ != nullptr) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_ep_bind: %s",
                 av_ != nullptr ? "the endpoint has an address vector already"
                                : "the address vector belongs to another domain");
        return -FI_EINVAL;
    }
    av.attach(observer_);
    av_ = &av;
    return 0;
}

int Bindings::bind_queue(CompletionQueue& cq, std::uint64_t flags)
{
    if (&cq.domain != &domain_) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_ep_bind: the completion queue belongs to another domain");
        return -FI_EINVAL;
    }
    if ((flags & ~(FI_TRANSMIT | FI_RECV | FI_SELECTIVE_COMPLETION)) != 0 ||
        (flags & (FI_TRANSMIT | FI_RECV)) == 0) {
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_ep_bind: a completion queue takes FI_TRANSMIT, FI_RECV and "
                 "FI_SELECTIVE_COMPLETION; flags are %#llx",
                 static_cast<unsigned long long>(flags));
        return -FI_EBADFLAGS;
    }
    if (((flags & FI_TRANSMIT) != 0 && tx_cq_ != nullptr) || ((flags & FI_RECV) != 0 && rx_cq_ != nullptr)) {
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_ep_bind: the endpoint has a completion queue for that direction already");
        return -FI_EINVAL;
    }
    if (&cq != tx_cq_ && &cq != rx_cq_) {
        cq.group.attach(unit_);
    }
    const bool selective = (flags & FI_SELECTIVE_COMPLETION) != 0;
    if ((flags & FI_TRANSMIT) != 0) {
        tx_cq_ = &cq;
        tx_selective_ = selective;
    }
    if ((flags & FI_RECV) != 0) {
        rx_cq_ = &cq;
        rx_selective_ = selective;
    }
    return 0;
}

int Bindings::bind_counter(CompletionCounter& counter, std::uint64_t flags)
{
    constexpr std::uint64_t known =
        FI_SEND | FI_TRANSMIT | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
    if (&counter.domain != &domain_) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_ep_bind: the counter belongs to another domain");
        return -FI_EINVAL;
    }
    if ((flags & ~known) != 0 || flags == 0) {
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_ep_bind: a counter takes FI_SEND, FI_RECV, FI_READ, FI_WRITE, FI_REMOTE_READ "
                 "and FI_REMOTE_WRITE; flags are %#llx",
                 static_cast<unsigned long long>(flags));
        return -FI_EBADFLAGS;
    }
    OperationCounters changed;
    {
        const UnitGuard guard(unit_);
        changed = counters_;
    }
    for (const auto& [kind, place] : counter_places) {
        if ((flags & kind) == 0) {
            continue;
        }
        if (changed.*place != nullptr) {
            SRD_WARN(FI_LOG_EP_CTRL,
                     "fi_ep_bind: the endpoint has a counter for that kind of operation already");
            return -FI_EINVAL;
        }
        changed.*place = &counter;
    }
    if (std::find(counters_bound_.begin(), counters_bound_.end(), &counter) == counters_bound_.end()) {
        counters_bound_.reserve(counters_bound_.size() + 1);
        counter.group.attach(unit_);
        counters_bound_.push_back(&counter);
    }
    const UnitGuard guard(unit_); // the endpoint may be enabled
    counters_ = changed;
    return 0;
}

int Bindings::bind_events(EventQueue& events)
{
    if (event_queue_ != nullptr) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_ep_bind: the endpoint has an event queue already");
        return -FI_EINVAL;
    }
    event_queue_ = &events;
    event_queue_->bound.fetch_add(1);
    return 0;
}

int Bindings::bind(::fid& object, std::uint64_t flags)
{
    // Sandia OpenSHMEM binds counters to an enabled endpoint, and other providers let it.
    if (unit_.enabled() && object.fclass != FI_CLASS_CNTR) {
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_ep_bind: the endpoint is enabled; bind everything but counters before fi_enable");
        return -FI_EOPBADSTATE;
    }
    void* const pointer = &object;
    switch (object.fclass) {
    case FI_CLASS_AV:
        return bind_vector(av_from(static_cast<fid_av*>(pointer)));
    case FI_CLASS_CQ:
        return bind_queue(cq_from(static_cast<fid_cq*>(pointer)), flags);
    case FI_CLASS_CNTR:
        return bind_counter(cntr_from(static_cast<fid_cntr*>(pointer)), flags);
    case FI_CLASS_EQ:
        return bind_events(eq_from(static_cast<fid_eq*>(pointer)));
    default:
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_ep_bind: objects of class %zu cannot be bound to an endpoint; bind address "
                 "vectors, completion queues, counters and event queues",
                 object.fclass);
        return -FI_EINVAL;
    }
}

int Bindings::check() const noexcept
{
    if (av_ == nullptr) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_enable: bind an address vector first");
        return -FI_ENOAV;
    }
    if ((needs_transmit(caps_) && tx_cq_ == nullptr) || (needs_receive(caps_) && rx_cq_ == nullptr)) {
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_enable: bind a completion queue with FI_TRANSMIT and one (or the same) with "
                 "FI_RECV first");
        return -FI_ENOCQ;
    }
    return 0;
}

template <typename Body>
void Bindings::for_each_group(Body&& body) noexcept
{
    if (tx_cq_ != nullptr) {
        body(tx_cq_->group);
    }
    if (rx_cq_ != nullptr && rx_cq_ != tx_cq_) {
        body(rx_cq_->group);
    }
    for (CompletionCounter* counter : counters_bound_) {
        body(counter->group);
    }
}

void Bindings::announce() noexcept
{
    for_each_group([this](ProgressGroup& group) { group.member_enabled(unit_); });
}

void Bindings::leave_groups() noexcept
{
    for_each_group([this](ProgressGroup& group) { group.detach(unit_); });
}

void Bindings::release() noexcept
{
    if (av_ != nullptr) {
        av_->detach(observer_);
    }
    if (event_queue_ != nullptr) {
        event_queue_->bound.fetch_sub(1);
    }
}

} // namespace srd
