// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the backend below gets of packets that are sealed.
#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "io/seal/seal_io.hpp"
#include "support/quiet_io.hpp"
#include "unit/seal/session_fixture.hpp"

using namespace srd;
using namespace srd::test;

namespace {

/// Takes `room` packets, and keeps them.
class KeepingIo final : public QuietIo {
public:
    explicit KeepingIo(std::uint32_t max_packet) { caps_.max_packet = max_packet; }

    const SocketAddress& local_address() const noexcept override { return address_; }
    Status resolve(const SocketAddress&, RouteId&) override { return Status::invalid; }
    const SocketAddress& route_address(RouteId) const noexcept override { return address_; }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        const auto count = std::min(packets.size(), room);
        room -= count;
        const auto* const begin = static_cast<const std::byte*>(packets.front().iov[0].iov_base);
        for (const TxPacket& packet : packets.first(count)) {
            REQUIRE(packet.iov_count == 1);
            const auto* const bytes = static_cast<const std::byte*>(packet.iov[0].iov_base);
            REQUIRE(packet.iov[0].iov_len == packet.length);
            CHECK(reinterpret_cast<std::uintptr_t>(bytes) % 64 == 0);
            extent = std::max(extent, static_cast<std::size_t>(bytes - begin) + packet.length);
            kept.emplace_back(bytes, bytes + packet.length);
        }
        return count;
    }

    std::size_t room = ~std::size_t{0};
    std::size_t extent = 0; ///< of memory that the packets of one burst were in
    std::vector<Bytes> kept;

private:
    SocketAddress address_;
};

struct World {
    explicit World(std::uint32_t max_packet) : ends(Cipher::aes_128_gcm)
    {
        auto keeping = std::make_unique<KeepingIo>(max_packet);
        below = keeping.get();
        io = make_seal_io(std::move(keeping));
    }
    /// So many packets of `size`, in two pieces.
    std::size_t send(std::size_t count, std::size_t size, std::size_t skip = 0)
    {
        clear = counting(size);
        std::vector<TxPacket> packets(count);
        for (TxPacket& packet : packets) {
            packet.seal = ends.a.get();
            packet.iov_count = 2;
            packet.iov[0] = {clear.data(), 30};
            packet.iov[1] = {clear.data() + 30, size - 30};
            packet.length = static_cast<std::uint32_t>(size);
        }
        return io->tx_burst(std::span(packets).subspan(skip));
    }
    /// All that were kept open, in this order.
    bool all_open()
    {
        return std::all_of(below->kept.begin(), below->kept.end(),
                           [&](const Bytes& packet) { return opened(*ends.b, packet) == clear; });
    }

    SessionPair ends;
    Bytes clear;
    KeepingIo* below;
    std::unique_ptr<PacketIo> io;
};

} // namespace

TEST_CASE("sealed io: the backend copies packets out of a cache, whatever their size")
{
    for (const std::size_t size : {64U, 1448U, 8948U, 65483U}) {
        World world(65507);
        CHECK(world.send(300, size) == 300);
        CHECK(world.below->kept.size() == 300);
        CHECK(world.below->extent <= 128U << 10);
        CHECK(world.all_open());
    }
    World jumbo(1U << 20); // larger than what is sealed at a time otherwise
    CHECK(jumbo.send(3, (1U << 20) - SealedSession::overhead) == 3);
    CHECK(jumbo.all_open());
}

TEST_CASE("sealed io: what the backend has not taken is offered again, and no counter is missing")
{
    World world(1472);
    for (const std::size_t room : {0U, 1U, 64U, 200U}) {
        world.below->room = room;
        const std::size_t sent = world.send(300, 1448);
        CHECK(sent == room);
        world.below->room = ~std::size_t{0};
        CHECK(world.send(300, 1448, sent) == 300 - sent);
    }
    REQUIRE(world.below->kept.size() == 1200);
    CHECK(world.all_open());
    for (std::size_t i = 0; i < world.below->kept.size(); ++i) {
        wire::u64 counter;
        std::memcpy(&counter, world.below->kept[i].data() + SealedSession::header_size, sizeof(counter));
        CHECK(counter == i);
    }
}
