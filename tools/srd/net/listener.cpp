// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "net/listener.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/core/system_random.hpp"
#include "io/host/interfaces.hpp"

#include "provider_check.hpp"

namespace srd::tool {

namespace {

constexpr std::size_t most_ports = 256; // of a range, for which there is a socket per family
constexpr std::size_t most_datagrams = 5000;
constexpr milliseconds client_patience{30000}; // more than the longest of what a client does by UDP alone
constexpr milliseconds check_patience{2000};

std::uint32_t mtu_of(const SocketAddress& local)
{
    for (const NetInterface& entry : list_interfaces()) {
        if (entry.address.same_host(local)) {
            return entry.mtu;
        }
    }
    return 0;
}

SocketAddress without_port(SocketAddress address)
{
    address.set_port(0);
    return address;
}

/// A number of a request, at most `most`; what is none counts as 0.
template <typename T>
T number(const nlohmann::json& request, const char* name, T most)
{
    const auto found = request.find(name);
    return found == request.end() || !found->is_number_unsigned()
               ? T{0}
               : static_cast<T>(std::min<std::uint64_t>(found->get<std::uint64_t>(), most));
}

bool has_ended(int input)
{
    std::array<char, 4096> unread{};
    return input >= 0 && wait_readable({input}, milliseconds(0)) &&
           ::read(input, unread.data(), unread.size()) <= 0;
}

} // namespace

int Listener::open_family(int family, std::uint16_t port)
{
    int error = 0;
    FileDescriptor listener = listen_tcp(wildcard_address(family, port), error);
    if (!listener.valid()) {
        return error;
    }
    UdpPort udp = UdpPort::open(wildcard_address(family, port), false, error);
    UdpPort other =
        UdpPort::open(wildcard_address(family, range_.source_port(1)), range_.sources() != 0, error);
    if (!udp.valid() || !other.valid()) {
        return error;
    }
    listeners_.push_back(std::move(listener));
    ports_.push_back(std::move(udp));
    others_.push_back(std::move(other));
    return 0;
}

void Listener::open_range_ports(int family)
{
    for (std::uint32_t port = range_.first;
         port <= range_.last_receiving() && port < range_.first + most_ports && !range_.empty(); ++port) {
        int error = 0;
        if (port != port_) {
            UdpPort made =
                UdpPort::open(wildcard_address(family, static_cast<std::uint16_t>(port)), false, error);
            if (made.valid()) { // else an endpoint has it
                ports_.push_back(std::move(made));
            }
        }
    }
}

int Listener::open(const ListenOptions& options, std::string& error)
{
    range_ = options.range;
    std::uint32_t port = options.port != 0 ? options.port : range_.empty() ? doctor_port : range_.first;
    const std::uint32_t last = options.port != 0 || range_.empty() ? port : range_.last_receiving();
    int code = EADDRINUSE;
    for (; port <= last && code == EADDRINUSE; ++port) {
        port_ = static_cast<std::uint16_t>(port);
        code = open_family(AF_INET, port_);
    }
    if (code != 0) {
        error = "cannot listen at port " + std::to_string(port_) + ": " + std::strerror(code);
        return code;
    }
    open_range_ports(AF_INET);
    if (open_family(AF_INET6, port_) == 0) { // else there is no IPv6 here
        open_range_ports(AF_INET6);
    }
    return 0;
}

void Listener::run(Clock::time_point end, int input)
{
    while (Clock::now() < end && !has_ended(input)) {
        std::vector<int> fds{input};
        for (const UdpPort& port : ports_) {
            fds.push_back(port.fd());
        }
        if (session_) {
            fds.push_back(session_->channel.fd());
        } else { // who comes meanwhile waits
            for (const FileDescriptor& listener : listeners_) {
                fds.push_back(listener.get());
            }
        }
        const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
        wait_readable(fds, std::min(left, milliseconds(1000)));
        for (std::size_t i = 0; i < ports_.size(); ++i) {
            answer_datagrams(i);
        }
        if (session_) {
            serve_client();
        }
        for (const FileDescriptor& listener : listeners_) {
            if (!session_) {
                accept_client(listener);
            }
        }
    }
}

void Listener::answer_datagrams(std::size_t index)
{
    UdpPort& port = ports_[index];
    bool any = true;
    while (any) {
        const auto arrival = port.receive(any);
        if (!arrival) {
            continue;
        }
        const Datagram& asked = arrival->datagram;
        if (session_ && asked.session == session_->id && asked.kind != Datagram::Kind::answer) {
            session_->tally.add(*arrival);
        }
        if (asked.kind != Datagram::Kind::question || asked.answer_size == 0) {
            continue;
        }
        Datagram answer = asked;
        answer.kind = Datagram::Kind::answer;
        const auto other = std::find_if(others_.begin(), others_.end(), [&](const UdpPort& each) {
            return each.local().family() == arrival->from.family();
        });
        const UdpPort& sender = asked.from_other && other != others_.end() ? *other : port;
        sender.send(arrival->from, answer, std::min<std::size_t>(asked.answer_size, arrival->size),
                    arrival->to);
    }
}

void Listener::accept_client(const FileDescriptor& listener)
{
    FileDescriptor socket(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket.valid()) {
        return;
    }
    const int fd = socket.get();
    session_.emplace(Session{system_random(),
                             LineChannel(std::move(socket)),
                             without_port(peer_address(fd)),
                             without_port(local_address(fd)),
                             Clock::now(),
                             {}});
    tell_(session_->client.host_text() + " has connected");
}

void Listener::serve_client()
{
    if (!wait_readable({session_->channel.fd()}, milliseconds(0))) {
        if (Clock::now() - session_->heard > client_patience) {
            end_session("says nothing more");
        }
        return;
    }
    const auto request = session_->channel.receive(milliseconds(1000));
    if (!request) {
        end_session("has ended");
        return;
    }
    session_->channel.send(act(*request));
    session_->heard = Clock::now();
}

void Listener::end_session(const char* why)
{
    tell_(session_->client.host_text() + ' ' + why);
    session_.reset();
}

nlohmann::json Listener::greet() const
{
    nlohmann::json ports = nlohmann::json::array();
    for (const UdpPort& port : ports_) {
        if (port.local().family() == session_->client.family()) {
            ports.push_back(port.port());
        }
    }
    std::array<char, 17> id{};
    std::snprintf(id.data(), id.size(), "%016llx", static_cast<unsigned long long>(session_->id));
    return {{"hello", 1},           {"version", SRD_VERSION},         {"libfabric", libfabric_version()},
            {"session", id.data()}, {"mtu", mtu_of(session_->local)}, {"udp_ports", ports}};
}

nlohmann::json Listener::send_train_to_client(const nlohmann::json& request)
{
    Train train;
    train.from = session_->local;
    train.to = session_->client;
    train.to.set_port(number<std::uint16_t>(request, "port", 65535));
    train.session = session_->id;
    train.count = number<std::uint32_t>(request, "count", most_datagrams);
    train.size = number<std::size_t>(request, "size", 65507);
    train.ports = std::max<std::size_t>(number<std::size_t>(request, "ports", 64), 1);
    train.gap = std::chrono::microseconds(number<std::uint32_t>(request, "gap_us", 10000));
    train.range = range_;
    const Sent sent = send_train(train);
    return {{"sent", sent.count}, {"error", sent.error}, {"ports", sent.ports}};
}

nlohmann::json Listener::act(const nlohmann::json& request)
{
    const auto found = request.find("do");
    const std::string what = found != request.end() && found->is_string() ? found->get<std::string>() : "";
    SocketAddress client = session_->client;
    client.set_port(number<std::uint16_t>(request, "port", 65535));
    if (request.contains("hello")) {
        return greet();
    }
    if (what == "counted") {
        return std::exchange(session_->tally, {}).json();
    }
    if (what == "send" && client.port() != 0) {
        return send_train_to_client(request);
    }
    if (what == "answer" && client.port() != 0) {
        const Datagram datagram{session_->id, number<std::uint32_t>(request, "number", ~0U), 0,
                                Datagram::Kind::answer, false};
        const auto sender = std::find_if(ports_.begin(), ports_.end(), [&](const UdpPort& each) {
            return each.local().family() == client.family();
        });
        return {{"error", sender->send(client, datagram, number<std::size_t>(request, "size", 65507),
                                       session_->local)}};
    }
    if (what == "connect" && client.port() != 0) {
        const Rejection rejection = connect_tcp(client, session_->local, check_patience).rejection;
        return {{"error", rejection.error}, {"by", rejection.by.empty() ? "" : rejection.by.host_text()}};
    }
    return {{"unknown", request}};
}

} // namespace srd::tool
