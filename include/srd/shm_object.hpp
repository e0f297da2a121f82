// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Objects in /dev/shm whose users hold a flock() on them. Who gets the lock
// exclusively is alone with the object: what lies there is a dead process's.
// That holds across containers, where process numbers mean nothing.
#pragma once

#include <cstdint>
#include <string>

#include <sys/file.h>

namespace srd {

inline constexpr const char* shm_folder = "/dev/shm";

/// flock(2) with `operation`, LOCK_*; false with errno. Interruptions are not failures.
bool lock_file(int fd, int operation) noexcept;

/// True if the file has no name any more.
bool is_unlinked(int fd) noexcept;

/// Bytes of the file system of `file` that what merely helps may take: a quarter of it, which is memory,
/// stays free for what programs cannot do without.
std::uint64_t shm_spare(const char* file = shm_folder) noexcept;

/// Removes the objects of this user whose names begin with `prefix` (no slash) and whose users were killed.
void remove_stale_shm(const std::string& prefix);

} // namespace srd
