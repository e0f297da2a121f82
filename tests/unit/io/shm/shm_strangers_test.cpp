// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Who is not this user on this host can list the names in /dev/shm, send any message, and name any address in
// it. That must gain nothing: no secret, no answer, no way closed or opened, no memory, no time.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <thread>

#include <sys/stat.h>

#include <srd/shm_object.hpp>

#include "support/io/net_world.hpp"
#include "support/io/shm_segments.hpp"
#include "support/io/shm_talk.hpp"

using namespace srd;
using namespace srd::test;
using Kind = RouteNotice::Kind;

namespace {

constexpr uid_t somebody_else = 65534;
constexpr std::uint16_t attacker = 666;

/// What everybody can say: names are public, proofs are guessed.
ShmMessage claim(std::uint32_t kind, const ShmToken& token, const SocketAddress& address, std::uint64_t guess)
{
    ShmMessage message;
    message.kind = kind;
    message.token = token;
    message.nonce = guess;
    message.proof = guess * 0x9e3779b97f4a7c15U;
    set_sender(message, address);
    return message;
}

/// All kinds, with and without rings, from that address.
std::vector<ShmMessage> claims(const ShmToken& token, const SocketAddress& address)
{
    std::vector<ShmMessage> made;
    for (std::uint32_t kind = 0; kind < 6; ++kind) {
        for (const std::uint32_t ring : {0U, shm_rings - 1, ShmMessage::no_ring}) {
            made.push_back(claim(kind, token, address, made.size()));
            made.back().ring = ring;
            made.push_back(made.back());
            made.back().proof = 0;
        }
    }
    return made;
}

/// Two endpoints with an open way from a to b and back, and a third one of the same user.
struct Three : Two {
    End c{3};

    Three()
    {
        open();
        CHECK(b->ask(1, now) == nullptr);
        talk();
        REQUIRE(b->ask(1, now) != nullptr);
        CHECK(b->notices() == Kinds{Kind::same_host});
        CHECK(c.ask(9, now) == nullptr); // makes its object
        c.next();
    }
    /// Nothing has changed at b, and packets take the way as before.
    void expect_no_harm()
    {
        CHECK(b->notices().empty());
        CHECK(a.notices().empty());
        ShmWay* const there = way();
        REQUIRE(there != nullptr);
        CHECK(b->ask(1, now) != nullptr);
        CHECK(write(*there, 77));
        CHECK(b->look() == std::vector<std::int64_t>{77});
    }
};

/// Another user, who says all that can be said, to both and in everybody's name, until killed.
int be_a_stranger(const std::array<SocketAddress, 2>& victims, std::atomic<std::uint64_t>& sent,
                  std::atomic<std::uint32_t>& told)
{
    if (::setgid(somebody_else) != 0 || ::setuid(somebody_else) != 0) {
        return 1;
    }
    std::vector<ShmToken> names;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
        if (entry.path().filename().string().starts_with("srd_shm.")) {
            names.push_back(token_of(entry.path().string()));
        }
    }
    const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const SocketAddress any = make_address("127.0.0.1");
    if (names.size() < 3 || ::bind(socket.get(), any.get(), any.size()) != 0) {
        return 2;
    }
    sockaddr_storage storage{};
    socklen_t size = sizeof(storage);
    SocketAddress own;
    if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0 ||
        !SocketAddress::parse(&storage, size, own)) {
        return 3;
    }
    for (;;) {
        for (const ShmToken& name : names) {
            for (const SocketAddress& named : {victims[0], victims[1], own}) {
                for (const ShmMessage& message : claims(name, named)) {
                    for (const SocketAddress& to : victims) {
                        ::sendto(socket.get(), &message, sizeof(message), 0, to.get(), to.size());
                        ++sent;
                    }
                }
            }
        }
        std::array<char, 2048> answer{};
        while (::recv(socket.get(), answer.data(), answer.size(), MSG_DONTWAIT) > 0) {
            ++told;
        }
        ::usleep(2000);
    }
}

} // namespace

// -- Secrets ------------------------------------------------------------------------

TEST_CASE("shm strangers: who knows a name is told nothing, wherever the answer is to go")
{
    Three all;
    const std::size_t sent = all.b->mail.to.size();
    for (const ShmToken& token : {all.a.token, all.c.token, all.b->token}) {
        for (const std::uint16_t port : {attacker, std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{3}}) {
            for (const ShmMessage& message : claims(token, Mail::address_of(port))) {
                all.b->hear(message, all.now);
            }
        }
    }
    CHECK(all.b->mail.to.size() == sent);
    all.expect_no_harm();
}

TEST_CASE("shm strangers: a question and an answer tell nothing that is written in an object")
{
    Two two;
    CHECK(two.way() == nullptr);
    const ShmMessage question = two.a.next();
    two.b->hear(question, two.now);
    const ShmMessage answer = two.b->next();
    for (const ShmToken& token : {question.token, answer.token}) {
        const auto segment = open_shm_segment(token);
        REQUIRE(segment != nullptr);
        const std::array<std::uint64_t, 3> secrets{
            segment->header().secret, segment->header().identity.key[0], segment->header().identity.key[1]};
        for (const ShmMessage& message : {question, answer}) {
            std::array<std::byte, sizeof(message)> bytes;
            std::memcpy(bytes.data(), &message, bytes.size());
            for (const std::uint64_t& secret : secrets) {
                const auto wanted = std::as_bytes(std::span(&secret, 1));
                CHECK(std::search(bytes.begin(), bytes.end(), wanted.begin(), wanted.end()) == bytes.end());
            }
        }
    }
}

TEST_CASE("shm strangers: a proof is for one message, one receiver and one kernel")
{
    Two two;
    CHECK(two.way() == nullptr);
    const ShmMessage question = two.a.next();
    ShmObject object;
    REQUIRE(object.open(question.token));
    const SocketAddress there = Mail::address_of(2);
    const auto proof = [&](const ShmMessage& message, const SocketAddress& receiver) {
        return proof_of(message, object.key(), running_kernel(), receiver);
    };
    CHECK(question.proof == proof(question, there));
    std::set<std::uint64_t> proofs{question.proof};
    for (std::size_t i = 0; i < offsetof(ShmMessage, proof); ++i) {
        ShmMessage other = question;
        std::array<std::byte, sizeof(other)> bytes;
        std::memcpy(bytes.data(), &other, bytes.size());
        bytes[i] ^= std::byte{1};
        std::memcpy(&other, bytes.data(), bytes.size());
        CHECK(proofs.insert(proof(other, there)).second);
    }
    CHECK(proofs.insert(proof(question, Mail::address_of(3))).second);
    CHECK(proofs.insert(proof(question, make_address("127.0.0.2", 2))).second);
    CHECK(proofs.insert(proof(question, make_address("::1", 2))).second);
    ShmKernel other = running_kernel();
    other[15] ^= 1;
    CHECK(proofs.insert(proof_of(question, object.key(), other, there)).second);
    ShmKey key = object.key();
    key[1] ^= 1;
    CHECK(proofs.insert(proof_of(question, key, running_kernel(), there)).second);
}

// -- Ways -----------------------------------------------------------------------------

TEST_CASE("shm strangers: a question to one is nothing for another, and not for the asker itself")
{
    Three all;
    all.a.routes.suspect(RouteId{2});
    all.a.notices();
    CHECK(all.way() == nullptr);
    const ShmMessage question = all.a.next();
    const std::size_t sent = all.c.mail.to.size();
    all.c.hear(question, all.now);
    CHECK(all.c.mail.to.size() == sent);
    all.a.hear(question, all.now); // reflected
    CHECK(all.a.mail.sent.empty());
    ShmMessage turned = question;
    turned.kind = BypassKind::answer;
    all.a.hear(turned, all.now);
    CHECK(all.a.mail.sent.empty());
    set_sender(turned, Mail::address_of(2));
    all.a.hear(turned, all.now);
    CHECK(all.a.mail.sent.empty());
}

TEST_CASE("shm strangers: an object stands for the address that is written in it, and no other")
{
    Three all;
    // Even whoever reads c's object, and so can prove, cannot pass it off as a's.
    ShmMessage question = claim(BypassKind::question, all.c.token, Mail::address_of(1), 5);
    prove(question, question, all.b->mail.address());
    all.b->hear(question, all.now);
    CHECK(all.b->mail.sent.empty());
    // Nor b's own, from another address.
    CHECK(all.b->ask(9, all.now) == nullptr);
    all.b->next();
    ShmMessage own = claim(BypassKind::question, all.b->token, Mail::address_of(1), 6);
    prove(own, own, all.b->mail.address());
    all.b->hear(own, all.now);
    CHECK(all.b->mail.sent.empty());
    all.expect_no_harm();

    Two two; // and not in an answer
    CHECK(two.way() == nullptr);
    const ShmMessage asked = two.a.next();
    ShmMessage answer = claim(BypassKind::answer, all.c.token, Mail::address_of(2), 0);
    answer.nonce = asked.nonce;
    prove(answer, asked, two.a.mail.address());
    two.a.hear(answer, two.now);
    CHECK(two.a.mail.sent.empty());
    two.b->hear(asked, two.now);
    two.talk();
    CHECK(two.way() != nullptr);
}

TEST_CASE("shm strangers: wake-up messages, however many, change nothing")
{
    Three all;
    for (int i = 0; i < 10000; ++i) {
        all.b->hear(claim(ShmMessage::wake_up, all.a.token, Mail::address_of(1), 0), all.now);
        all.b->hear(claim(ShmMessage::wake_up, {}, Mail::address_of(attacker), 0), all.now);
    }
    CHECK(all.b->mail.sent.empty());
    all.expect_no_harm();
}

TEST_CASE("shm strangers: a flood of questions delays nobody who is known")
{
    Three all;
    ShmToken unknown{};
    for (std::uint32_t i = 0; i < 10000; ++i) {
        std::memcpy(unknown.data(), &i, sizeof(i));
        all.b->hear(claim(BypassKind::question, unknown, Mail::address_of(1), i), all.now);
    }
    all.a.routes.suspect(RouteId{2});
    CHECK(all.a.notices() == Kinds{Kind::network});
    all.open(); // at once
    CHECK(all.c.ask(2, all.now) == nullptr);
    all.b->hear(all.c.next(), all.now);
    CHECK(all.b->mail.sent.empty()); // who is not yet known has to ask again
    all.now += std::chrono::milliseconds(2);
    CHECK(all.c.ask(2, all.now) == nullptr);
    all.b->hear(all.c.next(), all.now);
    CHECK(all.b->next().kind == BypassKind::answer);
}

// -- Other hosts ------------------------------------------------------------------------

TEST_CASE("shm strangers: nobody on another host is asked, or answered")
{
    Two two;
    two.a.mail.move_away(2);
    for (int i = 0; i < 3000; ++i, two.now += std::chrono::milliseconds(1)) {
        CHECK(two.way() == nullptr);
    }
    two.a.routes.suspect(RouteId{2});
    CHECK(two.way() == nullptr);
    CHECK(two.a.mail.to.empty());
    CHECK(two.b->ask(1, two.now) == nullptr);
    two.a.hear(two.b->next(), two.now);
    CHECK(two.a.mail.to.empty());
}

TEST_CASE(
    "shm strangers: a process whose address is no address of this host is reached by the wire, and not asked")
{
    const std::unique_ptr<NetWorld> world = NetWorld::make(1500);
    if (world == nullptr) {
        WARN("SKIPPED: no network of namespaces here (needs root)");
        return;
    }
    const bool has_memory = GENERATE(true, false);
    const auto open_in = [&world](unsigned host, bool with_shm) {
        const InsideNamespace inside(world->fd(host));
        return std::make_unique<ShmEnd>(with_shm, 0, NetWorld::address(host, false));
    };
    EchoPeer::Setting setting;
    setting.open = [&] {
        auto end = open_in(1, has_memory);
        if (::setns(world->fd(1), CLONE_NEWNET) != 0) {
            throw std::runtime_error("setns");
        }
        return end;
    };
    EchoPeer peer(setting);
    const std::unique_ptr<ShmEnd> end = open_in(0, true);
    const InsideNamespace inside(world->fd(0));
    const RouteId route = peer.meet(*end->io);
    CHECK(ping(*end, route, 1, 200, 1000));
    CHECK(end->by_memory() == 0);
    CHECK(peer.state().by_memory == 0);
    CHECK(peer.state().strange == 0);
    CHECK(end->strange == 0);
}

TEST_CASE("shm strangers: messages leave no route, no mapping and no descriptor behind")
{
    Three all;
    const auto descriptors = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
    };
    const auto before = descriptors();
    const std::set<std::string> mapped = mapped_objects();
    const std::set<std::uint16_t> routes = all.b->mail.resolved;
    for (std::uint16_t port = 1000; port < 6000; ++port) {
        for (const std::uint32_t kind : {BypassKind::question, BypassKind::answer, ShmMessage::wake_up}) {
            all.b->hear(claim(kind, all.c.token, Mail::address_of(port), port), all.now);
        }
        all.now += std::chrono::milliseconds(1);
    }
    CHECK(descriptors() == before);
    CHECK(mapped_objects() == mapped);
    CHECK(all.b->mail.resolved == routes);
    all.expect_no_harm();
}

// -- Objects --------------------------------------------------------------------------

TEST_CASE("shm strangers: things with the names of objects stop nobody")
{
    if (skip_unless_root()) {
        return;
    }
    Child looks([] {
        const std::string pipe = "/dev/shm/srd_shm.00000000000000000000000000000001";
        const std::string link = "/dev/shm/srd_shm.00000000000000000000000000000002";
        if (!own_shm("size=16m") || ::mkfifo(pipe.c_str(), 0666) != 0 ||
            ::symlink(pipe.c_str(), link.c_str()) != 0) {
            return 1;
        }
        remove_stale_shm("srd_shm.");
        ShmToken token{};
        for (const std::uint8_t last : {std::uint8_t{1}, std::uint8_t{2}}) {
            token[15] = last;
            if (ShmObject().open(token)) {
                return 2;
            }
        }
        return 0;
    });
    std::optional<int> status;
    CHECK(eventually([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        status = looks.poll();
        return status.has_value();
    }));
    CHECK(status == 0);
}

// -- Everything at once, by another user ---------------------------------------------------

TEST_CASE("shm strangers: another user who floods with all that is known moves nothing off shared memory")
{
    if (skip_unless_root()) {
        return;
    }
    const Shared<std::array<SocketAddress, 2>> addresses;
    const Shared<std::atomic<std::uint64_t>> sent;
    const Shared<std::atomic<std::uint32_t>> told;
    Signpost ready;
    Child stranger([&]() -> int { // inherits nothing
        ready.await();
        return be_a_stranger(*addresses, *sent, *told);
    });
    ShmPair two;
    ShmEnd third; // whose name is public as well
    const RouteId third_to_b = route_to(*third.io, *two.b.io);
    REQUIRE(open_memory(third, third_to_b, {&third, &two.b}));
    poll_all({&two.a, &two.b, &third});
    *addresses = {two.a.io->local_address(), two.b.io->local_address()};
    ready.tell();
    REQUIRE(eventually([&] {
        poll_all({&two.a, &two.b});
        return *sent > 1000;
    }));
    const std::uint64_t by_memory = two.a.by_memory();
    const Time end = clock_now() + std::chrono::seconds(2);
    std::uint32_t next = 1000;
    for (; clock_now() < end; next += 100) {
        REQUIRE(two.stream(next, next + 100, 64));
        two.a.receive();
    }
    stranger.kill();
    CHECK(two.a.by_memory() >= by_memory + (next - 1000) * 9 / 10); // a full ring sends a few the other way
    std::array<RouteNotice, 8> notices;
    for (ShmEnd* const each : {&two.a, &two.b}) {
        const std::size_t count = each->io->poll_notices(notices, clock_now());
        CHECK(std::none_of(notices.begin(), notices.begin() + static_cast<std::ptrdiff_t>(count),
                           [](const RouteNotice& notice) { return notice.kind == Kind::network; }));
    }
    CHECK(*told == 0);
    CHECK(mapped_objects().size() == 3);
}
