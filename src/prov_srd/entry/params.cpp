// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/params.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <functional>
#include <limits>
#include <mutex>
#include <string_view>

#include "common/c_api.hpp"

namespace srd {

namespace {

/// Takes a value. False: it is not allowed.
using Setter = bool (*)(Params&, std::string_view);

struct Variable {
    const char* name;    ///< without FI_SRD_
    const char* allowed; ///< "16..1024 KiB"-like text for the warning, and the end of the description
    const char* text;    ///< what it does, unit and default included
    Setter set;
};

bool to_number(std::string_view text, std::uint64_t minimum, std::uint64_t maximum, std::uint64_t& value)
{
    const char* const end = text.data() + text.size();
    const auto [stop, code] = std::from_chars(text.data(), end, value);
    return code == std::errc{} && stop == end && value >= minimum && value <= maximum;
}

/// Reads a number between the bounds into `field`, whatever unsigned type it has.
template <std::uint64_t minimum, std::uint64_t maximum, typename Field>
bool to_field(std::string_view text, Field& field)
{
    static_assert(maximum <= std::numeric_limits<Field>::max());
    std::uint64_t value = 0;
    if (!to_number(text, minimum, maximum, value)) {
        return false;
    }
    field = static_cast<Field>(value);
    return true;
}

template <typename Unit, std::int64_t minimum, std::int64_t maximum>
bool to_duration(std::string_view text, Duration& field)
{
    std::uint64_t value = 0;
    if (!to_number(text, minimum, maximum, value)) {
        return false;
    }
    field = Unit(static_cast<std::int64_t>(value));
    return true;
}

template <typename Enum, std::size_t count>
bool to_choice(std::string_view text, const std::pair<std::string_view, Enum> (&choices)[count], Enum& field)
{
    for (const auto& [name, value] : choices) {
        if (text == name) {
            field = value;
            return true;
        }
    }
    return false;
}

constexpr std::pair<std::string_view, CongestionPolicy> congestion_policies[] = {
    {"swift", CongestionPolicy::swift}, {"fixed", CongestionPolicy::fixed}};
constexpr std::pair<std::string_view, PathPolicy> path_policies[] = {{"adaptive", PathPolicy::adaptive},
                                                                     {"round_robin", PathPolicy::round_robin},
                                                                     {"single", PathPolicy::single}};

constexpr std::pair<std::string_view, Backend> backends[] = {
    {"udp", Backend::udp}, {"packet", Backend::packet}, {"xdp", Backend::xdp}, {"verbs", Backend::verbs}};

constexpr std::pair<std::string_view, bool> switches[] = {{"0", false}, {"1", true}};

bool to_interfaces(std::string_view text, std::vector<std::string>& names)
{
    names.clear();
    while (!text.empty()) {
        const std::size_t comma = std::min(text.find(','), text.size());
        if (comma == 0) {
            return false;
        }
        names.emplace_back(text.substr(0, comma));
        text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return !names.empty();
}

using std::chrono::microseconds;
using std::chrono::milliseconds;

// The defaults are those of Limits, Tuning and Params; a test compares them with these texts.
constexpr Variable variables[] = {
    {"EAGER_SIZE", "0..131072 bytes",
     "longest message that is sent without asking the receiver, bytes (default 16384)",
     [](Params& p, std::string_view t) { return to_field<0, 131072>(t, p.tuning.eager_size); }},
    {"WINDOW", "16384..1073741824 bytes",
     "upper bound of the congestion window per peer, bytes (default 8388608)",
     [](Params& p, std::string_view t) { return to_field<16384, 1U << 30>(t, p.tuning.window_max); }},
    {"CONGESTION", "swift or fixed",
     "congestion control: swift (by delay) or fixed (window of FI_SRD_WINDOW) (default swift)",
     [](Params& p, std::string_view t) { return to_choice(t, congestion_policies, p.tuning.congestion); }},
    {"PATHS", "1..64", "number of network paths that packets to one peer are spread over (default 64)",
     [](Params& p, std::string_view t) { return to_field<1, max_paths>(t, p.io.path_count); }},
    {"PATH_POLICY", "adaptive, round_robin or single",
     "how paths are chosen: adaptive (avoid those with loss or marks), round_robin or single (default "
     "adaptive)",
     [](Params& p, std::string_view t) { return to_choice(t, path_policies, p.tuning.paths); }},
    {"PEER_TIMEOUT_MS", "10..86400000 ms",
     "silence of a known peer, while data is unacknowledged, after which it is dead, ms (default 5000)",
     [](Params& p, std::string_view t) {
         return to_duration<milliseconds, 10, 86400000>(t, p.tuning.peer_timeout);
     }},
    {"CONNECT_TIMEOUT_MS", "10..86400000 ms",
     "the same for an address that has never answered, ms (default 30000)",
     [](Params& p, std::string_view t) {
         return to_duration<milliseconds, 10, 86400000>(t, p.tuning.connect_timeout);
     }},
    {"STOPPED_TIMEOUT_MS", "10..86400000 ms",
     "the same while the peer's process is seen to exist (stopped, in a debugger), ms (default 3600000)",
     [](Params& p, std::string_view t) {
         return to_duration<milliseconds, 10, 86400000>(t, p.tuning.stopped_timeout);
     }},
    {"RNR_TIMEOUT_MS", "10..86400000 ms",
     "time after which a message is given up whose receiver stays out of memory, ms (default 3600000)",
     [](Params& p, std::string_view t) {
         return to_duration<milliseconds, 10, 86400000>(t, p.tuning.rnr_timeout);
     }},
    {"ACK_DELAY_US", "0..10000 us",
     "longest time that an acknowledgement is held back so that several are coalesced, us (default 25)",
     [](Params& p, std::string_view t) {
         return to_duration<microseconds, 0, 10000>(t, p.tuning.ack_delay);
     }},
    {"RTO_MIN_US", "50..1000000 us", "shortest retransmission timeout, us (default 300)",
     [](Params& p, std::string_view t) {
         return to_duration<microseconds, 50, 1000000>(t, p.tuning.rto_min);
     }},
    {"TARGET_DELAY_US", "1..100000 us", "queueing delay that congestion control aims at, us (default 50)",
     [](Params& p, std::string_view t) {
         return to_duration<microseconds, 1, 100000>(t, p.tuning.target_delay);
     }},
    {"GRANT_BUDGET", "65536..1073741824 bytes",
     "bytes of large messages that a receiver lets all senders together have under way (default 4194304)",
     [](Params& p, std::string_view t) { return to_field<65536, 1U << 30>(t, p.tuning.grant_budget); }},
    {"UNEXPECTED_BYTES", "65536..1099511627776 bytes",
     "memory for messages without a posted receive, bytes; beyond it senders wait (default 134217728)",
     [](Params& p, std::string_view t) { return to_field<65536, 1ULL << 40>(t, p.limits.unexpected_bytes); }},
    {"MTU", "576..65507 bytes",
     "upper bound of a packet's UDP payload, bytes (default 65507: what the path carries)",
     [](Params& p, std::string_view t) { return to_field<576, max_udp_payload>(t, p.io.max_packet); }},
    {"SOCKET_BUFFER", "65536..1073741824 bytes",
     "socket send and receive buffers to ask the kernel for, bytes (default 8388608)",
     [](Params& p, std::string_view t) { return to_field<65536, 1U << 30>(t, p.io.socket_buffer); }},
    {"MAX_PEERS", "1..1048576",
     "remote endpoints that one endpoint can have state for at a time (default 65536)",
     [](Params& p, std::string_view t) { return to_field<1, 1U << 20>(t, p.limits.max_peers); }},
    {"BACKEND", "udp, packet, xdp or verbs",
     "what moves packets: udp (sockets), packet (AF_PACKET rings), xdp (AF_XDP sockets) or verbs (RDMA "
     "devices with RoCE v2) (default udp)",
     [](Params& p, std::string_view t) { return to_choice(t, backends, p.backend); }},
    {"XDP_QUEUES", "0..256",
     "receive queues of the interface that an endpoint of the backend xdp takes; 0 is all that are free "
     "(default 0)",
     [](Params& p, std::string_view t) { return to_field<0, 256>(t, p.xdp_queues); }},
    {"SHM", "0 or 1", "shared memory to processes of the same user on this host: 1 on, 0 off (default 1)",
     [](Params& p, std::string_view t) { return to_choice(t, switches, p.shm); }},
    {"INTERFACE", "names of network interfaces, separated by commas",
     "the only network interfaces to use, separated by commas (default: all that are up)",
     [](Params& p, std::string_view t) { return to_interfaces(t, p.interfaces); }},
    {"STATS", "- or a file name",
     "where each endpoint writes its statistics when it is closed: - for stderr, or a file to append to, in "
     "whose name %p stands for the process id (default: nowhere)",
     [](Params& p, std::string_view t) {
         p.stats = t;
         return !t.empty();
     }},
};

std::once_flag loaded;
int load_result = 0;

/// Never destroyed: an endpoint may outlive the process's static destructors.
Params& storage()
{
    static auto* const values = new Params;
    return *values;
}

void load()
{
    Params values;
    for (const Variable& variable : variables) {
        char* text = nullptr;
        if (fi_param_get_str(&provider, variable.name, &text) != 0 || text == nullptr) {
            continue;
        }
        if (!variable.set(values, text)) {
            SRD_WARN(FI_LOG_CORE,
                     "FI_SRD_%s=\"%s\" is not allowed: give %s, or unset it; srd is not offered until then",
                     variable.name, text, variable.allowed);
            load_result = -FI_EINVAL;
        }
    }
    if (values.tuning.eager_size > values.limits.unexpected_bytes) {
        SRD_WARN(
            FI_LOG_CORE,
            "FI_SRD_EAGER_SIZE is larger than FI_SRD_UNEXPECTED_BYTES, so that such a message could never be "
            "taken in: lower the one or raise the other; srd is not offered until then");
        load_result = -FI_EINVAL;
    }
    values.limits.max_packet = values.io.max_packet;
    values.limits.max_routes = std::max(values.limits.max_routes, values.limits.max_peers);
    values.io.max_routes = values.limits.max_routes;
    values.tuning.rto_max = std::max(values.tuning.rto_max, values.tuning.rto_min);
    values.tuning.window_start = std::min(values.tuning.window_start, values.tuning.window_max);
    storage() = values;
}

} // namespace

void params_define() noexcept
{
    for (const Variable& variable : variables) {
        // Strings to libfabric, whose own number parser takes "12x" for 12 and "many" for 0.
        fi_param_define(&provider, variable.name, FI_PARAM_STRING, "%s; allowed: %s", variable.text,
                        variable.allowed);
    }
}

int params_load() noexcept
{
    return guarded([] {
        std::call_once(loaded, load);
        return load_result;
    });
}

const Params& params() noexcept
{
    return storage();
}

} // namespace srd
