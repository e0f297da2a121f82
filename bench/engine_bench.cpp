// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the engine itself costs: two engines in one thread, joined by memory.
// No system call, no clock read; time is virtual (a microsecond per pass, and
// straight to the next timer when nothing is left to do), so a run does the
// same work every time. Reports nanoseconds and, where the kernel permits,
// user instructions per data packet for sender and receiver together;
// acknowledgement packets are part of the cost, not of the count.
//
// "headers": payload in application memory is neither copied to the "wire" nor
// placed by the receiver, which leaves the engine's own work. "payload": every
// byte is copied twice, once as a kernel would and once into the receive buffer.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string_view>
#include <vector>

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine.hpp"
#include "progress.hpp"
#include <srd/check.hpp>

#include "null_io.hpp"

namespace srd::bench {
namespace {

/// The user-space instructions of this thread; value() is 0 where counting is not possible.
class InstructionCounter {
public:
    InstructionCounter()
    {
        perf_event_attr attributes{};
        attributes.type = PERF_TYPE_HARDWARE;
        attributes.size = sizeof(attributes);
        attributes.config = PERF_COUNT_HW_INSTRUCTIONS;
        attributes.exclude_kernel = 1;
        attributes.exclude_hv = 1;
        fd_ = static_cast<int>(::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0));
    }
    ~InstructionCounter()
    {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    InstructionCounter(const InstructionCounter&) = delete;
    InstructionCounter& operator=(const InstructionCounter&) = delete;

    std::uint64_t value() const
    {
        std::uint64_t count = 0;
        return fd_ >= 0 && ::read(fd_, &count, sizeof(count)) == sizeof(count) ? count : 0;
    }

private:
    int fd_;
};

/// Nanoseconds this thread has run: what else runs on the machine does not count.
double thread_ns()
{
    timespec spent{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return static_cast<double>(spent.tv_sec) * 1e9 + static_cast<double>(spent.tv_nsec);
}

Tuning make_tuning(std::uint32_t mtu)
{
    Tuning tuning;
    // The ring is the network: what is in flight fits into it.
    tuning.window_max =
        std::min<std::uint32_t>(tuning.window_max, static_cast<std::uint32_t>(ring_size / 2) * mtu);
    return tuning;
}

Limits make_limits(std::uint32_t mtu)
{
    Limits limits;
    limits.max_peers = 16;
    limits.max_routes = 16;
    limits.max_packet = mtu;
    return limits;
}

struct Host {
    Host(std::uint32_t mtu, std::uint8_t name)
        : io(mtu, std::byte{name}),
          engine(io.caps(), make_limits(mtu), make_tuning(mtu), counters, io.local_address().bytes(), name)
    {
    }

    Counters counters;
    NullIo io;
    Engine engine;
    std::uint64_t messages = 0;  ///< received and complete
    std::uint64_t sent = 0;      ///< sends complete
    std::span<std::byte> target; ///< where messages are placed; empty: nowhere

    void handle(const Event& event)
    {
        SRD_CHECK(event.cause == Cause::none);
        if (event.kind == Event::Kind::message) {
            const iovec piece{target.data(), std::min<std::size_t>(target.size(), event.length)};
            Accepted outcome{};
            const std::size_t pieces = target.empty() ? 0 : 1;
            SRD_CHECK(engine.accept(event.message, std::span(&piece, pieces), 0, outcome) == Status::ok);
            messages += outcome == Accepted::complete;
        } else if (event.kind == Event::Kind::receive_done) {
            ++messages;
        } else if (event.kind == Event::Kind::send_done) {
            ++sent;
        }
    }
};

struct Scenario {
    const char* name;
    std::size_t size;          ///< bytes per message
    std::uint32_t mtu;         ///< bytes per packet
    std::uint64_t messages;    ///< measured
    std::uint64_t outstanding; ///< sends posted at one time; 0: ping-pong
    bool payload;              ///< copy payload; else headers only
    bool figure;               ///< its cost per packet is a figure of its own
};

struct Result {
    Scenario scenario;
    double packets = 0; ///< data packets
    double acks = 0;    ///< packets of nothing but an acknowledgement
    double ns_per_packet = 0;
    double ns_per_message = 0;
    double instructions_per_packet = 0; ///< 0: unknown
    double retransmits = 0;
};

class Pair {
public:
    explicit Pair(const Scenario& scenario)
        : scenario_(scenario), a_(scenario.mtu, 1), b_(scenario.mtu, 2), source_(scenario.size),
          sink_(scenario.size)
    {
        a_.io.join(b_.io);
        b_.io.join(a_.io);
        if (scenario.payload) {
            a_.target = b_.target = sink_;
        } else {
            a_.io.leave_untouched(source_);
            b_.io.leave_untouched(source_);
        }
        peer_of_a_ = a_.engine.open_peer(route_info(a_.io, RouteId{0}), now_);
        peer_of_b_ = b_.engine.open_peer(route_info(b_.io, RouteId{0}), now_);
    }

    void run(std::uint64_t messages) { scenario_.outstanding == 0 ? ping_pong(messages) : stream(messages); }

    /// Since the two were made: packets that carried data, acknowledgements alone, retransmissions.
    std::array<double, 3> packets() const
    {
        std::array<double, 3> sum{};
        for (const Counters* counters : {&a_.counters, &b_.counters}) {
            const auto acks = static_cast<double>(counters->tx_acks.value());
            sum[0] += static_cast<double>(counters->tx_packets.value()) - acks;
            sum[1] += acks;
            sum[2] +=
                static_cast<double>(counters->retransmits_rack.value() + counters->retransmits_probe.value() +
                                    counters->retransmits_timeout.value());
        }
        return sum;
    }

private:
    bool submit(Host& host, PeerId peer)
    {
        const iovec piece{source_.data(), source_.size()};
        Operation operation;
        operation.peer = peer;
        operation.flags.tagged = true;
        operation.iov = std::span(&piece, 1);
        if (scenario_.outstanding == 0) {
            // A ping-pong of small messages injects, as MPI does: its reply is the acknowledgement.
            operation.copy_payload = true;
            operation.level = CompletionLevel::none;
        }
        const Status status = host.engine.submit(operation, now_);
        SRD_CHECK(status == Status::ok || status == Status::again);
        if (status == Status::ok && host.engine.transmit_due()) {
            flush_transmit(host.engine, host.io, now_);
        }
        return status == Status::ok;
    }

    bool pass(Host& host)
    {
        return progress_once(host.engine, host.io, now_,
                             [&](Engine&, const Event& event) { host.handle(event); });
    }

    void pass_both()
    {
        now_ += std::chrono::microseconds(1);
        const bool worked = pass(a_);
        if (!pass(b_) && !worked) {
            const Time next = std::min(a_.engine.next_timeout(), b_.engine.next_timeout());
            SRD_CHECK(next != time_never);
            now_ = std::max(now_, next);
        }
    }

    void stream(std::uint64_t messages)
    {
        const std::uint64_t all_sent = a_.sent + messages;
        const std::uint64_t all_received = b_.messages + messages;
        for (std::uint64_t submitted = a_.sent; a_.sent < all_sent || b_.messages < all_received;
             pass_both()) {
            while (submitted < all_sent && submitted - a_.sent < scenario_.outstanding &&
                   submit(a_, peer_of_a_)) {
                ++submitted;
            }
        }
    }

    void ping_pong(std::uint64_t messages)
    {
        for (std::uint64_t round = 0; round < messages / 2; ++round) {
            turn(a_, peer_of_a_, b_);
            turn(b_, peer_of_b_, a_);
        }
    }

    void turn(Host& from, PeerId peer, Host& to)
    {
        const std::uint64_t before = to.messages;
        while (!submit(from, peer)) {
            pass_both();
        }
        now_ += std::chrono::microseconds(1);
        pass(to);
        while (to.messages == before) {
            pass_both();
        }
    }

    Scenario scenario_;
    Time now_{std::chrono::seconds(1)};
    Host a_;
    Host b_;
    PeerId peer_of_a_{};
    PeerId peer_of_b_{};
    std::vector<std::byte> source_;
    std::vector<std::byte> sink_;
};

Result measure(const Scenario& scenario, const InstructionCounter& instructions)
{
    constexpr int repetitions = 5;
    Pair pair(scenario);
    pair.run(std::max<std::uint64_t>(scenario.messages / 10,
                                     16)); // handshake, window growth, first touch of memory
    std::vector<double> times;
    std::uint64_t counted = 0;
    const auto before = pair.packets();
    for (int repetition = 0; repetition < repetitions; ++repetition) {
        const std::uint64_t first = instructions.value();
        const double start = thread_ns();
        pair.run(scenario.messages);
        const double end = thread_ns();
        counted += instructions.value() - first;
        times.push_back(end - start);
    }
    const auto after = pair.packets();
    std::sort(times.begin(), times.end());
    Result result;
    result.scenario = scenario;
    result.packets = (after[0] - before[0]) / repetitions;
    result.acks = (after[1] - before[1]) / repetitions;
    result.retransmits = (after[2] - before[2]) / repetitions;
    result.ns_per_packet = times[repetitions / 2] / result.packets;
    result.ns_per_message = times[repetitions / 2] / static_cast<double>(scenario.messages);
    result.instructions_per_packet = static_cast<double>(counted) / (result.packets * repetitions);
    return result;
}

constexpr Scenario scenarios[] = {
    {"64 B ping-pong, one per packet", 64, 1472, 200'000, 0, false, true},
    {"64 B stream, sharing packets", 64, 1472, 1'000'000, 512, false, false},
    {"64 B stream, sharing packets", 64, 65507, 1'000'000, 512, false, false},
    {"1400 B stream, one per packet", 1400, 1472, 200'000, 512, false, true},
    {"1 MiB bulk", 1 << 20, 1472, 300, 16, false, true},
    {"1 MiB bulk", 1 << 20, 8972, 1000, 16, false, true},
    {"1 MiB bulk", 1 << 20, 65507, 4000, 16, false, true},
    {"1 MiB bulk", 1 << 20, 1472, 300, 16, true, false},
    {"1 MiB bulk", 1 << 20, 8972, 300, 16, true, false},
    {"1 MiB bulk", 1 << 20, 65507, 300, 16, true, false},
};

void print_header()
{
    std::printf("%-32s %8s %9s %12s %9s %9s %12s %9s\n", "sender and receiver, null I/O", "mtu", "payload",
                "ns/packet", "ns/msg", "instr", "packets/msg", "acks/pkt");
}

void print_row(const Result& result)
{
    const double messages = static_cast<double>(result.scenario.messages);
    std::printf("%-32s %8u %9s %12.1f %9.1f ", result.scenario.name, result.scenario.mtu,
                result.scenario.payload ? "copied" : "-", result.ns_per_packet, result.ns_per_message);
    if (result.instructions_per_packet > 0) {
        std::printf("%9.0f", result.instructions_per_packet);
    } else {
        std::printf("%9s", "n/a");
    }
    std::printf(" %12.3f %9.3f\n", result.packets / messages, result.acks / result.packets);
    if (result.retransmits > 0) {
        std::printf("    %.0f retransmissions, though nothing was lost\n", result.retransmits);
    }
    std::fflush(stdout);
}

bool write_json(const char* path, const std::vector<Result>& results, std::size_t idle_peer)
{
    std::FILE* file = std::fopen(path, "w");
    if (file == nullptr) {
        return false;
    }
    std::fprintf(file, "{\"scenarios\": [");
    const char* separator = "";
    for (const Result& result : results) {
        std::fprintf(
            file,
            "%s\n  {\"name\": \"%s\", \"size\": %zu, \"mtu\": %u, \"payload\": %s, \"ns_per_packet\": %.2f, "
            "\"ns_per_message\": %.2f, \"instructions_per_packet\": %.1f, \"packets\": %.0f, "
            "\"acks\": %.0f, \"retransmits\": %.0f}",
            separator, result.scenario.name, result.scenario.size, result.scenario.mtu,
            result.scenario.payload ? "true" : "false", result.ns_per_packet, result.ns_per_message,
            result.instructions_per_packet, result.packets, result.acks, result.retransmits);
        separator = ",";
    }
    std::fprintf(file,
                 "],\n \"figures\": [\n  {\"name\": \"idle peer\", \"measured\": %zu, \"unit\": \"bytes\"}",
                 idle_peer);
    for (const Result& result : results) {
        if (result.scenario.figure) {
            std::fprintf(file,
                         ",\n  {\"name\": \"%s, mtu %u, per packet, both sides\", \"measured\": %.1f, "
                         "\"unit\": \"ns\"}",
                         result.scenario.name, result.scenario.mtu, result.ns_per_packet);
        }
    }
    std::fprintf(file, "]}\n");
    return std::fclose(file) == 0;
}

int run(const char* json_path, std::string_view only)
{
    const InstructionCounter instructions;
    std::vector<Result> results;
    print_header();
    for (const Scenario& scenario : scenarios) {
        if (std::string_view(scenario.name).find(only) != std::string_view::npos) {
            results.push_back(measure(scenario, instructions));
            print_row(results.back());
        }
    }
    for (const Result& result : results) {
        if (result.scenario.figure) {
            std::printf("%s, mtu %u: %.1f ns per packet\n", result.scenario.name, result.scenario.mtu,
                        result.ns_per_packet);
        }
    }
    const std::size_t idle_peer = Engine::idle_peer_size();
    std::printf("idle peer: %zu bytes\n", idle_peer);
    if (json_path != nullptr && !write_json(json_path, results, idle_peer)) {
        std::perror(json_path);
        return 1;
    }
    return 0;
}

} // namespace
} // namespace srd::bench

int main(int argc, char** argv)
{
    const char* json_path = nullptr;
    std::string_view only;
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
            json_path = argv[++i];
        } else if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else {
            std::fprintf(stderr, "usage: engine_bench [--json FILE] [--only PART-OF-A-NAME]\n");
            return 2;
        }
    }
    return srd::bench::run(json_path, only);
}
