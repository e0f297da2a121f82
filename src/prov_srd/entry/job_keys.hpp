// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The keys of the job that this process belongs to: of a file (FI_SRD_JOB_KEY_FILE), or of an attribute
// (auth_key), which counts for more, because whoever wrote the application knows which of its endpoints
// belongs to which job; and what they give an endpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include <rdma/fabric.h>

#include <srd/time.hpp>

#include "seal/endpoint_seals.hpp"
#include "seal/key_ring.hpp"

namespace srd {

/// Endpoints share it. Thread-safe. Needs libcrypto, which is loaded for it.
class JobKeys {
public:
    /// Null with a sentence: traffic cannot be sealed. Throws std::bad_alloc.
    static std::shared_ptr<JobKeys> of_file(const std::string& path, std::string& error);
    /// An auth_key is what a key file may hold: the same bytes give the same keys.
    static std::shared_ptr<JobKeys> of_auth_key(const std::uint8_t* key, std::size_t size,
                                                std::string& error);

    std::shared_ptr<const KeyRing> latest() noexcept;
    /// Reads the file again. What has become wrong with it is said, and the keys stay. False: that was done
    /// less than a second ago.
    bool look(Time now) noexcept;

private:
    JobKeys(std::string path, KeyRing ring);
    void reread();

    const std::string path_; ///< empty: an auth_key, which does not change
    std::mutex mutex_;       ///< guards what follows
    std::shared_ptr<const KeyRing> ring_;
    std::string error_; ///< what was said last
    Time looked_at_{};
};

/// Whether an application that asks for this version of libfabric's API knows of auth_key.
constexpr bool takes_auth_keys(std::uint32_t api_version) noexcept
{
    return FI_VERSION_GE(api_version, FI_VERSION(1, 5));
}

/// Those of an attribute, or `otherwise` if it has none (size 0). Null if that is; never with an error.
std::shared_ptr<JobKeys> job_keys_of(const std::uint8_t* auth_key, std::size_t size,
                                     const std::shared_ptr<JobKeys>& otherwise, std::string& error);

/// What an endpoint seals with. `exchange`: it takes part in the exchange of keys, if libcrypto has it.
/// Throws std::bad_alloc.
std::unique_ptr<EndpointSeals> make_seals(std::shared_ptr<const KeyRing> keys, bool exchange);

} // namespace srd
