// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "endpoint/peers.hpp"

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <new>
#include <utility>

#include <rdma/fi_errno.h>

#include "common/c_api.hpp"
#include "common/log.hpp"
#include "common/say.hpp"
#include "endpoint/bindings.hpp"
#include "progress/clock.hpp"

namespace srd {
namespace {

/// What can be done about a peer's failure; null if the cause is none: the application did it, or one
/// operation was wrong.
const char* remedy_of(Cause cause) noexcept
{
    switch (cause) {
    case Cause::never_answered:
        return "FI_SRD_CONNECT_TIMEOUT_MS sets how long it is waited for";
    case Cause::not_heard:
        return "let UDP through between the two hosts, in both directions (nft list ruleset); "
               "FI_SRD_CONNECT_TIMEOUT_MS sets how long it is waited for";
    case Cause::cut_off:
        return "let UDP through between the two hosts, in both directions (nft list ruleset)";
    case Cause::stopped_answering:
        return "see whether its host and the network between are up; FI_SRD_PEER_TIMEOUT_MS sets how long "
               "silence is borne";
    case Cause::restarted:
        return "what was under way to the old process is lost; see why it ended";
    case Cause::refused:
        return "see why it ended";
    case Cause::closed:
        return "it did so while operations with it were under way: both sides should be done before fi_close";
    case Cause::unreachable:
        return "see its address, and this host's routes (ip route get ADDRESS)";
    case Cause::peer_out_of_memory:
        return "post receives there, or raise FI_SRD_UNEXPECTED_BYTES there or FI_SRD_RNR_TIMEOUT_MS here";
    case Cause::peer_full:
        return "or close endpoints that are not needed";
    case Cause::version_mismatch:
        return "srd doctor HOST tells which release is where";
    case Cause::key_mismatch:
        return "give all processes of the job the same key file, or none";
    default:
        return nullptr;
    }
}

std::string text_of(const SocketAddress& address) noexcept
{
    try {
        return address.text();
    } catch (const std::bad_alloc&) {
        return "a peer"; // so short a text needs no memory
    }
}

/// The cause, and what can be done about it.
std::array<char, 384> explain(Cause cause) noexcept
{
    const char* const remedy = remedy_of(cause);
    std::array<char, 384> text{};
    std::snprintf(text.data(), text.size(), "%s%s%s", to_string(cause), remedy == nullptr ? "" : "; ",
                  remedy == nullptr ? "" : remedy);
    return text;
}

void tell_failure(const std::string& peer, Cause cause) noexcept
{
    if (remedy_of(cause) == nullptr) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "an operation with %s failed: %s", peer.c_str(), to_string(cause));
        return;
    }
    std::array<char, 640> line{};
    std::snprintf(line.data(), line.size(), "operations with %s fail: %s", peer.c_str(),
                  explain(cause).data());
    say_of_peer(peer, line.data());
}

} // namespace

void Peers::start()
{
    destinations_.resize(64);
    sources_.resize(64);
}

ssize_t Peers::find_route(fi_addr_t fi_addr, RouteId& route) noexcept
{
    if (fi_addr < destinations_.size() && destinations_[fi_addr].route != no_id<RouteId>) {
        route = destinations_[fi_addr].route;
        return 0;
    }
    SocketAddress address;
    if (!bindings_.vector()->address_of(fi_addr, address)) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA,
                        "fi_addr_t %#llx is not in the address vector; insert the peer's address first",
                        static_cast<unsigned long long>(fi_addr));
        return -FI_EINVAL;
    }
    switch (unit_.io().resolve(address, route)) {
    case Status::ok:
        no_way_since_ = Time{};
        break;
    case Status::unreachable:
        return no_way_to(address);
    case Status::no_memory:
    case Status::again:
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "no room for another address; raise FI_SRD_MAX_PEERS");
        return -FI_ENOMEM;
    case Status::invalid:
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "the address of fi_addr_t %llu is not one of this endpoint's family",
                        static_cast<unsigned long long>(fi_addr));
        return -FI_EINVAL;
    }
    try {
        if (fi_addr >= destinations_.size()) {
            destinations_.resize(std::max<std::size_t>(fi_addr + 1, 2 * destinations_.size()));
        }
        if (index_of(route) >= named_.size()) {
            named_.resize(std::max<std::size_t>(index_of(route) + 1, 2 * named_.size()));
        }
    } catch (const std::bad_alloc& error) {
        return out_of_memory("the table of destinations", error);
    }
    destinations_[fi_addr].route = route;
    named_[index_of(route)] = true;
    return 0;
}

/// A link that is down for a moment ends no job: the call is to be made again, as when there is no room.
ssize_t Peers::no_way_to(const SocketAddress& address) noexcept
{
    const Time now = clock_now();
    no_way_since_ = no_way_since_ == Time{} ? now : no_way_since_;
    if (now - no_way_since_ < way_patience) {
        return -FI_EAGAIN;
    }
    tell_failure(text_of(address), Cause::unreachable);
    return -FI_EHOSTUNREACH;
}

ssize_t Peers::open_peer(fi_addr_t fi_addr, PeerId& peer) noexcept
{
    RouteId route{};
    if (const ssize_t error = find_route(fi_addr, route); error != 0) {
        return error;
    }
    const PacketIo& io = unit_.io();
    peer = unit_.engine().open_peer(route_info(io, route), clock_now());
    for (RouteId gone{}; (gone = unit_.engine().take_released_route()) != no_id<RouteId>;) {
        on_route_released(gone);
    }
    if (peer == no_id<PeerId>) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "no room for another peer; raise FI_SRD_MAX_PEERS");
        return -FI_ENOMEM;
    }
    destinations_[fi_addr].peer = peer;
    return 0;
}

void Peers::address_removed(fi_addr_t fi_addr) noexcept
{
    const UnitGuard guard(unit_);
    if (fi_addr < destinations_.size()) {
        const Destination forgotten = std::exchange(destinations_[fi_addr], Destination{});
        if (forgotten.peer != no_id<PeerId>) {
            unit_.engine().release_peer(forgotten.peer);
        }
    }
}

void Peers::on_route_released(RouteId route) noexcept
{
    const bool is_named = index_of(route) < named_.size() && named_[index_of(route)];
    if (!is_named && unit_.io().forget_route(route) && index_of(route) < sources_.size()) {
        sources_[index_of(route)] = KnownSource{};
    }
}

fi_addr_t Peers::source_of(RouteId route) noexcept
{
    const AddressVector& vector = *bindings_.vector();
    const std::uint64_t generation = vector.generation();
    const std::size_t index = index_of(route);
    if (index < sources_.size() && sources_[index].generation == generation) [[likely]] {
        return sources_[index].address;
    }
    const fi_addr_t address = vector.find(address_of(route));
    try {
        if (index >= sources_.size()) {
            sources_.resize(std::max(index + 1, 2 * sources_.size()));
        }
        sources_[index] = {.generation = generation, .address = address};
    } catch (const std::bad_alloc&) { // then it is looked up again next time
    }
    return address;
}

const SocketAddress& Peers::address_of(RouteId route) const noexcept
{
    return unit_.io().route_address(route);
}

std::string Peers::text(RouteId route) const noexcept
{
    return text_of(address_of(route));
}

void Peers::on_lost(const Event& event) const noexcept
{
    if (event.cookie == 0) {
        return;
    }
    const std::string peer = text(unit_.engine().peer_route(event.peer));
    const bool one = event.cookie == 1;
    std::array<char, 64> what{};
    std::snprintf(what.data(), what.size(), one ? "a message" : "%" PRIu64 " messages", event.cookie);
    std::array<char, 640> line{};
    std::snprintf(line.data(), line.size(),
                  "%s of %" PRIu64 " bytes that %s injected to %s %s not acknowledged: %s", what.data(),
                  event.length, one ? "was" : "were", peer.c_str(), one ? "was" : "were",
                  explain(event.cause).data());
    std::array<char, 128> topic{}; // of its own: that operations with the peer fail may have been said
    std::snprintf(topic.data(), topic.size(), "injected to %s", peer.c_str());
    say_of_peer(topic.data(), line.data());
}

void Peers::on_waiting(const Event& event) const noexcept
{
    std::array<char, 640> line{};
    std::snprintf(line.data(), line.size(), "waiting for %s, silent for %" PRIu64 " s: %s",
                  text(unit_.engine().peer_route(event.peer)).c_str(), event.length / 1000,
                  explain(event.cause).data());
    say(line.data(), line.data()); // each is another one
}

void Peers::on_mtu_found(const Event& event) const noexcept
{
    std::array<char, 640> line{};
    std::snprintf(line.data(), line.size(),
                  "the path to %s carries packets of at most %" PRIu64 " bytes (expected %" PRIu64
                  "), and smaller ones are sent from now on: an MTU differs on the way, or ICMP is filtered",
                  text(unit_.engine().peer_route(event.peer)).c_str(), event.length, event.cookie);
    say("the MTU of a path", line.data()); // the other peers' are in the log
}

void Peers::failed(RouteId route, Cause cause) const noexcept
{
    tell_failure(text(route), cause);
}

} // namespace srd
