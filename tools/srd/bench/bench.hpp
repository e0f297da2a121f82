// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd bench: latency and bandwidth between two hosts through libfabric, for people who have no MPI at hand.
//
// The two ends meet over TCP and take one row after the other, each on new endpoints:
//     {"provider":P,"name":HEX,"size":N,"pings":N,"messages":N,"depth":N} -> {"name":HEX,"version":V}
// then, over libfabric, `pings` messages to and fro, `messages` in a row of which `depth` are under way, and
// one back.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace srd::tool {

inline constexpr std::uint16_t bench_port = 7471;

struct BenchRow {
    std::size_t size = 0;
    std::vector<double> half_round_trips_us; ///< sorted
    double bytes_per_second = 0;
    double messages_per_second = 0;
};

struct BenchResult {
    std::string domain;
    std::string peer_version;
    std::vector<BenchRow> rows;

    void print(std::ostream& out) const;
    nlohmann::json json() const;
};

/// Serves `clients` clients, 0: without end. Throws std::runtime_error.
void serve_bench(std::uint16_t port, std::size_t clients,
                 const std::function<void(const std::string&)>& tell);

/// Measures with messages of these sizes. Throws std::runtime_error.
BenchResult run_bench(const std::string& host, const std::string& provider,
                      const std::vector<std::size_t>& sizes);

} // namespace srd::tool
