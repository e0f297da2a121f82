// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd trace: the last events of endpoints, from their rings (srd/trace.hpp), as text, JSON, and for
// Wireshark.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <srd/address.hpp>
#include <srd/trace.hpp>

namespace srd::tool {

struct TraceEvent {
    std::uint64_t at_ns = 0; ///< since 1970
    TraceKind kind{};
    std::optional<SocketAddress> peer;
    std::uint32_t length = 0; ///< of a packet
    std::uint32_t value = 0;
    std::vector<std::byte> bytes; ///< the first ones of the packet

    bool is_packet() const noexcept { return kind == TraceKind::sent || kind == TraceKind::received; }
};

struct TraceView {
    std::string file;
    std::uint64_t pid = 0;
    bool is_dead = false;
    SocketAddress address;          ///< the endpoint's own
    std::uint64_t count = 0;        ///< of events so far
    std::vector<TraceEvent> events; ///< the last ones, in order
};

/// Of the endpoints of these processes, or of all that may be read. `dead`: those of ended processes, too.
std::vector<TraceView> read_traces(const std::vector<std::uint64_t>& pids, bool dead);

/// What happened, in words, without the time and the peer.
std::string words_of(const TraceEvent& event);

void print_traces(const std::vector<TraceView>& traces, std::ostream& out);
nlohmann::json traces_json(const std::vector<TraceView>& traces);
/// As pcapng: packets as UDP datagrams between the addresses of the endpoint and the peer; other events are
/// comments on the packet after them, or on the last one.
void write_pcapng(const std::vector<TraceView>& traces, std::ostream& out);

} // namespace srd::tool
