// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What an endpoint with a job key has: it proves its introductions, judges those of others, and has a session
// with every peer whose hello it has accepted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "seal/crypto/cipher.hpp"
#include "seal/crypto/hmac.hpp"
#include "seal/crypto/key_exchange.hpp"
#include "seal/hello_auth.hpp"
#include "seal/key_ring.hpp"
#include "seal/key_schedule.hpp"
#include "seal/sealed_session.hpp"

namespace srd {

/// What the trailer of an authentic hello says of its sender.
struct HelloProof {
    const JobKey* key = nullptr; ///< of the ring; null: it has proved nothing
    CipherOffer offer{};
    std::uint32_t told = 0;     ///< HelloKeys::told: which key of ours it has been told
    KeyExchange::Share share{}; ///< zeros: it takes part in no exchange
};

/// Of one endpoint; one thread at a time.
///
/// Keys may be replaced at any time. Both sides of a connection must derive its keys from the same two, so a
/// record's hellos bear the key that was the one for sending when its connection began, and each hello says
/// which key of the receiver's its sender was told: by an answer that nobody remembers, for instance.
class EndpointSeals {
public:
    static constexpr std::size_t trailer_size = HelloAuth::trailer_size;

    /// `offer`: offer_of() this CPU and library. `exchange`: null: keys of connections are derived from those
    /// of the job alone, as they are with peers that have none. Throws std::bad_alloc.
    EndpointSeals(std::shared_ptr<const KeyRing> ring, CipherOffer offer,
                  std::unique_ptr<const KeyExchange> exchange = nullptr);

    /// From now on these are the keys. Not while a HelloProof is in use. Connections that there are go on.
    /// Throws std::bad_alloc; then nothing has changed.
    void replace(std::shared_ptr<const KeyRing> ring);
    const KeyRing& keys() const noexcept { return *ring_; }
    /// A hello has borne the id of a key that is none of ours.
    bool has_met_unknown_key() const noexcept { return unknown_key_; }
    void forget_unknown_key() noexcept { unknown_key_ = false; }

    // -- Hellos

    /// What hellos to a peer say, which may have no record; `answered`: what they answer.
    HelloKeys keys_of(std::uint32_t peer, const HelloProof& answered = {}) const noexcept;
    /// Writes the trailer of a packet behind it.
    void append_trailer(std::span<const std::byte> packet, std::byte* trailer,
                        const HelloKeys& keys) noexcept;
    /// Judges a packet with its trailer; what it proves, if anything.
    HelloProof verify(std::span<const std::byte> packet) noexcept;

    // -- Sessions, by peer

    /// A side of the connection, as its hello has it.
    struct Side {
        std::uint64_t incarnation = 0;
        std::uint64_t connection = 0;
        std::span<const std::byte> address;
    };
    /// A connection begins, whose hellos have not been sent yet.
    void prepare(std::uint32_t peer) noexcept;
    /// Both have been told each other's hello. False: there is no memory, the key is gone that the other
    /// side was told, or its share is none.
    bool begin(std::uint32_t peer, std::uint8_t protocol_version, const Side& self, const Side& remote,
               const HelloProof& proof) noexcept;
    /// Nothing was opened yet, and the session is made of another key of the other side's than this.
    bool may_be_mistaken(std::uint32_t peer, const HelloProof& proof) const noexcept
    {
        return peer < records_.size() && records_[peer].session != nullptr &&
               !records_[peer].session->has_opened() && records_[peer].keys.told != proof.key->id;
    }
    /// Null: there is none.
    SealedSession* session(std::uint32_t peer) noexcept
    {
        return peer < records_.size() ? records_[peer].session.get() : nullptr;
    }
    /// The connection has ended. Whoever has still something to say on it keeps the session, and gives it
    /// back.
    std::unique_ptr<SealedSession> end(std::uint32_t peer) noexcept;
    void resume(std::uint32_t peer, std::unique_ptr<SealedSession> session) noexcept
    {
        if (session != nullptr) {
            records_[peer].session = std::move(session);
        }
    }

private:
    struct Record {
        std::unique_ptr<SealedSession> session;
        HelloKeys keys;
    };

    KeyExchange::Share share() const noexcept
    {
        return exchange_ != nullptr ? exchange_->share() : KeyExchange::Share{};
    }
    /// False: there is no memory.
    bool has_room(std::uint32_t peer) noexcept;

    std::shared_ptr<const KeyRing> ring_;
    const CipherOffer offer_;
    const std::unique_ptr<const KeyExchange> exchange_;
    std::optional<HelloAuth> auth_;
    HmacSha256 hmac_; ///< of the sessions
    std::vector<Record> records_;
    bool unknown_key_ = false;
};

} // namespace srd
