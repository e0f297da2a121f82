// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/job_keys.hpp"

#include <chrono>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <utility>

#include "common/say.hpp"
#include "io/core/system_random.hpp"
#include "seal/crypto/cipher.hpp"
#include "seal/crypto/crypto_library.hpp"
#include "seal/crypto/key_exchange.hpp"
#include "seal/crypto/secret.hpp"
#include "seal/job_key.hpp"

namespace srd {

namespace {

constexpr Duration look_interval = std::chrono::seconds(1);

std::optional<KeyRing> ring_of(const std::optional<JobSecrets>& secrets, std::string& error)
{
    return secrets ? KeyRing::make(*secrets, error) : std::nullopt;
}

} // namespace

JobKeys::JobKeys(std::string path, KeyRing ring)
    : path_(std::move(path)), ring_(std::make_shared<const KeyRing>(std::move(ring)))
{
}

std::shared_ptr<JobKeys> JobKeys::of_file(const std::string& path, std::string& error)
{
    if (load_crypto_library(error) == nullptr) {
        return nullptr;
    }
    std::optional<KeyRing> ring = ring_of(load_job_secrets(path.c_str(), error), error);
    return ring ? std::shared_ptr<JobKeys>(new JobKeys(path, std::move(*ring))) : nullptr;
}

std::shared_ptr<JobKeys> JobKeys::of_auth_key(const std::uint8_t* key, std::size_t size, std::string& error)
{
    constexpr std::size_t size_of_many = static_cast<std::size_t>(-1); // FI_AV_AUTH_KEY
    if (size == size_of_many) {
        error = "FI_AV_AUTH_KEY asks for keys by address; an endpoint of srd has those of one job";
    } else if (key == nullptr) {
        error = "there is a size, but no key";
    } else if (size > key_file_max_size) {
        error = "it has " + std::to_string(size) + " bytes, and no key has more than " +
                std::to_string(job_secret_max_size);
    } else if (load_crypto_library(error) != nullptr) {
        std::optional<KeyRing> ring =
            ring_of(JobSecrets::parse(std::as_bytes(std::span(key, size)), error), error);
        return ring ? std::shared_ptr<JobKeys>(new JobKeys({}, std::move(*ring))) : nullptr;
    }
    return nullptr;
}

std::shared_ptr<const KeyRing> JobKeys::latest() noexcept
{
    const std::lock_guard lock(mutex_);
    return ring_;
}

bool JobKeys::look(Time now) noexcept
{
    const std::lock_guard lock(mutex_);
    if (path_.empty()) {
        return true;
    }
    if (looked_at_ != Time{} && now - looked_at_ < look_interval) {
        return false;
    }
    looked_at_ = now;
    try {
        reread();
    } catch (const std::bad_alloc&) { // next time
    }
    return true;
}

void JobKeys::reread()
{
    std::string error;
    std::optional<KeyRing> ring = ring_of(load_job_secrets(path_.c_str(), error), error);
    if (ring && !ring->is_same(*ring_)) {
        ring_ = std::make_shared<const KeyRing>(std::move(*ring));
    }
    if (!error.empty() && error != error_) {
        say("job key file", ("FI_SRD_JOB_KEY_FILE: " + error + "; its former keys stay in use").c_str());
    }
    error_ = std::move(error);
}

std::shared_ptr<JobKeys> job_keys_of(const std::uint8_t* auth_key, std::size_t size,
                                     const std::shared_ptr<JobKeys>& otherwise, std::string& error)
{
    return size != 0 ? JobKeys::of_auth_key(auth_key, size, error) : otherwise;
}

std::unique_ptr<EndpointSeals> make_seals(std::shared_ptr<const KeyRing> keys, bool exchange)
{
    std::string error;
    const CryptoLibrary* const library = load_crypto_library(error); // has been loaded for the keys
    const bool can_chacha = library != nullptr && library->has_chacha();
    std::unique_ptr<KeyExchange> own;
    if (exchange) {
        Secret<KeyExchange::size> secret;
        for (std::size_t at = 0; at < secret.size; at += sizeof(std::uint64_t)) {
            const std::uint64_t part = system_random();
            std::memcpy(&secret.bytes()[at], &part, sizeof(part));
        }
        own = KeyExchange::make(secret.bytes());
        if (own == nullptr) {
            say("job key",
                "libcrypto has no X25519 (FIPS 140?), so there is no forward secrecy: who gets the job key "
                "later reads what was recorded before. FI_SRD_FORWARD_SECRECY=0 agrees to that");
        }
    }
    return std::make_unique<EndpointSeals>(std::move(keys), offer_of(cpu_has_aes(), can_chacha),
                                           std::move(own));
}

} // namespace srd
