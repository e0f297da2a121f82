// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A range of ports: who takes which of them, and what is said when there are too few.
#include <array>
#include <cerrno>
#include <set>
#include <string>

#include <sys/socket.h>
#include <unistd.h>

#include <srd/port_range.hpp>

#include "io/udp/udp_io.hpp"
#include "io/udp/udp_liveness.hpp"
#include "io/udp/udp_socket.hpp"

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/udp_sink.hpp"

using namespace srd;
using namespace srd::test;

namespace {

bool contains(const std::string& text, const std::string& part)
{
    return text.find(part) != std::string::npos;
}

/// `count` ports, other ones in each process and for each call.
PortRange some_ports(std::uint16_t count)
{
    static std::uint32_t calls = 0;
    const auto first = static_cast<std::uint16_t>(
        12000 + (static_cast<std::uint32_t>(::getpid()) * 8 + calls++) * 131 % 18000);
    return {first, static_cast<std::uint16_t>(first + count - 1)};
}

UdpConfig config_with(PortRange ports)
{
    UdpConfig config;
    config.ports = ports;
    config.port_setting = "THE_RANGE";
    return config;
}

} // namespace

TEST_CASE("udp ports: the end of a range is for paths, at most half of it, and the beginning to receive at")
{
    constexpr PortRange wide{7000, 7199};
    CHECK(wide.sources() == 63);
    CHECK(wide.last_receiving() == 7136);
    CHECK(wide.source_port(1) == 7199);
    CHECK(wide.source_port(63) == 7137);
    constexpr PortRange narrow{7000, 7006};
    CHECK(narrow.sources() == 3);
    CHECK(narrow.last_receiving() == 7003);
    for (std::size_t path = 0; path < 64; ++path) {
        CHECK(narrow.source_port(path) > 7003);
        CHECK(narrow.source_port(path) <= 7006);
    }
    constexpr PortRange one{65535, 65535};
    CHECK(one.sources() == 0);
    CHECK(one.last_receiving() == 65535);
    CHECK(PortRange{}.empty());
    CHECK(PortRange{}.source_port(5) == 0);
}

TEST_CASE("udp ports: endpoints receive inside the range, by UDP and TCP, until all is taken")
{
    const PortRange ports = some_ports(7);
    std::vector<std::unique_ptr<Opened>> all;
    std::set<std::uint16_t> bound;
    for (int i = 0; i < 4; ++i) {
        all.push_back(open_udp(make_address("127.0.0.1"), config_with(ports)));
        INFO(all.back()->error);
        REQUIRE(all.back()->code == 0);
        const SocketAddress address = all.back()->io->local_address();
        CHECK(ports.contains(address.port()));
        bound.insert(address.port());
        int error = 0;
        CHECK_FALSE(open_liveness_listener(address, error).valid()); // the endpoint listens there
        CHECK(error == EADDRINUSE);
    }
    CHECK(bound.size() == 4);
    const auto refused = open_udp(make_address("127.0.0.1"), config_with(ports));
    CHECK(refused->code == EADDRINUSE);
    INFO(refused->error);
    CHECK(contains(refused->error, "THE_RANGE=" + ports.text() + " is exhausted"));
    all.pop_back();
    CHECK(open_udp(make_address("127.0.0.1"), config_with(ports))->code == 0);
}

TEST_CASE("udp ports: a port whose TCP sibling is taken is passed over")
{
    const PortRange ports = some_ports(4);
    int error = 0;
    const FileDescriptor other = open_liveness_listener(make_address("127.0.0.1", ports.first), error);
    REQUIRE(other.valid());
    const auto opened = open_udp(make_address("127.0.0.1"), config_with(ports));
    REQUIRE(opened->code == 0);
    CHECK(opened->io->local_address().port() == ports.first + 1);
    CHECK(open_udp(make_address("127.0.0.1"), config_with(ports))->code == EADDRINUSE);
}

TEST_CASE("udp ports: a port outside the range is refused by name, one inside is had")
{
    const PortRange ports = some_ports(8);
    const auto outside = static_cast<std::uint16_t>(ports.last + 1);
    const auto refused = open_udp(make_address("127.0.0.1", outside), config_with(ports));
    CHECK(refused->code == EINVAL);
    CHECK(contains(refused->error, "is outside THE_RANGE=" + ports.text()));
    const auto opened = open_udp(make_address("127.0.0.1", ports.last), config_with(ports));
    REQUIRE(opened->code == 0);
    CHECK(opened->io->local_address().port() == ports.last);
}

TEST_CASE("udp ports: paths leave by ports of the range, which other processes of the user share")
{
    const SocketAddress address = outer_address();
    if (address.empty()) {
        return;
    }
    const PortRange ports = some_ports(130);
    int error = 0;
    SocketAddress taken = address; // as another process would
    taken.set_port(ports.source_port(1));
    const FileDescriptor other = open_sending_socket(taken, 0, 0, error);
    REQUIRE(other.valid());
    const auto opened = open_udp(address, config_with(ports));
    REQUIRE(opened->code == 0);
    const std::vector<std::uint16_t> used = source_ports(*opened->io, address);
    CHECK(std::set(used.begin(), used.end()).size() == 64);
    CHECK(used[0] == opened->io->local_address().port());
    for (std::size_t path = 1; path < used.size(); ++path) {
        CHECK(used[path] == ports.source_port(path));
        CHECK(used[path] > ports.last_receiving());
    }
}

TEST_CASE("udp ports: too few source ports are told once, and all paths still lead somewhere")
{
    const SocketAddress address = outer_address();
    if (address.empty()) {
        return;
    }
    const PortRange ports = GENERATE(some_ports(10), some_ports(1));
    const auto opened = open_udp(address, config_with(ports));
    REQUIRE(opened->code == 0);
    const std::vector<std::uint16_t> used = source_ports(*opened->io, address);
    CHECK(std::set(used.begin(), used.end()).size() == 1 + ports.sources());
    for (const std::uint16_t port : used) {
        CHECK(ports.contains(port));
    }
    std::size_t warnings = 0;
    for (const std::string& warning : opened->warnings) {
        warnings += contains(warning, "THE_RANGE=" + ports.text() + " has fewer free source ports") ? 1 : 0;
    }
    CHECK(warnings == 1);
}
