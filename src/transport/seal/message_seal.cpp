// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/message_seal.hpp"

#include <algorithm>
#include <cstring>

#include <srd/check.hpp>
#include <srd/wire.hpp>

#include "seal/hkdf.hpp"

namespace srd {

namespace {

constexpr Cipher cipher = Cipher::aes_128_gcm;

} // namespace

std::span<const std::byte> MessageSeal::OneTime::key() const noexcept
{
    return bytes.bytes().first(key_size_of(cipher));
}

AeadIv MessageSeal::OneTime::iv() const noexcept
{
    AeadIv value;
    std::copy_n(bytes.bytes().begin() + key_size_of(cipher), value.size(), value.begin());
    return value;
}

MessageSeal::MessageSeal(const KeyRing& ring) : ring_(ring), sealer_(cipher), opener_(cipher) {}

MessageSeal::OneTime MessageSeal::derive(const JobKey& key, std::span<const std::byte> nonce) noexcept
{
    OneTime derived;
    hkdf_expand_label(hmac_, key.message.bytes(), "one", nonce, derived.bytes.bytes());
    return derived;
}

bool MessageSeal::seal(std::span<const std::byte> message, std::size_t clear_size, const Nonce& nonce,
                       std::span<std::byte> out) noexcept
{
    SRD_CHECK(clear_size <= message.size() && out.size() == message.size() + overhead);
    const JobKey& key = ring_.sending();
    const wire::u32 id = key.id;
    std::byte* const id_at = std::copy_n(message.begin(), clear_size, out.data());
    std::memcpy(id_at, &id, key_id_size);
    std::memcpy(id_at + key_id_size, nonce.data(), nonce_size);

    const OneTime one_time = derive(key, {id_at + key_id_size, nonce_size});
    sealer_.set_key(one_time.key());
    const std::span<const std::byte> secret = message.subspan(clear_size);
    const iovec piece{const_cast<std::byte*>(secret.data()), secret.size()}; // only read
    return sealer_.seal(one_time.iv(), out.first(clear_size + key_id_size), {&piece, 1},
                        id_at + key_id_size + nonce_size);
}

MessageSeal::Result MessageSeal::open(std::span<const std::byte> sealed, std::size_t clear_size,
                                      std::span<std::byte> out) noexcept
{
    if (sealed.size() < clear_size + overhead) {
        return Result::too_short;
    }
    SRD_CHECK(out.size() == sealed.size() - overhead);
    wire::u32 id;
    std::memcpy(&id, sealed.data() + clear_size, key_id_size);
    const std::span<const JobKey> keys = ring_.all();
    const auto key =
        std::find_if(keys.begin(), keys.end(), [&](const JobKey& candidate) { return candidate.id == id; });
    if (key == keys.end()) {
        return Result::unknown_key;
    }
    const OneTime one_time = derive(*key, sealed.subspan(clear_size + key_id_size, nonce_size));
    opener_.set_key(one_time.key());
    if (!opener_.open(one_time.iv(), sealed.first(clear_size + key_id_size),
                      sealed.subspan(clear_size + key_id_size + nonce_size), out.data() + clear_size)) {
        return Result::auth_failed;
    }
    std::copy_n(sealed.begin(), clear_size, out.begin());
    return Result::opened;
}

} // namespace srd
