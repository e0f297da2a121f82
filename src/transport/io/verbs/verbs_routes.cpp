// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/verbs/verbs_routes.hpp"

#include <cstring>

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
    std::memcpy(made.gid.data(), config_.port.gid.raw, made.gid.size());
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

/// Address handles for what the answer says. The neighbour that the kernel looks for on the way is known: its
/// host has just sent this.
bool VerbsRoutes::make_handles(VerbsWay& way, const VerbsMessage& answer)
{
    std::vector<VerbsAh> handles;
    for (std::size_t label = 0; label < config_.labels; ++label) {
        ibv_ah_attr attributes{};
        attributes.is_global = 1;
        attributes.port_num = config_.port.number;
        std::memcpy(attributes.grh.dgid.raw, answer.gid.data(), answer.gid.size());
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
    way.queue_pair = answer.queue_pair;
    way.key = answer.key;
    return true;
}

void VerbsRoutes::on_question(RouteId id, const VerbsMessage& question)
{
    if (queues_.rx_works()) {
        send(id, describe(BypassKind::answer, question.nonce));
    }
}

VerbsRoutes::Verdict VerbsRoutes::on_answer(RouteId /*id*/, Route& route, const VerbsMessage& answer)
{
    if (answer.kind != BypassKind::answer) {
        return Verdict::ignored; // nobody refuses by a message
    }
    if (route.state.stage() == Stage::asking && !make_handles(route.way, answer)) {
        return Verdict::ignored;
    }
    return Verdict::accepted;
}

} // namespace srd
