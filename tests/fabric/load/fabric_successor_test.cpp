// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Clients that are replaced at once by others at the same addresses: news about a process that has ended
// never harms the one that lives there now.
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "fabric/rma_support.hpp"
#include "support/child.hpp"

using namespace fabric_test;
using namespace std::chrono_literals;
using srd::test::Child;
using srd::test::Shared;
using srd::test::Signpost;

namespace {

constexpr int slots = 4;
constexpr int rounds = 15; ///< of each slot
constexpr std::size_t longest = 200'000;

struct Request {
    int slot = 0;
    std::uint64_t key = 0;
    std::uint64_t address = 0;
    std::uint64_t length = 0;
};

struct World {
    Shared<std::array<std::byte, 64>> server;
    std::array<Signpost, slots> opened;
    Shared<std::array<std::uint16_t, slots>> ports;
    Shared<std::atomic<int>> ended;
    Shared<std::atomic<int>> unserved;
};

Options options()
{
    Options made;
    made.caps = rma_caps;
    return made;
}

enum class End : int { close, exit, kill };

/// One client's life, in a process of its own. False: it was not served.
bool live(World& world, int slot, int round)
{
    const std::string port = std::to_string((*world.ports)[static_cast<std::size_t>(slot)]);
    OpenDomain domain("127.0.0.1", hints_for(options()), FI_VERSION(1, 17), port.c_str());
    Window window(domain, longest);
    TestEndpoint self(domain, options());
    fi_addr_t server = FI_ADDR_NOTAVAIL;
    if (fi_av_insert(self.av.get(), world.server->data(), 1, &server, 0, nullptr) != 1) {
        return false;
    }
    const std::uint64_t length = 1 + static_cast<std::uint64_t>(round * 7919 + slot) % longest;
    Request request{slot, window.key(), window.address(), length};
    std::uint64_t answer = 0;
    if (fi_recv(self.ep.get(), &answer, sizeof(answer), nullptr, FI_ADDR_UNSPEC, nullptr) != 0 ||
        fi_inject(self.ep.get(), &request, sizeof(request), server) != 0) {
        return false;
    }
    const auto begun = std::chrono::steady_clock::now();
    while (self.ready.empty()) {
        if (std::chrono::steady_clock::now() - begun > 30s) {
            return false;
        }
        self.poll();
    }
    for (const auto since = std::chrono::steady_clock::now();
         std::chrono::steady_clock::now() - since < 20ms;) {
        self.poll(); // it is alive, and says so: whatever the server has sent has arrived
    }
    const bool served = !self.ready.front().failed && answer == length && window.data()[length - 1] == 0x5a;
    if (!served) {
        return false;
    }
    switch (static_cast<End>((round + slot) % 3)) {
    case End::close:
        break;
    case End::exit:
        ::_exit(0);
    case End::kill:
        ::raise(SIGKILL);
    }
    return true;
}

/// A slot's clients, one after the other.
int generations(World& world, int slot)
{
    world.opened.at(static_cast<std::size_t>(slot)).await();
    for (int round = 0; round < rounds; ++round) {
        const pid_t client = ::fork();
        if (client == 0) {
            ::_exit(live(world, slot, round) ? 0 : 1);
        }
        int status = 0;
        if (client < 0 || ::waitpid(client, &status, 0) != client ||
            (WIFEXITED(status) && WEXITSTATUS(status) != 0)) {
            ++*world.unserved;
        }
    }
    ++*world.ended;
    return 0;
}

class Server {
public:
    explicit Server(World& world)
    {
        const std::vector<std::byte> name = endpoint_.name();
        std::copy(name.begin(), name.end(), world.server->begin());
        for (std::size_t slot = 0; slot < slots; ++slot) {
            const sockaddr_in address = make_ipv4("127.0.0.1", (*world.ports)[slot]);
            REQUIRE(fi_av_insert(endpoint_.av.get(), &address, 1, &clients_[slot], 0, nullptr) == 1);
        }
        for (Request& request : requests_) {
            post(request);
        }
        for (Signpost& one : world.opened) {
            one.tell();
        }
    }
    void serve()
    {
        endpoint_.poll();
        for (; !endpoint_.ready.empty(); endpoint_.ready.pop_front()) {
            const Entry& entry = endpoint_.ready.front();
            if (entry.failed) {
                FAIL(fi_cq_strerror(endpoint_.cq.get(), entry.error.prov_errno, entry.error.err_data, nullptr,
                                    0));
            }
            if (entry.context() != nullptr) {
                auto& request = *static_cast<Request*>(entry.context());
                answer(request);
                post(request);
            }
        }
    }

private:
    void post(Request& request)
    {
        REQUIRE(fi_recv(endpoint_.ep.get(), &request, sizeof(request), nullptr, FI_ADDR_UNSPEC, &request) ==
                0);
    }
    void answer(const Request& request)
    {
        const fi_addr_t client = clients_.at(static_cast<std::size_t>(request.slot));
        std::uint64_t& length = lengths_.at(static_cast<std::size_t>(request.slot));
        length = request.length;
        REQUIRE(fi_write(endpoint_.ep.get(), bytes_.data(), length, nullptr, client, request.address,
                         request.key, nullptr) == 0);
        REQUIRE(fi_send(endpoint_.ep.get(), &length, sizeof(length), nullptr, client, nullptr) == 0);
    }

    OpenDomain domain_{"127.0.0.1", hints_for(options())};
    TestEndpoint endpoint_{domain_, options()};
    std::array<fi_addr_t, slots> clients_{};
    std::array<Request, 8> requests_;
    std::array<std::uint64_t, slots> lengths_{};
    std::vector<std::uint8_t> bytes_ = std::vector<std::uint8_t>(longest, 0x5a);
};

} // namespace

TEST_CASE("successor: whoever lives at an address is not charged with the end of its predecessor")
{
    World world;
    for (std::uint16_t& port : *world.ports) {
        port = free_port();
    }
    std::array<std::optional<Child>, slots> nurseries;
    for (int slot = 0; slot < slots; ++slot) {
        nurseries[static_cast<std::size_t>(slot)].emplace(
            [&world, slot] { return generations(world, slot); });
    }
    Server server(world);
    while (*world.ended != slots) {
        server.serve();
    }
    CHECK(*world.unserved == 0);
}
