// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <cstdlib>
#include <fstream>
#include <string>

#include <unistd.h>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

/// The provider reads its environment once, before the first test case.
const std::string folder = [] {
    char name[] = "/tmp/srd-stats.XXXXXX";
    const char* made = mkdtemp(name);
    const std::string path = made == nullptr ? "" : made;
    setenv("PMIX_RANK", "42", 1);
    setenv("FI_SRD_STATS", (path + "/%h.%r.%p%x.json").c_str(), 1);
    return path;
}();

} // namespace

TEST_CASE("stats: every endpoint leaves a line of counters in the file named after the process")
{
    REQUIRE_FALSE(folder.empty());
    char host[256] = {};
    REQUIRE(gethostname(host, sizeof(host) - 1) == 0);
    const std::string file = folder + "/" + host + ".42." + std::to_string(getpid()) + "%x.json";
    {
        OpenDomain domain("127.0.0.1", hints_for(Options{}));
        TestEndpoint b(domain, Options{});
        TestEndpoint a(domain, Options{});
        const fi_addr_t to = a.insert(b);
        std::uint64_t received = 0;
        REQUIRE(fi_recv(b.ep.get(), &received, sizeof(received), nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
        const std::uint64_t word = 4711;
        REQUIRE(fi_inject(a.ep.get(), &word, sizeof(word), to) == 0);
        while (b.ready.empty()) {
            a.poll();
            b.poll();
        }
        CHECK(received == word);
    }
    std::ifstream lines(file);
    std::string line;
    int endpoints = 0;
    int senders = 0;
    while (std::getline(lines, line)) {
        ++endpoints;
        CHECK(line.find("\"pid\":" + std::to_string(getpid())) != std::string::npos);
        CHECK(line.find("\"host\":\"" + std::string(host) + "\",\"rank\":42,") != std::string::npos);
        senders += line.find("\"tx_messages\":1,") != std::string::npos ? 1 : 0;
    }
    CHECK(endpoints == 2);
    CHECK(senders == 1);
    CHECK(unlink(file.c_str()) == 0);
    CHECK(rmdir(folder.c_str()) == 0);
}
