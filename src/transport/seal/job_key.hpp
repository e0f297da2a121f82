// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The secrets that the processes of a job share, and the file they are read from.
//
// A key file is either text, one key per line, in hexadecimal or base64 (standard or URL alphabet), with
// empty lines and comments from # on; or anything that is not text, which is one key as a whole (MUNGE's, for
// instance). A key has 32 to 4096 bytes and should be random: `openssl rand -hex 32 > FILE`.
//
// The first key is the one that is used for sending, all are accepted. So a key is replaced while jobs run:
// put the new one behind the old everywhere, then in front of it everywhere, then remove the old. Keys have
// no names in the file. Their ids on the wire are derived from them (key_ring.hpp), so that hosts whose files
// differ find out that they do.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include <sys/stat.h>
#include <sys/types.h>

#include "seal/crypto/secret.hpp"

namespace srd {

inline constexpr std::size_t job_secret_min_size = 32;   ///< bytes
inline constexpr std::size_t job_secret_max_size = 4096; ///< bytes
inline constexpr std::size_t job_secrets_max = 8;
inline constexpr std::size_t key_file_max_size = 65536; ///< bytes

/// Secrets, at least one, all different, the one for sending first. Wiped at the end.
class JobSecrets {
public:
    /// From the contents of a key file, or an auth_key. nullopt with a sentence that says what is wrong and
    /// what to do, and nothing of the contents.
    static std::optional<JobSecrets> parse(std::span<const std::byte> contents, std::string& error);

    std::span<const SecretBytes> all() const noexcept { return secrets_; }

private:
    std::vector<SecretBytes> secrets_;
};

/// Why a process of `user` (effective user id) must not trust a key file with this fstat(2), as a clause that
/// follows its name: "can be read by others ...". Empty: it may.
std::string key_file_fault(const struct stat& status, uid_t user);

/// Reads the key file at `path`: opens it, asks key_file_fault(), parses. nullopt with a sentence that names
/// the file. What was read is wiped.
std::optional<JobSecrets> load_job_secrets(const char* path, std::string& error);

} // namespace srd
