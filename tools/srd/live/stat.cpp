// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "live/stat.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <functional>
#include <iomanip>
#include <iterator>
#include <ostream>
#include <span>
#include <sstream>
#include <tuple>

namespace srd::tool {
namespace {

using Counts = std::map<std::string, std::uint64_t>;

std::uint64_t value_of(const Counts& counters, const char* name)
{
    const auto found = counters.find(name);
    return found == counters.end() ? 0 : found->second;
}

std::string seconds(std::uint64_t milliseconds)
{
    std::ostringstream text;
    text << std::fixed << std::setprecision(1) << static_cast<double>(milliseconds) / 1000 << " s";
    return text.str();
}

const char* word(PeerView::State state)
{
    switch (state) {
    case PeerView::State::idle:
        return "idle";
    case PeerView::State::greeting:
        return "introducing";
    case PeerView::State::established:
        return "connected";
    }
    return "?";
}

const char* word(PeerView::Awaits awaits)
{
    switch (awaits) {
    case PeerView::Awaits::nothing:
        return "nothing";
    case PeerView::Awaits::introduction:
        return "an answer to our introduction";
    case PeerView::Awaits::acknowledgement:
        return "acknowledgements";
    case PeerView::Awaits::answer:
        return "a receive that is posted there, or bytes that it is to send";
    case PeerView::Awaits::room:
        return "memory there for our messages (receives are not posted)";
    }
    return "?";
}

std::vector<unsigned> numbers(std::uint64_t bits)
{
    std::vector<unsigned> result;
    for (; bits != 0; bits &= bits - 1) {
        result.push_back(static_cast<unsigned>(std::countr_zero(bits)));
    }
    return result;
}

/// Of an address that a silent peer has, what is known.
std::string suspicion_of(const PeerView& view)
{
    if (view.suspicion == Cause::none) {
        return {};
    }
    if (view.is_suspect == 0 && view.heard != 0) {
        return "; its process exists, but is silent: it computes, or is stopped";
    }
    return std::string("; ") + to_string(view.suspicion);
}

void print_peers(const EndpointView& endpoint, std::ostream& out)
{
    if (endpoint.peer.empty()) {
        return;
    }
    out << "    " << std::left << std::setw(26) << "peer" << std::setw(12) << "state" << std::right
        << std::setw(9) << "rtt us" << std::setw(9) << "min us" << std::setw(12) << "window KiB"
        << std::setw(11) << "in flight" << std::setw(10) << "heard ms" << std::setw(7) << "MTU"
        << std::setw(7) << "paths" << std::setw(6) << "dark" << std::setw(8) << "resting" << std::setw(7)
        << "marked" << std::setw(7) << "again"
        << "  waits for\n";
    for (const auto& [address, view] : endpoint.peer) {
        out << "    " << std::left << std::setw(26) << address << std::setw(12)
            << (view.same_host != 0 && view.state == PeerView::State::established ? "same host"
                                                                                  : word(view.state))
            << std::right << std::setw(9) << view.rtt_us << std::setw(9) << view.rtt_min_us << std::setw(12)
            << view.window / 1024 << std::setw(11) << view.in_flight << std::setw(10);
        if (view.heard != 0) {
            out << view.heard_ago_us / 1000;
        } else {
            out << "never";
        }
        out << std::setw(7) << view.mtu << std::setw(7) << view.paths.count << std::setw(6)
            << std::popcount(view.paths.dark) << std::setw(8) << std::popcount(view.paths.resting)
            << std::setw(7) << std::popcount(view.paths.marked) << std::setw(7) << view.repeats_in_vain
            << "  " << word(view.awaits) << '\n';
    }
    if (endpoint.peers > endpoint.peer.size()) {
        out << "    and " << endpoint.peers - endpoint.peer.size() << " more peers\n";
    }
}

/// For how many of the listed peers nothing gets through on the path.
int dark_for(const EndpointView& endpoint, unsigned path)
{
    return static_cast<int>(std::ranges::count_if(endpoint.peer, [&](const EndpointView::Peer& peer) {
        return (peer.view.paths.dark >> path & 1U) != 0;
    }));
}

/// What all paths have carried, and the worst of them.
void print_paths(const EndpointView& endpoint, std::ostream& out)
{
    constexpr std::size_t worst_shown = 8;
    if (endpoint.paths.empty()) {
        return;
    }
    std::vector<EndpointView::Path> bad;
    std::ranges::copy_if(endpoint.paths, std::back_inserter(bad), [&](const EndpointView::Path& path) {
        return path.marked != 0 || path.lost != 0 || dark_for(endpoint, path.number) != 0;
    });
    std::ranges::stable_sort(bad, std::greater(), [&](const EndpointView::Path& path) {
        return std::tuple(dark_for(endpoint, path.number), path.lost, path.marked);
    });
    const auto [least, most] = std::ranges::minmax(endpoint.paths, {}, &EndpointView::Path::packets);
    out << "    " << endpoint.paths.size() << " paths have carried " << least.packets << " to "
        << most.packets << " packets each; on " << bad.size() << " of them some were marked or lost\n";
    for (const EndpointView::Path& path : std::span(bad).first(std::min(bad.size(), worst_shown))) {
        out << "    path " << std::setw(2) << path.number << std::setw(13) << path.packets << " packets"
            << std::setw(11) << path.marked << " marked" << std::setw(11) << path.lost << " lost";
        if (const int dark = dark_for(endpoint, path.number); dark != 0) {
            out << "; dark for " << dark << (dark == 1 ? " peer" : " peers");
        }
        out << '\n';
    }
}

nlohmann::json paths_json(const EndpointView& endpoint)
{
    nlohmann::json result = nlohmann::json::array();
    for (const EndpointView::Path& path : endpoint.paths) {
        result.push_back({{"number", path.number},
                          {"packets", path.packets},
                          {"marked", path.marked},
                          {"lost", path.lost},
                          {"dark_for_peers", dark_for(endpoint, path.number)}});
    }
    return result;
}

nlohmann::json peer_json(const EndpointView::Peer& peer)
{
    const PeerView& view = peer.view;
    nlohmann::json result{{"address", peer.address},
                          {"state", word(view.state)},
                          {"same_host", view.same_host != 0},
                          {"rtt_us", view.rtt_us},
                          {"rtt_min_us", view.rtt_min_us},
                          {"window_bytes", view.window},
                          {"in_flight_bytes", view.in_flight},
                          {"mtu", view.mtu},
                          {"repeats_in_vain", view.repeats_in_vain},
                          {"paths",
                           {{"count", view.paths.count},
                            {"dark", numbers(view.paths.dark)},
                            {"resting", numbers(view.paths.resting)},
                            {"marked", numbers(view.paths.marked)},
                            {"switches", view.paths.switches},
                            {"blackouts", view.paths.blackouts}}}};
    result["heard_ms_ago"] = view.heard != 0 ? nlohmann::json(view.heard_ago_us / 1000) : nlohmann::json();
    if (view.awaits != PeerView::Awaits::nothing) {
        result["waits_for"] = word(view.awaits);
        result["waiting_ms"] = view.waiting_us / 1000;
    }
    if (view.suspicion != Cause::none) {
        result["suspicion"] = to_string(view.suspicion);
        result["is_suspect"] = view.is_suspect != 0;
    }
    return result;
}

std::string name_of(const ProcessView& process)
{
    return "pid " + std::to_string(process.pid) + " (" + process.command + ") on " + process.host +
           (process.rank.empty() ? "" : ", rank " + process.rank);
}

std::string remarks(const LiveView& live)
{
    std::string text;
    if (live.forbidden != 0) {
        text += std::to_string(live.forbidden) + " processes of other users are not shown\n";
    }
    if (live.strange != 0) {
        text += std::to_string(live.strange) + " processes of other versions of srd are not shown\n";
    }
    return text;
}

} // namespace

std::map<std::string, std::uint64_t> efa_counters(const Counts& counters)
{
    std::uint64_t repeated = 0;
    for (const char* const name : {"retransmits_rack", "retransmits_probe", "retransmits_timeout",
                                   "retransmits_refused", "retransmits_mtu"}) {
        repeated += value_of(counters, name);
    }
    return {{"retrans_pkts", repeated},
            {"retrans_timeout_events", value_of(counters, "retransmits_timeout")},
            {"impaired_remote_conn_events",
             value_of(counters, "path_blackouts") + value_of(counters, "mtu_falls")},
            {"unresponsive_remote_events", value_of(counters, "peer_failures")}};
}

const char* state_of(const ProcessView& process)
{
    if (process.is_dead) {
        return "ended";
    }
    if (process.is_stopped) {
        return "stopped";
    }
    const bool answers = std::all_of(process.endpoints.begin(), process.endpoints.end(),
                                     [](const EndpointView& endpoint) { return endpoint.is_fresh; });
    return answers ? "running" : "not answering";
}

std::vector<std::string> waits_of(const EndpointView& endpoint)
{
    constexpr std::uint64_t worth_telling_us = 500'000;
    std::vector<std::string> lines;
    for (const auto& [address, view] : endpoint.peer) {
        if (view.awaits != PeerView::Awaits::nothing && view.waiting_us >= worth_telling_us) {
            lines.push_back("waiting for " + address + " since " + seconds(view.waiting_us / 1000) + ": " +
                            word(view.awaits) + suspicion_of(view));
        }
    }
    if (endpoint.silent_ms >= 1000) {
        lines.push_back("the application has made no call for " + seconds(endpoint.silent_ms) +
                        ": it computes, or waits for something else");
    } else if (endpoint.peers_waited == 0 && endpoint.receives != 0) {
        lines.push_back("nothing is under way; " + std::to_string(endpoint.receives) +
                        " posted receives wait for messages");
    }
    return lines;
}

void print_stat(const LiveView& live, std::ostream& out)
{
    for (const ProcessView& process : live.processes) {
        out << name_of(process) << ": " << state_of(process) << '\n';
        for (const EndpointView& endpoint : process.endpoints) {
            out << "  endpoint " << endpoint.address << " (" << endpoint.domain << "), " << endpoint.peers
                << " peers";
            if (endpoint.has_snapshot && !endpoint.is_fresh) {
                out << "; except for counters, as it was " << seconds(endpoint.age_ms) << " ago";
            }
            out << '\n';
            for (const std::string& line : waits_of(endpoint)) {
                out << "    " << line << '\n';
            }
            print_peers(endpoint, out);
            print_paths(endpoint, out);
            std::size_t column = 0;
            for (const auto& [name, value] : endpoint.counters) {
                if (value != 0) {
                    out << (column % 4 == 0 ? "    " : "  ") << std::left << std::setw(22) << name
                        << std::right << std::setw(13) << value << (column % 4 == 3 ? "\n" : "");
                    ++column;
                }
            }
            out << (column % 4 != 0 ? "\n" : "");
        }
    }
    out << remarks(live);
}

nlohmann::json stat_json(const LiveView& live)
{
    nlohmann::json processes = nlohmann::json::array();
    for (const ProcessView& process : live.processes) {
        nlohmann::json endpoints = nlohmann::json::array();
        for (const EndpointView& endpoint : process.endpoints) {
            nlohmann::json one{{"address", endpoint.address},
                               {"domain", endpoint.domain},
                               {"counters", endpoint.counters},
                               {"paths", paths_json(endpoint)},
                               {"efa_counters", efa_counters(endpoint.counters)}};
            if (endpoint.has_snapshot) {
                one["snapshot_age_ms"] = endpoint.age_ms;
                one["is_fresh"] = endpoint.is_fresh;
                one["application_silent_ms"] = endpoint.silent_ms;
                one["receives"] = endpoint.receives;
                one["peers"] = endpoint.peers;
                one["peers_waited_for"] = endpoint.peers_waited;
                one["peer"] = nlohmann::json::array();
                for (const EndpointView::Peer& peer : endpoint.peer) {
                    one["peer"].push_back(peer_json(peer));
                }
                one["explanation"] = waits_of(endpoint);
            }
            endpoints.push_back(std::move(one));
        }
        processes.push_back({{"pid", process.pid},
                             {"host", process.host},
                             {"rank", process.rank},
                             {"command", process.command},
                             {"state", state_of(process)},
                             {"started", process.started_ns / 1'000'000'000U},
                             {"endpoints", std::move(endpoints)}});
    }
    return {{"processes", std::move(processes)}, {"forbidden", live.forbidden}, {"strange", live.strange}};
}

void print_prometheus(const LiveView& live, std::ostream& out)
{
    const auto sample = [&](const std::string& metric, const ProcessView& process,
                            const EndpointView& endpoint, auto value) {
        out << metric << "{host=\"" << process.host << "\",pid=\"" << process.pid << "\",rank=\""
            << process.rank << "\",command=\"" << process.command << "\",endpoint=\"" << endpoint.address
            << "\"} " << value << '\n';
    };
    const auto family = [&](const std::string& metric, const char* kind, const char* text, auto&& value_of) {
        out << "# HELP " << metric << ' ' << text << "\n# TYPE " << metric << ' ' << kind << '\n';
        for (const ProcessView& process : live.processes) {
            for (const EndpointView& endpoint : process.endpoints) {
                sample(metric, process, endpoint, value_of(endpoint));
            }
        }
    };
    for_each_counter(Counters(), [&](const char* name, const char* text, std::uint64_t) {
        family("srd_" + std::string(name) + "_total", "counter", text,
               [&](const EndpointView& endpoint) { return value_of(endpoint.counters, name); });
    });
    family("srd_peers", "gauge", "peers that the endpoint has a record of",
           [](const EndpointView& endpoint) { return endpoint.peers; });
    family("srd_peers_waited_for", "gauge", "peers that owe an answer",
           [](const EndpointView& endpoint) { return endpoint.peers_waited; });
    family("srd_longest_wait_seconds", "gauge", "for a peer that owes an answer and is silent",
           [](const EndpointView& endpoint) {
               return endpoint.peer.empty()
                          ? 0
                          : static_cast<double>(endpoint.peer.front().view.waiting_us) / 1e6;
           });
    family("srd_dark_paths", "gauge", "paths of the listed peers that nothing gets through",
           [](const EndpointView& endpoint) {
               int dark = 0;
               for (const EndpointView::Peer& peer : endpoint.peer) {
                   dark += std::popcount(peer.view.paths.dark);
               }
               return dark;
           });
}

namespace {

/// What an endpoint did in the time between two looks, per second; nothing for one that was not there before.
struct TopRow {
    const ProcessView* process = nullptr;
    const EndpointView* endpoint = nullptr;
    double tx_packets = 0;
    double rx_packets = 0;
    double tx_bytes = 0;
    double rx_bytes = 0;
    double repeated = 0;
};

std::vector<TopRow> rates(const LiveView& live, const LiveView& before, double elapsed)
{
    std::map<std::string, const EndpointView*> earlier;
    for (const ProcessView& process : before.processes) {
        for (const EndpointView& endpoint : process.endpoints) {
            earlier[process.file + endpoint.address] = &endpoint;
        }
    }
    std::vector<TopRow> rows;
    for (const ProcessView& process : live.processes) {
        for (const EndpointView& endpoint : process.endpoints) {
            const auto found = earlier.find(process.file + endpoint.address);
            const bool is_new = found == earlier.end() || elapsed <= 0;
            const Counts& old = is_new ? endpoint.counters : found->second->counters;
            const auto rate = [&](const Counts& now, const Counts& then, const char* name) {
                const std::uint64_t value = value_of(now, name);
                const std::uint64_t more = value - std::min(value, value_of(then, name));
                return is_new ? 0.0 : static_cast<double>(more) / elapsed;
            };
            rows.push_back(
                {.process = &process,
                 .endpoint = &endpoint,
                 .tx_packets = rate(endpoint.counters, old, "tx_packets"),
                 .rx_packets = rate(endpoint.counters, old, "rx_packets"),
                 .tx_bytes = rate(endpoint.counters, old, "tx_message_bytes"),
                 .rx_bytes = rate(endpoint.counters, old, "rx_message_bytes"),
                 .repeated = rate(efa_counters(endpoint.counters), efa_counters(old), "retrans_pkts")});
        }
    }
    return rows;
}

} // namespace

void print_top(const LiveView& live, const LiveView& before, double elapsed, std::ostream& out)
{
    out << std::left << std::setw(9) << "pid" << std::setw(17) << "command" << std::setw(6) << "rank"
        << std::setw(15) << "state" << std::setw(24) << "endpoint" << std::right << std::setw(10)
        << "tx pkt/s" << std::setw(10) << "rx pkt/s" << std::setw(10) << "tx MB/s" << std::setw(10)
        << "rx MB/s" << std::setw(9) << "again/s" << std::setw(7) << "peers" << std::setw(7) << "waits"
        << '\n';
    std::string waits;
    for (const TopRow& row : rates(live, before, elapsed)) {
        const ProcessView& process = *row.process;
        const EndpointView& endpoint = *row.endpoint;
        out << std::left << std::setw(9) << process.pid << std::setw(17) << process.command << std::setw(6)
            << process.rank << std::setw(15) << state_of(process) << std::setw(24) << endpoint.address
            << std::right << std::fixed << std::setprecision(0) << std::setw(10) << row.tx_packets
            << std::setw(10) << row.rx_packets << std::setprecision(1) << std::setw(10) << row.tx_bytes / 1e6
            << std::setw(10) << row.rx_bytes / 1e6 << std::setprecision(0) << std::setw(9) << row.repeated
            << std::setw(7) << endpoint.peers << std::setw(7) << endpoint.peers_waited << '\n';
        for (const std::string& line : waits_of(endpoint)) {
            waits += "pid " + std::to_string(process.pid) + ", " + endpoint.address + ": " + line + '\n';
        }
    }
    out << '\n' << waits << remarks(live);
}

nlohmann::json top_json(const LiveView& live, const LiveView& before, double elapsed)
{
    nlohmann::json endpoints = nlohmann::json::array();
    for (const TopRow& row : rates(live, before, elapsed)) {
        endpoints.push_back({{"pid", row.process->pid},
                             {"host", row.process->host},
                             {"command", row.process->command},
                             {"rank", row.process->rank},
                             {"state", state_of(*row.process)},
                             {"address", row.endpoint->address},
                             {"tx_packets_per_s", row.tx_packets},
                             {"rx_packets_per_s", row.rx_packets},
                             {"tx_bytes_per_s", row.tx_bytes},
                             {"rx_bytes_per_s", row.rx_bytes},
                             {"repeated_packets_per_s", row.repeated},
                             {"peers", row.endpoint->peers},
                             {"peers_waited_for", row.endpoint->peers_waited},
                             {"explanation", waits_of(*row.endpoint)}});
    }
    return {{"seconds", elapsed}, {"endpoints", std::move(endpoints)}};
}

} // namespace srd::tool
