// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Shared memory beyond what every backend does: objects, many peers, and sleepers. Memory that lies is in
// shm_hostile_test.cpp; what needs processes, in shm_process_test.cpp.
#include <filesystem>
#include <limits>

#include <poll.h>

#include <srd/shm_object.hpp>

#include "io/shm/shm_ring.hpp"
#include "io/shm/shm_routes.hpp"
#include "io/shm/shm_segment.hpp"
#include "support/catch.hpp"
#include "support/io/shm_segments.hpp"

using namespace srd;
using namespace srd::test;

namespace {

/// Polls with the backend asleep until a packet comes; false after five seconds.
bool sleep_for_packet(ShmEnd& end, std::vector<std::uint32_t>& numbers)
{
    const Time last = clock_now() + std::chrono::seconds(5);
    while (clock_now() < last) {
        numbers = end.receive();
        if (!numbers.empty()) {
            return true;
        }
        if (end.io->arm_wait()) {
            pollfd waiting{end.io->wait_fd(), POLLIN, 0};
            if (::poll(&waiting, 1, 5000) != 1) {
                return false;
            }
        }
    }
    return false;
}

} // namespace

// -- Objects ----------------------------------------------------------------------

TEST_CASE("shm: an object is its user's alone, has a name that cannot be guessed, and goes with its endpoint")
{
    std::string path;
    {
        const OpenSegment segment;
        const OpenSegment other;
        path = path_of(segment.header().identity.token);
        CHECK(segment.header().identity.token != other.header().identity.token);
        struct stat status {};
        REQUIRE(::stat(path.c_str(), &status) == 0);
        CHECK((status.st_mode & 07777U) == 0600);
        CHECK(status.st_uid == ::geteuid());
        CHECK(static_cast<std::uint64_t>(status.st_blocks) * 512 <= 8192);
        CHECK(mapped_objects().count(path) == 1);
    }
    CHECK(::access(path.c_str(), F_OK) != 0);
    CHECK(mapped_objects().empty());
    CHECK(mapped_objects(false).empty());
}

TEST_CASE("shm: endpoints open while other processes look for stale objects")
{
    std::atomic<bool> done{false};
    std::thread cleaner([&] {
        while (!done) {
            remove_stale_shm("srd_shm.");
        }
    });
    unsigned opened = 0;
    for (int i = 0; i < 3000; ++i) {
        ShmSegment segment;
        std::string error;
        opened += segment.open(make_address("127.0.0.1", 1), error) == 0 && segment.mapping() != nullptr &&
                          ::access(path_of(segment.header().identity.token).c_str(), F_OK) == 0
                      ? 1
                      : 0;
    }
    done = true;
    cleaner.join();
    CHECK(opened == 3000);
}

TEST_CASE("shm: an object that is none is refused")
{
    ShmToken token{};
    CHECK(open_shm_segment(token) == nullptr); // no such object
    token.fill(0xab);
    const std::string path = path_of(token);
    const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
    REQUIRE(fd >= 0);
    CHECK(open_shm_segment(token) == nullptr); // too short
    REQUIRE(::ftruncate(fd, static_cast<off_t>(ShmMapping::size())) == 0);
    CHECK(open_shm_segment(token) == nullptr); // nothing written in it
    ::close(fd);
    REQUIRE(::unlink(path.c_str()) == 0);
    const OpenSegment segment; // a link to a right one
    REQUIRE(::symlink(path_of(segment.header().identity.token).c_str(), path.c_str()) == 0);
    CHECK(open_shm_segment(token) == nullptr);
    REQUIRE(::unlink(path.c_str()) == 0);
    const ShmToken token_of_segment = segment.header().identity.token;
    CHECK(open_shm_segment(token_of_segment) != nullptr);
    segment.header().identity.token = token; // one that has another's name
    CHECK(open_shm_segment(token_of_segment) == nullptr);
    segment.header().identity.token = token_of_segment;
    segment.header().magic = ShmHeader::right_magic + 1; // another layout
    CHECK(open_shm_segment(token_of_segment) == nullptr);
}

// -- Many peers ---------------------------------------------------------------------

TEST_CASE("shm: more peers than rings that are watched are all heard, awake and asleep")
{
    ShmEnd hub;
    std::vector<std::unique_ptr<ShmEnd>> spokes;
    std::vector<RouteId> to_hub;
    for (int i = 0; i < 40; ++i) {
        spokes.push_back(std::make_unique<ShmEnd>());
        to_hub.push_back(route_to(*spokes.back()->io, *hub.io));
        REQUIRE(open_memory(*spokes.back(), to_hub.back(), {&hub, spokes.back().get()}));
    }
    while (!hub.receive().empty()) {
    }
    const auto by_memory = [&] {
        std::uint64_t sum = 0;
        for (const auto& spoke : spokes) {
            sum += spoke->by_memory();
        }
        return sum;
    };
    for (std::uint32_t round = 0; round < 60; ++round) {
        if (round % 20 == 10) { // none is heard for long: the places of the watched are given up
            for (int i = 0; i < 40000; ++i) {
                REQUIRE(hub.receive().empty());
            }
        }
        const bool asleep = round % 2 == 1 && hub.io->arm_wait();
        const std::uint64_t before = by_memory();
        std::set<std::uint32_t> missing;
        for (std::uint32_t i = 0; i < spokes.size(); ++i) {
            const std::uint32_t who = (i * 7 + round) % 40;
            REQUIRE(spokes[who]->send(to_hub[who], 1000 * round + who));
            missing.insert(1000 * round + who);
        }
        CHECK(by_memory() == before + 40);
        if (asleep) {
            pollfd waiting{hub.io->wait_fd(), POLLIN, 0};
            REQUIRE(::poll(&waiting, 1, 5000) == 1);
        }
        REQUIRE(eventually([&] {
            for (const std::uint32_t number : hub.receive()) {
                REQUIRE(missing.erase(number) == 1);
            }
            return missing.empty();
        }));
    }
}

TEST_CASE("shm: 64 endpoints that all write to each other take less than 136 MiB")
{
    std::vector<std::unique_ptr<ShmEnd>> ends;
    std::vector<ShmEnd*> all;
    for (int i = 0; i < 64; ++i) {
        ends.push_back(std::make_unique<ShmEnd>());
        all.push_back(ends.back().get());
    }
    std::uint64_t open = 0;
    for (ShmEnd* const from : all) {
        for (ShmEnd* const to : all) {
            if (from != to) {
                const RouteId route = route_to(*from->io, *to->io);
                open += open_memory(*from, route, {from, to}) ? 1 : 0;
                from->send(route, 1, 60000); // the pool as well
                to->receive();
            }
        }
    }
    CHECK(open == 64 * 63);
    const std::set<std::string> objects = mapped_objects();
    CHECK(objects.size() == 64);
    const std::uint64_t bytes = bytes_in_memory(objects);
    WARN("64 endpoints, all to all: " << bytes / 1024 << " KiB in /dev/shm");
    CHECK(bytes < (136U << 20));
    CHECK(bytes > (1U << 20));
    ends.clear();
    CHECK(mapped_objects().empty());
    CHECK(mapped_objects(false).empty());
}

TEST_CASE("shm: peers come and go by the thousand, and leave no mapping, no ring and no object")
{
    ShmEnd stays;
    const auto descriptors = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
    };
    std::vector<std::unique_ptr<ShmEnd>> last;
    std::ptrdiff_t descriptors_before = 0;
    for (int i = 0; i < 3000; ++i) { // more than an endpoint has rings
        ShmEnd goes;
        const RouteId there = route_to(*goes.io, *stays.io);
        const RouteId back = route_to(*stays.io, *goes.io);
        REQUIRE(open_memory(goes, there, {&goes, &stays}));
        REQUIRE(open_memory(stays, back, {&goes, &stays}));
        if (i == 0) {
            descriptors_before = descriptors();
        }
        REQUIRE(descriptors() == descriptors_before);
    }
    const ShmEnd one_more; // what has gone is noticed with the next peer
    CHECK(stays.warnings.empty());
    CHECK(mapped_objects().size() == 1);
    CHECK(mapped_objects(false).size() <= 4);
    CHECK(bytes_in_memory(mapped_objects()) < (1U << 20));
}

// -- Sleepers ---------------------------------------------------------------------

TEST_CASE("shm: who sleeps on the descriptor is woken by every packet")
{
    ShmPair two;
    const std::uint64_t before = two.a.by_memory();
    constexpr std::uint32_t rounds = 3000;
    std::atomic<bool> slept_well{true};
    std::thread sleeper([&] {
        std::vector<std::uint32_t> numbers;
        for (std::uint32_t i = 1; i <= rounds && slept_well; ++i) {
            slept_well = sleep_for_packet(two.b, numbers) && numbers.size() == 1 && numbers.front() == i;
            while (slept_well && !two.b.send(two.b_to_a, i)) {
            }
        }
    });
    std::vector<std::uint32_t> numbers;
    bool answered = true;
    for (std::uint32_t i = 1; i <= rounds && answered; ++i) {
        while (!two.a.send(two.a_to_b, i)) {
        }
        answered = sleep_for_packet(two.a, numbers) && numbers.size() == 1 && numbers.front() == i;
    }
    if (!answered) {
        slept_well = false;
        two.a.send(two.a_to_b, 0);
    }
    sleeper.join();
    CHECK(answered);
    CHECK(slept_well);
    CHECK(two.a.by_memory() >= before + rounds);
}

// -- Endings ----------------------------------------------------------------------

TEST_CASE("shm: a peer that closes in the middle of a burst harms nobody")
{
    std::function<void()> event;
    UdpConfig config;
    config.local_address = make_address("127.0.0.1");
    config.max_routes = 256;
    Counters counters;
    std::unique_ptr<PacketIo> udp;
    std::string error;
    REQUIRE(make_udp_io(config, counters, udp, error) == 0);
    ShmEnd a(std::make_unique<Interrupted>(std::move(udp), event));
    auto b = std::make_unique<ShmEnd>();
    ShmEnd without(false);
    const RouteId to_b = route_to(*a.io, *b->io);
    const RouteId to_without = route_to(*a.io, *without.io);
    REQUIRE(open_memory(a, to_b, {&a, b.get()}));

    TestPacket packet(7, 64);
    const std::array<TxPacket, 3> burst{packet.to(to_b, PathId{0}), packet.to(to_without, PathId{0}),
                                        packet.to(to_b, PathId{0})};
    event = [&] { b.reset(); };
    CHECK(a.io->tx_burst(burst) == 3);
    CHECK(b == nullptr);
    CHECK(eventually([&] {
        a.send(to_b, 8);
        a.send(to_without, 8);
        return !without.receive().empty();
    }));
}

TEST_CASE("shm: another endpoint at the address of a closed one is reached through memory again")
{
    ShmEnd a;
    std::uint16_t port = 0;
    for (int i = 0; i < 5; ++i) {
        ShmEnd b(true, port);
        port = b.io->local_address().port();
        const RouteId to_b = route_to(*a.io, *b.io);
        const RouteId to_a = route_to(*b.io, *a.io);
        REQUIRE(open_memory(a, to_b, {&a, &b}));
        REQUIRE(open_memory(b, to_a, {&a, &b}));
        std::set<std::uint32_t> missing;
        for (std::uint32_t number = 100; number < 110; ++number) {
            REQUIRE(a.send(to_b, number, 3000));
            missing.insert(number);
        }
        REQUIRE(eventually([&] {
            for (const std::uint32_t number : b.receive()) {
                missing.erase(number);
            }
            return missing.empty();
        }));
    }
}
