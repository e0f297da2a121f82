// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/resolve.hpp"

#include <netdb.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace srd {

std::vector<SocketAddress> resolve(const ResolveQuery& query, std::string& error)
{
    addrinfo hints{};
    hints.ai_family = query.family;
    hints.ai_socktype = SOCK_DGRAM;
    hints.ai_flags = (query.passive ? AI_PASSIVE : 0) | (query.numeric_host ? AI_NUMERICHOST : 0);

    std::vector<SocketAddress> addresses;
    addrinfo* list = nullptr;
    const char* service = query.node == nullptr && query.service == nullptr ? "0" : query.service;
    const int code = getaddrinfo(query.node, service, &hints, &list);
    if (code != 0) {
        const int system_error = errno; // before the text is put together
        error = std::string("cannot resolve node \"") + (query.node != nullptr ? query.node : "") +
                "\" service \"" + (query.service != nullptr ? query.service : "") +
                "\": " + (code == EAI_SYSTEM ? std::strerror(system_error) : gai_strerror(code));
        return addresses;
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, &freeaddrinfo);
    for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
        SocketAddress address;
        if (SocketAddress::parse(entry->ai_addr, entry->ai_addrlen, address) &&
            std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
            addresses.push_back(address);
        }
    }
    if (addresses.empty()) {
        error = std::string("node \"") + (query.node != nullptr ? query.node : "") +
                "\" has no IPv4 or IPv6 address";
    }
    return addresses;
}

} // namespace srd
