// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which XDP program an endpoint shares, and what happens while it waits for one to go. Needs root for
// namespaces; where there are none, the cases say so.
#ifdef SRD_HAVE_XDP
#include <thread>

#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <srd/counters.hpp>
#include <srd/file_descriptor.hpp>

#include "io/xdp/xdp_io.hpp"

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/net_world.hpp"

using namespace srd;
using namespace srd::test;

namespace {

struct Attempt {
    int code = 0;
    std::string error;
    Duration took{};
};

/// Opens and closes an endpoint on the veth0 of `host`, which this thread is in.
Attempt open_here(unsigned host)
{
    XdpConfig config;
    config.interface = "veth0";
    config.mode = XdpMode::generic;
    config.local_address = make_address(NetWorld::address(host, false));
    config.max_routes = 16;
    Counters counters;
    std::unique_ptr<PacketIo> io;
    Attempt attempt;
    const Time begin = clock_now();
    attempt.code = make_xdp_io(config, counters, io, attempt.error);
    attempt.took = clock_now() - begin;
    return attempt;
}

Attempt open_on(const NetWorld& world, unsigned host)
{
    const InsideNamespace inside(world.fd(host));
    return open_here(host);
}

/// Somebody else's program on a host's veth0: it lets everything pass.
FileDescriptor attach_foreign_program(const NetWorld& world, unsigned host)
{
    std::string error;
    const XdpLibrary* const library = load_xdp_library(error);
    INFO(error);
    REQUIRE(library != nullptr);
    const InsideNamespace inside(world.fd(host));
    std::array<bpf_insn, 2> code{};
    code[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
    code[0].imm = XDP_PASS;
    code[1].code = BPF_JMP | BPF_EXIT;
    const FileDescriptor program(
        library->bpf_prog_load(BPF_PROG_TYPE_XDP, "foreign", "GPL", code.data(), code.size(), nullptr));
    REQUIRE(program.valid());
    bpf_link_create_opts options{};
    options.sz = sizeof(options);
    options.flags = XDP_FLAGS_SKB_MODE;
    FileDescriptor link(library->bpf_link_create(program.get(), static_cast<int>(::if_nametoindex("veth0")),
                                                 BPF_XDP, &options));
    REQUIRE(link.valid());
    return link;
}

/// In a child: 0 if an endpoint is refused, with the reason, where /proc is not there.
int open_without_proc(const NetWorld& world)
{
    if (::setns(world.fd(0), CLONE_NEWNET) != 0 || ::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", "/proc", "tmpfs", 0, nullptr) != 0) {
        return 1;
    }
    const Attempt attempt = open_here(0);
    std::fprintf(stderr, "%d: %s\n", attempt.code, attempt.error.c_str());
    return attempt.code == ENOENT && attempt.error.find("/proc") != std::string::npos ? 0 : 2;
}

} // namespace

TEST_CASE("xdp program: who waits for a foreign program to go holds nobody else up")
{
    const auto world = NetWorld::make(1500);
    if (world == nullptr) {
        WARN("SKIPPED: no network of namespaces here (needs root)");
        return;
    }
    const FileDescriptor foreign = attach_foreign_program(*world, 0);
    Attempt refused;
    std::thread waits([&] { refused = open_on(*world, 0); });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const Attempt free = open_on(*world, 1);
    waits.join();
    INFO(free.error);
    CHECK(free.code == 0);
    CHECK(refused.code == EBUSY);
    CHECK(refused.error.find("XDP program") != std::string::npos);
    CHECK(refused.took >= std::chrono::milliseconds(400));
    CHECK(free.took < std::chrono::milliseconds(300));
}

TEST_CASE("xdp program: where the network namespace cannot be told, no program is shared by mistake")
{
    const auto world = NetWorld::make(1500);
    if (world == nullptr) {
        WARN("SKIPPED: no network of namespaces here (needs root)");
        return;
    }
    const pid_t child = ::fork();
    if (child == 0) {
        ::_exit(open_without_proc(*world));
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}
#else
#include "support/catch.hpp"

TEST_CASE("xdp program: not in this build")
{
    WARN("SKIPPED: built without libxdp and libbpf");
}
#endif
