// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What tests of shared memory need: endpoints that have it, the objects that they make, and processes with
// a /dev/shm, a user or a network of their own.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/core/forwarding_io.hpp"
#include "io/shm/shm_io.hpp"
#include "support/child.hpp"
#include "support/io/io_harness.hpp"

namespace srd::test {

/// An endpoint with shared memory beside UDP (or without it).
struct ShmEnd {
    Counters counters;
    std::vector<std::string> warnings;
    std::vector<std::string> told;
    std::unique_ptr<PacketIo> io;

    explicit ShmEnd(bool with_shm = true, std::uint16_t port = 0, const char* address = "127.0.0.1")
    {
        UdpConfig config;
        config.local_address = make_address(address, port);
        config.max_routes = 4096;
        config.socket_buffer = 1U << 20;
        std::unique_ptr<PacketIo> udp;
        std::string error;
        if (make_udp_io(config, counters, udp, error) != 0) {
            throw std::runtime_error("no UDP endpoint: " + error);
        }
        wrap(std::move(udp), with_shm);
    }
    explicit ShmEnd(std::unique_ptr<PacketIo> wire) { wrap(std::move(wire), true); }
    ShmEnd(const ShmEnd&) = delete;
    ShmEnd& operator=(const ShmEnd&) = delete;

    std::uint64_t by_memory() const { return counters.io_shm_packets.value(); }

    /// Sends packet `number` of at least four bytes. False: not accepted now.
    bool send(RouteId to, std::uint32_t number, std::size_t length = 64)
    {
        TestPacket packet(number, length);
        const TxPacket burst = packet.to(to, PathId{0});
        return io->tx_burst({&burst, 1}) == 1;
    }

    /// The numbers of the test packets in one burst. What else comes is counted in `strange`.
    std::vector<std::uint32_t> receive()
    {
        std::vector<std::uint32_t> numbers;
        std::array<RxPacket, 64> packets;
        const std::size_t count = io->rx_burst(packets, clock_now());
        for (const RxPacket& packet : std::span(packets).first(count)) {
            const std::int64_t number = TestPacket::number_of(packet);
            if (number >= 0) {
                numbers.push_back(static_cast<std::uint32_t>(number));
            } else {
                ++strange;
            }
        }
        if (count != 0) {
            io->rx_release();
        }
        return numbers;
    }

    std::uint64_t strange = 0;

private:
    void wrap(std::unique_ptr<PacketIo> wire, bool with_shm)
    {
        io = std::move(wire);
        if (with_shm) {
            const IoLog log{[this](const char* text) { warnings.emplace_back(text); },
                            [this](const char* text) { told.emplace_back(text); }};
            io = make_shm_io(log, std::move(io), counters);
        }
    }
};

inline void poll_all(const std::vector<ShmEnd*>& ends)
{
    for (ShmEnd* const end : ends) {
        end->receive();
    }
}

/// Sends from `from` until a packet has gone through memory; false after ten seconds.
inline bool open_memory(ShmEnd& from, RouteId route, const std::vector<ShmEnd*>& ends)
{
    const std::uint64_t before = from.by_memory();
    return eventually([&] {
        from.send(route, 0);
        poll_all(ends);
        return from.by_memory() != before;
    });
}

/// The objects of shared memory that this process maps; false: those without a name any more.
inline std::set<std::string> mapped_objects(bool named = true)
{
    std::ifstream maps("/proc/self/maps");
    std::set<std::string> found;
    for (std::string line; std::getline(maps, line);) {
        const std::size_t at = line.find("/dev/shm/srd_shm.");
        if (at != std::string::npos && (line.find(" (deleted)") == std::string::npos) == named) {
            found.insert(line.substr(at));
        }
    }
    return found;
}

/// Bytes that the file system gives to these objects.
inline std::uint64_t bytes_in_memory(const std::set<std::string>& objects)
{
    std::uint64_t bytes = 0;
    for (const std::string& path : objects) {
        struct stat status {};
        bytes += ::stat(path.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * 512 : 0;
    }
    return bytes;
}

inline bool is_root()
{
    return ::geteuid() == 0;
}

/// True, and says so, if the test cannot be run.
inline bool skip_unless_root()
{
    if (!is_root()) {
        WARN("SKIPPED: needs root");
    }
    return !is_root();
}

/// From now on this process has a /dev/shm of its own, of that size ("size=64k,nr_inodes=10"). Needs root.
inline bool own_shm(const char* options)
{
    return ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           ::mount("tmpfs", "/dev/shm", "tmpfs", 0, options) == 0;
}

/// Runs `life` in a child with a /dev/shm of its own (own_shm); its result, or 98 without one.
template <typename Life>
int with_own_shm(const char* options, Life&& life)
{
    Child child([&] { return own_shm(options) ? life() : 98; });
    return child.wait();
}

/// An endpoint in a process of its own that sends every test packet back.
class EchoPeer {
public:
    struct Setting {
        std::function<bool()> prepare; ///< in the child, before anything else
        std::function<std::unique_ptr<ShmEnd>()>
            open; ///< in the child; none: with shared memory, on loopback
    };
    struct State {
        std::atomic<bool> own_known{false};
        SocketAddress own;
        std::atomic<bool> peer_known{false};
        SocketAddress peer;
        std::atomic<std::uint64_t> received{0};
        std::atomic<std::uint64_t> by_memory{0};
        std::atomic<std::uint64_t> strange{0};
        std::atomic<std::uint32_t> warnings{0};
        std::atomic<bool> failed{false};
    };

    explicit EchoPeer(Setting setting = {}) : child_([this, &setting] { return live(setting); })
    {
        if (!eventually([&] { return state_->own_known || state_->failed; }) || state_->failed) {
            throw std::runtime_error("the peer's process does not start");
        }
    }

    const SocketAddress& address() const { return state_->own; }
    const State& state() const { return *state_; }
    Child& process() { return child_; }

    /// The peer may answer from now on; the way to it.
    RouteId meet(PacketIo& io)
    {
        state_->peer = io.local_address();
        state_->peer_known = true;
        RouteId route{};
        if (io.resolve(address(), route) != Status::ok) {
            throw std::runtime_error("the peer's address does not resolve");
        }
        return route;
    }

private:
    int live(const Setting& setting)
    {
        if (setting.prepare && !setting.prepare()) {
            state_->failed = true;
            return 98;
        }
        const std::unique_ptr<ShmEnd> end = setting.open ? setting.open() : std::make_unique<ShmEnd>();
        state_->own = end->io->local_address();
        state_->own_known = true;
        const pid_t parent = ::getppid();
        while (!state_->peer_known) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        RouteId route{};
        if (end->io->resolve(state_->peer, route) != Status::ok) {
            return 97;
        }
        while (::getppid() == parent) {
            const std::vector<std::uint32_t> numbers = end->receive();
            for (const std::uint32_t number : numbers) {
                while (!end->send(route, number)) {
                }
            }
            state_->received += numbers.size();
            state_->by_memory = end->by_memory();
            state_->strange = end->strange;
            state_->warnings = static_cast<std::uint32_t>(end->warnings.size());
            if (numbers.empty()) {
                ::sched_yield();
            }
        }
        return 0;
    }

    Shared<State> state_;
    Child child_;
};

/// Packets `first` to `last` - 1 to the peer and back, one at a time; false if one is lost.
inline bool ping(ShmEnd& end, RouteId route, std::uint32_t first, std::uint32_t last, std::size_t length = 64)
{
    for (std::uint32_t number = first; number < last; ++number) {
        bool sent = false;
        const bool back = eventually([&] {
            sent = sent || end.send(route, number, length);
            const std::vector<std::uint32_t> numbers = end.receive();
            return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
        });
        if (!back) {
            return false;
        }
    }
    return true;
}

/// UDP that lets something happen in the middle of a burst.
class Interrupted final : public ForwardingIo {
public:
    Interrupted(std::unique_ptr<PacketIo> inner, std::function<void()>& event)
        : ForwardingIo(std::move(inner)), event_(event)
    {
    }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        if (event_) {
            std::exchange(event_, {})();
        }
        return inner().tx_burst(packets);
    }

private:
    std::function<void()>& event_;
};

} // namespace srd::test
