// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What an endpoint with a job key has: it proves its introductions, judges those of others, and has a session
// with every peer whose hello it has accepted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "seal/cipher.hpp"
#include "seal/hello_auth.hpp"
#include "seal/hmac.hpp"
#include "seal/key_ring.hpp"
#include "seal/key_schedule.hpp"
#include "seal/sealed_session.hpp"

namespace srd {

/// What the trailer of an authentic hello says of its sender.
struct HelloProof {
    const JobKey* key = nullptr; ///< of the ring; null: it has proved nothing
    CipherOffer offer{};
};

/// Of one endpoint; one thread at a time.
class EndpointSeals {
public:
    static constexpr std::size_t trailer_size = HelloAuth::trailer_size;

    /// `offer`: offer_of() this CPU and library. Throws std::bad_alloc.
    EndpointSeals(std::shared_ptr<const KeyRing> ring, CipherOffer offer);

    // -- Hellos

    /// Writes the trailer of a packet behind it.
    void append_trailer(std::span<const std::byte> packet, std::byte* trailer) noexcept;
    /// Judges a packet with its trailer; what it proves, if anything.
    HelloProof verify(std::span<const std::byte> packet) noexcept;

    // -- Sessions, by peer

    /// A side of the connection, as its hello has it.
    struct Side {
        std::uint64_t incarnation = 0;
        std::uint64_t connection = 0;
        std::span<const std::byte> address;
    };
    /// Both have been told each other's hello. False: there is no memory.
    bool begin(std::uint32_t peer, std::uint8_t protocol_version, const Side& self, const Side& remote,
               const HelloProof& proof) noexcept;
    /// Null: there is none.
    SealedSession* session(std::uint32_t peer) noexcept
    {
        return peer < sessions_.size() ? sessions_[peer].get() : nullptr;
    }
    /// The connection has ended. Whoever has still something to say on it keeps the session, and gives it
    /// back.
    std::unique_ptr<SealedSession> end(std::uint32_t peer) noexcept;
    void resume(std::uint32_t peer, std::unique_ptr<SealedSession> session) noexcept
    {
        if (session != nullptr) {
            sessions_[peer] = std::move(session);
        }
    }

private:
    const std::shared_ptr<const KeyRing> ring_;
    const CipherOffer offer_;
    HelloAuth auth_;
    HmacSha256 hmac_; ///< of the sessions
    std::vector<std::unique_ptr<SealedSession>> sessions_;
};

} // namespace srd
