// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Seals single messages outside of connections, such as the questions by which the backends shm and verbs
// find a faster way to a peer (docs/protocol.md, sections 10 and 11).
//
//  +---------------------------------------------------------------+
//  |  clear, as many bytes as the kind of message has: authenticated|
//  +---------------------------------------------------------------+
//  |  key id, 4 bytes                                              |
//  +---------------------------------------------------------------+
//  |  nonce, 16 bytes, random                                      |
//  +---------------------------------------------------------------+
//  |  the rest of the message, encrypted                           |
//  +---------------------------------------------------------------+
//  |  tag, 16 bytes                                                |
//  +---------------------------------------------------------------+
//
// There is no state, hence no counter, and one key serves all processes of a job, or of a site for years. A
// random nonce of 96 bits under one key (NIST SP 800-38D allows 2^32 of those) would be near its limit with
// 10,000 endpoints that ask each other a few times. So each message has a key and IV of its own, derived from
// the nonce of 128 bits: of 2^40 messages two have the same with a probability of 2^-49. It costs 0.5 us.
//
// A replayed message is authentic. That is the sender's to find out: an answer repeats the question's nonce.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "seal/aead.hpp"
#include "seal/hmac.hpp"
#include "seal/key_ring.hpp"

namespace srd {

/// Of one endpoint; one thread at a time. Allocates nothing after construction. The cipher is AES-128-GCM,
/// because all have it, and nothing could be agreed on before.
class MessageSeal {
public:
    using Nonce = std::array<std::uint64_t, 2>; ///< two numbers that nobody can predict

    static constexpr std::size_t key_id_size = 4;
    static constexpr std::size_t nonce_size = sizeof(Nonce);
    /// How much longer a message becomes.
    static constexpr std::size_t overhead = key_id_size + nonce_size + aead_tag_size;

    enum class Result : std::uint8_t {
        opened,
        too_short,
        unknown_key, ///< the sender's key is none of ours
        auth_failed,
    };

    /// `ring` must outlive the object. Throws std::bad_alloc.
    explicit MessageSeal(const KeyRing& ring);

    /// Seals a message of which the first `clear_size` bytes stay in clear, with the key for sending. `out`
    /// has message.size() + overhead bytes and does not overlap. False: it must not be sent (libcrypto
    /// failed).
    [[nodiscard]] bool seal(std::span<const std::byte> message, std::size_t clear_size, const Nonce& nonce,
                            std::span<std::byte> out) noexcept;
    /// Opens one of `clear_size` bytes in clear to `out`, which has sealed.size() - overhead bytes (if that
    /// is less than clear_size, it is too short) and does not overlap. Unless it was opened, what is in `out`
    /// is undefined.
    Result open(std::span<const std::byte> sealed, std::size_t clear_size, std::span<std::byte> out) noexcept;

private:
    /// Key and IV of one message.
    struct OneTime {
        Secret<HmacSha256::size> bytes;
        std::span<const std::byte> key() const noexcept;
        AeadIv iv() const noexcept;
    };
    OneTime derive(const JobKey& key, std::span<const std::byte> nonce) noexcept;

    const KeyRing& ring_;
    HmacSha256 hmac_;
    AeadSealer sealer_;
    AeadOpener opener_;
};

} // namespace srd
