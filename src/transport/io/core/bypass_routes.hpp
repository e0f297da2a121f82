// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which peers can be reached by a bypass, and how that is found out: the same for every kind of bypass. A
// route is in one of five stages:
//
//   unknown --- a packet wants to go ---> asking --- answer ---> proving --- answer ---> open
//
//   asking, proving --- nothing to ask with, or to open              ---> refused
//   asking, proving --- no answer to many questions: by the kind     ---> refused, or asking, or the same
//   any stage       --- suspicion: the peer is silent, or has gone   ---> unknown
//
// Laws:
//  - An endpoint asks for its own sending direction, and while it has packets for the peer; only the second
//    question goes without one, as soon as the first is answered. Questions are repeated, with waits that
//    double up to a second.
//  - The first question (asking) finds out what the peer has. The second (proving) goes through the bypass,
//    or names a resource that the peer must find there: only a way that has been seen to work is used.
//  - Only the answer to the question asked last counts, recognized by a nonce that nobody can guess who
//    does not receive at the peer's address.
//  - A message can come from anybody and name any address. It makes no route, is answered only to an address
//    that the kind of bypass has reason to believe (on_question), and never closes a way. Questions that cost
//    something before they are believed are counted against a budget.
//  - Suspicion is not a verdict: the bypass has to prove itself again. Meanwhile packets take the base
//    backend, as they do before the route is open and while it is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include <srd/address.hpp>
#include <srd/time.hpp>

#include "io/core/bypass_message.hpp"
#include "io/core/bypass_state.hpp"
#include "io/core/packet_io.hpp"
#include "io/core/system_random.hpp"

namespace srd {

/// `Way` is what a kind of bypass knows of each route; it stays where it is. `Message` as in
/// bypass_message.hpp. Not thread-safe.
template <typename Message, typename Way>
class BypassRoutes {
public:
    BypassRoutes(const BypassRoutes&) = delete;
    BypassRoutes& operator=(const BypassRoutes&) = delete;

    /// True if the packet was a message of this kind of bypass, which has been dealt with.
    bool take(const RxPacket& packet, Time now)
    {
        Message message;
        if (!is_message(packet, message)) [[likely]] {
            return false;
        }
        on_message(message, now);
        return true;
    }

    /// The peer is silent, or another one may be at its address.
    void suspect(RouteId id) noexcept
    {
        if (index_of(id) < routes_.size()) {
            BypassState& state = routes_[index_of(id)].state;
            const bool was_open = state.is_open();
            state.suspect();
            if (was_open) {
                on_closed(id);
            }
        }
    }

protected:
    using Stage = BypassState::Stage;

    struct Route {
        BypassState state;
        Way way;
    };

    /// What an answer is worth.
    enum class Verdict : std::uint8_t {
        accepted,
        refused,
        ignored, ///< as if it had not come
    };
    /// What to do when a question was asked `max_questions` times.
    enum class OnSilence : std::uint8_t { ask_on, start_over, refuse };

    static constexpr std::uint8_t max_questions = 8; ///< the last one a quarter of a second after the first

    /// `base` must outlive the object. `local` is its address, the sender's of all messages.
    BypassRoutes(PacketIo& base, const SocketAddress& local) : base_(base), local_(local) {}
    ~BypassRoutes() = default;

    PacketIo& base() const noexcept { return base_; }

    /// The route if anything is known of it.
    Route* find(RouteId id) noexcept
    {
        return index_of(id) < routes_.size() ? &routes_[index_of(id)] : nullptr;
    }
    Route& route_at(RouteId id)
    {
        if (index_of(id) >= routes_.size()) {
            routes_.resize(index_of(id) + 1);
        }
        return routes_[index_of(id)];
    }

    /// A packet wants to go and its route is not open: asks for it, if that is due.
    void want(RouteId id, Time now)
    {
        Route& route = route_at(id);
        if (!route.state.is_due(now)) {
            return;
        }
        if (!can_ask(id)) {
            route.state.refuse();
            return;
        }
        if (route.state.asked() >= max_questions) {
            const OnSilence wanted = on_silence(id, route.state.stage());
            if (wanted == OnSilence::refuse) {
                route.state.refuse();
                return;
            }
            if (wanted == OnSilence::start_over) {
                route.state.suspect();
            }
        }
        if (route.state.stage() == Stage::unknown) {
            route.state.begin(Stage::asking, system_random(), now);
        }
        route.state.note_asked(now);
        ask(id, route, now);
    }

    /// A message to a peer, without what this kind of bypass adds.
    Message message(std::uint32_t kind, std::uint64_t nonce) const
    {
        Message made;
        made.kind = kind;
        made.nonce = nonce;
        set_sender(made, local_);
        return made;
    }
    void send(RouteId id, const Message& message) { send_message(base_, id, message); }
    const SocketAddress& local_address() const noexcept { return local_; }
    /// The route to the address that the message names, if there is one already; else no_id.
    RouteId route_of(const Message& message) const noexcept
    {
        SocketAddress sender;
        return sender_of(message, sender) ? base_.find(sender) : no_id<RouteId>;
    }
    /// False: more questions of strangers have come than are looked at. Not for those that are believed.
    bool may_look(Time now) noexcept { return budget_.take(now); }

private:
    // -- What a kind of bypass says ------------------------------------------------

    /// False: there is nothing to ask this peer with, and it will stay so.
    virtual bool can_ask(RouteId /*id*/) { return true; }
    /// Sends the question of the route's stage, with its nonce.
    virtual void ask(RouteId id, Route& route, Time now) = 0;
    /// Somebody asks: anybody, who may name any address. Replies, or does not.
    virtual void on_question(const Message& question, Time now) = 0;
    /// An answer to the question asked last. It may suspect the route, after which its verdict does not
    /// count.
    virtual Verdict on_answer(RouteId id, Route& route, const Message& answer) = 0;
    virtual OnSilence on_silence(RouteId id, Stage stage) = 0;
    virtual void on_opened(RouteId /*id*/, Route& /*route*/) {}
    virtual void on_closed(RouteId /*id*/) noexcept {}

    void on_message(const Message& message, Time now)
    {
        if (message.kind == BypassKind::question) {
            on_question(message, now);
            return;
        }
        if (message.kind != BypassKind::answer) {
            return;
        }
        const RouteId id = route_of(message);
        Route* const route = find(id);
        if (route == nullptr || !route->state.is_answered_by(message.nonce)) {
            return;
        }
        const Verdict verdict = on_answer(id, *route, message);
        if (verdict == Verdict::ignored || !route->state.is_answered_by(message.nonce)) {
            return;
        }
        if (verdict == Verdict::refused) {
            route->state.refuse();
        } else if (route->state.stage() == Stage::asking) {
            route->state.begin(Stage::proving, system_random(), now);
            want(id, now);
        } else {
            route->state.open();
            on_opened(id, *route);
        }
    }

    PacketIo& base_;
    const SocketAddress local_;
    QuestionBudget budget_;
    std::deque<Route> routes_; // a deque, because a Way stays where it is
};

} // namespace srd
