// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// File descriptors that close themselves, and that a child of fork() can be rid of.
#pragma once

#include <utility>

namespace srd {

/// A file descriptor with one owner.
class FileDescriptor {
public:
    FileDescriptor() = default;
    explicit FileDescriptor(int fd) noexcept;
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept
    {
        std::swap(fd_, other.fd_);
        return *this;
    }
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    ~FileDescriptor();

    int get() const noexcept { return fd_; }
    bool valid() const noexcept { return fd_ >= 0; }

private:
    int fd_ = -1;
};

/// Of a descriptor that a library opens and closes for us: it is ours from now on, or (before the library
/// closes it) no more. Thread-safe.
void mark_descriptor(int fd, bool is_owned) noexcept;

/// In a child of fork(), before it does anything else: closes what every FileDescriptor of the parent names
/// and what is marked, because a socket that is still open somewhere makes peers believe that the parent
/// lives. The objects that own them must not be used or destroyed any more. Async-signal-safe.
void close_inherited_descriptors() noexcept;

} // namespace srd
