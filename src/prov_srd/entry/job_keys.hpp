// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The keys of the job that this process belongs to (FI_SRD_JOB_KEY_FILE), and what they give an endpoint.
#pragma once

#include <memory>
#include <string>

#include "seal/endpoint_seals.hpp"
#include "seal/key_ring.hpp"

namespace srd {

/// Reads a key file, for which libcrypto is loaded. Null with a sentence: traffic cannot be sealed. Throws
/// std::bad_alloc.
std::shared_ptr<const KeyRing> load_job_keys(const std::string& path, std::string& error);

/// What an endpoint seals with: `keys` are load_job_keys()'. Throws std::bad_alloc.
std::unique_ptr<EndpointSeals> make_seals(std::shared_ptr<const KeyRing> keys);

} // namespace srd
