// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The pass that joins engine and backend, where its order matters.
#include <array>
#include <deque>
#include <vector>

#include "engine.hpp"
#include "progress.hpp"

#include "support/catch.hpp"
#include "support/gather.hpp"
#include "support/quiet_io.hpp"

namespace {

using namespace srd;
using std::chrono::microseconds;
using std::chrono::milliseconds;

using Bytes = std::vector<std::byte>;

/// A wire end whose other end may put packets and notices into it at awkward moments.
class WireIo final : public test::QuietIo {
public:
    explicit WireIo(std::byte name) : address_{name} { caps_.max_packet = 1472; }

    std::span<const std::byte> local_address() const noexcept override { return address_; }
    Status resolve(std::span<const std::byte>, RouteId& route) override
    {
        route = RouteId{0};
        return Status::ok;
    }
    std::span<const std::byte> route_address(RouteId) const noexcept override { return address_; }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override
    {
        std::size_t count = 0;
        while (!incoming.empty() && count < packets.size()) {
            held_.push_back(std::move(incoming.front()));
            incoming.pop_front();
            packets[count++] = {held_.back().data(), static_cast<std::uint32_t>(held_.back().size()), false,
                                now};
        }
        return count;
    }
    void rx_release() noexcept override { held_.clear(); }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        for (const TxPacket& packet : packets) {
            Bytes bytes;
            test::gather(std::span(packet.iov).first(packet.iov_count), bytes);
            if (peer != nullptr) {
                peer->incoming.push_back(std::move(bytes));
            }
        }
        return packets.size();
    }
    std::size_t poll_notices(std::span<RouteNotice> notices, Time) override
    {
        if (!gone) {
            return 0;
        }
        // The peer's last packets and the news of its end arrive after this pass has looked for packets.
        incoming.insert(incoming.end(), last_words.begin(), last_words.end());
        last_words.clear();
        gone = false;
        notices[0] = {RouteId{0}, news};
        return 1;
    }
    bool arm_wait() override { return incoming.empty(); }

    WireIo* peer = nullptr;
    std::deque<Bytes> incoming;
    std::deque<Bytes> last_words;
    bool gone = false;
    RouteNotice::Kind news = RouteNotice::Kind::process_gone;

private:
    std::array<std::byte, 1> address_;
    std::deque<Bytes> held_;
};

struct Host {
    explicit Host(std::uint8_t name)
        : io(std::byte{name}), engine(io.caps(), limits(), Tuning{}, counters, io.local_address(), name)
    {
    }
    static Limits limits()
    {
        Limits limits;
        limits.max_peers = limits.max_routes = 4;
        limits.max_packet = 1472;
        limits.unexpected_bytes = 1U << 20;
        return limits;
    }
    void pass(Time now)
    {
        progress_once(engine, io, now, [&](Engine&, const Event& event) {
            if (event.kind == Event::Kind::write) {
                engine.confirm(now);
            } else if (event.kind == Event::Kind::message) {
                sender = event.peer;
                const iovec whole{buffer.data(), buffer.size()};
                Accepted outcome{};
                REQUIRE(engine.accept(event.message, {&whole, 1}, 9, now, outcome) == Status::ok);
                REQUIRE(outcome == Accepted::pending);
            } else {
                done.push_back(event);
            }
        });
    }

    WireIo io;
    Counters counters;
    Engine engine;
    std::vector<Event> done;
    PeerId sender{}; ///< of the last message
    Bytes buffer = Bytes(1U << 20);
};

/// An initiator, and the target of its writes, which are strangers.
struct Meeting {
    Meeting()
    {
        initiator.io.peer = &target.io;
        target.io.peer = &initiator.io;
        peer = initiator.engine.open_peer(RouteId{0}, 1472, now);
    }
    void run(int rounds = 10)
    {
        for (int i = 0; i < rounds; ++i, now += microseconds(5)) {
            initiator.pass(now);
            target.pass(now);
        }
    }
    /// The first write is complete.
    void meet()
    {
        submit(1);
        run();
        REQUIRE(initiator.done.size() == 1);
    }
    /// Nobody is there for so long.
    void wait(Duration time)
    {
        for (const Time end = now + time; now < end; now += microseconds(100)) {
            initiator.pass(now);
            target.io.incoming.clear();
        }
    }
    void submit(std::uint64_t cookie, std::size_t length = 8)
    {
        const iovec iov{bytes.data(), length};
        const RemoteRange range{.address = 0, .length = length, .key = 1};
        Operation operation;
        operation.kind = OperationKind::write;
        operation.peer = peer;
        operation.cookie = cookie;
        operation.iov = {&iov, 1};
        operation.remote = {&range, 1};
        REQUIRE(initiator.engine.submit(operation, now) == Status::ok);
    }

    Bytes bytes = Bytes(60'000);
    Host initiator{1};
    Host target{2};
    Time now = Time(std::chrono::seconds(1));
    PeerId peer{};
};

} // namespace

TEST_CASE("progress_once: a timer waits until what the socket holds is read", "[progress]")
{
    Meeting pair;
    pair.meet();
    pair.submit(2);
    pair.initiator.pass(pair.now);
    // The answer comes at once, but behind more packets than one burst takes, and nobody looks for a second.
    const Bytes noise(20, std::byte{0});
    pair.initiator.io.incoming.assign(3 * rx_burst_size, noise);
    pair.target.pass(pair.now);
    REQUIRE(pair.initiator.io.incoming.size() > 3 * rx_burst_size);
    pair.now += std::chrono::seconds(1);
    REQUIRE(pair.initiator.engine.next_timeout() < pair.now);
    pair.initiator.pass(pair.now);
    CHECK(pair.initiator.done.size() == 2);
    CHECK(pair.initiator.counters.retransmits_probe.value() == 0);
}

TEST_CASE("progress_once: what a peer said before it went counts before the news that it is gone",
          "[progress]")
{
    Meeting pair;
    auto& [bytes, initiator, target, now, peer] = pair;
    pair.meet();

    // The target takes a second write, acknowledges it, says goodbye and ends.
    pair.submit(2);
    initiator.pass(now);
    target.io.peer = nullptr;
    WireIo last(std::byte{9});
    target.io.peer = &last;
    target.pass(now);
    target.engine.close(now);
    target.pass(now);
    REQUIRE(!last.incoming.empty());
    initiator.io.last_words = last.incoming;
    initiator.io.gone = true;
    now += microseconds(5);
    initiator.pass(now);
    initiator.pass(now);
    REQUIRE(initiator.done.size() == 2);
    CHECK(initiator.done[1].cookie == 2);
    CHECK(initiator.done[1].cause == Cause::none);
}

TEST_CASE("process_gone: news of an earlier process does not end the meeting of the next one", "[progress]")
{
    Meeting pair;
    pair.submit(1);
    pair.wait(microseconds(500));
    pair.initiator.io.gone = true;
    pair.wait(std::chrono::milliseconds(20));
    REQUIRE(pair.initiator.done.empty());
    pair.wait(std::chrono::milliseconds(20));
    pair.now += std::chrono::milliseconds(200); // the next question
    pair.run();
    REQUIRE(pair.initiator.done.size() == 1);
    CHECK(pair.initiator.done[0].cause == Cause::none);
}

TEST_CASE("process_gone: news before an operation says nothing about it", "[progress]")
{
    Meeting pair;
    pair.initiator.io.gone = true;
    pair.run(1);
    pair.submit(1);
    pair.wait(std::chrono::milliseconds(20));
    CHECK(pair.initiator.done.empty());
}

TEST_CASE("process_gone: twice, with a question in between, means that nobody is there", "[progress]")
{
    Meeting pair;
    pair.submit(1);
    pair.wait(microseconds(200));
    for (int news = 0; news < 3; ++news) { // these three are answers to one question
        pair.initiator.io.gone = true;
        pair.wait(microseconds(100));
    }
    REQUIRE(pair.initiator.done.empty());
    pair.wait(std::chrono::milliseconds(2));
    pair.initiator.io.gone = true;
    pair.wait(std::chrono::milliseconds(8));
    REQUIRE(pair.initiator.done.size() == 1);
    CHECK(pair.initiator.done[0].cause == Cause::refused);
}

TEST_CASE("detect_losses: the rest of a burst is not lost because its beginning has arrived", "[progress]")
{
    Meeting pair;
    pair.meet();
    pair.submit(2, pair.bytes.size());
    pair.initiator.pass(pair.now);
    auto& burst = pair.target.io.incoming;
    REQUIRE(burst.size() > 40);
    std::deque<Bytes> rest(burst.begin() + 30, burst.end());
    SECTION("it comes later")
    {
        burst.resize(30);
    }
    SECTION("but what is missing between is")
    {
        burst.erase(burst.begin() + 4);
        rest.clear();
    }
    const bool missing = rest.empty();
    pair.now += microseconds(5);
    pair.target.pass(pair.now);
    pair.initiator.pass(pair.now);
    pair.now += microseconds(200); // less than a timeout
    pair.initiator.pass(pair.now);
    CHECK(pair.initiator.counters.retransmits_rack.value() == (missing ? 1 : 0));
    burst.insert(burst.end(), rest.begin(), rest.end());
    pair.run();
    CHECK(pair.initiator.done.size() == 2);
    CHECK(pair.initiator.counters.retransmits_probe.value() == 0);
}

TEST_CASE("progress_once: what ends because the application removes a peer is reported by the next pass",
          "[progress]")
{
    Meeting pair;
    auto& [bytes, initiator, target, now, peer] = pair;
    pair.meet();

    // A message that is granted, and none of whose data comes.
    const Bytes message(500'000);
    const iovec iov{const_cast<std::byte*>(message.data()), message.size()};
    Operation operation;
    operation.peer = peer;
    operation.cookie = 2;
    operation.iov = {&iov, 1};
    REQUIRE(initiator.engine.submit(operation, now) == Status::ok);
    for (int i = 0; i < 10; ++i, now += microseconds(5)) {
        initiator.pass(now);
        initiator.io.peer = nullptr; // after the request
        target.pass(now);
    }
    REQUIRE(initiator.done.size() == 1);
    REQUIRE(target.done.empty());

    // Nothing comes, nothing is due, there is nothing to send: but these two have ended.
    for (Host* const host : {&initiator, &target}) {
        const std::size_t before = host->done.size();
        host->io.incoming.clear();
        host->io.peer = nullptr;
        for (int i = 0; i < 1000 && !host->engine.idle(now); ++i) {
            host->pass(now);
        }
        REQUIRE(host->engine.idle(now));
        REQUIRE(host->done.size() == before);
        host->engine.close_peer(host == &initiator ? peer : host->sender, now);
        CHECK_FALSE(host->engine.idle(now));
        host->pass(now);
        REQUIRE(host->done.size() == before + 1);
        CHECK(host->done.back().cause == Cause::removed);
    }
}

TEST_CASE("progress_once: what is in the socket counts before bad news, however much it is, and is answered",
          "[progress]")
{
    const bool answered = GENERATE(true, false);
    Host initiator{1};
    Host target{2};
    Time now = Time(std::chrono::seconds(1));
    initiator.io.peer = &target.io;
    target.io.peer = &initiator.io;
    const PeerId peer = initiator.engine.open_peer(RouteId{0}, 1472, now);
    Operation operation;
    operation.peer = peer;
    operation.cookie = 1;
    REQUIRE(initiator.engine.submit(operation, now) == Status::ok);
    initiator.pass(now);
    target.pass(now);
    REQUIRE(!initiator.io.incoming.empty());

    // A router says that the target cannot be reached, and the target's first answer is there at that moment.
    const std::deque<Bytes> answer = std::exchange(initiator.io.incoming, {});
    initiator.io.last_words.assign(3 * rx_burst_size, Bytes(20, std::byte{0}));
    if (answered) {
        initiator.io.last_words.insert(initiator.io.last_words.end(), answer.begin(), answer.end());
    }
    initiator.io.gone = true;
    initiator.io.news = RouteNotice::Kind::unreachable;
    now += microseconds(5);
    REQUIRE(initiator.engine.idle(now));
    REQUIRE(target.io.incoming.empty());
    initiator.pass(now);
    CHECK(initiator.io.incoming.empty());
    if (answered) {
        CHECK(initiator.done.empty());
        CHECK(!target.io.incoming.empty());
    } else {
        REQUIRE(initiator.done.size() == 1);
        CHECK(initiator.done[0].cause == Cause::unreachable);
    }
}

TEST_CASE("progress_once: a router's word ends a silent peer, unless its process was seen since",
          "[progress]")
{
    const bool seen = GENERATE(true, false);
    Meeting pair;
    pair.meet();
    pair.initiator.io.news = RouteNotice::Kind::unreachable;
    pair.submit(2);
    pair.wait(std::chrono::seconds(4));
    pair.initiator.io.gone = true;
    pair.initiator.pass(pair.now);
    CHECK(pair.initiator.done.size() == 1); // not silent for long enough: perhaps one path of many
    if (seen) {
        pair.initiator.engine.on_route_notice({RouteId{0}, RouteNotice::Kind::process_alive}, 0, pair.now);
    }
    pair.wait(milliseconds(1400));
    REQUIRE(pair.initiator.done.size() == 1);
    pair.initiator.io.gone = true;
    pair.initiator.pass(pair.now);
    if (seen) {
        CHECK(pair.initiator.done.size() == 1);
    } else {
        REQUIRE(pair.initiator.done.size() == 2);
        CHECK(pair.initiator.done[1].cause == Cause::unreachable);
    }
}
