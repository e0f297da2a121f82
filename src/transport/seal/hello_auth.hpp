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
//  | cipher offer  |  key of the receiver's that the sender knows  |
//  +---------------+-----------------------------------------------+
//  |  share, 32 bytes: of an exchange of keys (KeyExchange);       |
//  |          zeros: the sender takes part in none                 |
//  +---------------------------------------------------------------+
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

#include "seal/crypto/cipher.hpp"
#include "seal/crypto/hmac.hpp"
#include "seal/crypto/key_exchange.hpp"
#include "seal/key_ring.hpp"

namespace srd {

struct HelloTrailer {
    wire::u32 key_id;
    wire::u8 offer = 0;             ///< CipherOffer
    std::array<wire::u8, 3> told{}; ///< HelloKeys::told, its lower bytes
    KeyExchange::Share share{};
    std::array<std::byte, 16> mac{};
};
static_assert(sizeof(HelloTrailer) == 56 && alignof(HelloTrailer) == 1);

/// The keys of a connection, by id, as a hello names them.
struct HelloKeys {
    /// The lower bytes of an id, which are what a hello has room for.
    static constexpr std::uint32_t told_mask = 0xffffff;

    std::uint32_t own = 0;  ///< authenticates the hello, and seals what its sender sends
    std::uint32_t told = 0; ///< the receiver's, as far as its sender has been told one; else 0
};

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
        std::uint32_t told = 0;      ///< HelloKeys::told, masked
        KeyExchange::Share share{};  ///< the sender's
        std::size_t size = 0;        ///< of the packet without the trailer, bytes
    };

    /// `ring` must outlive the object. `offer`, `share`: what our hellos say. Throws std::bad_alloc.
    HelloAuth(const KeyRing& ring, CipherOffer offer, const KeyExchange::Share& share = {});

    /// The trailer of a packet. `keys`: own is one of the ring's.
    void append(std::span<const std::byte> packet, std::span<std::byte, trailer_size> trailer,
                const HelloKeys& keys) noexcept;
    /// Takes a packet with its trailer apart. Everything but `result` counts only if it is authentic.
    Verified verify(std::span<const std::byte> packet) noexcept;

private:
    HmacSha256& mac_of(const JobKey& key) noexcept
    {
        return macs_[static_cast<std::size_t>(&key - ring_.all().data())];
    }

    const KeyRing& ring_;
    const CipherOffer offer_;
    const KeyExchange::Share share_;
    std::vector<HmacSha256> macs_; ///< one for each key of the ring
};

} // namespace srd
