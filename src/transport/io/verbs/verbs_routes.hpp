// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the verbs backend knows of its peers' queue pairs, and how it learns that.
//
//            traffic, no answer: ask again        traffic, no answer: ask again
//                 +---------+                           +----------+
//                 v         |                           v          |
//   unknown -> asked by UDP -+ -- answer: address -> asked by RDMA -+ -- answer --> open
//      ^                      handles are made           |                            |
//      +------------- after several questions ----------+------ the peer is silent ---+
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <srd/address.hpp>
#include <srd/time.hpp>
#include <srd/wire.hpp>

#include "io/core/packet_io.hpp"
#include "io/core/route_question.hpp"
#include "io/verbs/verbs_queues.hpp"

namespace srd {

//   0               1               2               3
//  +---------------------------------------------------------------+
//  |  magic, 8 bytes: its first is no version of wire.hpp          |
//  +---------------------------------------------------------------+
//  |  kind: 1 question, 2 answer                                   |
//  +---------------------------------------------------------------+
//  |  nonce, 8 bytes: of the question, repeated by its answer      |
//  +---------------------------------------------------------------+
//  |  queue_pair: of the message's sender (24 bits)                |
//  +---------------------------------------------------------------+
//  |  key: Q_Key of that queue pair                                |
//  +---------------------------------------------------------------+
//  |  gid, 16 bytes                                                |
//  +---------------------------------------------------------------+
//  |  address, 28 bytes: the sender's, a sockaddr_in or _in6       |
//  +---------------------------------------------------------------+
//
// Both kinds have the same size, so that nobody gets more bytes than somebody sent.
struct VerbsMessage {
    static constexpr std::array<std::uint8_t, 8> right_magic{0xf5, 's', 'r', 'd', 'v', 'e', 'r', '1'};
    static constexpr std::uint32_t question = 1;
    static constexpr std::uint32_t answer = 2;

    std::array<std::uint8_t, 8> magic = right_magic;
    wire::u32 kind;
    wire::u64 nonce;
    wire::u32 queue_pair;
    wire::u32 key;
    std::array<std::uint8_t, 16> gid{};
    std::array<std::byte, sizeof(sockaddr_in6)> address{};
};
static_assert(sizeof(VerbsMessage) == 72 && alignof(VerbsMessage) == 1);

class VerbsRoutes {
public:
    struct Config {
        VerbsPort port;
        std::size_t labels = 1; ///< flow labels, so address handles, per route
        SocketAddress local;
        std::uint32_t key = 0;
        std::function<void(const char*)> warn;
    };

    /// All references must outlive the object.
    VerbsRoutes(Config config, PacketIo& udp, VerbsQueues& queues);

    /// True with the target if the route is open; otherwise asks for it, if that is due.
    bool open(RouteId route, std::size_t label, Time now, VerbsTarget& target)
    {
        if (index_of(route) < routes_.size() && routes_[index_of(route)].state == State::open) [[likely]] {
            const Route& known = routes_[index_of(route)];
            target = {known.handles[label].get(), known.queue_pair, known.key};
            return true;
        }
        ask(route, now);
        return false;
    }
    /// The peer is silent: the way through the queue pairs has to prove itself again.
    void doubt(RouteId route) noexcept;

    /// True if the packet was a message of ours, which has been dealt with.
    bool take(const RxPacket& packet, Time now)
    {
        VerbsMessage message;
        if (!is_message(packet, message)) [[likely]] {
            return false;
        }
        on_message(message, now);
        return true;
    }

private:
    enum class State : std::uint8_t { unknown, asked_by_udp, asked_by_rdma, open };
    struct Route {
        State state = State::unknown;
        std::uint32_t queue_pair = 0;
        std::uint32_t key = 0;
        Question question;
        std::vector<VerbsAh> handles; // one per flow label
    };

    static constexpr std::uint8_t max_questions = 8; // by RDMA

    void ask(RouteId route, Time now);
    void enter(Route& route, State state, Time now);
    void on_message(const VerbsMessage& message, Time now);
    bool make_handles(Route& route, const VerbsMessage& message);
    VerbsMessage message(std::uint32_t kind, std::uint64_t nonce) const;

    const Config config_;
    PacketIo& udp_;
    VerbsQueues& queues_;
    std::mt19937_64 random_;
    std::vector<Route> routes_;
    bool warned_ = false;
};

} // namespace srd
