// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What observations of a network mean. That they are made rightly is seen in tests/net (doctor_hosts).
#include <cerrno>
#include <functional>
#include <string>

#include "net/diagnosis.hpp"
#include "support/catch.hpp"

using namespace srd;
using namespace srd::tool;

namespace {

Observations healthy()
{
    Observations seen;
    seen.target = SocketAddress::of_ipv4(0x0a000001, 7470);
    seen.local = SocketAddress::of_ipv4(0x0a000002, 0);
    seen.local_port = 7470;
    seen.doctor = true;
    seen.version = SRD_VERSION;
    seen.there = seen.answers = seen.other_answers = seen.back = {true, 20, 20, 0, {}};
    seen.tcp_back = Rejection{};
    seen.round_trips_us = {10, 20, 30};
    seen.train_there = seen.train_back = {true, 2000, 2000, 0, 32, {}};
    seen.size_there = seen.size_back = {true, 9000, 9000, 0};
    return seen;
}

std::string level(const Observations& seen, const std::string& topic, const std::string& part)
{
    Findings findings;
    diagnose(seen, findings);
    for (const Finding& finding : findings.all()) {
        CHECK((finding.level == Level::ok || !finding.cure.empty()));
        if (finding.topic == topic && finding.text.find(part) != std::string::npos) {
            return finding.level == Level::ok ? "ok" : finding.level == Level::warning ? "warning" : "broken";
        }
    }
    return {};
}

int status(const Observations& seen)
{
    Findings findings;
    diagnose(seen, findings);
    return findings.status();
}

} // namespace

TEST_CASE("diagnosis: a healthy network has no bad findings")
{
    CHECK(status(healthy()) == 0);
    CHECK(level(healthy(), "round trip", "median 20") == "ok");
}

TEST_CASE("diagnosis: who rejects is named")
{
    Observations seen = healthy();
    seen.there = {true, 20, 0, 0, {ECONNREFUSED, SocketAddress::of_ipv4(0x0a0000fe, 0), 0}};
    seen.answers.arrived = 0;
    CHECK(level(seen, "UDP to 10.0.0.1", "is rejected by 10.0.0.254, though") == "broken");
    seen.there.rejection.by = SocketAddress::of_ipv4(0x0a000001, 0);
    CHECK(level(seen, "UDP to 10.0.0.1", "is rejected by 10.0.0.1 itself") == "broken");
    seen.there.rejection = {};
    CHECK(level(seen, "UDP to 10.0.0.1", "drops UDP in that direction") == "broken");
}

TEST_CASE("diagnosis: the direction that drops is named")
{
    Observations seen = healthy();
    seen.back.arrived = 0;
    CHECK(level(seen, "UDP from 10.0.0.1", "stateful") == "broken");
    CHECK(level(seen, "loss from 10.0.0.1", "").empty()); // is no loss
    seen.answers.arrived = 0;
    CHECK(level(seen, "UDP from 10.0.0.1", "never arrives") == "broken");
    CHECK(level(seen, "UDP", "neither").empty());
    seen.there.arrived = 0;
    CHECK(level(seen, "UDP", "neither") == "broken");
    seen.back = {true, 0, 0, EPERM, {}};
    CHECK(level(seen, "UDP from 10.0.0.1", "10.0.0.1's own firewall") == "broken");
}

TEST_CASE("diagnosis: without TCP it tells what it can")
{
    Observations seen = healthy();
    seen.doctor = false;
    seen.tcp.error = ETIMEDOUT;
    seen.back = {};
    seen.tcp_back.reset();
    CHECK(status(seen) == 1);
    CHECK(level(seen, "TCP to 10.0.0.1", "TCP is blocked") == "warning");
    seen.other_answers.arrived = 0;
    CHECK(level(seen, "UDP from 10.0.0.1", "from another port") == "broken");
    seen.answers.arrived = 0;
    CHECK(level(seen, "TCP to 10.0.0.1", "no answer from") == "broken");
    CHECK(level(seen, "UDP", "no UDP comes back") == "broken");
    seen.tcp.error = ECONNREFUSED;
    CHECK(level(seen, "TCP to 10.0.0.1", "refuses") == "broken");
    seen.tcp.error = EHOSTUNREACH;
    seen.tcp.by = seen.local;
    CHECK(level(seen, "network", "no host answers for 10.0.0.1 on the link") == "broken");
    seen.tcp.by = SocketAddress::of_ipv4(0x0a0000fe, 0);
    CHECK(level(seen, "TCP to 10.0.0.1", "is rejected by 10.0.0.254: a firewall").empty() == false);
    seen.local_port = 0;
    CHECK(level(seen, "network", "no way to") == "broken");
}

TEST_CASE("diagnosis: where the doctor is known to listen, its absence is no cause")
{
    Observations seen = healthy();
    seen.doctor = false;
    seen.there = seen.answers = {true, 20, 0, 0, {}};
    for (const int error : {ECONNREFUSED, ETIMEDOUT}) {
        seen.tcp.error = error;
        seen.started = false;
        CHECK(level(seen, "UDP", "or no doctor listens there") == "broken");
        seen.started = true;
        CHECK(level(seen, "UDP", "no doctor listens there").empty());
        CHECK(level(seen, "TCP to 10.0.0.1", "firewall") == "broken");
        CHECK(level(seen, "TCP to 10.0.0.1", "no doctor listens there").empty());
    }
}

TEST_CASE("diagnosis: sizes, losses and versions")
{
    Observations seen = healthy();
    seen.size_there.largest = 1500;
    CHECK(level(seen, "packets to 10.0.0.1", "an MTU hole: packets of more than 1500") == "warning");
    seen.size_there.told = 1500; // a router says so: no hole
    CHECK(level(seen, "packets to 10.0.0.1", "a router tells so") == "ok");
    seen.size_there.largest = 0;
    CHECK(level(seen, "packets to 10.0.0.1", "not even") == "broken");
    const auto loss = [](std::uint32_t arrived) {
        Observations lossy = healthy();
        lossy.train_there.arrived = arrived;
        return level(lossy, "loss to 10.0.0.1", "");
    };
    CHECK(loss(1999) == "ok");
    CHECK(loss(1900) == "warning");
    CHECK(loss(1500) == "broken");
    seen = healthy();
    seen.train_there.silent_ports = {7001, 7002, 7003, 7010};
    CHECK(level(seen, "loss to 10.0.0.1", "by 4 of the source ports nothing arrives (7001-7003, 7010)") ==
          "warning");
    seen = healthy();
    seen.version = "0.9.0";
    CHECK(level(seen, "versions", "0.9.0") == "warning");
}
