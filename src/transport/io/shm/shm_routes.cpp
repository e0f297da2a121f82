// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/shm/shm_routes.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include <srd/check.hpp>

namespace srd {

ShmRoutes::ShmRoutes(IoLog log, PacketIo& base)
    : BypassRoutes(base, base.local_address()), log_(std::move(log)), kernel_(running_kernel())
{
}

bool ShmRoutes::open_segment()
{
    if (segment_.mapping() == nullptr && usable_) {
        std::string error;
        usable_ = segment_.open(local_address(), error) == 0;
        if (usable_) {
            receiver_ = std::make_unique<ShmReceiver>(*segment_.mapping());
        } else {
            log_.warning(error + "; peers on this host are reached through the network's sockets");
        }
    }
    return usable_;
}

/// A message with our own segment.
ShmMessage ShmRoutes::describe(std::uint32_t kind, std::uint64_t nonce) const
{
    ShmMessage made = message(kind, nonce);
    made.token = segment_.header().identity.token;
    return made;
}

void ShmRoutes::send_proved(RouteId id, ShmMessage message, const ShmKey& key)
{
    message.proof = proof_of(message, key, kernel_, base().route_address(id));
    send(id, message);
}

void ShmRoutes::forget(RouteId id) noexcept
{
    suspect(id);
    Route* const route = find(id);
    if (route != nullptr && route->way.segment != nullptr &&
        shm_owner_lives(route->way.segment->header().identity.token)) {
        return; // it writes on, and messages do not come by another way
    }
    if (route != nullptr) {
        // The ring stays with the address: nothing proves that nobody reads there any more.
        route->way.segment = nullptr;
    }
    if (receiver_ != nullptr) {
        receiver_->orphan(id);
    }
}

/// Unmaps the segment of a peer that has closed it, and takes our ring for it back.
void ShmRoutes::give_up(ShmWay& way) noexcept
{
    way.segment = nullptr;
    if (std::exchange(way.has_ring, false)) {
        way.sender.abandon();
        way.lane->abandon();
        unused_.push_back({way.sender, std::move(way.lane)});
    }
}

void ShmRoutes::give_up_closed()
{
    std::erase_if(mapped_, [this](RouteId id) {
        ShmWay& way = route_at(id).way;
        if (way.segment == nullptr) {
            return true;
        }
        if (way.segment->header().closed.load(std::memory_order_acquire) == 0) {
            return false;
        }
        suspect(id);
        give_up(way);
        return true;
    });
}

void ShmRoutes::set_asleep(bool asleep) noexcept
{
    if (segment_.mapping() != nullptr) {
        segment_.header().asleep.store(asleep ? 1 : 0, std::memory_order_seq_cst);
        if (asleep) {
            std::atomic_thread_fence(std::memory_order_seq_cst); // pairs with flush()
        }
    }
}

std::uint32_t ShmRoutes::epoch() const noexcept
{
    return segment_.mapping() != nullptr ? segment_.header().epoch.load(std::memory_order_relaxed) : 0;
}

ProcessMemory::Read ShmRoutes::read(RouteId id, std::uint32_t epoch, std::span<const iovec> from,
                                    std::span<const iovec> into) noexcept
{
    const Route* const route = find(id);
    if (route == nullptr || route->way.segment == nullptr) {
        return ProcessMemory::Read::changed; // another process may have that address by now
    }
    return read_process(route->way.segment->header(), epoch, from, into);
}

void ShmRoutes::revoke() noexcept
{
    if (segment_.mapping() != nullptr) {
        segment_.header().epoch.fetch_add(1, std::memory_order_seq_cst);
    }
}

void ShmRoutes::flush(std::span<ShmWay* const> ways)
{
    // Between writing a packet and reading the flags; the reader has the counterpart between setting a flag
    // and its last poll. So one of the two sees the other.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (ShmWay* const way : ways) {
        way->touched = false;
        tell_reader(*way);
    }
}

/// After the fence: rings the doorbell if the reader does not poll, and wakes it if it sleeps.
void ShmRoutes::tell_reader(const ShmWay& way)
{
    ShmHeader& peer = way.segment->header();
    if (segment_.mapping()->control(way.sender.ring()).watched.load(std::memory_order_relaxed) == 0) {
        peer.doorbells[way.doorbell / 64].fetch_or(std::uint64_t{1} << way.doorbell % 64,
                                                   std::memory_order_seq_cst);
    }
    if (peer.asleep.load(std::memory_order_seq_cst) != 0) {
        send(way.route, message(ShmMessage::wake_up, 0));
    }
}

// -- Messages -------------------------------------------------------------------

LocalRoad::Sent ShmRoutes::send_message(RouteId id, const LocalMessage& message,
                                        std::span<const iovec> payload, std::uint32_t length, Time now)
{
    ShmWay* const way = open(id, now);
    if (way == nullptr) {
        return LocalRoad::Sent::closed;
    }
    const LocalRoad::Sent sent = way->lane->send(message, payload, length);
    if (sent == LocalRoad::Sent::done) {
        std::atomic_thread_fence(std::memory_order_seq_cst); // as in flush()
        tell_reader(*way);
    }
    return sent;
}

std::uint32_t ShmRoutes::messages_taken(RouteId id, std::uint32_t connection, std::uint32_t next) noexcept
{
    const Route* const route = find(id);
    return route != nullptr && route->way.has_ring ? route->way.lane->taken(connection, next) : next;
}

std::size_t ShmRoutes::stalled(std::span<RouteId> routes) noexcept
{
    std::size_t count = 0;
    for (const RouteId id : mapped_) {
        const ShmWay& way = route_at(id).way;
        if (count < routes.size() && way.has_ring && way.segment != nullptr && way.lane->stalled()) {
            routes[count++] = id;
        }
    }
    return count;
}

bool ShmRoutes::all_taken() noexcept
{
    return std::all_of(mapped_.begin(), mapped_.end(), [this](RouteId id) {
        const ShmWay& way = route_at(id).way;
        return !way.has_ring || way.segment == nullptr ||
               way.segment->header().closed.load(std::memory_order_relaxed) != 0 || way.lane->all_taken();
    });
}

// -- Questions and answers ------------------------------------------------------

void ShmRoutes::ask(RouteId id, Route& route, Time /*now*/)
{
    ShmMessage question = describe(BypassKind::question, route.state.nonce());
    if (route.state.stage() == Stage::proving) {
        question.ring = route.way.sender.ring();
        question.start = route.way.sender.tail();
        route.way.lane->offer();
    }
    send_proved(id, question, segment_.header().identity.key);
}

bool ShmRoutes::has_mapped(const Route& route, const ShmToken& token) const noexcept
{
    return route.way.segment != nullptr && route.way.segment->header().identity.token == token;
}

/// Maps the peer's segment, which is known to be the one of that address; that of an earlier process there is
/// forgotten.
bool ShmRoutes::adopt(RouteId id, const ShmObject& object)
{
    auto segment = object.map();
    if (segment == nullptr) {
        return false;
    }
    Route& route = route_at(id);
    give_up_closed();
    if (std::find(mapped_.begin(), mapped_.end(), id) == mapped_.end()) {
        mapped_.push_back(id);
    }
    route.way.segment = std::move(segment);
    if (route.state.is_open() || route.state.stage() == Stage::proving) {
        suspect(id);
    }
    receiver_->orphan(id, route.way.segment.get());
    return true;
}

/// True, with the asker's segment mapped, if its owner has asked from its own address.
bool ShmRoutes::believe(const ShmMessage& question, Time now, RouteId& id)
{
    SocketAddress asker;
    if (!sender_of(question, asker)) {
        return false;
    }
    id = base().find(asker);
    if (const Route* const known = find(id); known != nullptr && has_mapped(*known, question.token)) {
        return is_proved(question, known->way.segment->header().identity.key);
    }
    ShmObject object;
    return may_look(now) && object.open(question.token) && same_endpoint(object.owner(), asker) &&
           is_proved(question, object.key()) && open_segment() && base().resolve(asker, id) == Status::ok &&
           base().on_this_host(id) && adopt(id, object);
}

void ShmRoutes::on_question(const ShmMessage& question, Time now)
{
    RouteId id{};
    if (!believe(question, now, id)) {
        return;
    }
    const std::shared_ptr<ShmMapping> segment = route_at(id).way.segment;
    ShmMessage answer = describe(BypassKind::answer, question.nonce);
    if (question.ring < shm_rings) {
        answer.ring = receiver_->open(segment, question.ring, question.start, id);
        if (answer.ring == shm_rings) {
            return; // more peers than doorbells
        }
    }
    send_proved(id, answer, segment->header().identity.key);
}

/// Allocates a ring for the peer that has answered.
bool ShmRoutes::offer_ring(ShmWay& way, const ShmToken& reader)
{
    if (!way.has_ring && !unused_.empty()) {
        way.sender = unused_.back().sender;
        way.lane = std::move(unused_.back().lane);
        unused_.pop_back();
        way.has_ring = true;
    } else if (!way.has_ring) {
        std::uint32_t ring = 0;
        ShmLaneMapping lane;
        if (!segment_.add_ring(ring) || !lane.map(segment_.header().identity.token, ring)) {
            const int code = errno;
            if (!std::exchange(ring_warned_, true)) {
                log_.warning(std::string("no more shared memory for peers on this host: ") +
                             std::strerror(code) +
                             "; make /dev/shm larger, or they are reached through the network's sockets");
            }
            return false;
        }
        way.sender = ShmSender(*segment_.mapping(), pool_, ring);
        way.lane = std::make_unique<ShmLaneWriter>(std::move(lane), *segment_.mapping(), ring);
        way.has_ring = true;
    } else if (way.reader != reader) {
        way.sender.abandon(); // the process that it was for has gone
        way.lane->abandon();
    }
    way.reader = reader;
    return true;
}

ShmRoutes::Verdict ShmRoutes::on_answer(RouteId id, Route& route, const ShmMessage& answer)
{
    if (!is_proved(answer, segment_.header().identity.key)) {
        return Verdict::ignored;
    }
    if (!has_mapped(route, answer.token)) {
        ShmObject object;
        if (!object.open(answer.token) || !same_endpoint(object.owner(), base().route_address(id)) ||
            !adopt(id, object)) {
            return Verdict::ignored;
        }
    }
    if (route.state.stage() == Stage::asking) {
        return offer_ring(route.way, answer.token) ? Verdict::accepted : Verdict::refused;
    }
    if (answer.ring >= shm_rings || route.way.reader != answer.token) {
        return Verdict::ignored;
    }
    route.way.doorbell = answer.ring;
    return Verdict::accepted;
}

void ShmRoutes::on_opened(RouteId id, Route& route)
{
    route.way.route = id;
    notices_.push(id, RouteNotice::Kind::same_host);
    log_.information(base().route_address(id).text() +
                     " is on this host: packets to it go through shared memory");
}

} // namespace srd
