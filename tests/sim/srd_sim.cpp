// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd_sim: runs simulated fabrics. Exit status 0: every run kept the law;
// 1: at least one did not (each is printed with the command that repeats it).
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include <unistd.h>

#include "sim/scenarios.hpp"
#include "sim/told_writes.hpp"

namespace {

using namespace srd::sim;

constexpr const char* usage =
    "usage: srd_sim [--scenario NAME]... [--seed N] [--count N] [--seconds N] [--check N] "
    "[--numbers WHERE] [--verbose] [--list]\n"
    "  --scenario NAME  only this one (may be repeated); otherwise all but the canaries\n"
    "  --seed N         first seed (1)\n"
    "  --count N        seeds per scenario (1)\n"
    "  --seconds N      go on with further seeds for so long\n"
    "  --numbers WHERE  psns, sequences, counts and clocks begin a little before they wrap: end, or middle\n"
    "                   (where differences change their sign)\n"
    "  --check N        check the engine's invariants at every N-th opportunity (16; 1 when one run is asked "
    "for)\n"
    "  --verbose        print each run's figures\n"
    "  --trace          print every datagram and every step of every message\n"
    "  --told-writes N  instead: N writes with data (fi_writedata) under FI_MORE and loss, each told exactly "
    "once\n"
    "  --list           name the scenarios and end\n";

struct Options {
    std::vector<const Scenario*> which;
    std::uint64_t seed = 1;
    std::uint64_t count = 1;
    double seconds = 0;
    std::uint32_t check_period = 0;
    Numbers numbers = Numbers::usual;
    std::uint64_t told_writes = 0;
    bool verbose = false;
    bool trace = false;
};

std::string current_command; ///< for the signal handler

/// An SRD_CHECK or a crash inside a run: say which run it was.
void on_fatal_signal(int signal)
{
    const char* const text = "srd_sim: this run crashed; repeat it with: ";
    [[maybe_unused]] auto written = ::write(STDERR_FILENO, text, std::strlen(text));
    written = ::write(STDERR_FILENO, current_command.data(), current_command.size());
    written = ::write(STDERR_FILENO, "\n", 1);
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

[[noreturn]] void die(const char* text)
{
    std::fputs(text, stderr);
    std::exit(2);
}

void list_and_exit()
{
    for (const Scenario& scenario : scenarios()) {
        std::printf("%-18s %s%s\n", scenario.name, scenario.what, scenario.canary ? " (canary)" : "");
    }
    std::exit(0);
}

std::uint64_t number(const char* text)
{
    char* end = nullptr;
    const std::uint64_t value = std::strtoull(text, &end, 0);
    if (end == text || *end != '\0') {
        die(usage);
    }
    return value;
}

Options parse(int argc, char** argv)
{
    Options options;
    for (int index = 1; index < argc; ++index) {
        const std::string name = argv[index];
        if (name == "--list") {
            list_and_exit();
        } else if (name == "--verbose") {
            options.verbose = true;
        } else if (name == "--trace") {
            options.trace = true;
        } else if (index + 1 >= argc) {
            die(usage);
        } else if (const char* value = argv[++index]; name == "--scenario") {
            const Scenario* scenario = find_scenario(value);
            if (scenario == nullptr) {
                die("srd_sim: no such scenario; --list names them\n");
            }
            options.which.push_back(scenario);
        } else if (name == "--seed") {
            options.seed = number(value);
        } else if (name == "--count") {
            options.count = number(value);
        } else if (name == "--seconds") {
            options.seconds = static_cast<double>(number(value));
        } else if (name == "--numbers") {
            if (std::strcmp(value, "end") != 0 && std::strcmp(value, "middle") != 0) {
                die(usage);
            }
            options.numbers = std::strcmp(value, "end") == 0 ? Numbers::end : Numbers::middle;
        } else if (name == "--told-writes") {
            options.told_writes = number(value);
        } else if (name == "--check") {
            options.check_period = static_cast<std::uint32_t>(number(value));
        } else {
            die(usage);
        }
    }
    if (options.which.empty()) {
        for (const Scenario& scenario : scenarios()) {
            if (!scenario.canary) {
                options.which.push_back(&scenario);
            }
        }
    } else if (options.which.size() == 1 && options.count == 1 && options.check_period == 0) {
        options.check_period = 1;
    }
    return options;
}

double cpu_seconds()
{
    return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

void print_figures(const RunResult& result)
{
    std::printf("  ended at %.3f ms, %llu events, %llu bytes received, %llu operations failed\n",
                static_cast<double>(result.ended.time_since_epoch().count()) * 1e-6,
                static_cast<unsigned long long>(result.events),
                static_cast<unsigned long long>(result.received_bytes),
                static_cast<unsigned long long>(result.failed_operations));
    std::printf(
        "  network: sent %llu lost %llu blackholed %llu tail-dropped %llu duplicated %llu corrupted %llu "
        "mangled %llu marked %llu\n",
        static_cast<unsigned long long>(result.net.sent), static_cast<unsigned long long>(result.net.lost),
        static_cast<unsigned long long>(result.net.blackholed),
        static_cast<unsigned long long>(result.net.tail_dropped),
        static_cast<unsigned long long>(result.net.duplicated),
        static_cast<unsigned long long>(result.net.corrupted),
        static_cast<unsigned long long>(result.net.mangled),
        static_cast<unsigned long long>(result.net.marked));
    for (const auto& [name, value] : result.counters) {
        if (value != 0) {
            std::printf("  %-24s %llu\n", name.c_str(), static_cast<unsigned long long>(value));
        }
    }
}

/// True if the run went as it should; a canary should fail.
bool run_one(const Scenario& scenario, std::uint64_t seed, const Options& options)
{
    current_command = replay_command(scenario.name, seed, options.numbers);
    RunConfig config = make_run(scenario, seed, options.numbers);
    if (options.check_period != 0) {
        config.host.check_period = options.check_period;
    }
    config.trace = options.trace;
    const double start = cpu_seconds();
    const RunResult result = run(config);
    const bool expected = result.ok != scenario.canary;
    if (options.verbose || !expected) {
        std::printf("%s %s seed %llu (%.2f s)%s%s\n", expected ? "ok  " : "FAIL", scenario.name,
                    static_cast<unsigned long long>(seed), cpu_seconds() - start, result.ok ? "" : ": ",
                    result.failure.c_str());
    }
    if (options.verbose) {
        print_figures(result);
    }
    if (!expected) {
        std::printf("     %srepeat: %s\n", scenario.canary ? "the checkers missed a broken variant; " : "",
                    current_command.c_str());
    }
    std::fflush(stdout);
    return expected;
}

int tell_writes(const Options& options)
{
    const ToldResult result = run_told_writes({.operations = options.told_writes, .seed = options.seed});
    std::printf("srd_sim: %llu writes with data, %llu packets lost, %llu repeated, %.1f s of CPU: %s\n",
                static_cast<unsigned long long>(options.told_writes),
                static_cast<unsigned long long>(result.lost_packets),
                static_cast<unsigned long long>(result.retransmissions), cpu_seconds(),
                result.failure.empty() ? "each told exactly once" : result.failure.c_str());
    return result.failure.empty() ? 0 : 1;
}

} // namespace

int main(int argc, char** argv)
{
    const Options options = parse(argc, argv);
    if (options.told_writes != 0) {
        return tell_writes(options);
    }
    std::signal(SIGABRT, on_fatal_signal);
    std::signal(SIGSEGV, on_fatal_signal);
    std::uint64_t runs = 0;
    std::uint64_t failures = 0;
    const std::time_t start = std::time(nullptr);
    std::uint64_t seed = options.seed;
    do {
        for (const Scenario* scenario : options.which) {
            ++runs;
            failures += !run_one(*scenario, seed, options);
        }
        ++seed;
    } while (seed < options.seed + options.count ||
             std::difftime(std::time(nullptr), start) < options.seconds);
    std::printf("srd_sim: %llu runs, %llu failures, %.1f s of CPU\n", static_cast<unsigned long long>(runs),
                static_cast<unsigned long long>(failures), cpu_seconds());
    return failures == 0 ? 0 : 1;
}
