// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The pass that joins engine and backend, where its order matters.
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "progress.hpp"

#include "support/catch.hpp"
#include "support/engine_pair.hpp"
#include "wire/binding.hpp"

namespace {

using namespace srd;
using namespace srd::test;
using std::chrono::microseconds;
using std::chrono::milliseconds;

/// ICMP, and an answer to a question.
const std::vector<RouteNotice::Kind> nobody_there = {RouteNotice::Kind::port_unreachable,
                                                     RouteNotice::Kind::process_gone};

/// An initiator, and the target of its writes, which are strangers.
struct Meeting : EnginePair {
    Meeting() : EnginePair({.strangers = true}) {}

    /// The first write is complete.
    void meet()
    {
        submit(1);
        run(10);
        REQUIRE(a.done.size() == 1);
    }
    /// Nobody is there for so long.
    void wait(Duration time)
    {
        for (const Time end = now + time; now < end; now += microseconds(100)) {
            a.pass(now);
            b.io.incoming.clear();
        }
    }
    void submit(std::uint64_t cookie, std::size_t length = 8)
    {
        access(OperationKind::write, std::span(bytes).first(length), 0, cookie);
    }

    Bytes bytes = Bytes(60'000);
};

} // namespace

TEST_CASE("progress_once: a peer for which there never is room is given up in time", "[progress]")
{
    Meeting pair;
    pair.meet();
    pair.a.io.takes = 0;
    pair.submit(2);
    pair.wait(std::chrono::seconds(4));
    CHECK(pair.a.done.size() == 1);
    pair.wait(std::chrono::seconds(3));
    REQUIRE(pair.a.done.size() == 2);
    CHECK(pair.a.done[1].cause == Cause::stopped_answering);
}

TEST_CASE("progress_once: a timer waits until what the socket holds is read", "[progress]")
{
    Meeting pair;
    pair.meet();
    pair.submit(2);
    pair.a.pass(pair.now);
    // The answer comes at once, but behind more packets than one burst takes, and nobody looks for a second.
    const WireIo::Packet noise{Bytes(20)};
    pair.a.io.incoming.assign(3 * rx_burst_size, noise);
    pair.b.pass(pair.now);
    REQUIRE(pair.a.io.incoming.size() > 3 * rx_burst_size);
    pair.now += std::chrono::seconds(1);
    REQUIRE(pair.a.engine.next_timeout() < pair.now);
    pair.a.pass(pair.now);
    CHECK(pair.a.done.size() == 2);
    CHECK(pair.a.counters.retransmits_probe.value() == 0);
}

TEST_CASE("progress_once: where packets may be long, short ones of a train are taken in together",
          "[progress]")
{
    const auto left_of = [](std::size_t packets, std::size_t length) {
        EnginePair pair({.max_packet = 65507});
        pair.a.io.incoming.assign(packets, {Bytes(length)});
        pair.a.pass(pair.now);
        return pair.a.io.incoming.size();
    };
    const std::size_t burst = rx_burst_bytes / 65507;
    CHECK(left_of(burst + 5, 1472) == 0);
    CHECK(left_of(rx_burst_size, 900) == 0);
    CHECK(left_of(2 * rx_burst_size, 900) == rx_burst_size);
    CHECK(left_of(100, 1472) == 100 - 6 * burst); // 64 KiB are enough
    CHECK(left_of(100, 9000) == 100 - burst);
    CHECK(left_of(100, 40) == 100 - burst); // acknowledgements: what they allow is sent first
}

TEST_CASE("progress_once: what a peer said before it went counts before the news that it is gone",
          "[progress]")
{
    Meeting pair;
    EngineHost& initiator = pair.a;
    EngineHost& target = pair.b;
    Time& now = pair.now;
    pair.meet();

    // The target takes a second write, acknowledges it, says goodbye and ends.
    pair.submit(2);
    initiator.pass(now);
    target.io.peer = nullptr;
    WireIo last(9, {.max_packet = 1472}, false);
    target.io.peer = &last;
    target.pass(now);
    target.engine.close(now);
    target.pass(now);
    REQUIRE(!last.incoming.empty());
    initiator.io.last_words = last.incoming;
    initiator.io.news = nobody_there;
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
    pair.a.io.news = {RouteNotice::Kind::port_unreachable}; // late
    pair.wait(milliseconds(20));
    pair.a.io.news = {RouteNotice::Kind::process_alive}; // whoever lives there now
    pair.wait(milliseconds(20));
    REQUIRE(pair.a.done.empty());
    pair.now += milliseconds(200); // the next question
    pair.run(10);
    REQUIRE(pair.a.done.size() == 1);
    CHECK(pair.a.done[0].cause == Cause::none);
}

TEST_CASE("process_gone: news before an operation says nothing about it", "[progress]")
{
    Meeting pair;
    pair.a.io.news = nobody_there;
    pair.run(1);
    pair.submit(1);
    pair.wait(milliseconds(20));
    CHECK(pair.a.done.empty());
}

TEST_CASE("process_gone: ICMP alone ends nothing before its time; with an answer to the question it does",
          "[progress]")
{
    const bool answered = GENERATE(true, false);
    Meeting pair;
    pair.meet();
    pair.submit(2);
    pair.wait(microseconds(200));
    for (int news = 0; news < 30; ++news) {
        pair.a.io.news = {RouteNotice::Kind::port_unreachable, RouteNotice::Kind::host_unreachable};
        pair.wait(milliseconds(100));
    }
    REQUIRE(pair.a.done.size() == 1);
    pair.a.io.news = nobody_there;
    if (!answered) {
        pair.a.io.news.pop_back();
    }
    pair.wait(milliseconds(8));
    REQUIRE(pair.a.done.size() == (answered ? 2 : 1));
    if (answered) {
        CHECK(pair.a.done[1].cause == Cause::refused);
    }
}

TEST_CASE("progress_once: forged ICMP does not harm a peer that answers", "[progress]")
{
    Meeting pair;
    pair.meet();
    for (std::uint64_t cookie = 2; cookie < 200; ++cookie) {
        pair.submit(cookie);
        pair.a.io.news = {RouteNotice::Kind::port_unreachable, RouteNotice::Kind::host_unreachable};
        pair.run(5);
    }
    REQUIRE(pair.a.done.size() == 199);
    for (const Event& event : pair.a.done) {
        CHECK(event.cause == Cause::none);
    }
}

namespace {

/// A meeting of which the hellos are seen.
struct SeenMeeting : Meeting {
    SeenMeeting()
    {
        a.io.tamper = [this](Bytes& packet) { return keep_hello(packet, hello_of_a); };
        b.io.tamper = [this](Bytes& packet) { return keep_hello(packet, hello_of_b); };
        meet();
    }
    static std::optional<wire::HelloFrame> hello_of(const Bytes& packet)
    {
        wire::Reader reader(packet);
        const auto header = reader.take<wire::PacketHeader>();
        const bool bare = header && header->flags == 0 &&
                          reader.peek() == static_cast<std::uint8_t>(wire::FrameType::hello);
        return bare ? reader.take<wire::HelloFrame>() : std::nullopt;
    }
    /// B says that it has no room for who bears that identifier.
    void refuse(std::uint64_t connection)
    {
        Bytes packet(sizeof(wire::PacketHeader) + sizeof(wire::HelloFrame));
        wire::PacketHeader header;
        header.connection = connection;
        wire::HelloFrame refusal = *hello_of_b;
        refusal.flags = wire::hello_flag::no_room;
        wire::put(wire::put(packet.data(), header), refusal);
        wire::bind_packet(packet);
        a.io.incoming.push_back({packet});
    }
    std::optional<wire::HelloFrame> hello_of_a;
    std::optional<wire::HelloFrame> hello_of_b;

private:
    static bool keep_hello(const Bytes& packet, std::optional<wire::HelloFrame>& kept)
    {
        const auto hello = hello_of(packet);
        kept = hello ? hello : kept;
        return false;
    }
};

} // namespace

TEST_CASE("no_room: who has given our record away, and has none left, ends what waits for it", "[progress]")
{
    SeenMeeting pair;
    REQUIRE(pair.hello_of_b);
    pair.submit(2);
    const Time begun = pair.now;
    while (pair.a.done.size() == 1 && pair.now - begun < std::chrono::seconds(20)) {
        pair.now += milliseconds(1);
        pair.a.pass(pair.now);
        for (const WireIo::Packet& packet : std::exchange(pair.b.io.incoming, {})) {
            if (const auto question = SeenMeeting::hello_of(packet.bytes)) {
                pair.refuse(question->connection);
            }
        }
    }
    REQUIRE(pair.a.done.size() == 2);
    CHECK(pair.a.done[1].cause == Cause::stopped_answering);
    CHECK(pair.now - begun < std::chrono::seconds(2));
}

TEST_CASE("no_room: a refusal that comes after we have been met is history", "[progress]")
{
    SeenMeeting pair;
    REQUIRE(pair.hello_of_a);
    pair.refuse(pair.hello_of_a->connection);
    pair.submit(2);
    pair.run(10);
    CHECK(pair.a.counters.rx_no_room.value() == 1);
    REQUIRE(pair.a.done.size() == 2);
    CHECK(pair.a.done[1].cause == Cause::none);
}

TEST_CASE("detect_losses: the rest of a burst is not lost because its beginning has arrived", "[progress]")
{
    Meeting pair;
    pair.meet();
    pair.submit(2, pair.bytes.size());
    pair.a.pass(pair.now);
    auto& burst = pair.b.io.incoming;
    REQUIRE(burst.size() > 40);
    std::deque<WireIo::Packet> rest(burst.begin() + 30, burst.end());
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
    pair.b.pass(pair.now);
    pair.a.pass(pair.now);
    pair.now += microseconds(50); // less than a timeout
    pair.a.pass(pair.now);
    CHECK(pair.a.counters.retransmits_rack.value() == (missing ? 1 : 0));
    burst.insert(burst.end(), rest.begin(), rest.end());
    pair.run(10);
    CHECK(pair.a.done.size() == 2);
    CHECK(pair.a.counters.retransmits_probe.value() == 0);
}

TEST_CASE("progress_once: what ends because the application removes a peer is reported by the next pass",
          "[progress]")
{
    Meeting pair;
    EngineHost& initiator = pair.a;
    EngineHost& target = pair.b;
    Time& now = pair.now;
    pair.meet();

    // A message that is granted, and none of whose data comes.
    const Bytes message(500'000);
    Bytes buffer(message.size());
    target.buffer = whole(buffer);
    pair.send(message);
    for (int i = 0; i < 10; ++i, now += microseconds(5)) {
        initiator.pass(now);
        initiator.io.peer = nullptr; // after the request
        target.pass(now);
    }
    REQUIRE(initiator.done.size() == 1);
    REQUIRE(target.done.empty());

    // Nothing comes, nothing is due, there is nothing to send: but these two have ended.
    for (EngineHost* const host : {&initiator, &target}) {
        const std::size_t before = host->done.size();
        host->io.incoming.clear();
        host->io.peer = nullptr;
        for (int i = 0; i < 1000 && !host->engine.idle(now); ++i) {
            host->pass(now);
        }
        REQUIRE(host->engine.idle(now));
        REQUIRE(host->done.size() == before);
        host->engine.close_peer(host == &initiator ? initiator.peer : host->sender, now);
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
    EnginePair pair({.strangers = true});
    EngineHost& initiator = pair.a;
    EngineHost& target = pair.b;
    Time& now = pair.now;
    REQUIRE(pair.submit({}, 1) == Status::ok);
    initiator.pass(now);
    target.pass(now);
    REQUIRE(!initiator.io.incoming.empty());

    // A router has said for long that the target cannot be reached, and the target's first answer is there at
    // that moment.
    const std::deque<WireIo::Packet> answer = std::exchange(initiator.io.incoming, {});
    for (const Time end = now + way_patience; now < end; now += milliseconds(100)) {
        initiator.pass(now);
    }
    target.io.incoming.clear();
    initiator.io.last_words.assign(3 * rx_burst_size, WireIo::Packet{Bytes(20)});
    if (answered) {
        initiator.io.last_words.insert(initiator.io.last_words.end(), answer.begin(), answer.end());
    }
    initiator.io.news = {RouteNotice::Kind::unreachable};
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

TEST_CASE("progress_once: a pass takes in no more than its bound, before bad news as well", "[progress]")
{
    EnginePair pair({.strangers = true});
    pair.a.io.last_words.assign(5 * max_rx_packets, WireIo::Packet{Bytes(20)});
    pair.a.io.news = {RouteNotice::Kind::unreachable};
    pair.a.pass(pair.now);
    const std::size_t taken = 5 * max_rx_packets - pair.a.io.incoming.size();
    CHECK(taken >= max_rx_packets);
    CHECK(taken < max_rx_packets + rx_burst_size);
}

TEST_CASE("progress_once: nor before a timer that is due", "[progress]")
{
    EnginePair pair;
    REQUIRE(pair.meet());
    pair.a.io.drop = [](std::size_t) { return true; };
    pair.send(pattern(10));
    pair.a.pass(pair.now);
    pair.now += milliseconds(100);
    REQUIRE(pair.a.engine.next_timeout() < pair.now);
    pair.a.io.incoming.assign(5 * max_rx_packets, WireIo::Packet{Bytes(20)});
    pair.a.pass(pair.now);
    const std::size_t taken = 5 * max_rx_packets - pair.a.io.incoming.size();
    CHECK(taken >= max_rx_packets);
    CHECK(taken < max_rx_packets + rx_burst_size);
    CHECK(pair.a.engine.next_timeout() > pair.now);
}

TEST_CASE("progress_once: a silent peer's end names the router's word", "[progress]")
{
    Meeting pair;
    pair.meet();
    pair.submit(2);
    pair.wait(std::chrono::seconds(4));
    pair.a.io.news = {RouteNotice::Kind::unreachable};
    pair.a.pass(pair.now);
    CHECK(pair.a.done.size() == 1); // not silent for long enough: perhaps one path of many
    pair.wait(milliseconds(2500));
    REQUIRE(pair.a.done.size() == 2);
    CHECK(pair.a.done[1].cause == Cause::unreachable);
}
