// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A simulated host: an engine and its SimIo, driven by the very progress_once()
// of production. The host polls as a process would, some fractions of a
// microsecond per pass; it can be stopped for a while, killed and restarted.
#pragma once

#include <cstdint>
#include <memory>

#include "engine.hpp"
#include "seal/crypto/key_exchange.hpp"
#include <srd/counters.hpp>
#include <srd/limits.hpp>

#include "support/sim/sim_clock.hpp"
#include "support/sim/sim_io.hpp"
#include "support/sim/sim_net.hpp"
#include "support/sim/sim_random.hpp"

namespace srd::sim {

class SimHost;

/// What runs on a host above the engine: matching and the application.
class SimApp {
public:
    /// One event of the engine (never hello).
    virtual void on_event(SimHost& host, const Event& event) = 0;
    /// After each pass. Returns when the application wants to run next; time_never if only on events.
    virtual Time on_pass(SimHost& host, Time now) = 0;

protected:
    ~SimApp() = default;
};

struct SimHostOptions {
    SimIoOptions io;
    Limits limits;
    Tuning tuning;
    Duration pass_gap_min = std::chrono::nanoseconds(200); ///< from one pass to the next while there is work
    Duration pass_gap_max = std::chrono::nanoseconds(800);
    Duration clock_start{};      ///< what its clock shows when the world begins
    Duration clock_wobble{};     ///< threads read the clock, then wait for their turn: passes are told a time
                                 ///< that is up to this old
    bool sealed = false;         ///< by one key for all
    Duration key_step{};         ///< if any: so often, one step is made to replace it
    std::uint32_t key_steps = 0; ///< and then no more
    std::uint32_t check_period = 1; ///< check_invariants() at every n-th opportunity; 0: never
};

/// Limits with which dozens of engines fit one process.
Limits small_limits();

class SimHost final : public SimTarget, public SimPort, public SimIo::Hook {
public:
    SimHost(SimNetwork& network, std::uint32_t index, const SimHostOptions& options, SimApp& app,
            std::uint64_t seed);
    ~SimHost();
    SimHost(const SimHost&) = delete;
    SimHost& operator=(const SimHost&) = delete;

    // -- Life

    /// Stops the process until `until`: nothing runs, the socket buffer fills.
    void stop(Time until);
    /// Its machine sleeps for so long: it hears nothing, and its clock stands still.
    void suspend(Duration time);
    /// Its clock goes ahead by so much at once.
    void leap(Duration time);
    /// Ends the process without a word.
    void kill(ProcessState afterwards);
    /// A new process at the same address.
    void restart();
    /// Makes the next pass happen at `when` at the latest.
    void wake(Time when);

    // -- State

    bool running() const noexcept { return engine_ != nullptr; }
    std::uint32_t index() const noexcept { return index_; }
    std::uint32_t incarnation() const noexcept { return incarnation_; }
    SimIo& io() noexcept { return *io_; }
    const Counters& counters() const noexcept { return counters_; }
    Time now() const noexcept { return network_.clock().now(); } ///< the world's
    bool drained() const { return engine_->drained(); }
    SimHostOptions& options() noexcept { return options_; }
    Engine& engine() noexcept { return *engine_; }

    // -- The engine's entry points, watched

    PeerId open_peer(std::uint32_t host);
    std::uint32_t peer_host(PeerId peer) { return io_->route_host(engine_->peer_route(peer)); }
    Status submit(const Operation& operation);
    LocalRoad::Sent send_local(const Operation& operation);
    Status accept(MessageId message, std::span<const iovec> iov, std::uint64_t cookie, Accepted& outcome);
    Status park(MessageId& message);
    void refuse(MessageId message);
    void discard(MessageId message);
    bool place(std::span<const iovec> memory);
    void confirm();
    void serve(std::span<const iovec> memory, std::uint64_t key, bool tell, std::uint64_t cookie);
    void reject(Cause cause);
    void revoke(std::uint64_t key);
    void close_peer(PeerId peer);
    void close();

    // -- SimTarget, SimPort, SimIo::Hook
    void fire(std::uint32_t what, std::uint64_t value) override;
    void deliver(SimPacket* packet) override;
    void on_unreachable_port(std::uint32_t peer) override;
    ProcessState process_state() const override;
    ProcessMemory* process_memory() override { return running() ? io_ : nullptr; }
    SimLocalRoad* local_road() override { return running() ? &io_->local_road() : nullptr; }
    void on_local_message(Time due) override { wake(due); }
    void between_entries() override;

private:
    std::unique_ptr<const KeyExchange> key_exchange() const;
    void pass();
    /// What the engine is told.
    Time told_time();
    Time world_time(Time told) const noexcept { return told == time_never ? told : told - ahead_; }
    std::uint32_t key_step() const noexcept;

    SimNetwork& network_;
    const std::uint32_t index_;
    SimHostOptions options_;
    SimApp& app_;
    SimRandom random_;
    const std::uint64_t violations_before_;
    Counters counters_;
    std::unique_ptr<PacketIo>
        stack_; ///< what the engine sees, with the host's end of the network at its bottom
    SimIo* io_ = nullptr;
    std::unique_ptr<EndpointSeals> seals_;
    std::uint32_t keys_at_ = 0; ///< the step whose keys seals_ has
    std::unique_ptr<Engine> engine_;
    ProcessState dead_state_ = ProcessState::silent;
    std::uint32_t incarnation_ = 0;
    Time stopped_until_{};
    Time asleep_until_{}; ///< with the machine
    Duration ahead_;      ///< its clock, of the world's
    Time next_pass_ = time_never;
    std::uint64_t pass_ticket_ = 0;
    std::uint64_t opportunities_ = 0;
    Time next_look_{};                ///< for peers that do not read what was written for them
    std::uint32_t barren_passes_ = 0; ///< in a row, asked for by the engine itself
    bool in_pass_ = false;
};

} // namespace srd::sim
