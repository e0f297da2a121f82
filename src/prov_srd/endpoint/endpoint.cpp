// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// An endpoint's life: open, bind, enable, options, close.
#include "endpoint/endpoint.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <rdma/fi_cm.h>

#include "common/boundary.hpp"
#include "common/log.hpp"
#include "common/stats.hpp"
#include "common/stubs.hpp"
#include "completion/cntr.hpp"
#include "completion/cq.hpp"
#include "entry/backend.hpp"
#include "entry/params.hpp"
#include "objects/eq.hpp"
#include "objects/fabric_domain.hpp"
#include "progress.hpp"
#include "progress/progress_group.hpp"
#include "progress/progress_thread.hpp"

namespace srd {
namespace {

/// fi_close() waits for acknowledgements as long as something still comes in within this time, ...
constexpr Duration linger_silence = std::chrono::milliseconds(400);
/// ... but no longer than this.
constexpr Duration linger_limit = std::chrono::seconds(5);

constexpr std::size_t default_min_multi_receive = 64;
/// Applications post more receives than they ask for (Open MPI: without a limit), so this many are always
/// taken.
constexpr std::size_t least_receives = 65536;
constexpr std::size_t most_receives = std::size_t{1} << 22;

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

SocketAddress choose_address(const Domain& domain, const fi_info& info)
{
    SocketAddress address;
    if (info.src_addr == nullptr || !SocketAddress::parse(info.src_addr, info.src_addrlen, address)) {
        address = domain.local_address;
        address.set_port(0); // a port that was chosen belongs to the endpoint whose info names it
    }
    if (address.is_wildcard()) {
        const std::uint16_t port = address.port();
        address = domain.local_address;
        address.set_port(port);
    }
    return address;
}

std::size_t or_default(std::size_t value, std::size_t fallback) noexcept
{
    return value != 0 ? value : fallback;
}

} // namespace

Endpoint::Endpoint(Domain& owner, const fi_info& info, void* context)
    : EndpointFace{.endpoint = *this,
                   .tx_flags = info.tx_attr != nullptr ? info.tx_attr->op_flags : 0,
                   .rx_flags = info.rx_attr != nullptr ? info.rx_attr->op_flags : 0},
      domain(owner), lock(owner.is_shared_by_threads()), caps_(info.caps),
      inject_size_(info.tx_attr != nullptr ? std::min(info.tx_attr->inject_size, max_inject_size)
                                           : max_inject_size),
      message_size_(or_default(info.ep_attr != nullptr ? info.ep_attr->max_msg_size : 0, SIZE_MAX)),
      rx_size_(std::clamp(info.rx_attr != nullptr ? info.rx_attr->size : 0, least_receives, most_receives)),
      wanted_address_(choose_address(owner, info)), min_multi_receive_(default_min_multi_receive)
{
    for (std::size_t kind = 0; kind < limits_.size(); ++kind) {
        limits_[kind].size = size_bound(static_cast<SizeKind>(kind), false);
        limits_[kind].inject = size_bound(static_cast<SizeKind>(kind), true);
    }
    fid.fid.fclass = FI_CLASS_EP;
    fid.fid.context = context;
    domain.retain();
}

Endpoint::~Endpoint()
{
    domain.release();
}

// -- Bind and enable ----------------------------------------------------------

int Endpoint::bind_cq(CompletionQueue& cq, std::uint64_t flags)
{
    if (&cq.domain != &domain) {
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
        cq.group.attach(*this);
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

int Endpoint::bind_cntr(CompletionCounter& cntr, std::uint64_t flags)
{
    const std::array<std::pair<std::uint64_t, CompletionCounter**>, 6> places{{
        {FI_SEND | FI_TRANSMIT, &send_counter_},
        {FI_RECV, &receive_counter_},
        {FI_READ, &read_counter_},
        {FI_WRITE, &write_counter_},
        {FI_REMOTE_READ, &remote_read_counter_},
        {FI_REMOTE_WRITE, &remote_write_counter_},
    }};
    constexpr std::uint64_t known =
        FI_SEND | FI_TRANSMIT | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
    if (&cntr.domain != &domain) {
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
    for (const auto& [kind, counter] : places) {
        if ((flags & kind) != 0 && *counter != nullptr) {
            SRD_WARN(FI_LOG_EP_CTRL,
                     "fi_ep_bind: the endpoint has a counter for that kind of operation already");
            return -FI_EINVAL;
        }
    }
    if (std::find(counters_bound_.begin(), counters_bound_.end(), &cntr) == counters_bound_.end()) {
        counters_bound_.push_back(&cntr);
        cntr.group.attach(*this);
    }
    const ProgressGuard guard(lock); // the endpoint may be enabled
    for (const auto& [kind, counter] : places) {
        *counter = (flags & kind) != 0 ? &cntr : *counter;
    }
    return 0;
}

int Endpoint::bind(::fid& object, std::uint64_t flags)
{
    // Sandia OpenSHMEM binds counters to an enabled endpoint, and other providers let it.
    if (enabled() && object.fclass != FI_CLASS_CNTR) {
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_ep_bind: the endpoint is enabled; bind everything but counters before fi_enable");
        return -FI_EOPBADSTATE;
    }
    void* const pointer = &object;
    switch (object.fclass) {
    case FI_CLASS_AV: {
        AddressVector& av = av_from(static_cast<fid_av*>(pointer));
        if (&av.domain != &domain || av_ != nullptr) {
            SRD_WARN(FI_LOG_EP_CTRL, "fi_ep_bind: %s",
                     av_ != nullptr ? "the endpoint has an address vector already"
                                    : "the address vector belongs to another domain");
            return -FI_EINVAL;
        }
        av.attach(observer_);
        av_ = &av;
        return 0;
    }
    case FI_CLASS_CQ:
        return bind_cq(cq_from(static_cast<fid_cq*>(pointer)), flags);
    case FI_CLASS_CNTR:
        return bind_cntr(cntr_from(static_cast<fid_cntr*>(pointer)), flags);
    case FI_CLASS_EQ:
        if (event_queue_ != nullptr) {
            SRD_WARN(FI_LOG_EP_CTRL, "fi_ep_bind: the endpoint has an event queue already");
            return -FI_EINVAL;
        }
        event_queue_ = &eq_from(static_cast<fid_eq*>(pointer));
        event_queue_->bound.fetch_add(1);
        return 0;
    default:
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_ep_bind: objects of class %zu cannot be bound to an endpoint; bind address "
                 "vectors, completion queues, counters and event queues",
                 object.fclass);
        return -FI_EINVAL;
    }
}

int Endpoint::check_bindings() const
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

int Endpoint::open_io()
{
    {
        ProgressGuard guard(lock);
        if (io_ != nullptr) {
            return 0;
        }
    }
    std::unique_ptr<PacketIo> io;
    std::string error;
    if (const int code = open_backend(domain.name, wanted_address_, counters_, io, error); code != 0) {
        SRD_WARN(FI_LOG_EP_CTRL, "%s: %s", wanted_address_.text().c_str(), error.c_str());
        return -code;
    }
    io_fd_ = io->wait_fd();
    ProgressGuard guard(lock);
    io_ = std::move(io);
    return 0;
}

int Endpoint::enable()
{
    if (enabled()) {
        return 0;
    }
    if (const int error = check_bindings(); error != 0) {
        return error;
    }
    if (const int error = open_io(); error != 0) {
        return error;
    }
    const std::lock_guard domain_guard(domain.endpoints_mutex);
    domain.endpoints.reserve(domain.endpoints.size() + 1);
    if (domain.data_progress == FI_PROGRESS_AUTO && domain.progress_thread == nullptr) {
        domain.progress_thread = std::make_shared<ProgressThread>(domain);
    }
    {
        ProgressGuard guard(lock);
        Limits limits = params().limits;
        limits.max_packet = std::min(limits.max_packet, io_->caps().max_packet);
        engine_.emplace(io_->caps(), limits, params().tuning, counters_, io_->local_address().bytes(),
                        Domain::random_seed());
        transmits_.emplace(limits.tx_messages);
        // Beside the posted ones: receives that are being filled, and shares of FI_MULTI_RECV buffers.
        matcher_ = std::make_unique<Matcher>(static_cast<std::uint32_t>(rx_size_) + limits.rx_messages,
                                             limits.rx_messages);
        receive_limit_ = static_cast<std::uint32_t>(rx_size_);
        destinations_.resize(64);
        sources_.resize(64);
        enabled_.store(true, std::memory_order_release);
    }
    domain.endpoints.push_back(this);
    if (domain.progress_thread != nullptr) {
        domain.progress_thread->watch(io_fd_);
    }
    for (ProgressGroup* group : groups()) {
        group->endpoint_enabled(*this);
    }
    for (ProgressGroup* group : domain.region_groups) {
        group->admit(*this);
    }
    return 0;
}

std::vector<ProgressGroup*> Endpoint::groups() const
{
    std::vector<ProgressGroup*> all;
    if (tx_cq_ != nullptr) {
        all.push_back(&tx_cq_->group);
    }
    if (rx_cq_ != nullptr && rx_cq_ != tx_cq_) {
        all.push_back(&rx_cq_->group);
    }
    for (CompletionCounter* counter : counters_bound_) {
        all.push_back(&counter->group);
    }
    return all;
}

// -- Close --------------------------------------------------------------------

/// Messages that were handed to us may still be on their way, or in our memory only (fi_inject): they are
/// delivered before the endpoint goes, as long as the peers take them. Progress is made for the
/// whole domain, because a peer may be another endpoint of this very thread.
void Endpoint::linger() noexcept
{
    const Time end = clock_now() + linger_limit;
    Time heard = clock_now();
    std::uint64_t received = counters_.rx_packets.value();
    while (true) {
        const Time now = clock_now();
        bool busy = false;
        {
            const std::lock_guard guard(domain.endpoints_mutex);
            for (Endpoint* other : domain.endpoints) {
                busy |= other->progress(now);
            }
        }
        Time deadline = time_never;
        {
            ProgressGuard guard(lock);
            if (engine_->drained()) {
                return;
            }
            deadline = engine_->next_timeout();
        }
        if (counters_.rx_packets.value() != received) {
            received = counters_.rx_packets.value();
            heard = now;
        }
        if (now >= end || now - heard >= linger_silence) {
            SRD_WARN(FI_LOG_EP_CTRL, "fi_close: some messages were not acknowledged in time and are dropped");
            return;
        }
        if (!busy) {
            // Other endpoints of the domain wait on descriptors of their own: look at them now and then.
            sleep_on(io_fd_, std::min(deadline, now + std::chrono::milliseconds(1)));
        }
    }
}

/// Says goodbye to the peers. What was outstanding is discarded without completions, as fi_endpoint(3) has
/// it.
void Endpoint::flush_engine() noexcept
{
    ProgressGuard guard(lock);
    enabled_.store(false, std::memory_order_release);
    const Time now = clock_now();
    engine_->close(now);
    constexpr int rounds =
        64; // of 4 × tx_burst_size packets: far more than there are peers to tell in most cases
    for (int i = 0; i < rounds; ++i) {
        Event event;
        while (engine_->poll_event(event)) {
        }
        if (flush_transmit(*engine_, *io_, now) == 0) {
            break;
        }
    }
}

bool Endpoint::counts_work_by(const CompletionCounter& counter) noexcept
{
    const auto any = [&](auto& records) {
        for (std::uint32_t index = 0; index < records.watermark(); ++index) {
            if (records.live(index) && records[index].counted_by.work == &counter) {
                return true;
            }
        }
        return false;
    };
    ProgressGuard guard(lock);
    return enabled() && (any(*transmits_) || any(matcher_->receives));
}

int Endpoint::close() noexcept
{
    if (aliases_.load() != 0) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_close: the endpoint has %u aliases; close them first", aliases_.load());
        return -FI_EBUSY;
    }
    domain.deferred_work.forget(*this);
    if (enabled()) {
        linger();
        for (ProgressGroup* group : groups()) {
            group->detach(*this);
        }
        flush_engine();
        { // not before: until here a region that closes must find the endpoint that may be reading it
            const std::lock_guard guard(domain.endpoints_mutex);
            std::erase(domain.endpoints, this);
            for (ProgressGroup* group : domain.region_groups) {
                group->detach(*this);
            }
            if (domain.progress_thread != nullptr) {
                domain.progress_thread->unwatch(io_fd_);
            }
        }
        if (!params().stats.empty()) {
            write_stats();
        }
    } else {
        for (ProgressGroup* group : groups()) {
            group->detach(*this);
        }
    }
    if (av_ != nullptr) {
        av_->detach(observer_);
    }
    if (event_queue_ != nullptr) {
        event_queue_->bound.fetch_sub(1);
    }
    delete this;
    return 0;
}

void Endpoint::write_stats() noexcept
{
    ProgressGuard guard(lock);
    try {
        stats_write(params().stats, stats_json(counters_, io_->local_address().text()));
    } catch (const std::bad_alloc&) {
        SRD_WARN(FI_LOG_EP_CTRL, "FI_SRD_STATS: out of memory");
    }
}

// -- Tables -------------------------------------------------------------------

namespace {

EndpointFace& face(fid* object) noexcept
{
    return *static_cast<EndpointFace*>(static_cast<void*>(object));
}

Endpoint& self(fid* object) noexcept
{
    return face(object).endpoint;
}

int ep_close(fid* object)
{
    Endpoint& endpoint = self(object);
    if (endpoint.domain.fabric.inherited()) {
        return 0;
    }
    return &face(object) == &endpoint ? endpoint.close() : endpoint.close_alias(face(object));
}

int ep_bind(fid* object, fid* other, uint64_t flags)
{
    if (other == nullptr) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_ep_bind: the object is NULL");
        return -FI_EINVAL;
    }
    return guarded([&] { return self(object).bind(*other, flags); });
}

int ep_control(fid* object, int command, void* argument)
{
    return self(object).control(face(object), command, argument);
}

ssize_t ep_cancel(fid_t object, void* context)
{
    return self(object).cancel(context);
}

int ep_getopt(fid_t object, int level, int option, void* value, size_t* size)
{
    return self(object).get_option(level, option, value, size);
}

int ep_setopt(fid_t object, int level, int option, const void* value, size_t size)
{
    return self(object).set_option(level, option, value, size);
}

int ep_getname(fid_t object, void* address, size_t* size)
{
    return guarded([&] { return self(object).get_name(address, size); });
}

int ep_setname(fid_t object, void* address, size_t size)
{
    return guarded([&] { return self(object).set_name(address, size); });
}

fi_ops ep_fid_ops = {sizeof(fi_ops), ep_close, ep_bind, ep_control, stubs::ops_open, nullptr, nullptr};

fi_ops_ep ep_ops = {sizeof(fi_ops_ep), ep_cancel,     ep_getopt,        ep_setopt,
                    stubs::tx_ctx,     stubs::rx_ctx, stubs::size_left, stubs::size_left};

fi_ops_cm ep_cm_ops = {sizeof(fi_ops_cm),  ep_setname,         ep_getname,         stubs::unsupported,
                       stubs::unsupported, stubs::unsupported, stubs::unsupported, stubs::unsupported,
                       stubs::unsupported, stubs::unsupported};

} // namespace

int endpoint_open(fid_domain* domain, fi_info* info, fid_ep** endpoint, void* context) noexcept
{
    return guarded([&]() -> int {
        if (info == nullptr || endpoint == nullptr) {
            SRD_WARN(FI_LOG_EP_CTRL, "fi_endpoint: the info or the result pointer is NULL");
            return -FI_EINVAL;
        }
        if (domain_from(domain).fabric.inherited()) {
            SRD_WARN(FI_LOG_EP_CTRL,
                     "fi_endpoint: the domain was opened before fork(); open fabric and domain in the child");
            return -FI_EOPBADSTATE;
        }
        if (info->ep_attr != nullptr && info->ep_attr->type != FI_EP_RDM &&
            info->ep_attr->type != FI_EP_UNSPEC) {
            SRD_WARN(FI_LOG_EP_CTRL, "fi_endpoint: only FI_EP_RDM is served; take the info from fi_getinfo");
            return -FI_EINVAL;
        }
        if (info->ep_attr != nullptr && (info->ep_attr->tx_ctx_cnt == FI_SHARED_CONTEXT ||
                                         info->ep_attr->rx_ctx_cnt == FI_SHARED_CONTEXT)) {
            SRD_WARN(FI_LOG_EP_CTRL, "fi_endpoint: shared transmit and receive contexts are not served");
            return -FI_ENOSYS;
        }
        auto object = std::make_unique<Endpoint>(domain_from(domain), *info, context);
        object->fid.fid.ops = &ep_fid_ops;
        object->fid.ops = &ep_ops;
        object->fid.cm = &ep_cm_ops;
        object->fid.msg = &msg_ops;
        object->fid.tagged = &tagged_ops;
        object->fid.rma = &rma_ops;
        object->fid.atomic = &atomic_ops;
        object->fid.collective = &stubs::collective;
        *endpoint = &object.release()->fid;
        return 0;
    });
}

} // namespace srd
