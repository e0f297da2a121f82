// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A server all of whose peer records are taken by clients that died without fi_close: the next client is
// served as soon as they are found to be gone.
#include "fabric/fabric_fixture.hpp"
#include "support/child.hpp"

#include <memory>
#include <vector>

using namespace fabric_test;
using srd::test::Child;

namespace {

constexpr std::size_t max_peers = 4;

/// Before the provider reads them. The timeout is what a dead peer costs the one that waits for its record.
const bool limits_are_set =
    setenv("FI_SRD_MAX_PEERS", "4", 1) == 0 && setenv("FI_SRD_PEER_TIMEOUT_MS", "1000", 1) == 0;

/// A process that waits for the server's address, sends it its number, and is gone without a word.
class Client {
public:
    explicit Client(std::uint64_t number)
    {
        REQUIRE(::pipe(ends_) == 0);
        child_ = std::make_unique<Child>([this, number] { return live(number); });
        ::close(ends_[0]);
    }
    ~Client() { ::close(ends_[1]); }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    void start(const std::vector<std::byte>& server) const
    {
        REQUIRE(::write(ends_[1], server.data(), server.size()) == static_cast<ssize_t>(server.size()));
    }
    int wait() { return child_->wait(); }

private:
    int live(std::uint64_t number) const
    {
        std::array<std::byte, 64> server{};
        if (::read(ends_[0], server.data(), server.size()) <= 0) {
            return 1;
        }
        OpenDomain domain("127.0.0.1", hints_for(Options{}));
        TestEndpoint client(domain, Options{});
        fi_addr_t there = FI_ADDR_NOTAVAIL;
        REQUIRE(fi_av_insert(client.av.get(), server.data(), 1, &there, 0, nullptr) == 1);
        REQUIRE(fi_send(client.ep.get(), &number, sizeof(number), nullptr, there, nullptr) == 0);
        while (client.ready.empty()) {
            client.poll();
        }
        ::_exit(client.ready.front().failed ? 2 : 0); // nothing is closed
    }

    int ends_[2] = {-1, -1};
    std::unique_ptr<Child> child_;
};

} // namespace

TEST_CASE("crowded: records of clients that died are given to others")
{
    REQUIRE(limits_are_set);
    std::vector<std::unique_ptr<Client>> clients; // forked before anything is open
    for (std::size_t i = 0; i <= max_peers; ++i) {
        clients.push_back(std::make_unique<Client>(i));
    }
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint server(domain, Options{});
    for (std::size_t i = 0; i <= max_peers; ++i) {
        std::uint64_t number = 99;
        REQUIRE(fi_recv(server.ep.get(), &number, sizeof(number), nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
        clients[i]->start(server.name());
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (server.ready.empty()) {
            server.poll();
            REQUIRE(std::chrono::steady_clock::now() < end);
        }
        REQUIRE_FALSE(server.ready.front().failed);
        server.ready.clear();
        CHECK(number == i);
        CHECK(clients[i]->wait() == 0);
    }
}
