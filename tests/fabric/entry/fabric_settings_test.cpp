// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The variables FI_SRD_*: their list, what they change in the answer of fi_getinfo, and what is said about
// wrong ones. Each is set for a child, because the provider reads them once.
#include "fabric/fabric_fixture.hpp"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include <srd/limits.hpp>

using namespace fabric_test;

TEST_CASE("every variable is listed with its default")
{
    fi_param* list = nullptr;
    int count = 0;
    int code = 0;
    const InfoPtr info = get_info(code, nullptr);
    REQUIRE(fi_getparams(&list, &count) == 0);
    const std::unique_ptr<fi_param, decltype(&fi_freeparams)> owner(list, &fi_freeparams);
    const auto help = [&](const std::string& name) {
        for (int i = 0; i < count; ++i) {
            if (name == list[i].name) {
                return std::string(list[i].help_string);
            }
        }
        return std::string();
    };
    const auto has_default = [&](const std::string& name, std::uint64_t value) {
        INFO(name << ": " << help(name));
        CHECK(help(name).find("(default " + std::to_string(value)) != std::string::npos);
    };
    const srd::Tuning tuning;
    const srd::Limits limits;
    const auto ms = [](srd::Duration d) { return static_cast<std::uint64_t>(d.count()) / 1000000; };
    const auto us = [](srd::Duration d) { return static_cast<std::uint64_t>(d.count()) / 1000; };
    has_default("FI_SRD_EAGER_SIZE", tuning.eager_size);
    has_default("FI_SRD_WINDOW", tuning.window_max);
    has_default("FI_SRD_GRANT_BUDGET", tuning.grant_budget);
    has_default("FI_SRD_PEER_TIMEOUT_MS", ms(tuning.peer_timeout));
    has_default("FI_SRD_CONNECT_TIMEOUT_MS", ms(tuning.connect_timeout));
    has_default("FI_SRD_STOPPED_TIMEOUT_MS", ms(tuning.stopped_timeout));
    has_default("FI_SRD_RNR_TIMEOUT_MS", ms(tuning.rnr_timeout));
    has_default("FI_SRD_ACK_DELAY_US", us(tuning.ack_delay));
    has_default("FI_SRD_RTO_MIN_US", us(tuning.rto_min));
    has_default("FI_SRD_TARGET_DELAY_US", us(tuning.target_delay));
    has_default("FI_SRD_UNEXPECTED_BYTES", limits.unexpected_bytes);
    has_default("FI_SRD_MAX_PEERS", limits.max_peers);
    has_default("FI_SRD_MTU", limits.max_packet);
    for (const char* name :
         {"CONGESTION", "PATHS", "PATH_POLICY", "SOCKET_BUFFER", "INTERFACE", "STATS", "QUIET"}) {
        INFO(name);
        CHECK(help(std::string("FI_SRD_") + name).find("(default") != std::string::npos);
    }
}

TEST_CASE("child: finds nothing", "[.]")
{
    int code = 0;
    const InfoPtr info = get_info(code, nullptr);
    CHECK(code == -FI_ENODATA);
}

TEST_CASE("child: finds loopback only", "[.]")
{
    int code = 0;
    const InfoPtr list = get_info(code, make_hints(FI_MSG | FI_REMOTE_COMM).get());
    REQUIRE(code == 0);
    for (const fi_info* info = list.get(); info != nullptr; info = info->next) {
        CHECK(is_loopback(*info));
    }
}

TEST_CASE("child: finds packet domains only", "[.]")
{
    int code = 0;
    const InfoPtr list = get_info(code, nullptr);
    if (code == -FI_ENODATA) {
        return; // without rights or an Ethernet device; the parent reads the reason
    }
    REQUIRE(code == 0);
    for (const fi_info* info = list.get(); info != nullptr; info = info->next) {
        CHECK(std::string(info->domain_attr->name).ends_with("-packet"));
        CHECK_FALSE(is_loopback(*info));
    }
    // By name another backend's domain is found as well, and ours again.
    const std::string name = list->domain_attr->name;
    for (const std::string& wanted : {name, name.substr(0, name.size() - std::strlen("-packet"))}) {
        const InfoPtr hints = make_hints(FI_MSG);
        hints->domain_attr->name = strdup(wanted.c_str());
        const InfoPtr found = get_info(code, hints.get());
        REQUIRE(code == 0);
        CHECK(found->domain_attr->name == wanted);
    }
}

TEST_CASE("FI_SRD_BACKEND chooses whose domains are listed, or the log says what is missing")
{
    const std::string output = run_child("child: finds packet domains only", "FI_SRD_BACKEND=packet");
    INFO(output);
    if (output.find("finds nothing") != std::string::npos) {
        CHECK(output.find("is left out: ") != std::string::npos);
    }
}

TEST_CASE("child: finds something", "[.]")
{
    for (int i = 0; i < 2; ++i) {
        int code = 0;
        const InfoPtr list = get_info(code, nullptr);
        REQUIRE(code == 0);
    }
}

TEST_CASE("one line of the log says which backend is taken and why the others are not")
{
    const std::string output = run_child("child: finds something", "FI_LOG_LEVEL=info");
    INFO(output);
    const std::size_t at = output.find(" is taken unless FI_SRD_BACKEND");
    REQUIRE(at != std::string::npos);
    CHECK(output.find(" is taken unless FI_SRD_BACKEND", at + 1) == std::string::npos);
    const std::string line = output.substr(at, output.find('\n', at) - at);
    for (const std::string other : {"-packet", "-xdp"}) {
        CHECK((line.find(other + " could be") != std::string::npos ||
               line.find(other + " is left out: ") != std::string::npos));
    }
    CHECK(run_child("child: finds something").find("is taken unless") == std::string::npos);
}

TEST_CASE("a wrong variable is named with what is allowed, and srd is not offered")
{
    struct Row {
        const char* variable;
        const char* text;
    };
    const Row row = GENERATE(
        Row{"FI_SRD_EAGER_SIZE=12x", "FI_SRD_EAGER_SIZE=\"12x\" is not allowed: give 0..131072 bytes"},
        Row{"FI_SRD_PATHS=65", "FI_SRD_PATHS=\"65\" is not allowed: give 1..64"},
        Row{"FI_SRD_PATHS=-1", "FI_SRD_PATHS=\"-1\" is not allowed: give 1..64"},
        Row{"FI_SRD_CONGESTION=fast", "FI_SRD_CONGESTION=\"fast\" is not allowed: give swift or fixed"},
        Row{"FI_SRD_BACKEND=fast", "FI_SRD_BACKEND=\"fast\" is not allowed: give udp, packet, xdp or verbs"},
        Row{"FI_SRD_PEER_TIMEOUT_MS=soon", "give 10..86400000 ms (or with us, ms, s, m or h)"},
        Row{"FI_SRD_PEER_TIMEOUT_MS=25h", "give 10..86400000 ms"},
        Row{"FI_SRD_WINDOW=8T", "give 16384..1073741824 bytes (or with K, M or G)"},
        Row{"FI_SRD_SHM=maybe", "give 0 or 1 (or no, yes, off, on, false, true)"},
        Row{"FI_SRD_PORT_RANGE=7000", "FI_SRD_PORT_RANGE=\"7000\" is not allowed: give LO-HI, two ports"},
        Row{"FI_SRD_PORT_RANGE=7100-7000", "is not allowed: give LO-HI, two ports"},
        Row{"FI_SRD_INTERFACE=nothing0", "FI_SRD_INTERFACE names no interface"});
    const std::string output = run_child("child: finds nothing", row.variable);
    INFO(output);
    CHECK(output.find(row.text) != std::string::npos);
}

TEST_CASE("values may have units, and words any case")
{
    run_child("child: finds something",
              "FI_SRD_EAGER_SIZE=8K FI_SRD_WINDOW=8MiB FI_SRD_UNEXPECTED_BYTES=1g FI_SRD_PEER_TIMEOUT_MS=5s "
              "FI_SRD_RTO_MIN_US=1ms FI_SRD_STOPPED_TIMEOUT_MS=1h FI_SRD_SHM=yes FI_SRD_QUIET=Off "
              "FI_SRD_PATH_POLICY=Adaptive FI_SRD_BACKEND=UDP");
}

TEST_CASE("child: enables endpoints until no port is left", "[.]")
{
    OpenDomain domain;
    const TestEndpoint first(domain, {});
    const TestEndpoint second(domain, {});
    Handle<fid_ep> third;
    REQUIRE(fi_endpoint(domain.domain.get(), domain.info.get(), third.out(), nullptr) == 0);
    REQUIRE(fi_ep_bind(third.get(), &first.av->fid, 0) == 0);
    REQUIRE(fi_ep_bind(third.get(), &first.cq->fid, FI_TRANSMIT | FI_RECV) == 0);
    CHECK(fi_enable(third.get()) == -FI_EADDRINUSE);
}

TEST_CASE("FI_SRD_PORT_RANGE: when its ports are used up, that is told, with its name")
{
    const std::string range = std::to_string(30000 + getpid() % 2000 * 4);
    const std::string setting = "FI_SRD_PORT_RANGE=" + range + "-" + std::to_string(std::stoi(range) + 3);
    const std::string output = run_child("child: enables endpoints until no port is left",
                                         "FI_SRD_INTERFACE=lo FI_LOG_LEVEL= " + setting);
    INFO(output);
    CHECK(output.find(setting + " is exhausted") != std::string::npos);
}

TEST_CASE("FI_SRD_INTERFACE=lo makes loopback good for all")
{
    run_child("child: finds loopback only", "FI_SRD_INTERFACE=lo");
}
