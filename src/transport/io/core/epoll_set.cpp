// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/core/epoll_set.hpp"

#include <cerrno>

#include <sys/epoll.h>

namespace srd {

bool EpollSet::open() noexcept
{
    epoll_ = FileDescriptor(::epoll_create1(EPOLL_CLOEXEC));
    return epoll_.valid();
}

bool EpollSet::add(int fd) noexcept
{
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST;
}

} // namespace srd
