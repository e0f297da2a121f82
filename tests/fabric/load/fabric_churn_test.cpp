// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

constexpr int max_peers = 16;

/// Before the provider reads it.
const bool limit_is_set = [] { return setenv("FI_SRD_MAX_PEERS", "16", 1) == 0; }();

} // namespace

TEST_CASE("churn: a server meets more clients than it has room for at one time")
{
    REQUIRE(limit_is_set);
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint server(domain, Options{});
    for (std::uint64_t i = 0; i < 5 * max_peers; ++i) {
        TestEndpoint client(domain, Options{});
        const fi_addr_t server_there = client.insert(server);
        fi_addr_t client_here = server.insert(client);
        std::uint64_t question = 0;
        std::uint64_t answer = 0;
        REQUIRE(fi_recv(server.ep.get(), &question, 8, nullptr, client_here, &question) == 0);
        REQUIRE(fi_recv(client.ep.get(), &answer, 8, nullptr, FI_ADDR_UNSPEC, &answer) == 0);
        REQUIRE(fi_inject(client.ep.get(), &i, 8, server_there) == 0);
        while (server.ready.empty()) {
            server.poll();
            client.poll();
        }
        REQUIRE_FALSE(server.ready.front().failed);
        server.ready.clear();
        ssize_t result = 0;
        while ((result = fi_inject(server.ep.get(), &question, 8, client_here)) == -FI_EAGAIN) {
            server.poll();
        }
        REQUIRE(result == 0);
        while (client.ready.empty()) {
            server.poll();
            client.poll();
        }
        REQUIRE_FALSE(client.ready.front().failed);
        REQUIRE(answer == i);
        REQUIRE(fi_av_remove(server.av.get(), &client_here, 1, 0) == 0);
    }
}
