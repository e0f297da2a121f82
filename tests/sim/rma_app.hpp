// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Remote memory access on a simulated host. As an initiator it submits the
// run's writes, reads and atomics; as a target it does what a provider does:
// looks a key up, checks bounds and access, places, serves, carries out,
// rejects, closes regions. It reports everything to the ledger.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "support/rma_checkers.hpp"
#include "support/sim/sim_host.hpp"

namespace srd::sim {

/// Cookies of these operations, to tell them from messages.
inline constexpr std::uint64_t rma_cookie = std::uint64_t{1} << 63;

inline constexpr std::size_t guard_size = 32; ///< bytes around memory that may not be touched

class RmaApp {
public:
    struct Options {
        std::size_t outstanding_bytes = 32U << 20;
        // Broken on purpose (canaries):
        bool forget_placement = false;  ///< confirms some writes without having placed them
        bool forget_completion = false; ///< loses some completions
        bool repeat_atomic = false;     ///< carries some atomics out twice
        bool ignore_mistakes = false;   ///< takes a rejected operation for a good one
        bool ignore_fence = false;      ///< does not pass fences on
        bool ignore_revoke = false;     ///< closes a region without telling the engine
        bool scribble_reads = false;    ///< touches memory after a read has completed
    };

    RmaApp(RmaLedger& ledger, std::uint32_t host, const Options& options);

    /// True if the event was about remote memory access.
    bool on_event(SimHost& host, const Event& event);
    /// Submits what is due. Returns when it wants to run next.
    Time on_pass(SimHost& host, Time now);
    void on_killed();
    void on_restarted(Time now);
    void stop_submitting();
    /// The laws about memory at rest.
    void check_end() const;
    /// The hosts' applications, by host: read_served is held against the reader's memory.
    void set_peers(const std::vector<std::unique_ptr<RmaApp>>* peers) { peers_ = peers; }

private:
    static constexpr Duration retry_first = std::chrono::microseconds(20);

    /// Local memory of an operation, in pieces with guards around each.
    struct Pieces {
        std::vector<std::vector<std::byte>> memory;
        std::vector<iovec> iov;

        void make(std::uint64_t length, std::uint32_t pieces, std::uint64_t salt);
        void fill(std::byte value);
        void scatter(std::span<const std::byte> bytes);
        std::vector<std::byte> gather() const;
        bool guards_intact() const;
    };
    struct Flight {
        Pieces local;   ///< what is written or read; an atomic's operands
        Pieces compare; ///< comparands
        Pieces result;
    };
    /// The host's side of a region.
    struct Region {
        std::uint32_t number = 0;
        std::vector<std::byte> memory; ///< with guards
        bool open = true;
    };

    void make_regions(Time now);
    void fill_operands(std::uint32_t id, Flight& flight) const;
    Status submit(SimHost& host, std::uint32_t id, Flight& flight) const;
    bool submit_next(SimHost& host, std::uint32_t id, Time now);
    bool blocked(const RmaPlan& plan) const;
    void on_send_done(SimHost& host, const Event& event);
    void settle(Flight& flight, const RmaPlan& plan);
    /// The memory of `range`, or why not.
    Cause find(const RemoteRange& range, std::uint8_t access, std::span<std::byte>& memory);
    void on_write(SimHost& host, const Event& event);
    void on_read(SimHost& host, const Event& event);
    void on_atomic(SimHost& host, const Event& event);
    void carry_out(const Event& event, const std::vector<std::span<std::byte>>& places);
    void on_read_served(const Event& event);
    bool lacks(std::uint32_t id, std::uint64_t offset, std::uint64_t length) const;
    void revoke_due(SimHost& host, Time now);

    RmaLedger& ledger_;
    const std::uint32_t host_;
    const Options options_;
    const std::vector<std::unique_ptr<RmaApp>>* peers_ = nullptr;
    std::vector<std::uint32_t> plans_; ///< in order of submission
    std::size_t next_plan_ = 0;
    std::list<std::uint32_t> waiting_;                 ///< due, but their lane is busy
    std::map<std::uint32_t, std::uint32_t> lane_busy_; ///< lane → operation that must complete first
    std::set<std::uint32_t> broken_lanes_;             ///< their peer has failed: nothing more is done there
    std::map<std::uint32_t, Flight> flights_;
    std::vector<Flight> settled_; ///< memory of reads and results that have completed: nothing may change it
    std::size_t outstanding_ = 0;
    Duration retry_after_ = retry_first; ///< `again`
    std::map<std::uint32_t, Region> regions_;
    struct Told {
        std::uint32_t id = 0;
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
    };
    std::map<std::uint64_t, Told> told_; ///< serve() cookies that read_served is owed for
    std::uint64_t next_told_ = 1;
    SimRandom random_;
};

} // namespace srd::sim
