// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The provider's side (src/prov_srd/live) and the command's side of the file of live statistics, together.
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include <srd/address.hpp>

#include "live/live_file.hpp"
#include "live/live_files.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"

using namespace srd;
using namespace srd::tool;

namespace {

std::vector<ProcessView> read_process(pid_t pid, bool dead = false)
{
    return read_live({static_cast<std::uint64_t>(pid)}, dead, 50).processes;
}

/// Of 10.0.0.1 in port `port`.
SocketAddress address_of(std::uint16_t port)
{
    return SocketAddress::of_ipv4(0x0a000001, port);
}

} // namespace

TEST_CASE("live file: counters are seen while they count, by the owner alone, and go with the last endpoint")
{
    std::string file;
    {
        LivePlace first("node7", "3");
        CHECK(read_process(getpid()).at(0).endpoints.empty()); // open, and without a name yet
        first.show(address_of(7000).bytes(), "eth0");
        first.counters().tx_packets.add(5);
        {
            LivePlace second("node7", "3");
            second.show(address_of(7001).bytes(), "eth1");
            second.counters().tx_packets.add(7);
            const ProcessView seen = read_process(getpid()).at(0);
            CHECK(seen.host == "node7");
            CHECK(seen.rank == "3");
            CHECK_FALSE(seen.command.empty());
            CHECK_FALSE(seen.is_dead);
            REQUIRE(seen.endpoints.size() == 2);
            CHECK(seen.endpoints[0].address == "10.0.0.1:7000");
            CHECK(seen.endpoints[0].domain == "eth0");
            CHECK(seen.endpoints[0].counters.at("tx_packets") == 5);
            CHECK(seen.endpoints[1].counters.at("tx_packets") == 7);
            CHECK_FALSE(seen.endpoints[0].has_snapshot); // nobody has answered
            file = seen.file;
            struct stat status {};
            REQUIRE(stat(file.c_str(), &status) == 0);
            CHECK((status.st_mode & 0777) == 0600);
        }
        CHECK(read_process(getpid()).at(0).endpoints.size() == 1);
        LivePlace third("node7", "3"); // in the place of the second one
        CHECK(third.counters().tx_packets.value() == 0);
    }
    CHECK_FALSE(std::filesystem::exists(file));
    CHECK(read_process(getpid()).empty());
}

TEST_CASE("live file: whoever has no place left counts all the same")
{
    std::vector<std::unique_ptr<LivePlace>> places;
    for (std::uint32_t i = 0; i < LiveHeader::slots + 2; ++i) {
        places.push_back(std::make_unique<LivePlace>("", ""));
        places.back()->show(address_of(static_cast<std::uint16_t>(i + 1)).bytes(), "eth0");
        places.back()->counters().tx_packets.add(i);
        CHECK_FALSE(places.back()->is_asked());
    }
    CHECK(places.back()->counters().tx_packets.value() == LiveHeader::slots + 1);
    CHECK(read_process(getpid()).at(0).endpoints.size() == LiveHeader::slots);
}

TEST_CASE("live file: a process that is killed or exits leaves its counters, and a child its parent's")
{
    LivePlace ours("", "");
    ours.show(address_of(7000).bytes(), "eth0");
    const SocketAddress mark = address_of(static_cast<std::uint16_t>(getpid() % 60000 + 1)); // of this run
    const auto life = [&](bool exits) {
        return [exits, mark] {
            LivePlace place("", "");
            place.show(mark.bytes(), "eth0");
            place.counters().peer_failures.add(11);
            if (exits) {
                std::exit(0); // with its endpoint open
            }
            ::kill(getpid(), SIGKILL);
            return 0;
        };
    };
    srd::test::Child exiting(life(true));
    REQUIRE(exiting.wait() == 0);
    srd::test::Child killed(life(false));
    REQUIRE(killed.wait() == -SIGKILL);
    std::vector<ProcessView> dead;
    for (ProcessView& process : read_live({}, true, 50).processes) {
        if (process.is_dead && !process.endpoints.empty() && process.endpoints[0].address == mark.text()) {
            dead.push_back(std::move(process));
        }
    }
    REQUIRE(dead.size() == 2);
    CHECK(dead[0].endpoints.at(0).counters.at("peer_failures") == 11);
    CHECK(read_process(static_cast<pid_t>(dead[0].pid)).empty()); // only who asks for the dead sees them
    CHECK(read_process(getpid()).size() == 1);                    // neither child has taken ours away
    for (const ProcessView& process : dead) {
        CHECK(unlink(process.file.c_str()) == 0);
    }
}

TEST_CASE("live file: a snapshot is seen whole, whenever it is read")
{
    LivePlace place("", "");
    place.show(address_of(7000).bytes(), "eth0");
    std::atomic<bool> stop{false};
    std::thread writer([&] {
        LiveSnapshot snapshot;
        snapshot.listed = LiveSnapshot::max_peers;
        for (std::uint32_t round = 1; !stop.load(); ++round) {
            snapshot.receives = round;
            for (LivePeer& peer : snapshot.peer) {
                peer.view.window = round;
            }
            place.publish(snapshot);
        }
    });
    int whole = 0;
    int torn = 0;
    for (int reads = 0; reads < 500; ++reads) {
        const EndpointView seen = read_process(getpid()).at(0).endpoints.at(0);
        if (!seen.has_snapshot) {
            continue;
        }
        ++whole;
        torn += std::any_of(seen.peer.begin(), seen.peer.end(), [&](const EndpointView::Peer& peer) {
            return peer.view.window != seen.receives;
        });
    }
    stop = true;
    writer.join();
    CHECK(whole > 0);
    CHECK(torn == 0);
}

TEST_CASE("live file: a snapshot is asked for, and what makes no sense in a file is not believed")
{
    LivePlace place("", "");
    place.show(address_of(7000).bytes(), "eth0");
    CHECK_FALSE(place.is_asked());
    std::string file = read_process(getpid()).at(0).file; // asks, and has no answer
    CHECK(place.is_asked());
    LiveSnapshot snapshot;
    snapshot.listed = 2;
    snapshot.peers = 1000000;
    snapshot.peer[0].address_size = 5000;
    snapshot.peer[1].view.awaits = static_cast<PeerView::Awaits>(200);
    place.publish(snapshot);
    CHECK_FALSE(place.is_asked());
    const EndpointView seen = read_process(getpid()).at(0).endpoints.at(0);
    CHECK(seen.has_snapshot);
    CHECK_FALSE(seen.is_fresh); // it answers an earlier question
    REQUIRE(seen.peer.size() == 1);
    CHECK(seen.peer[0].address == "?");

    const std::string strange = file + "x";
    std::ofstream(strange) << "something else";
    const LiveView all = read_live({}, true, 50);
    CHECK(all.strange >= 1);
    CHECK(std::none_of(all.processes.begin(), all.processes.end(),
                       [&](const ProcessView& process) { return process.file == strange; }));
    CHECK(unlink(strange.c_str()) == 0);
}
