// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The parts of an engine that act on connections, without the engine: packets are frames written by hand,
// opened in the reader one at a time; what the parts want to send is read back frame by frame.
#pragma once

#include <cstring>
#include <variant>
#include <vector>

#include "support/catch.hpp"

#include "peer/lifecycle.hpp"
#include "peer/watch.hpp"
#include "receive/placement.hpp"
#include "rma/initiator.hpp"
#include "rma/target.hpp"
#include "shared.hpp"
#include "wire/binding.hpp"

namespace srd::test {

inline constexpr std::uint32_t parts_mtu = 1500;

inline IoCaps parts_caps()
{
    IoCaps caps;
    caps.max_packet = parts_mtu;
    caps.path_count = 4;
    return caps;
}

inline Limits parts_limits(std::uint32_t peers = 4)
{
    Limits limits;
    limits.max_peers = peers;
    limits.max_routes = 4 * peers;
    limits.idle_routes = peers;
    limits.tx_slots = 256;
    limits.tx_messages = 128;
    limits.rx_messages = 256;
    limits.unexpected_bytes = 64U << 10;
    return limits;
}

/// Grants of 4000 bytes, two at a time.
inline Tuning parts_tuning()
{
    Tuning tuning;
    tuning.grant_budget = 8000;
    return tuning;
}

struct PartsWorld {
    using Packet = std::vector<std::byte>;

    explicit PartsWorld(const Limits& limits = parts_limits(), const IoCaps& caps = parts_caps())
        : shared(caps, limits, parts_tuning(), count, address, 5, nullptr)
    {
    }
    PartsWorld(const PartsWorld&) = delete;
    PartsWorld& operator=(const PartsWorld&) = delete;

    /// The way to the host of that number, which is its address.
    static RouteInfo way(std::uint32_t route, std::uint32_t mtu = parts_mtu, std::uint16_t paths = 1)
    {
        static const std::array<std::byte, 256> numbers = [] {
            std::array<std::byte, 256> all{};
            for (std::size_t i = 0; i < all.size(); ++i) {
                all[i] = std::byte(i);
            }
            return all;
        }();
        return {RouteId{route}, std::span(numbers).subspan(route, 1), mtu, paths};
    }
    static wire::HelloFrame hello(std::uint64_t connection, std::uint64_t incarnation)
    {
        wire::HelloFrame frame;
        frame.flags = wire::hello_flag::answer_wanted;
        frame.address_length = 1;
        frame.first_psn = 700;
        frame.incarnation = incarnation;
        frame.connection = connection;
        frame.max_packet = parts_mtu;
        return frame;
    }
    /// The peer behind the route, with which we have a connection.
    std::uint32_t meet(std::uint32_t route, std::uint64_t incarnation = 1)
    {
        const wire::HelloFrame frame = hello(1000 + route, incarnation);
        REQUIRE(introduce(route, frame, introduce(route, frame).connection).connection == 0);
        const std::uint32_t peer = shared.peers.of_route(RouteId{route});
        REQUIRE(peer != no_index);
        shared.peers.deactivate(peer);
        return peer;
    }
    PacketNote note; ///< of the open packet

    /// The host on that route introduces itself in a packet that bears `under`. Returns the hello that it is
    /// answered with; connection 0: it is not.
    wire::HelloFrame introduce(std::uint32_t route, wire::HelloFrame frame, std::uint64_t under = 0)
    {
        frame.address.front() = std::byte(route);
        shared.reader.close();
        note = PacketNote{};
        note.connection = under;
        shared.reader.open(note);
        REQUIRE(lifecycle.on_hello(frame, event, now) == FrameResult::event);
        const RouteInfo info = way(route);
        HelloPacket answer;
        const bool known = !shared.peers.routes().is_fresh(info.id);
        Introduction todo =
            lifecycle.on_introduction(known ? info.id : no_id<RouteId>, info.address, answer, now);
        if (todo == Introduction::accept) {
            todo = lifecycle.accept_hello(info, answer, now);
        }
        if (todo != Introduction::answer) {
            return {};
        }
        wire::Reader reader(answer.bytes());
        const std::uint64_t bound = reader.take<wire::PacketHeader>()->connection;
        CHECK((bound ^ wire::digest(answer.bytes())) == frame.connection);
        return *reader.take<wire::HelloFrame>();
    }

    /// A packet of the peer, of the frames in `bytes`.
    void open(std::uint32_t peer, const Packet& bytes, RemoteBytes* remote = nullptr,
              std::uint32_t remote_length = 0)
    {
        shared.reader.close();
        packet_ = bytes;
        note = PacketNote{};
        note.frames = packet_;
        note.peer = peer;
        note.sequenced = true;
        note.remote = remote;
        note.remote_length = remote_length;
        shared.reader.open(note);
    }
    /// The next frame of the open packet, in the hands of its part.
    FrameResult step()
    {
        if (!shared.reader.next_frame()) {
            return FrameResult::malformed;
        }
        return std::visit(Owner{*this}, shared.reader.frame());
    }
    /// A packet of one frame.
    FrameResult take(std::uint32_t peer, const Packet& bytes)
    {
        open(peer, bytes);
        return step();
    }

    /// The frames of all packets to the peer that are ready, which are sent by this; payloads are in memory
    /// until the packets are acknowledged.
    std::vector<wire::Frame> sent(std::uint32_t peer)
    {
        std::vector<wire::Frame> frames;
        PacketWindow& window = shared.peers[peer].connection.window;
        window.close_open(shared.packets);
        while (window.any_ready()) {
            const std::uint32_t slot = window.first_ready();
            const TxSlot& packet = shared.packets[slot];
            wire::Reader reader({shared.packets.chunk(packet.chunk), packet.length});
            while (reader.remaining() != 0) {
                REQUIRE(wire::decode(reader, false, 0, frames.emplace_back()));
            }
            window.sent(shared.packets, slot, now);
        }
        return frames;
    }
    /// Frames whatever the peer is owed by parts of remote access.
    std::vector<wire::Frame> answers(std::uint32_t peer)
    {
        Receiver& receiver = shared.peers[peer].connection.receiver;
        while (receiver.any_control()) {
            const std::uint32_t record = receiver.first_control();
            if (shared.incoming[record].is<ReadReceive>()) {
                REQUIRE(initiator.frame_reads(record));
            } else {
                REQUIRE(target.frame_answer(record));
            }
        }
        return sent(peer);
    }
    /// All that is sent to the peer is acknowledged.
    void acked(std::uint32_t peer)
    {
        Connection& connection = shared.peers[peer].connection;
        while (connection.window.any_outstanding()) {
            const std::uint32_t slot = connection.window.release(shared.packets, connection.window.una());
            shared.outgoing.packet_acked(connection.queue, shared.packets[slot]);
            shared.packets.release(slot);
            connection.window.advance(shared.packets);
        }
    }
    Peer& peer(std::uint32_t index) { return shared.peers[index]; }
    Receiver& receiver(std::uint32_t index) { return shared.peers[index].connection.receiver; }
    /// Records of what came from the peer.
    std::size_t records(std::uint32_t index)
    {
        std::size_t records = 0;
        for (std::uint32_t at = shared.peers[index].incoming.front(); at != no_index; ++records) {
            at = IncomingPool::All::next(shared.incoming, at);
        }
        return records;
    }
    /// Every part's own law, and what they say of each other.
    void check()
    {
        std::uint64_t granted = 0;
        std::uint32_t wanting = 0;
        std::uint32_t refusing = 0;
        std::uint32_t held = 0;
        for (std::uint32_t index = 0; index < shared.peers.watermark(); ++index) {
            if (!shared.peers.live(index)) {
                continue;
            }
            shared.peers[index].connection.window.check(shared.packets, index);
            refusing += receiver(index).refusing() ? 1U : 0U;
            held += receiver(index).held();
            for (std::uint32_t at = shared.peers[index].incoming.front(); at != no_index;
                 at = IncomingPool::All::next(shared.incoming, at)) {
                const RxMessage& message = shared.incoming[at];
                granted += message.is_granted() ? message.limit - message.received : 0;
                wanting += message.grant.listed ? 1U : 0U;
            }
        }
        CHECK(refusing == shared.refusing_peers);
        CHECK(held == shared.incoming.held_messages());
        shared.grants.check(granted, wanting);
        shared.incoming.check();
        shared.outgoing.check(
            [this](std::uint32_t index) -> SendQueue& { return shared.peers[index].connection.queue; });
    }

    Time now{Duration(std::chrono::hours(1))};
    Counters count;
    std::array<std::byte, 4> address{};
    Shared shared;
    Placement placement{shared};
    RmaTarget target{shared, placement};
    RmaInitiator initiator{shared, placement, target};
    PeerLifecycle lifecycle{shared, placement};
    PeerWatch watch{shared, lifecycle};
    Event event; ///< of the latest frame that is one

private:
    struct Owner {
        PartsWorld& w;

        FrameResult operator()(const wire::EagerFrame& f) { return w.placement.on_eager(f, w.event); }
        FrameResult operator()(const wire::RequestedMessage& f) { return w.placement.on_request(f, w.event); }
        FrameResult operator()(const wire::DataPiece& f) { return w.placement.on_data(f); }
        FrameResult operator()(const wire::WritePiece& f) { return w.target.on_write(f, w.event); }
        FrameResult operator()(const wire::ReadFrame& f) { return w.target.on_read(f, w.event); }
        FrameResult operator()(const wire::AtomicRequest& f) { return w.target.on_atomic(f, w.event); }
        FrameResult operator()(const wire::AtomicResult& f) { return w.initiator.on_result(f); }
        FrameResult operator()(const wire::AccessFailure& f) { return w.initiator.on_failure(f); }
        template <typename Other>
        FrameResult operator()(const Other&)
        {
            return FrameResult::malformed;
        }
    };

    Packet packet_;
};

} // namespace srd::test
