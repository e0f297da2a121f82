// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <srd/file_descriptor.hpp>

namespace srd {

/// Descriptors of several sources as one to sleep on: PacketIo::wait_fd().
class EpollSet {
public:
    /// False with errno.
    bool open() noexcept;
    /// Adds `fd`, to be woken when it is readable; twice is once. False with errno: the system has no room.
    bool add(int fd) noexcept;
    int get() const noexcept { return epoll_.get(); }

private:
    FileDescriptor epoll_;
};

} // namespace srd
