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
#include <iterator>
#include <string>
#include <type_traits>
#include <vector>

#include <getopt.h>

#include "control.hpp"

namespace bench {

struct Options {
    int rank = 0;               ///< 0 measures and prints, 1 answers
    int control_fd = -1;        ///< stream socket to the other rank
    int cpu = -1;               ///< CPU to pin to; negative: none
    std::string provider;       ///< libfabric provider name; unused by raw_udp
    std::string domain;         ///< libfabric domain name; empty: the provider's choice
    std::string address;        ///< this rank's IP address; empty: the provider's choice
    double seconds = 0.5;       ///< per measured point
    double timeout = 15;        ///< seconds without any progress until the run is a failure
    std::size_t window = 64;    ///< sends outstanding in a stream
    std::size_t segment = 1472; ///< raw_udp: largest datagram of a stream
    std::vector<std::size_t> latency;
    std::vector<std::size_t> send_latency;
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
    std::array<const std::vector<std::size_t>*, 11> all_sizes() const
    {
        return {&latency,       &send_latency,    &rate,         &bandwidth,      &write_ping,
                &write_latency, &write_bandwidth, &read_latency, &read_bandwidth, &fetch_add_latency,
                &fetch_add_rate};
    }
    bool wants_remote_memory() const
    {
        const auto all = all_sizes();
        return std::any_of(all.begin() + 4, all.end(), [](const auto* sizes) { return !sizes->empty(); });
    }

    std::int64_t point_ns() const { return static_cast<std::int64_t>(seconds * 1e9); }
    std::int64_t timeout_ns() const { return static_cast<std::int64_t>(timeout * 1e9); }
};

/// One value of the command line into the options.
template <auto Member>
void take(Options& options, const char* text)
{
    auto& field = options.*Member;
    using Field = std::remove_reference_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, std::vector<std::size_t>>) {
        field = parse_sizes(text);
    } else if constexpr (std::is_same_v<Field, std::string>) {
        field = text;
    } else if constexpr (std::is_same_v<Field, double>) {
        field = std::atof(text);
    } else {
        field = static_cast<Field>(std::strtol(text, nullptr, 10));
    }
}

inline constexpr struct {
    const char* name;
    void (*take)(Options&, const char*);
} option_table[] = {
    {"rank", take<&Options::rank>},
    {"control-fd", take<&Options::control_fd>},
    {"cpu", take<&Options::cpu>},
    {"provider", take<&Options::provider>},
    {"domain", take<&Options::domain>},
    {"address", take<&Options::address>},
    {"seconds", take<&Options::seconds>},
    {"timeout", take<&Options::timeout>},
    {"window", take<&Options::window>},
    {"segment", take<&Options::segment>},
    {"latency", take<&Options::latency>},
    {"send_latency", take<&Options::send_latency>},
    {"rate", take<&Options::rate>},
    {"bandwidth", take<&Options::bandwidth>},
    {"write_latency", take<&Options::write_latency>},
    {"write_bandwidth", take<&Options::write_bandwidth>},
    {"read_latency", take<&Options::read_latency>},
    {"read_bandwidth", take<&Options::read_bandwidth>},
    {"fetch_add_latency", take<&Options::fetch_add_latency>},
    {"fetch_add_rate", take<&Options::fetch_add_rate>},
    {"write_ping", take<&Options::write_ping>},
};

inline Options parse_options(int argc, char** argv)
{
    std::array<option, std::size(option_table) + 1> table{};
    for (std::size_t i = 0; i < std::size(option_table); ++i) {
        table[i] = {option_table[i].name, required_argument, nullptr, static_cast<int>(i)};
    }
    Options options;
    int index = 0;
    while ((index = getopt_long(argc, argv, "", table.data(), nullptr)) != -1) {
        if (index == '?') {
            throw Error("unknown option; bench/compare starts this program");
        }
        option_table[index].take(options, optarg);
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
