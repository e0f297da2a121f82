// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The xdp backend with the rights that its error lines ask for and no more. Needs root for namespaces; where
// there are none, the case says so.
#ifdef SRD_HAVE_XDP
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <srd/counters.hpp>

#include "io/xdp/xdp_io.hpp"

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/net_world.hpp"

using namespace srd;
using namespace srd::test;

namespace {

/// This process may lock so much memory, and has xdp_capabilities() and no others.
bool limit_this_process(rlim_t locked_bytes)
{
    const rlimit limit{locked_bytes, locked_bytes};
    const std::uint64_t kept = xdp_capabilities();
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
    for (std::size_t i = 0; i < sets.size(); ++i) {
        sets[i].effective = sets[i].permitted = static_cast<std::uint32_t>(kept >> (32 * i));
    }
    return ::setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && ::syscall(SYS_capset, &header, sets.data()) == 0;
}

/// In the child: 0 if an endpoint opens with smaller rings, and says so.
int open_limited(rlim_t locked_bytes)
{
    if (!limit_this_process(locked_bytes)) {
        return 1;
    }
    std::string warning;
    std::string error;
    XdpConfig config;
    config.interface = "veth0";
    config.local_address = make_address(NetWorld::address(0, false));
    config.max_routes = 16;
    config.warn = [&](const char* text) { warning += text; };
    Counters counters;
    std::unique_ptr<PacketIo> io;
    if (make_xdp_io(config, counters, io, error) != 0) {
        std::fprintf(stderr, "%s\n", error.c_str());
        return 2;
    }
    return warning.find("locked memory") != std::string::npos ? 0 : 3;
}

} // namespace

TEST_CASE("xdp: the usual limit of locked memory makes rings smaller, not impossible")
{
    const auto world = NetWorld::make(1500);
    if (world == nullptr) {
        WARN("SKIPPED: no network of namespaces here (needs root)");
        return;
    }
    Child child([&world]() -> int {
        const InsideNamespace inside(world->fd(0)); // without rights there is no way back
        ::_exit(open_limited(8U << 20));            // what systemd gives
    });
    CHECK(child.wait() == 0);
}
#else
#include "support/catch.hpp"

TEST_CASE("xdp: not in this build")
{
    WARN("SKIPPED: built without libxdp and libbpf");
}
#endif
