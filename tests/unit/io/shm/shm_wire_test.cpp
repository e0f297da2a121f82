// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Shared memory and the backend beside it: who is looked at when, which way packets take, and what each is
// told. Time and the other backend are in the test's hands.
#include <deque>

#include "io/shm/shm_segment.hpp"
#include "support/catch.hpp"
#include "support/io/shm_ends.hpp"
#include "support/quiet_io.hpp"

using namespace srd;
using namespace srd::test;
using std::chrono::microseconds;
using std::chrono::milliseconds;

namespace {

using Kind = RouteNotice::Kind;
using Numbers = std::vector<std::int64_t>;

/// Reaches every other one at once; routes are ports.
class Wire final : public QuietIo {
public:
    explicit Wire(std::uint16_t port) : address_(make_address("127.0.0.1", port))
    {
        caps_.max_packet = 65507;
        all().resize(std::max<std::size_t>(all().size(), port + 1U));
        all()[port] = this;
    }
    ~Wire() override { all()[local_address().port()] = nullptr; }

    const SocketAddress& local_address() const noexcept override { return address_; }
    Status resolve(const SocketAddress& address, RouteId& route) override
    {
        route = RouteId{address.port()};
        return Status::ok;
    }
    RouteId find(const SocketAddress& address) const noexcept override { return RouteId{address.port()}; }
    bool on_this_host(RouteId) const noexcept override { return true; }
    const SocketAddress& route_address(RouteId route) const noexcept override
    {
        return all()[index_of(route)]->local_address();
    }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override
    {
        ++looks;
        CHECK(held_.empty()); // the last ones were given back
        std::size_t count = 0;
        for (; count < packets.size() && !in.empty(); in.pop_front(), ++count) {
            held_.push_back(std::move(in.front()));
            packets[count] = {held_.back().data(), static_cast<std::uint32_t>(held_.back().size()), false,
                              false, now};
        }
        return count;
    }
    void rx_release() noexcept override { held_.clear(); }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        const std::size_t count = std::min(packets.size(), room);
        for (const TxPacket& packet : packets.first(count)) {
            if (Wire* const to = all()[index_of(packet.route)]; to != nullptr) {
                std::vector<std::byte>& bytes = to->in.emplace_back(packet.length);
                std::memcpy(bytes.data(), packet.iov[0].iov_base, packet.length);
            }
        }
        return count;
    }
    void probe_liveness(RouteId, LivenessProbe, Time) override { ++probes; }
    std::size_t poll_notices(std::span<RouteNotice> notices, Time) override
    {
        ++notice_looks;
        std::size_t count = 0;
        for (; count < notices.size() && !news.empty(); news.pop_front()) {
            notices[count++] = news.front();
        }
        return count;
    }
    bool arm_wait() override { return in.empty(); }

    std::deque<std::vector<std::byte>> in;
    std::deque<RouteNotice> news;
    std::size_t room = 1000; ///< packets that it takes in one burst
    unsigned looks = 0;
    unsigned notice_looks = 0;
    unsigned probes = 0;

private:
    static std::vector<Wire*>& all()
    {
        static std::vector<Wire*> wires;
        return wires;
    }

    SocketAddress address_;
    std::deque<std::vector<std::byte>> held_;
};

struct End {
    explicit End(std::uint16_t port) : End(port, std::make_unique<Wire>(port)) {}

    /// A burst of packets, each to one route; how many were taken.
    std::size_t send(std::initializer_list<RouteId> routes, std::uint32_t number)
    {
        TestPacket packet(number, 64);
        std::vector<TxPacket> burst;
        for (const RouteId to : routes) {
            burst.push_back(packet.to(to, PathId{0}));
        }
        return io->tx_burst(burst);
    }
    Numbers look(Time now, std::size_t limit = 64)
    {
        std::vector<RxPacket> packets(limit);
        Numbers numbers;
        const std::size_t count = io->rx_burst(packets, now);
        for (const RxPacket& packet : std::span(packets).first(count)) {
            numbers.push_back(TestPacket::number_of(packet));
        }
        if (count != 0) {
            io->rx_release();
        }
        return numbers;
    }
    std::vector<Kind> notices(Time now)
    {
        std::array<RouteNotice, 8> taken;
        std::vector<Kind> kinds;
        for (std::size_t i = 0, count = io->poll_notices(taken, now); i < count; ++i) {
            kinds.push_back(taken[i].kind);
        }
        return kinds;
    }

    RouteId route;
    Wire* wire;
    Counters counters;
    std::unique_ptr<PacketIo> io;

private:
    End(std::uint16_t port, std::unique_ptr<Wire> made) : route{port}, wire(made.get())
    {
        io = make_shm_io({}, std::move(made), counters);
    }
};

/// Until packets from `from` to `to` go through memory; none has.
void open_way(End& from, End& to, Time& now)
{
    for (int i = 0; i < 10; ++i, now += milliseconds(2)) {
        from.look(now);
        to.look(now);
        if (from.notices(now) == std::vector{Kind::same_host}) {
            return;
        }
        CHECK(from.send({to.route}, 0) == 1);
    }
    FAIL("the way does not open");
}

struct Two {
    Time now = Time(std::chrono::seconds(1));
    End a{1};
    End b{2};

    Two()
    {
        open_way(a, b, now);
        while (!b.look(now).empty()) {
        }
        now += milliseconds(5);
        b.look(now);
    }
};

} // namespace

TEST_CASE("shm wire: while packets come through memory, the other backend is looked at now and then")
{
    Two two;
    const unsigned looks = two.b.wire->looks;
    const unsigned notice_looks = two.b.wire->notice_looks;
    for (int i = 0; i < 200; ++i, two.now += microseconds(1)) {
        two.b.look(two.now);
        two.b.notices(two.now);
    }
    CHECK(two.b.wire->looks - looks >= 9);
    CHECK(two.b.wire->looks - looks <= 11);
    CHECK(two.b.wire->notice_looks - notice_looks >= 9);
    CHECK(two.b.wire->notice_looks - notice_looks <= 11);
}

TEST_CASE("shm wire: before bad news is acted on, and before sleep, the other backend is read")
{
    Two two;
    const auto by_wire = [&] {
        two.b.look(two.now); // from now on it is not due
        TestPacket packet(7, 64);
        const TxPacket made = packet.to(two.b.route, PathId{0});
        CHECK(two.a.wire->tx_burst({&made, 1}) == 1);
        CHECK(two.b.look(two.now).empty());
    };
    by_wire();
    CHECK_FALSE(two.b.io->arm_wait());
    CHECK(two.b.look(two.now) == Numbers{7});
    two.now += milliseconds(5);
    by_wire();
    two.b.wire->news.push_back({two.a.route, Kind::unreachable});
    CHECK(two.b.notices(two.now) == std::vector{Kind::unreachable});
    CHECK(two.b.look(two.now) == Numbers{7});
}

TEST_CASE("shm wire: neither way starves the other")
{
    Two two;
    const std::uint64_t before = two.a.counters.io_shm_packets.value();
    std::size_t from_wire = 0;
    TestPacket packet(2, 64);
    const TxPacket made = packet.to(two.b.route, PathId{0});
    for (int i = 0; i < 50; ++i, two.now += microseconds(20)) {
        for (int n = 0; n < 4; ++n) { // as many as are read, as long as there is room
            two.a.send({two.b.route}, 1);
        }
        while (two.b.wire->in.size() < 20) {
            two.a.wire->tx_burst({&made, 1});
        }
        for (const std::int64_t number : two.b.look(two.now, 4)) {
            from_wire += number == 2 ? 1 : 0;
        }
    }
    CHECK(two.a.counters.io_shm_packets.value() - before >= 4 * shm_ring_entries);
    CHECK(from_wire >= 16);
}

TEST_CASE("shm wire: what was read is given back, also if it was messages alone")
{
    Two two;
    End c(3); // asks b, while a's packets come through memory
    for (const bool beside : {false, true}) {
        two.now += milliseconds(5);
        CHECK(c.send({two.b.route}, 0) == 1);
        c.look(two.now);
        two.b.wire->in.pop_back(); // the packet, but not the question before it
        REQUIRE(two.b.wire->in.size() == 1);
        if (beside) {
            REQUIRE(two.a.send({two.b.route}, 1) == 1);
        }
        CHECK(two.b.look(two.now) == (beside ? Numbers{1} : Numbers{}));
        CHECK(two.b.wire->in.empty());
        two.now += milliseconds(5);
        two.b.look(two.now); // the wire checks
        c.look(two.now);
    }
}

TEST_CASE("shm wire: who goes to sleep says so, and does not if something is there")
{
    Two two;
    const auto woken = [&] {
        const std::size_t messages = two.b.wire->in.size();
        two.b.wire->in.clear();
        return messages != 0;
    };
    REQUIRE(two.b.io->arm_wait());
    CHECK(two.a.send({two.b.route}, 1) == 1);
    CHECK(woken());
    CHECK_FALSE(two.b.io->arm_wait()); // a packet is in the ring
    CHECK(two.b.look(two.now) == Numbers{1});
    CHECK(two.a.send({two.b.route}, 2) == 1);
    CHECK_FALSE(woken());
    CHECK(two.b.look(two.now) == Numbers{2});
    CHECK(two.b.io->arm_wait());
    CHECK(two.a.io->arm_wait());
    two.a.io->probe_liveness(two.b.route, LivenessProbe::exists,
                             two.now); // that the way is far now is news for the engine
    CHECK_FALSE(two.a.io->arm_wait());
}

TEST_CASE("shm wire: silence closes a way until it is proved, and the end of a process closes it")
{
    Two two;
    two.a.io->probe_liveness(two.b.route, LivenessProbe::exists, two.now);
    CHECK(two.a.wire->probes == 1);
    CHECK(two.a.notices(two.now) == std::vector{Kind::network});
    open_way(two.a, two.b, two.now);
    std::byte from{};
    std::byte to{1};
    const iovec there{&from, 1};
    const iovec here{&to, 1};
    ProcessMemory& memory = *two.a.io->caps().memory;
    const std::uint32_t epoch = two.b.io->caps().memory->epoch();
    CHECK(memory.read(two.b.route, epoch, {&there, 1}, {&here, 1}) == ProcessMemory::Read::done);
    two.now += milliseconds(5);
    for (const std::string& object : mapped_objects()) { // as when b was killed, and others clean up
        REQUIRE(::unlink(object.c_str()) == 0);
    }
    two.a.wire->news.push_back({two.b.route, Kind::process_gone});
    CHECK(two.a.notices(two.now) == std::vector{Kind::process_gone});
    CHECK(two.a.notices(two.now) == std::vector{Kind::network});
    CHECK(memory.read(two.b.route, epoch, {&there, 1}, {&here, 1}) == ProcessMemory::Read::changed);
}

TEST_CASE("shm wire: a burst is taken as far as both ways take it, each packet by its own")
{
    Two two;
    const End far(9);
    const std::uint64_t before = two.a.counters.io_shm_packets.value();
    CHECK(two.a.send({far.route, far.route, two.b.route, far.route}, 5) == 4);
    CHECK(two.a.counters.io_shm_packets.value() == before + 1);
    CHECK(two.b.look(two.now) == Numbers{5});
    two.a.wire->room = 1;
    CHECK(two.a.send({two.b.route, far.route, far.route, two.b.route}, 6) == 2);
    CHECK(two.b.look(two.now) == Numbers{6});
    two.a.wire->room = 1000;
    // A full ring is waited for a while; then the packets take the other way.
    unsigned tries = 0;
    while (two.a.send({two.b.route}, 7) == 1 && two.b.wire->in.empty()) {
    }
    CHECK(two.b.wire->in.empty());
    while (two.b.wire->in.empty() && ++tries < 1000) {
        two.a.send({two.b.route}, 7);
    }
    CHECK(tries > 10);
    CHECK(tries < 1000);
}

TEST_CASE("shm wire: every reader of a large burst hears its doorbell")
{
    Time now(std::chrono::seconds(1));
    End hub(1);
    std::deque<End> spokes;
    std::vector<TxPacket> burst;
    TestPacket packet(3, 64);
    for (std::uint16_t i = 0; i < 100; ++i) {
        open_way(hub, spokes.emplace_back(static_cast<std::uint16_t>(10 + i)), now);
        burst.push_back(packet.to(spokes.back().route, PathId{0}));
    }
    for (End& spoke : spokes) {
        while (!spoke.look(now).empty()) {
        }
    }
    CHECK(hub.io->tx_burst(burst) == burst.size());
    std::size_t heard = 0;
    for (End& spoke : spokes) {
        heard += spoke.look(now) == Numbers{3} ? 1 : 0;
        CHECK(spoke.wire->in.empty());
    }
    CHECK(heard == spokes.size());
}
