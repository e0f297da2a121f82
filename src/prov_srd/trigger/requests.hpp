// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What libfabric's data transfer calls say, without their nine spellings each.
#pragma once

#include <cstddef>
#include <cstdint>

#include <rdma/fabric.h>
#include <rdma/fi_atomic.h>
#include <rdma/fi_rma.h>

#include <srd/iov.hpp>

#include "common/atomic_form.hpp"
#include "completion/counted_by.hpp"

struct fi_deferred_work;

namespace srd {

struct Domain;

/// How an operation of fi_trigger(3) differs from others (deferred_work.hpp).
struct Deferral {
    const fi_deferred_work* work; ///< the application's name for deferred work; null: a triggered operation
    CompletionCounter* counter;   ///< counts the work, or null
    bool canceled;                ///< it is only to be reported as such

    /// Deferred work reports to its own counter, to the endpoint's counters and queues only if it asks for
    /// it.
    void redirect(CountedBy& counted_by, bool& silent, std::uint64_t flags) const noexcept
    {
        if (work == nullptr) {
            return;
        }
        counted_by.work = counter;
        if ((flags & FI_COMPLETION) == 0) {
            silent = true;
            counted_by.endpoint = nullptr;
        } else if (counted_by.endpoint == counter) {
            counted_by.endpoint = nullptr; // counted once
        }
    }
};

/// What every call that starts something at a peer says.
struct Request {
    fi_addr_t to;
    std::uint64_t data; ///< remote CQ data
    void* context;
    std::uint64_t flags; ///< operation flags of fi_msg(3), fi_rma(3)
    bool silent;         ///< fi_inject and its kin: never a completion entry
    const Deferral* deferral = nullptr;
};

/// A send of any kind.
struct SendArguments {
    Request request;
    const iovec* iov;
    std::size_t count;
    std::uint64_t tag;
    bool tagged;
    DeviceId device = DeviceId::host; ///< whose memory the buffers are, as a whole or in part
};

/// A read or write of a peer's registered memory.
struct RmaArguments {
    Request request;
    const iovec* iov;
    std::size_t count;
    const fi_rma_iov* remote;
    std::size_t remote_count;
    bool is_read;
    DeviceId device = DeviceId::host;
};

/// An atomic on a peer's registered memory. Arrays that a call does not have are null and empty.
struct AtomicArguments {
    Request request;
    AtomicForm form;
    const fi_ioc* operands;
    std::size_t operand_count;
    const fi_ioc* compare;
    std::size_t compare_count;
    const fi_ioc* result;
    std::size_t result_count;
    const fi_rma_ioc* remote;
    std::size_t remote_count;
    unsigned datatype;  ///< enum fi_datatype as the caller wrote it: any number
    unsigned operation; ///< enum fi_op, likewise
    // Whose memory the arrays are.
    DeviceId operand_device = DeviceId::host;
    DeviceId compare_device = DeviceId::host;
    DeviceId result_device = DeviceId::host;
};

/// A receive of any kind.
struct ReceiveArguments {
    const iovec* iov;
    std::size_t count;
    fi_addr_t from;
    std::uint64_t tag;
    std::uint64_t ignore;
    void* context;
    std::uint64_t flags;
    bool tagged;
    const Deferral* deferral = nullptr;
    DeviceId device = DeviceId::host;
};

/// An endpoint, as work that starts later sees it. Every call takes the endpoint's lock and returns 0 or a
/// negative fi_errno, as the libfabric call does.
class OperationStarter {
public:
    virtual ssize_t send(const SendArguments& arguments) noexcept = 0;
    virtual ssize_t access(const RmaArguments& arguments) noexcept = 0;
    virtual ssize_t atomic(const AtomicArguments& arguments) noexcept = 0;
    virtual ssize_t receive(const ReceiveArguments& arguments) noexcept = 0;
    virtual bool enabled() const noexcept = 0;
    /// Opened for fi_trigger(3).
    virtual bool triggerable() const noexcept = 0;
    virtual const Domain& owner() const noexcept = 0;

protected:
    ~OperationStarter() = default;
};

} // namespace srd
