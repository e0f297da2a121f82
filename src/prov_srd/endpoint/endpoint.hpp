// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// FI_EP_RDM endpoints. An Endpoint is what libfabric's calls meet, and its life
// (open, bind, enable, close); what it does belongs to its parts, each with a header
// that states its law:
//
//   Options       what fi_info and fi_setopt allow
//   Bindings      address vector, queues, counters
//   ProgressUnit  engine, backend, the lock, the pass
//   Peers         fi_addr_t <-> the engine's peers
//   Transmit      sends, reads, writes, atomics that start here
//   Receive       receives and matching
//   Target        what peers do to our memory
//   Reports       completions
//
// The tables of libfabric's data calls only fill in arguments: ops_message.cpp,
// ops_rma.cpp, ops_atomic.cpp; queue_work.cpp does so for deferred work.
//
// Threading: the calls that move data may be made by any thread (subject to the domain's
// threading model) and take the endpoint's lock. fi_ep_bind, fi_enable, fi_setopt
// and fi_close are serialized by the application, as fi_endpoint(3) asks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <rdma/fabric.h>
#include <rdma/fi_endpoint.h>

#include <srd/address.hpp>

#include "common/fork.hpp"
#include "common/profile.hpp"
#include "endpoint/bindings.hpp"
#include "endpoint/options.hpp"
#include "endpoint/peers.hpp"
#include "endpoint/progress_unit.hpp"
#include "endpoint/receive.hpp"
#include "endpoint/reports.hpp"
#include "endpoint/target.hpp"
#include "endpoint/transmit.hpp"
#include "trigger/requests.hpp"

namespace srd {

struct Domain;
struct Endpoint;

/// What libfabric's calls get as an endpoint: the endpoint itself, or an alias (fi_ep_alias), which differs
/// by its default flags only.
struct EndpointFace {
    fid_ep fid{}; ///< must be first
    Endpoint& endpoint;
    // Of operations without a flags argument; changed by control calls only.
    std::uint64_t tx_flags;
    std::uint64_t rx_flags;
};

struct Endpoint final : EndpointFace, OperationStarter {
    /// The keys of an endpoint with this info; null: it seals nothing, or the info cannot be met, and `error`
    /// says why.
    static std::shared_ptr<JobKeys> keys_for(const Domain& owner, const fi_info& info, std::string& error);
    /// `keys`: keys_for()'s. Throws std::bad_alloc, std::system_error.
    Endpoint(Domain& owner, const fi_info& info, std::shared_ptr<JobKeys> keys, void* context);
    ~Endpoint();
    Endpoint(const Endpoint&) = delete;
    Endpoint& operator=(const Endpoint&) = delete;

    // -- OperationStarter: data transfer, 0 or a negative fi_errno ---------------

    ssize_t send(const SendArguments& arguments) noexcept override { return transmit_.send(arguments); }
    ssize_t access(const RmaArguments& arguments) noexcept override { return transmit_.access(arguments); }
    ssize_t atomic(const AtomicArguments& arguments) noexcept override { return transmit_.atomic(arguments); }
    ssize_t receive(const ReceiveArguments& arguments) noexcept override { return receive_.post(arguments); }
    bool enabled() const noexcept override { return unit_.enabled(); }
    bool triggerable() const noexcept override { return (options_.caps() & FI_TRIGGER) != 0; }
    const Domain& owner() const noexcept override { return domain; }

    // -- Control: 0 or a negative fi_errno -----------------------------------------

    int cancel(const void* context) noexcept { return receive_.cancel(context); }
    int bind(::fid& object, std::uint64_t flags) { return bindings_.bind(object, flags); }
    /// Throws std::bad_alloc, std::system_error; the endpoint is not enabled then, and it may be called
    /// again.
    int enable();
    /// On success the object is gone.
    int close() noexcept;
    /// `face`: this endpoint or the alias that the call was made with.
    int control(EndpointFace& face, int command, void* argument) noexcept;
    int close_alias(EndpointFace& alias) noexcept;
    /// fi_open_ops(3).
    int open_ops(const char* name, std::uint64_t flags, void** ops, void* context)
    {
        return profiles_.open_ops(name, flags, ops, context);
    }
    int get_name(void* address, std::size_t* size);
    int set_name(const void* address, std::size_t size);
    int get_option(int level, int option, void* value, std::size_t* size) noexcept
    {
        return options_.get(level, option, value, size);
    }
    int set_option(int level, int option, const void* value, std::size_t size) noexcept
    {
        return options_.set(level, option, value, size, enabled());
    }

    Domain& domain;

private:
    /// In a child of fork() this copy does nothing any more.
    struct ForkWatch final : ForkObserver {
        explicit ForkWatch(ProgressUnit& watched) : unit(watched) {}
        void forked() noexcept override { unit.abandon(); }
        ProgressUnit& unit;
    };

    int open_io();
    int open_alias(const EndpointFace& original, const struct fi_alias& request);
    static int flags_control(EndpointFace& face, int command, void* argument) noexcept;
    void linger() noexcept;
    void write_stats() noexcept;

    Options options_;
    std::shared_ptr<JobKeys> job_keys_; ///< null: it seals nothing
    SocketAddress wanted_address_;
    std::atomic<std::uint32_t> aliases_{0};

    ProgressUnit unit_;
    Peers peers_;
    Bindings bindings_;
    Reports reports_;
    Transmit transmit_;
    Receive receive_;
    Target target_;
    ForkWatch fork_watch_;
    Profiles profiles_;
};

inline EndpointFace& face_from(fid_ep* endpoint) noexcept
{
    return *static_cast<EndpointFace*>(static_cast<void*>(endpoint));
}
inline Endpoint& endpoint_from(fid_ep* endpoint) noexcept
{
    return face_from(endpoint).endpoint;
}

/// fi_endpoint(3).
int endpoint_open(fid_domain* domain, fi_info* info, fid_ep** endpoint, void* context) noexcept;

} // namespace srd
