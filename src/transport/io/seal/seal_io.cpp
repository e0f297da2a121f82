// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/seal/seal_io.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <srd/check.hpp>
#include <srd/lazy_array.hpp>

#include "io/core/forwarding_io.hpp"
#include "seal/sealed_session.hpp"

namespace srd {

namespace {

constexpr std::size_t batch_packets = 128;
/// What the backend gets at a time: the kernel copies it at once, out of the cache that a core has for
/// itself.
constexpr std::size_t batch_bytes = 128U << 10;
/// Of a sealed packet in memory: kernels copy from the beginning of a cache line, and fastest if that is it.
constexpr std::size_t alignment = 64;

constexpr std::size_t aligned(std::size_t bytes) noexcept
{
    return (bytes + alignment - 1) / alignment * alignment;
}

IoCaps caps_of(const PacketIo& base)
{
    IoCaps caps = base.caps();
    SRD_CHECK(caps.max_packet > SealedSession::overhead);
    caps.max_packet -= static_cast<std::uint32_t>(SealedSession::overhead);
    caps.overhead = static_cast<std::uint16_t>(caps.overhead + SealedSession::overhead);
    return caps;
}

class SealIo final : public ForwardingIo {
public:
    explicit SealIo(std::unique_ptr<PacketIo> base)
        : ForwardingIo(std::move(base)), caps_(caps_of(inner())),
          size_(std::max(batch_bytes, aligned(inner().caps().max_packet))), memory_(size_)
    {
    }

    const IoCaps& caps() const noexcept override { return caps_; }
    std::uint32_t route_mtu(RouteId route) const noexcept override
    {
        return inner().route_mtu(route) - static_cast<std::uint32_t>(SealedSession::overhead);
    }
    std::size_t tx_burst(std::span<const TxPacket> packets) override;

private:
    /// The packets of one batch, a prefix; at least one.
    std::span<const TxPacket> batch_of(std::span<const TxPacket> packets) const noexcept;
    /// False: it cannot be sealed, and is lost.
    bool seal(const TxPacket& packet, TxPacket& out, std::size_t& used);
    std::size_t send(std::span<const TxPacket> packets);

    const IoCaps caps_;
    const std::size_t size_;      ///< of the memory
    LazyArray<std::byte> memory_; ///< the packets of a batch, one after the other
    std::array<TxPacket, batch_packets> sealed_;
};

std::span<const TxPacket> SealIo::batch_of(std::span<const TxPacket> packets) const noexcept
{
    const std::size_t limit = std::min(packets.size(), batch_packets);
    std::size_t bytes = 0;
    std::size_t count = 0;
    while (count < limit) {
        bytes += aligned(packets[count].length + SealedSession::overhead);
        if (bytes > size_) {
            break;
        }
        ++count;
    }
    SRD_CHECK(count != 0 || packets.empty());
    return packets.first(count);
}

bool SealIo::seal(const TxPacket& packet, TxPacket& out, std::size_t& used)
{
    out = packet;
    if (packet.seal == nullptr) {
        return true;
    }
    std::byte* const place = &memory_[used];
    const std::size_t length = packet.seal->seal({packet.iov.data(), packet.iov_count}, place);
    out.iov_count = 1;
    out.iov[0] = {place, length};
    out.length = static_cast<std::uint32_t>(length);
    out.stable_from = max_tx_iov;
    used += aligned(length);
    return length != 0;
}

/// The accepted prefix. A counter of what the backend has not taken was never on the wire: it is given back.
std::size_t SealIo::send(std::span<const TxPacket> packets)
{
    std::size_t count = 0;
    std::size_t used = 0;
    while (count < packets.size() && seal(packets[count], sealed_[count], used)) {
        ++count;
    }
    const bool spoilt = count < packets.size();
    const std::size_t accepted = count == 0 ? 0 : inner().tx_burst(std::span(sealed_).first(count));
    for (std::size_t i = count; i-- > accepted;) {
        if (packets[i].seal != nullptr) {
            packets[i].seal->take_back();
        }
    }
    return accepted == count && spoilt ? count + 1 : accepted; // whose connection will end by silence
}

std::size_t SealIo::tx_burst(std::span<const TxPacket> packets)
{
    std::size_t accepted = 0;
    while (accepted < packets.size()) {
        const std::span<const TxPacket> batch = batch_of(packets.subspan(accepted));
        const std::size_t sent = send(batch);
        accepted += sent;
        if (sent < batch.size()) {
            break;
        }
    }
    return accepted;
}

} // namespace

std::unique_ptr<PacketIo> make_seal_io(std::unique_ptr<PacketIo> base)
{
    return std::make_unique<SealIo>(std::move(base));
}

} // namespace srd
