// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/sim/sim_host.hpp"

#include <algorithm>
#include <map>
#include <span>
#include <string>

#include "io/seal/seal_io.hpp"
#include "progress.hpp"
#include "seal/crypto/crypto_library.hpp"
#include "seal/endpoint_seals.hpp"
#include "seal/job_key.hpp"

#include "support/alloc_guard.hpp"

namespace srd::sim {

namespace {

/// An engine that asks this often in a row for a pass in which nothing happens is spinning.
constexpr std::uint32_t barren_limit = 20'000;

/// The secret number `seed` of all, as a line of a key file.
std::string secret_line(std::uint64_t seed)
{
    SimRandom random(seed);
    std::string line;
    while (line.size() < 2 * job_secret_min_size) {
        line += "0123456789abcdef"[random.next() % 16];
    }
    return line + "\n";
}

/// Those of every host after so many steps: the next key is added, is sent with, and stands alone.
std::shared_ptr<const KeyRing> ring_at(std::uint32_t step)
{
    static std::map<std::uint32_t, std::shared_ptr<const KeyRing>> rings;
    std::shared_ptr<const KeyRing>& ring = rings[step];
    if (ring == nullptr) {
        const std::string key = secret_line(1 + step / 3);
        const std::string next = secret_line(2 + step / 3);
        const std::string file = step % 3 == 0 ? key : step % 3 == 1 ? key + next : next + key;
        std::string error;
        const auto secrets = load_crypto_library(error) == nullptr
                                 ? std::nullopt
                                 : JobSecrets::parse(std::as_bytes(std::span(file)), error);
        auto made = secrets ? KeyRing::make(*secrets, error) : std::nullopt;
        if (!made) {
            throw SimFailure(error);
        }
        ring = std::make_shared<const KeyRing>(std::move(*made));
    }
    return ring;
}

} // namespace

Limits small_limits()
{
    Limits limits;
    limits.max_peers = 256;
    limits.max_routes = 1024;
    limits.idle_routes = 16;
    limits.max_packet = 9000;
    limits.tx_slots = 4096;
    limits.tx_messages = 4096;
    limits.tx_descs = 512;
    limits.rx_messages = 8192;
    limits.unexpected_bytes = 8U << 20;
    return limits;
}

SimHost::SimHost(SimNetwork& network, std::uint32_t index, const SimHostOptions& options, SimApp& app,
                 std::uint64_t seed)
    : network_(network), index_(index), options_(options), app_(app), random_(seed),
      violations_before_(allocation_violations()), ahead_(options.clock_start)
{
    network_.attach(index, *this);
    restart();
}

SimHost::~SimHost() = default;

/// Three hosts of four take part in it.
std::unique_ptr<const KeyExchange> SimHost::key_exchange() const
{
    if (index_ % 4 == 3) {
        return nullptr;
    }
    Secret<KeyExchange::size> secret;
    secret.bytes()[0] = static_cast<std::byte>(index_ * 8);
    secret.bytes()[1] = static_cast<std::byte>(incarnation_);
    return KeyExchange::make(secret.bytes());
}

void SimHost::restart()
{
    ++incarnation_;
    engine_.reset();
    auto io = std::make_unique<SimIo>(network_, index_, options_.io, counters_, random_.next());
    io_ = io.get();
    io_->set_hook(this);
    io_->set_clock_ahead(ahead_);
    stack_ = std::move(io);
    if (options_.sealed) {
        stack_ = make_seal_io(std::move(stack_));
        keys_at_ = key_step();
        seals_ = std::make_unique<EndpointSeals>(ring_at(keys_at_), CipherOffer::prefers_aes, key_exchange());
    }
    options_.limits.max_packet = std::max(options_.limits.max_packet, options_.io.caps.max_packet);
    engine_ = std::make_unique<Engine>(stack_->caps(), options_.limits, options_.tuning, counters_,
                                       io_->local_address().bytes(), random_.next(), seals_.get());
    stopped_until_ = now();
    next_pass_ = time_never;
    wake(now());
}

void SimHost::kill(ProcessState afterwards)
{
    dead_state_ = afterwards;
    engine_.reset();
    io_ = nullptr;
    stack_.reset();
}

ProcessState SimHost::process_state() const
{
    if (!running()) {
        return dead_state_;
    }
    if (now() < asleep_until_) {
        return ProcessState::silent;
    }
    return now() < stopped_until_ ? ProcessState::busy : ProcessState::reading;
}

void SimHost::stop(Time until)
{
    stopped_until_ = until;
    wake(until);
}

void SimHost::suspend(Duration time)
{
    asleep_until_ = now() + time;
    leap(-time);
    stop(asleep_until_);
}

void SimHost::leap(Duration time)
{
    ahead_ += time;
    io_->set_clock_ahead(ahead_);
}

Time SimHost::told_time()
{
    const auto wobble = static_cast<std::uint64_t>(options_.clock_wobble.count());
    const auto old = wobble == 0 ? 0 : static_cast<std::int64_t>(random_.between(0, wobble));
    return now() + ahead_ - Duration(old);
}

void SimHost::wake(Time when)
{
    when = std::max({when, stopped_until_, now()});
    if (!in_pass_ && when < next_pass_) {
        next_pass_ = when;
        network_.clock().at(when, *this, 0, ++pass_ticket_);
    }
}

void SimHost::deliver(SimPacket* packet)
{
    io_->deliver(packet);
    wake(now() + options_.pass_gap_min);
}

void SimHost::on_unreachable_port(std::uint32_t peer)
{
    if (running()) {
        io_->push_notice(peer, RouteNotice::Kind::port_unreachable, now() + std::chrono::microseconds(10));
        wake(now() + std::chrono::microseconds(10));
    }
}

void SimHost::between_entries()
{
    if (engine_ != nullptr && options_.check_period != 0 && ++opportunities_ % options_.check_period == 0) {
        engine_->check_invariants();
    }
}

void SimHost::fire(std::uint32_t, std::uint64_t ticket)
{
    if (ticket != pass_ticket_ || !running()) {
        return;
    }
    next_pass_ = time_never;
    if (now() < stopped_until_) {
        wake(stopped_until_);
        return;
    }
    pass();
}

/// Hosts make a step one after the other, and all have made it before one makes the next.
std::uint32_t SimHost::key_step() const noexcept
{
    if (options_.key_step <= Duration::zero()) {
        return 0;
    }
    const Duration since = now().time_since_epoch() - options_.key_step * (index_ * 7 % 16) / 16;
    const auto steps = std::max<std::int64_t>(since / options_.key_step, 0);
    return static_cast<std::uint32_t>(std::min<std::int64_t>(steps, options_.key_steps));
}

void SimHost::pass()
{
    in_pass_ = true;
    if (options_.sealed && key_step() != keys_at_) {
        keys_at_ = key_step();
        seals_->replace(ring_at(keys_at_));
    }
    bool worked = false;
    const Time told = told_time();
    if (now() >= next_look_) {
        next_look_ = now() + Liveness::sign_interval;
        engine_->look_for_readers(told);
    }
    {
        const AllocationBan ban;
        worked = progress_once(*engine_, *stack_, told, [this](Engine&, const Event& event) {
            const AllocationPermit permit;
            between_entries();
            if (event.kind == Event::Kind::route_released) {
                io_->forget_route(RouteId{static_cast<std::uint32_t>(event.cookie)});
                return;
            }
            app_.on_event(*this, event);
        });
    }
    // A session's keys are memory of the library that computes with them.
    if (!options_.sealed && allocation_violations() != violations_before_) {
        throw SimFailure("the engine allocated memory after its construction");
    }
    between_entries();
    const Time wanted_by_app = app_.on_pass(*this, now());
    in_pass_ = false;
    if (!running()) {
        return;
    }
    const Time wanted_by_io = io_->next_due();
    Time next = std::min(wanted_by_app, wanted_by_io);
    if (!engine_->all_read()) {
        next = std::min(next, next_look_);
    }
    next = std::min(next, world_time(engine_->next_look(told)));
    if (worked) {
        next = now();
        barren_passes_ = 0;
    } else if (const Time due = world_time(engine_->next_timeout()); due < next) {
        next = due;
        if (next <= now() && ++barren_passes_ > barren_limit) {
            throw SimFailure("host " + std::to_string(index_) + " spins: the engine's timer stays due");
        }
    }
    if (next != time_never) {
        const auto gap = random_.between(static_cast<std::uint64_t>(options_.pass_gap_min.count()),
                                         static_cast<std::uint64_t>(options_.pass_gap_max.count()));
        wake(std::max(next, now() + Duration(static_cast<std::int64_t>(gap))));
    }
}

PeerId SimHost::open_peer(std::uint32_t host)
{
    const RouteId route = io_->route_to(host);
    PeerId peer{};
    {
        const AllocationBan ban;
        peer = engine_->open_peer(route_info(*stack_, route), told_time());
    }
    for (RouteId gone{}; (gone = engine_->take_released_route()) != no_id<RouteId>;) {
        io_->forget_route(gone);
    }
    return peer;
}

Status SimHost::submit(const Operation& operation)
{
    const AllocationBan ban;
    return engine_->submit(operation, told_time());
}

LocalRoad::Sent SimHost::send_local(const Operation& operation)
{
    const AllocationBan ban;
    return engine_->send_local(operation);
}

Status SimHost::accept(MessageId message, std::span<const iovec> iov, std::uint64_t cookie, Accepted& outcome)
{
    const AllocationBan ban;
    return engine_->accept(message, iov, cookie, outcome);
}

Status SimHost::park(MessageId& message)
{
    const AllocationBan ban;
    return engine_->park(message);
}

void SimHost::refuse(MessageId message)
{
    const AllocationBan ban;
    engine_->refuse(message);
}

void SimHost::discard(MessageId message)
{
    const AllocationBan ban;
    engine_->discard(message);
}

bool SimHost::place(std::span<const iovec> memory)
{
    const AllocationBan ban;
    return engine_->place(memory);
}

void SimHost::confirm()
{
    const AllocationBan ban;
    engine_->confirm();
}

void SimHost::serve(std::span<const iovec> memory, std::uint64_t key, bool tell, std::uint64_t cookie)
{
    const AllocationBan ban;
    engine_->serve(memory, key, tell, cookie);
}

void SimHost::reject(Cause cause)
{
    const AllocationBan ban;
    engine_->reject(cause);
}

void SimHost::revoke(std::uint64_t key)
{
    const AllocationBan ban;
    engine_->revoke(key);
    if (engine_->take_revocation()) {
        io_->revoke();
    }
}

void SimHost::close_peer(PeerId peer)
{
    const AllocationBan ban;
    engine_->close_peer(peer, told_time());
}

void SimHost::close()
{
    const AllocationBan ban;
    engine_->close(told_time());
}

} // namespace srd::sim
