// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Questions to the kernel and their answers, each to its own.
#include <sys/socket.h>

#include "io/host/netlink.hpp"
#include "io/host/netlink_socket.hpp"

#include "support/catch.hpp"

using namespace srd;

namespace {

constexpr int loopback = 1; // its index in every network namespace

ifinfomsg link_of_index(int index)
{
    ifinfomsg fixed{};
    fixed.ifi_index = index;
    return fixed;
}

} // namespace

TEST_CASE("netlink: an answer that nobody has read is not taken for that of the next question")
{
    NetlinkSocket socket;
    REQUIRE(socket.open() == 0);
    for (const int stale : {loopback, -1}) { // an answer, and an error
        INFO(stale);
        NetlinkRequest earlier(RTM_GETLINK, link_of_index(stale));
        earlier.header().nlmsg_seq = 4711;
        REQUIRE(::send(socket.fd(), &earlier.header(), earlier.header().nlmsg_len, 0) > 0);
        for (int question = 0; question < 2; ++question) {
            NetlinkRequest request(RTM_GETLINK, link_of_index(loopback));
            int answers = 0;
            CHECK(socket.ask(request, [&](const nlmsghdr& message) {
                CHECK(fixed_part<ifinfomsg>(message).ifi_index == loopback);
                ++answers;
            }) == 0);
            CHECK(answers == 1);
        }
    }
}

TEST_CASE("netlink: a list is read to its end, and the kernel's error is the question's")
{
    NetlinkSocket socket;
    REQUIRE(socket.open() == 0);
    int links = 0;
    NetlinkRequest list(RTM_GETLINK, ifinfomsg{}, NLM_F_DUMP);
    CHECK(socket.ask(list, [&](const nlmsghdr& /*message*/) { ++links; }) == 0);
    CHECK(links >= 1);
    NetlinkRequest nobody(RTM_GETLINK, link_of_index(0x7ffffff0));
    CHECK(socket.ask(nobody, [](const nlmsghdr& /*message*/) {}) == ENODEV);
}
