// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/faulty_io.hpp"

#include <algorithm>
#include <utility>

namespace srd::test {

FaultyIo::FaultyIo(std::unique_ptr<PacketIo> inner, const FaultPlan& plan)
    : inner_(std::move(inner)), plan_(plan), random_(plan.seed)
{
}

bool FaultyIo::chance(double probability)
{
    return static_cast<double>(random_() >> 11) * 0x1p-53 < probability;
}

void FaultyIo::hold(const RxPacket& packet, unsigned delay)
{
    Held held;
    held.bytes.assign(packet.data, packet.data + packet.length);
    held.packet = packet;
    held.delay = delay;
    held_.push_back(std::move(held));
}

std::size_t FaultyIo::rx_burst(std::span<RxPacket> packets, Time now)
{
    std::size_t count = 0;
    for (auto held = held_.begin(); held != held_.end();) {
        if (held->delay > 0) {
            --held->delay;
        }
        if (held->delay > 0 || count == packets.size()) {
            ++held;
            continue;
        }
        delivered_.push_back(std::move(*held));
        held = held_.erase(held);
        packets[count] = delivered_.back().packet;
        packets[count++].data = delivered_.back().bytes.data(); // a moved vector keeps its memory
    }
    std::span<RxPacket> fresh = packets.subspan(count);
    if (fresh.size() > 1 && chance(plan_.partial)) {
        ++counts_.partial;
        fresh = fresh.first(1 + random_() % (fresh.size() - 1));
    }
    const std::size_t received = fresh.empty() ? 0 : inner_->rx_burst(fresh, now);
    inner_delivered_ = received != 0;
    for (std::size_t i = 0; i < received; ++i) {
        const RxPacket packet = fresh[i];
        if (chance(plan_.drop)) {
            ++counts_.dropped;
            continue;
        }
        if (chance(plan_.duplicate)) {
            ++counts_.duplicated;
            hold(packet, 1 + static_cast<unsigned>(random_() % plan_.reorder_depth));
        }
        if (chance(plan_.reorder)) {
            ++counts_.reordered;
            hold(packet, 1 + static_cast<unsigned>(random_() % plan_.reorder_depth));
            continue;
        }
        packets[count++] = packet;
    }
    if (count == 0) {
        rx_release(); // the caller releases only what it got
    }
    return count;
}

void FaultyIo::rx_release() noexcept
{
    delivered_.clear();
    if (std::exchange(inner_delivered_, false)) {
        inner_->rx_release();
    }
}

std::size_t FaultyIo::tx_burst(std::span<const TxPacket> packets)
{
    if (!packets.empty() && chance(plan_.partial)) {
        ++counts_.partial;
        const std::size_t accepted = random_() % packets.size();
        return accepted == 0 ? 0 : inner_->tx_burst(packets.first(accepted));
    }
    return inner_->tx_burst(packets);
}

} // namespace srd::test
