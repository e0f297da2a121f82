// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/net_world.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <srd/check.hpp>

namespace srd::test {

namespace {

int current_namespace()
{
    return ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

/// A new namespace, or -1 and errno.
int make_namespace()
{
    int fd = -1;
    int error = 0;
    std::thread([&] {
        if (::unshare(CLONE_NEWNET) == 0) {
            fd = current_namespace();
        }
        error = errno;
    }).join();
    errno = error;
    return fd;
}

} // namespace

InsideNamespace::InsideNamespace(int fd) : before_(current_namespace())
{
    SRD_CHECK(before_ >= 0 && ::setns(fd, CLONE_NEWNET) == 0);
}

InsideNamespace::~InsideNamespace()
{
    SRD_CHECK(::setns(before_, CLONE_NEWNET) == 0);
    ::close(before_);
}

NetWorld::~NetWorld()
{
    for (const int fd : hosts_) {
        if (fd >= 0) {
            ::close(fd);
        }
    }
}

const char* NetWorld::address(unsigned host, bool ipv6)
{
    return ipv6 ? (host == 0 ? "fd96::1" : "fd96::2") : (host == 0 ? "10.96.0.1" : "10.96.0.2");
}

bool NetWorld::run(unsigned host, const std::string& command) const
{
    const InsideNamespace inside(hosts_[host]);
    return std::system(command.c_str()) == 0;
}

std::unique_ptr<NetWorld> NetWorld::make(unsigned mtu)
{
    std::unique_ptr<NetWorld> world(new NetWorld);
    for (int& fd : world->hosts_) {
        fd = make_namespace();
        if (fd < 0) {
            std::fprintf(stderr, "SKIPPED: no network namespaces: %s\n", std::strerror(errno));
            return nullptr;
        }
    }
    const std::string size = " mtu " + std::to_string(mtu);
    const std::string queues = " numrxqueues 2 numtxqueues 2";
    const std::string other =
        "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(world->hosts_[1]);
    bool made = world->run(0, "ip link add veth0" + size + queues + " type veth peer name veth0" + size +
                                  queues + " netns " + other);
    for (unsigned host = 0; made && host < 2; ++host) {
        made = world->run(host, std::string("ip link set lo up && ip addr add ") + address(host, false) +
                                    "/24 dev veth0 && ip addr add " + address(host, true) +
                                    "/64 dev veth0 nodad && ip link set veth0 up");
    }
    // The kernel finishes IPv6 addresses only after it has noticed that both ends are up.
    for (unsigned host = 0; made && host < 2; ++host) {
        made =
            world->run(host, std::string("for try in $(seq 500); do ip -6 route get ") + address(host, true) +
                                 " | grep -q ^local && exit 0; sleep 0.01; done; exit 1");
    }
    if (!made) {
        std::fprintf(stderr, "SKIPPED: no veth pair (is the command ip of iproute2 there?)\n");
        return nullptr;
    }
    return world;
}

} // namespace srd::test
