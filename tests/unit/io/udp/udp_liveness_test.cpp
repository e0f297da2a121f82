// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How the UDP backend learns whether a peer's process lives: closed ports, and
// probes that tell a stopped process from a dead one.
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <span>
#include <string>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/udp/udp_io.hpp"
#include "io/udp/udp_socket.hpp"

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/io/io_harness.hpp"

using namespace srd;
using namespace srd::test;

namespace {

/// Takes a little of what has come. False: there was nothing.
bool look(PacketIo& io)
{
    std::array<RxPacket, 4> packets;
    if (io.rx_burst(packets, clock_now()) == 0) {
        return false;
    }
    io.rx_release();
    return true;
}

} // namespace

TEST_CASE("udp: a TCP port in use costs the liveness answer, not the endpoint")
{
    SocketAddress address = make_address("127.0.0.1");
    FileDescriptor tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(tcp.get(), address.get(), address.size()) == 0);
    REQUIRE(::listen(tcp.get(), 1) == 0);
    REQUIRE(bound_address(tcp, address) == 0);
    const auto opened = open_udp(make_address("127.0.0.1", address.port()));
    REQUIRE(opened->code == 0);
    CHECK(std::any_of(opened->warnings.begin(), opened->warnings.end(), [](const std::string& warning) {
        return warning.find("TCP port") != std::string::npos;
    }));
}

TEST_CASE("udp: a closed port is noticed by the packets sent to it, on any path")
{
    std::vector<SocketAddress> addresses{make_address("127.0.0.1")};
    const SocketAddress outer = outer_address();
    if (!outer.empty()) {
        addresses.push_back(outer);
    }
    for (const SocketAddress& address : addresses) {
        const auto opened = open_udp(address);
        const auto victim = open_udp(address);
        const auto friendly = open_udp(address);
        REQUIRE(opened->code == 0);
        REQUIRE(victim->code == 0);
        const RouteId route = route_to(*opened->io, *victim->io);
        const RouteId other = route_to(*opened->io, *friendly->io);
        victim->io.reset();
        TestPacket packet(1, 100);
        const std::uint8_t last = static_cast<std::uint8_t>(opened->io->caps().path_count - 1);
        for (const std::uint8_t path : {std::uint8_t{0}, last}) {
            CHECK(noticed(*opened->io, route, RouteNotice::Kind::port_unreachable, [&] {
                const std::array<TxPacket, 2> burst{packet.to(route, PathId{path}),
                                                    packet.to(other, PathId{path})};
                CHECK(opened->io->tx_burst(burst) == 2);
            }));
        }
        // The other peer on the same sockets is not affected.
        std::array<RxPacket, 64> packets;
        CHECK(friendly->io->rx_burst(packets, clock_now()) != 0);
        friendly->io->rx_release();
        CHECK(opened->counters.io_tx_errors.value() == 0);
    }
}

TEST_CASE("udp: a stopped process is alive, a killed one is gone")
{
    const Shared<SocketAddress> address;
    Signpost known;
    Child child([&]() -> int {
        const auto opened = open_udp(make_address("127.0.0.1"));
        *address = opened->io->local_address();
        known.tell();
        for (;;) {
            ::pause();
        }
    });
    known.await();
    const auto opened = open_udp(make_address("127.0.0.1"));
    REQUIRE(opened->code == 0);
    RouteId route{};
    REQUIRE(opened->io->resolve(*address, route) == Status::ok);
    bool alive = true;
    child.signal(SIGSTOP);
    // More often than the accept queue is long: probes must leave nothing behind at a stopped process.
    for (int i = 0; i < 2000 && alive; ++i) {
        opened->io->probe_liveness(route, LivenessProbe::exists, clock_now());
        alive =
            noticed(*opened->io, route, RouteNotice::Kind::process_alive, [&] { opened->io->arm_wait(); });
    }
    child.kill();
    CHECK(alive);
    opened->io->probe_liveness(route, LivenessProbe::exists, clock_now());
    CHECK(noticed(*opened->io, route, RouteNotice::Kind::process_gone, [] {}));
}

TEST_CASE("udp: a process says whether it reads what comes for it; a stopped one says nothing")
{
    const Shared<SocketAddress> address;
    const Shared<std::atomic<bool>> reading;
    const Shared<std::atomic<bool>> flooded;
    Signpost known;
    Child child([&]() -> int {
        const auto opened = open_udp(make_address("127.0.0.1"));
        *address = opened->io->local_address();
        const FileDescriptor stranger(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        known.tell();
        for (;;) {
            for (int i = 0; *flooded && i < 100; ++i) {
                static_cast<void>(::sendto(stranger.get(), "?", 1, 0, address->get(), address->size()));
            }
            while (*reading && look(*opened->io) && !*flooded) {
            }
            ::usleep(1000);
        }
    });
    known.await();
    const auto opened = open_udp(make_address("127.0.0.1"));
    REQUIRE(opened->code == 0);
    RouteId route{};
    REQUIRE(opened->io->resolve(*address, route) == Status::ok);
    const auto says = [&](RouteNotice::Kind kind) {
        const Time asked = clock_now();
        opened->io->probe_liveness(route, LivenessProbe::reads, asked);
        std::array<RouteNotice, 4> notices;
        while (clock_now() - asked < std::chrono::milliseconds(500)) {
            const std::size_t count = opened->io->poll_notices(notices, clock_now());
            for (const RouteNotice& notice : std::span(notices).first(count)) {
                CHECK(notice.since == asked);
                if (notice.kind == kind) {
                    return true;
                }
            }
            ::usleep(1000);
        }
        return false;
    };
    CHECK(says(RouteNotice::Kind::process_busy));
    *reading = true;
    CHECK(says(RouteNotice::Kind::process_reads));
    // It reads, and what it lacks may lie among what it has not come to, or have found no room there.
    *flooded = true;
    ::usleep(600'000);
    CHECK(says(RouteNotice::Kind::process_busy));
    *flooded = false;
    ::usleep(1'100'000);
    child.signal(SIGSTOP);
    CHECK_FALSE(says(RouteNotice::Kind::process_reads));
    ::usleep(600'000); // that question makes room for the next one
    CHECK(says(RouteNotice::Kind::process_alive));
    child.signal(SIGCONT);
    ::usleep(1'100'000);
    CHECK(says(RouteNotice::Kind::process_reads));
    child.kill();
}

TEST_CASE("udp: strangers at the liveness port get no answer, and hold nothing up")
{
    const auto opened = open_udp(make_address("127.0.0.1"));
    const auto asking = open_udp(make_address("127.0.0.1"));
    REQUIRE(opened->code == 0);
    REQUIRE(asking->code == 0);
    const SocketAddress& there = opened->io->local_address();
    std::vector<FileDescriptor> strangers;
    for (int i = 0; i < 200; ++i) {
        FileDescriptor stranger(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        REQUIRE(stranger.valid());
        REQUIRE((::connect(stranger.get(), there.get(), there.size()) == 0 || errno == EINPROGRESS));
        strangers.push_back(std::move(stranger));
    }
    ::usleep(10'000);
    for (std::size_t i = 0; i < strangers.size(); i += 2) {
        static_cast<void>(::send(strangers[i].get(), "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL));
    }
    const RouteId route = route_to(*asking->io, *opened->io);
    asking->io->probe_liveness(route, LivenessProbe::reads, clock_now());
    CHECK(noticed(*asking->io, route, RouteNotice::Kind::process_busy, [] {}));
    for (std::size_t i = 0; i < strangers.size(); i += 2) {
        char byte = 0;
        CHECK(::recv(strangers[i].get(), &byte, 1, 0) <= 0);
    }
}

namespace {

/// A process with one endpoint, which makes passes while `reading`.
class Victim {
public:
    struct State {
        SocketAddress address;
        std::atomic<bool> reading{true};
        std::atomic<bool> starve{false}; ///< of descriptors
        std::atomic<bool> starved{false};
        std::atomic<std::int64_t> cpu_us{0}; ///< what it has used
    };

    Victim() : child_([this] { return live(); }) { known_.await(); }

    State& state() { return *state_; }
    Child& process() { return child_; }

private:
    int live()
    {
        const auto opened = open_udp(make_address("127.0.0.1"));
        state_->address = opened->io->local_address();
        known_.tell();
        for (;;) {
            if (state_->reading) {
                look(*opened->io);
            }
            if (state_->starve && !state_->starved) {
                take_descriptors();
                state_->starved = true;
            }
            rusage used{};
            ::getrusage(RUSAGE_SELF, &used);
            state_->cpu_us = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1'000'000 +
                             used.ru_utime.tv_usec + used.ru_stime.tv_usec;
            ::usleep(1000);
        }
    }
    static void take_descriptors()
    {
        const rlimit few{64, 64};
        ::setrlimit(RLIMIT_NOFILE, &few);
        while (::dup(STDERR_FILENO) >= 0) {
        }
    }

    Shared<State> state_;
    Signpost known_;
    Child child_;
};

/// Connections to `there` from that address, in a process of their own, which say `text`.
class Strangers {
public:
    Strangers(const SocketAddress& there, const char* from, unsigned count, std::string text = {})
        : child_([this, there, from, count, text = std::move(text)] {
              return hold(there, make_address(from), count, text);
          })
    {
        if (!eventually([&] { return *done_ != 0; }) || *done_ < 0) {
            throw std::runtime_error("too few descriptors for so many strangers");
        }
    }

private:
    int hold(const SocketAddress& there, const SocketAddress& from, unsigned count, const std::string& text)
    {
        rlimit limit{count + 100, count + 100};
        if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            *done_ = -1;
            return 1;
        }
        std::vector<FileDescriptor> all;
        for (unsigned i = 0; i < count; ++i) {
            FileDescriptor one(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
            set_option(one.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
            if (!one.valid() || ::bind(one.get(), from.get(), from.size()) != 0) {
                *done_ = -1;
                return 2;
            }
            static_cast<void>(::connect(one.get(), there.get(), there.size()));
            all.push_back(std::move(one));
        }
        for (const FileDescriptor& one : all) {
            static_cast<void>(::send(one.get(), text.data(), text.size(), MSG_NOSIGNAL));
        }
        *done_ = 1;
        for (;;) {
            ::pause();
        }
    }

    Shared<std::atomic<int>> done_;
    Child child_;
};

/// What a probe that is sent now brings within a second, before the first repetition of its SYN.
std::vector<RouteNotice::Kind> ask(PacketIo& io, RouteId route, LivenessProbe probe)
{
    const Time asked = clock_now();
    io.probe_liveness(route, probe, asked);
    std::vector<RouteNotice::Kind> heard;
    while (clock_now() - asked < std::chrono::milliseconds(1050)) {
        std::array<RouteNotice, 4> notices;
        const std::size_t count = io.poll_notices(notices, clock_now());
        for (const RouteNotice& notice : std::span(notices).first(count)) {
            heard.push_back(notice.kind);
        }
        ::usleep(1000);
    }
    return heard;
}

using Kinds = std::vector<RouteNotice::Kind>;

} // namespace

TEST_CASE(
    "udp: idle connections of strangers, however many, hide neither a stopped process nor a running one")
{
    Victim victim;
    victim.process().signal(SIGSTOP);
    const Strangers silent(victim.state().address, "127.0.0.2", 4000);
    const Strangers talkative(victim.state().address, "127.0.0.3", 2000, "GET / HTTP/1.0\r\n\r\n");
    ::usleep(4'000'000); // until the kernel tires of waiting for their first byte
    const auto opened = open_udp(make_address("127.0.0.1"));
    RouteId route{};
    REQUIRE(opened->io->resolve(victim.state().address, route) == Status::ok);
    CHECK(ask(*opened->io, route, LivenessProbe::exists) == Kinds{RouteNotice::Kind::process_alive});
    victim.process().signal(SIGCONT);
    CHECK(ask(*opened->io, route, LivenessProbe::reads) ==
          Kinds{RouteNotice::Kind::process_alive, RouteNotice::Kind::process_reads});
}

TEST_CASE("udp: one host that asks for ever keeps no other from asking")
{
    Victim victim;
    std::vector<std::unique_ptr<Strangers>> strangers;
    const auto opened = open_udp(make_address("127.0.0.1"));
    RouteId route{};
    REQUIRE(opened->io->resolve(victim.state().address, route) == Status::ok);
    for (int i = 0; i < 2; ++i) {
        strangers.push_back(
            std::make_unique<Strangers>(victim.state().address, "127.0.0.2", 1000, "srd read"));
        CHECK(ask(*opened->io, route, LivenessProbe::reads) ==
              Kinds{RouteNotice::Kind::process_alive, RouteNotice::Kind::process_reads});
    }
}

TEST_CASE("udp: a process without descriptors answers all the same, and does not spin")
{
    Victim victim;
    victim.state().starve = true;
    REQUIRE(eventually([&] { return victim.state().starved.load(); }));
    const Strangers strangers(victim.state().address, "127.0.0.2", 4, "srd read");
    const std::int64_t before = victim.state().cpu_us;
    const auto opened = open_udp(make_address("127.0.0.1"));
    RouteId route{};
    REQUIRE(opened->io->resolve(victim.state().address, route) == Status::ok);
    CHECK(ask(*opened->io, route, LivenessProbe::reads) ==
          Kinds{RouteNotice::Kind::process_alive, RouteNotice::Kind::process_reads});
    CHECK(victim.state().cpu_us - before < 500'000);
}

TEST_CASE("udp: a probe that is neither accepted nor refused says nothing")
{
    SocketAddress address = make_address("127.0.0.1");
    const FileDescriptor full(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(full.get(), address.get(), address.size()) == 0);
    REQUIRE(::listen(full.get(), 3) == 0);
    REQUIRE(bound_address(full, address) == 0);
    std::vector<FileDescriptor> strangers;
    for (int i = 0; i < 10; ++i) { // its queue is full
        strangers.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        static_cast<void>(::connect(strangers.back().get(), address.get(), address.size()));
    }
    ::usleep(100'000);
    const auto opened = open_udp(make_address("127.0.0.1"));
    RouteId route{};
    REQUIRE(opened->io->resolve(address, route) == Status::ok);
    for (int i = 0; i < 3; ++i) {
        CHECK(ask(*opened->io, route, LivenessProbe::exists).empty());
    }
}

TEST_CASE("udp: an answer to a probe wakes a sleeper")
{
    const auto a = open_udp(make_address("127.0.0.1"));
    const auto b = open_udp(make_address("127.0.0.1"));
    REQUIRE(a->code == 0);
    REQUIRE(b->code == 0);
    const RouteId route = route_to(*a->io, *b->io);
    a->io->probe_liveness(route, LivenessProbe::exists, clock_now());
    pollfd polled{a->io->wait_fd(), POLLIN, 0};
    CHECK(::poll(&polled, 1, 5000) == 1);
    CHECK_FALSE(a->io->arm_wait());
    std::array<RouteNotice, 4> notices;
    REQUIRE(a->io->poll_notices(notices, clock_now()) == 1);
    CHECK(notices[0].kind == RouteNotice::Kind::process_alive);
    CHECK(a->io->arm_wait());
    CHECK(::poll(&polled, 1, 0) == 0);
}
