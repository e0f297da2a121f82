// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which peers can be reached through shared memory, and how that is found out.
//
//            traffic, no answer: ask again      traffic, no answer: ask again
//                 +-------+                          +-------+
//                 v       |                          v       |
//   unknown -> asked ------+- answer: a ring is made -> offered -+- answer --> open
//      ^         |  "no", or nobody knows the question               |
//      |         +-----------> refused                               |
//      +------------------ the peer is silent, or has gone ----------+
//
// Same host means: the peer has opened our object in /dev/shm and can tell what is written in it, and we have
// opened the peer's. That is so for processes of one user who see the same /dev/shm under the same kernel,
// whatever their network and process namespaces, and for nobody else. Questions and answers are packets of
// the backend that reaches everybody.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <srd/address.hpp>
#include <srd/time.hpp>
#include <srd/wire.hpp>

#include "io/core/packet_io.hpp"
#include "io/core/route_question.hpp"
#include "io/shm/shm_box.hpp"
#include "io/shm/shm_ring.hpp"
#include "io/udp/udp_routes.hpp"

namespace srd {

//   0               1               2               3
//  +---------------------------------------------------------------+
//  |  magic, 8 bytes: its first is no version of wire.hpp          |
//  +---------------------------------------------------------------+
//  |  kind: 1 question, 2 answer, 3 "no", 4 wake up                |
//  +---------------------------------------------------------------+
//  |  nonce, 8 bytes: of the question, repeated by its answer      |
//  +---------------------------------------------------------------+
//  |  kernel, 16 bytes: the sender's boot id                       |
//  +---------------------------------------------------------------+
//  |  token, 16 bytes: of the sender's object                      |
//  +---------------------------------------------------------------+
//  |  secret, 8 bytes: answer: of the asker's object               |
//  +---------------------------------------------------------------+
//  |  ring: question: the ring offered, or no_ring; answer: bell   |
//  +---------------------------------------------------------------+
//  |  start: question: number of the ring's next packet            |
//  +---------------------------------------------------------------+
//  |  address, 28 bytes: the sender's, a sockaddr_in or _in6       |
//  +---------------------------------------------------------------+
struct ShmMessage {
    static constexpr std::array<std::uint8_t, 8> right_magic{0xf5, 's', 'r', 'd', 's', 'h', 'm', '1'};
    static constexpr std::uint32_t question = 1;
    static constexpr std::uint32_t answer = 2;
    static constexpr std::uint32_t refusal = 3;
    static constexpr std::uint32_t wake_up = 4;
    static constexpr std::uint32_t no_ring = ~std::uint32_t{0};

    std::array<std::uint8_t, 8> magic = right_magic;
    wire::u32 kind;
    wire::u64 nonce;
    std::array<std::uint8_t, 16> kernel{};
    ShmToken token{};
    wire::u64 secret;
    wire::u32 ring;
    wire::u32 start;
    std::array<std::byte, sizeof(sockaddr_in6)> address{};
};
static_assert(sizeof(ShmMessage) == 96 && alignof(ShmMessage) == 1);

class ShmRoutes {
public:
    struct Config {
        SocketAddress local;
        std::function<void(const char*)> warn;
        std::function<void(const char*)> tell;
    };

    /// `wire` must outlive the object.
    ShmRoutes(Config config, PacketIo& wire);

    /// Packets to a peer on this host.
    struct Way {
        ShmSender sender;
        std::shared_ptr<ShmMapping> box; ///< the peer's
        std::uint32_t bell = 0;          ///< our ring's, in it
        RouteId route{};
        bool touched = false; ///< written to since the last flush()
    };

    /// The way through shared memory if it is open; otherwise null, and asks for it if that is due.
    Way* open(RouteId route, Time now)
    {
        if (index_of(route) < routes_.size()) [[likely]] {
            Route& known = routes_[index_of(route)];
            if (known.state == State::open &&
                known.way.box->header().closed.load(std::memory_order_relaxed) == 0) [[likely]] {
                return &known.way;
            }
            if (known.state == State::refused) {
                return nullptr;
            }
        }
        ask(route, now);
        return nullptr;
    }
    /// The readers of `ways` learn that something was written.
    void flush(std::span<Way* const> ways);
    /// As ProcessMemory.
    std::uint32_t epoch() const noexcept;
    ProcessMemory::Read read(RouteId route, std::uint32_t epoch, std::span<const iovec> from,
                             std::span<const iovec> into) noexcept;
    /// What was written about our own memory is not valid any more.
    void revoke() noexcept;
    /// The peer is silent: the way has to prove itself again. What was written stays written.
    void doubt(RouteId route) noexcept;
    /// The peer's process has gone.
    void forget(RouteId route) noexcept;

    /// True if the packet was a message of ours, which has been dealt with.
    bool take(const RxPacket& packet, Time now)
    {
        ShmMessage message;
        if (!is_message(packet, message)) [[likely]] {
            return false;
        }
        on_message(message, now);
        return true;
    }

    /// Which ways have opened (near) and closed (far).
    NoticeQueue& notices() noexcept { return notices_; }
    /// The rings written to us; null before the first.
    ShmReceiver* receiver() noexcept { return receiver_.get(); }
    /// Whether peers must wake us.
    void set_asleep(bool asleep) noexcept;

private:
    enum class State : std::uint8_t { unknown, asked, offered, open, refused };
    struct Route {
        State state = State::unknown;
        bool has_ring = false;
        Question question;
        ShmToken reader{}; ///< of the peer that the ring was offered to
        Way way;
    };

    static constexpr std::uint8_t max_questions = 8;

    bool open_box();
    Route& route_at(RouteId route);
    void ask(RouteId route, Time now);
    void enter(Route& route, State state, Time now);
    bool offer(Route& route, const ShmMessage& answer);
    void on_message(const ShmMessage& message, Time now);
    void on_question(RouteId route, const ShmMessage& question);
    void on_answer(RouteId route, const ShmMessage& answer, Time now);
    ShmMessage message(std::uint32_t kind, std::uint64_t nonce) const;
    std::shared_ptr<ShmMapping> map_peer(RouteId route, const ShmToken& token);
    void give_up(Route& route) noexcept;
    void give_up_closed();

    const Config config_;
    PacketIo& wire_;
    std::array<std::uint8_t, 16> kernel_{};
    std::mt19937_64 random_;
    ShmBox box_;
    bool usable_ = true; ///< false: no box could be made
    bool ring_warned_ = false;
    ShmPool pool_;
    NoticeQueue notices_;
    std::unique_ptr<ShmReceiver> receiver_;
    std::deque<Route> routes_;      ///< a deque, because a Way stays where it is
    std::vector<RouteId> mapped_;   ///< routes that may have a box
    std::vector<ShmSender> unused_; ///< rings of peers that have gone
};

} // namespace srd
