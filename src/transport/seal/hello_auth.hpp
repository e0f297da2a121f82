// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Who may introduce themselves. A hello cannot be sealed, for there are no keys before it has been exchanged;
// it goes in clear, and a trailer proves that its sender has a key of the job:
//
//   0               1               2               3
//  +---------------------------------------------------------------+
//  |  key id: of the key that authenticates this packet, and from  |
//  |          which the keys of what its sender seals are derived  |
//  +---------------+-----------------------------------------------+
//  | cipher offer  |                 0                             |
//  +---------------+-----------------------------------------------+
//  |  MAC, 16 bytes: HMAC-SHA-256, the first half, under the key's |
//  |  "hello" key, of all bytes of the packet before it            |
//  +---------------------------------------------------------------+
//
// An authentic hello may be a repetition of an old one. That is no more than what a forged one could do
// without a job key: it is answered, and nothing is believed until a packet opens under keys that depend on
// the identifier in the answer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <srd/wire.hpp>

#include "seal/cipher.hpp"
#include "seal/hmac.hpp"
#include "seal/key_ring.hpp"

namespace srd {

struct HelloTrailer {
    wire::u32 key_id;
    wire::u8 offer = 0; ///< CipherOffer
    std::array<wire::u8, 3> zero{};
    std::array<std::byte, 16> mac{};
};
static_assert(sizeof(HelloTrailer) == 24 && alignof(HelloTrailer) == 1);

/// Of one endpoint; one thread at a time. Contexts are kept, nothing is allocated after construction.
class HelloAuth {
public:
    static constexpr std::size_t trailer_size = sizeof(HelloTrailer);

    enum class Result : std::uint8_t {
        authentic,
        malformed,   ///< too short for a trailer, or with an offer that does not exist
        unknown_key, ///< the sender's key is none of ours
        forged,
    };
    struct Verified {
        Result result = Result::malformed;
        const JobKey* key = nullptr; ///< the sender's; of the ring
        CipherOffer offer{};         ///< the sender's
        std::size_t size = 0;        ///< of the packet without the trailer, bytes
    };

    /// `ring` must outlive the object. `offer`: what our hellos say. Throws std::bad_alloc.
    HelloAuth(const KeyRing& ring, CipherOffer offer);

    /// The trailer of a packet, under the key for sending.
    void append(std::span<const std::byte> packet, std::span<std::byte, trailer_size> trailer) noexcept;
    /// Takes a packet with its trailer apart. Everything but `result` counts only if it is authentic.
    Verified verify(std::span<const std::byte> packet) noexcept;

private:
    const KeyRing& ring_;
    const CipherOffer offer_;
    std::vector<HmacSha256> macs_; ///< one for each key of the ring
};

} // namespace srd
