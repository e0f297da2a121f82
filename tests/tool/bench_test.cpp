// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd bench between two processes of this host.
#include <string>

#include <unistd.h>

#include "bench/bench.hpp"
#include "net/socket.hpp"
#include "support/catch.hpp"
#include "tool/command.hpp"

using namespace srd;
using namespace srd::tool;
using namespace tool_test;

namespace {

const std::string environment = "export FI_PROVIDER_PATH=" SRD_PROVIDER_FOLDER " FI_SRD_INTERFACE=lo; ";

/// A port that other runs of this test do not use.
std::string some_port()
{
    static int calls = 0;
    return std::to_string(22000 + (getpid() * 4 + calls++) % 8000);
}

/// Both ends, of which the client's output and status come back. The server ends with its client.
Outcome measure_here(const std::string& arguments, const std::string& port)
{
    return run_srd("bench 127.0.0.1:" + port + " " + arguments,
                   environment + SRD_COMMAND + " bench --clients 1 --port " + port +
                       " >/dev/null & for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; grep -q $(printf ':%04X ' " +
                       port + ") /proc/net/tcp && break; done; ");
}

} // namespace

TEST_CASE("bench: each size is a row with percentiles, bandwidth and rate")
{
    const Outcome outcome = measure_here("--sizes 8,70000 --json", some_port());
    INFO(outcome.output);
    REQUIRE(outcome.status == 0);
    const auto result = nlohmann::json::parse(outcome.output);
    CHECK(result["domain"] == "srd lo");
    CHECK(result["peer_version"] == SRD_VERSION);
    REQUIRE(result["rows"].size() == 2);
    for (const auto& row : result["rows"]) {
        CHECK(row["median_us"].get<double>() > 0);
        CHECK(row["p99_us"].get<double>() >= row["median_us"].get<double>());
        CHECK(row["p999_us"].get<double>() >= row["p99_us"].get<double>());
        CHECK(row["messages_per_second"].get<double>() > 0);
    }
    CHECK(result["rows"][1]["size"] == 70000);
    CHECK(result["rows"][1]["bytes_per_second"].get<double>() > 70000);
}

TEST_CASE("bench: what is wrong is said, with status 2")
{
    const Outcome nobody = run_srd("bench 127.0.0.1:9 2>&1", environment);
    CHECK(nobody.status == 2);
    CHECK(nobody.output.find("run srd bench there") != std::string::npos);
    const Outcome provider = measure_here("--sizes 8 --provider nonsense 2>&1", some_port());
    CHECK(provider.status == 2);
    CHECK(provider.output.find("fi_getinfo(nonsense)") != std::string::npos);
    CHECK(run_srd("bench 127.0.0.1 --sizes 0 2>&1", environment).status == 2);
}

TEST_CASE("bench: who serves answers nonsense with an error")
{
    const std::string port = some_port();
    const Outcome started = run_shell(environment + SRD_COMMAND + " bench --clients 4 --port " + port +
                                      " >/dev/null 2>&1 & sleep 1");
    REQUIRE(started.status == 0);
    std::string error;
    const auto address = resolve_host("127.0.0.1:" + port, 1, error);
    REQUIRE(address);
    for (const char* const request : {R"({"provider":5})", R"({"provider":"nonsense","name":"00"})",
                                      R"({"name":"zz","size":-1,"depth":1e9})"}) {
        INFO(request);
        TcpAttempt attempt = connect_tcp(*address, {}, milliseconds(5000));
        REQUIRE(attempt.socket.valid());
        LineChannel channel(std::move(attempt.socket));
        const auto answer = channel.ask(nlohmann::json::parse(request), milliseconds(20000));
        REQUIRE(answer);
        CHECK(answer->contains("error"));
    }
    TcpAttempt last = connect_tcp(*address, {}, milliseconds(5000)); // still there; now it ends
    CHECK(last.socket.valid());
}
