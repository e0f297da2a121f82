// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Two endpoints that find out that they are on one host, message by message: what each says lies in the
// test's hands, to be changed, kept back, or said by another.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <set>
#include <vector>

#include "io/shm/shm_message.hpp"
#include "io/shm/shm_routes.hpp"

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/quiet_io.hpp"

namespace srd::test {

/// Keeps what is sent; its routes are numbered by the peer's port.
class Mail final : public QuietIo {
public:
    explicit Mail(std::uint16_t port) : address_(address_of(port)) { caps_.max_packet = 1472; }

    static SocketAddress address_of(std::uint16_t port) { return make_address("127.0.0.1", port); }
    /// As if that port were another host's.
    void move_away(std::uint16_t port) { elsewhere_.insert(port); }

    const SocketAddress& address() const { return address_; }
    const SocketAddress& local_address() const noexcept override { return address_; }
    Status resolve(const SocketAddress& address, RouteId& route) override
    {
        route = RouteId{address.port()};
        resolved.insert(address.port());
        return Status::ok;
    }
    RouteId find(const SocketAddress& address) const noexcept override
    {
        return resolved.count(address.port()) != 0 ? RouteId{address.port()} : no_id<RouteId>;
    }
    bool on_this_host(RouteId route) const noexcept override
    {
        return elsewhere_.count(static_cast<std::uint16_t>(index_of(route))) == 0;
    }
    const SocketAddress& route_address(RouteId route) const noexcept override
    {
        static thread_local SocketAddress last;
        last = address_of(static_cast<std::uint16_t>(index_of(route)));
        return last;
    }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        for (const TxPacket& packet : packets) {
            ShmMessage message;
            REQUIRE(packet.length == sizeof(message));
            std::memcpy(&message, packet.iov[0].iov_base, sizeof(message));
            sent.push_back(message);
            to.push_back(packet.route);
        }
        return packets.size();
    }

    std::deque<ShmMessage> sent;
    std::vector<RouteId> to; ///< whom each of all was sent to
    std::set<std::uint16_t> resolved;

private:
    SocketAddress address_;
    std::set<std::uint16_t> elsewhere_;
};

/// What somebody can do who reads the object of the asker, who said `question`.
inline void prove(ShmMessage& message, const ShmMessage& question, const SocketAddress& receiver)
{
    ShmObject object;
    REQUIRE(object.open(question.token));
    message.proof = proof_of(message, object.key(), running_kernel(), receiver);
}

struct End {
    explicit End(std::uint16_t port) : route{port}, mail(port), routes({}, mail) {}

    /// The way to the endpoint with that port, which is asked for if that is due.
    ShmWay* ask(std::uint16_t port, Time now)
    {
        mail.resolved.insert(port);
        return routes.open(RouteId{port}, now);
    }
    /// What it says next, to change and to deliver.
    ShmMessage next()
    {
        REQUIRE(!mail.sent.empty());
        const ShmMessage message = mail.sent.front();
        mail.sent.pop_front();
        if (message.kind != ShmMessage::wake_up) {
            token = message.token;
        }
        return message;
    }
    void hear(ShmMessage message, Time now)
    {
        const RxPacket packet{reinterpret_cast<const std::byte*>(&message), sizeof(message), false, false,
                              now};
        REQUIRE(routes.take(packet, now));
    }
    std::vector<RouteNotice::Kind> notices()
    {
        std::array<RouteNotice, 16> taken;
        std::vector<RouteNotice::Kind> kinds;
        for (std::size_t i = 0, count = routes.notices().take(taken); i < count; ++i) {
            kinds.push_back(taken[i].kind);
        }
        return kinds;
    }
    /// Test packets that come through memory.
    std::vector<std::int64_t> look()
    {
        std::vector<std::int64_t> numbers;
        std::array<RxPacket, 32> packets;
        ShmReceiver* const rings = routes.receiver();
        for (std::size_t i = 0, count = rings == nullptr ? 0 : rings->receive(packets, Time{}); i < count;
             ++i) {
            numbers.push_back(TestPacket::number_of(packets[i]));
        }
        if (rings != nullptr) {
            rings->release();
        }
        return numbers;
    }

    RouteId route;    ///< by which others reach it
    ShmToken token{}; ///< of its object, as it said last: everybody can list these names
    Mail mail;
    ShmRoutes routes;
};

using Kinds = std::vector<RouteNotice::Kind>;
struct Two {
    Time now = Time(std::chrono::seconds(1));
    End a{1};
    std::unique_ptr<End> b = std::make_unique<End>(std::uint16_t{2});

    ShmWay* way() { return way_to(2); }
    ShmWay* way_to(std::uint16_t port) { return a.ask(port, now); }
    /// Everything that is said, until there is silence.
    void talk()
    {
        while (!a.mail.sent.empty() || !b->mail.sent.empty()) {
            if (!a.mail.sent.empty()) {
                b->hear(a.next(), now);
            }
            if (!b->mail.sent.empty()) {
                a.hear(b->next(), now);
            }
        }
    }
    /// The way from a to b.
    ShmWay& open()
    {
        CHECK(way() == nullptr);
        talk();
        ShmWay* const made = way();
        REQUIRE(made != nullptr);
        CHECK(a.notices() == Kinds{RouteNotice::Kind::same_host});
        return *made;
    }
    /// The answer that opens the way when a hears it.
    ShmMessage last_answer()
    {
        CHECK(way() == nullptr);
        b->hear(a.next(), now);
        a.hear(b->next(), now);
        b->hear(a.next(), now);
        return b->next();
    }
    bool write(ShmWay& to, std::uint32_t number, std::size_t length = 64)
    {
        TestPacket packet(number, length);
        if (!to.sender.push(packet.to(RouteId{2}, PathId{0}))) {
            return false;
        }
        ShmWay* const touched = &to;
        a.routes.flush({&touched, 1});
        return true;
    }
};

} // namespace srd::test
