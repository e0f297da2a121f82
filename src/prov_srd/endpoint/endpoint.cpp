// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// An endpoint's life and its control calls. The calls' table is in ops_endpoint.cpp.
#include "endpoint/endpoint.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "common/c_api.hpp"
#include "common/log.hpp"
#include "endpoint/stats.hpp"
#include "entry/info.hpp"
#include "entry/params.hpp"
#include "objects/domain.hpp"
#include "progress/clock.hpp"

namespace srd {
namespace {

/// fi_close() waits for acknowledgements as long as something still comes in within this time, ...
constexpr Duration linger_silence = std::chrono::milliseconds(400);
/// ... but no longer than this.
constexpr Duration linger_limit = std::chrono::seconds(5);

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

} // namespace

std::shared_ptr<JobKeys> Endpoint::keys_for(const Domain& owner, const fi_info& info, std::string& error)
{
    error = info_mismatch(owner.api_version, info); // a wrong key is one, too
    if (!error.empty()) {
        return nullptr;
    }
    if (info.ep_attr == nullptr || !takes_auth_keys(owner.api_version)) {
        return owner.job_keys;
    }
    return job_keys_of(info.ep_attr->auth_key, info.ep_attr->auth_key_size, owner.job_keys, error);
}

Endpoint::Endpoint(Domain& owner, const fi_info& info, std::shared_ptr<JobKeys> keys, void* context)
    : EndpointFace{.endpoint = *this,
                   .tx_flags = info.tx_attr != nullptr ? info.tx_attr->op_flags : 0,
                   .rx_flags = info.rx_attr != nullptr ? info.rx_attr->op_flags : 0},
      domain(owner), options_(info), job_keys_(std::move(keys)), wanted_address_(choose_address(owner, info)),
      unit_(owner.progress, transmit_, receive_, target_, peers_), peers_(unit_, bindings_),
      bindings_(owner, unit_, peers_, options_.caps()), reports_(fid.fid, bindings_, peers_, options_.caps()),
      transmit_(unit_, options_, bindings_, peers_, reports_, deferred_queue(owner), *this),
      receive_(unit_, options_, bindings_, peers_, reports_, deferred_queue(owner), *this),
      target_(unit_, owner.memory_regions, bindings_, peers_, reports_), fork_watch_(unit_),
      profiles_([this] {
          ProfileValues values;
          unit_.profile(values);
          return values;
      })
{
    fid.fid.fclass = FI_CLASS_EP;
    fid.fid.context = context;
    domain.retain();
}

Endpoint::~Endpoint()
{
    SRD_CHECK(aliases_.load() == 0);
    domain.release();
}

// -- Enable ---------------------------------------------------------------------

int Endpoint::open_io()
{
    if (const int error = unit_.open_io(domain.name, wanted_address_, job_keys_); error != 0) {
        return error;
    }
    wanted_address_ = unit_.local_address(); // should it have to be opened again, its name stays
    return 0;
}

int Endpoint::enable()
{
    if (enabled()) {
        return 0;
    }
    if (domain.fabric.inherited()) {
        return refuse_in_child("fi_enable");
    }
    if (const int error = bindings_.check(); error != 0) {
        return error;
    }
    if (const int error = open_io(); error != 0) {
        return error;
    }
    const Limits& limits = params().limits;
    {
        const UnitGuard guard(unit_); // which nobody waits for: the endpoint is not enabled
        unit_.start(options_.shared_memory_permitted(), domain.serves_devices);
        peers_.start();
        transmit_.start(limits.tx_messages);
        receive_.start(limits.rx_messages);
    }
    unit_.follow_trace_order();
    // From here on everything may be seen by others.
    domain.progress.add(unit_, [this]() noexcept { unit_.set_enabled(true); });
    bindings_.announce();
    return 0;
}

// -- Close --------------------------------------------------------------------

/// Messages that were handed to us may still be on their way, or in our memory only (fi_inject): they are
/// delivered before the endpoint goes, as long as the peers take them. Progress is made for the
/// whole domain, because a peer may be another endpoint of this very thread.
void Endpoint::linger() noexcept
{
    const Time end = clock_now() + linger_limit;
    Time heard = clock_now();
    std::uint64_t received = unit_.counters().rx_packets.value();
    while (true) {
        const bool busy = domain.progress.progress_all();
        const Time now = clock_now();
        Time deadline = time_never;
        if (unit_.is_drained(deadline)) {
            return;
        }
        if (unit_.counters().rx_packets.value() != received) {
            received = unit_.counters().rx_packets.value();
            heard = now;
        }
        if (now >= end || now - heard >= linger_silence) {
            SRD_WARN(FI_LOG_EP_CTRL, "fi_close: some messages were not acknowledged in time and are dropped");
            return;
        }
        if (!busy) {
            // Other endpoints of the domain wait on descriptors of their own: look at them now and then.
            sleep_on(unit_.io_fd(), std::min(deadline, now + std::chrono::milliseconds(1)));
        }
    }
}

int Endpoint::close() noexcept
{
    if (aliases_.load() != 0) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_close: the endpoint has %u aliases; close them first", aliases_.load());
        return -FI_EBUSY;
    }
    deferred_queue(domain).forget(*this);
    if (enabled()) {
        {
            const UnitGuard guard(unit_);
            receive_.withdraw();
        }
        linger();
        bindings_.leave_groups();
        unit_.stop();
        // Not before: until here a region that closes must find the endpoint that may be reading it.
        domain.progress.remove(unit_);
        if (!params().stats.empty()) {
            write_stats();
        }
    } else {
        bindings_.leave_groups();
    }
    bindings_.release();
    delete this;
    return 0;
}

void Endpoint::write_stats() noexcept
{
    try {
        const Params& values = params();
        stats_write(stats_file(values.stats, values.place),
                    stats_json(unit_.counters(), unit_.local_address().text(), values.place));
    } catch (const std::bad_alloc&) {
        SRD_WARN(FI_LOG_EP_CTRL, "FI_SRD_STATS: out of memory");
    }
}

// -- Names, aliases, flags ------------------------------------------------------

int Endpoint::get_name(void* address, std::size_t* size)
{
    if (size == nullptr || (address == nullptr && *size != 0)) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_getname: the buffer or its size is NULL");
        return -FI_EINVAL;
    }
    if (const int error = open_io(); error != 0) { // binds the port, so that there is a name
        return error;
    }
    const SocketAddress own = unit_.local_address();
    const std::size_t own_size = own.bytes().size();
    const std::size_t given = std::exchange(*size, own_size);
    if (address != nullptr) {
        std::memcpy(address, own.bytes().data(), std::min(given, own_size));
    }
    return given < own_size ? -FI_ETOOSMALL : 0;
}

int Endpoint::set_name(const void* address, std::size_t size)
{
    SocketAddress wanted;
    if (address == nullptr || !SocketAddress::parse(address, size, wanted) ||
        wanted.family() != domain.local_address.family()) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_setname: not a socket address of the domain's family");
        return -FI_EINVAL;
    }
    if (unit_.has_io()) {
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_setname: the endpoint has its name; set it before fi_enable and fi_getname");
        return -FI_EOPBADSTATE;
    }
    if (wanted.is_wildcard()) {
        const std::uint16_t port = wanted.port();
        wanted = domain.local_address;
        wanted.set_port(port);
    }
    wanted_address_ = wanted;
    return 0;
}

int Endpoint::open_alias(const EndpointFace& original, const struct fi_alias& request)
{
    const std::uint64_t direction = request.flags & (FI_TRANSMIT | FI_RECV);
    if (request.fid == nullptr || direction == (FI_TRANSMIT | FI_RECV) ||
        (direction == 0 && request.flags != 0)) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_ep_alias: the flags must name FI_TRANSMIT or FI_RECV, not both");
        return -FI_EINVAL;
    }
    auto alias = std::make_unique<EndpointFace>(original);
    if (direction != 0) {
        (direction == FI_TRANSMIT ? alias->tx_flags : alias->rx_flags) = request.flags & ~direction;
    }
    aliases_.fetch_add(1);
    *request.fid = &alias.release()->fid.fid;
    return 0;
}

int Endpoint::close_alias(EndpointFace& alias) noexcept
{
    delete &alias;
    aliases_.fetch_sub(1);
    return 0;
}

int Endpoint::flags_control(EndpointFace& face, int command, void* argument) noexcept
{
    auto* flags = static_cast<std::uint64_t*>(argument);
    const std::uint64_t direction = flags != nullptr ? *flags & (FI_TRANSMIT | FI_RECV) : 0;
    if (direction != FI_TRANSMIT && direction != FI_RECV) {
        SRD_WARN(FI_LOG_EP_CTRL, "FI_GETOPSFLAG, FI_SETOPSFLAG: the flags must name FI_TRANSMIT or FI_RECV");
        return -FI_EINVAL;
    }
    std::uint64_t& current = direction == FI_TRANSMIT ? face.tx_flags : face.rx_flags;
    if (command == FI_SETOPSFLAG) {
        current = *flags & ~direction;
    } else {
        *flags = current;
    }
    return 0;
}

int Endpoint::control(EndpointFace& face, int command, void* argument) noexcept
{
    switch (command) {
    case FI_ENABLE:
        return guarded([&] { return enable(); }, "fi_enable");
    case FI_ALIAS:
        return argument == nullptr ? -FI_EINVAL : guarded([&] {
            return open_alias(face, *static_cast<const struct fi_alias*>(argument));
        });
    case FI_GETOPSFLAG:
    case FI_SETOPSFLAG:
        return flags_control(face, command, argument);
    default:
        return -FI_ENOSYS;
    }
}

} // namespace srd
