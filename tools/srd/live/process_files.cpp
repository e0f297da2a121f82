// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "live/process_files.hpp"

#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <sys/stat.h>

#include <srd/shm_object.hpp>

namespace srd::tool {

std::vector<std::string> process_file_folders()
{
    std::vector<std::string> result{shm_folder};
    if (const char* const runtime = std::getenv("XDG_RUNTIME_DIR"); runtime != nullptr && *runtime == '/') {
        result.emplace_back(runtime);
    }
    return result;
}

FileDescriptor open_regular(const std::string& path, int mode)
{
    FileDescriptor file(open(path.c_str(), mode | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat status {};
    if (file.valid() && (fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))) {
        errno = EINVAL;
        return FileDescriptor(-1);
    }
    return file;
}

bool is_ownerless(int file)
{
    const bool locked = lock_file(file, LOCK_EX | LOCK_NB);
    if (locked) {
        lock_file(file, LOCK_UN);
    }
    return locked;
}

std::size_t remove_ownerless(const char* prefix)
{
    std::size_t removed = 0;
    for_each_file(prefix, [&](const std::string& path) {
        const FileDescriptor file = open_regular(path, O_RDWR);
        if (file.valid() && lock_file(file.get(), LOCK_EX | LOCK_NB) && unlink(path.c_str()) == 0) {
            ++removed;
        }
    });
    return removed;
}

} // namespace srd::tool
