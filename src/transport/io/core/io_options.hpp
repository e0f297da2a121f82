// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What every backend is asked for, and where it says what a person should read. A backend's own options
// derive from these, so that they are passed on as one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <srd/address.hpp>
#include <srd/limits.hpp>
#include <srd/port_range.hpp>

namespace srd {

/// One line each, without the end of the line; either may be empty. Called on the caller's thread.
struct IoLog {
    using Sink = std::function<void(const char*)>;

    Sink warn; ///< what is wrong, and what to do about it
    Sink tell; ///< what runs

    /// The log alone, of options that contain it.
    const IoLog& log() const noexcept { return *this; }
    void warning(const std::string& text) const { write(warn, text); }
    void information(const std::string& text) const { write(tell, text); }

private:
    static void write(const Sink& sink, const std::string& text)
    {
        if (sink) {
            sink(text.c_str());
        }
    }
};

struct IoOptions : IoLog {
    /// One of this host's addresses, not a wildcard; port 0: any free one.
    SocketAddress local_address;
    /// What whoever sets `path_count` calls it, for advice to a person.
    std::string path_setting = "the number of paths";
    /// What ports may be used on this host, and what whoever sets that calls it.
    PortRange ports;
    std::string port_setting = "the range of ports";
    /// Packets leave by this interface whatever routes say: it is one of several. 0: as routes say.
    unsigned interface = 0;
    std::uint16_t path_count = max_paths; ///< entropies per route, 1..max_paths; a backend may have fewer
    /// Memory for packets to receive, bytes: of sockets, and of the rings or the registered memory beside
    /// them.
    std::uint32_t socket_buffer = 8U << 20;
    std::uint32_t max_packet = max_udp_payload; ///< upper bound of every route's MTU, payload bytes
    std::uint32_t max_routes = Limits{}.max_routes;

    /// What all backends have in common, of the options of one.
    const IoOptions& common() const noexcept { return *this; }
    /// What is wrong with them, as a sentence; empty: nothing.
    std::string fault() const
    {
        if (local_address.empty() || !local_address.is_unicast()) {
            return "an endpoint needs one IPv4 or IPv6 address of this host, neither a wildcard nor a "
                   "multicast address";
        }
        if (path_count < 1 || path_count > max_paths) {
            return path_setting + " must be between 1 and " + std::to_string(max_paths);
        }
        return {};
    }
};

} // namespace srd
