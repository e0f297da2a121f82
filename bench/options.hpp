// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The command line that every client of bench/compare understands.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include <getopt.h>

#include "control.hpp"

namespace bench {

struct Options {
    int rank = 0;               ///< 0 measures and prints, 1 answers
    int control_fd = -1;        ///< stream socket to the other rank
    int cpu = -1;               ///< CPU to pin to; negative: none
    std::string provider;       ///< libfabric provider name; unused by raw_udp
    std::string address;        ///< this rank's IP address; empty: the provider's choice
    double seconds = 0.5;       ///< per measured point
    double timeout = 15;        ///< seconds without any progress until the run is a failure
    std::size_t window = 64;    ///< sends outstanding in a stream
    std::size_t segment = 1472; ///< raw_udp: largest datagram of a stream
    std::vector<std::size_t> latency;
    std::vector<std::size_t> rate;
    std::vector<std::size_t> bandwidth;
    std::vector<std::size_t> write_ping; ///< 8 or nothing
    std::vector<std::size_t> write_latency;
    std::vector<std::size_t> write_bandwidth;
    std::vector<std::size_t> read_latency;
    std::vector<std::size_t> read_bandwidth;
    std::vector<std::size_t> fetch_add_latency; ///< 8 or nothing
    std::vector<std::size_t> fetch_add_rate;    ///< 8 or nothing

    /// Bytes of the messages and transfers to measure, by test.
    std::array<const std::vector<std::size_t>*, 10> all_sizes() const
    {
        return {&latency,         &rate,         &bandwidth,      &write_ping,        &write_latency,
                &write_bandwidth, &read_latency, &read_bandwidth, &fetch_add_latency, &fetch_add_rate};
    }
    bool wants_remote_memory() const
    {
        const auto all = all_sizes();
        return std::any_of(all.begin() + 3, all.end(), [](const auto* sizes) { return !sizes->empty(); });
    }

    std::int64_t point_ns() const { return static_cast<std::int64_t>(seconds * 1e9); }
    std::int64_t timeout_ns() const { return static_cast<std::int64_t>(timeout * 1e9); }
};

inline Options parse_options(int argc, char** argv)
{
    static const option table[] = {
        {"rank", required_argument, nullptr, 'r'},
        {"control-fd", required_argument, nullptr, 'f'},
        {"cpu", required_argument, nullptr, 'c'},
        {"provider", required_argument, nullptr, 'p'},
        {"address", required_argument, nullptr, 'a'},
        {"seconds", required_argument, nullptr, 's'},
        {"timeout", required_argument, nullptr, 't'},
        {"window", required_argument, nullptr, 'w'},
        {"segment", required_argument, nullptr, 'g'},
        {"latency", required_argument, nullptr, 'L'},
        {"rate", required_argument, nullptr, 'R'},
        {"bandwidth", required_argument, nullptr, 'B'},
        {"write_latency", required_argument, nullptr, 1},
        {"write_bandwidth", required_argument, nullptr, 2},
        {"read_latency", required_argument, nullptr, 3},
        {"read_bandwidth", required_argument, nullptr, 4},
        {"fetch_add_latency", required_argument, nullptr, 5},
        {"fetch_add_rate", required_argument, nullptr, 6},
        {"write_ping", required_argument, nullptr, 7},
        {nullptr, 0, nullptr, 0},
    };
    Options options;
    std::vector<std::size_t>* const remote[] = {
        &options.write_latency,     &options.write_bandwidth, &options.read_latency, &options.read_bandwidth,
        &options.fetch_add_latency, &options.fetch_add_rate,  &options.write_ping};
    int letter = 0;
    while ((letter = getopt_long(argc, argv, "", table, nullptr)) != -1) {
        switch (letter) {
        case 'r':
            options.rank = std::atoi(optarg);
            break;
        case 'f':
            options.control_fd = std::atoi(optarg);
            break;
        case 'c':
            options.cpu = std::atoi(optarg);
            break;
        case 'p':
            options.provider = optarg;
            break;
        case 'a':
            options.address = optarg;
            break;
        case 's':
            options.seconds = std::atof(optarg);
            break;
        case 't':
            options.timeout = std::atof(optarg);
            break;
        case 'w':
            options.window = std::strtoul(optarg, nullptr, 10);
            break;
        case 'g':
            options.segment = std::strtoul(optarg, nullptr, 10);
            break;
        case 'L':
            options.latency = parse_sizes(optarg);
            break;
        case 'R':
            options.rate = parse_sizes(optarg);
            break;
        case 'B':
            options.bandwidth = parse_sizes(optarg);
            break;
        case 1:
        case 2:
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
            *remote[letter - 1] = parse_sizes(optarg);
            break;
        default:
            throw Error("unknown option; bench/compare starts this program");
        }
    }
    if (options.control_fd < 0 || options.window == 0 || options.segment == 0 || options.seconds <= 0) {
        throw Error("bench/compare starts this program: --control-fd, --window, --segment or --seconds is "
                    "missing or 0");
    }
    return options;
}

/// main() of a client: `run` with the parsed options; what goes wrong is one line and exit status 1.
inline int client_main(int argc, char** argv, const char* name, void (*run)(const Options&))
{
    try {
        run(parse_options(argc, argv));
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", name, error.what());
        return 1;
    }
}

} // namespace bench
