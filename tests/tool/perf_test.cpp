// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd perf: files of "srd bench --json" become a picture.
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include <unistd.h>

#include "bench/bench.hpp"
#include "bench/perf.hpp"
#include "support/catch.hpp"
#include "tool/command.hpp"

using namespace srd::tool;
using namespace tool_test;

namespace {

/// What srd bench prints of messages of these sizes.
std::string measured(const std::string& domain, const std::vector<std::size_t>& sizes)
{
    BenchResult result;
    result.domain = domain;
    for (const std::size_t size : sizes) {
        BenchRow row;
        row.size = size;
        row.half_round_trips_us = {4, 5, 6};
        row.bytes_per_second = 1e8;
        row.messages_per_second = 1e6;
        result.rows.push_back(row);
    }
    return result.json().dump();
}

std::size_t count(const std::string& text, const std::string& part)
{
    std::size_t found = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
        ++found;
    }
    return found;
}

class File {
public:
    explicit File(const std::string& content)
        : name("/tmp/srd-perf-test." + std::to_string(getpid()) + '.' + std::to_string(++made))
    {
        std::ofstream(name) << content;
    }
    ~File() { std::remove(name.c_str()); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    static inline int made = 0;
    const std::string name;
};

} // namespace

TEST_CASE("perf: each run is a line in both panels, each size a point on it")
{
    std::istringstream first(measured("srd eth0", {1048576, 8, 64}));
    std::istringstream second(measured("tcp <&>", {8}));
    const std::vector<PerfRun> runs{read_run(first), read_run(second)};
    CHECK(runs[0].rows[0].size == 8); // in order
    std::ostringstream out;
    write_plot(runs, out);
    const std::string svg = out.str();
    CHECK(count(svg, "<polyline") == 6); // median, 99 %, bandwidth
    CHECK(count(svg, "<circle") == 8);
    CHECK(svg.find(">srd eth0</text>") != std::string::npos);
    CHECK(svg.find(">tcp &lt;&amp;&gt;</text>") != std::string::npos);
    CHECK(svg.find("nan") == std::string::npos);
    CHECK(svg.find("inf") == std::string::npos);
    // 8 B lies at the left edge, 1 MiB inside; 5 µs between 1 and 10, and 100 MB/s is an end of its axis.
    CHECK(svg.find("points=\"60.0,124.3 ") != std::string::npos);
    CHECK(svg.find("</svg>") != std::string::npos);
}

TEST_CASE("perf: the command")
{
    const File srd(measured("srd eth0", {8, 4096}));
    const File tcp(measured("tcp eth0", {8, 4096}));
    const File picture("");
    const Outcome outcome = run_srd("perf " + srd.name + ' ' + tcp.name + " -o " + picture.name);
    CHECK(outcome.status == 0);
    CHECK(outcome.output.empty());
    std::ostringstream text;
    text << std::ifstream(picture.name).rdbuf();
    CHECK(text.str().find("tcp eth0 (" + tcp.name + ')') != std::string::npos);
    CHECK(run_srd("perf " + srd.name).output.find("<svg") == 0);
    // A program that knows XML agrees.
    CHECK(run_shell("python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' " + picture.name)
              .status == 0);
}

TEST_CASE("perf: mistakes are said, with status 2")
{
    const auto said = [](const std::string& content, const std::string& what) {
        const File file(content);
        const Outcome outcome = run_srd("perf " + file.name + " 2>&1");
        INFO(outcome.output);
        CHECK(outcome.status == 2);
        CHECK(outcome.output.find(file.name + ": " + what) != std::string::npos);
    };
    said("   bytes      median us", "it is not what srd bench --json prints");
    said("{}", "it is not what srd bench --json prints");
    said(measured("srd eth0", {}), "it has no measurements");
    CHECK(run_srd("perf /nowhere 2>&1").output.find("cannot read /nowhere") != std::string::npos);
    const File file(measured("srd eth0", {8}));
    CHECK(run_srd("perf " + file.name + " -o /nowhere/plot.svg 2>&1").status == 2);
    CHECK(run_srd("perf 2>&1").status == 2);
}
