// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd stat and srd top beside fi_pingpong.
#include <sstream>
#include <string>

#include <unistd.h>

#include "live/stat.hpp"
#include "tool/command.hpp"

#include "support/catch.hpp"

using namespace srd;
using namespace srd::tool;
using namespace tool_test;

namespace {

/// Shell: two fi_pingpong's at work, $a and $b, which end with the shell; then `body`. Without shared memory,
/// so that there are packets.
std::string beside_pingpong(const std::string& body, const std::string& port)
{
    const std::string pingpong = "fi_pingpong -p srd -e rdm -I 100000000 -S 64 ";
    return "export FI_SRD_SHM=0 FI_PROVIDER=srd FI_PROVIDER_PATH=" SRD_PROVIDER_FOLDER "; srd=" SRD_COMMAND
           "; "
           "unset FI_SRD_STATS; trap 'kill -9 $a $b 2>/dev/null; rm -f /dev/shm/srd-live.$a.* "
           "/dev/shm/srd-live.$b.*' EXIT; " +
           pingpong + "-B " + port +
           " >/dev/null 2>&1 & a=$!; "
           "for i in $(seq 50); do $srd stat $a >/dev/null 2>&1 && break; sleep 0.1; " +
           pingpong + "-P " + port +
           " 127.0.0.1 >/dev/null 2>&1 & b=$!; sleep 0.5; kill -0 $b && break; done; "
           // Until both exchange packets.
           "for i in $(seq 100); do $srd stat $b 2>/dev/null | grep -q 'rx_packets *[1-9][0-9][0-9]' && "
           "break; sleep 0.1; done; " +
           body;
}

const nlohmann::json* process_of(const nlohmann::json& result, std::size_t index = 0)
{
    return index < result["processes"].size() ? &result["processes"][index] : nullptr;
}

nlohmann::json parsed(const Outcome& outcome)
{
    INFO(outcome.output);
    nlohmann::json result = nlohmann::json::parse(outcome.output, nullptr, false);
    REQUIRE(result.is_object());
    return result;
}

bool has_fi_pingpong()
{
    return run_shell("command -v fi_pingpong").status == 0;
}

} // namespace

TEST_CASE("stat: a running program, with its peer and EFA's names")
{
    if (!has_fi_pingpong()) {
        WARN("SKIPPED: fi_pingpong is not installed");
        return;
    }
    const nlohmann::json result = parsed(run_shell(beside_pingpong("$srd stat $b --json", "9921")));
    REQUIRE(process_of(result) != nullptr);
    const nlohmann::json& process = *process_of(result);
    CHECK(process["command"] == "fi_pingpong");
    CHECK(process["state"] == "running");
    REQUIRE(process["endpoints"].size() == 1);
    const nlohmann::json& endpoint = process["endpoints"][0];
    CHECK(endpoint["counters"]["tx_packets"] > 0);
    CHECK(endpoint["efa_counters"].contains("retrans_pkts"));
    CHECK(endpoint["efa_counters"].contains("unresponsive_remote_events"));
    CHECK(endpoint["is_fresh"] == true);
    REQUIRE(endpoint["peer"].size() == 1);
    const nlohmann::json& peer = endpoint["peer"][0];
    CHECK(peer["state"] == "connected");
    CHECK(peer["rtt_us"] > 0);
    CHECK(peer["window_bytes"] > 0);
    CHECK(peer["heard_ms_ago"] < 5000);
    CHECK(peer["paths"]["count"] >= 1);
    double carried = 0;
    for (const nlohmann::json& path : endpoint["paths"]) {
        carried += path["packets"].get<double>();
    }
    const auto sent = endpoint["counters"]["tx_packets"].get<double>();
    CHECK((carried > 0.9 * sent && carried < 1.1 * sent)); // it goes on while they are read
}

TEST_CASE("stat: the worst paths are shown, with what ails them")
{
    EndpointView endpoint;
    endpoint.address = "192.0.2.1:40000";
    endpoint.paths = {{0, 100, 0, 0}, {1, 120, 7, 0}, {2, 90, 0, 5}, {63, 80, 0, 0}};
    EndpointView::Peer peer{"192.0.2.2:40000", {}};
    peer.view.paths.count = 64;
    peer.view.paths.dark = std::uint64_t{1} << 63;
    endpoint.peer = {peer};
    LiveView live;
    live.processes.resize(1);
    live.processes[0].endpoints = {endpoint};
    std::ostringstream out;
    print_stat(live, out);
    INFO(out.str());
    const auto at = [&](const char* text) { return out.str().find(text); };
    CHECK(at("4 paths have carried 80 to 120 packets each; on 3 of them some were marked or lost") !=
          std::string::npos);
    REQUIRE(at("path 63") != std::string::npos);
    CHECK(at("dark for 1 peer\n") != std::string::npos);
    CHECK(at("path 63") < at("path  2"));
    CHECK(at("path  2") < at("path  1"));
    CHECK(at("path  0") == std::string::npos);
    const nlohmann::json paths = stat_json(live)["processes"][0]["endpoints"][0]["paths"];
    REQUIRE(paths.size() == 4);
    CHECK(paths[1]["marked"] == 7);
    CHECK(paths[2]["lost"] == 5);
    CHECK(paths[3]["dark_for_peers"] == 1);
}

TEST_CASE("stat: Prometheus' format, and top with rates")
{
    if (!has_fi_pingpong()) {
        WARN("SKIPPED: fi_pingpong is not installed");
        return;
    }
    const Outcome outcome = run_shell(beside_pingpong("$srd stat --prometheus $a; $srd top --times 1 $a; "
                                                      "$srd top --times 2 --watch 0.2 --json $a",
                                                      "9922"));
    INFO(outcome.output);
    CHECK(outcome.output.find("# TYPE srd_tx_packets_total counter\nsrd_tx_packets_total{host=\"") !=
          std::string::npos);
    CHECK(outcome.output.find("# TYPE srd_longest_wait_seconds gauge\n") != std::string::npos);
    CHECK(outcome.output.find("tx pkt/s") != std::string::npos);
    CHECK(outcome.output.find("fi_pingpong") != std::string::npos);
    std::size_t looks = 0;
    std::istringstream lines(outcome.output);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with('{')) {
            ++looks;
            const nlohmann::json look = nlohmann::json::parse(line, nullptr, false);
            REQUIRE(look.is_object());
            REQUIRE(look["endpoints"].size() == 1);
            CHECK(look["seconds"] >= 0.2);
            CHECK(look["endpoints"][0]["command"] == "fi_pingpong");
            CHECK(look["endpoints"][0]["tx_packets_per_s"] > 0);
        }
    }
    CHECK(looks == 2);
}

TEST_CASE("stat: a killed program's counters are not lost")
{
    if (!has_fi_pingpong()) {
        WARN("SKIPPED: fi_pingpong is not installed");
        return;
    }
    const Outcome outcome = run_shell(
        beside_pingpong("kill -TERM $b; kill -9 $a; while kill -0 $a || "
                        "kill -0 $b; do sleep 0.05; done 2>/dev/null; "
                        "$srd stat --dead --json $a $b; $srd stat $a >/dev/null 2>&1; echo status $?",
                        "9923"));
    INFO(outcome.output);
    const std::size_t end = outcome.output.rfind("status ");
    REQUIRE(end != std::string::npos);
    CHECK(outcome.output.substr(end) == "status 2\n"); // nobody runs
    const nlohmann::json result = nlohmann::json::parse(outcome.output.substr(0, end), nullptr, false);
    REQUIRE(result.is_object());
    REQUIRE(result["processes"].size() == 2);
    for (const nlohmann::json& process : result["processes"]) {
        CHECK(process["state"] == "ended");
        CHECK(process["endpoints"][0]["counters"]["rx_packets"] > 0);
    }
}

TEST_CASE("stat: a stopped peer, and a firewall, explain why a program hangs")
{
    if (!has_fi_pingpong()) {
        WARN("SKIPPED: fi_pingpong is not installed");
        return;
    }
    SECTION("stopped")
    {
        const Outcome outcome =
            run_shell(beside_pingpong("kill -STOP $a; sleep 1.5; $srd stat $a $b; echo status $?", "9924"));
        INFO(outcome.output);
        CHECK(outcome.output.find(": stopped") != std::string::npos);
        CHECK(outcome.output.find("waiting for ") != std::string::npos);
        CHECK(outcome.output.find("it computes, or is stopped") != std::string::npos);
        CHECK(outcome.output.find("status 1\n") != std::string::npos);
    }
    SECTION("firewall")
    {
        if (run_shell("unshare -n sh -c 'nft add table inet t' 2>/dev/null").status != 0) {
            WARN("SKIPPED: a network namespace with nftables needs root");
            return;
        }
        const std::string body =
            "nft add table inet t; nft add chain inet t c \"{ type filter hook input priority 0; }\"; "
            "nft add rule inet t c ip protocol udp drop; sleep 3; $srd stat $b --json";
        const nlohmann::json result = parsed(run_shell(
            "cat > /tmp/srd-stat-test.$$ <<'END'\nip link set lo up\n" + beside_pingpong(body, "9925") +
            "\nEND\nunshare -n bash /tmp/srd-stat-test.$$; rm /tmp/srd-stat-test.$$"));
        REQUIRE(process_of(result) != nullptr);
        const nlohmann::json& endpoint = (*process_of(result))["endpoints"][0];
        CHECK(endpoint["peers_waited_for"] == 1);
        REQUIRE_FALSE(endpoint["explanation"].empty());
        const std::string explanation = endpoint["explanation"][0];
        CHECK(explanation.find("waiting for " + endpoint["peer"][0]["address"].get<std::string>() +
                               " since ") == 0);
        CHECK(endpoint["peer"][0]["waiting_ms"] > 1000);
        CHECK(endpoint["peer"][0].contains("suspicion"));
    }
}
