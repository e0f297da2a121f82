// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The keys of what one endpoint sends to another on one connection, phase after phase.
//
//   traffic root (of the sender's job key)
//      │ HKDF-Extract, if both take part in an exchange of keys: with what they have agreed on
//      │ "send", both sides' values, the sender's first
//      ▼
//   secret of phase 0 ──"next"──► secret of phase 1 ──"next"──► ...
//      │ "key", "iv"                │ "key", "iv"
//
// The two directions differ in whose values come first, so neither side needs a role, and no packet can be
// sent back to where it came from. A phase is 2^22 packets: RFC 9001 (section 6.6 and appendix B) bounds
// AES-GCM at 2^23 packets of up to 2^16 bytes for an advantage of 2^-57 per key. Who finds the keys of a
// phase in memory cannot open earlier ones, unless the job key was there as well, and, if keys were
// exchanged, the secret of one of the two endpoints.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <srd/limits.hpp>

#include "seal/crypto/aead.hpp"
#include "seal/crypto/cipher.hpp"
#include "seal/crypto/key_exchange.hpp"
#include "seal/crypto/secret.hpp"
#include "seal/hkdf.hpp"
#include "seal/key_ring.hpp"

namespace srd {

/// What an endpoint's hello says of it, for one connection.
struct SealedSide {
    const JobKey& key;                  ///< that its hello is authenticated with
    std::uint64_t incarnation = 0;      ///< hello.incarnation
    std::uint64_t connection = 0;       ///< hello.connection: the identifier in packets to this side
    std::span<const std::byte> address; ///< the hello's, at most max_address_size bytes
    KeyExchange::Share share{};         ///< the hello's
};

/// What both sides have agreed on.
struct SealTerms {
    std::uint8_t version = 0; ///< of the protocol
    Cipher cipher = Cipher::aes_128_gcm;
    std::span<const std::byte> exchanged; ///< by KeyExchange; empty: one of them takes part in no exchange
};

/// The keys of one phase.
struct PhaseKeys {
    Secret<aead_key_max_size> key; ///< the first key_size_of(cipher) bytes count
    AeadIv iv{};

    /// The IV of a packet, as in RFC 9001, section 5.3: the counter, in network byte order at the end of an
    /// IV of zeros, xor the phase's.
    AeadIv iv_of(std::uint64_t counter) const noexcept
    {
        AeadIv packet_iv = iv;
        for (std::size_t i = 0; i < sizeof(counter); ++i) {
            packet_iv[aead_iv_size - 1 - i] ^= static_cast<std::byte>(counter >> (8 * i));
        }
        return packet_iv;
    }
};

class KeySchedule {
public:
    static constexpr unsigned phase_bits = 22;
    static constexpr std::uint64_t phase_packets = std::uint64_t{1} << phase_bits;

    /// The phase of the packet with that counter.
    static constexpr std::uint64_t phase_of(std::uint64_t counter) noexcept { return counter >> phase_bits; }

    /// Phase 0 of what `sender` sends to `receiver`. `hmac`: a tool, which must outlive the object and belong
    /// to the same thread; its key changes.
    KeySchedule(HmacSha256& hmac, const SealTerms& terms, const SealedSide& sender,
                const SealedSide& receiver) noexcept;

    Cipher cipher() const noexcept { return cipher_; }
    std::uint64_t phase() const noexcept { return phase_; }
    /// The current phase's keys.
    void derive(PhaseKeys& keys) noexcept;
    /// To the next phase; the secret of this one is gone. 0.3 us, and no allocation.
    void advance() noexcept;

private:
    HmacSha256* hmac_;
    std::uint64_t phase_ = 0;
    Secret<32> secret_;
    Cipher cipher_;
};

} // namespace srd
