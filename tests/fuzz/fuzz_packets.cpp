// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Hostile packets against an engine that is at work.
//
// Host 0 and host 1 exchange messages; host 2 is a peer of host 0 too, and the
// attacker speaks in its name: packets captured from host 2, with its right
// connection identifier, are changed by the input and sent to host 0; others
// are the input's raw bytes, as a stranger would send them. The law: nothing
// aborts, no invariant breaks, no memory is touched that is not ours to touch,
// and the traffic between host 0 and host 1 does not suffer.
//
// Input: a sequence of records {kind, template, count, count x {offset, value}}.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sim/scenarios.hpp"
#include "sim/workload.hpp"
#include "support/sim_host.hpp"

namespace {

using namespace srd;
using namespace srd::sim;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::uint32_t attacker = 2;

/// Reads the fuzzer's bytes; zero when they are used up.
class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}
    bool empty() const noexcept { return rest_.empty(); }
    std::uint8_t byte() noexcept
    {
        if (rest_.empty()) {
            return 0;
        }
        const std::uint8_t value = rest_.front();
        rest_ = rest_.subspan(1);
        return value;
    }
    std::uint32_t word() noexcept { return byte() | std::uint32_t{byte()} << 8; }

private:
    std::span<const std::uint8_t> rest_;
};

/// Keeps the packets that the attacker's host sends to host 0.
class Capture final : public LossyNet::Tap {
public:
    void on_packet(const char*, const SimPacket& packet) override
    {
        if (packet.source == attacker && packet.destination == 0 && packets_.size() < 256 &&
            (packets_.empty() || packets_.back() != packet.bytes)) {
            packets_.push_back(packet.bytes);
        }
    }
    const std::vector<std::vector<std::byte>>& packets() const noexcept { return packets_; }

private:
    std::vector<std::vector<std::byte>> packets_;
};

/// Takes whatever comes from the attacker, in all the ways there are; checks nothing but memory.
class Victim final : public SimApp {
public:
    Victim(Workload& honest, std::uint64_t seed) : honest_(honest), random_(seed) {}

    void on_event(SimHost& host, const Event& event) override
    {
        const bool from_attacker = host.peer_host(event.peer) == attacker;
        if (!from_attacker) {
            honest_.on_event(host, event);
            return;
        }
        if (event.kind == Event::Kind::message) {
            take(host, event);
        } else if (event.kind == Event::Kind::message_lost) {
            std::erase(parked_, event.message);
        }
    }

    Time on_pass(SimHost& host, Time now) override
    {
        while (parked_.size() > 8) {
            const MessageId oldest = parked_.front();
            parked_.erase(parked_.begin());
            Accepted outcome{};
            if (random_.chance(0.5)) {
                host.discard(oldest);
            } else if (host.accept(oldest, sink(), 0, outcome) != Status::ok) {
                throw SimFailure("accept() of a parked message answered 'again'");
            }
        }
        return honest_.on_pass(host, now);
    }

private:
    void take(SimHost& host, const Event& event)
    {
        Accepted outcome{};
        MessageId id = event.message;
        if (random_.chance(0.4) && host.accept(id, sink(), 0, outcome) == Status::ok) {
            return;
        }
        if (host.park(id) == Status::ok) {
            parked_.push_back(id);
            return;
        }
        host.refuse(event.message);
    }

    std::span<const iovec> sink()
    {
        iov_ = {memory_.data(), random_.between(0, memory_.size())};
        return {&iov_, 1};
    }

    Workload& honest_;
    SimRandom random_;
    std::vector<std::byte> memory_ = std::vector<std::byte>(64 << 10);
    iovec iov_{};
    std::vector<MessageId> parked_;
};

/// The attacker's own endpoint: an ordinary one whose operations may end in any way.
class Attacker final : public SimApp {
public:
    void on_event(SimHost& host, const Event& event) override
    {
        if (event.kind == Event::Kind::message) {
            host.refuse(event.message);
        }
    }
    Time on_pass(SimHost& host, Time now) override
    {
        if (sent_ == sizes_.size()) {
            return time_never;
        }
        Operation operation;
        operation.peer = host.open_peer(0);
        const iovec piece{memory_.data(), sizes_[sent_]};
        operation.iov = std::span(&piece, 1);
        operation.flags.tagged = true;
        operation.flags.has_data = sent_ % 2 == 0;
        operation.level = sent_ % 3 == 0 ? CompletionLevel::delivery : CompletionLevel::transmit;
        if (host.submit(operation) == Status::ok) {
            ++sent_;
        }
        return now + microseconds(20);
    }

private:
    std::vector<std::byte> memory_ = std::vector<std::byte>(256 << 10);
    std::vector<std::size_t> sizes_{0, 16, 900, 3000, 9000, 16'000, 100'000, 20, 2000, 200'000};
    std::size_t sent_ = 0;
};

void inject(SimHost& host, SimNetwork& network, std::uint32_t source, std::span<const std::byte> bytes)
{
    if (bytes.empty()) {
        return;
    }
    SimPacket* const packet = network.acquire();
    packet->source = source;
    packet->destination = 0;
    packet->bytes.assign(bytes.begin(), bytes.end());
    packet->arrived = network.clock().now();
    host.deliver(packet);
}

std::vector<std::byte> forge(Input& input, const Capture& capture)
{
    const std::uint8_t kind = input.byte();
    std::vector<std::byte> bytes;
    if (kind % 4 != 0 && !capture.packets().empty()) {
        bytes = capture.packets()[input.byte() % capture.packets().size()];
        for (unsigned changes = input.byte() % 12; changes > 0; --changes) {
            const std::size_t offset = input.word() % bytes.size();
            bytes[offset] = static_cast<std::byte>(input.byte());
        }
        if (kind % 4 == 3) {
            bytes.resize(input.word() % (bytes.size() + 1));
        }
    } else {
        bytes.resize(input.byte());
        for (std::byte& byte : bytes) {
            byte = static_cast<std::byte>(input.byte());
        }
    }
    return bytes;
}

RunConfig honest_config()
{
    RunConfig config = make_run(*find_scenario("lossless"), 1);
    config.hosts = 2;
    config.messages.clear();
    SimRandom random(7);
    add_traffic(config, random, {.messages = 40, .horizon = milliseconds(1), .longest = 60'000});
    config.host.check_period = 2;
    config.host.limits.unexpected_bytes = 1 << 20;
    config.host.limits.rx_messages = 1024;
    return config;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const RunConfig config = honest_config();
    SimClock clock;
    LossyNet net(clock, 3, config.net, 1);
    Capture capture;
    net.set_tap(&capture);
    Ledger ledger(1, config.messages, 3);
    Workload honest0(ledger, 0, {});
    Workload honest1(ledger, 1, {});
    Victim victim(honest0, 3);
    Attacker attacking;
    std::vector<std::unique_ptr<SimHost>> hosts;
    hosts.push_back(std::make_unique<SimHost>(net, 0, config.host, victim, 11));
    hosts.push_back(std::make_unique<SimHost>(net, 1, config.host, honest1, 12));
    hosts.push_back(std::make_unique<SimHost>(net, attacker, config.host, attacking, 13));
    honest0.set_hosts(&hosts);
    honest1.set_hosts(&hosts);

    Input input(data, size);
    Time until{microseconds(60)};
    while (!input.empty() && until < Time(milliseconds(20))) {
        while (clock.step(until)) {
        }
        for (int burst = 0; burst < 4 && !input.empty(); ++burst) {
            const std::vector<std::byte> bytes = forge(input, capture);
            inject(*hosts[0], net, attacker, bytes);
        }
        until += microseconds(37);
    }
    const std::vector<bool> dead(3);
    const Time limit = clock.now() + std::chrono::seconds(20);
    bool more = true;
    while (more && !ledger.settled(dead)) {
        for (int events = 0; more && events < 500; ++events) {
            more = clock.step(limit);
        }
    }
    ledger.check_end(dead);
    return 0;
}
