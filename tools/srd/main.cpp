// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd: what administrators and users ask of the provider, beside their programs.
#include <chrono>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include <srd/shm_object.hpp>
#include <srd/trace.hpp>

#include "bench/bench.hpp"
#include "bench/perf.hpp"
#include "doctor.hpp"
#include "live/process_files.hpp"
#include "live/stat.hpp"
#include "live/trace.hpp"
#include "report.hpp"

namespace {

using namespace srd;
using namespace srd::tool;

struct BenchOptions {
    std::string host;
    std::string provider = "srd";
    std::uint16_t port = bench_port;
    std::size_t clients = 0;
    std::vector<std::size_t> sizes{8, 64, 1024, 4096, 16384, 65536, 1048576};
    bool as_json = false;
};

int bench(const BenchOptions& options)
{
    if (options.host.empty()) {
        serve_bench(options.port, options.clients,
                    [](const std::string& text) { std::cout << text << std::endl; });
        return 0;
    }
    const BenchResult result = run_bench(options.host, options.provider, options.sizes);
    if (options.as_json) {
        std::cout << result.json().dump(2) << '\n';
    } else {
        result.print(std::cout);
    }
    return 0;
}

void add_bench(CLI::App& app, int& status)
{
    static BenchOptions options;
    CLI::App* const command =
        app.add_subcommand("bench", "Measure latency and bandwidth between two hosts through libfabric");
    CLI::Option* const host = command->add_option(
        "HOST", options.host, "Measure against HOST[:PORT], where srd bench runs; without it, be that host");
    command->add_option("--port", options.port, "Wait at this TCP port")
        ->capture_default_str()
        ->excludes(host);
    command->add_option("--clients", options.clients, "End after that many clients")->excludes(host);
    command->add_option("--provider", options.provider, "libfabric's provider")
        ->capture_default_str()
        ->needs(host);
    command->add_option("--sizes", options.sizes, "Sizes of messages, at most 67108864 bytes")
        ->check(CLI::Range(std::size_t{1}, std::size_t{64} << 20))
        ->delimiter(',')
        ->needs(host);
    command->add_flag("--json", options.as_json, "Print JSON")->needs(host);
    command->callback([&status] { status = bench(options); });
}

struct PerfOptions {
    std::vector<std::string> files;
    std::string output = "-";
};

int perf(const PerfOptions& options)
{
    std::vector<PerfRun> runs;
    for (const std::string& name : options.files) {
        std::ifstream in(name);
        if (!in) {
            throw std::runtime_error("cannot read " + name);
        }
        try {
            runs.push_back(read_run(in));
        } catch (const std::runtime_error& error) {
            throw std::runtime_error(name + ": " + error.what());
        }
        if (options.files.size() > 1) { // several may be of one interface
            runs.back().name += " (" + name + ')';
        }
    }
    if (options.output == "-") {
        write_plot(runs, std::cout);
        return 0;
    }
    std::ofstream out(options.output);
    write_plot(runs, out);
    if (!out.flush()) {
        throw std::runtime_error("cannot write " + options.output);
    }
    return 0;
}

void add_perf(CLI::App& app, int& status)
{
    static PerfOptions options;
    CLI::App* const command =
        app.add_subcommand("perf", "Plot what srd bench --json measured: latency and bandwidth by size");
    command->add_option("FILE", options.files, "What srd bench --json printed, one file for each line")
        ->required();
    command->add_option("-o,--output", options.output, "Write the picture there (SVG); -: to stdout")
        ->capture_default_str();
    command->callback([&status] { status = perf(options); });
}

struct ReportOptions {
    std::vector<std::string> files;
    bool as_json = false;
};

int report(const ReportOptions& options)
{
    Report sums;
    for (const std::string& name : options.files) {
        std::ifstream in(name);
        if (!in) {
            std::cerr << "srd report: cannot read " << name << '\n';
            return 2;
        }
        sums.add(in);
    }
    if (options.as_json) {
        std::cout << sums.json().dump(2) << '\n';
    } else {
        sums.print(std::cout);
    }
    return sums.endpoints() == 0 ? 2 : sums.strange_lines() != 0 ? 1 : 0;
}

void add_report(CLI::App& app, int& status)
{
    static ReportOptions options;
    CLI::App* const command =
        app.add_subcommand("report", "Sum up the statistics that endpoints wrote (FI_SRD_STATS)");
    command->add_option("FILE", options.files, "Files that FI_SRD_STATS named")->required();
    command->add_flag("--json", options.as_json, "Print JSON");
    command->footer("Exit status: 0, 1 if lines were left out, 2 if there is nothing to sum up.");
    command->callback([&status] { status = report(options); });
}

struct StatOptions {
    std::vector<std::uint64_t> pids;
    double interval = 0;
    std::uint64_t times = 0; ///< 0: until somebody ends us
    bool all = false;        ///< what is done without pids, said aloud
    bool dead = false;
    bool clean = false;
    bool as_json = false;
    bool for_prometheus = false;
};

/// 2: there is nothing to show, 1: somebody is waited for in vain.
int status_of(const LiveView& live)
{
    if (live.processes.empty()) {
        return 2;
    }
    for (const ProcessView& process : live.processes) {
        for (const EndpointView& endpoint : process.endpoints) {
            for (const EndpointView::Peer& peer : endpoint.peer) {
                if (peer.view.suspicion != Cause::none) {
                    return 1;
                }
            }
        }
    }
    return 0;
}

int stat(const StatOptions& options)
{
    if (options.clean) {
        std::cout << "removed the statistics of " << remove_dead() << " ended processes\n";
        remove_ownerless(trace_prefix);
        return 0;
    }
    for (std::uint64_t round = 1;; ++round) {
        const LiveView live = read_live(options.pids, options.dead);
        if (options.as_json) {
            std::cout << stat_json(live).dump(options.interval > 0 ? -1 : 2) << std::endl;
        } else if (options.for_prometheus) {
            print_prometheus(live, std::cout);
        } else {
            print_stat(live, std::cout);
        }
        if (live.processes.empty() && !options.as_json) {
            std::cerr << "srd stat: no such process has an endpoint of srd\n";
        }
        if (options.interval <= 0 || round == options.times) {
            return status_of(live);
        }
        std::cout << std::flush;
        std::this_thread::sleep_for(std::chrono::duration<double>(options.interval));
    }
}

void add_stat(CLI::App& app, int& status)
{
    static StatOptions options;
    CLI::App* const command =
        app.add_subcommand("stat", "Show live statistics of running processes that use srd");
    CLI::Option* const pids =
        command->add_option("PID", options.pids, "Of these processes; without it, of all that may be read");
    command->add_flag("--all", options.all, "All processes that may be read, as without PID")->excludes(pids);
    command->add_flag("--dead", options.dead,
                      "Those of processes that were killed, or ended without closing their endpoints, too");
    command->add_flag("--clean", options.clean, "Remove what such processes have left");
    CLI::Option* const watch = command->add_option("--watch", options.interval, "Again every so many seconds")
                                   ->check(CLI::PositiveNumber);
    command->add_option("--times", options.times, "So many times")->needs(watch);
    CLI::Option* const json = command->add_flag("--json", options.as_json, "Print JSON");
    command->add_flag("--prometheus", options.for_prometheus, "Print what Prometheus' node exporter reads")
        ->excludes(json);
    command->footer(
        "Exit status: 0, 1 if somebody is waited for who is silent, 2 if there is nothing to show.");
    command->callback([&status] { status = stat(options); });
}

struct TraceOptions {
    std::vector<std::uint64_t> pids;
    std::uint32_t on = 0;
    bool off = false;
    bool dead = false;
    std::string file; ///< for Wireshark
    bool as_json = false;
};

/// The processes look five times a second.
std::vector<TraceView> traces_in_time(const TraceOptions& options)
{
    std::vector<TraceView> traces;
    for (int tries = 0; tries < 20 && traces.empty(); ++tries) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        traces = read_traces(options.pids, false);
    }
    return traces;
}

/// Whether the endpoints' traces find room where the processes have them, with a line if not. A process asks
/// again for itself; but what it says, its user hears.
bool has_room(const TraceOptions& options)
{
    std::size_t endpoints = 0;
    for (const ProcessView& process : read_live(options.pids, false, 0).processes) {
        endpoints += process.endpoints.size();
    }
    const std::uint64_t each = endpoints == 0 ? UINT64_MAX : shm_spare() / endpoints;
    if (trace_file_size(options.on) <= each) {
        return true;
    }
    const std::uint64_t most = each < trace_offset ? 0 : (each - trace_offset) / sizeof(TraceRecord);
    std::cerr << "srd trace: there is no room for " << options.on << " events of each of " << endpoints
              << " endpoints: " << shm_folder << " has room for " << most << '\n';
    return false;
}

int switch_trace(const TraceOptions& options)
{
    if (!options.off && !has_room(options)) {
        return 2;
    }
    if (order_trace(options.pids, options.off ? 0 : options.on) == 0) {
        std::cerr << "srd trace: no such process has an endpoint of srd\n";
        return 2;
    }
    if (options.off) {
        return 0;
    }
    if (traces_in_time(options).empty()) {
        std::cerr << "srd trace: no trace has begun: the process is stopped, or has no room in /dev/shm\n";
        return 2;
    }
    std::cout << "the last " << options.on
              << " events of each endpoint are kept from now on: srd trace shows them\n";
    return 0;
}

int trace(const TraceOptions& options)
{
    if (options.on != 0 || options.off) {
        return switch_trace(options);
    }
    const std::vector<TraceView> traces = read_traces(options.pids, options.dead);
    if (traces.empty()) {
        std::cerr
            << "srd trace: nothing is traced; FI_SRD_TRACE=4096 does so from the start, srd trace --on 4096 "
               "from now on\n";
        return 2;
    }
    if (!options.file.empty()) {
        std::ofstream out(options.file, std::ios::binary);
        write_pcapng(traces, out);
        if (!out.flush()) {
            std::cerr << "srd trace: cannot write " << options.file << '\n';
            return 2;
        }
    } else if (options.as_json) {
        std::cout << traces_json(traces).dump(2) << '\n';
    } else {
        print_traces(traces, std::cout);
    }
    return 0;
}

void add_trace(CLI::App& app, int& status)
{
    static TraceOptions options;
    CLI::App* const command =
        app.add_subcommand("trace", "Show the last packets and events of endpoints, or have them kept");
    command->add_option("PID", options.pids, "Of these processes; without it, of all that may be read");
    CLI::Option* const on =
        command->add_option("--on", options.on, "Keep so many events of each endpoint from now on")
            ->check(CLI::Range(1U, most_trace_records));
    command->add_flag("--off", options.off, "Keep none any more")->excludes(on);
    command->add_flag("--dead", options.dead, "Those of processes that were killed or crashed, too");
    command->add_option("--write", options.file, "Write a file for Wireshark (pcapng)");
    command->add_flag("--json", options.as_json, "Print JSON");
    command->footer("Exit status: 0, 2 if there is nothing to show.");
    command->callback([&status] { status = trace(options); });
}

int top(const StatOptions& options)
{
    LiveView before;
    auto read_at = std::chrono::steady_clock::now();
    for (std::uint64_t round = 0;; ++round) {
        const LiveView live = read_live(options.pids, false);
        const auto now = std::chrono::steady_clock::now();
        if (round != 0 || options.times == 0) {
            const double elapsed = std::chrono::duration<double>(now - read_at).count();
            if (options.as_json) {
                std::cout << top_json(live, before, elapsed).dump() << '\n'; // a line each
            } else {
                std::cout << (options.times == 0 ? "\x1b[H\x1b[2J" : ""); // the terminal is cleared
                print_top(live, before, elapsed, std::cout);
            }
            std::cout << std::flush;
        }
        if (options.times != 0 && round == options.times) {
            return status_of(live);
        }
        before = live;
        read_at = now;
        std::this_thread::sleep_for(std::chrono::duration<double>(options.interval));
    }
}

void add_top(CLI::App& app, int& status)
{
    static StatOptions options;
    options.interval = 1;
    CLI::App* const command =
        app.add_subcommand("top", "Watch running processes that use srd: rates, and who waits for whom");
    command->add_option("PID", options.pids, "These processes; without it, all that may be read");
    command->add_option("--watch", options.interval, "Seconds between two looks")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    command->add_option("--times", options.times, "So many times, one below the other");
    command->add_flag("--json", options.as_json, "Print JSON, a line for each look");
    command->callback([&status] { status = top(options); });
}

} // namespace

int main(int argc, char** argv)
{
    CLI::App app("Tools for the libfabric provider srd");
    app.set_version_flag("--version", SRD_VERSION);
    app.require_subcommand(1);
    int status = 0;
    add_doctor(app, status);
    add_bench(app, status);
    add_perf(app, status);
    add_report(app, status);
    add_stat(app, status);
    add_top(app, status);
    add_trace(app, status);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const std::exception& error) {
        std::cerr << "srd: " << error.what() << '\n';
        return 2;
    }
    return status;
}
