// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Datagrams in a row, over several source ports: sent by one end, counted by the other.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <srd/port_range.hpp>

#include "net/socket.hpp"

namespace srd::tool {

struct Train {
    SocketAddress from; ///< port 0
    SocketAddress to;
    std::uint64_t session = 0;
    std::uint32_t count = 0;
    std::size_t size = 64; ///< UDP payload
    std::size_t ports = 1; ///< how many source ports take turns
    std::chrono::microseconds gap{200};
    PortRange range; ///< where the source ports are to be taken from
};

struct Sent {
    std::uint32_t count = 0;
    int error = 0;                    ///< errno of the first that could not be sent
    std::vector<std::uint16_t> ports; ///< by which they left
    Rejection rejection;              ///< what came back
};

/// Sends it, in count * gap.
Sent send_train(const Train& train);

/// What arrives of a train.
class Tally {
public:
    void add(const Arrival& arrival);
    std::uint32_t count() const noexcept { return count_; }
    std::uint32_t late() const noexcept { return late_; }
    const std::map<std::uint16_t, std::uint32_t>& by_port() const noexcept { return by_port_; }

    nlohmann::json json() const;
    static Tally of_json(const nlohmann::json& json);

private:
    std::uint32_t count_ = 0;
    std::uint32_t late_ = 0; ///< after one that was sent later
    std::uint32_t highest_ = 0;
    std::map<std::uint16_t, std::uint32_t> by_port_; ///< of the sender
};

} // namespace srd::tool
