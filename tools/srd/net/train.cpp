// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "net/train.hpp"

#include <algorithm>
#include <thread>

namespace srd::tool {

Sent send_train(const Train& train)
{
    Sent sent;
    std::vector<UdpPort> sockets;
    const std::size_t wanted = train.range.empty()
                                   ? train.ports
                                   : std::min(train.ports, std::max<std::size_t>(train.range.sources(), 1));
    for (std::size_t i = 0; i < wanted; ++i) {
        SocketAddress from = train.from;
        from.set_port(train.range.source_port(i + 1));
        UdpPort made = UdpPort::open(from, from.port() != 0, sent.error);
        if (made.valid()) {
            sent.ports.push_back(made.port());
            sockets.push_back(std::move(made));
        }
    }
    if (sockets.empty()) {
        return sent;
    }
    Clock::time_point due = Clock::now();
    for (std::uint32_t number = 1; number <= train.count; ++number, due += train.gap) {
        std::this_thread::sleep_until(due);
        const Datagram datagram{train.session, number, 0, Datagram::Kind::train, false};
        const int error = sockets[number % sockets.size()].send(train.to, datagram, train.size);
        sent.count += error == 0 ? 1 : 0;
        sent.error = sent.error == 0 ? error : sent.error;
    }
    for (UdpPort& socket : sockets) {
        bool any = false;
        socket.receive(any);
        if (socket.rejection().error != 0) {
            sent.rejection = socket.rejection();
        }
    }
    return sent;
}

void Tally::add(const Arrival& arrival)
{
    ++count_;
    late_ += arrival.datagram.number < highest_ ? 1 : 0;
    highest_ = std::max(highest_, arrival.datagram.number);
    ++by_port_[arrival.from.port()];
}

nlohmann::json Tally::json() const
{
    nlohmann::json ports = nlohmann::json::array();
    for (const auto& [port, count] : by_port_) {
        ports.push_back({port, count});
    }
    return {{"count", count_}, {"late", late_}, {"ports", ports}};
}

Tally Tally::of_json(const nlohmann::json& json)
{
    Tally tally;
    tally.count_ = json.value("count", 0U);
    tally.late_ = json.value("late", 0U);
    for (const auto& each : json.value("ports", nlohmann::json::array())) {
        if (each.is_array() && each.size() == 2) {
            tally.by_port_[each[0].get<std::uint16_t>()] = each[1].get<std::uint32_t>();
        }
    }
    return tally;
}

} // namespace srd::tool
