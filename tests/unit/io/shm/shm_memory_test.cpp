// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Ends of packets, and whole messages, that are read from the sender's memory; and when they may not be.
#include <cstring>
#include <optional>

#include <sys/prctl.h>

#include "support/catch.hpp"
#include "support/io/shm_ends.hpp"

using namespace srd;
using namespace srd::test;

namespace {

constexpr std::size_t end_size = 60'000;

std::vector<std::byte> bytes_of(unsigned seed)
{
    std::vector<std::byte> bytes(end_size);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>((i * 197 + seed) >> 2U);
    }
    return bytes;
}

/// A packet of a head and an end that stays where it is.
bool send_stable(PacketIo& io, RouteId to, std::array<std::byte, 40>& head, std::vector<std::byte>& end)
{
    TxPacket packet;
    packet.route = to;
    packet.iov_count = 2;
    packet.stable_from = 1;
    packet.iov[0] = {head.data(), head.size()};
    packet.iov[1] = {end.data(), end.size()};
    packet.length = static_cast<std::uint32_t>(head.size() + end.size());
    return io.tx_burst({&packet, 1}) == 1;
}

/// The next packet of more than 64 bytes; it stays valid until rx_release().
std::optional<RxPacket> next_long(PacketIo& io)
{
    std::optional<RxPacket> found;
    eventually([&] {
        std::array<RxPacket, 1> packets;
        if (io.rx_burst(packets, clock_now()) == 0) {
            return false;
        }
        if (packets[0].length + packets[0].remote_length > 96) {
            found = packets[0];
            return true;
        }
        io.rx_release();
        return false;
    });
    return found;
}

struct Ends {
    std::unique_ptr<ShmEnd> a = std::make_unique<ShmEnd>();
    ShmEnd b;
    RouteId a_to_b = route_to(*a->io, *b.io);
    RouteId b_to_a = route_to(*b.io, *a->io);
    std::array<std::byte, 40> head{};

    Ends()
    {
        REQUIRE(open_memory(*a, a_to_b, {a.get(), &b}));
        REQUIRE(open_memory(b, b_to_a, {a.get(), &b}));
        drain(*b.io, std::chrono::milliseconds(5));
        head.fill(std::byte{7});
    }
};

} // namespace

TEST_CASE("shm: the end of a packet is fetched from where the sender has it")
{
    Ends ends;
    auto sent = bytes_of(1);
    REQUIRE(send_stable(*ends.a->io, ends.a_to_b, ends.head, sent));
    sent[5] = std::byte{0xee}; // not copied: the law that it must not change is the sender's
    const auto packet = next_long(*ends.b.io);
    REQUIRE(packet);
    REQUIRE(packet->remote != nullptr);
    REQUIRE(packet->length == ends.head.size());
    CHECK(std::memcmp(packet->data, ends.head.data(), ends.head.size()) == 0);
    REQUIRE(packet->remote_length == end_size);
    std::vector<std::byte> got(end_size);
    const std::array<iovec, 2> pieces{{{got.data(), 1}, {got.data() + 1, end_size - 1}}};
    CHECK(packet->remote->fetch(packet->mapping_id, pieces));
    CHECK(got == sent);
    std::vector<std::byte> beginning(100);
    const iovec part{beginning.data(), beginning.size()};
    CHECK(packet->remote->fetch(packet->mapping_id, {&part, 1}));
    CHECK(std::equal(beginning.begin(), beginning.end(), sent.begin()));
    ends.b.io->rx_release();
}

TEST_CASE("shm: memory that was taken back is not read any more")
{
    for (const bool closed : {false, true}) {
        Ends ends;
        auto sent = bytes_of(2);
        REQUIRE(send_stable(*ends.a->io, ends.a_to_b, ends.head, sent));
        const auto packet = next_long(*ends.b.io);
        REQUIRE(packet);
        REQUIRE(packet->remote != nullptr);
        std::vector<std::byte> got(end_size);
        const iovec whole{got.data(), got.size()};
        CHECK(packet->remote->fetch(packet->mapping_id, {&whole, 1}));
        if (closed) {
            ends.a.reset();
        } else {
            ends.a->io->revoke();
        }
        CHECK_FALSE(packet->remote->fetch(packet->mapping_id, {&whole, 1}));
        ends.b.io->rx_release();
        if (!closed) { // what is written from now on may be read again
            REQUIRE(send_stable(*ends.a->io, ends.a_to_b, ends.head, sent));
            const auto next = next_long(*ends.b.io);
            REQUIRE(next);
            REQUIRE(next->remote != nullptr);
            CHECK(next->remote->fetch(next->mapping_id, {&whole, 1}));
            ends.b.io->rx_release();
        }
    }
}

TEST_CASE("shm: a message is read in one go, as long as its epoch is the sender's")
{
    Ends ends;
    ProcessMemory* const ours = ends.a->io->caps().memory;
    ProcessMemory* const reader = ends.b.io->caps().memory;
    REQUIRE(ours != nullptr);
    REQUIRE(reader != nullptr);
    auto message = bytes_of(3);
    const std::array<iovec, 2> from{{{message.data(), 10'000}, {message.data() + 10'000, end_size - 10'000}}};
    std::vector<std::byte> got(end_size);
    const iovec into{got.data(), got.size()};
    const std::uint32_t epoch = ours->epoch();
    CHECK(reader->read(ends.b_to_a, epoch, from, {&into, 1}) == ProcessMemory::Read::done);
    CHECK(got == message);
    CHECK(reader->read(ends.b_to_a, epoch + 1, from, {&into, 1}) == ProcessMemory::Read::changed);
    const iovec nowhere{std::bit_cast<void*>(std::uintptr_t{64}), end_size};
    CHECK(reader->read(ends.b_to_a, epoch, {&nowhere, 1}, {&into, 1}) == ProcessMemory::Read::forbidden);
    CHECK(reader->read(RouteId{4000}, epoch, from, {&into, 1}) == ProcessMemory::Read::changed);
    ends.a->io->revoke();
    CHECK(ours->epoch() != epoch);
    CHECK(reader->read(ends.b_to_a, epoch, from, {&into, 1}) == ProcessMemory::Read::changed);
    CHECK(reader->read(ends.b_to_a, ours->epoch(), from, {&into, 1}) == ProcessMemory::Read::done);
}

TEST_CASE("shm: what may not be read is copied: a sender whose process number means another here")
{
    if (!is_root()) {
        WARN("SKIPPED: a process namespace needs root");
        return;
    }
    ShmEnd end;
    const SocketAddress target = end.io->local_address();
    const Child child([&target] {
        if (::unshare(CLONE_NEWPID) != 0) {
            return 1;
        }
        const pid_t inner = ::fork();
        if (inner > 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            int status = 0;
            ::waitpid(inner, &status, 0);
            return 0;
        }
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ShmEnd sender;
        RouteId route{};
        if (sender.io->resolve(target, route) != Status::ok) {
            return 2;
        }
        std::array<std::byte, 40> head{};
        auto sent = bytes_of(4);
        for (;;) {
            sender.receive();
            send_stable(*sender.io, route, head, sent);
            ::usleep(1000);
        }
    });
    const auto expected = bytes_of(4);
    // The first ones come through the socket; each has all its bytes in any case.
    for (int i = 0; i < 200; ++i) {
        const auto packet = next_long(*end.io);
        REQUIRE(packet);
        REQUIRE(packet->remote == nullptr);
        REQUIRE(packet->length == 40 + end_size);
        REQUIRE(std::memcmp(packet->data + 40, expected.data(), end_size) == 0);
        end.io->rx_release();
    }
    CHECK(mapped_objects().size() >= 2); // ours and the sender's: it was shared memory
}
