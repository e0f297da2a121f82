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

/// A process that waits for the server's address, sends it its own address and its number, and is gone
/// without a word.
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
        const std::vector<std::byte> name = client.name();
        REQUIRE(fi_send(client.ep.get(), name.data(), name.size(), nullptr, there, nullptr) == 0);
        REQUIRE(fi_send(client.ep.get(), &number, sizeof(number), nullptr, there, nullptr) == 0);
        while (client.ready.size() < 2) {
            client.poll();
        }
        ::_exit(client.ready[0].failed || client.ready[1].failed ? 2 : 0); // nothing is closed
    }

    int ends_[2] = {-1, -1};
    std::unique_ptr<Child> child_;
};

} // namespace

TEST_CASE("crowded: records of clients that died are given to others, and so are their routes")
{
    REQUIRE(limits_are_set);
    constexpr std::size_t count = 2 * max_peers;
    std::vector<std::unique_ptr<Client>> clients; // forked before anything is open
    for (std::size_t i = 0; i < count; ++i) {
        clients.push_back(std::make_unique<Client>(i));
    }
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint server(domain, Options{});
    fi_addr_t first = FI_ADDR_NOTAVAIL;
    const auto receive = [&server](void* buffer, std::size_t size) {
        REQUIRE(fi_recv(server.ep.get(), buffer, size, nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (server.ready.empty()) {
            server.poll();
            REQUIRE(std::chrono::steady_clock::now() < end);
        }
        const auto done = server.ready.front();
        REQUIRE_FALSE(done.failed);
        server.ready.clear();
        return done.source;
    };
    for (std::size_t i = 0; i < count; ++i) {
        clients[i]->start(server.name());
        std::array<std::byte, 64> name{};
        CHECK(receive(name.data(), name.size()) == FI_ADDR_NOTAVAIL);
        if (i == 0) {
            REQUIRE(fi_av_insert(server.av.get(), name.data(), 1, &first, 0, nullptr) == 1);
        }
        std::uint64_t number = 99;
        CHECK(receive(&number, sizeof(number)) == (i == 0 ? first : FI_ADDR_NOTAVAIL));
        CHECK(number == i);
        CHECK(clients[i]->wait() == 0);
    }
}
