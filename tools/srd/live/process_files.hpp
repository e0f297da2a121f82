// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Files that processes keep for others to look into, and leave behind when they are killed. Any of them may
// be somebody else's, and what lies in them is not believed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include <sys/types.h>
#include <unistd.h>

#include <srd/file_descriptor.hpp>

namespace srd::tool {

std::vector<std::string> process_file_folders();

/// Calls `visit(path)` for everything whose name begins so.
template <typename Visitor>
void for_each_file(const char* prefix, Visitor&& visit)
{
    for (const std::string& folder : process_file_folders()) {
        std::error_code error;
        for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
            if (entry.path().filename().string().starts_with(prefix)) {
                visit(entry.path().string());
            }
        }
    }
}

/// Not valid, with errno, if it is no regular file.
FileDescriptor open_regular(const std::string& path, int mode);

/// The owner of the file has ended.
bool is_ownerless(int file);

/// Removes those of ended processes. How many.
std::size_t remove_ownerless(const char* prefix);

template <typename T>
bool read_at(int file, std::size_t offset, T& value, std::size_t size = sizeof(T))
{
    return pread(file, static_cast<void*>(&value), size, static_cast<off_t>(offset)) ==
           static_cast<ssize_t>(size);
}

} // namespace srd::tool
