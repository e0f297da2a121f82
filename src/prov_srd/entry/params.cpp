// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/params.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <limits>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include <unistd.h>

#include <srd/trace.hpp>

#include "common/c_api.hpp"
#include "common/say.hpp"
#include "entry/values.hpp"

namespace srd {

namespace {

/// Takes a value. False: it is not allowed.
using Setter = bool (*)(Params&, std::string_view);

struct Variable {
    const char* name;    ///< without FI_SRD_
    const char* allowed; ///< for the complaint, and the end of the description
    const char* also;    ///< what else people may write
    const char* text;    ///< what it does, unit and default included
    Setter set;
};

/// Puts what was read, if anything, into `field`.
template <typename Value, typename Field>
bool assign(const std::optional<Value>& value, Field& field)
{
    if (value) {
        field = static_cast<Field>(*value);
    }
    return value.has_value();
}

template <std::uint64_t minimum, std::uint64_t maximum, typename Field>
bool count(std::string_view text, Field& field)
{
    static_assert(maximum <= std::numeric_limits<Field>::max());
    return assign(to_number(text, {}, 1, minimum, maximum), field);
}

template <std::uint64_t minimum, std::uint64_t maximum, typename Field>
bool size(std::string_view text, Field& field)
{
    static_assert(maximum <= std::numeric_limits<Field>::max());
    return assign(to_bytes(text, minimum, maximum), field);
}

template <typename Unit, std::int64_t minimum, std::int64_t maximum>
bool duration(std::string_view text, Duration& field)
{
    return assign(to_time(text, Unit(1), Unit(minimum), Unit(maximum)), field);
}

template <typename Enum, std::size_t choice_count>
bool choice(std::string_view text, const std::pair<std::string_view, Enum> (&choices)[choice_count],
            Enum& field)
{
    for (const auto& [name, value] : choices) {
        if (same_text(text, name)) {
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

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr const char* or_size = " (or with K, M or G)";
constexpr const char* or_time = " (or with us, ms, s, m or h)";
constexpr const char* or_switch = " (or no, yes, off, on, false, true)";
constexpr const char* only = "";

// The defaults are those of Limits, Tuning and Params; a test compares them with these texts.
constexpr Variable variables[] = {
    {"EAGER_SIZE", "0..131072 bytes", or_size,
     "longest message that is sent without asking the receiver, bytes; twice as long, "
     "up to 131072, if it is alone and answers take long (default 65536)",
     [](Params& p, std::string_view t) { return size<0, 131072>(t, p.tuning.eager_size); }},
    {"WINDOW", "16384..1073741824 bytes", or_size,
     "upper bound of the congestion window per peer, bytes (default 8388608)",
     [](Params& p, std::string_view t) { return size<16384, 1U << 30>(t, p.tuning.window_max); }},
    {"CONGESTION", "swift or fixed", only,
     "congestion control: swift (by delay) or fixed (window of FI_SRD_WINDOW) (default swift)",
     [](Params& p, std::string_view t) { return choice(t, congestion_policies, p.tuning.congestion); }},
    {"PATHS", "1..64", only, "number of network paths that packets to one peer are spread over (default 64)",
     [](Params& p, std::string_view t) { return count<1, max_paths>(t, p.io.path_count); }},
    {"PATH_POLICY", "adaptive, round_robin or single", only,
     "how paths are chosen: adaptive (avoid those with loss or marks), round_robin or single (default "
     "adaptive)",
     [](Params& p, std::string_view t) { return choice(t, path_policies, p.tuning.paths); }},
    {"PEER_TIMEOUT_MS", "10..86400000 ms", or_time,
     "silence of a known peer, while data is unacknowledged, after which it is dead, ms (default 5000)",
     [](Params& p, std::string_view t) {
         return duration<milliseconds, 10, 86400000>(t, p.tuning.peer_timeout);
     }},
    {"CONNECT_TIMEOUT_MS", "10..86400000 ms", or_time,
     "the same for an address that has never answered, ms (default 30000)",
     [](Params& p, std::string_view t) {
         return duration<milliseconds, 10, 86400000>(t, p.tuning.connect_timeout);
     }},
    {"STOPPED_TIMEOUT_MS", "10..86400000 ms", or_time,
     "the same while the peer's process is seen to exist (stopped, in a debugger), ms (default 3600000)",
     [](Params& p, std::string_view t) {
         return duration<milliseconds, 10, 86400000>(t, p.tuning.stopped_timeout);
     }},
    {"RNR_TIMEOUT_MS", "10..86400000 ms", or_time,
     "time after which a message is given up whose receiver stays out of memory, ms (default 3600000)",
     [](Params& p, std::string_view t) {
         return duration<milliseconds, 10, 86400000>(t, p.tuning.rnr_timeout);
     }},
    {"ACK_DELAY_US", "0..10000 us", or_time,
     "longest time that an acknowledgement is held back so that several are coalesced, us (default 25)",
     [](Params& p, std::string_view t) { return duration<microseconds, 0, 10000>(t, p.tuning.ack_delay); }},
    {"RTO_MIN_US", "50..1000000 us", or_time,
     "shortest retransmission timeout while repetitions prove needless, else as little as an eighth, us "
     "(default 300)",
     [](Params& p, std::string_view t) { return duration<microseconds, 50, 1000000>(t, p.tuning.rto_min); }},
    {"TARGET_DELAY_US", "1..100000 us", or_time,
     "queueing delay in the network that congestion control aims at (over UDP the hosts have 100 us more), "
     "us "
     "(default 50)",
     [](Params& p, std::string_view t) {
         return duration<microseconds, 1, 100000>(t, p.tuning.target_delay);
     }},
    {"GRANT_BUDGET", "65536..1073741824 bytes", or_size,
     "most bytes of large messages that a receiver lets all senders together have under way (default "
     "4194304)",
     [](Params& p, std::string_view t) { return size<65536, 1U << 30>(t, p.tuning.grant_budget); }},
    {"UNEXPECTED_BYTES", "65536..1099511627776 bytes", or_size,
     "memory for messages without a posted receive, bytes; beyond it senders wait (default 134217728)",
     [](Params& p, std::string_view t) { return size<65536, 1ULL << 40>(t, p.limits.unexpected_bytes); }},
    {"MTU", "576..65507 bytes", or_size,
     "upper bound of a packet's UDP payload, bytes (default 65507: what the path carries)",
     [](Params& p, std::string_view t) { return size<576, max_udp_payload>(t, p.io.max_packet); }},
    {"SOCKET_BUFFER", "65536..1073741824 bytes", or_size,
     "socket send and receive buffers to ask the kernel for, bytes (default 8388608)",
     [](Params& p, std::string_view t) { return size<65536, 1U << 30>(t, p.io.socket_buffer); }},
    {"MAX_PEERS", "1..1048576", only,
     "remote endpoints that one endpoint can have state for at a time (default 65536)",
     [](Params& p, std::string_view t) { return count<1, 1U << 20>(t, p.limits.max_peers); }},
    {"BACKEND", "udp, packet, xdp or verbs", only,
     "what moves packets: udp (sockets), packet (AF_PACKET rings), xdp (AF_XDP sockets) or verbs (RDMA "
     "devices with RoCE v2) (default udp)",
     [](Params& p, std::string_view t) { return choice(t, backends, p.backend); }},
    {"XDP_QUEUES", "0..256", only,
     "receive queues of the interface that an endpoint of the backend xdp takes; 0 is all that are free "
     "(default 0)",
     [](Params& p, std::string_view t) { return count<0, 256>(t, p.xdp_queues); }},
    {"SHM", "0 or 1", or_switch,
     "shared memory to processes of the same user on this host: 1 on, 0 off (default 1)",
     [](Params& p, std::string_view t) { return assign(to_switch(t), p.shm); }},
    {"INTERFACE", "1 to 4 names of network interfaces, separated by commas, or all", only,
     "the only network interface to use; over UDP also several (or all), which each endpoint then uses "
     "together (default: any that is up, one of them)",
     [](Params& p, std::string_view t) {
         p.all_interfaces = same_text(t, "all");
         return p.all_interfaces || (assign(to_names(t), p.interfaces) && p.interfaces.size() <= max_rails);
     }},
    {"PORT_RANGE", "LO-HI, two ports of 1..65535", only,
     "the only UDP and TCP ports to receive at, and source ports of paths: LO-HI, for firewalls (default: "
     "any)",
     [](Params& p, std::string_view t) { return assign(to_ports(t), p.io.ports); }},
    {"STATS", "- or a file name", only,
     "where each endpoint writes its statistics when it is closed: - for stderr, or a file to append to, in "
     "whose name %p stands for the process id, %h for the host, %r for the MPI rank (default: nowhere)",
     [](Params& p, std::string_view t) {
         p.stats = t;
         return !t.empty();
     }},
    {"TRACE", "0..1048576", only,
     "number of the last packets and events of each endpoint that are kept for srd trace, 256 bytes of "
     "/dev/shm each; 0: none (default 0)",
     [](Params& p, std::string_view t) { return count<0, most_trace_records>(t, p.trace); }},
    {"JOB_KEY_FILE", "a file name", only,
     "file with the key of the job, which seals all traffic between hosts: readable by its owner alone, made "
     "by: openssl rand -hex 32 (default: nothing is sealed)",
     [](Params& p, std::string_view t) {
         p.job_key_file = t;
         return !t.empty();
     }},
    {"FORWARD_SECRECY", "0 or 1", or_switch,
     "1: with a job key, endpoints that both have this exchange keys (X25519), so that who gets the job key "
     "later "
     "reads nothing of what was recorded before; 0: the job key opens everything, as in Wireshark (default "
     "1)",
     [](Params& p, std::string_view t) { return assign(to_switch(t), p.forward_secrecy); }},
    {"QUIET", "0 or 1", or_switch,
     "1: nothing goes to stderr; what is wrong is in the log only, which FI_LOG_LEVEL=warn turns on (default "
     "0)",
     [](Params& p, std::string_view t) { return assign(to_switch(t), p.quiet); }},
};

constexpr std::string_view prefix = "FI_SRD_";

std::once_flag loaded;
int load_result = 0;

/// Never destroyed: an endpoint may outlive the process's static destructors.
Params& storage()
{
    static auto* const values = new Params;
    return *values;
}

/// What is wrong with the environment, said when everything is read: FI_SRD_QUIET may stand anywhere.
using Complaints = std::vector<std::pair<std::string, std::string>>; ///< topic, text

void read_variables(Params& values, Complaints& complaints)
{
    for (const Variable& variable : variables) {
        char* text = nullptr;
        if (fi_param_get_str(&provider, variable.name, &text) != 0 || text == nullptr) {
            continue;
        }
        if (!variable.set(values, text)) {
            const std::string name = std::string(prefix) + variable.name;
            complaints.emplace_back(name, name + "=\"" + text + "\" is not allowed: give " +
                                              variable.allowed + variable.also +
                                              ", or unset it; srd is not offered until then");
            load_result = -FI_EINVAL;
        }
    }
    // So that the many short ones of a bound that was raised find room, too.
    constexpr std::size_t short_message = 1024;
    values.limits.rx_messages = static_cast<std::uint32_t>(std::clamp<std::size_t>(
        values.limits.unexpected_bytes / short_message, values.limits.rx_messages, 1U << 22));
    if (std::min(values.tuning.eager_size, careful_eager_size) > values.limits.unexpected_bytes) {
        complaints.emplace_back("FI_SRD_EAGER_SIZE",
                                "FI_SRD_EAGER_SIZE is larger than FI_SRD_UNEXPECTED_BYTES, so that such a "
                                "message could never be taken in: lower the one or raise the other; srd is "
                                "not offered until then");
        load_result = -FI_EINVAL;
    }
    if (!values.job_key_file.empty()) {
        std::string error;
        values.job_keys = JobKeys::of_file(values.job_key_file, error);
        if (values.job_keys == nullptr) {
            complaints.emplace_back("FI_SRD_JOB_KEY_FILE",
                                    "FI_SRD_JOB_KEY_FILE: " + error + "; srd is not offered until then");
            load_result = -FI_EINVAL;
        }
    }
    if (!values.stats.empty()) {
        if (const std::string error = stats_obstacle(values.stats, values.place); !error.empty()) {
            complaints.emplace_back("FI_SRD_STATS", "FI_SRD_STATS=\"" + values.stats + "\": " + error +
                                                        "; no statistics will be written");
        }
    }
}

/// Names in the environment that look like ours and are not: what they were to do is not done.
void find_unknown(Complaints& complaints)
{
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text = *entry;
        const std::string_view name = text.substr(0, text.find('='));
        if (!name.starts_with(prefix)) {
            continue;
        }
        const std::string_view own = name.substr(prefix.size());
        const auto* const nearest = std::min_element(
            std::begin(variables), std::end(variables), [&](const Variable& a, const Variable& b) {
                return edit_distance(own, a.name) < edit_distance(own, b.name);
            });
        if (own != nearest->name) {
            complaints.emplace_back(name, std::string(name) + " is no variable of srd and does nothing; is " +
                                              std::string(prefix) + nearest->name +
                                              " meant? fi_info -e lists all");
        }
    }
}

void load()
{
    Params values;
    Complaints complaints;
    values.place = process_place();
    read_variables(values, complaints);
    find_unknown(complaints);
    be_quiet(values.quiet);
    for (const auto& [topic, text] : complaints) {
        say(topic, text.c_str());
    }
    values.limits.max_packet = values.io.max_packet;
    values.limits.max_routes =
        std::max(values.limits.max_routes, values.limits.max_peers + values.limits.idle_routes);
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
        fi_param_define(&provider, variable.name, FI_PARAM_STRING, "%s; allowed: %s%s", variable.text,
                        variable.allowed, variable.also);
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

bool asked_by_name(const fi_info* hints)
{
    const fi_fabric_attr* const attr = hints == nullptr ? nullptr : hints->fabric_attr;
    if (attr != nullptr && attr->prov_name != nullptr && same_text(attr->prov_name, provider.name)) {
        return true;
    }
    char* list = nullptr; // libfabric's own variable
    if (fi_param_get_str(nullptr, "provider", &list) != 0 || list == nullptr) {
        return false;
    }
    const auto names = to_names(list);
    return names && std::any_of(names->begin(), names->end(), [](const std::string& name) {
               return same_text(name, provider.name); // "^srd" leaves it out
           });
}

} // namespace srd
