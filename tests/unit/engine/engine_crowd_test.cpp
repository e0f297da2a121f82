// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Many peers that are silent at the same time: how much of what is due goes out in one pass.
#include <algorithm>
#include <numeric>
#include <vector>

#include <netinet/in.h>

#include "progress.hpp"

#include "support/catch.hpp"
#include "support/quiet_io.hpp"

using namespace srd;
using namespace srd::test;
using std::chrono::milliseconds;

namespace {

constexpr std::uint32_t crowd = 100;

/// A network in which nobody answers; counts the packets to each of its hosts.
class SilentIo final : public QuietIo {
public:
    SilentIo() { caps_.max_packet = 1472; }
    const SocketAddress& local_address() const noexcept override { return address_; }
    Status resolve(const SocketAddress&, RouteId&) override { return Status::invalid; }
    const SocketAddress& route_address(RouteId) const noexcept override { return address_; }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        for (const TxPacket& packet : packets) {
            ++sent[index_of(packet.route)];
        }
        return packets.size();
    }
    std::vector<unsigned> sent = std::vector<unsigned>(crowd);

private:
    const SocketAddress address_ = SocketAddress::of_ipv4(INADDR_LOOPBACK, 1);
};

} // namespace

TEST_CASE("crowd: a pass repeats little, so that the next one comes soon, and everybody has a turn")
{
    SilentIo io;
    Counters counters;
    Limits limits;
    limits.max_peers = limits.max_routes = crowd;
    limits.max_packet = io.caps().max_packet;
    Engine engine(io.caps(), limits, Tuning{}, counters, io.local_address().bytes(), 1);
    Time now{std::chrono::hours(1)};
    std::byte byte{};
    const iovec piece{&byte, 1};
    std::vector<SocketAddress> addresses;
    for (std::uint32_t i = 0; i < crowd; ++i) {
        addresses.push_back(SocketAddress::of_ipv4(INADDR_LOOPBACK, static_cast<std::uint16_t>(2 + i)));
    }
    for (std::uint32_t i = 0; i < crowd; ++i) {
        Operation operation;
        operation.peer =
            engine.open_peer({.id = RouteId{i}, .address = addresses[i].bytes(), .mtu = {1472}}, now);
        operation.iov = {&piece, 1};
        REQUIRE(engine.submit(operation, now) == Status::ok);
    }
    const auto pass = [&] { progress_once(engine, io, now, [](Engine&, const Event&) {}); };
    const auto total = [&] { return std::accumulate(io.sent.begin(), io.sent.end(), 0U); };
    pass();
    REQUIRE(total() == crowd); // all are greeted
    now += milliseconds(50);
    for (unsigned passes = 1; passes <= crowd / 2; ++passes) {
        pass();
        CHECK(total() == crowd + 2 * passes);
        now += std::chrono::microseconds(10);
    }
    CHECK(*std::min_element(io.sent.begin(), io.sent.end()) == 2);
}
