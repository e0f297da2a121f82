// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "local/local_messages.hpp"

#include <array>

#include <srd/iov.hpp>

namespace srd {

// -- Sending ----------------------------------------------------------------------

/// Nobody says of a message in memory that its reader has taken it over. Operations that wait for one with a
/// fence before them wait here, too.
bool LocalMessages::is_open_to(const Peer& peer, const Operation& operation) const noexcept
{
    return peer.route.same_host() && peer.handshake.confirmed() && operation.kind == OperationKind::message &&
           operation.level <= CompletionLevel::inject && !operation.fence &&
           operation.iov.size() <= max_iov && operation.device == DeviceId::host && !s_.closing &&
           !peer.connection.queue.any_waiting();
}

LocalRoad::Sent LocalMessages::send(const Operation& operation)
{
    const auto index = static_cast<std::uint32_t>(index_of(operation.peer));
    Peer& peer = s_.peers[index];
    if (s_.caps.local == nullptr || !is_open_to(peer, operation)) {
        return LocalRoad::Sent::closed;
    }
    const std::uint64_t total = total_length(operation.iov);
    if (total > LocalRoad::max_message) {
        return LocalRoad::Sent::closed;
    }
    SendQueue& queue = peer.connection.queue;
    if (!s_.message_window_open(index)) {
        s_.count.tx_again.add();
        return LocalRoad::Sent::full;
    }
    const LocalMessage message{.connection = LocalMessage::name_of(peer.handshake.tx_connection()),
                               .sequence = queue.message_next(),
                               .tag = operation.tag,
                               .data = operation.data,
                               .tagged = operation.flags.tagged,
                               .has_data = operation.flags.has_data};
    const LocalRoad::Sent sent =
        s_.caps.local->send(peer.route.id(), message, operation.iov, static_cast<std::uint32_t>(total));
    if (sent == LocalRoad::Sent::done) [[likely]] {
        queue.count_message();
        s_.count.tx_messages.add();
        s_.count.tx_message_bytes.add(total);
        s_.count.io_shm_messages.add();
    } else if (sent == LocalRoad::Sent::full) {
        s_.awaits_readers = true;
        s_.count.tx_again.add();
    }
    return sent;
}

void LocalMessages::look_for_readers(Time now)
{
    if (s_.caps.local == nullptr) {
        return;
    }
    std::array<RouteId, 64> routes;
    const std::size_t count = s_.caps.local->stalled(routes);
    for (std::size_t i = 0; i < count; ++i) {
        watch_.want_sign(routes[i], now);
    }
}

// -- Receiving --------------------------------------------------------------------

bool LocalMessages::poll(Event& event, Time now)
{
    LocalRoad* const road = s_.caps.local;
    if (road == nullptr) {
        return false;
    }
    for (const LocalRoad::Arrived* message = road->front(); message != nullptr; message = road->front()) {
        const std::uint32_t index = s_.peers.of_route(message->route);
        if (index == no_index || !s_.peers[index].handshake.knows_remote() ||
            LocalMessage::name_of(s_.peers[index].handshake.rx_connection()) != message->connection) {
            s_.count.rx_unknown_connection.add();
            road->reject();
            continue;
        }
        if (message->is_new) { // what waits may outlive its sender by far
            lifecycle_.on_heard(index, now);
        }
        const std::int32_t ahead = s_.peers[index].connection.receiver.ahead(message->sequence);
        if (ahead < 0 || ahead > static_cast<std::int32_t>(message_window)) {
            s_.count.rx_malformed.add();
            road->pop();
            continue;
        }
        if (ahead > 0) {
            road->pass_over(); // packets with earlier ones are under way
            continue;
        }
        wire::EagerFrame frame;
        frame.tag = message->tag;
        frame.data = message->data;
        frame.flags.tagged = message->tagged;
        frame.flags.has_data = message->has_data;
        frame.sequence = message->sequence;
        frame.total = message->payload.size();
        frame.payload = message->payload;
        placement_.on_local(index, frame, event);
        return true;
    }
    return false;
}

} // namespace srd
