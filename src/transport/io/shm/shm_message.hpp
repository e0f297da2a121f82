// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The messages by which two endpoints find out that they are on one host, and what makes them true.
//
// Everybody can send them, with any address and with the names of objects, which are public. So a question
// and an answer bear a proof: a hash of all that they say, and of whom they are said to, under the key that
// is written in the object of the *asker*. Only processes that can read that object, those of its user on
// this host, can make one or check one; and it tells nothing of the key. A wake-up says nothing, and needs
// none.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <netinet/in.h>

#include <srd/address.hpp>
#include <srd/wire.hpp>

#include "io/core/bypass_message.hpp"
#include "io/shm/shm_segment.hpp"

namespace srd {

//   0               1               2               3
//  +---------------------------------------------------------------+
//  |  magic, 8 bytes: its first is no version of wire.hpp          |
//  +---------------------------------------------------------------+
//  |  kind: 1 question, 2 answer (BypassKind), 3 wake up           |
//  +---------------------------------------------------------------+
//  |  nonce, 8 bytes: of the question, repeated by its answer      |
//  +---------------------------------------------------------------+
//  |  token, 16 bytes: of the sender's object                      |
//  +---------------------------------------------------------------+
//  |  ring: question: the ring offered, or no_ring; answer: its    |
//  |        doorbell                                               |
//  +---------------------------------------------------------------+
//  |  start: question: number of the ring's next packet            |
//  +---------------------------------------------------------------+
//  |  address, 28 bytes: the sender's, a sockaddr_in or _in6       |
//  +---------------------------------------------------------------+
//  |  proof, 8 bytes: proof_of()                                   |
//  +---------------------------------------------------------------+
struct ShmMessage {
    static constexpr std::array<std::uint8_t, 8> right_magic{0xf5, 's', 'r', 'd', 's', 'h', 'm', '2'};
    static constexpr std::uint32_t wake_up = BypassKind::first_other;
    static constexpr std::uint32_t no_ring = ~std::uint32_t{0};

    std::array<std::uint8_t, 8> magic = right_magic;
    wire::u32 kind;
    wire::u64 nonce;
    ShmToken token{};
    wire::u32 ring = no_ring;
    wire::u32 start;
    std::array<std::byte, sizeof(sockaddr_in6)> address{};
    wire::u64 proof;
};
static_assert(sizeof(ShmMessage) == 80 && alignof(ShmMessage) == 1);

/// The running kernel's boot id: 16 random bytes, the same in all containers. Zeros: unknown.
using ShmKernel = std::array<std::uint8_t, 16>;
ShmKernel running_kernel();

/// ShmMessage::proof of `message`, which goes to `receiver`; `key` is that of the asker's object.
std::uint64_t proof_of(const ShmMessage& message, const ShmKey& key, const ShmKernel& kernel,
                       const SocketAddress& receiver) noexcept;

/// True if both are one endpoint's; the interface of a link-local address is each host's own matter.
inline bool same_endpoint(const SocketAddress& a, const SocketAddress& b) noexcept
{
    return a.same_host(b) && a.port() == b.port();
}

} // namespace srd
