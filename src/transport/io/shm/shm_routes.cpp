// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/shm/shm_routes.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include <srd/check.hpp>

namespace srd {

namespace {

/// Of the running kernel: 16 random bytes, the same in all its containers. Zeros: unknown.
std::array<std::uint8_t, 16> boot_id()
{
    std::array<std::uint8_t, 16> id{};
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string text;
    std::getline(file, text);
    std::erase(text, '-');
    if (text.size() == 2 * id.size()) {
        for (std::size_t i = 0; i < id.size(); ++i) {
            id[i] = static_cast<std::uint8_t>(std::strtoul(text.substr(2 * i, 2).c_str(), nullptr, 16));
        }
    }
    return id;
}

} // namespace

ShmRoutes::ShmRoutes(Config config, PacketIo& wire)
    : config_(std::move(config)), wire_(wire), kernel_(boot_id())
{
    std::random_device device;
    random_.seed(std::uint64_t{device()} << 32U | device());
}

bool ShmRoutes::open_box()
{
    if (box_.mapping() == nullptr && usable_) {
        std::string error;
        usable_ = box_.open(error) == 0;
        if (usable_) {
            receiver_ = std::make_unique<ShmReceiver>(*box_.mapping());
        } else if (config_.warn) {
            config_.warn((error + "; peers on this host are reached through the network's sockets").c_str());
        }
    }
    return usable_;
}

ShmRoutes::Route& ShmRoutes::route_at(RouteId route)
{
    if (index_of(route) >= routes_.size()) {
        routes_.resize(index_of(route) + 1);
    }
    return routes_[index_of(route)];
}

ShmMessage ShmRoutes::message(std::uint32_t kind, std::uint64_t nonce) const
{
    ShmMessage made;
    made.kind = kind;
    made.nonce = nonce;
    made.kernel = kernel_;
    if (box_.mapping() != nullptr) {
        made.token = box_.header().token;
    }
    made.ring = ShmMessage::no_ring;
    set_sender(made, config_.local);
    return made;
}

void ShmRoutes::enter(Route& route, State state, Time now)
{
    route.state = state;
    route.question.begin(random_(), now);
}

void ShmRoutes::ask(RouteId id, Time now)
{
    Route& route = route_at(id);
    if (route.state == State::open) { // and closed by the peer; its box may be needed for a flush() yet
        doubt(id);
    }
    if (now < route.question.at || route.state == State::refused) {
        return;
    }
    if (route.question.asked == max_questions || !open_box()) {
        route.state = State::refused;
        return;
    }
    if (route.state == State::unknown) {
        enter(route, State::asked, now);
    }
    route.question.ask(now);
    ShmMessage question = message(ShmMessage::question, route.question.nonce);
    if (route.state == State::offered) {
        question.ring = route.way.sender.ring();
        question.start = route.way.sender.tail();
    }
    send_message(wire_, id, question);
}

void ShmRoutes::doubt(RouteId id) noexcept
{
    if (index_of(id) < routes_.size()) {
        Route& route = routes_[index_of(id)];
        if (route.state == State::open) {
            notices_.push(id, RouteNotice::Kind::network);
        }
        route.state = State::unknown;
        route.question.begin(0, Time{});
    }
}

void ShmRoutes::forget(RouteId id) noexcept
{
    doubt(id);
    if (index_of(id) < routes_.size()) {
        // The ring stays with the address: nothing proves that nobody reads there any more.
        routes_[index_of(id)].way.box = nullptr;
    }
    if (receiver_ != nullptr) {
        receiver_->orphan(id);
    }
}

/// The box of a peer that has closed it, and our ring for it.
void ShmRoutes::give_up(Route& route) noexcept
{
    route.way.box = nullptr;
    if (std::exchange(route.has_ring, false)) {
        route.way.sender.abandon();
        unused_.push_back(route.way.sender);
    }
}

void ShmRoutes::give_up_closed()
{
    std::erase_if(mapped_, [this](RouteId id) {
        Route& route = routes_[index_of(id)];
        if (route.way.box == nullptr) {
            return true;
        }
        if (route.way.box->header().closed.load(std::memory_order_acquire) == 0) {
            return false;
        }
        doubt(id);
        give_up(route);
        return true;
    });
}

void ShmRoutes::set_asleep(bool asleep) noexcept
{
    if (box_.mapping() != nullptr) {
        box_.header().asleep.store(asleep ? 1 : 0, std::memory_order_seq_cst);
        if (asleep) {
            std::atomic_thread_fence(std::memory_order_seq_cst); // pairs with flush()
        }
    }
}

std::uint32_t ShmRoutes::epoch() const noexcept
{
    return box_.mapping() != nullptr ? box_.header().epoch.load(std::memory_order_relaxed) : 0;
}

ProcessMemory::Read ShmRoutes::read(RouteId route, std::uint32_t epoch, std::span<const iovec> from,
                                    std::span<const iovec> into) noexcept
{
    if (index_of(route) >= routes_.size() || routes_[index_of(route)].way.box == nullptr) {
        return ProcessMemory::Read::changed; // another process may be met there
    }
    return read_process(routes_[index_of(route)].way.box->header(), epoch, from, into);
}

void ShmRoutes::revoke() noexcept
{
    if (box_.mapping() != nullptr) {
        box_.header().epoch.fetch_add(1, std::memory_order_seq_cst);
    }
}

void ShmRoutes::flush(std::span<Way* const> ways)
{
    // Between what was written and the looks: the reader looks after it has said that it sleeps or does not
    // watch.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (Way* const way : ways) {
        way->touched = false;
        ShmHeader& peer = way->box->header();
        if (box_.mapping()->control(way->sender.ring()).watched.load(std::memory_order_relaxed) == 0) {
            peer.bells[way->bell / 64].fetch_or(std::uint64_t{1} << way->bell % 64,
                                                std::memory_order_seq_cst);
        }
        if (peer.asleep.load(std::memory_order_seq_cst) != 0) {
            send_message(wire_, way->route, message(ShmMessage::wake_up, 0));
        }
    }
}

// -- Messages -------------------------------------------------------------------

void ShmRoutes::on_message(const ShmMessage& message, Time now)
{
    RouteId route{};
    if (message.kind == ShmMessage::wake_up || !sender_of(message, wire_, route)) {
        return;
    }
    if (message.kind == ShmMessage::question) {
        on_question(route, message);
    } else if (index_of(route) < routes_.size() && message.nonce == routes_[index_of(route)].question.nonce) {
        on_answer(route, message, now);
    }
}

/// The peer's box; that of another process at the same address is forgotten.
std::shared_ptr<ShmMapping> ShmRoutes::map_peer(RouteId id, const ShmToken& token)
{
    Route& route = route_at(id);
    if (route.way.box == nullptr || route.way.box->header().token != token) {
        auto box = open_shm_box(token);
        if (box == nullptr) {
            return nullptr;
        }
        give_up_closed();
        if (std::find(mapped_.begin(), mapped_.end(), id) == mapped_.end()) {
            mapped_.push_back(id);
        }
        route.way.box = std::move(box);
        if (route.state == State::open || route.state == State::offered) {
            doubt(id);
        }
        receiver_->orphan(id, route.way.box.get());
    }
    return route.way.box;
}

void ShmRoutes::on_question(RouteId id, const ShmMessage& question)
{
    ShmMessage reply = message(ShmMessage::refusal, question.nonce);
    if (question.kernel == kernel_ && open_box()) {
        const auto box = map_peer(id, question.token);
        std::uint32_t bell = ShmMessage::no_ring;
        if (box != nullptr && question.ring < shm_rings) {
            bell = receiver_->open(box, question.ring, question.start, id);
        }
        if (box != nullptr && bell != shm_rings) {
            reply = message(ShmMessage::answer, question.nonce);
            reply.secret = box->header().secret;
            reply.ring = bell;
        }
    }
    send_message(wire_, id, reply);
}

/// A ring for the peer that has answered.
bool ShmRoutes::offer(Route& route, const ShmMessage& answer)
{
    if (!route.has_ring && !unused_.empty()) {
        route.way.sender = unused_.back();
        unused_.pop_back();
        route.has_ring = true;
    } else if (!route.has_ring) {
        std::uint32_t ring = 0;
        if (!box_.add_ring(ring)) {
            if (config_.warn && !std::exchange(ring_warned_, true)) {
                config_.warn((std::string("no more shared memory for peers on this host: ") +
                              std::strerror(errno) +
                              "; make /dev/shm larger, or they are reached through the network's sockets")
                                 .c_str());
            }
            return false;
        }
        route.way.sender = ShmSender(*box_.mapping(), pool_, ring);
        route.has_ring = true;
    } else if (route.reader != answer.token) {
        route.way.sender.abandon(); // the process that it was for has gone
    }
    route.reader = answer.token;
    return true;
}

void ShmRoutes::on_answer(RouteId id, const ShmMessage& answer, Time now)
{
    Route& route = routes_[index_of(id)];
    if (route.state != State::asked && route.state != State::offered) {
        return;
    }
    if (answer.kind == ShmMessage::refusal) {
        route.state = State::refused;
        return;
    }
    if (answer.kind != ShmMessage::answer || answer.secret != box_.header().secret) {
        return;
    }
    const auto box = map_peer(id, answer.token);
    if (box == nullptr) {
        route.state = State::refused;
    } else if (route.state == State::asked) {
        if (!offer(route, answer)) {
            route.state = State::refused;
            return;
        }
        enter(route, State::offered, now);
        ask(id, now);
    } else if (route.state == State::offered && answer.ring < shm_rings && route.reader == answer.token) {
        route.way.bell = answer.ring;
        route.way.route = id;
        route.state = State::open;
        notices_.push(id, RouteNotice::Kind::same_host);
        if (config_.tell) {
            config_.tell(
                (wire_.route_address(id).text() + " is on this host: packets to it go through shared memory")
                    .c_str());
        }
    }
}

} // namespace srd
