// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/shm/shm_io.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <srd/check.hpp>

#include "io/core/bypass_io.hpp"
#include "io/shm/shm_routes.hpp"

namespace srd {

namespace {

/// The lanes of all routes.
class ShmLanes final : public LocalRoad {
public:
    /// `now`: of the last pass. Both must outlive the object.
    ShmLanes(ShmRoutes& routes, const Time& now) noexcept : routes_(routes), now_(now) {}

    Sent send(RouteId route, const LocalMessage& message, std::span<const iovec> payload,
              std::uint32_t length) noexcept override
    {
        return routes_.send_message(route, message, payload, length, now_);
    }
    std::uint32_t taken(RouteId route, std::uint32_t connection, std::uint32_t next) noexcept override
    {
        return routes_.messages_taken(route, connection, next);
    }
    std::size_t stalled(std::span<RouteId> routes) noexcept override { return routes_.stalled(routes); }
    bool all_taken() noexcept override { return routes_.all_taken(); }
    bool any() const noexcept override
    {
        const ShmReceiver* const rings = routes_.receiver();
        return rings != nullptr && rings->any_message();
    }
    const Arrived* front() noexcept override { return any() ? routes_.receiver()->front_message() : nullptr; }
    void pop() noexcept override { routes_.receiver()->pop_message(); }
    void reject() noexcept override { routes_.receiver()->reject_message(); }
    void pass_over() noexcept override { routes_.receiver()->pass_over(); }
    bool any_passed_over() const noexcept override
    {
        const ShmReceiver* const rings = routes_.receiver();
        return rings != nullptr && rings->any_passed_over();
    }

private:
    ShmRoutes& routes_;
    const Time& now_;
};

class ShmIo final : public BypassIo, private ProcessMemory {
public:
    ShmIo(IoLog log, std::unique_ptr<PacketIo> base, Counters& counters)
        : BypassIo(std::move(base)), counters_(counters), routes_(std::move(log), inner())
    {
        caps_.memory = this;
        caps_.local = &lanes_;
    }

    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override;
    bool forget_route(RouteId route) noexcept override
    {
        return !routes_.is_used(route) && inner().forget_route(route);
    }
    std::size_t tx_burst(std::span<const TxPacket> packets) override;
    void revoke() noexcept override { routes_.revoke(); }
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override;
    bool arm_wait() override;

private:
    std::uint32_t epoch() const noexcept override { return routes_.epoch(); }
    Read read(RouteId route, std::uint32_t epoch, std::span<const iovec> from,
              std::span<const iovec> into) noexcept override
    {
        return routes_.read(route, epoch, from, into);
    }

    void release_bypass() noexcept override;
    void suspect(RouteId route) noexcept override { routes_.suspect(route); }
    /// Null: the packet has to take the base backend.
    ShmWay* open_way(const TxPacket& packet)
    {
        return packet.length <= max_shm_packet ? routes_.open(packet.route, now_) : nullptr;
    }
    Offered offer(const TxPacket& packet);
    void flush();
    std::size_t receive_others(std::span<RxPacket> packets, Time now);
    std::size_t receive_rings(ShmReceiver& rings, std::span<RxPacket> packets, Time now);
    /// Null: no peer writes to us through memory.
    ShmReceiver* open_rings() noexcept
    {
        ShmReceiver* const rings = routes_.receiver();
        return rings != nullptr && !rings->empty() ? rings : nullptr;
    }

    Counters& counters_;
    ShmRoutes routes_;
    PollBackoff notice_polls_{base_interval};
    bool base_first_ = false;
    bool asleep_ = false;
    Time now_{}; // of the last pass
    ShmLanes lanes_{routes_, now_};
    std::array<ShmWay*, 64> touched_{};
    std::size_t touched_count_ = 0;
};

/// Packets from the base backend.
std::size_t ShmIo::receive_others(std::span<RxPacket> packets, Time now)
{
    return keep_packets(packets.first(receive_base(packets, now)),
                        [&](const RxPacket& packet) { return routes_.take(packet, now); });
}

std::size_t ShmIo::receive_rings(ShmReceiver& rings, std::span<RxPacket> packets, Time now)
{
    hold_bypass();
    const std::size_t count = rings.receive(packets, now);
    if (const std::uint64_t malformed = rings.take_malformed(); malformed != 0) [[unlikely]] {
        counters_.io_rx_dropped.add(malformed);
    }
    return count;
}

std::size_t ShmIo::rx_burst(std::span<RxPacket> packets, Time now)
{
    now_ = now;
    if (asleep_) [[unlikely]] {
        asleep_ = false;
        routes_.set_asleep(false);
    }
    std::size_t count = 0;
    ShmReceiver* const rings = open_rings();
    if (rings != nullptr && !base_polls().due(now)) [[likely]] {
        count = receive_rings(*rings, packets, now);
    } else {
        base_first_ = !base_first_; // neither source may starve the other
        if (base_first_) {
            count = receive_others(packets, now);
        }
        if (rings != nullptr && count < packets.size()) {
            count += receive_rings(*rings, packets.subspan(count), now);
        }
        if (!base_first_ && count < packets.size()) {
            count += receive_others(packets.subspan(count), now);
        }
    }
    if (count == 0) {
        rx_release(); // the caller releases only what it got
    }
    return count;
}

void ShmIo::release_bypass() noexcept
{
    routes_.receiver()->release();
}

ShmIo::Offered ShmIo::offer(const TxPacket& packet)
{
    ShmWay* const way = open_way(packet);
    if (way == nullptr) {
        return Offered::not_carried;
    }
    if (!way->sender.push(packet)) [[unlikely]] {
        return way->sender.stuck() ? Offered::not_carried : Offered::no_room;
    }
    if (!way->touched) {
        if (touched_count_ == touched_.size()) {
            flush();
        }
        way->touched = true;
        touched_[touched_count_++] = way;
    }
    return Offered::sent;
}

void ShmIo::flush()
{
    routes_.flush(std::span(touched_).first(touched_count_));
    touched_count_ = 0;
}

std::size_t ShmIo::tx_burst(std::span<const TxPacket> packets)
{
    const Sent sent = send(
        packets, [this](const TxPacket& packet) { return offer(packet); },
        [this](const TxPacket& packet) { return open_way(packet) != nullptr; });
    if (touched_count_ != 0) {
        flush();
    }
    counters_.io_shm_packets.add(sent.bypassed);
    return sent.accepted;
}

std::size_t ShmIo::poll_notices(std::span<RouteNotice> notices, Time now)
{
    now_ = now;
    const std::size_t own = routes_.notices().empty() ? 0 : routes_.notices().take(notices);
    if (open_rings() != nullptr && !notice_polls_.due(now)) {
        return own;
    }
    notice_polls_.polled(now, false);
    const std::size_t count = poll_base_notices(notices.subspan(own), now);
    for (const RouteNotice& notice : notices.subspan(own, count)) {
        if (notice.kind == RouteNotice::Kind::process_gone) {
            routes_.forget(notice.route);
        }
    }
    return own + count;
}

bool ShmIo::arm_wait()
{
    // Announced first, checked second: a peer that writes in between wakes us.
    asleep_ = true;
    routes_.set_asleep(true);
    const bool base_idle = arm_base();
    const ShmReceiver* const rings = open_rings();
    return base_idle && routes_.notices().empty() && !(rings != nullptr && rings->waiting());
}

} // namespace

std::unique_ptr<PacketIo> make_shm_io(IoLog log, std::unique_ptr<PacketIo> base, Counters& counters)
{
    return std::make_unique<ShmIo>(std::move(log), std::move(base), counters);
}

} // namespace srd
