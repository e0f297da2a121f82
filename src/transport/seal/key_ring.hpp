// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What is derived from the secrets of a job, once: a key for each purpose, so that none says anything about
// another. Labels: docs/protocol.md, section 13.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "seal/crypto/secret.hpp"
#include "seal/job_key.hpp"

namespace srd {

/// The keys derived from one secret.
struct JobKey {
    std::uint32_t id = 0; ///< on the wire: derived as well, so it tells nothing and is the same everywhere
    Secret<32> hello;     ///< authenticates introductions (HelloAuth)
    Secret<32> traffic;   ///< the root of every connection's keys (SealedSession)
};

/// All of a job. Not changed after construction, so endpoints may share it.
class KeyRing {
public:
    /// nullopt with a sentence: two secrets have one id (of random ones, one pair in 2^32). Needs libcrypto.
    /// Throws std::bad_alloc.
    static std::optional<KeyRing> make(const JobSecrets& secrets, std::string& error);

    /// The key for what we send.
    const JobKey& sending() const noexcept { return keys_.front(); }
    /// All that are accepted, the one for sending first.
    std::span<const JobKey> all() const noexcept { return keys_; }
    /// The key with that id, of whose bits those in `mask` count; null: there is none.
    const JobKey* find(std::uint32_t id, std::uint32_t mask = ~std::uint32_t{0}) const noexcept
    {
        const auto key = std::find_if(keys_.begin(), keys_.end(),
                                      [&](const JobKey& one) { return ((one.id ^ id) & mask) == 0; });
        return key != keys_.end() ? &*key : nullptr;
    }
    /// The same keys in the same order.
    bool is_same(const KeyRing& other) const noexcept;

private:
    std::vector<JobKey> keys_;
};

} // namespace srd
