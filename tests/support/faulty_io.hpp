// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A bad network around any backend: what a PacketIo may do by its contract
// (lose, duplicate, reorder, deliver and accept in pieces), it does, from a
// seed. Packets are never corrupted: the contract says that a backend delivers
// intact packets only.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "io/core/forwarding_io.hpp"

namespace srd::test {

/// Probabilities per packet (drop, duplicate, reorder) and per call (partial).
struct FaultPlan {
    double drop = 0;
    double duplicate = 0;
    double reorder = 0;         ///< the packet is held back for 1..reorder_depth further calls of rx_burst
    unsigned reorder_depth = 8; ///< calls
    double late = 0;            ///< the packet leaves after 1..late_depth further bursts of either direction
    unsigned late_depth = 8;    ///< bursts
    double partial = 0;         ///< tx_burst takes, or rx_burst returns, fewer packets than it could
    std::uint64_t seed = 1;
};

struct FaultCounts {
    std::uint64_t dropped = 0;
    std::uint64_t duplicated = 0;
    std::uint64_t reordered = 0;
    std::uint64_t late = 0;
    std::uint64_t partial = 0;
};

class FaultyIo final : public ForwardingIo {
public:
    FaultyIo(std::unique_ptr<PacketIo> inner, const FaultPlan& plan);

    const FaultCounts& counts() const noexcept { return counts_; }

    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override;
    void rx_release() noexcept override;
    std::size_t tx_burst(std::span<const TxPacket> packets) override;
    bool arm_wait() override { return inner().arm_wait() && held_.empty(); }

private:
    struct Held {
        std::vector<std::byte> bytes;
        RxPacket packet;
        unsigned delay = 0; // further calls of rx_burst
    };

    struct Late {
        std::vector<std::byte> bytes;
        TxPacket packet; // of these bytes
        unsigned delay = 0;
    };

    bool chance(double probability);
    void send_late();
    void hold(const TxPacket& packet, unsigned delay);
    bool send(std::span<const TxPacket> packets, std::size_t& accepted);
    void hold(const RxPacket& packet, unsigned delay);

    FaultPlan plan_;
    FaultCounts counts_;
    std::mt19937_64 random_;
    std::deque<Held> held_;
    std::deque<Late> late_;
    std::vector<Held> delivered_; // until rx_release()
    bool inner_delivered_ = false;
};

} // namespace srd::test
