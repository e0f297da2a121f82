// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/verbs/verbs_routes.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>

#include <srd/check.hpp>

namespace srd {

namespace {

constexpr std::uint8_t ect0 = 2; // traffic class: this transport understands congestion marks
constexpr std::uint8_t hop_limit = 64;

/// Any value but 0, which lets the device choose; the same for nobody else.
std::uint32_t flow_label(std::uint64_t random) noexcept
{
    return static_cast<std::uint32_t>(random % 0xfffffU) + 1;
}

} // namespace

VerbsRoutes::VerbsRoutes(Config config, PacketIo& udp, VerbsQueues& queues)
    : config_(std::move(config)), udp_(udp), queues_(queues)
{
    std::random_device device;
    random_.seed(std::uint64_t{device()} << 32U | device());
}

VerbsMessage VerbsRoutes::message(std::uint32_t kind, std::uint64_t nonce) const
{
    VerbsMessage made;
    made.kind = kind;
    made.nonce = nonce;
    made.queue_pair = queues_.receiving_number();
    made.key = config_.key;
    std::memcpy(made.gid.data(), config_.port.gid.raw, made.gid.size());
    set_sender(made, config_.local);
    return made;
}

void VerbsRoutes::enter(Route& route, State state, Time now)
{
    route.state = state;
    route.question.begin(random_(), now);
}

void VerbsRoutes::ask(RouteId id, Time now)
{
    if (index_of(id) >= routes_.size()) {
        routes_.resize(index_of(id) + 1);
    }
    Route& route = routes_[index_of(id)];
    if (now < route.question.at) {
        return;
    }
    if (route.state == State::asked_by_rdma && route.question.asked == max_questions) {
        if (!warned_ && config_.warn) {
            warned_ = true;
            config_.warn((config_.port.device + ": packets of RoCE v2 (UDP port 4791) do not reach " +
                          udp_.route_address(id).host_text() + "; packets to it take UDP sockets")
                             .c_str());
        }
        enter(route, State::unknown, now);
    }
    if (route.state == State::unknown) {
        enter(route, State::asked_by_udp, now);
    }
    route.question.ask(now);
    VerbsMessage question = message(VerbsMessage::question, route.question.nonce);
    if (route.state == State::asked_by_udp) {
        send_message(udp_, id, question);
        return;
    }
    const TxPacket packet = packet_of(id, question);
    if (queues_.tx_works(0, now) &&
        queues_.tx_push(packet, {route.handles[0].get(), route.queue_pair, route.key}, 0)) {
        queues_.tx_flush();
    }
}

void VerbsRoutes::doubt(RouteId id) noexcept
{
    if (index_of(id) < routes_.size()) {
        Route& route = routes_[index_of(id)];
        route.state = State::unknown;
        route.question.at = Time{};
    }
}

/// Address handles for what the message says. The neighbour that the kernel looks for on the way is known:
/// its host has just sent this.
bool VerbsRoutes::make_handles(Route& route, const VerbsMessage& message)
{
    std::vector<VerbsAh> handles;
    for (std::size_t label = 0; label < config_.labels; ++label) {
        ibv_ah_attr attributes{};
        attributes.is_global = 1;
        attributes.port_num = config_.port.number;
        std::memcpy(attributes.grh.dgid.raw, message.gid.data(), message.gid.size());
        attributes.grh.sgid_index = static_cast<std::uint8_t>(config_.port.gid_index);
        attributes.grh.hop_limit = hop_limit;
        attributes.grh.traffic_class = ect0;
        attributes.grh.flow_label = config_.labels > 1 ? flow_label(random_()) : 0;
        handles.emplace_back(verbs().create_ah(queues_.pd(), &attributes));
        if (handles.back() == nullptr) {
            return false;
        }
    }
    route.handles = std::move(handles);
    route.queue_pair = message.queue_pair;
    route.key = message.key;
    return true;
}

void VerbsRoutes::on_message(const VerbsMessage& message, Time now)
{
    RouteId id{};
    if (!sender_of(message, udp_, id)) {
        return;
    }
    if (message.kind == VerbsMessage::question) {
        if (queues_.rx_works()) {
            send_message(udp_, id, this->message(VerbsMessage::answer, message.nonce));
        }
        return;
    }
    if (message.kind != VerbsMessage::answer || index_of(id) >= routes_.size()) {
        return;
    }
    Route& route = routes_[index_of(id)];
    if (message.nonce != route.question.nonce) {
        return;
    }
    if (route.state == State::asked_by_udp) {
        if (make_handles(route, message)) {
            enter(route, State::asked_by_rdma, now);
            ask(id, now);
        }
    } else if (route.state == State::asked_by_rdma) {
        route.state = State::open;
    }
}

} // namespace srd
