// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/key_ring.hpp"

#include <array>
#include <string_view>

#include <srd/wire.hpp>

#include "seal/crypto/hmac.hpp"
#include "seal/hkdf.hpp"

namespace srd {

namespace {

constexpr std::string_view extract_salt = "srd 1 job key";

JobKey derive(HmacSha256& hmac, std::span<const std::byte> secret) noexcept
{
    Secret<32> root;
    hkdf_extract(hmac, std::as_bytes(std::span(extract_salt)), secret, root.bytes());
    JobKey key;
    std::array<std::byte, sizeof(std::uint32_t)> id{};
    hkdf_expand_label(hmac, root.bytes(), "id", {}, id);
    hkdf_expand_label(hmac, root.bytes(), "hello", {}, key.hello.bytes());
    hkdf_expand_label(hmac, root.bytes(), "traffic", {}, key.traffic.bytes());
    key.id = std::bit_cast<wire::u32>(id);
    return key;
}

} // namespace

std::optional<KeyRing> KeyRing::make(const JobSecrets& secrets, std::string& error)
{
    HmacSha256 hmac;
    KeyRing ring;
    ring.keys_.reserve(secrets.all().size());
    for (const SecretBytes& secret : secrets.all()) {
        JobKey key = derive(hmac, secret.bytes());
        for (std::size_t i = 0; i < ring.keys_.size(); ++i) {
            if (ring.keys_[i].id == key.id) {
                error = "job keys " + std::to_string(i + 1) + " and " +
                        std::to_string(ring.keys_.size() + 1) +
                        " have the same id by chance; replace one of them";
                return std::nullopt;
            }
        }
        ring.keys_.push_back(std::move(key));
    }
    return ring;
}

bool KeyRing::is_same(const KeyRing& other) const noexcept
{
    return std::equal(keys_.begin(), keys_.end(), other.keys_.begin(), other.keys_.end(),
                      [](const JobKey& one, const JobKey& two) {
                          return is_equal_secret(one.hello.bytes(), two.hello.bytes());
                      });
}

} // namespace srd
