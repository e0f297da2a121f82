// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The provider's ring of events and what the command makes of it; and both around a real program.
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <srd/shm_object.hpp>

#include "live/live_file.hpp"
#include "live/live_files.hpp"
#include "live/trace.hpp"
#include "live/trace_ring.hpp"
#include "support/catch.hpp"
#include "tool/command.hpp"
#include "wire/layout.hpp"

using namespace srd;
using namespace srd::tool;
using namespace tool_test;

namespace {

const SocketAddress own = SocketAddress::of_ipv4(0x0a000001, 7000);
const SocketAddress peer = SocketAddress::of_ipv4(0x0a000002, 7001);

std::unique_ptr<TraceRing> ring_of(std::size_t records)
{
    std::string error;
    std::unique_ptr<TraceRing> ring = TraceRing::make(
        records, own, [](RouteId) -> const SocketAddress& { return peer; }, error);
    INFO(error);
    REQUIRE(ring != nullptr);
    return ring;
}

std::vector<TraceView> ours()
{
    return read_traces({static_cast<std::uint64_t>(getpid())}, false);
}

/// A packet with psn `psn` and a frame of 300 bytes, which the ring does not hold.
void send_packet(TraceRing& ring, std::uint32_t psn)
{
    wire::PacketHeader header;
    header.flags = wire::packet_flag::sequenced | wire::packet_flag::sealed;
    header.psn = psn;
    header.path = 3;
    std::array<std::byte, 300> frame{};
    frame[0] = static_cast<std::byte>(wire::FrameType::message);
    const std::array pieces{iovec{&header, sizeof(header)}, iovec{frame.data(), frame.size()}};
    ring.on_packet(TraceKind::sent, RouteId{0}, pieces);
}

} // namespace

TEST_CASE("trace: the last events are kept, for their owner alone, as long as the endpoint lives")
{
    std::string file;
    {
        const auto ring = ring_of(8);
        CHECK(ours().at(0).events.empty());
        for (std::uint32_t psn = 0; psn < 20; ++psn) {
            send_packet(*ring, psn);
        }
        ring->on_event(TraceKind::again_timeout, RouteId{0}, 18);
        const TraceView view = ours().at(0);
        file = view.file;
        CHECK(view.address == own);
        CHECK(view.count == 21);
        REQUIRE(view.events.size() == 8);
        CHECK(words_of(view.events[0]) == "316 B, psn 13, path 3, message");
        CHECK(view.events[6].peer == peer);
        CHECK(view.events[6].length == 316);
        CHECK(view.events[6].bytes.size() == TraceRecord::most_bytes);
        CHECK(words_of(view.events[7]) == "psn 18 goes again: timeout");
        struct stat status {};
        REQUIRE(stat(file.c_str(), &status) == 0);
        CHECK((status.st_mode & 0777) == 0600);
    }
    CHECK_FALSE(std::filesystem::exists(file));
}

TEST_CASE("trace: that of a process that is killed stays, and what makes no sense in it is not believed")
{
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        const auto ring = ring_of(4);
        ring->on_event(TraceKind::path_dark, RouteId{0}, 5);
        ring->on_event(TraceKind::failed, no_id<RouteId>, static_cast<std::uint32_t>(Cause::refused));
        ::kill(getpid(), SIGKILL);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    const auto pid = static_cast<std::uint64_t>(child);
    const TraceView view = read_traces({pid}, true).at(0);
    CHECK(view.is_dead);
    REQUIRE(view.events.size() == 2);
    CHECK(words_of(view.events[1]) == std::string("the connection has failed: ") + to_string(Cause::refused));
    CHECK_FALSE(view.events[1].peer.has_value());

    std::fstream raw(view.file, std::ios::in | std::ios::out | std::ios::binary);
    TraceRecord record;
    raw.seekg(trace_offset);
    raw.read(static_cast<char*>(static_cast<void*>(&record)), sizeof(record));
    record.captured = 5000;
    raw.seekp(trace_offset);
    raw.write(static_cast<const char*>(static_cast<const void*>(&record)), sizeof(record));
    raw.close();
    CHECK(read_traces({pid}, true).at(0).events.size() == 1);
    CHECK(unlink(view.file.c_str()) == 0);
}

TEST_CASE("trace: switched on and off from outside")
{
    LivePlace place("", "");
    place.show(own.bytes(), "eth0");
    CHECK(place.traced(0) == 0);
    CHECK(place.traced(7) == 7);
    CHECK(order_trace({static_cast<std::uint64_t>(getpid())}, 64) == 1);
    CHECK(place.traced(7) == 64);
    CHECK(order_trace({static_cast<std::uint64_t>(getpid())}, 0) == 1);
    CHECK(place.traced(7) == 0);
}

TEST_CASE("trace: memory for it is bounded, and so is what it leaves to others")
{
    const auto address_of = [](RouteId) -> const SocketAddress& { return peer; };
    std::string error;
    CHECK(TraceRing::make(most_trace_records + 1, own, address_of, error) == nullptr);
    CHECK(error.find(std::to_string(most_trace_records)) != std::string::npos);

    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) { // with a /dev/shm of 1 MiB
        if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            mount("none", shm_folder, "tmpfs", 0, "size=1m") != 0) {
            ::_exit(77);
        }
        const bool refused = TraceRing::make(3500, own, address_of, error) == nullptr &&
                             error.find("768 to spare") != std::string::npos &&
                             std::filesystem::is_empty(shm_folder);
        const bool kept = TraceRing::make(3000, own, address_of, error) != nullptr;
        ::_exit(refused && kept ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        WARN("SKIPPED: a mount namespace needs root");
    } else {
        CHECK(WEXITSTATUS(status) == 0);
    }
}

TEST_CASE("trace: pcapng has the packets in clear, and other events as comments")
{
    const auto ring = ring_of(8);
    ring->on_event(TraceKind::path_dark, RouteId{0}, 5);
    send_packet(*ring, 1);
    ring->on_event(TraceKind::failed, RouteId{0}, static_cast<std::uint32_t>(Cause::refused));
    std::ostringstream out;
    write_pcapng(ours(), out);
    const std::string text = out.str();
    CHECK(text.size() % 4 == 0);
    CHECK(text.starts_with("\x0a\x0d\x0d\x0a"));
    CHECK(text.find("10.0.0.2:7001: path 5 is out of use") != std::string::npos);
    CHECK(text.find("the connection has failed") != std::string::npos); // after all packets
    wire::PacketHeader header;
    header.flags = wire::packet_flag::sequenced;
    header.psn = 1;
    header.path = 3;
    std::string clear(sizeof(header), '\0');
    std::memcpy(clear.data(), &header, sizeof(header));
    CHECK(text.find(clear) != std::string::npos);
}

#ifndef SRD_SANITIZED
TEST_CASE("trace: of a running program, switched on in the middle, and of one that was killed")
{
    const std::string port = std::to_string(21000 + getpid() % 20000);
    const std::string pingpong = "fi_pingpong -p srd -e rdm -I 100000000 -S 64 ";
    const Outcome outcome = run_shell(
        "export FI_SRD_SHM=0 FI_PROVIDER=srd FI_PROVIDER_PATH=" SRD_PROVIDER_FOLDER "; srd=" SRD_COMMAND
        "; command -v fi_pingpong >/dev/null || exit 77; trap 'kill -9 $a $b 2>/dev/null; "
        "rm -f /dev/shm/srd-*.$a.* /dev/shm/srd-*.$b.*' EXIT; "
        "FI_SRD_TRACE=200 " +
        pingpong + "-B " + port +
        " >/dev/null 2>&1 & a=$!; "
        "for i in $(seq 300); do $srd stat $a >/dev/null 2>&1 && break; sleep 0.1; done; " +
        pingpong + "-P " + port +
        " 127.0.0.1 >/dev/null 2>&1 & b=$!; "
        "for i in $(seq 300); do $srd stat $b 2>/dev/null | grep -q 'rx_packets *[1-9][0-9][0-9]' && break; "
        "sleep 0.1; done; "
        "$srd trace --on 2000000 $b 2>&1 | grep -q 1048576 || echo NO LIMIT IS NAMED; "
        "$srd trace $b && echo UNEXPECTED; $srd trace --on 100 $b || echo NOT ON; "
        "for i in $(seq 100); do $srd trace $b 2>/dev/null | grep -q psn && break; sleep 0.1; done; "
        "$srd trace $b | grep -c psn; $srd trace --json $a | grep -c again_; "
        "kill -9 $b; $srd trace --write /tmp/srd-trace-test.$$ $b || echo NOT WRITTEN; "
        "test -s /tmp/srd-trace-test.$$ && echo written; rm -f /tmp/srd-trace-test.$$; "
        "$srd trace $a | sed -n 1p; $srd trace --off $a; "
        "for i in $(seq 100); do $srd trace $a >/dev/null 2>&1 || break; sleep 0.1; done; $srd trace $a || "
        "echo off");
    INFO(outcome.output);
    if (outcome.status == 77) {
        WARN("SKIPPED: fi_pingpong is not installed");
        return;
    }
    CHECK(outcome.output.find("UNEXPECTED") == std::string::npos);
    CHECK(outcome.output.find("NO LIMIT") == std::string::npos);
    CHECK(outcome.output.find("NOT") == std::string::npos);
    CHECK(outcome.output.find("the last 100 events of each endpoint are kept") != std::string::npos);
    CHECK(outcome.output.find("written") != std::string::npos);
    CHECK(outcome.output.find(": the last 200 of ") != std::string::npos);
    CHECK(outcome.output.find("off") != std::string::npos);
}

TEST_CASE("trace: an order for which there is no room is refused by the command, with the number that there "
          "is room for")
{
    const std::string port = std::to_string(21000 + (getpid() + 1) % 20000);
    const std::string pingpong = "fi_pingpong -p srd -e rdm -I 100000000 -S 64 ";
    const Outcome outcome = run_shell(
        "command -v fi_pingpong >/dev/null && unshare -m true 2>/dev/null || exit 77; "
        "export FI_SRD_SHM=0 FI_PROVIDER=srd FI_PROVIDER_PATH=" SRD_PROVIDER_FOLDER "; unshare -m sh -c '"
        "mount -t tmpfs -o size=4m none /dev/shm; " +
        pingpong + "-B " + port + " >/dev/null 2>&1 & a=$!; for i in $(seq 200); do ss -ltn | grep -q :" +
        port + " && break; sleep 0.1; done; " + pingpong + "-P " + port +
        " 127.0.0.1 >/dev/null 2>&1 & b=$!; for i in $(seq 300); do " SRD_COMMAND
        " stat $a >/dev/null 2>&1 && break; sleep 0.1; done; " SRD_COMMAND
        " trace --on 100000 $a 2>&1; " SRD_COMMAND " trace --on 1000 $a; kill -9 $a $b'");
    INFO(outcome.output);
    if (outcome.status == 77) {
        WARN("SKIPPED: fi_pingpong is not installed, or a mount namespace needs root");
        return;
    }
    CHECK(outcome.output.find("no room for 100000 events of each of 1 endpoints: /dev/shm has room for 12") !=
          std::string::npos);
    CHECK(outcome.output.find("the last 1000 events") != std::string::npos);
}
#endif
