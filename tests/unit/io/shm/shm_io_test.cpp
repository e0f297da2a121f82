// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Shared memory beyond what every backend does: objects, many peers, sleepers, and memory that lies. What
// needs processes is in shm_process_test.cpp.
#include <filesystem>
#include <limits>

#include <poll.h>

#include <srd/shm_object.hpp>

#include "io/shm/shm_ring.hpp"
#include "io/shm/shm_routes.hpp"
#include "io/shm/shm_segment.hpp"
#include "support/catch.hpp"
#include "support/io/shm_ends.hpp"

using namespace srd;
using namespace srd::test;

namespace {

std::string path_of(const ShmToken& token)
{
    std::string path = "/dev/shm/srd_shm.";
    for (const std::uint8_t byte : token) {
        std::array<char, 3> digits{};
        std::snprintf(digits.data(), digits.size(), "%02x", byte);
        path += digits.data();
    }
    return path;
}

ShmToken token_of(const std::string& path)
{
    ShmToken token{};
    const std::size_t at = path.rfind('.') + 1;
    for (std::size_t i = 0; i < token.size(); ++i) {
        token[i] = static_cast<std::uint8_t>(std::stoul(path.substr(at + 2 * i, 2), nullptr, 16));
    }
    return token;
}

struct Box : ShmSegment {
    Box()
    {
        std::string error;
        const int code = open(error);
        INFO(error);
        REQUIRE(code == 0);
        REQUIRE(mapping() != nullptr);
    }
};

/// Two endpoints whose packets to each other go through memory.
struct Two {
    ShmEnd a;
    ShmEnd b;
    RouteId a_to_b = route_to(*a.io, *b.io);
    RouteId b_to_a = route_to(*b.io, *a.io);

    Two()
    {
        REQUIRE(open_memory(a, a_to_b, {&a, &b}));
        REQUIRE(open_memory(b, b_to_a, {&a, &b}));
        poll_all({&a, &b});
    }

    /// Packets `first` to `last` - 1 from a, each of which must arrive once, in whatever order.
    bool stream(std::uint32_t first, std::uint32_t last, std::size_t length)
    {
        std::set<std::uint32_t> missing;
        for (std::uint32_t number = first; number < last; ++number) {
            missing.insert(number);
        }
        std::uint32_t next = first;
        return eventually([&] {
            while (next < last && a.send(a_to_b, next, length)) {
                ++next;
            }
            for (const std::uint32_t number : b.receive()) {
                REQUIRE(missing.erase(number) == 1);
            }
            return missing.empty();
        });
    }
};

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
        const Box segment;
        const Box other;
        path = path_of(segment.header().token);
        CHECK(segment.header().token != other.header().token);
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
        opened += segment.open(error) == 0 && segment.mapping() != nullptr &&
                          ::access(path_of(segment.header().token).c_str(), F_OK) == 0
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
    const Box segment; // a link to a right one
    REQUIRE(::symlink(path_of(segment.header().token).c_str(), path.c_str()) == 0);
    CHECK(open_shm_segment(token) == nullptr);
    REQUIRE(::unlink(path.c_str()) == 0);
    const ShmToken token_of_segment = segment.header().token;
    CHECK(open_shm_segment(token_of_segment) != nullptr);
    segment.header().token = token; // one that has another's name
    CHECK(open_shm_segment(token_of_segment) == nullptr);
    segment.header().token = token_of_segment;
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

TEST_CASE("shm: 64 endpoints that all write to each other take less than 64 MiB")
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
    CHECK(bytes < (64U << 20));
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
    Two two;
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

// -- Memory that lies ---------------------------------------------------------------

TEST_CASE("shm: entries that make no sense are dropped and counted, and others are heard")
{
    Two two;
    ShmEnd other;
    const RouteId other_to_b = route_to(*other.io, *two.b.io);
    REQUIRE(open_memory(other, other_to_b, {&other, &two.b}));
    poll_all({&two.b});

    const std::uint64_t before = two.b.counters.io_rx_dropped.value();
    struct Lie {
        std::uint32_t length;
        std::uint32_t block;
        std::uint32_t piece_count = 0;
    };
    const std::uint32_t huge = std::numeric_limits<std::uint32_t>::max();
    const std::array<Lie, 11> lies{{{huge, shm_no_block},
                                    {241, shm_no_block},
                                    {huge, 0},
                                    {shm_block_size + 1, shm_blocks - 1},
                                    {64, shm_blocks},
                                    {64, shm_no_block - 1},
                                    {shm_blocks * shm_block_size + 1, 0},
                                    {173, shm_no_block, 1},
                                    {240, shm_no_block, 4},
                                    {8, shm_no_block, max_iov + 1},
                                    {8, shm_no_block, huge}}};
    std::uint64_t told = 0;
    for (const std::string& path : mapped_objects()) { // in every first ring, whosever it is
        const auto segment = open_shm_segment(token_of(path));
        REQUIRE(segment != nullptr);
        ShmEntry* const entries = segment->entries(0);
        std::uint32_t tail = 0; // the highest turn
        for (std::uint32_t i = 0; i < shm_ring_entries; ++i) {
            tail = std::max(tail, entries[i].turn.load());
        }
        for (const Lie& lie : lies) {
            ShmEntry& entry = entries[tail % shm_ring_entries];
            entry.length = lie.length;
            entry.block = lie.block;
            entry.piece_count = lie.piece_count;
            entry.turn.store(++tail);
            ++told;
        }
        segment->header().doorbells[0] = ~std::uint64_t{0};
        segment->header().doorbells[15] = ~std::uint64_t{0};
    }
    CHECK(told == 3 * lies.size());
    REQUIRE(eventually([&] {
        two.b.receive();
        return two.b.counters.io_rx_dropped.value() == before + 2 * lies.size(); // two peers write to b
    }));
    // Those whom it concerns go on as well, one lost packet for each lie.
    REQUIRE(eventually([&] {
        other.send(other_to_b, 4711);
        const std::vector<std::uint32_t> numbers = two.b.receive();
        return std::count(numbers.begin(), numbers.end(), 4711U) != 0;
    }));
}

TEST_CASE("shm: entries that change while they are read lead nowhere else")
{
    const Box own;
    Box liar;
    std::uint32_t ring = 0;
    REQUIRE(liar.add_ring(ring));
    const auto segment = open_shm_segment(liar.header().token);
    REQUIRE(segment != nullptr);
    ShmReceiver receiver(*own.mapping());
    const std::uint32_t doorbell = receiver.open(segment, ring, 0, RouteId{});
    std::atomic<bool> done{false};
    std::thread flips([&] {
        while (!done) {
            for (std::uint32_t i = 0; i < shm_ring_entries; ++i) {
                auto& entry = *static_cast<volatile ShmEntry*>(liar.mapping()->entries(ring) + i);
                entry.length = 100;
                entry.block = shm_no_block;
                entry.piece_count = 1;
                entry.piece_count = std::numeric_limits<std::uint32_t>::max();
                entry.length = std::numeric_limits<std::uint32_t>::max();
                entry.block = 0;
            }
        }
    });
    std::uint64_t malformed = 0;
    std::uint64_t good = 0;
    bool inside = true;
    for (std::uint32_t turn = 1; turn <= 300000; ++turn) {
        liar.mapping()->entries(ring)[(turn - 1) % shm_ring_entries].turn.store(turn);
        own.header().doorbells[doorbell / 64].store(1);
        std::array<RxPacket, 1> packets;
        good += receiver.receive(packets, Time{});
        inside = inside && (packets[0].data == nullptr || packets[0].length <= shm_blocks * shm_block_size);
        receiver.release();
        malformed += receiver.take_malformed();
    }
    done = true;
    flips.join();
    CHECK(inside);
    CHECK(good > 0);
    CHECK(malformed > 0);
    CHECK(good + malformed == 300000);
}

TEST_CASE("shm: heads and turns that make no sense send packets the other way")
{
    Two two;
    const auto spoil = [](const std::function<void(ShmMapping&)>& lie) {
        for (const std::string& path : mapped_objects()) {
            const auto segment = open_shm_segment(token_of(path));
            REQUIRE(segment != nullptr);
            lie(*segment);
        }
    };
    for (const std::uint32_t head : {0x80000000U, 0xffffffffU, 1000000U}) {
        spoil([head](ShmMapping& segment) { segment.control(0).head.store(head); });
        std::set<std::uint32_t> missing;
        for (std::uint32_t number = 1; number <= 40; ++number) {
            missing.insert(number);
        }
        REQUIRE(eventually([&] {
            for (const std::uint32_t number : std::set<std::uint32_t>(missing)) {
                two.a.send(two.a_to_b, number, 2000);
            }
            for (const std::uint32_t number : two.b.receive()) {
                missing.erase(number);
            }
            return missing.empty();
        }));
    }
    spoil([](ShmMapping& segment) {
        for (std::uint32_t i = 0; i < shm_ring_entries; ++i) {
            segment.entries(0)[i].turn.store(0xdeadbeef);
        }
    });
    REQUIRE(eventually([&] {
        two.a.send(two.a_to_b, 4711);
        const std::vector<std::uint32_t> numbers = two.b.receive();
        return std::count(numbers.begin(), numbers.end(), 4711U) != 0;
    }));
}

TEST_CASE("shm: messages that make no sense open nothing and close nothing")
{
    Two two;
    ShmEnd liar(false);
    const RouteId to_b = route_to(*liar.io, *two.b.io);
    const auto send = [&](const ShmMessage& message) {
        TxPacket packet;
        packet.route = to_b;
        packet.iov_count = 1;
        packet.length = sizeof(message);
        ShmMessage copy = message;
        packet.iov[0] = {&copy, sizeof(copy)};
        REQUIRE(liar.io->tx_burst({&packet, 1}) == 1);
        two.b.receive();
    };
    const auto named = [](ShmEnd& end) {
        ShmMessage message;
        const auto address = end.io->local_address().bytes();
        std::copy(address.begin(), address.end(), message.address.begin());
        message.token.fill(0x11);
        return message;
    };
    for (ShmEnd* const name : {&liar, &two.a}) {
        for (const std::uint32_t kind : {0U, 1U, 2U, 3U, 4U, 5U, 0xffffffffU}) {
            for (const std::uint32_t ring : {0U, 1023U, 1024U, 0xffffffffU}) {
                ShmMessage message = named(*name);
                message.kind = kind;
                message.ring = ring;
                message.start = 77;
                send(message);
            }
        }
    }
    two.b.receive();
    const std::uint64_t before = two.a.by_memory();
    CHECK(two.stream(1000, 1500, 64));
    CHECK(two.a.by_memory() >= before + 400);
    CHECK(mapped_objects().size() == 2);
}

TEST_CASE("shm: who holds the pool without reading delays no other")
{
    ShmEnd sender;
    std::vector<std::unique_ptr<ShmEnd>> readers;
    std::vector<RouteId> routes;
    for (int i = 0; i < 5; ++i) {
        readers.push_back(std::make_unique<ShmEnd>());
        routes.push_back(route_to(*sender.io, *readers.back()->io));
        REQUIRE(open_memory(sender, routes.back(), {&sender, readers.back().get()}));
        drain(*readers.back()->io, std::chrono::milliseconds(1));
    }
    for (std::size_t i = 0; i + 1 < readers.size(); ++i) { // none of these reads from now on
        for (int n = 0; n < 16; ++n) {
            sender.send(routes[i], 1, 60000);
        }
    }
    REQUIRE(sender.send(routes.back(), 2, 60000)); // at once, whatever way it takes
    CHECK(eventually([&] {
        const std::vector<std::uint32_t> numbers = readers.back()->receive();
        return std::find(numbers.begin(), numbers.end(), 2U) != numbers.end();
    }));
}

TEST_CASE("shm: packets of every length arrive once while the memory is short")
{
    Two two;
    const std::uint64_t before = two.a.by_memory();
    for (const std::size_t length : {std::size_t{4}, std::size_t{240}, std::size_t{241}, std::size_t{8192},
                                     std::size_t{8193}, std::size_t{65507}}) {
        CHECK(two.stream(1, 400, length));
    }
    CHECK(two.a.by_memory() > before);
}
