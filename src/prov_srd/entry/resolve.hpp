// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Names to addresses: the system's resolver, asked for datagram addresses.
// May block for as long as the resolver does. Any thread.
#pragma once

#include <string>
#include <vector>

#include <srd/address.hpp>

namespace srd {

struct ResolveQuery {
    const char* node = nullptr;    ///< host name or numeric address; null: any (passive) or loopback
    const char* service = nullptr; ///< port number or service name; null: port 0
    int family = AF_UNSPEC;        ///< AF_INET, AF_INET6 or AF_UNSPEC
    bool numeric_host = false;     ///< do not look names up
    bool passive = false;          ///< the address is for binding
};

/// In the resolver's order. Empty: `error` says why, naming what was asked.
std::vector<SocketAddress> resolve(const ResolveQuery& query, std::string& error);

} // namespace srd
