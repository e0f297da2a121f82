// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <srd/shm_object.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <srd/file_descriptor.hpp>

namespace srd {

bool lock_file(int fd, int operation) noexcept
{
    int result = 0;
    do {
        result = flock(fd, operation);
    } while (result != 0 && errno == EINTR);
    return result == 0;
}

bool is_unlinked(int fd) noexcept
{
    struct stat status {};
    return fstat(fd, &status) != 0 || status.st_nlink == 0;
}

std::uint64_t shm_spare(const char* file) noexcept
{
    struct statvfs state {};
    if (statvfs(file, &state) != 0) {
        return 0;
    }
    if (state.f_blocks == 0) { // without a limit of its own
        return UINT64_MAX;
    }
    const std::uint64_t kept = state.f_blocks / 4;
    return (std::max<std::uint64_t>(state.f_bavail, kept) - kept) * state.f_frsize;
}

void remove_stale_shm(const std::string& prefix)
{
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(shm_folder), &closedir);
    if (directory == nullptr) {
        return;
    }
    while (const dirent* entry = readdir(directory.get())) {
        if (std::strncmp(entry->d_name, prefix.c_str(), prefix.size()) != 0) {
            continue;
        }
        // Anybody can make things with such names, a pipe for instance, whose opening waits for a writer.
        const FileDescriptor file(
            openat(dirfd(directory.get()), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
        struct stat status {};
        if (file.valid() && fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode) &&
            status.st_uid == geteuid() && lock_file(file.get(), LOCK_EX | LOCK_NB) &&
            !is_unlinked(file.get())) {
            unlinkat(dirfd(directory.get()), entry->d_name, 0);
        }
    }
}

} // namespace srd
