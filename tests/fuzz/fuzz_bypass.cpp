// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Questions and answers between backends (bypass_message.hpp): those of shared memory against ShmRoutes, with
// a segment of a peer that exists and others that do not; those of the verbs backend against the state
// machine that both share (VerbsRoutes itself needs a device). Messages are answers to what was asked, or
// nearly.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "fuzz/input.hpp"
#include "io/shm/shm_routes.hpp"
#include "support/quiet_io.hpp"
#ifdef SRD_HAVE_VERBS
#include "io/verbs/verbs_routes.hpp"
#endif

namespace {

using namespace srd;
using fuzz::Input;

constexpr std::uint32_t ports = 8;

SocketAddress address_of(std::uint32_t port)
{
    return SocketAddress::of_ipv4(INADDR_LOOPBACK, static_cast<std::uint16_t>(port));
}

/// Keeps what was said last; its routes are numbered by the peer's port.
class Mail final : public test::QuietIo {
public:
    const SocketAddress& local_address() const noexcept override { return address_; }
    Status resolve(const SocketAddress& address, RouteId& route) override
    {
        route = RouteId{address.port()};
        return address.port() < ports ? Status::ok : Status::unreachable;
    }
    const SocketAddress& route_address(RouteId) const noexcept override { return address_; }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        for (const TxPacket& packet : packets) {
            const auto* const begin = static_cast<const std::byte*>(packet.iov[0].iov_base);
            last.assign(begin, begin + packet.iov[0].iov_len);
        }
        return packets.size();
    }
    std::vector<std::byte> last;

private:
    SocketAddress address_ = address_of(99);
};

#ifdef SRD_HAVE_VERBS
/// What VerbsRoutes is without its device.
class VerbsLike final : public BypassRoutes<VerbsMessage, std::uint32_t> {
public:
    explicit VerbsLike(PacketIo& base) : BypassRoutes(base, base.local_address()) {}
    void go(RouteId id, Time now) { want(id, now); }

private:
    void ask(RouteId id, Route& route, Time /*now*/) override
    {
        send(id, message(BypassKind::question, route.state.nonce()));
    }
    void on_question(RouteId id, const VerbsMessage& question) override
    {
        send(id, message(BypassKind::answer, question.nonce));
    }
    Verdict on_answer(RouteId /*id*/, Route& route, const VerbsMessage& answer) override
    {
        route.way = answer.queue_pair;
        return answer.kind == BypassKind::answer ? Verdict::accepted : Verdict::ignored;
    }
    OnSilence on_silence(RouteId /*id*/, Stage stage) override
    {
        return stage == Stage::asking ? OnSilence::ask_on : OnSilence::start_over;
    }
};
#endif

struct World {
    World()
    {
        std::string error;
        std::uint32_t ring = 0;
        if (peer.open(error) != 0 || !peer.add_ring(ring)) {
            throw std::runtime_error("no segment: " + error);
        }
    }
    Mail mail;
    ShmRoutes shm{{}, mail};
    ShmSegment peer;
    Time now{std::chrono::seconds(1)};
#ifdef SRD_HAVE_VERBS
    VerbsLike verbs{mail};
#endif
};

template <typename Message>
Message last_said(const Mail& mail)
{
    Message message;
    if (mail.last.size() == sizeof(message)) {
        std::memcpy(static_cast<void*>(&message), mail.last.data(), sizeof(message));
    }
    return message;
}

/// What is common to both kinds: mostly an answer to what was said last.
template <typename Message>
Message reply(Input& input, const Mail& mail, std::uint8_t how)
{
    Message message = last_said<Message>(mail);
    const std::uint8_t kind = input.byte();
    message.magic = Message::right_magic;
    message.kind = kind < 96    ? BypassKind::answer
                   : kind < 224 ? BypassKind::question
                                : static_cast<std::uint32_t>(input.number());
    if (how % 8 == 7) {
        message.nonce = input.number();
    }
    message.address = {};
    set_sender(message, address_of(input.byte() % (ports + 1)));
    if (how >= 240) {
        message.address[input.byte() % message.address.size()] = std::byte{input.byte()};
    }
    return message;
}

template <typename Message, typename Routes>
void hear(Routes& routes, Message message, Input& input, std::uint8_t how, Time now)
{
    std::vector<std::byte> bytes(sizeof(message));
    std::memcpy(bytes.data(), &message, sizeof(message));
    if (how % 64 == 63) {
        bytes.resize(1 + input.byte() % 128U);
    }
    static_cast<void>(routes.take({bytes.data(), static_cast<std::uint32_t>(bytes.size()), false, now}, now));
}

void hear_shm(Input& input, World& world)
{
    const std::uint8_t how = input.byte();
    ShmMessage message = reply<ShmMessage>(input, world.mail, how);
    message.token = how / 8 % 4 == 3 ? ShmToken{how} : world.peer.header().token;
    if (how / 32 % 4 == 3) {
        message.kernel[0] ^= 1;
    }
    const std::uint8_t where = input.byte();
    message.ring = where < 128 ? where % 2 : static_cast<std::uint32_t>(input.number());
    message.start = input.byte() % 32U;
    // Whoever has mapped our segment knows its secret.
    const auto own = open_shm_segment(last_said<ShmMessage>(world.mail).token);
    message.secret = own != nullptr && how % 128 < 112 ? own->header().secret : input.number();
    hear(world.shm, message, input, how, world.now);
}

void push(Input& input, World& world, RouteId id)
{
    ShmWay* const way = world.shm.open(id, world.now);
    if (way == nullptr) {
        return;
    }
    if (fuzz::canary()) {
        throw std::runtime_error("canary: a way is open");
    }
    std::array<std::byte, 300> bytes{};
    TxPacket packet;
    packet.iov_count = 1;
    packet.length = input.byte();
    packet.iov[0] = {bytes.data(), packet.length};
    if (way->sender.push(packet)) {
        world.shm.flush({&way, 1});
    }
}

void step(Input& input, World& world)
{
    const std::uint8_t what = input.byte();
    const RouteId id{what / 16U % ports};
    switch (what % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
        return hear_shm(input, world);
    case 4:
    case 5:
        return push(input, world, id);
    case 6:
        world.now += std::chrono::milliseconds(what);
        return;
    case 7:
        return world.shm.suspect(id);
    case 8:
        return world.shm.forget(id);
    case 9:
        world.shm.set_asleep(what >= 128);
        return world.shm.revoke();
    case 10:
        world.peer.header().asleep = what / 16;
        world.peer.header().closed = what >= 224 ? 1 : 0;
        return;
    case 11:
        if (ShmReceiver* const rings = world.shm.receiver(); rings != nullptr) {
            std::array<RxPacket, 4> packets;
            static_cast<void>(rings->receive(packets, world.now));
            rings->release();
        }
        return;
#ifdef SRD_HAVE_VERBS
    case 12:
    case 13:
        return hear(world.verbs, reply<VerbsMessage>(input, world.mail, what), input, what, world.now);
    case 14:
        return world.verbs.go(id, world.now);
    case 15:
        return world.verbs.suspect(id);
#endif
    default:
        return;
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static std::unique_ptr<World> world;
    static unsigned served = 0;
    static const bool fresh = std::getenv("SRD_FUZZ_FRESH") != nullptr;
    if (world == nullptr || fresh || ++served % 1024 == 0) {
        world = std::make_unique<World>();
    }
    Input input(data, size);
    for (int steps = 0; !input.empty() && steps < 64; ++steps) {
        step(input, *world);
    }
    std::array<RouteNotice, 64> notices;
    static_cast<void>(world->shm.notices().take(notices));
    world->peer.header().closed = 0;
    for (std::uint32_t port = 0; port < ports; ++port) {
        world->shm.forget(RouteId{port});
#ifdef SRD_HAVE_VERBS
        world->verbs.suspect(RouteId{port});
#endif
    }
    return 0;
}
