// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "net/measure.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <set>
#include <thread>

#include "io/core/ip_header.hpp"
#include "io/core/system_random.hpp"
#include "io/host/interfaces.hpp"

namespace srd::tool {

namespace {

constexpr milliseconds connect_patience{4000}; // the kernel gives a neighbour up after 3 s
constexpr milliseconds control_patience{8000}; // the longest that the other end is busy with one request
constexpr milliseconds answer_patience{700};   // more than any round trip that srd is used at
constexpr std::size_t small = 64;
constexpr std::uint32_t smallest_packet = 576;
constexpr std::uint32_t largest_packet = 65535;

class Measurement {
public:
    Measurement(const SocketAddress& target, PortRange range) : target_(target), range_(range)
    {
        seen_.target = target;
    }

    Observations run();

private:
    void connect();
    void open_port();
    void greet();
    void ask_small();
    void ask_back();
    void ask_tcp_back();
    void ping();
    void run_trains();
    void find_sizes();
    void ask_ports();

    bool has_control() const { return control_.has_value(); }
    nlohmann::json ask(const nlohmann::json& request);
    Datagram question(bool from_other, std::size_t answer_size);
    /// Receives for `patience`, or until `take` returns true.
    template <typename Take>
    bool receive(milliseconds patience, Take&& take);
    Passage ask_questions(bool from_other);
    bool passes(std::uint32_t packet, bool back);
    PacketSize find_size(std::uint32_t link, bool back);
    TrainResult judge(std::uint32_t sent, const Tally& tally, const std::vector<std::uint16_t>& ports) const;

    const SocketAddress target_;
    const PortRange range_;
    Observations seen_;
    SocketAddress local_; ///< port 0
    UdpPort port_;
    std::optional<LineChannel> control_;
    std::uint64_t session_ = system_random();
    std::uint32_t number_ = 0;
    milliseconds round_trip_{200}; ///< that most do not exceed
    milliseconds longest_{200};    ///< that was seen
    std::uint32_t other_mtu_ = 0;
    std::vector<std::uint16_t> other_ports_;
};

void Measurement::connect()
{
    TcpAttempt attempt = connect_tcp(target_, {}, connect_patience);
    seen_.tcp = attempt.rejection;
    if (attempt.socket.valid()) {
        local_ = local_address(attempt.socket.get());
        control_.emplace(std::move(attempt.socket));
    } else { // the address that the kernel would take
        const FileDescriptor socket(::socket(target_.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
        if (::connect(socket.get(), target_.get(), target_.size()) == 0) {
            local_ = local_address(socket.get());
        }
    }
    local_.set_port(0);
    seen_.local = local_;
}

/// At the other end's port if that is free here, because firewalls are opened by ports.
void Measurement::open_port()
{
    std::vector<std::uint32_t> wanted{target_.port()};
    for (std::uint32_t port = range_.first; !range_.empty() && port <= range_.last_receiving(); ++port) {
        wanted.push_back(port);
    }
    wanted.push_back(0);
    int error = 0;
    for (const std::uint32_t port : wanted) {
        SocketAddress local = local_;
        local.set_port(static_cast<std::uint16_t>(port));
        port_ = UdpPort::open(local, false, error);
        if (port_.valid()) {
            break;
        }
    }
    seen_.local_port = port_.valid() ? port_.port() : std::uint16_t{0};
}

nlohmann::json Measurement::ask(const nlohmann::json& request)
{
    if (control_) {
        if (auto answer = control_->ask(request, control_patience)) {
            return std::move(*answer);
        }
        control_.reset();
        seen_.doctor_lost = true;
    }
    return nlohmann::json::object();
}

void Measurement::greet()
{
    if (!control_) {
        return;
    }
    const nlohmann::json answer = ask({{"hello", 1}, {"version", SRD_VERSION}});
    seen_.doctor = answer.value("hello", 0) == 1;
    if (!seen_.doctor) {
        control_.reset();
        return;
    }
    seen_.version = answer.value("version", "");
    seen_.libfabric = answer.value("libfabric", "");
    session_ = std::strtoull(answer.value("session", "").c_str(), nullptr, 16);
    other_mtu_ = answer.value("mtu", 0U);
    other_ports_ = answer.value("udp_ports", std::vector<std::uint16_t>());
}

Datagram Measurement::question(bool from_other, std::size_t answer_size)
{
    return {session_, ++number_, static_cast<std::uint32_t>(answer_size), Datagram::Kind::question,
            from_other};
}

template <typename Take>
bool Measurement::receive(milliseconds patience, Take&& take)
{
    const Clock::time_point end = Clock::now() + patience;
    for (;;) {
        bool any = true;
        while (any) {
            const auto arrival = port_.receive(any);
            if (arrival && arrival->datagram.session == session_ && arrival->from.same_host(target_) &&
                take(*arrival)) {
                return true;
            }
        }
        const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
        if (left.count() <= 0) {
            return false;
        }
        wait_readable({port_.fd()}, left);
    }
}

/// Some questions, and how many answers come. If another port answers, only those of that one count.
Passage Measurement::ask_questions(bool from_other)
{
    constexpr std::uint32_t questions = 20;
    Passage passage;
    passage.tried = true;
    std::set<std::uint32_t> answered;
    const std::uint32_t first = number_ + 1;
    const auto take = [&](const Arrival& arrival) {
        const bool other = arrival.from.port() != target_.port();
        if (arrival.datagram.kind == Datagram::Kind::answer && arrival.datagram.number >= first &&
            other == from_other) {
            answered.insert(arrival.datagram.number);
        }
        return answered.size() == questions;
    };
    for (std::uint32_t i = 0; i < questions; ++i) {
        const int error = port_.send(target_, question(from_other, small), small);
        passage.sent += error == 0 ? 1 : 0;
        passage.send_error = error != 0 ? error : passage.send_error;
        receive(milliseconds(5), take);
    }
    receive(answer_patience, take);
    passage.arrived = static_cast<std::uint32_t>(answered.size());
    passage.rejection = port_.rejection();
    return passage;
}

void Measurement::ask_small()
{
    if (has_control()) {
        ask({{"do", "counted"}}); // forgets what came before
    }
    seen_.answers = ask_questions(false);
    seen_.there = seen_.answers;
    if (has_control()) {
        seen_.there.arrived = Tally::of_json(ask({{"do", "counted"}})).count();
    }
    if (seen_.answers.arrived != 0) {
        seen_.other_answers = ask_questions(true);
    }
}

void Measurement::ask_back()
{
    constexpr std::uint32_t count = 20;
    const nlohmann::json answer = ask({{"do", "send"},
                                       {"port", port_.port()},
                                       {"count", count},
                                       {"size", small},
                                       {"ports", 4},
                                       {"gap_us", 2000}});
    std::set<std::uint32_t> numbers;
    receive(answer_patience, [&](const Arrival& arrival) {
        if (arrival.datagram.kind == Datagram::Kind::train) {
            numbers.insert(arrival.datagram.number);
        }
        return numbers.size() == count;
    });
    seen_.back = {has_control(),
                  answer.value("sent", 0U),
                  static_cast<std::uint32_t>(numbers.size()),
                  answer.value("error", 0),
                  {}};
}

void Measurement::ask_tcp_back()
{
    SocketAddress local = local_;
    local.set_port(port_.port());
    int error = 0;
    const FileDescriptor listener = listen_tcp(local, error);
    if (!listener.valid()) {
        return; // an endpoint of srd, or another program, has the port
    }
    const nlohmann::json answer = ask({{"do", "connect"}, {"port", port_.port()}});
    if (answer.contains("error")) {
        Rejection rejection;
        rejection.error = answer.value("error", 0);
        std::string unused;
        const std::string by = answer.value("by", "");
        rejection.by = by.empty() ? SocketAddress() : resolve_host(by, 1, unused).value_or(SocketAddress());
        seen_.tcp_back = rejection;
    }
}

void Measurement::ping()
{
    const Clock::time_point end = Clock::now() + milliseconds(1500);
    for (int i = 0; i < 500 && Clock::now() < end; ++i) {
        const Datagram asked = question(false, small);
        const Clock::time_point start = Clock::now();
        port_.send(target_, asked, small);
        if (receive(milliseconds(200),
                    [&](const Arrival& arrival) { return arrival.datagram.number == asked.number; })) {
            seen_.round_trips_us.push_back(
                std::chrono::duration<double, std::micro>(Clock::now() - start).count());
        }
    }
    std::sort(seen_.round_trips_us.begin(), seen_.round_trips_us.end());
    if (!seen_.round_trips_us.empty()) {
        const double slow = seen_.round_trips_us[seen_.round_trips_us.size() * 9 / 10];
        round_trip_ = milliseconds(static_cast<int>(slow / 1000) + 1);
        longest_ = std::min(milliseconds(static_cast<int>(seen_.round_trips_us.back() / 1000) + 1),
                            milliseconds(200));
    }
}

TrainResult Measurement::judge(std::uint32_t sent, const Tally& tally,
                               const std::vector<std::uint16_t>& ports) const
{
    TrainResult result{true, sent, tally.count(), tally.late(), ports.size(), {}};
    if (tally.count() != 0 && sent >= ports.size() * 10) {
        for (const std::uint16_t port : ports) {
            if (!tally.by_port().contains(port)) {
                result.silent_ports.push_back(port);
            }
        }
        // A translator of addresses changes ports: then none of ours is seen.
        if (result.silent_ports.size() == ports.size()) {
            result.silent_ports.clear();
        }
    }
    return result;
}

void Measurement::run_trains()
{
    constexpr std::uint32_t count = 2000;
    constexpr std::uint32_t ports = 32;
    Train train{local_, target_, session_, count, 256, ports, std::chrono::microseconds(500), range_};
    ask({{"do", "counted"}});
    const Sent sent = send_train(train);
    std::this_thread::sleep_for(round_trip_ + milliseconds(50));
    const nlohmann::json counted = ask({{"do", "counted"}});
    if (control_) {
        seen_.train_there = judge(sent.count, Tally::of_json(counted), sent.ports);
    }

    if (!control_) {
        return;
    }
    control_->send({{"do", "send"},
                    {"port", port_.port()},
                    {"count", count},
                    {"size", 256},
                    {"ports", ports},
                    {"gap_us", 500}});
    Tally tally;
    const auto take = [&](const Arrival& arrival) {
        if (arrival.datagram.kind == Datagram::Kind::train) {
            tally.add(arrival);
        }
        return tally.count() == count;
    };
    std::optional<nlohmann::json> answer;
    for (int tries = 0; tries < 80 && !answer; ++tries) { // the datagrams are read while they come
        receive(milliseconds(50), take);
        if (wait_readable({control_->fd()}, milliseconds(0))) {
            answer = control_->receive(milliseconds(1000));
        }
    }
    receive(round_trip_ + milliseconds(50), take);
    if (answer) {
        seen_.train_back =
            judge(answer->value("sent", 0U), tally, answer->value("ports", std::vector<std::uint16_t>()));
    }
}

/// Whether a packet of that many bytes gets through, to the other end or back. Loss is allowed for.
bool Measurement::passes(std::uint32_t packet, bool back)
{
    const std::size_t size = packet - udp_overhead(target_.family());
    const std::uint32_t first = number_ + 1;
    const auto take = [&](const Arrival& arrival) {
        return arrival.datagram.kind == Datagram::Kind::answer && arrival.datagram.number >= first &&
               (!back || arrival.size == size);
    };
    for (int tries = 0; tries < 4; ++tries) {
        if (back) {
            ask({{"do", "answer"}, {"port", port_.port()}, {"size", size}, {"number", ++number_}});
        } else if (port_.send(target_, question(false, small), size) == EMSGSIZE) {
            return false;
        }
        if (receive(round_trip_ * 2 + milliseconds(15), take)) {
            return true;
        }
    }
    return receive(longest_ + milliseconds(50), take); // the hosts may be busy
}

PacketSize Measurement::find_size(std::uint32_t link, bool back)
{
    PacketSize found{true, link, 0, 0};
    std::uint32_t high = std::min(link, largest_packet);
    if (passes(high, back)) {
        found.largest = high;
        return found;
    }
    std::uint32_t low = smallest_packet;
    if (high <= low || !passes(low, back)) {
        return found;
    }
    const auto narrow = [&](std::uint32_t middle) {
        if (low < middle && middle < high) {
            (passes(middle, back) ? low : high) = middle;
        }
    };
    narrow(1500); // mostly it is this
    narrow(low + 8);
    while (high - low > 1) {
        narrow((low + high) / 2);
    }
    found.largest = low;
    found.told = back ? 0 : port_.rejection().mtu;
    return found;
}

void Measurement::find_sizes()
{
    for (const NetInterface& entry : list_interfaces()) {
        if (entry.address.same_host(local_)) {
            seen_.size_there = find_size(entry.mtu, false);
        }
    }
    if (has_control() && other_mtu_ != 0 && seen_.back.arrived != 0) {
        seen_.size_back = find_size(other_mtu_, true);
        seen_.size_back.tried = has_control();
    }
}

void Measurement::ask_ports()
{
    std::set<std::uint16_t> silent(other_ports_.begin(), other_ports_.end());
    seen_.range_ports = other_ports_;
    for (int tries = 0; tries < 3 && !silent.empty(); ++tries) {
        for (const std::uint16_t port : silent) {
            SocketAddress to = target_;
            to.set_port(port);
            port_.send(to, question(false, small), small);
        }
        receive(round_trip_ * 3 + milliseconds(100), [&](const Arrival& arrival) {
            silent.erase(arrival.from.port());
            return silent.empty();
        });
    }
    seen_.closed_ports.assign(silent.begin(), silent.end());
}

Observations Measurement::run()
{
    connect();
    open_port();
    if (!port_.valid()) {
        return seen_;
    }
    greet();
    ask_small();
    if (has_control()) {
        ask_back();
        ask_tcp_back();
    }
    if (seen_.answers.arrived != 0) {
        ping();
        find_sizes();
        if (has_control()) {
            run_trains();
        }
        if (other_ports_.size() > 1) {
            ask_ports();
        }
    }
    return seen_;
}

} // namespace

Observations measure(const SocketAddress& target, PortRange range)
{
    return Measurement(target, range).run();
}

} // namespace srd::tool
