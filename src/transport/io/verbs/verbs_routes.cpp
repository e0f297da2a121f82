// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/verbs/verbs_routes.hpp"

#include "io/core/ip_header.hpp"

namespace srd {

namespace {

/// Any value but 0, which lets the device choose; the same for nobody else.
std::uint32_t flow_label(std::uint64_t random) noexcept
{
    return static_cast<std::uint32_t>(random % 0xfffffU) + 1;
}

} // namespace

VerbsRoutes::VerbsRoutes(Config config, PacketIo& udp, VerbsQueues& queues)
    : BypassRoutes(udp, udp.local_address()), config_(std::move(config)), queues_(queues)
{
}

/// A message with our own queue pair.
VerbsMessage VerbsRoutes::describe(std::uint32_t kind, std::uint64_t nonce) const
{
    VerbsMessage made = message(kind, nonce);
    made.queue_pair = queues_.receiving_number();
    made.key = config_.key;
    return made;
}

void VerbsRoutes::ask(RouteId id, Route& route, Time now)
{
    VerbsMessage question = describe(BypassKind::question, route.state.nonce());
    if (route.state.stage() == Stage::asking) {
        send(id, question);
        return;
    }
    const TxPacket packet = packet_of(id, question);
    if (queues_.tx_works(0, now) &&
        queues_.tx_push(packet, {route.way.handles[0].get(), route.way.queue_pair, route.way.key}, 0)) {
        queues_.tx_flush();
    }
}

VerbsRoutes::OnSilence VerbsRoutes::on_silence(RouteId id, Stage stage)
{
    if (stage == Stage::asking) {
        return OnSilence::ask_on; // the peer may just be slow to start
    }
    if (!warned_) {
        warned_ = true;
        config_.log.warning(config_.port.device + ": packets of RoCE v2 (UDP port 4791) do not reach " +
                            base().route_address(id).host_text() + "; packets to it take UDP sockets");
    }
    return OnSilence::start_over;
}

/// Address handles for the host of that address. The neighbour that the kernel looks for on the way is known:
/// its host has just sent this.
bool VerbsRoutes::make_handles(VerbsWay& way, const SocketAddress& peer)
{
    std::vector<VerbsAh> handles;
    for (std::size_t label = 0; label < config_.labels; ++label) {
        ibv_ah_attr attributes{};
        attributes.is_global = 1;
        attributes.port_num = config_.port.number;
        attributes.grh.dgid = gid_of(peer);
        attributes.grh.sgid_index = static_cast<std::uint8_t>(config_.port.gid_index);
        attributes.grh.hop_limit = hop_limit;
        attributes.grh.traffic_class = ecn_capable;
        attributes.grh.flow_label = config_.labels > 1 ? flow_label(system_random()) : 0;
        handles.emplace_back(verbs().create_ah(queues_.pd(), &attributes));
        if (handles.back() == nullptr) {
            return false;
        }
    }
    way.handles = std::move(handles);
    return true;
}

void VerbsRoutes::on_question(const VerbsMessage& question, Time now)
{
    const RouteId id = route_of(question);
    if (id != no_id<RouteId> && queues_.rx_works() && may_look(now)) {
        send(id, describe(BypassKind::answer, question.nonce));
    }
}

VerbsRoutes::Verdict VerbsRoutes::on_answer(RouteId id, Route& route, const VerbsMessage& answer)
{
    if (route.state.stage() != Stage::asking) {
        return route.way.is_confirmed_by(answer) ? Verdict::accepted : Verdict::ignored;
    }
    if (!make_handles(route.way, base().route_address(id))) {
        return Verdict::ignored;
    }
    route.way.queue_pair = answer.queue_pair;
    route.way.key = answer.key;
    return Verdict::accepted;
}

} // namespace srd
