// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The laws of bypass_io.hpp: which packets take the base backend, and when it is polled.
#include <vector>

#include "io/core/bypass_io.hpp"

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/quiet_io.hpp"

using namespace srd;
using namespace srd::test;
using std::chrono::microseconds;
using std::chrono::milliseconds;

namespace {

/// What was done to a base backend, which has what a test gives it.
struct Log {
    std::vector<std::vector<std::uint32_t>> bursts; ///< lengths of the packets sent
    std::size_t accepts = 64;                       ///< packets per burst
    std::size_t waiting = 0;                        ///< packets to receive
    std::size_t notices = 0;
    int polls = 0;
    int releases = 0;
    int probes = 0;
    bool idle = true;
};

class Base final : public QuietIo {
public:
    explicit Base(Log& log) : log_(log) { caps_.max_packet = 1000; }

    const SocketAddress& local_address() const noexcept override { return address_; }
    Status resolve(const SocketAddress&, RouteId&) override { return Status::ok; }
    const SocketAddress& route_address(RouteId) const noexcept override { return address_; }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override
    {
        ++log_.polls;
        const std::size_t count = std::min(log_.waiting, packets.size());
        for (std::size_t i = 0; i < count; ++i) {
            packets[i] = {bytes_.data(), static_cast<std::uint32_t>(i + 1), false, false, now};
        }
        log_.waiting -= count;
        return count;
    }
    void rx_release() noexcept override { ++log_.releases; }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        const std::size_t count = std::min(log_.accepts, packets.size());
        log_.bursts.emplace_back();
        for (const TxPacket& packet : packets.first(count)) {
            log_.bursts.back().push_back(packet.length);
        }
        return count;
    }
    void probe_liveness(RouteId, LivenessProbe, Time) override { ++log_.probes; }
    std::size_t poll_notices(std::span<RouteNotice> notices, Time) override
    {
        const std::size_t count = std::min(std::exchange(log_.notices, 0), notices.size());
        std::fill_n(notices.begin(), count, RouteNotice{});
        return count;
    }
    bool arm_wait() override { return log_.idle; }

private:
    Log& log_;
    const SocketAddress address_ = make_address("127.0.0.1", 1);
    std::array<std::byte, 64> bytes_{};
};

/// Carries packets to even routes, but for those of one length; packets of length 3 from the base are
/// messages.
class Bypass final : public BypassIo {
public:
    explicit Bypass(Log& log) : BypassIo(std::make_unique<Base>(log)) {}

    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        const auto carries = [this](const TxPacket& packet) {
            return index_of(packet.route) % 2 == 0 && packet.length != not_carried;
        };
        last = send(
            packets,
            [&](const TxPacket& packet) {
                if (!carries(packet)) {
                    return Offered::not_carried;
                }
                if (room == 0) {
                    return Offered::no_room;
                }
                --room;
                carried.push_back(packet.length);
                return Offered::sent;
            },
            carries);
        return last.accepted;
    }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override
    {
        if (!base_polls().due(now)) {
            return 0;
        }
        if (holds) {
            hold_bypass();
        }
        const std::size_t count = keep_packets(packets.first(receive_base(packets, now)),
                                               [](const RxPacket& packet) { return packet.length == 3; });
        if (count == 0) {
            rx_release();
        }
        return count;
    }
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override
    {
        return poll_base_notices(notices, now);
    }
    bool arm_wait() override { return arm_base(); }

    Sent last;
    std::size_t room = 64;
    std::uint32_t not_carried = 0; ///< a length
    std::vector<std::uint32_t> carried;
    bool holds = false; ///< packets of its own, in each burst
    int releases = 0;
    int suspicions = 0;

private:
    void release_bypass() noexcept override { ++releases; }
    void suspect(RouteId /*route*/) noexcept override { ++suspicions; }
};

/// Packets to these routes, whose lengths are 1, 2, 3, ...
std::vector<TxPacket> packets_to(const std::vector<std::uint32_t>& routes)
{
    std::vector<TxPacket> packets(routes.size());
    for (std::size_t i = 0; i < routes.size(); ++i) {
        packets[i].route = RouteId{routes[i]};
        packets[i].length = static_cast<std::uint32_t>(i + 1);
    }
    return packets;
}

using Lengths = std::vector<std::uint32_t>;
using Bursts = std::vector<Lengths>;

} // namespace

TEST_CASE("bypass: packets that it cannot carry take the base backend, in one burst whoever they go to")
{
    Log log;
    Bypass io(log);
    CHECK(io.tx_burst(packets_to({2, 1, 1, 4, 3, 5, 5, 2})) == 8);
    CHECK(io.carried == Lengths{1, 4, 8});
    CHECK(log.bursts == Bursts{{2, 3}, {5, 6, 7}});
    CHECK(io.last.bypassed == 3);
}

TEST_CASE("bypass: a packet that it cannot carry takes those behind it to the same peer with it")
{
    Log log;
    Bypass io(log);
    io.not_carried = 2;
    CHECK(io.tx_burst(packets_to({2, 2, 2, 4, 2})) == 5);
    CHECK(io.carried == Lengths{1, 4, 5});
    CHECK(log.bursts == Bursts{{2, 3}});
}

TEST_CASE("bypass: what is sent is a prefix, whoever has no room")
{
    Log log;
    Bypass io(log);
    SECTION("the bypass")
    {
        io.room = 1;
        CHECK(io.tx_burst(packets_to({2, 1, 2, 1})) == 2);
        CHECK(io.carried == Lengths{1});
        CHECK(log.bursts == Bursts{{2}});
    }
    SECTION("the base backend")
    {
        log.accepts = 2;
        CHECK(io.tx_burst(packets_to({2, 1, 1, 1, 2})) == 3);
        CHECK(io.carried == Lengths{1});
        CHECK(log.bursts == Bursts{{2, 3}});
    }
}

TEST_CASE("bypass: the base backend is polled now and then, and all the time after something came")
{
    Log log;
    Bypass io(log);
    std::array<RxPacket, 8> packets;
    Time now{std::chrono::seconds(1)};
    const auto polls_in = [&](Duration time) {
        const int before = log.polls;
        for (const Time end = now + time; now < end; now += microseconds(1)) {
            if (io.rx_burst(packets, now) != 0) {
                io.rx_release();
            }
        }
        return log.polls - before;
    };
    CHECK(polls_in(microseconds(200)) == 10);
    log.waiting = 1;
    CHECK(polls_in(microseconds(20)) >= 1);
    CHECK(polls_in(microseconds(500)) == 500);
    CHECK(polls_in(milliseconds(1)) < 600);
    CHECK(polls_in(microseconds(200)) == 10);
}

TEST_CASE("bypass: the base backend is polled before a notice of it is acted on, and before a sleep")
{
    Log log;
    Bypass io(log);
    std::array<RxPacket, 8> packets;
    std::array<RouteNotice, 8> notices;
    const Time now{std::chrono::seconds(1)};
    CHECK(io.rx_burst(packets, now) == 0);
    log.waiting = 2;
    CHECK(io.rx_burst(packets, now) == 0); // not due
    log.notices = 1;
    CHECK(io.poll_notices(notices, now) == 1);
    CHECK(io.rx_burst(packets, now) == 2);
    io.rx_release();

    Log other;
    Bypass sleeper(other);
    CHECK(sleeper.rx_burst(packets, now) == 0);
    CHECK(sleeper.arm_wait());
    other.waiting = 1;
    other.idle = false;
    CHECK_FALSE(sleeper.arm_wait());
    CHECK(sleeper.rx_burst(packets, now) == 1);
}

TEST_CASE("bypass: messages are taken out, and the memory of a burst is given back once")
{
    Log log;
    Bypass io(log);
    std::array<RxPacket, 8> packets;
    Time now{std::chrono::seconds(1)};
    log.waiting = 4;
    REQUIRE(io.rx_burst(packets, now) == 3);
    CHECK(packets[0].length == 1);
    CHECK(packets[1].length == 2);
    CHECK(packets[2].length == 4);
    CHECK(log.releases == 0);
    io.rx_release();
    CHECK(log.releases == 1);
    CHECK(io.releases == 0); // it had nothing to do with that burst
    io.holds = true;
    now += milliseconds(1);
    REQUIRE(io.rx_burst(packets, now) == 0); // one without packets, which is released at once
    CHECK(io.releases == 1);
    io.rx_release();
    CHECK(log.releases == 1);
    CHECK(io.releases == 1);
}

TEST_CASE("bypass: who asks whether a peer lives suspects its bypass")
{
    Log log;
    Bypass io(log);
    io.probe_liveness(RouteId{2}, LivenessProbe::exists, Time{});
    CHECK(io.suspicions == 1);
    CHECK(log.probes == 1);
    CHECK(io.caps().max_packet == 1000);
}
