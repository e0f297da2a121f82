// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Shared memory between processes: whom it reaches, and what becomes of it when they stop, die, or have no
// room.
#include <sys/prctl.h>

#include <srd/shm_object.hpp>

#include "io/shm/shm_segment.hpp"
#include "support/catch.hpp"
#include "support/io/shm_ends.hpp"

using namespace srd;
using namespace srd::test;

namespace {

constexpr uid_t somebody_else = 65534;

/// Pings until the peer's answers come through memory too.
bool opens(ShmEnd& end, RouteId route, const EchoPeer& peer)
{
    std::uint32_t number = 1U << 20U;
    return eventually([&] {
        ++number;
        return ping(end, route, number, number + 1) && end.by_memory() != 0 && peer.state().by_memory != 0;
    });
}

/// Packets arrive both ways, and none of them through memory.
void expect_wire_only(ShmEnd& end, EchoPeer& peer)
{
    const RouteId route = peer.meet(*end.io);
    CHECK(ping(end, route, 1, 100, 1000));
    std::this_thread::sleep_for(std::chrono::milliseconds(600)); // while the first questions are asked
    CHECK(ping(end, route, 101, 200, 1000));
    CHECK(end.by_memory() == 0);
    CHECK(peer.state().by_memory == 0);
}

/// As an engine that hears nothing for half a second does.
class Suspicions {
public:
    void raise(ShmEnd& end, RouteId route)
    {
        if (clock_now() - last_ > std::chrono::milliseconds(500)) {
            last_ = clock_now();
            end.io->probe_liveness(route, LivenessProbe::exists, last_);
        }
    }

private:
    Time last_ = clock_now();
};

bool exists(const ShmToken& token)
{
    return open_shm_segment(token) != nullptr;
}

struct Held {
    std::atomic<bool> ready{false};
    ShmToken token{};
    std::atomic<pid_t> child{0};
};

/// A process that has a segment, until it is killed.
int hold_a_segment(Held& held, uid_t user)
{
    if (user != ::geteuid() && ::setuid(user) != 0) {
        return 1;
    }
    ShmSegment segment;
    std::string error;
    if (segment.open(make_address("127.0.0.1", 1), error) != 0) {
        return 2;
    }
    held.token = segment.header().identity.token;
    held.ready = true;
    for (;;) {
        ::pause();
    }
}

/// True if what a killed process left is removed, and what a living or a stopped one has is not.
bool removes_stale_objects()
{
    const Shared<Held> dead;
    const Shared<Held> living;
    Child killed([&] { return hold_a_segment(*dead, ::geteuid()); });
    const Child other([&] { return hold_a_segment(*living, ::geteuid()); });
    if (!eventually([&] { return dead->ready && living->ready; })) {
        return false;
    }
    killed.kill(SIGKILL);
    const bool was_left = exists(dead->token) || !is_root(); // somebody else may have been first
    remove_stale_shm("srd_shm.");
    const bool removed = !exists(dead->token) && exists(living->token);
    other.signal(SIGSTOP);
    remove_stale_shm("srd_shm.");
    return was_left && removed && exists(living->token);
}

} // namespace

// -- Objects ----------------------------------------------------------------------

// The first in this file: this process, and so its children, have not opened an endpoint yet.
TEST_CASE(
    "shm: a process removes what killed ones left when it opens its first endpoint, but not other users'")
{
    if (skip_unless_root()) {
        return;
    }
    CHECK(with_own_shm("size=16m", [] {
              const Shared<Held> own;
              const Shared<Held> theirs;
              Child killed([&] { return hold_a_segment(*own, ::geteuid()); });
              Child killed_too([&] { return hold_a_segment(*theirs, somebody_else); });
              if (!eventually([&] { return own->ready && theirs->ready; })) {
                  return 2;
              }
              killed.kill(SIGKILL);
              killed_too.kill(SIGKILL);
              if (!exists(own->token)) {
                  return 3;
              }
              ShmSegment segment;
              std::string error;
              if (segment.open(make_address("127.0.0.1", 1), error) != 0) {
                  return 4;
              }
              if (exists(own->token)) {
                  return 5;
              }
              errno = 0;
              return !exists(theirs->token) && errno == EACCES ? 0 : 6;
          }) == 0);
}

TEST_CASE("shm: what a killed process left is removed, what a living one has is not")
{
    // With a /dev/shm of our own no other process looks for stale objects meanwhile.
    Child alone([] {
        if (is_root() && !own_shm("size=16m")) {
            return 1;
        }
        return removes_stale_objects() ? 0 : 2;
    });
    CHECK(alone.wait() == 0);
}

TEST_CASE("shm: objects of another user are neither opened nor removed, root's and by root included")
{
    if (skip_unless_root()) {
        return;
    }
    const Shared<Held> theirs;
    const Child other([&] { return hold_a_segment(*theirs, somebody_else); });
    REQUIRE(eventually([&] { return theirs->ready.load(); }));
    errno = 0;
    CHECK(open_shm_segment(theirs->token) == nullptr);
    CHECK(errno == EACCES);

    ShmSegment own;
    std::string error;
    REQUIRE(own.open(make_address("127.0.0.1", 1), error) == 0);
    Child looks([&] {
        if (::setuid(somebody_else) != 0) {
            return 1;
        }
        errno = 0;
        return open_shm_segment(own.header().identity.token) == nullptr && errno == EACCES ? 0 : 2;
    });
    CHECK(looks.wait() == 0);
}

TEST_CASE("shm: a killed process's object is removed although a child of its lives, which has the mapping")
{
    if (skip_unless_root()) {
        return;
    }
    CHECK(with_own_shm("size=16m", [] {
              const Shared<Held> held;
              Child parent([&] {
                  ShmSegment segment;
                  std::string error;
                  if (segment.open(make_address("127.0.0.1", 1), error) != 0) {
                      return 1;
                  }
                  const pid_t child = ::fork();
                  if (child == 0) {
                      for (int fd = 3; fd < 1024; ++fd) { // as an endpoint does, in a child
                          ::close(fd);
                      }
                      held->ready = true;
                      ::sleep(30);
                      ::_exit(0);
                  }
                  held->token = segment.header().identity.token;
                  held->child = child;
                  for (;;) {
                      ::pause();
                  }
              });
              if (!eventually([&] { return held->ready && held->child != 0; })) {
                  return 2;
              }
              parent.kill(SIGKILL);
              const bool was_left = exists(held->token);
              remove_stale_shm("srd_shm.");
              const bool removed = !exists(held->token);
              ::kill(held->child, SIGKILL);
              return was_left && removed ? 0 : 3;
          }) == 0);
}

// -- Whom it reaches ----------------------------------------------------------------

TEST_CASE("shm: between processes of one user")
{
    EchoPeer peer;
    ShmEnd end;
    const RouteId route = peer.meet(*end.io);
    REQUIRE(opens(end, route, peer));
    const std::uint64_t before = end.by_memory();
    CHECK(ping(end, route, 1, 1001));
    CHECK(end.by_memory() == before + 1000);
    CHECK(ping(end, route, 2001, 2101, 60000));
}

TEST_CASE("shm: processes in other process namespaces are on this host")
{
    if (skip_unless_root()) {
        return;
    }
    EchoPeer::Setting setting;
    setting.prepare = [] { // init of a process namespace
        if (::unshare(CLONE_NEWPID) != 0) {
            return false;
        }
        const pid_t child = ::fork();
        if (child > 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            int status = 0;
            ::waitpid(child, &status, 0);
            ::_exit(status);
        }
        return child == 0 && ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getpid() == 1;
    };
    EchoPeer peer(setting);
    ShmEnd end;
    const RouteId route = peer.meet(*end.io);
    REQUIRE(opens(end, route, peer));
    const std::uint64_t before = end.by_memory();
    CHECK(ping(end, route, 1, 101));
    CHECK(end.by_memory() == before + 100);
}

TEST_CASE("shm: not with another user's process, in whatever order they meet")
{
    if (skip_unless_root()) {
        return;
    }
    EchoPeer::Setting setting;
    setting.prepare = [] { return ::setuid(somebody_else) == 0; };
    EchoPeer peer(setting);
    ShmEnd end;
    expect_wire_only(end, peer);
    CHECK(end.warnings.empty());
}

TEST_CASE("shm: not with a process that sees another /dev/shm")
{
    if (skip_unless_root()) {
        return;
    }
    EchoPeer::Setting setting;
    setting.prepare = [] { return own_shm("size=16m"); };
    EchoPeer peer(setting);
    ShmEnd end;
    expect_wire_only(end, peer);
}

TEST_CASE("shm: not with a process that has it switched off, which is asked seldom")
{
    EchoPeer::Setting setting;
    setting.open = [] { return std::make_unique<ShmEnd>(false); };
    EchoPeer peer(setting);
    ShmEnd end;
    expect_wire_only(end, peer);
    CHECK(peer.state().strange >= 1);
    CHECK(peer.state().strange <= 12); // eight in a quarter of a second, then one in a second
}

// -- No room ----------------------------------------------------------------------

TEST_CASE("shm: a full /dev/shm costs a warning, and packets take the other way")
{
    if (skip_unless_root()) {
        return;
    }
    // Full from the start; room for nothing but headers; for objects, but not for one file more; for some
    // endpoints' rings and not for others'.
    struct Room {
        const char* options;
        bool some;
    };
    const Room room = GENERATE(Room{"size=4k,nr_inodes=1", false}, Room{"size=64k", false},
                               Room{"size=64m,nr_inodes=2", false}, Room{"size=1200k", true});
    INFO(room.options);
    struct Outcome {
        std::uint64_t arrived = 0;
        std::uint64_t by_memory = 0;
        std::uint64_t most_warnings = 0;
        std::uint64_t warnings = 0;
        std::array<char, 200> text{};
    };
    const Shared<Outcome> outcome;
    Child child([&] {
        if (!own_shm(room.options)) {
            return 1;
        }
        ShmEnd hub;
        std::vector<std::unique_ptr<ShmEnd>> spokes;
        for (int i = 0; i < 30; ++i) {
            spokes.push_back(std::make_unique<ShmEnd>());
            const RouteId there = route_to(*spokes.back()->io, *hub.io);
            const RouteId back = route_to(*hub.io, *spokes.back()->io);
            for (std::uint32_t number = 1; number <= 50; ++number) {
                const std::size_t length = number % 5 == 0 ? 60000 : 100;
                while (!spokes.back()->send(there, number, length)) {
                }
                while (!hub.send(back, number, length)) {
                }
                const bool both = eventually([&, first = false, second = false]() mutable {
                    first = first || !hub.receive().empty();
                    second = second || !spokes.back()->receive().empty();
                    return first && second;
                });
                outcome->arrived += both ? 1 : 0;
            }
        }
        for (const auto& spoke : spokes) {
            outcome->by_memory += spoke->by_memory();
            outcome->warnings += spoke->warnings.size();
            outcome->most_warnings = std::max<std::uint64_t>(outcome->most_warnings, spoke->warnings.size());
            if (!spoke->warnings.empty()) {
                spoke->warnings.front().copy(outcome->text.data(), outcome->text.size() - 1);
            }
        }
        outcome->by_memory += hub.by_memory();
        return 0;
    });
    CHECK(child.wait() == 0);
    CHECK(outcome->arrived == 30 * 50);
    CHECK((outcome->by_memory != 0) == room.some);
    CHECK(outcome->warnings != 0);
    CHECK(outcome->most_warnings == 1);
    const std::string text = outcome->text.data();
    INFO(text);
    CHECK(text.find("shared memory") != std::string::npos);
    CHECK(text.find("network's sockets") != std::string::npos);
}

// -- Stopped and killed -------------------------------------------------------------

TEST_CASE("shm: a stopped peer loses nothing and delays no other")
{
    EchoPeer stopped;
    EchoPeer other;
    ShmEnd end;
    const RouteId to_stopped = stopped.meet(*end.io);
    const RouteId to_other = other.meet(*end.io);
    REQUIRE(opens(end, to_stopped, stopped));
    REQUIRE(opens(end, to_other, other));

    stopped.process().signal(SIGSTOP);
    Suspicions suspicions;
    std::set<std::uint32_t> missing;
    Duration longest{};
    std::uint32_t next = 1;
    std::uint32_t rounds = 0;
    const Time stopped_at = clock_now();
    for (; clock_now() - stopped_at < std::chrono::seconds(3); ++rounds) {
        const Time began = clock_now();
        // Not more than its ring and its socket hold.
        if (next <= 150 && began - stopped_at > next * std::chrono::milliseconds(10)) {
            while (!end.send(to_stopped, next)) {
                REQUIRE(clock_now() - began < std::chrono::seconds(1));
            }
            missing.insert(next++);
        }
        REQUIRE(ping(end, to_other, 1000 + rounds, 1001 + rounds));
        longest = std::max(longest, clock_now() - began);
        suspicions.raise(end, to_stopped);
    }
    CHECK(next > 17); // more than its ring holds
    WARN("beside a stopped peer, " << rounds << " round trips, the longest "
                                   << std::chrono::duration_cast<std::chrono::microseconds>(longest).count()
                                   << " us");
    CHECK(rounds > 100);
    CHECK(longest < std::chrono::milliseconds(1500)); // of a loaded machine; a wait for the peer would be 3 s
    CHECK(other.state().by_memory > 0);

    stopped.process().signal(SIGCONT);
    REQUIRE(eventually([&] {
        for (const std::uint32_t number : end.receive()) {
            missing.erase(number);
        }
        return missing.empty();
    }));
    // And through memory again.
    const std::uint64_t before = end.by_memory();
    REQUIRE(eventually([&] {
        suspicions.raise(end, to_stopped);
        return ping(end, to_stopped, 10000, 10001) && end.by_memory() != before;
    }));
}

TEST_CASE("shm: a peer killed in the middle of traffic harms nobody, and its address may be used again")
{
    EchoPeer other;
    ShmEnd end;
    const RouteId to_other = other.meet(*end.io);
    REQUIRE(opens(end, to_other, other));
    std::uint16_t port = 0;
    for (int round = 0; round < 5; ++round) {
        EchoPeer::Setting setting;
        setting.open = [port] { return std::make_unique<ShmEnd>(true, port); };
        EchoPeer victim(setting);
        port = victim.address().port();
        const RouteId to_victim = victim.meet(*end.io);
        const std::uint64_t before = end.by_memory();
        Suspicions suspicions;
        REQUIRE(eventually([&] {
            suspicions.raise(end, to_victim);
            end.send(to_victim, 4);
            end.receive();
            return victim.state().by_memory != 0 && end.by_memory() > before;
        }));
        // As many packets on their way in both directions as there is room for.
        const Time until = clock_now() + std::chrono::milliseconds(20);
        for (std::uint32_t number = 1; clock_now() < until; ++number) {
            end.send(to_victim, number, number % 7 * 1000 + 4);
            if (number % 4 == 0) {
                end.receive();
            }
        }
        victim.process().kill(SIGKILL);
        for (std::uint32_t number = 1; number < 200; ++number) {
            end.send(to_victim, number, number % 7 * 1000 + 4);
            REQUIRE(ping(end, to_other, 100000 + number, 100001 + number, 4000));
        }
    }
    remove_stale_shm("srd_shm.");
    const std::set<std::string> mine = mapped_objects();
    CHECK(mine.size() == 2); // its own and that of the other one
}

TEST_CASE("shm: a peer that does not answer for long when it is first met is reached through memory later")
{
    EchoPeer peer;
    ShmEnd end;
    const RouteId route = peer.meet(*end.io);
    peer.process().signal(SIGSTOP);
    Suspicions suspicions;
    const Time until = clock_now() + std::chrono::milliseconds(1700);
    for (std::uint32_t i = 0; clock_now() < until; ++i) {
        end.send(route, 1);
        end.receive();
        suspicions.raise(end, route);
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    peer.process().signal(SIGCONT);
    const bool open = opens(end, route, peer);
    INFO(end.by_memory() << " there, " << peer.state().by_memory << " back");
    INFO("received " << peer.state().received << " strange " << peer.state().strange);
    CHECK(open);
}
