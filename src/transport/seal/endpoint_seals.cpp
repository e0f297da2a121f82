// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/endpoint_seals.hpp"

#include <new>
#include <utility>

#include <srd/check.hpp>

namespace srd {

EndpointSeals::EndpointSeals(std::shared_ptr<const KeyRing> ring, CipherOffer offer,
                             std::unique_ptr<const KeyExchange> exchange)
    : ring_(std::move(ring)), offer_(offer), exchange_(std::move(exchange))
{
    auth_.emplace(*ring_, offer, share());
}

void EndpointSeals::replace(std::shared_ptr<const KeyRing> ring)
{
    HelloAuth auth(*ring, offer_, share());
    auth_.emplace(std::move(auth));
    ring_ = std::move(ring);
}

HelloKeys EndpointSeals::keys_of(std::uint32_t peer, const HelloProof& answered) const noexcept
{
    HelloKeys keys = peer < records_.size() ? records_[peer].keys : HelloKeys{};
    if (ring_->find(keys.own) == nullptr) {
        keys.own = ring_->sending().id;
    }
    if (keys.told == 0 && answered.key != nullptr) {
        keys.told = answered.key->id;
    }
    return keys;
}

void EndpointSeals::append_trailer(std::span<const std::byte> packet, std::byte* trailer,
                                   const HelloKeys& keys) noexcept
{
    auth_->append(packet, std::span<std::byte, trailer_size>(trailer, trailer_size), keys);
}

HelloProof EndpointSeals::verify(std::span<const std::byte> packet) noexcept
{
    const HelloAuth::Verified verified = auth_->verify(packet);
    unknown_key_ = unknown_key_ || verified.result == HelloAuth::Result::unknown_key;
    return verified.result == HelloAuth::Result::authentic
               ? HelloProof{verified.key, verified.offer, verified.told, verified.share}
               : HelloProof{};
}

bool EndpointSeals::has_room(std::uint32_t peer) noexcept
{
    try {
        if (records_.size() <= peer) {
            records_.resize(peer + 1);
        }
    } catch (const std::bad_alloc&) {
        return false;
    }
    return true;
}

void EndpointSeals::prepare(std::uint32_t peer) noexcept
{
    if (has_room(peer)) { // else it has the key that is the one for sending at each time
        records_[peer].keys = {ring_->sending().id, 0};
    }
}

bool EndpointSeals::begin(std::uint32_t peer, std::uint8_t protocol_version, const Side& self,
                          const Side& remote, const HelloProof& proof) noexcept
{
    SRD_CHECK(proof.key != nullptr);
    const JobKey* const own =
        proof.told != 0 ? ring_->find(proof.told, HelloKeys::told_mask) : ring_->find(keys_of(peer).own);
    if (own == nullptr || !has_room(peer)) {
        return false;
    }
    Secret<KeyExchange::size> exchanged;
    const bool exchanges = exchange_ != nullptr && proof.share != KeyExchange::Share{};
    if (exchanges && !exchange_->agree(proof.share, exchanged.bytes())) {
        return false;
    }
    Record& record = records_[peer];
    record.session =
        SealedSession::make(hmac_,
                            {.version = protocol_version,
                             .cipher = agreed_cipher(offer_, proof.offer),
                             .exchanged = exchanges ? exchanged.bytes() : std::span<const std::byte>{}},
                            {*own, self.incarnation, self.connection, self.address, share()},
                            {*proof.key, remote.incarnation, remote.connection, remote.address, proof.share});
    record.keys = {own->id, proof.key->id};
    return record.session != nullptr;
}

std::unique_ptr<SealedSession> EndpointSeals::end(std::uint32_t peer) noexcept
{
    return peer < records_.size() ? std::move(records_[peer].session) : nullptr;
}

} // namespace srd
