// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "sim/run.hpp"
#include "support/sim/stranger.hpp"
#include "wire/layout.hpp"

#include <algorithm>
#include <cstdio>
#include <memory>

namespace srd::sim {

namespace {

/// How long a closed endpoint keeps polling before its process exits.
constexpr Duration linger = std::chrono::milliseconds(20);

/// Prints what happens to every datagram.
class Trace final : public LossyNet::Tap {
public:
    explicit Trace(const SimClock& clock) : clock_(clock) {}

    void on_packet(const char* fate, const SimPacket& packet) override
    {
        wire::Reader reader(packet.bytes);
        const auto header = reader.take<wire::PacketHeader>();
        if (!header) {
            return;
        }
        std::printf("%12.3f %-12s %u -> %u path %u attempt %u flags %u", to_us_exact(), fate, packet.source,
                    packet.destination, static_cast<unsigned>(header->path),
                    static_cast<unsigned>(header->attempt), static_cast<unsigned>(header->flags));
        if ((header->flags & wire::packet_flag::sequenced) != 0) {
            std::printf(" psn %u", static_cast<unsigned>(header->psn));
        }
        if ((header->flags & wire::packet_flag::has_ack) != 0) {
            if (const auto block = reader.take<wire::AckBlock>()) {
                std::printf(" [ack %u flags %u words %u messages %u dup %u]",
                            static_cast<unsigned>(block->cumulative), static_cast<unsigned>(block->flags),
                            static_cast<unsigned>(block->words), static_cast<unsigned>(block->message_next),
                            static_cast<unsigned>(block->duplicates));
                (void)reader.take_bytes((block->flags & wire::ack_flag::marks) != 0 ? sizeof(wire::MarkBlock)
                                                                                    : 0);
                (void)reader.take_bytes(block->words * sizeof(std::uint64_t));
            }
        }
        if (const auto type = reader.peek()) {
            std::printf(" frame %u of %zu bytes", static_cast<unsigned>(*type), reader.remaining());
        }
        std::printf("\n");
    }

private:
    double to_us_exact() const { return static_cast<double>(clock_.now().time_since_epoch().count()) * 1e-3; }

    const SimClock& clock_;
};

/// Of what lasts, its `value`.
Duration length_of(const Fault& fault) noexcept
{
    return Duration(static_cast<std::int64_t>(fault.value));
}

Time end_of(const Fault& fault) noexcept
{
    const bool lasts = fault.kind == Fault::Kind::host_stop || fault.kind == Fault::Kind::suspend ||
                       fault.kind == Fault::Kind::no_room;
    return fault.at + (lasts ? length_of(fault) : Duration{});
}

/// Everything of one run. Member order: what is used outlives its users.
class World final : public SimTarget {
public:
    explicit World(const RunConfig& config);

    void play();
    void report(RunResult& result) const;
    void fire(std::uint32_t what, std::uint64_t value) override;

private:
    enum What : std::uint32_t { apply_fault, exit_closed };

    void apply(const Fault& fault);
    void forge(const Fault& fault);
    void run_until_settled();
    void run_until_drained();
    void close_all();
    void check_error_times() const;
    bool all_drained() const;
    void end_process(std::uint32_t host, ProcessState afterwards);

    const RunConfig& config_;
    SimClock clock_;
    LossyNet net_;
    Trace trace_{clock_};
    Ledger ledger_;
    RmaLedger rma_ledger_;
    std::vector<std::unique_ptr<Workload>> apps_;
    std::vector<std::unique_ptr<RmaApp>> rma_;
    std::vector<std::unique_ptr<SimHost>> hosts_;
    std::vector<bool> dead_;
    std::vector<Time> died_at_;
    Time calm_from_{};
    SimRandom stranger_;
};

World::World(const RunConfig& config)
    : config_(config), net_(clock_, config.hosts, config.net, mix64(config.seed ^ 1)),
      ledger_(config.seed, config.messages, config.hosts),
      rma_ledger_(ledger_, config.operations, config.regions), dead_(config.hosts),
      died_at_(config.hosts, time_never), stranger_(mix64(config.seed ^ 3))
{
    if (config.trace) {
        net_.set_tap(&trace_);
        ledger_.set_trace(true);
        rma_ledger_.set_trace(true);
    }
    ledger_.set_certain_from(config.certain_from);
    for (std::uint32_t host = 0; host < config.hosts; ++host) {
        ledger_.allow(host, host < config.allowed.size() ? config.allowed[host] : 0);
        apps_.push_back(std::make_unique<Workload>(ledger_, host, config.work));
        rma_.push_back(std::make_unique<RmaApp>(rma_ledger_, host, config.rma));
        rma_.back()->set_peers(&rma_);
        apps_.back()->set_rma(rma_.back().get(), &rma_ledger_);
        SimHostOptions options = config.host;
        if (host < config.dialects.size()) {
            options.tuning.dialect = config.dialects[host];
        }
        if (host < config.max_packets.size()) {
            options.io.caps.max_packet = config.max_packets[host];
        }
        if (host < config.rails.size()) {
            options.io.rails = config.rails[host];
        }
        hosts_.push_back(std::make_unique<SimHost>(net_, host, options, *apps_.back(),
                                                   mix64(config.seed ^ mix64(host + 2))));
        apps_.back()->set_hosts(&hosts_);
    }
    for (std::size_t index = 0; index < config.faults.size(); ++index) {
        clock_.at(config.faults[index].at, *this, apply_fault, index);
        calm_from_ = std::max(calm_from_, end_of(config.faults[index]));
    }
    for (const RmaPlan& plan : config.operations) {
        calm_from_ = std::max(calm_from_, plan.submit_at);
    }
    for (const MessagePlan& plan : config.messages) {
        calm_from_ = std::max({calm_from_, plan.submit_at, plan.receive_at});
    }
}

void World::fire(std::uint32_t what, std::uint64_t value)
{
    if (what == exit_closed) {
        const auto host = static_cast<std::uint32_t>(value);
        for (std::uint32_t id = 0; id < ledger_.size(); ++id) {
            const Ledger::Record& record = ledger_.record(id);
            if (record.plan.source == host && record.submitted && !record.completed &&
                record.plan.level != CompletionLevel::none) {
                throw SimFailure("message " + std::to_string(id) +
                                 " did not complete when its endpoint was closed");
            }
        }
        for (std::uint32_t id = 0; id < rma_ledger_.size(); ++id) {
            const RmaLedger::Record& record = rma_ledger_.record(id);
            if (record.plan.initiator == host && record.submitted && !record.completed &&
                record.plan.level != CompletionLevel::none) {
                rma_ledger_.fail(id, "did not complete when its endpoint was closed");
            }
        }
        end_process(host, ProcessState::gone);
        return;
    }
    apply(config_.faults.at(value));
}

void World::end_process(std::uint32_t host, ProcessState afterwards)
{
    hosts_[host]->kill(afterwards);
    apps_[host]->on_killed();
    rma_[host]->on_killed();
    dead_[host] = true;
    died_at_[host] = std::min(died_at_[host], clock_.now());
}

/// It cannot happen to a process that has ended.
bool concerns_process(Fault::Kind kind) noexcept
{
    switch (kind) {
    case Fault::Kind::host_close:
    case Fault::Kind::false_news:
    case Fault::Kind::mtu:
    case Fault::Kind::black_hole:
    case Fault::Kind::no_room:
    case Fault::Kind::suspend:
    case Fault::Kind::clock_leap:
    case Fault::Kind::stranger:
    case Fault::Kind::remove_peer:
        return true;
    default:
        return false;
    }
}

void World::apply(const Fault& fault)
{
    if (concerns_process(fault.kind) && !hosts_[fault.a]->running()) {
        return;
    }
    switch (fault.kind) {
    case Fault::Kind::spine_down:
    case Fault::Kind::spine_up:
        return net_.set_spine_down(fault.a, fault.kind == Fault::Kind::spine_down);
    case Fault::Kind::host_stop:
        return hosts_[fault.a]->stop(clock_.now() + length_of(fault));
    case Fault::Kind::host_kill:
        return end_process(fault.a, fault.value != 0 ? ProcessState::gone : ProcessState::silent);
    case Fault::Kind::host_restart:
        if (hosts_[fault.a]->running()) {
            end_process(fault.a, ProcessState::gone);
        }
        dead_[fault.a] = false;
        died_at_[fault.a] = time_never;
        apps_[fault.a]->on_restarted();
        rma_[fault.a]->on_restarted(clock_.now());
        return hosts_[fault.a]->restart();
    case Fault::Kind::host_close:
        apps_[fault.a]->stop_submitting();
        rma_[fault.a]->stop_submitting();
        dead_[fault.a] = true;
        died_at_[fault.a] = clock_.now();
        hosts_[fault.a]->close();
        hosts_[fault.a]->wake(clock_.now());
        return clock_.at(clock_.now() + linger, *this, exit_closed, fault.a);
    case Fault::Kind::host_cut:
    case Fault::Kind::host_mend:
        return net_.set_host_cut(fault.a, fault.kind == Fault::Kind::host_cut);
    case Fault::Kind::rail_down:
    case Fault::Kind::rail_up:
        return net_.set_rail_down(fault.a, fault.b, fault.kind == Fault::Kind::rail_down);
    case Fault::Kind::host_deaf:
    case Fault::Kind::host_hears:
        return net_.set_host_deaf(fault.a, fault.kind == Fault::Kind::host_deaf);
    case Fault::Kind::false_news:
        hosts_[fault.a]->io().push_notice(fault.b,
                                          fault.value != 0 ? RouteNotice::Kind::port_unreachable
                                                           : RouteNotice::Kind::host_unreachable,
                                          clock_.now());
        return hosts_[fault.a]->wake(clock_.now());
    case Fault::Kind::mtu:
        hosts_[fault.a]->io().set_mtu(fault.b, static_cast<std::uint32_t>(fault.value), clock_.now());
        return hosts_[fault.a]->wake(clock_.now());
    case Fault::Kind::black_hole:
        return hosts_[fault.a]->io().set_black_hole(fault.b, static_cast<std::uint32_t>(fault.value));
    case Fault::Kind::no_room:
        return hosts_[fault.a]->io().set_no_room(fault.b, clock_.now() + length_of(fault));
    case Fault::Kind::way_cut:
    case Fault::Kind::way_mend:
        return net_.set_way_cut(fault.a, fault.b, fault.kind == Fault::Kind::way_cut);
    case Fault::Kind::suspend:
        return hosts_[fault.a]->suspend(length_of(fault));
    case Fault::Kind::clock_leap:
        hosts_[fault.a]->leap(length_of(fault));
        return hosts_[fault.a]->wake(clock_.now());
    case Fault::Kind::stranger:
        return forge(fault);
    case Fault::Kind::remove_peer:
        hosts_[fault.a]->close_peer(hosts_[fault.a]->open_peer(fault.b));
        return hosts_[fault.a]->wake(clock_.now());
    case Fault::Kind::calm:
        net_.config().loss = net_.config().corrupt = net_.config().mangle = net_.config().duplicate = 0;
        return;
    }
}

void World::forge(const Fault& fault)
{
    for (std::uint64_t i = 0; i < fault.value; ++i) {
        const std::uint32_t claimed = stranger_.chance(0.8) ? fault.b : config_.hosts + 1;
        SimPacket* const packet = net_.acquire();
        packet->bytes = forge_packet(stranger_, SimIo::address_of(claimed));
        packet->source = fault.b;
        packet->destination = fault.a;
        hosts_[fault.a]->io().deliver(packet);
    }
    hosts_[fault.a]->wake(clock_.now());
}

void World::run_until_settled()
{
    const Time limit = calm_from_ + config_.patience;
    bool more = true;
    while (more) {
        // A look now and then, and before time leaps ahead.
        for (int events = 0; more && events < 1000; ++events) {
            more = clock_.step(limit);
            if (clock_.next() - clock_.now() > std::chrono::milliseconds(5)) {
                break;
            }
        }
        if (clock_.now() >= calm_from_ && ledger_.settled(dead_) && rma_ledger_.settled(dead_)) {
            return;
        }
    }
    throw SimFailure(
        "not settled " + std::to_string(to_us(config_.patience) / 1'000'000) + " s after the last fault: " +
        (ledger_.settled(dead_) ? rma_ledger_.first_unsettled(dead_) : ledger_.first_unsettled(dead_)));
}

bool World::all_drained() const
{
    return std::all_of(hosts_.begin(), hosts_.end(),
                       [](const auto& host) { return !host->running() || host->drained(); });
}

void World::run_until_drained()
{
    const Time limit = clock_.now() + config_.patience;
    while (!all_drained()) {
        if (!clock_.step(limit)) {
            break;
        }
    }
    for (const auto& host : hosts_) {
        if (host->running() && !host->drained()) {
            throw SimFailure("host " + std::to_string(host->index()) +
                             " is not drained, though every message has been settled");
        }
        if (host->running()) {
            host->engine().check_invariants();
        }
        // One more than records: whoever takes the place of another has a route before the other's goes.
        const Limits& limits = host->options().limits;
        if (host->running() && host->io().route_peak() > limits.max_peers + limits.idle_routes + 1) {
            throw SimFailure("host " + std::to_string(host->index()) +
                             " has kept routes of peers that have gone");
        }
        if (ledger_.allowed(host->index()) == 0 && host->running() && apps_[host->index()]->parked() != 0 &&
            std::all_of(config_.allowed.begin(), config_.allowed.end(),
                        [](CauseSet set) { return set == 0; })) {
            throw SimFailure("messages are still parked at host " + std::to_string(host->index()));
        }
    }
}

void World::close_all()
{
    const Time limit = clock_.now() + std::chrono::milliseconds(100);
    for (const auto& host : hosts_) {
        if (host->running()) {
            ledger_.allow(host->index(),
                          ~CauseSet{0}); // nothing is outstanding but what an earlier failure left
            host->close();
            host->wake(clock_.now());
        }
    }
    while (clock_.step(limit)) {
    }
    for (const auto& host : hosts_) {
        if (host->running()) {
            host->engine().check_invariants();
            if (!host->drained()) {
                throw SimFailure("host " + std::to_string(host->index()) + " is not drained after close()");
            }
        }
    }
}

void World::check_error_times() const
{
    for (std::uint32_t id = 0; id < ledger_.size(); ++id) {
        const Ledger::Record& record = ledger_.record(id);
        const Time death = died_at_[record.plan.destination];
        if (record.completed && record.cause != Cause::none && death != time_never) {
            const Duration waited = record.completed_at - std::max(death, record.submitted_at);
            if (waited > config_.error_bound) {
                throw SimFailure("message " + std::to_string(id) + " failed only " +
                                 std::to_string(to_us(waited) / 1000) + " ms after its destination's death");
            }
        }
    }
    for (std::uint32_t id = 0; id < rma_ledger_.size(); ++id) {
        const RmaLedger::Record& record = rma_ledger_.record(id);
        const Time death = died_at_[record.plan.target];
        if (record.completed && record.cause != Cause::none && death != time_never &&
            record.completed_at - std::max(death, record.submitted_at) > config_.error_bound) {
            rma_ledger_.fail(id, "failed too late after its target's death");
        }
    }
}

void World::play()
{
    run_until_settled();
    ledger_.check_end(dead_);
    check_error_times();
    rma_ledger_.check_end(dead_);
    run_until_drained();
    close_all();
    for (const auto& rma : rma_) {
        rma->check_end();
    }
}

void World::report(RunResult& result) const
{
    result.ended = clock_.now();
    result.events = clock_.fired();
    result.net = net_.totals();
    for (const auto& host : hosts_) {
        for_each_counter(host->counters(), [&](const char* name, const char*, std::uint64_t value) {
            result.counters[name] += value;
        });
    }
    for (std::uint32_t id = 0; id < ledger_.size(); ++id) {
        const Ledger::Record& record = ledger_.record(id);
        result.failed_operations += record.completed && record.cause != Cause::none;
        result.received_bytes += record.received ? record.plan.length : 0;
    }
    for (std::uint32_t id = 0; id < rma_ledger_.size(); ++id) {
        const RmaLedger::Record& record = rma_ledger_.record(id);
        result.failed_operations += record.completed && record.cause != Cause::none;
        result.rejected_operations += record.rejected != Cause::none;
        result.received_bytes += record.handled_bytes;
    }
}

} // namespace

RunResult run(const RunConfig& config)
{
    RunResult result;
    World world(config);
    try {
        world.play();
        result.ok = true;
    } catch (const SimFailure& failure) {
        result.failure = failure.what();
    }
    world.report(result);
    return result;
}

} // namespace srd::sim
