// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What one end sees of the network to a host where srd doctor --listen runs: facts, no judgement
// (diagnosis.hpp).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <srd/port_range.hpp>

#include "net/train.hpp"

namespace srd::tool {

/// Datagrams of one direction.
struct Passage {
    bool tried = false;
    std::uint32_t sent = 0;
    std::uint32_t arrived = 0;
    int send_error = 0;    ///< errno at the sender
    Rejection rejection{}; ///< what came back to the sender, if that is this end
};

/// A train over several source ports.
struct TrainResult {
    bool tried = false;
    std::uint32_t sent = 0;
    std::uint32_t arrived = 0;
    std::uint32_t late = 0;
    std::size_t ports = 0;                   ///< source ports used
    std::vector<std::uint16_t> silent_ports; ///< of which nothing arrived, though of others it did
};

/// The largest packet, IP header included, that got through.
struct PacketSize {
    bool tried = false;
    std::uint32_t link = 0;    ///< MTU of the sender's interface
    std::uint32_t largest = 0; ///< 0: not even the smallest
    std::uint32_t told = 0;    ///< MTU that a router named by ICMP; 0: none did
};

struct Observations {
    SocketAddress target;
    SocketAddress local;          ///< of this end, port 0
    std::uint16_t local_port = 0; ///< at which this end receives UDP and TCP
    Rejection tcp{};              ///< of the connection to the target; error 0: it is there
    bool started = false;         ///< a doctor was started there for this, and has said that it listens
    bool doctor = false;          ///< a doctor answered on it
    bool doctor_lost = false;     ///< and fell silent before all was asked
    std::string version, libfabric;

    Passage there;                     ///< UDP to the target
    Passage answers;                   ///< answers from the port that was asked; `sent`: questions
    Passage other_answers;             ///< answers from another port
    Passage back;                      ///< UDP from the target, unasked, from another port
    std::optional<Rejection> tcp_back; ///< of the target's connection to this end

    std::vector<double> round_trips_us; ///< sorted
    TrainResult train_there, train_back;
    PacketSize size_there, size_back;
    std::vector<std::uint16_t> range_ports;  ///< ports of the range that were asked
    std::vector<std::uint16_t> closed_ports; ///< and did not answer
};

/// Throws std::exception if the other end speaks nonsense.
Observations measure(const SocketAddress& target, PortRange range);

} // namespace srd::tool
