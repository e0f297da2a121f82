// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What our connections with an address are called: a keyed hash of the address and of how many connections
// with it there were before (its generation). So an introduction can be answered without remembering it, and
// whoever then uses that name has been told it at its address. Nobody else can compute it, and no name comes
// twice.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <netinet/in.h>

#include <srd/keyed_hash.hpp>
#include <srd/limits.hpp>

#include "peer/random_source.hpp"

namespace srd {

class ConnectionNames {
public:
    struct Name {
        std::uint64_t connection = 0; ///< identifier in packets to us; never 0
        std::uint32_t first_psn = 0;  ///< of our packets
    };

    ConnectionNames(RandomSource& random, const FirstNumbers& first) noexcept
        : hash_{random.next(), random.next()}, first_(first)
    {
    }

    /// Stands for the address in a name. The scope of an IPv6 address is each host's own.
    std::uint64_t address_hash(std::span<const std::byte> address) const noexcept
    {
        return hash_(address.size() == sizeof(sockaddr_in6)
                         ? address.first(offsetof(sockaddr_in6, sin6_scope_id))
                         : address);
    }

    Name name(std::uint64_t address_hash, std::uint32_t generation) const noexcept
    {
        const std::uint64_t connection = hash(address_hash, generation, 0);
        return {connection != 0 ? connection : 1,
                first_.chosen ? first_.psn : static_cast<std::uint32_t>(hash(address_hash, generation, 1))};
    }

    /// What a question about a way (wire::RailsFrame) bears on a connection of ours.
    std::uint64_t rail_nonce(std::uint64_t connection, std::uint8_t way) const noexcept
    {
        return hash(connection, way, 2);
    }

private:
    std::uint64_t hash(std::uint64_t address_hash, std::uint32_t generation,
                       std::uint64_t what) const noexcept
    {
        return hash_(std::array<std::uint64_t, 2>{address_hash, what << 32U | generation});
    }

    KeyedHash hash_;
    FirstNumbers first_;
};

} // namespace srd
