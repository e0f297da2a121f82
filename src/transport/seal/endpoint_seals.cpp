// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/endpoint_seals.hpp"

#include <new>
#include <utility>

#include <srd/check.hpp>

namespace srd {

EndpointSeals::EndpointSeals(std::shared_ptr<const KeyRing> ring, CipherOffer offer)
    : ring_(std::move(ring)), offer_(offer), auth_(*ring_, offer)
{
}

void EndpointSeals::append_trailer(std::span<const std::byte> packet, std::byte* trailer) noexcept
{
    auth_.append(packet, std::span<std::byte, trailer_size>(trailer, trailer_size));
}

HelloProof EndpointSeals::verify(std::span<const std::byte> packet) noexcept
{
    const HelloAuth::Verified verified = auth_.verify(packet);
    return verified.result == HelloAuth::Result::authentic ? HelloProof{verified.key, verified.offer}
                                                           : HelloProof{};
}

bool EndpointSeals::begin(std::uint32_t peer, std::uint8_t protocol_version, const Side& self,
                          const Side& remote, const HelloProof& proof) noexcept
{
    SRD_CHECK(proof.key != nullptr);
    try {
        if (sessions_.size() <= peer) {
            sessions_.resize(peer + 1);
        }
    } catch (const std::bad_alloc&) {
        return false;
    }
    sessions_[peer] =
        SealedSession::make(hmac_, protocol_version, agreed_cipher(offer_, proof.offer),
                            {ring_->sending(), self.incarnation, self.connection, self.address},
                            {*proof.key, remote.incarnation, remote.connection, remote.address});
    return sessions_[peer] != nullptr;
}

std::unique_ptr<SealedSession> EndpointSeals::end(std::uint32_t peer) noexcept
{
    return peer < sessions_.size() ? std::move(sessions_[peer]) : nullptr;
}

} // namespace srd
