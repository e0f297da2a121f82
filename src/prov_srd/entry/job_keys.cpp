// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/job_keys.hpp"

#include <optional>
#include <utility>

#include "seal/cipher.hpp"
#include "seal/crypto_library.hpp"
#include "seal/job_key.hpp"

namespace srd {

std::shared_ptr<const KeyRing> load_job_keys(const std::string& path, std::string& error)
{
    if (load_crypto_library(error) == nullptr) {
        return nullptr;
    }
    const std::optional<JobSecrets> secrets = load_job_secrets(path.c_str(), error);
    if (!secrets) {
        return nullptr;
    }
    std::optional<KeyRing> ring = KeyRing::make(*secrets, error);
    return ring ? std::make_shared<const KeyRing>(std::move(*ring)) : nullptr;
}

std::unique_ptr<EndpointSeals> make_seals(std::shared_ptr<const KeyRing> keys)
{
    std::string error;
    const CryptoLibrary* const library = load_crypto_library(error); // has been loaded for the keys
    const bool can_chacha = library != nullptr && library->has_chacha();
    return std::make_unique<EndpointSeals>(std::move(keys), offer_of(cpu_has_aes(), can_chacha));
}

} // namespace srd
