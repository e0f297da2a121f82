// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/hello_auth.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include <srd/check.hpp>

namespace srd {

namespace {

constexpr std::size_t mac_at = offsetof(HelloTrailer, mac);

} // namespace

HelloAuth::HelloAuth(const KeyRing& ring, CipherOffer offer, const KeyExchange::Share& share)
    : ring_(ring), offer_(offer), share_(share)
{
    macs_.reserve(ring.all().size());
    for (const JobKey& key : ring.all()) {
        macs_.emplace_back(key.hello.bytes());
    }
}

void HelloAuth::append(std::span<const std::byte> packet, std::span<std::byte, trailer_size> trailer,
                       const HelloKeys& keys) noexcept
{
    const JobKey* const key = ring_.find(keys.own);
    SRD_CHECK(key != nullptr);
    HelloTrailer fields;
    fields.key_id = key->id;
    const wire::u32 told = keys.told;
    std::memcpy(fields.told.data(), &told, fields.told.size());
    fields.offer = static_cast<std::uint8_t>(offer_);
    fields.share = share_;
    std::memcpy(trailer.data(), &fields, trailer_size);
    std::array<std::byte, HmacSha256::size> mac;
    mac_of(*key).compute({packet, trailer.first(mac_at)}, mac);
    std::copy_n(mac.begin(), fields.mac.size(), trailer.begin() + mac_at);
}

HelloAuth::Verified HelloAuth::verify(std::span<const std::byte> packet) noexcept
{
    if (packet.size() < trailer_size) {
        return {};
    }
    HelloTrailer fields;
    std::memcpy(&fields, packet.last(trailer_size).data(), trailer_size);
    const std::optional<CipherOffer> offer = parse_offer(fields.offer);
    if (!offer) {
        return {};
    }
    const JobKey* const key = ring_.find(fields.key_id);
    if (key == nullptr) {
        return {.result = Result::unknown_key};
    }
    std::array<std::byte, HmacSha256::size> mac;
    mac_of(*key).compute({packet.first(packet.size() - fields.mac.size())}, mac);
    if (!is_equal_secret(std::span(mac).first<sizeof(fields.mac)>(), fields.mac)) {
        return {.result = Result::forged};
    }
    std::array<std::byte, sizeof(wire::u32)> told{}; // three bytes of it
    std::memcpy(told.data(), fields.told.data(), fields.told.size());
    return {Result::authentic,           key, *offer, std::bit_cast<wire::u32>(told), fields.share,
            packet.size() - trailer_size};
}

} // namespace srd
