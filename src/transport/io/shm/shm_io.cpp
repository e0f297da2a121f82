// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/shm/shm_io.hpp"

#include <algorithm>
#include <array>

#include <srd/address.hpp>
#include <srd/check.hpp>

#include "io/core/io_around.hpp"
#include "io/core/look_rule.hpp"
#include "io/shm/shm_routes.hpp"

namespace srd {

namespace {

/// How often to look at the other backend, where all packets come through memory.
constexpr Duration wire_interval = std::chrono::microseconds(20);

class ShmIo final : public IoAround, private ProcessMemory {
public:
    ShmIo(const ShmConfig& config, std::unique_ptr<PacketIo> wire, const SocketAddress& local,
          Counters& counters)
        : IoAround(std::move(wire)), caps_(caps_with(inner().caps(), this)), counters_(counters),
          routes_({local, config.warn, config.tell}, inner())
    {
    }

    const IoCaps& caps() const noexcept override { return caps_; }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override;
    void rx_release() noexcept override;
    std::size_t tx_burst(std::span<const TxPacket> packets) override;
    void revoke() noexcept override { routes_.revoke(); }
    void probe_liveness(RouteId route, Time now) override
    {
        routes_.doubt(route);
        inner().probe_liveness(route, now);
    }
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override;
    bool arm_wait() override;

private:
    static IoCaps caps_with(IoCaps caps, ProcessMemory* memory) noexcept
    {
        caps.memory = memory;
        return caps;
    }
    std::uint32_t epoch() const noexcept override { return routes_.epoch(); }
    Read read(RouteId route, std::uint32_t epoch, std::span<const iovec> from,
              std::span<const iovec> into) noexcept override
    {
        return routes_.read(route, epoch, from, into);
    }

    enum class Written : std::uint8_t { yes, not_now, other_way };
    Written write(const TxPacket& packet);
    void flush();
    std::size_t receive_wire(std::span<RxPacket> packets, Time now);
    std::size_t receive_rings(ShmReceiver& rings, std::span<RxPacket> packets, Time now);
    /// Null: nobody writes to us.
    ShmReceiver* open_rings() noexcept
    {
        ShmReceiver* const rings = routes_.receiver();
        return rings != nullptr && !rings->empty() ? rings : nullptr;
    }

    const IoCaps caps_;
    Counters& counters_;
    ShmRoutes routes_;
    LookRule wire_looks_{wire_interval};
    LookRule notice_looks_{wire_interval};
    bool wire_held_ = false;  // packets of the other backend are handed out
    bool rings_held_ = false; // packets in rings are handed out
    bool wire_first_ = false;
    bool asleep_ = false;
    Time now_{}; // of the last pass
    std::array<ShmRoutes::Way*, 64> touched_{};
    std::size_t touched_count_ = 0;
};

std::size_t ShmIo::receive_wire(std::span<RxPacket> packets, Time now)
{
    const std::size_t count = inner().rx_burst(packets, now);
    wire_held_ = count != 0; // also of messages that are not handed on
    wire_looks_.looked(now, count != 0);
    std::size_t kept = 0;
    for (const RxPacket& packet : packets.first(count)) {
        if (!routes_.take(packet, now)) [[likely]] {
            packets[kept++] = packet;
        }
    }
    return kept;
}

std::size_t ShmIo::receive_rings(ShmReceiver& rings, std::span<RxPacket> packets, Time now)
{
    rings_held_ = true;
    const std::size_t count = rings.receive(packets, now);
    if (const std::uint64_t malformed = rings.take_malformed(); malformed != 0) [[unlikely]] {
        counters_.io_rx_dropped.add(malformed);
    }
    return count;
}

std::size_t ShmIo::rx_burst(std::span<RxPacket> packets, Time now)
{
    SRD_DCHECK(!wire_held_ && !rings_held_);
    now_ = now;
    if (asleep_) [[unlikely]] {
        asleep_ = false;
        routes_.set_asleep(false);
    }
    std::size_t count = 0;
    ShmReceiver* const rings = open_rings();
    if (rings != nullptr && !wire_looks_.due(now)) [[likely]] {
        count = receive_rings(*rings, packets, now);
    } else {
        wire_first_ = !wire_first_; // neither may starve the other
        if (wire_first_) {
            count = receive_wire(packets, now);
        }
        if (rings != nullptr && count < packets.size()) {
            count += receive_rings(*rings, packets.subspan(count), now);
        }
        if (!wire_first_ && count < packets.size()) {
            count += receive_wire(packets.subspan(count), now);
        }
    }
    if (count == 0) {
        rx_release(); // the caller releases only what it got
    }
    return count;
}

void ShmIo::rx_release() noexcept
{
    if (wire_held_) {
        inner().rx_release();
        wire_held_ = false;
    }
    if (rings_held_) {
        routes_.receiver()->release();
        rings_held_ = false;
    }
}

ShmIo::Written ShmIo::write(const TxPacket& packet)
{
    ShmRoutes::Way* const way = packet.length <= max_shm_packet ? routes_.open(packet.route, now_) : nullptr;
    if (way == nullptr) {
        return Written::other_way;
    }
    if (!way->sender.push(packet)) [[unlikely]] {
        return way->sender.stuck() ? Written::other_way : Written::not_now;
    }
    if (!way->touched) {
        if (touched_count_ == touched_.size()) {
            flush();
        }
        way->touched = true;
        touched_[touched_count_++] = way;
    }
    return Written::yes;
}

void ShmIo::flush()
{
    routes_.flush(std::span(touched_).first(touched_count_));
    touched_count_ = 0;
}

std::size_t ShmIo::tx_burst(std::span<const TxPacket> packets)
{
    std::size_t accepted = 0;
    std::size_t written = 0;
    while (accepted < packets.size()) {
        const Written result = write(packets[accepted]);
        if (result == Written::yes) {
            ++accepted;
            ++written;
            continue;
        }
        if (result == Written::not_now) {
            break;
        }
        std::size_t end =
            accepted + 1; // what sends one packet the other way mostly does so for all to a peer
        while (end < packets.size() && packets[end].route == packets[accepted].route) {
            ++end;
        }
        accepted += inner().tx_burst(packets.subspan(accepted, end - accepted));
        if (accepted < end) {
            break;
        }
    }
    if (touched_count_ != 0) {
        flush();
    }
    counters_.io_shm_packets.add(written);
    return accepted;
}

std::size_t ShmIo::poll_notices(std::span<RouteNotice> notices, Time now)
{
    now_ = now;
    const std::size_t own = routes_.notices().empty() ? 0 : routes_.notices().take(notices);
    if (open_rings() != nullptr && !notice_looks_.due(now)) {
        return own;
    }
    notice_looks_.looked(now, false);
    const std::size_t count = inner().poll_notices(notices.subspan(own), now);
    for (const RouteNotice& notice : notices.subspan(own, count)) {
        wire_looks_.hurry(); // before it is acted on, all that came earlier must have been read
        if (notice.kind == RouteNotice::Kind::process_gone) {
            routes_.forget(notice.route);
        }
    }
    return own + count;
}

bool ShmIo::arm_wait()
{
    // First said, then looked: who writes in between wakes us.
    asleep_ = true;
    routes_.set_asleep(true);
    const bool wire_idle = inner().arm_wait();
    if (!wire_idle) {
        wire_looks_.hurry();
    }
    const ShmReceiver* const rings = open_rings();
    return wire_idle && routes_.notices().empty() && !(rings != nullptr && rings->waiting());
}

} // namespace

std::unique_ptr<PacketIo> make_shm_io(const ShmConfig& config, std::unique_ptr<PacketIo> wire,
                                      Counters& counters)
{
    const SocketAddress local = wire->local_address();
    return std::make_unique<ShmIo>(config, std::move(wire), local, counters);
}

} // namespace srd
