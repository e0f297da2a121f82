// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "live/old_files.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <srd/file_descriptor.hpp>
#include <srd/shm_object.hpp>

namespace srd {

void remove_old(const std::string& folder, const char* beginning, std::size_t kept)
{
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(folder.c_str()), &closedir);
    std::vector<std::pair<timespec, std::string>> dead;
    while (const dirent* entry = directory == nullptr ? nullptr : readdir(directory.get())) {
        if (std::strncmp(entry->d_name, beginning, std::strlen(beginning)) != 0) {
            continue;
        }
        const FileDescriptor file(
            openat(dirfd(directory.get()), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
        struct stat status {};
        if (file.valid() && fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode) &&
            status.st_uid == geteuid() && lock_file(file.get(), LOCK_EX | LOCK_NB)) {
            dead.emplace_back(status.st_mtim, entry->d_name);
        }
    }
    std::sort(dead.begin(), dead.end(), [](const auto& a, const auto& b) {
        return std::pair(a.first.tv_sec, a.first.tv_nsec) > std::pair(b.first.tv_sec, b.first.tv_nsec);
    });
    for (std::size_t i = kept; i < dead.size(); ++i) {
        unlinkat(dirfd(directory.get()), dead[i].second.c_str(), 0);
    }
}

} // namespace srd
