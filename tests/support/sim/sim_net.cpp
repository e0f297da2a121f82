// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/sim/sim_net.hpp"

#include <algorithm>
#include <bit>

#include <srd/check.hpp>

#include "support/sim/meddler.hpp"
#include "wire/binding.hpp"

namespace srd::sim {

namespace {

enum Stage : std::uint8_t { at_spine, at_down, at_host };

std::int64_t to_ps(Time time) noexcept
{
    return time.time_since_epoch().count() * 1000;
}

Time from_ps(std::int64_t ps) noexcept
{
    return Time(Duration((ps + 999) / 1000));
}

} // namespace

std::optional<Time> SimLink::push(std::uint32_t bytes, Time now, bool& marked)
{
    const std::uint32_t queued = backlog(now);
    if (queued != 0 && queued + bytes > config_.queue_bytes) {
        return std::nullopt;
    }
    marked = marked || queued > config_.mark_bytes;
    busy_until_ps_ = std::max(busy_until_ps_, to_ps(now)) + std::int64_t{bytes} * config_.ps_per_byte;
    return from_ps(busy_until_ps_) + config_.delay;
}

std::uint32_t SimLink::backlog(Time now) const noexcept
{
    const std::int64_t ahead = busy_until_ps_ - to_ps(now);
    return ahead <= 0 ? 0 : static_cast<std::uint32_t>(ahead / config_.ps_per_byte);
}

Time SimLink::ready_at(std::uint32_t bytes) const noexcept
{
    return from_ps(busy_until_ps_ - std::int64_t{bytes} * config_.ps_per_byte);
}

SimPacket* SimNetwork::acquire()
{
    if (free_.empty()) {
        pool_.push_back(std::make_unique<SimPacket>());
        free_.push_back(pool_.back().get());
    }
    SimPacket* const packet = free_.back();
    free_.pop_back();
    packet->stage = 0;
    packet->marked = false;
    packet->corrupted = false;
    packet->source_rail = packet->destination_rail = 0;
    packet->bytes.clear();
    packet->remote.clear();
    return packet;
}

void SimNetwork::release(SimPacket* packet)
{
    free_.push_back(packet);
}

LossyNet::LossyNet(SimClock& clock, std::uint32_t hosts, const Config& config, std::uint64_t seed)
    : SimNetwork(clock, hosts), config_(config), random_(seed),
      up_(std::size_t{hosts} * max_rails, SimLink(config.up)),
      down_(std::size_t{hosts} * max_rails, SimLink(config.down)), spine_down_(config.spines),
      host_cut_(hosts), host_deaf_(hosts), way_cut_(std::size_t{hosts} * hosts),
      rail_down_(std::size_t{hosts} * max_rails)
{
    for (std::size_t link = 0; link < up_.size(); ++link) {
        const std::uint32_t factor = config.rail_slowness.at(link % max_rails);
        up_[link].config().ps_per_byte *= factor;
        down_[link].config().ps_per_byte *= factor;
    }
    for (std::uint32_t index = 0; index < config.spines; ++index) {
        SimLink::Config spine = config.spine;
        if (config.spines > 1) {
            spine.delay += config.spine_spread * index / (config.spines - 1);
        }
        spines_.emplace_back(spine);
    }
    if (config.meddling > 0) {
        meddler_ = std::make_unique<Meddler>(hosts, mix64(seed));
    }
}

LossyNet::~LossyNet() = default;

void LossyNet::meddle(SimPacket& packet, SimLink& spine)
{
    meddler_->look(packet);
    if (!strikes(config_.meddling)) {
        return;
    }
    if (const std::optional<SimPacket> other = meddler_->meddle(packet)) {
        SimPacket* const sent = acquire();
        *sent = *other;
        sent->stage = at_down;
        hop(spine, sent, Duration(static_cast<std::int64_t>(random_.between(0, 50'000'000))));
    }
}

/// Other values for a few bytes, or two words of the checksum in each other's place.
void LossyNet::mangle(SimPacket& packet)
{
    auto& bytes = packet.bytes;
    const std::size_t bound = wire::bound_size(bytes);
    const auto word = [&] { return static_cast<std::ptrdiff_t>(random_.between(0, bound / 2 - 1) * 2); };
    if (random_.chance(0.3)) {
        const auto one = bytes.begin() + word();
        const auto other = bytes.begin() + word();
        std::iter_swap(one, other);
        std::iter_swap(one + 1, other + 1);
    } else {
        for (auto changes = random_.between(1, 4); changes > 0; --changes) {
            bytes[random_.between(0, bound - 1)] ^= static_cast<std::byte>(random_.between(1, 255));
        }
    }
    ++totals_.mangled;
    tell("mangled", packet);
}

std::uint32_t LossyNet::spine_of(const SimPacket& packet) const noexcept
{
    const std::uint64_t pair = mix64(std::uint64_t{packet.source} << 32 | packet.destination) +
                               packet.source_rail + max_rails * packet.destination_rail;
    return static_cast<std::uint32_t>((pair + index_of(packet.path)) % config_.spines);
}

bool LossyNet::is_rail_down(const SimPacket& packet) const
{
    return rail_down_.at(packet.source * max_rails + packet.source_rail) ||
           rail_down_.at(packet.destination * max_rails + packet.destination_rail) ||
           (config_.planes && packet.source_rail != packet.destination_rail);
}

bool LossyNet::strikes(double probability)
{
    return probability > 0 && clock_.now() >= config_.clean_until && random_.chance(probability);
}

void LossyNet::hop(SimLink& link, SimPacket* packet, Duration extra)
{
    const auto bytes = static_cast<std::uint32_t>(packet->bytes.size()) + config_.overhead;
    const bool was_marked = packet->marked;
    const auto arrival = link.push(bytes, clock_.now(), packet->marked);
    if (!arrival) {
        ++totals_.tail_dropped;
        tell("tail-dropped", *packet);
        release(packet);
        return;
    }
    totals_.marked += packet->marked && !was_marked;
    clock_.at(*arrival + extra, *this, packet->stage, std::bit_cast<std::uintptr_t>(packet));
}

bool LossyNet::send(SimPacket* packet)
{
    SimLink& link = up_.at(packet->source * max_rails + packet->source_rail);
    const std::uint32_t queued = link.backlog(clock_.now());
    if (queued != 0 && queued + packet->bytes.size() > link.config().queue_bytes) {
        return false;
    }
    ++totals_.sent;
    tell("sent", *packet);
    packet->stage = at_spine;
    hop(link, packet, Duration{});
    return true;
}

Time LossyNet::nic_ready(std::uint32_t host) const
{
    Time ready{};
    for (std::uint32_t rail = 0; rail < max_rails; ++rail) {
        const SimLink& link = up_.at(host * max_rails + rail);
        ready = std::max(ready, link.ready_at(link.config().queue_bytes / 2));
    }
    return ready;
}

void LossyNet::pass_spine(SimPacket* packet)
{
    const std::uint32_t spine = spine_of(*packet);
    if (spine_down_.at(spine) || host_cut_.at(packet->source) || host_cut_.at(packet->destination) ||
        host_deaf_.at(packet->destination) || is_rail_down(*packet) ||
        way_cut_.at(packet->source * host_count() + packet->destination)) {
        ++totals_.blackholed;
        tell("blackholed", *packet);
        release(packet);
        return;
    }
    if (burst_left_ != 0 || strikes(config_.loss)) {
        burst_left_ = burst_left_ != 0 ? burst_left_ - 1 : config_.loss_burst - 1;
        ++totals_.lost;
        tell("lost", *packet);
        release(packet);
        return;
    }
    if (strikes(config_.corrupt)) {
        for (auto flips = random_.between(1, 8); flips > 0; --flips) {
            const auto position = random_.between(0, packet->bytes.size() - 1);
            packet->bytes[position] ^= static_cast<std::byte>(1U << random_.between(0, 7));
        }
        packet->corrupted = true;
        ++totals_.corrupted;
    }
    if (strikes(config_.mangle)) {
        mangle(*packet);
    }
    if (meddler_ != nullptr) {
        meddle(*packet, spines_.at(spine));
    }
    packet->stage = at_down;
    if (strikes(config_.duplicate)) {
        SimPacket* const copy = acquire();
        *copy = *packet;
        ++totals_.duplicated;
        hop(spines_.at(spine), copy, Duration(static_cast<std::int64_t>(random_.between(0, 200'000))));
    }
    Duration extra{};
    if (strikes(config_.reorder)) {
        extra = Duration(static_cast<std::int64_t>(
            random_.between(0, static_cast<std::uint64_t>(config_.reorder_max.count()))));
        ++totals_.reordered;
    }
    hop(spines_.at(spine), packet, extra);
}

void LossyNet::pass_down(SimPacket* packet)
{
    packet->stage = at_host;
    hop(down_.at(packet->destination * max_rails + packet->destination_rail), packet, Duration{});
}

void LossyNet::finish(SimPacket* packet)
{
    SimPort* const receiver = port(packet->destination);
    const ProcessState state = receiver->process_state();
    if (state == ProcessState::reading || state == ProcessState::busy) {
        ++totals_.delivered;
        packet->arrived = clock_.now();
        tell("arrived", *packet);
        receiver->deliver(packet);
        return;
    }
    if (state == ProcessState::gone) {
        port(packet->source)->on_unreachable_port(packet->destination);
    }
    release(packet);
}

void LossyNet::fire(std::uint32_t what, std::uint64_t value)
{
    auto* const packet = std::bit_cast<SimPacket*>(static_cast<std::uintptr_t>(value));
    switch (what) {
    case at_spine:
        return pass_spine(packet);
    case at_down:
        return pass_down(packet);
    default:
        return finish(packet);
    }
}

} // namespace srd::sim
