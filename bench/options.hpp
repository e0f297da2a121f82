// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The command line that every client of bench/compare understands.
#pragma once

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
        {nullptr, 0, nullptr, 0},
    };
    Options options;
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
