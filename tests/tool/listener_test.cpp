// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The doctor that listens: what it answers, and that strangers get nothing out of it.
#include <atomic>
#include <cerrno>
#include <string>
#include <thread>

#include <sys/socket.h>

#include "net/listener.hpp"
#include "net/measure.hpp"
#include "support/catch.hpp"

using namespace srd;
using namespace srd::tool;

namespace {

const SocketAddress loopback = SocketAddress::of_ipv4(0x7f000001, 0);

/// A listener in a thread, at a port of its own.
class Running {
public:
    Running() : listener_([](const std::string&) {})
    {
        std::string error;
        for (std::uint16_t port = 21000; port < 21100; ++port) {
            if (listener_.open({port, {}}, error) == 0) {
                break;
            }
        }
        address_ = loopback;
        address_.set_port(listener_.port());
        thread_ = std::thread([this] {
            while (!done_) {
                listener_.run(Clock::now() + milliseconds(20));
            }
        });
    }
    ~Running()
    {
        done_ = true;
        thread_.join();
    }
    const SocketAddress& address() const { return address_; }

private:
    Listener listener_;
    SocketAddress address_;
    std::atomic<bool> done_{false};
    std::thread thread_;
};

LineChannel channel_to(const SocketAddress& address)
{
    TcpAttempt attempt = connect_tcp(address, {}, milliseconds(2000));
    REQUIRE(attempt.socket.valid());
    return LineChannel(std::move(attempt.socket));
}

std::optional<Arrival> next(UdpPort& port, milliseconds patience)
{
    for (const auto end = Clock::now() + patience; Clock::now() < end;) {
        bool any = false;
        if (auto arrival = port.receive(any)) {
            return arrival;
        }
        wait_readable({port.fd()}, milliseconds(10));
    }
    return std::nullopt;
}

} // namespace

TEST_CASE("listener: on loopback all passes")
{
    const Running running;
    const Observations seen = measure(running.address(), {});
    CHECK(seen.doctor);
    CHECK(seen.there.arrived == 20);
    CHECK(seen.back.arrived == 20);
    CHECK(seen.other_answers.arrived == 20);
    CHECK(seen.train_there.arrived > 1900);
    CHECK(seen.train_back.arrived > 1900);
    CHECK(seen.size_there.largest > 60000);
    CHECK(seen.size_back.largest > 60000);
    CHECK(seen.version == SRD_VERSION);
    REQUIRE(seen.tcp_back);
    CHECK(seen.tcp_back->error == 0);
}

TEST_CASE("listener: an answer is never longer than its question, and comes from the port that is wanted")
{
    const Running running;
    int error = 0;
    UdpPort port = UdpPort::open(loopback, false, error);
    REQUIRE(port.valid());
    for (const bool from_other : {false, true}) {
        REQUIRE(port.send(running.address(), {1, 2, 60000, Datagram::Kind::question, from_other}, 100) == 0);
        const auto answer = next(port, milliseconds(5000));
        REQUIRE(answer);
        CHECK(answer->size == 100);
        CHECK(answer->datagram.number == 2);
        CHECK((answer->from.port() == running.address().port()) != from_other);
    }
    // Answers are not answered, nor is what is none of ours.
    CHECK(port.send(running.address(), {1, 3, 100, Datagram::Kind::answer, false}, 100) == 0);
    CHECK(port.send(running.address(), {1, 4, 100, Datagram::Kind::train, false}, 100) == 0);
    CHECK(::sendto(port.fd(), "nonsense", 8, 0, running.address().get(), running.address().size()) == 8);
    CHECK_FALSE(next(port, milliseconds(200)));
}

TEST_CASE("listener: nonsense over TCP ends the connection at most, and the next one is served")
{
    const Running running;
    for (const std::string line :
         {"nonsense\n", "[1,2]\n", "{\"do\":5}\n", "{\"do\":\"send\",\"port\":\"x\"}\n",
          "{\"do\":\"send\",\"port\":-1,\"count\":1e99}\n", "{\"do\":\"connect\"}\n", "\n", "\xff\xfe\n"}) {
        INFO(line);
        LineChannel stranger = channel_to(running.address());
        CHECK(::send(stranger.fd(), line.data(), line.size(), MSG_NOSIGNAL) ==
              static_cast<ssize_t>(line.size()));
        const auto answer = stranger.receive(milliseconds(3000));
        CHECK((!answer || answer->contains("unknown")));
    }
    LineChannel client = channel_to(running.address());
    const auto greeting = client.ask({{"hello", 1}}, milliseconds(5000));
    REQUIRE(greeting);
    CHECK((*greeting)["version"] == SRD_VERSION);
}

TEST_CASE("listener: what it sends unasked goes to its client, and is bounded")
{
    const Running running;
    LineChannel client = channel_to(running.address());
    int error = 0;
    UdpPort port = UdpPort::open(loopback, false, error);
    const auto answer =
        client.ask({{"do", "send"}, {"port", port.port()}, {"count", 1000000000}, {"size", 1000000}},
                   milliseconds(20000));
    REQUIRE(answer);
    CHECK((*answer)["sent"].get<unsigned>() <= 5000);
    const auto arrival = next(port, milliseconds(1000));
    REQUIRE(arrival);
    CHECK(arrival->size == 65507);
}

TEST_CASE("sockets: names of hosts with and without a port")
{
    std::string error;
    const auto text = [&](const char* name) {
        const auto address = resolve_host(name, 7470, error);
        return address ? address->text() : std::string();
    };
    CHECK(text("127.0.0.1") == "127.0.0.1:7470");
    CHECK(text("127.0.0.1:81") == "127.0.0.1:81");
    CHECK(text("::1") == "[::1]:7470");
    CHECK(text("[::1]:81") == "[::1]:81");
    CHECK(text("[::1]") == "[::1]:7470");
    for (const char* const bad : {"", "127.0.0.1:0", "127.0.0.1:x", "[::1", "nobody.invalid"}) {
        INFO(bad);
        CHECK(text(bad).empty());
    }
}
