// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Hostile packets against an engine that is at work.
//
// Host 0 and host 1 exchange messages and access each other's memory; host 2 is
// a peer of host 0 too, each accesses the other's memory, and the attacker
// speaks in its name: packets captured from host 2, with its right connection
// identifier, are changed by the input and sent to host 0; others bear frames of
// remote memory access with fields that the input chooses; others are the
// input's raw bytes, as a stranger would send them. The law: nothing aborts, no
// invariant breaks, no memory is touched that is not ours to touch, and the
// traffic between host 0 and host 1 does not suffer.
//
// Input: a sequence of records, each a kind and what forge() makes of it.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "fuzz/input.hpp"
#include "fuzz/packet_parties.hpp"
#include "sim/scenarios.hpp"
#include "sim/workload.hpp"
#include "support/sim/sim_host.hpp"
#include "wire/binding.hpp"
#include "wire/layout.hpp"

namespace {

using namespace srd;
using namespace srd::sim;
using namespace srd::fuzz;
using std::chrono::microseconds;
using std::chrono::milliseconds;

/// Keeps the packets that the attacker's host sends to host 0, unbound.
class Capture final : public LossyNet::Tap {
public:
    void on_packet(const char*, const SimPacket& packet) override
    {
        if (packet.source != attacker || packet.destination != 0 || packets_.size() == 256) {
            return;
        }
        std::vector<std::byte> bytes = packet.bytes;
        wire::bind_packet(bytes);
        if (packets_.empty() || packets_.back() != bytes) {
            packets_.push_back(std::move(bytes));
        }
    }
    const std::vector<std::vector<std::byte>>& packets() const noexcept { return packets_; }

private:
    std::vector<std::vector<std::byte>> packets_;
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
    wire::bind_packet(packet->bytes); // what was changed is to be looked at
    packet->arrived = network.clock().now();
    host.deliver(packet);
}

template <typename T>
void append(std::vector<std::byte>& bytes, const T& value)
{
    const auto* const begin = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), begin, begin + sizeof(T));
}

/// A length or a count on either side of a bound.
std::uint16_t edge(Input& input)
{
    static constexpr std::array<std::uint16_t, 8> edges{
        0, 1, 8, 479, max_atomic_size, max_atomic_size + 1, 1200, 65535};
    return edges[input.byte() % edges.size()];
}

/// A frame of remote memory access whose fields the input chooses, and perhaps fewer bytes than it promises.
void append_access(Input& input, std::vector<std::byte>& bytes)
{
    const std::uint16_t length = edge(input);
    const std::uint8_t flags = input.byte() & 15;
    const std::uint32_t handle = input.byte();
    const std::uint32_t sequence = input.byte() & 31;
    const std::uint64_t wide = input.byte() >= 128 ? ~std::uint64_t{0} - input.byte() : input.byte();
    std::size_t payload = length;
    switch (input.byte() % 6) {
    case 0:
        append(bytes, wire::WriteFrame{
                          .flags = flags, .length = length, .handle = handle, .key = wide, .address = wide});
        append(bytes, wire::WriteTotal{std::uint64_t{length} + input.byte()});
        break;
    case 1:
        append(bytes, wire::ReadFrame{.flags = flags,
                                      .reserved = {},
                                      .sequence = sequence,
                                      .handle = handle,
                                      .length = length,
                                      .key = wide,
                                      .address = wide,
                                      .offset = wide});
        payload = 0;
        break;
    case 2: {
        const std::uint8_t ranges = input.byte() % 6;
        append(bytes, wire::AtomicFrame{.flags = flags,
                                        .length = length,
                                        .sequence = sequence,
                                        .handle = handle,
                                        .operation = input.byte(),
                                        .datatype = input.byte(),
                                        .ranges = ranges});
        for (std::uint8_t index = 0; index < ranges; ++index) {
            append(bytes, wire::AtomicRange{wide, input.byte() >= 200 ? wide : std::uint64_t{length} / ranges,
                                            wide});
        }
        payload *= (flags & wire::atomic_flag::has_operand) != 0 ? 1U : 0U;
        payload += (flags & wire::atomic_flag::has_compare) != 0 ? length : 0U;
        break;
    }
    case 3:
        append(bytes, wire::ResultFrame{.length = length, .sequence = sequence, .handle = handle});
        break;
    default:
        append(bytes,
               wire::FaultFrame{.type = static_cast<std::uint8_t>(
                                    input.byte() % 2 == 0 ? wire::FrameType::fault : wire::FrameType::denied),
                                .cause = static_cast<std::uint8_t>(input.byte() % 7),
                                .is_read = input.byte(),
                                .sequence = sequence,
                                .handle = handle,
                                .faults = static_cast<std::uint16_t>(input.word())});
        payload = 0;
        break;
    }
    bytes.resize(bytes.size() + std::min<std::size_t>(payload, 1200), static_cast<std::byte>(handle));
}

/// The header of a captured packet under a new psn, and up to 40 frames of one's own.
std::vector<std::byte> forge_accesses(Input& input, const std::vector<std::byte>& model)
{
    wire::Reader reader(model);
    auto header = reader.take<wire::PacketHeader>();
    if (!header) {
        return {};
    }
    header->flags = wire::packet_flag::sequenced | wire::packet_flag::ack_requested;
    header->psn = header->psn + input.byte() % 48;
    std::vector<std::byte> bytes;
    append(bytes, *header);
    const std::uint8_t count = input.byte();
    for (unsigned frames = count >= 200 ? 40 : 1 + count % 4; frames > 0; --frames) {
        append_access(input, bytes);
    }
    bytes.resize(std::min<std::size_t>(bytes.size(), 8972 - input.byte() % 32));
    return bytes;
}

/// The header of a captured packet, and behind it a probe of the MTU, the answer to one, or a fragment.
std::vector<std::byte> forge_mtu(Input& input, const std::vector<std::byte>& model)
{
    wire::Reader reader(model);
    auto header = reader.take<wire::PacketHeader>();
    if (!header) {
        return {};
    }
    std::vector<std::byte> bytes;
    const std::uint8_t kind = input.byte();
    if (kind % 4 == 0) {
        header->flags = input.byte() % 8 == 0 ? wire::packet_flag::sequenced : std::uint8_t{0};
        append(bytes, *header);
        wire::MtuProbeFrame probe;
        probe.flags = input.byte() % 3;
        probe.number = static_cast<std::uint16_t>(input.byte() % 4);
        probe.size = edge(input);
        append(bytes, probe);
        if (probe.flags != wire::question_flag::answer) {
            bytes.resize(std::min<std::size_t>(probe.size - input.byte() % 2, 8972));
        }
        return bytes;
    }
    header->flags = wire::packet_flag::fragment | wire::packet_flag::sequenced;
    header->psn = header->psn + input.byte() % 48;
    append(bytes, *header);
    wire::FragmentHeader place;
    place.total = kind % 4 == 1 ? edge(input) : static_cast<std::uint32_t>(reader.remaining());
    const std::uint32_t length = 8U * (1 + input.byte() % 32);
    place.offset = input.byte() % 16 == 0 ? input.word() : input.byte() % 4 * length;
    append(bytes, place);
    // A piece of the captured packet's frames, which whole would be taken for those of another psn.
    const std::size_t from = std::min<std::size_t>(place.offset, reader.remaining());
    const std::size_t end = std::min<std::size_t>(from + length, reader.remaining());
    bytes.insert(bytes.end(), reader.position() + from, reader.position() + end);
    return bytes;
}

std::vector<std::byte> forge(Input& input, const Capture& capture)
{
    const std::uint8_t kind = input.byte();
    std::vector<std::byte> bytes;
    if (kind >= 160 && !capture.packets().empty()) {
        return forge_accesses(input, capture.packets()[input.byte() % capture.packets().size()]);
    }
    if (kind >= 144 && !capture.packets().empty()) {
        return forge_mtu(input, capture.packets()[input.byte() % capture.packets().size()]);
    }
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
    add_rma_traffic(config, random, {.operations = 60, .horizon = milliseconds(1), .longest = 60'000});
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
    Workload::Options options;
    options.forget_completion = canary();
    Workload honest0(ledger, 0, options);
    Workload honest1(ledger, 1, {});
    RmaLedger rma_ledger(ledger, config.operations, config.regions);
    std::vector<std::unique_ptr<RmaApp>> accesses;
    for (const std::uint32_t host : {0U, 1U}) {
        accesses.push_back(std::make_unique<RmaApp>(rma_ledger, host, RmaApp::Options{}));
        accesses.back()->set_peers(&accesses);
    }
    honest0.set_rma(accesses[0].get(), &rma_ledger);
    honest1.set_rma(accesses[1].get(), &rma_ledger);
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
    const Time limit = clock.now() + std::chrono::seconds(canary() ? 1 : 20);
    bool more = true;
    while (more && !(ledger.settled(dead) && rma_ledger.settled(dead))) {
        for (int events = 0; more && events < 500; ++events) {
            more = clock.step(limit);
        }
    }
    ledger.check_end(dead);
    rma_ledger.check_end(dead);
    victim.check_end();
    return 0;
}
