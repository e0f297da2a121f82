// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the raw backends make of their rings, on a veth pair between two namespaces: packets per
// second one way, of the bare ring (one prepared frame again and again; what arrives is copied out, as
// any program has to), of the same ring when nobody looks at what arrives, and of the whole backend; and
// the ping-pong of the whole backend beside that of UDP. Each figure is the median of several rounds
// that take turns. Needs root.
//
//     raw_ring [--ms MILLISECONDS] [--rounds N]
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <net/if.h>
#include <pthread.h>
#include <sched.h>

#include <srd/counters.hpp>

#include "io/host/netlink_routes.hpp"
#include "io/packet/packet_ring_io.hpp"
#include "io/raw/raw_frame.hpp"
#include "io/udp/udp_io.hpp"
#ifdef SRD_HAVE_XDP
#include "io/xdp/xdp_io.hpp"
#endif
#include "support/io/io_harness.hpp"
#include "support/io/net_world.hpp"

namespace srd::bench {
namespace {

using test::clock_now;
using test::InsideNamespace;
using test::NetWorld;

constexpr std::size_t burst = 64;

[[noreturn]] void fail(const std::string& what)
{
    std::fprintf(stderr, "raw_ring: %s\n", what.c_str());
    std::exit(1);
}

enum class Kind { udp, packet, xdp_native, xdp_generic };

struct Named {
    Kind kind;
    const char* name;
};

const std::vector<Named> kinds{
    {Kind::udp, "udp"},
    {Kind::packet, "packet"},
#ifdef SRD_HAVE_XDP
    {Kind::xdp_native, "xdp native"},
    {Kind::xdp_generic, "xdp generic"},
#endif
};

RawConfig config_of(unsigned host)
{
    RawConfig config;
    config.interface = "veth0";
    config.local_address = test::make_address(NetWorld::address(host, false));
    config.max_routes = 16;
    return config;
}

#ifdef SRD_HAVE_XDP
XdpConfig xdp_config_of(Kind kind, unsigned host)
{
    XdpConfig config;
    static_cast<RawConfig&>(config) = config_of(host);
    config.mode = kind == Kind::xdp_native ? XdpMode::native : XdpMode::generic;
    config.queue_count = 1;
    return config;
}
#endif

/// The calling thread must be in the host's namespace, as for everything below.
std::unique_ptr<PacketIo> open_io(Kind kind, unsigned host, Counters& counters)
{
    std::unique_ptr<PacketIo> io;
    std::string error;
    int code = 0;
    if (kind == Kind::udp) {
        UdpConfig config;
        config.local_address = config_of(host).local_address;
        config.max_routes = 16;
        code = make_udp_io(config, counters, io, error);
    } else if (kind == Kind::packet) {
        code = make_packet_io(config_of(host), counters, io, error);
#ifdef SRD_HAVE_XDP
    } else {
        code = make_xdp_io(xdp_config_of(kind, host), counters, io, error);
#endif
    }
    if (code != 0) {
        fail(error);
    }
    return io;
}

std::unique_ptr<FrameRing> open_ring(Kind kind, unsigned host, const SocketAddress& local, unsigned index)
{
    RingPlan plan{"veth0", index, local, 1514, RawConfig{}.socket_buffer};
    std::unique_ptr<FrameRing> ring;
    std::string error;
    int code = 0;
    if (kind == Kind::packet) {
        code = make_packet_ring(plan, ring, error);
#ifdef SRD_HAVE_XDP
    } else {
        std::string description;
        code = make_xdp_ring(xdp_config_of(kind, host), plan, ring, description, error);
#endif
    }
    static_cast<void>(host);
    if (code != 0) {
        fail(error);
    }
    return ring;
}

void pin(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu % std::max(1U, std::thread::hardware_concurrency()), &set);
    ::pthread_setaffinity_np(::pthread_self(), sizeof(set), &set);
}

/// Runs both sides, each in a thread in its host's namespace, on a CPU of its own.
void run_pair(const NetWorld& world, const std::function<void()>& left, const std::function<void()>& right)
{
    const auto side = [&](unsigned host, const std::function<void()>& work) {
        const InsideNamespace inside(world.fd(host));
        pin(host);
        work();
    };
    std::thread other([&] { side(1, right); });
    std::thread self([&] { side(0, left); });
    self.join();
    other.join();
}

/// The two threads wait for each other.
class Meeting {
public:
    void wait(int step)
    {
        ++arrived_;
        while (arrived_.load() < 2 * step) {
            std::this_thread::yield();
        }
    }

private:
    std::atomic<int> arrived_{0};
};

struct Sample {
    std::uint64_t packets = 0;
    double seconds = 0;
    double rate() const { return static_cast<double>(packets) / seconds; }
};

/// Counts with `receive` until `sending` ends and nothing more comes.
Sample count_arrivals(const std::atomic<bool>& sending, const std::function<std::size_t(Time)>& receive)
{
    Sample sample;
    Time first{};
    Time last = clock_now();
    for (;;) {
        const Time now = clock_now();
        const std::size_t count = receive(now);
        if (count != 0) {
            first = sample.packets == 0 ? now : first;
            last = now;
            sample.packets += count;
        } else if (!sending.load(std::memory_order_relaxed) && now - last > std::chrono::milliseconds(20)) {
            break;
        }
    }
    sample.seconds = std::chrono::duration<double>(last - first).count();
    return sample;
}

double io_rate(const NetWorld& world, Kind kind, std::size_t size, Duration length)
{
    Meeting meeting;
    std::atomic<bool> sending{true};
    SocketAddress address;
    Sample sample;
    run_pair(
        world,
        [&] {
            Counters counters;
            const auto io = open_io(kind, 0, counters);
            meeting.wait(1);
            RouteId route{};
            if (io->resolve(address, route) != Status::ok) {
                fail("no route");
            }
            std::vector<std::byte> payload(size);
            std::array<TxPacket, burst> packets;
            for (TxPacket& packet : packets) {
                packet.route = route;
                packet.length = static_cast<std::uint32_t>(size);
                packet.iov_count = 1;
                packet.iov[0] = {payload.data(), size};
            }
            std::array<RouteNotice, 4> notices;
            for (const Time end = clock_now() + length; clock_now() < end;) {
                io->tx_burst(packets);
                io->poll_notices(notices, clock_now());
            }
            sending = false;
            meeting.wait(2);
        },
        [&] {
            Counters counters;
            const auto io = open_io(kind, 1, counters);
            address = io->local_address();
            meeting.wait(1);
            std::array<RxPacket, burst> packets;
            sample = count_arrivals(sending, [&](Time now) {
                const std::size_t count = io->rx_burst(packets, now);
                if (count != 0) {
                    io->rx_release();
                }
                return count;
            });
            meeting.wait(2);
        });
    return sample.rate();
}

double ring_rate(const NetWorld& world, Kind kind, std::size_t size, Duration length, bool copies_out)
{
    constexpr std::uint16_t port = 7399;
    Meeting meeting;
    std::atomic<bool> sending{true};
    std::array<SocketAddress, 2> addresses;
    std::array<MacAddress, 2> macs{};
    std::array<Counters, 2> counters;
    std::array<std::unique_ptr<PacketIo>, 2> reserved;
    Sample sample;
    const auto open_side = [&](unsigned host) {
        addresses[host] = test::make_address(NetWorld::address(host, false), port);
        const unsigned index = ::if_nametoindex("veth0");
        NetlinkRoutes links(index, addresses[host]);
        if (links.open() != 0) {
            fail("no link");
        }
        macs[host] = links.link_mac();
        // Somebody must have the port, or the kernel answers every packet with an error.
        UdpConfig config;
        config.local_address = addresses[host];
        config.ring_interface = index;
        config.ring_packet = 1472;
        std::string error;
        if (make_udp_io(config, counters[host], reserved[host], error) != 0) {
            fail(error);
        }
        return open_ring(kind, host, addresses[host], index);
    };
    run_pair(
        world,
        [&] {
            const auto ring = open_side(0);
            meeting.wait(1);
            const FrameTemplate frame(macs[0], addresses[0], addresses[1]);
            std::vector<std::byte> payload(size);
            TxPacket packet;
            packet.length = static_cast<std::uint32_t>(size);
            packet.iov_count = 1;
            packet.iov[0] = {payload.data(), size};
            std::vector<std::byte> bytes(size + raw_overhead(AF_INET));
            const std::uint32_t total = frame.write(bytes.data(), macs[1], packet);
            for (const Time end = clock_now() + length; clock_now() < end;) {
                for (std::size_t i = 0; i < burst; ++i) {
                    std::byte* const room = ring->tx_room();
                    if (room == nullptr) {
                        break;
                    }
                    std::memcpy(room, bytes.data(), total);
                    ring->tx_push(total);
                }
                ring->tx_flush();
            }
            sending = false;
            meeting.wait(2);
        },
        [&] {
            const auto ring = open_side(1);
            meeting.wait(1);
            std::array<RxFrame, burst> frames;
            std::array<std::byte, 2048> buffer;
            sample = count_arrivals(sending, [&](Time now) {
                const std::size_t count = ring->rx_burst(frames, now);
                for (std::size_t i = 0; copies_out && i < count; ++i) {
                    std::memcpy(buffer.data(), frames[i].bytes.data(),
                                std::min(frames[i].bytes.size(), buffer.size()));
                    asm volatile("" : : "m"(buffer)); // as if somebody read it
                }
                if (count != 0) {
                    ring->rx_release();
                }
                return count;
            });
            meeting.wait(2);
        });
    return sample.rate();
}

/// Half a round trip of 64 bytes, microseconds, median. A lost packet is sent again and not counted.
double io_latency(const NetWorld& world, Kind kind, Duration length)
{
    Meeting meeting;
    std::atomic<bool> done{false};
    std::array<SocketAddress, 2> addresses;
    std::vector<double> samples;
    const auto receive = [](PacketIo& io, const std::function<bool()>& give_up) {
        std::array<RxPacket, burst> packets;
        for (;;) {
            const std::size_t count = io.rx_burst(packets, clock_now());
            if (count != 0) {
                io.rx_release();
                return true;
            }
            if (give_up()) {
                return false;
            }
        }
    };
    const auto side = [&](unsigned host) {
        Counters counters;
        const auto io = open_io(kind, host, counters);
        addresses[host] = io->local_address();
        meeting.wait(1);
        RouteId route{};
        if (io->resolve(addresses[1 - host], route) != Status::ok) {
            fail("no route");
        }
        std::array<std::byte, 64> payload{};
        TxPacket packet;
        packet.route = route;
        packet.length = payload.size();
        packet.iov_count = 1;
        packet.iov[0] = {payload.data(), payload.size()};
        std::array<RouteNotice, 4> notices;
        const Time end = clock_now() + length;
        while (!done) {
            if (host == 0) {
                const Time before = clock_now();
                io->tx_burst({&packet, 1});
                if (receive(*io, [&] { return clock_now() - before > std::chrono::milliseconds(50); })) {
                    samples.push_back(
                        std::chrono::duration<double, std::micro>(clock_now() - before).count() / 2);
                }
                done = clock_now() > end;
            } else if (receive(*io, [&] { return done.load(); })) {
                io->tx_burst({&packet, 1});
            }
            io->poll_notices(notices, clock_now());
        }
        meeting.wait(2);
    };
    run_pair(
        world, [&] { side(0); }, [&] { side(1); });
    std::ranges::sort(samples);
    return samples.empty() ? 0 : samples[samples.size() / 2];
}

double median(std::vector<double> values)
{
    std::ranges::sort(values);
    return values[values.size() / 2];
}

void run(Duration length, int rounds)
{
    const auto world = NetWorld::make(1500);
    if (world == nullptr) {
        std::exit(77);
    }
    for (const std::size_t size : {std::size_t{64}, std::size_t{1400}}) {
        for (const Named& named : kinds) {
            std::vector<double> ring, blind, io;
            for (int round = 0; round < rounds; ++round) {
                if (named.kind != Kind::udp) {
                    ring.push_back(ring_rate(*world, named.kind, size, length, true));
                    blind.push_back(ring_rate(*world, named.kind, size, length, false));
                }
                io.push_back(io_rate(*world, named.kind, size, length));
            }
            std::printf("%-12s %5zu bytes: backend %6.3f M packets/s", named.name, size, median(io) / 1e6);
            if (!ring.empty()) {
                std::printf(", bare ring %6.3f, ratio %.2f (unread %6.3f, %.2f)", median(ring) / 1e6,
                            median(io) / median(ring), median(blind) / 1e6, median(io) / median(blind));
            }
            std::printf("\n");
        }
    }
    std::vector<std::vector<double>> latency(kinds.size());
    for (int round = 0; round < rounds; ++round) {
        for (std::size_t i = 0; i < kinds.size(); ++i) {
            latency[i].push_back(io_latency(*world, kinds[i].kind, length));
        }
    }
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        std::printf("%-12s    64 bytes: %6.2f us one way, %.2f of udp\n", kinds[i].name, median(latency[i]),
                    median(latency[i]) / median(latency[0]));
    }
}

} // namespace
} // namespace srd::bench

int main(int argc, char** argv)
{
    std::chrono::milliseconds length(300);
    int rounds = 5;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string option = argv[i];
        const int value = std::atoi(argv[i + 1]);
        if (option == "--ms" && value > 0) {
            length = std::chrono::milliseconds(value);
        } else if (option == "--rounds" && value > 0) {
            rounds = value;
        } else {
            std::fprintf(stderr, "usage: raw_ring [--ms MILLISECONDS] [--rounds N]\n");
            return 2;
        }
    }
    srd::bench::run(length, rounds);
}
