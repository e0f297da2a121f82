// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the verbs backend knows of its peers' queue pairs, and how it learns that: by the laws of
// bypass_routes.hpp. The first question goes from socket to socket, and its answer tells the peer's queue
// pair; the second goes through the queue pairs, so that it is answered only where RoCE v2 gets through. If
// that one is never answered the first is asked again: a firewall may be opened, a port come up.
//
// Whoever can send a datagram can ask. An answer goes to known addresses only, those that this endpoint or
// its application has packets for, so nobody learns a queue pair who does not receive at a peer's address.
// And it counts only with the nonce of the question, which nobody knows who does not either; the second one
// must say what the first said. Packets never go to another host than that of the route's address.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <srd/address.hpp>
#include <srd/time.hpp>
#include <srd/wire.hpp>

#include "io/core/bypass_routes.hpp"
#include "io/core/io_options.hpp"
#include "io/core/packet_io.hpp"
#include "io/verbs/verbs_queues.hpp"

namespace srd {

//   0               1               2               3
//  +---------------------------------------------------------------+
//  |  magic, 8 bytes: its first is no version of wire.hpp          |
//  +---------------------------------------------------------------+
//  |  kind: 1 question, 2 answer (BypassKind)                      |
//  +---------------------------------------------------------------+
//  |  nonce, 8 bytes: of the question, repeated by its answer      |
//  +---------------------------------------------------------------+
//  |  queue_pair: of the message's sender (24 bits)                |
//  +---------------------------------------------------------------+
//  |  key: Q_Key of that queue pair                                |
//  +---------------------------------------------------------------+
//  |  address, 28 bytes: the sender's, a sockaddr_in or _in6       |
//  +---------------------------------------------------------------+
//
// Both kinds have the same size, so that nobody gets more bytes than somebody sent. The GID is that of the
// address: nobody can name another host's.
struct VerbsMessage {
    static constexpr std::array<std::uint8_t, 8> right_magic{0xf5, 's', 'r', 'd', 'v', 'e', 'r', '2'};

    std::array<std::uint8_t, 8> magic = right_magic;
    wire::u32 kind;
    wire::u64 nonce;
    wire::u32 queue_pair;
    wire::u32 key;
    std::array<std::byte, sizeof(sockaddr_in6)> address{};
};
static_assert(sizeof(VerbsMessage) == 56 && alignof(VerbsMessage) == 1);

/// A peer's receiving queue pair.
struct VerbsWay {
    std::uint32_t queue_pair = 0;
    std::uint32_t key = 0;
    std::vector<VerbsAh> handles; ///< one per flow label

    /// It says what was learnt before.
    bool is_confirmed_by(const VerbsMessage& answer) const noexcept
    {
        return answer.queue_pair == queue_pair && answer.key == key;
    }
};

class VerbsRoutes final : public BypassRoutes<VerbsMessage, VerbsWay> {
public:
    struct Config {
        VerbsPort port;
        std::size_t labels = 1; ///< flow labels, so address handles, per route
        std::uint32_t key = 0;  ///< our Q_Key
        IoLog log;
    };

    /// All references must outlive the object.
    VerbsRoutes(Config config, PacketIo& udp, VerbsQueues& queues);

    /// True with the target if the route is open; otherwise asks for it, if that is due.
    bool open(RouteId route, std::size_t label, Time now, VerbsTarget& target)
    {
        const Route* const known = find(route);
        if (known != nullptr && known->state.is_open()) [[likely]] {
            target = {known->way.handles[label].get(), known->way.queue_pair, known->way.key};
            return true;
        }
        want(route, now);
        return false;
    }

private:
    void ask(RouteId id, Route& route, Time now) override;
    void on_question(const VerbsMessage& question, Time now) override;
    Verdict on_answer(RouteId id, Route& route, const VerbsMessage& answer) override;
    OnSilence on_silence(RouteId id, Stage stage) override;
    bool make_handles(VerbsWay& way, const SocketAddress& peer);
    VerbsMessage describe(std::uint32_t kind, std::uint64_t nonce) const;

    const Config config_;
    VerbsQueues& queues_;
    bool warned_ = false;
};

} // namespace srd
