// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Questions and answers between backends (bypass_message.hpp): those of shared memory against ShmRoutes, with
// segments of peers that exist and others that do not; those of the verbs backend against the state machine
// that both share (VerbsRoutes itself needs a device). Messages are answers to what was asked, or nearly.
//
// What is held against them: a message without a right proof, or about another than the segment's owner, is
// not answered and changes no way; nor is a question of an address that is nobody's route, about queue pairs.
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

[[noreturn]] void fail(const char* what)
{
    throw std::runtime_error(what);
}

SocketAddress address_of(std::uint32_t port)
{
    return SocketAddress::of_ipv4(INADDR_LOOPBACK, static_cast<std::uint16_t>(port));
}
/// The others are elsewhere.
bool is_here(std::uint32_t port)
{
    return port < 5;
}

/// Keeps what was said last; its routes are numbered by the peer's port.
class Mail final : public test::QuietIo {
public:
    Mail()
    {
        for (std::uint32_t port = 0; port < ports; ++port) {
            peers_[port] = address_of(port);
        }
    }
    const SocketAddress& local_address() const noexcept override { return address_; }
    Status resolve(const SocketAddress& address, RouteId& route) override
    {
        if (index_of(number(address)) == ports) {
            return Status::unreachable;
        }
        route = number(address);
        resolved_[index_of(route)] = true;
        return Status::ok;
    }
    RouteId find(const SocketAddress& address) const noexcept override
    {
        const RouteId route = number(address);
        return resolved_[index_of(route)] ? route : no_id<RouteId>;
    }
    const SocketAddress& route_address(RouteId route) const noexcept override
    {
        return peers_[index_of(route)];
    }
    bool on_this_host(RouteId route) const noexcept override
    {
        return is_here(static_cast<std::uint32_t>(index_of(route)));
    }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        for (const TxPacket& packet : packets) {
            const auto* const begin = static_cast<const std::byte*>(packet.iov[0].iov_base);
            last.assign(begin, begin + packet.iov[0].iov_len);
            last_route = packet.route;
            ++said;
        }
        return packets.size();
    }
    void forget_all() noexcept { resolved_ = {}; }

    std::vector<std::byte> last;
    RouteId last_route{};
    std::uint64_t said = 0;

private:
    RouteId number(const SocketAddress& address) const noexcept
    {
        const auto found = std::find(peers_.begin(), peers_.end(), address);
        return RouteId{static_cast<std::uint32_t>(found - peers_.begin())};
    }
    SocketAddress address_ = address_of(99);
    std::array<SocketAddress, ports> peers_;
    std::array<bool, ports + 1> resolved_{}; ///< the last is nobody's
};

#ifdef SRD_HAVE_VERBS
struct QueuePair {
    std::uint32_t number = 0;
    std::uint32_t key = 0;
};
/// What VerbsRoutes is without its device.
class VerbsLike final : public BypassRoutes<VerbsMessage, QueuePair> {
public:
    explicit VerbsLike(PacketIo& base) : BypassRoutes(base, base.local_address()) {}
    void go(RouteId id, Time now) { want(id, now); }

private:
    void ask(RouteId id, Route& route, Time /*now*/) override
    {
        send(id, message(BypassKind::question, route.state.nonce()));
    }
    void on_question(const VerbsMessage& question, Time now) override
    {
        const RouteId id = route_of(question);
        if (id != no_id<RouteId> && may_look(now)) {
            send(id, message(BypassKind::answer, question.nonce));
        }
    }
    Verdict on_answer(RouteId /*id*/, Route& route, const VerbsMessage& answer) override
    {
        if (route.state.stage() != Stage::asking) {
            return answer.queue_pair == route.way.number && answer.key == route.way.key ? Verdict::accepted
                                                                                        : Verdict::ignored;
        }
        route.way = {answer.queue_pair, answer.key};
        return Verdict::accepted;
    }
    OnSilence on_silence(RouteId /*id*/, Stage stage) override
    {
        return stage == Stage::asking ? OnSilence::ask_on : OnSilence::start_over;
    }
};
#endif

/// Somebody's segment: the second of the first address is of its next process, the last is not of this host.
constexpr std::array<std::uint32_t, 4> owners{1, 2, 1, 6};

struct World {
    World()
    {
        for (std::size_t peer = 0; peer < peers.size(); ++peer) {
            std::string error;
            std::uint32_t ring = 0;
            if (peers[peer].open(address_of(owners[peer]), error) != 0 || !peers[peer].add_ring(ring)) {
                throw std::runtime_error("no segment: " + error);
            }
        }
    }
    /// Our own segment, as its token has been told; null before that.
    ShmMapping* own()
    {
        ShmMessage message;
        if (mail.last.size() == sizeof(message)) {
            std::memcpy(static_cast<void*>(&message), mail.last.data(), sizeof(message));
            if (message.kind != ShmMessage::wake_up &&
                (own_ == nullptr || own_->header().identity.token != message.token)) {
                own_ = open_shm_segment(message.token);
            }
        }
        return own_.get();
    }

    Mail mail;
    ShmRoutes shm{{}, mail};
    std::array<ShmSegment, owners.size()> peers;
    Time now{std::chrono::seconds(1)};
    const ShmKernel kernel = running_kernel();
#ifdef SRD_HAVE_VERBS
    VerbsLike verbs{mail};
#endif

private:
    std::shared_ptr<ShmMapping> own_;
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
    const std::uint8_t whose = input.byte();
    set_sender(message, whose < 128 ? mail.route_address(mail.last_route) : address_of(whose % (ports + 1)));
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
    static_cast<void>(
        routes.take({bytes.data(), static_cast<std::uint32_t>(bytes.size()), false, false, now}, now));
}

/// Bears the right proof, and an asker's segment is of the address that it names, which is of this host.
bool is_true(World& world, const ShmMessage& message)
{
    const auto is_proved = [&](const ShmKey& key) {
        return message.proof == proof_of(message, key, world.kernel, world.mail.local_address());
    };
    if (message.kind != BypassKind::question) {
        return message.kind == BypassKind::answer && world.own() != nullptr &&
               is_proved(world.own()->header().identity.key);
    }
    SocketAddress sender;
    for (std::size_t peer = 0; peer < owners.size(); ++peer) {
        const ShmIdentity& identity = world.peers[peer].header().identity;
        if (identity.token == message.token) {
            return sender_of(message, sender) && same_endpoint(sender, address_of(owners[peer])) &&
                   is_here(owners[peer]) && is_proved(identity.key);
        }
    }
    return false;
}

void prove(Input& input, World& world, ShmMessage& message, std::size_t peer)
{
    const std::uint8_t how = input.byte();
    const bool own_key = (message.kind == BypassKind::answer) != (how % 32 == 31);
    const ShmMapping* const own = world.own();
    ShmKey key = own_key && own != nullptr ? own->header().identity.key
                                           : world.peers[peer % owners.size()].header().identity.key;
    ShmKernel kernel = world.kernel;
    key[0] ^= how >= 248 ? 1 : 0;
    kernel[0] ^= how % 32 == 30 ? 1 : 0;
    message.proof =
        proof_of(message, key, kernel, how % 32 == 29 ? address_of(how / 32U) : world.mail.local_address());
    if (how % 32 == 28) {
        std::array<std::byte, sizeof(message)> bytes;
        std::memcpy(bytes.data(), &message, sizeof(message));
        bytes[input.byte() % bytes.size()] ^= std::byte{input.byte()};
        std::memcpy(static_cast<void*>(&message), bytes.data(), sizeof(message));
    }
}

void hear_shm(Input& input, World& world)
{
    const std::uint8_t how = input.byte();
    ShmMessage message = reply<ShmMessage>(input, world.mail, how);
    const std::size_t peer = how / 8 % 8;
    if (peer < 6) {
        message.token = world.peers[peer % owners.size()].header().identity.token;
    } else if (peer == 7) {
        message.token = ShmToken{how};
    } // else our own
    if (how % 4 < 2 && peer < 6) {
        set_sender(message, address_of(owners[peer % owners.size()]));
    }
    const std::uint8_t where = input.byte();
    message.ring = where < 96    ? 0
                   : where < 192 ? ShmMessage::no_ring
                                 : static_cast<std::uint32_t>(input.number());
    message.start = input.byte() % 32U;
    prove(input, world, message, peer);

    const bool matters = is_true(world, message);
    std::array<RouteNotice, 16> notices;
    while (world.shm.notices().take(notices) != 0) {
    }
    const std::uint64_t said = world.mail.said;
    hear(world.shm, message, input, how, world.now);
    if (!matters && (world.mail.said != said || world.shm.notices().take(notices) != 0)) {
        fail("what is not proved has an effect");
    }
}

#ifdef SRD_HAVE_VERBS
void hear_verbs(Input& input, World& world, std::uint8_t how)
{
    const auto message = reply<VerbsMessage>(input, world.mail, how);
    SocketAddress sender;
    const bool known = sender_of(message, sender) && world.mail.find(sender) != no_id<RouteId>;
    const std::uint64_t said = world.mail.said;
    hear(world.verbs, message, input, how, world.now);
    if (!known && world.mail.said != said) {
        fail("a stranger is answered");
    }
}
#endif

void push(Input& input, World& world, RouteId id)
{
    ShmWay* const way = world.shm.open(id, world.now);
    if (way == nullptr) {
        return;
    }
    if (fuzz::canary()) {
        fail("canary: a way is open");
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
    const auto resolved = [&] {
        RouteId id{};
        static_cast<void>(world.mail.resolve(address_of(what / 16U % ports), id));
        return id;
    };
    const RouteId id{what / 16U % ports};
    ShmHeader& peer = world.peers[what / 16U % world.peers.size()].header();
    switch (what % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
        return hear_shm(input, world);
    case 4:
    case 5:
        return push(input, world, resolved());
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
        peer.asleep = what / 64;
        peer.closed = what >= 192 ? 1 : 0;
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
        return hear_verbs(input, world, what);
    case 14:
        return world.verbs.go(resolved(), world.now);
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
    for (ShmSegment& peer : world->peers) {
        peer.header().closed = peer.header().asleep = 0;
    }
    for (std::uint32_t port = 0; port < ports; ++port) {
        world->shm.forget(RouteId{port});
#ifdef SRD_HAVE_VERBS
        world->verbs.suspect(RouteId{port});
#endif
    }
    world->mail.forget_all();
    world->now += std::chrono::seconds(1); // what may be looked at of strangers' questions
    return 0;
}
