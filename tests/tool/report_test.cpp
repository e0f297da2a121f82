// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <fstream>
#include <sstream>
#include <string>

#include <unistd.h>

#include "tool/command.hpp"

#include "findings.hpp"
#include "report.hpp"
#include "support/catch.hpp"

using namespace srd::tool;
using namespace tool_test;

namespace {

constexpr const char* two_ranks =
    R"({"provider":"srd","pid":7,"address":"10.0.0.1:7000","tx_packets":100,"retransmits_rack":3,"retransmits_timeout":1})"
    "\n"
    R"({"provider":"srd","pid":7,"address":"10.0.0.2:7000","tx_packets":300,"retransmits_rack":0,"of_tomorrow":5})"
    "\n";

Report report_of(const std::string& text)
{
    Report report;
    std::istringstream in(text);
    report.add(in);
    return report;
}

std::string printed(const Report& report)
{
    std::ostringstream out;
    report.print(out);
    return out.str();
}

} // namespace

TEST_CASE("report: counters are summed, with the endpoint that has most")
{
    const Report report = report_of(two_ranks);
    const nlohmann::json result = report.json();
    CHECK(result["endpoints"] == 2);
    CHECK(result["hosts"] == 2);
    CHECK(result["processes"] == 2); // the same number on two hosts
    CHECK(result["counters"]["tx_packets"]["sum"] == 400);
    CHECK(result["counters"]["tx_packets"]["most"] == 300);
    CHECK(result["counters"]["tx_packets"]["most_at"] == "10.0.0.2:7000");
    const std::string text = printed(report);
    INFO(text);
    CHECK(text.find("repeated: 1.00 % of packets sent") != std::string::npos);
    CHECK(text.find("packets sent, retransmissions and acknowledgements included") != std::string::npos);
    CHECK(text.find("of_tomorrow") != std::string::npos); // another version's counter is shown
    CHECK(text.find("handshakes") == std::string::npos);  // nobody counted that
    CHECK(text.find("retransmits_rack") < text.find("retransmits_timeout"));
}

TEST_CASE("report: a host with several addresses is one, and a rank is no counter")
{
    const nlohmann::json result =
        report_of("{\"provider\":\"srd\",\"pid\":7,\"host\":\"a\",\"rank\":1,\"address\":\"10.0.0.1:7\","
                  "\"handshakes\":2}\n"
                  "{\"provider\":\"srd\",\"pid\":7,\"host\":\"a\",\"rank\":1,\"address\":\"10.1.0.1:7\"}\n")
            .json();
    CHECK(result["hosts"] == 1);
    CHECK(result["processes"] == 1);
    CHECK_FALSE(result["counters"].contains("rank"));
    CHECK(result["counters"]["handshakes"]["sum"] == 2);
}

TEST_CASE("report: what is no line of srd's is left out and counted")
{
    const Report report =
        report_of(std::string("{\"provider\":\"tcp\"}\nnonsense\n[1]\n{\"provider\":5}\n\n") +
                  "{\"provider\":\"srd\",\"pid\":\"x\",\"address\":7,\"tx_packets\":-3}\n" + two_ranks +
                  "{\"provider\":\"srd\",\"tx_pack");
    CHECK(report.endpoints() == 3);
    CHECK(report.strange_lines() == 5);
    CHECK(report.json()["counters"]["tx_packets"]["sum"] == 400);
    CHECK(printed(report).find("5 lines are not srd's statistics") != std::string::npos);
}

TEST_CASE("report: the command reads several files")
{
    char name[] = "/tmp/srd-report.XXXXXX";
    const int fd = mkstemp(name);
    REQUIRE(fd >= 0);
    close(fd);
    const std::string file = name;
    std::ofstream(file) << two_ranks;
    const Outcome outcome = run_srd("report --json " + file + " " + file);
    CHECK(outcome.status == 0);
    CHECK(nlohmann::json::parse(outcome.output)["counters"]["tx_packets"]["sum"] == 800);
    CHECK(run_srd("report " + file).output.find("2 endpoints of 2 processes on 2 hosts") == 0);
    CHECK(run_srd("report /dev/null").status == 2);
    CHECK(run_srd("report /nonexistent 2>&1").status == 2);
    CHECK(unlink(name) == 0);
}

TEST_CASE("findings: the worst of them is the status, and lines are broken at spaces")
{
    Findings findings;
    CHECK(findings.status() == 0);
    findings.ok("a", "well");
    CHECK(findings.status() == 0);
    findings.broken("longer topic", "one two three four five six seven eight nine ten", "do this");
    findings.warning("b", "so so", "do that");
    CHECK(findings.status() == 2);
    std::ostringstream out;
    findings.print(out, 45);
    CHECK(out.str() == "ok       a             well\n"
                       "broken   longer topic  one two three four\n"
                       "                       five six seven eight\n"
                       "                       nine ten\n"
                       "                       cure: do this\n"
                       "warning  b             so so\n"
                       "                       cure: do that\n");
    CHECK(findings.json()["findings"][1]["cure"] == "do this");
}
