// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/faulty_io.hpp"

#include <algorithm>
#include <utility>

#include "support/gather.hpp"

namespace srd::test {

FaultyIo::FaultyIo(std::unique_ptr<PacketIo> inner, const FaultPlan& plan)
    : ForwardingIo(std::move(inner)), plan_(plan), random_(plan.seed)
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

/// The packet's own memory is valid only until tx_burst() returns, so its bytes are copied.
void FaultyIo::hold(const TxPacket& packet, unsigned delay)
{
    Late& late = late_.emplace_back();
    gather(std::span(packet.iov).first(packet.iov_count), late.bytes);
    late.packet = packet;
    late.packet.stable_from = max_tx_iov;
    late.packet.iov_count = 1;
    late.packet.iov[0] = {late.bytes.data(), late.bytes.size()};
    late.delay = delay;
}

std::size_t FaultyIo::rx_burst(std::span<RxPacket> packets, Time now)
{
    send_late();
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
    const std::size_t received = fresh.empty() ? 0 : inner().rx_burst(fresh, now);
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
        inner().rx_release();
    }
}

std::size_t FaultyIo::tx_burst(std::span<const TxPacket> packets)
{
    send_late();
    if (!packets.empty() && chance(plan_.partial)) {
        ++counts_.partial;
        packets = packets.first(random_() % packets.size());
    }
    std::size_t accepted = 0;
    std::size_t end = 0;
    for (; end < packets.size(); ++end) {
        if (!chance(plan_.late)) {
            continue;
        }
        if (!send(packets.subspan(accepted, end - accepted), accepted)) {
            return accepted;
        }
        ++counts_.late;
        hold(packets[end], 1 + static_cast<unsigned>(random_() % plan_.late_depth));
        ++accepted;
    }
    send(packets.subspan(accepted, end - accepted), accepted);
    return accepted;
}

/// Adds what the wrapped backend takes to `accepted`; false if that is not all.
bool FaultyIo::send(std::span<const TxPacket> packets, std::size_t& accepted)
{
    const std::size_t sent = packets.empty() ? 0 : inner().tx_burst(packets);
    accepted += sent;
    return sent == packets.size();
}

void FaultyIo::send_late()
{
    for (auto late = late_.begin(); late != late_.end();) {
        std::size_t sent = 0;
        if (late->delay > 0) {
            --late->delay;
        }
        late = late->delay == 0 && send({&late->packet, 1}, sent) ? late_.erase(late) : late + 1;
    }
}

} // namespace srd::test
