// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "endpoint/progress_unit.hpp"

#include <algorithm>
#include <utility>

#include <srd/check.hpp>

#include "common/log.hpp"
#include "common/say.hpp"
#include "endpoint/receive.hpp"
#include "endpoint/target.hpp"
#include "endpoint/transmit.hpp"
#include "entry/backend.hpp"
#include "entry/params.hpp"
#include "io/core/system_random.hpp"
#include "objects/domain.hpp"
#include "progress.hpp"
#include "progress/clock.hpp"
#include "progress/domain_progress.hpp"
#include "progress/watchdog.hpp"

namespace srd {
namespace {

/// Bytes in a pass that are more than acknowledgements and a small message.
constexpr std::uint64_t bulk = 4096;

} // namespace

ProgressUnit::ProgressUnit(DomainProgress& domain, Transmit& transmit, Receive& receive, Target& target,
                           Peers& peers) noexcept
    : domain_(domain), transmit_(transmit), receive_(receive), target_(target), peers_(peers),
      live_(params().place.host, params().place.rank)
{
}

ProgressUnit::~ProgressUnit()
{
    if (is_space_pinned_.load()) {
        Devices::process().unpin(device_space_.data());
    }
}

// -- Life ---------------------------------------------------------------------

bool ProgressUnit::has_io() noexcept
{
    const UnitGuard guard(*this);
    return io_ != nullptr;
}

int ProgressUnit::open_io(const std::string& domain, const SocketAddress& address,
                          std::shared_ptr<JobKeys> keys)
{
    if (has_io()) {
        return 0;
    }
    std::unique_ptr<PacketIo> io;
    std::string error;
    if (const int code = open_backend(domain, address, keys != nullptr, counters_, io, error); code != 0) {
        say("address", ("fi_enable: " + address.text() + ": " + error).c_str());
        return -code;
    }
    const UnitGuard guard(*this);
    if (keys != nullptr) {
        keys->look(clock_now());
        seals_ = make_seals(keys->latest(), params().forward_secrecy);
    }
    keys_ = std::move(keys);
    io_ = std::move(io);
    live_.show(io_->local_address().bytes(), domain);
    return 0;
}

SocketAddress ProgressUnit::local_address() noexcept
{
    const UnitGuard guard(*this);
    SRD_CHECK(io_ != nullptr);
    return io_->local_address();
}

void ProgressUnit::start(bool shared_memory, bool devices)
{
    SRD_CHECK(io_ != nullptr && !enabled_.load());
    if (shared_memory && !has_shared_memory_) {
        io_ = add_shared_memory(std::move(io_), counters_);
        has_shared_memory_ = true;
    }
    io_fd_ = io_->wait_fd();
    Limits limits = params().limits;
    limits.max_packet = std::min(limits.max_packet, io_->caps().max_packet);
    engine_.emplace(io_->caps(), limits, params().tuning, counters_, io_->local_address().bytes(),
                    system_random(), seals_.get());
    engine_->set_trace(trace_.get()); // of an attempt before this one
    if (devices) {
        device_space_ = Reserve(Engine::device_space);
        engine_->use_devices(device_copies_, device_space_.data());
        if (Devices::process().any()) {
            expect_devices();
        }
    }
}

/// Pinning takes long and may wait for devices, so it is not for a moment when data moves.
void ProgressUnit::expect_devices() noexcept
{
    if (device_space_.data() != nullptr && !is_space_pinned_.load()) {
        is_space_pinned_.store(Devices::process().pin(device_space_.data(), Engine::device_space));
    }
}

void ProgressUnit::abandon() noexcept
{
    set_enabled(false);
    lock_.abandon(); // whoever held it does not exist here
}

bool ProgressUnit::is_drained(Time& deadline) noexcept
{
    const UnitGuard guard(*this);
    deadline = engine_->next_timeout();
    return engine_->drained();
}

void ProgressUnit::stop() noexcept
{
    const UnitGuard guard(*this);
    set_enabled(false);
    const Time now = clock_now();
    engine_->close(now);
    // Of 4 × tx_burst_size packets: far more than there are peers to tell in most cases.
    constexpr int rounds = 64;
    for (int i = 0; i < rounds; ++i) {
        Event event;
        while (engine_->poll_event(event)) {
            if (event.kind == Event::Kind::peer_lost) { // what has completed already, as far as anybody knows
                peers_.on_lost(event);
            }
        }
        if (flush_transmit(*engine_, *io_, now) == 0) {
            break;
        }
    }
}

// -- Passes -------------------------------------------------------------------

bool ProgressUnit::pass(Time now) noexcept
{
    passed_at_ = now;
    application_calls();
    if (now >= next_look_) [[unlikely]] {
        next_look_ = now + Liveness::sign_interval;
        receive_.look_for_senders(now);
        engine_->look_for_readers(now);
        if (keys_ != nullptr) {
            look_for_keys(now);
        }
    }
    const bool any = progress_once(
        *engine_, *io_, now, [this](Engine&, const Event& event) SRD_NO_LOCK_ANALYSIS { on_event(event); });
    if (any && counters_.rx_auth_failed.value() != outsiders_) [[unlikely]] {
        on_outsiders(now);
    }
    return any;
}

/// Packets came that prove nothing. Whoever has a key that is new here comes again when we have it, too.
void ProgressUnit::on_outsiders(Time now) noexcept
{
    if (seals_ != nullptr && seals_->has_met_unknown_key()) {
        if (!keys_->look(now)) {
            return; // not yet
        }
        seals_->forget_unknown_key();
        if (adopt_keys()) {
            outsiders_ = counters_.rx_auth_failed.value();
            return;
        }
    }
    outsiders_ = counters_.rx_auth_failed.value();
    if (!told_of_outsiders_) {
        told_of_outsiders_ = true;
        tell_of_outsiders();
    }
}

void ProgressUnit::look_for_keys(Time now) noexcept
{
    keys_->look(now);
    adopt_keys();
}

/// Between two passes, when nobody holds what the former keys have proved. True: there are others now.
bool ProgressUnit::adopt_keys() noexcept
{
    std::shared_ptr<const KeyRing> latest = keys_->latest();
    if (latest.get() == &seals_->keys()) {
        return false;
    }
    try {
        seals_->replace(std::move(latest));
    } catch (const std::bad_alloc&) { // next time
        return false;
    }
    SRD_INFO(FI_LOG_EP_CTRL, "the job key file has changed: new connections use its first key");
    return true;
}

void ProgressUnit::tell_of_outsiders() noexcept
{
    say("job key",
        seals_ != nullptr
            ? "dropped packets that are not sealed with this job's key (counter rx_auth_failed): somebody "
              "who has another FI_SRD_JOB_KEY_FILE or none, or who must not take part"
            : "dropped packets because they are sealed (counter rx_auth_failed): their sender has an "
              "FI_SRD_JOB_KEY_FILE, and this process has none");
}

void ProgressUnit::on_event(const Event& event) noexcept
{
    switch (event.kind) {
    case Event::Kind::message:
        receive_.on_message(event);
        break;
    case Event::Kind::receive_done:
        receive_.on_receive_done(event);
        break;
    case Event::Kind::send_done:
        transmit_.on_send_done(event);
        break;
    case Event::Kind::message_lost:
        receive_.on_message_lost(event);
        break;
    case Event::Kind::write:
        target_.on_write(event);
        break;
    case Event::Kind::read:
        target_.on_read(event);
        break;
    case Event::Kind::atomic:
        target_.on_atomic(event);
        break;
    case Event::Kind::read_served:
        target_.on_read_served(event);
        break;
    case Event::Kind::peer_lost:
        peers_.on_lost(event);
        receive_.on_peer_lost(event);
        break;
    case Event::Kind::waiting:
        peers_.on_waiting(event);
        break;
    case Event::Kind::mtu_found:
        peers_.on_mtu_found(event);
        break;
    case Event::Kind::route_released:
        peers_.on_route_released(RouteId{static_cast<std::uint32_t>(event.cookie)});
        break;
    case Event::Kind::hello: // these two are served by progress_once()
    case Event::Kind::rails:
        break;
    }
}

Found ProgressUnit::progress(Time now) noexcept SRD_NO_LOCK_ANALYSIS
{
    if (!enabled() || !lock_.try_lock()) {
        return Found::nothing;
    }
    const std::uint64_t before = counters_.rx_bytes.value();
    Found found = pass(now) ? Found::something : Found::nothing;
    // Where a message waits for the application to act, another pass would not let it.
    if (counters_.rx_bytes.value() - before >= bulk && !engine_->has_deferred()) {
        found = Found::bulk;
    }
    lock_.unlock();
    return found;
}

void ProgressUnit::flush() noexcept
{
    if (engine_->transmit_due()) {
        flush_transmit(*engine_, *io_, clock_now());
    }
    wake_sleepers();
    application_calls();
}

// -- Sleeping -----------------------------------------------------------------

/// Whoever sleeps knows the timers as they were when it armed.
void ProgressUnit::wake_sleepers() noexcept
{
    if (sleepers_ != 0 && engine_->next_timeout() < asleep_until_) {
        asleep_until_ = Time::min();
        io_->notify();
    }
}

bool ProgressUnit::arm_sleep(Time& deadline) noexcept
{
    if (!enabled()) {
        return true;
    }
    const UnitGuard guard(*this);
    if (engine_->has_deferred() || !io_->arm_wait()) {
        return false;
    }
    const Time timeout = next_pass();
    asleep_until_ = sleepers_ == 0 ? timeout : std::min(asleep_until_, timeout);
    ++sleepers_;
    deadline = std::min(deadline, timeout);
    return true;
}

void ProgressUnit::disarm_sleep() noexcept
{
    if (!enabled()) { // nor is the lock waited for, which fi_enable() holds for long
        return;
    }
    const UnitGuard guard(*this);
    if (sleepers_ != 0) { // an endpoint may be enabled while others sleep
        --sleepers_;
        asleep_until_ = time_never; // those who are left may have armed with any deadline
    }
}

/// When a pass is due although nothing comes.
Time ProgressUnit::next_pass() noexcept
{
    const Time look = receive_.awaits_senders() || !engine_->all_read() ? next_look_ : time_never;
    return std::min({engine_->next_timeout(), engine_->next_look(clock_now()), look});
}

// -- A silent application -----------------------------------------------------

void ProgressUnit::application_calls() noexcept
{
    ++calls_;
    if (!is_looked_at_) [[unlikely]] {
        is_looked_at_ = true;
        domain_.application_is_back();
    }
}

Time ProgressUnit::look_after(Time now, int& sleeps_on) noexcept SRD_NO_LOCK_ANALYSIS
{
    if (!enabled()) {
        return time_never;
    }
    if (!lock_.try_lock()) { // the application is here
        return now + ProgressWatchdog::patience;
    }
    Time next = now + ProgressWatchdog::patience;
    is_looked_at_ = true;
    if (calls_ != calls_seen_) {
        calls_seen_ = calls_;
        called_at_ = now;
    } else if (sleepers_ != 0) { // it is the application that is woken
        next = time_never;
        is_looked_at_ = false;
    } else {
        next = now;
        if (!pass(now) && io_->arm_wait()) {
            next = next_pass();
            sleeps_on = io_fd_;
        }
        is_looked_at_ = false;
        calls_ = calls_seen_; // that was no call of the application's
    }
    lock_.unlock();
    return next;
}

// -- What a domain asks -------------------------------------------------------

void ProgressUnit::revoke(std::uint64_t key) noexcept
{
    const UnitGuard guard(*this);
    if (enabled()) {
        engine_->revoke(key);
        if (engine_->take_revocation()) {
            io_->revoke();
        }
        flush();
    }
}

bool ProgressUnit::counts_work_by(const CompletionCounter& counter) noexcept
{
    const UnitGuard guard(*this);
    return enabled() && (transmit_.counts_work_by(counter) || receive_.counts_work_by(counter));
}

} // namespace srd
