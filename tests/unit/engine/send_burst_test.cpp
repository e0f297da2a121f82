// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <utility>
#include <vector>

#include <netinet/in.h>

#include "progress.hpp"

#include "support/catch.hpp"
#include "support/engine_pair.hpp"

namespace {

using namespace srd;
using namespace srd::test;

/// Routes for which there is no room, and what was sent to the others.
class RefusingIo final : public QuietIo {
public:
    explicit RefusingIo(std::vector<std::uint32_t> full) : full_(std::move(full)) { caps_.max_packet = 1472; }
    const SocketAddress& local_address() const noexcept override { return address_; }
    const SocketAddress& route_address(RouteId) const noexcept override { return address_; }
    Status resolve(const SocketAddress&, RouteId&) override { return Status::invalid; }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        ++calls;
        std::size_t count = 0;
        while (count < packets.size() &&
               std::ranges::find(full_, index_of(packets[count].route)) == full_.end()) {
            sent.push_back(packets[count++].cookie);
        }
        return count;
    }

    std::vector<std::uint32_t> sent;
    int calls = 0;

private:
    const std::vector<std::uint32_t> full_;
    const SocketAddress address_ = SocketAddress::of_ipv4(INADDR_LOOPBACK, 1);
};

/// Packets to these routes, with their places as cookies.
std::vector<TxPacket> burst_to(std::initializer_list<std::uint32_t> routes)
{
    std::vector<TxPacket> burst;
    for (const std::uint32_t route : routes) {
        burst.emplace_back();
        burst.back().route = RouteId{route};
        burst.back().cookie = static_cast<std::uint32_t>(burst.size() - 1);
    }
    return burst;
}

std::vector<std::uint32_t> cookies_of(std::span<const TxPacket> packets)
{
    std::vector<std::uint32_t> cookies;
    std::ranges::transform(packets, std::back_inserter(cookies), &TxPacket::cookie);
    return cookies;
}

} // namespace

TEST_CASE("send_burst: one route without room holds up nobody else, and the order of each route stays",
          "[progress]")
{
    using List = std::vector<std::uint32_t>;
    SECTION("one of two")
    {
        std::vector<TxPacket> burst = burst_to({1, 1, 2, 1, 2, 2, 1});
        RefusingIo io({1});
        const std::size_t accepted = send_burst(io, burst);
        CHECK(io.sent == List{2, 4, 5});
        REQUIRE(accepted == 3);
        CHECK(cookies_of(std::span(burst).subspan(accepted)) == List{0, 1, 3, 6});
        CHECK(io.calls == 2);
    }
    SECTION("the only one: it is not asked again")
    {
        std::vector<TxPacket> burst = burst_to({1, 1, 1});
        RefusingIo io({1});
        CHECK(send_burst(io, burst) == 0);
        CHECK(io.calls == 1);
        CHECK(cookies_of(burst) == List{0, 1, 2});
    }
    SECTION("many, with others between them")
    {
        std::vector<TxPacket> burst = burst_to({9, 1, 9, 2, 1, 9, 3, 9, 4, 9, 5, 2, 9});
        RefusingIo io({1, 2, 3, 4, 5});
        const std::size_t accepted = send_burst(io, burst);
        CHECK(io.sent == List{0, 2, 5, 7, 9, 12});
        REQUIRE(accepted == 6);
        CHECK(cookies_of(std::span(burst).subspan(accepted)) == List{10, 8, 6, 3, 11, 1, 4});
    }
    SECTION("the device has none for anybody: few are asked")
    {
        std::vector<TxPacket> burst = burst_to({1, 2, 3, 4, 5, 6, 7, 8});
        RefusingIo io({1, 2, 3, 4, 5, 6, 7, 8});
        CHECK(send_burst(io, burst) == 0);
        CHECK(io.calls == max_refusals);
        List left = cookies_of(burst);
        std::ranges::sort(left);
        CHECK(left == List{0, 1, 2, 3, 4, 5, 6, 7});
    }
}
