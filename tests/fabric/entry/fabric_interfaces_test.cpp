// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Several interfaces as one domain, in a network namespace that has three: d0 and d1 with IPv4 and IPv6, d2
// with IPv6 alone.
#include "fabric/fabric_fixture.hpp"

#include <cstdlib>
#include <set>
#include <string>

using namespace fabric_test;

namespace {

/// What precedes a child that is to see those interfaces; empty: namespaces are not allowed here.
std::string with_interfaces()
{
    std::string setup = "ip link set lo up";
    for (const char* number : {"0", "1", "2"}) {
        const std::string name = std::string("d") + number;
        setup += " && ip link add " + name + " type veth peer name e" + number + " && ip link set e" +
                 number + " up && ip link set " + name + " up && ip addr add fd5" + number + "::1/64 dev " +
                 name + " nodad";
        setup += *number != '2' ? " && ip addr add 10.95." + std::string(number) + ".1/24 dev " + name : "";
    }
    if (std::system("unshare -n true 2>/dev/null") != 0) {
        WARN("SKIPPED: no network namespaces here (needs root)");
        return {};
    }
    return " unshare -n sh -c '" + setup + " || exit 1; exec \"$@\"' sh";
}

std::set<std::string> domains(const InfoPtr& info)
{
    std::set<std::string> names;
    for (const fi_info* each = info.get(); each != nullptr; each = each->next) {
        names.insert(each->domain_attr->name);
    }
    return names;
}

} // namespace

TEST_CASE("child: d1 and d0 are one domain", "[.]")
{
    int code = 0;
    const InfoPtr info = get_info(code, nullptr);
    REQUIRE(code == 0);
    CHECK(domains(info) == std::set<std::string>{"d1+d0"});
    CHECK(info->addr_format == FI_SOCKADDR_IN);
    REQUIRE(info->next != nullptr); // the same by IPv6
    CHECK(info->next->next == nullptr);
    REQUIRE(info->nic != nullptr);
    CHECK(std::string(info->nic->device_attr->name) == "d1");

    OpenDomain domain("10.95.1.1");
    CHECK(std::string(domain.info->domain_attr->name) == "d1+d0");
    const TestEndpoint endpoint(domain, {});
    sockaddr_in address{};
    std::size_t size = sizeof(address);
    REQUIRE(fi_getname(&endpoint.ep->fid, &address, &size) == 0);
    CHECK(ntohl(address.sin_addr.s_addr) == 0x0a5f0101); // of the first one, 10.95.1.1
}

TEST_CASE("child: of all, up to four are one domain, and loopback another", "[.]")
{
    int code = 0;
    const InfoPtr info = get_info(code, nullptr);
    REQUIRE(code == 0);
    CHECK(domains(info) == std::set<std::string>{"d0+d1+d2", "lo"});
}

TEST_CASE("child: d0 and one that only has IPv6", "[.]")
{
    int code = 0;
    const InfoPtr info = get_info(code, nullptr);
    REQUIRE(code == 0);
    CHECK(domains(info) == std::set<std::string>{"d2+d0"});
    OpenDomain domain("10.95.0.1");
    const TestEndpoint endpoint(domain, {});
    CHECK(endpoint.ep.get() != nullptr);
}

TEST_CASE("child: finds nothing with several interfaces", "[.]")
{
    int code = 0;
    const InfoPtr info = get_info(code, nullptr);
    CHECK(code == -FI_ENODATA);
}

TEST_CASE("FI_SRD_INTERFACE: several interfaces are one domain, called after all of them")
{
    const std::string inside = with_interfaces();
    if (inside.empty()) {
        return;
    }
    run_child("child: d1 and d0 are one domain", "FI_SRD_INTERFACE=d1,d0" + inside);
    run_child("child: of all, up to four are one domain, and loopback another",
              "FI_SRD_INTERFACE=all" + inside);
    run_child("child: d0 and one that only has IPv6", "FI_SRD_INTERFACE=d2,d0" + inside);
}

TEST_CASE("FI_SRD_INTERFACE: other backends than UDP do not put interfaces together, and say so")
{
    const std::string inside = with_interfaces();
    if (inside.empty()) {
        return;
    }
    for (const std::string backend : {"packet", "xdp", "verbs"}) {
        const std::string output =
            run_child("child: finds nothing with several interfaces",
                      "FI_PROVIDER=srd FI_SRD_INTERFACE=d0,d1 FI_SRD_BACKEND=" + backend + inside);
        INFO(backend << ": " << output);
        CHECK(output.find("together over UDP alone") != std::string::npos);
    }
}
