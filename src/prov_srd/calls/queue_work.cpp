// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_control(3) of a domain: FI_QUEUE_WORK makes the call that a struct
// fi_deferred_work describes, with FI_TRIGGER; the rest is DeferredQueue's.
#include "calls/queue_work.hpp"

#include <rdma/fi_trigger.h>

#include "common/c_api.hpp"
#include "completion/cntr.hpp"
#include "endpoint/endpoint.hpp"
#include "memory/descriptor.hpp"
#include "objects/domain.hpp"
#include "trigger/deferred_work.hpp"

namespace srd {
namespace {

Endpoint* checked_endpoint(fid_ep* object, const Domain& domain)
{
    if (object != nullptr && object->fid.fclass == FI_CLASS_EP && &endpoint_from(object).domain == &domain) {
        return &endpoint_from(object);
    }
    SRD_WARN(FI_LOG_EP_DATA, "FI_QUEUE_WORK: the endpoint is NULL or not one of this domain");
    return nullptr;
}

int queue_counter_change(Domain& domain, CompletionCounter& triggering, const fi_deferred_work& work)
{
    CompletionCounter* counter = counter_of(work.op.cntr->cntr, domain, "operation's");
    if (counter == nullptr) {
        return -FI_EINVAL;
    }
    if (work.completion_cntr != nullptr) {
        SRD_WARN(FI_LOG_DOMAIN, "FI_QUEUE_WORK: completion_cntr must be NULL for counter operations");
        return -FI_EINVAL;
    }
    counter->count_for_domain();
    deferred_queue(domain).queue_change(*counter, work.op.cntr->value, work.op_type == FI_OP_CNTR_ADD,
                                        triggering, work);
    return 0;
}

/// The call that the application would have made with FI_TRIGGER.
ssize_t call(OperationStarter& endpoint, const fi_deferred_work& work, const Deferral& deferral) noexcept
{
    const auto request = [&](const auto& op) {
        return Request{op.msg.addr, op.msg.data, op.msg.context, op.flags | FI_TRIGGER, false, &deferral};
    };
    const auto receive = [&](const auto& op, std::uint64_t tag, std::uint64_t ignore,
                             bool tagged) -> ssize_t {
        if ((op.flags & (FI_PEEK | FI_CLAIM | FI_DISCARD)) != 0) {
            SRD_WARN(FI_LOG_DOMAIN, "FI_QUEUE_WORK: a receive cannot search for messages");
            return -FI_ENOSYS;
        }
        return endpoint.receive({op.msg.msg_iov, op.msg.iov_count, op.msg.addr, tag, ignore, op.msg.context,
                                 op.flags | FI_TRIGGER, tagged, &deferral,
                                 device_of(op.msg.desc, op.msg.iov_count)});
    };
    const auto atomic = [&](const auto& op, AtomicForm form, const fi_msg_compare& compare,
                            const fi_msg_fetch& fetch) {
        return endpoint.atomic(
            {request(op), form, op.msg.msg_iov, op.msg.iov_count, compare.msg_iov, compare.iov_count,
             fetch.msg_iov, fetch.iov_count, op.msg.rma_iov, op.msg.rma_iov_count, raw(op.msg.datatype),
             raw(op.msg.op), device_of(op.msg.desc, op.msg.iov_count),
             device_of(compare.desc, compare.iov_count), device_of(fetch.desc, fetch.iov_count)});
    };
    switch (work.op_type) {
    case FI_OP_RECV:
        return receive(*work.op.msg, 0, 0, false);
    case FI_OP_TRECV:
        return receive(*work.op.tagged, work.op.tagged->msg.tag, work.op.tagged->msg.ignore, true);
    case FI_OP_SEND: {
        const fi_op_msg& op = *work.op.msg;
        return endpoint.send({request(op), op.msg.msg_iov, op.msg.iov_count, 0, false,
                              device_of(op.msg.desc, op.msg.iov_count)});
    }
    case FI_OP_TSEND: {
        const fi_op_tagged& op = *work.op.tagged;
        return endpoint.send({request(op), op.msg.msg_iov, op.msg.iov_count, op.msg.tag, true,
                              device_of(op.msg.desc, op.msg.iov_count)});
    }
    case FI_OP_READ:
    case FI_OP_WRITE: {
        const fi_op_rma& op = *work.op.rma;
        return endpoint.access({request(op), op.msg.msg_iov, op.msg.iov_count, op.msg.rma_iov,
                                op.msg.rma_iov_count, work.op_type == FI_OP_READ,
                                device_of(op.msg.desc, op.msg.iov_count)});
    }
    case FI_OP_ATOMIC:
        return atomic(*work.op.atomic, AtomicForm::base, {}, {});
    case FI_OP_FETCH_ATOMIC:
        return atomic(*work.op.fetch_atomic, AtomicForm::fetch, {}, work.op.fetch_atomic->fetch);
    case FI_OP_COMPARE_ATOMIC:
        return atomic(*work.op.compare_atomic, AtomicForm::compare, work.op.compare_atomic->compare,
                      work.op.compare_atomic->fetch);
    case FI_OP_CNTR_SET:
    case FI_OP_CNTR_ADD:
        break; // queue_counter_change()
    }
    return -FI_ENOSYS;
}

int queue_work(Domain& domain, const fi_deferred_work& work)
{
    CompletionCounter* triggering = counter_of(work.triggering_cntr, domain, "triggering");
    if (triggering == nullptr || work.op.msg == nullptr) {
        return -FI_EINVAL;
    }
    triggering->count_for_domain();
    const unsigned kind = raw(work.op_type);
    if (kind == FI_OP_CNTR_SET || kind == FI_OP_CNTR_ADD) {
        return queue_counter_change(domain, *triggering, work);
    }
    if (kind > FI_OP_CNTR_ADD) {
        SRD_WARN(FI_LOG_DOMAIN, "FI_QUEUE_WORK: operation %u is not served", kind);
        return -FI_ENOSYS;
    }
    Deferral deferral{.work = &work, .counter = nullptr, .canceled = false};
    if (work.completion_cntr != nullptr) {
        deferral.counter = counter_of(work.completion_cntr, domain, "completion");
        if (deferral.counter == nullptr) {
            return -FI_EINVAL;
        }
        deferral.counter->count_for_domain();
    }
    // Every kind of operation begins with its endpoint.
    Endpoint* endpoint = checked_endpoint(work.op.msg->ep, domain);
    return endpoint == nullptr ? -FI_EINVAL : static_cast<int>(call(*endpoint, work, deferral));
}

} // namespace

int domain_control(fid* object, int command, void* argument) noexcept
{
    Domain& domain = domain_from(static_cast<fid_domain*>(static_cast<void*>(object)));
    switch (command) {
    case FI_QUEUE_WORK:
    case FI_CANCEL_WORK: {
        const auto* work = static_cast<const fi_deferred_work*>(argument);
        if (work == nullptr) {
            SRD_WARN(FI_LOG_DOMAIN, "FI_QUEUE_WORK, FI_CANCEL_WORK: the work is NULL");
            return -FI_EINVAL;
        }
        return command == FI_QUEUE_WORK ? guarded([&] { return queue_work(domain, *work); })
                                        : deferred_queue(domain).cancel_work(*work);
    }
    case FI_FLUSH_WORK: {
        auto* counter = static_cast<fid_cntr*>(argument);
        if (counter != nullptr && counter->fid.fclass != FI_CLASS_CNTR) {
            SRD_WARN(FI_LOG_DOMAIN, "FI_FLUSH_WORK goes with a triggering counter, or NULL for all work");
            return -FI_EINVAL;
        }
        deferred_queue(domain).flush_work(counter != nullptr ? &cntr_from(counter) : nullptr);
        return 0;
    }
    default:
        return -FI_ENOSYS;
    }
}

} // namespace srd
