// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The ledger of remote memory access: the model of writes, reads and atomics,
// beside the ledger of messages (checkers.hpp). An operation's identity travels
// in the high half of its keys, which the engine does not interpret. Each call
// reports one observation and throws SimFailure if the law forbids it:
//
//   placement   every byte of a write is announced once, at its place, and never after the completion
//   last        a write is announced complete once, after all its bytes
//   read        completes with the bytes that the target's memory held, all of them
//   atomic      is carried out once, in order with the initiator's messages; its result is what was there
//   completion  every operation completes exactly once, with a cause that the run allows
//   level       `transmit` and `delivery` only after the effect
//   mistakes    what the target rejected fails with that cause, once, and never succeeds
//   fence       nothing from the fence on takes effect before all earlier operations are complete
//   lanes       operations on one lane take effect one after the other
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "support/checkers.hpp"

namespace srd::sim {

/// What a simulated target carries out. The byte on the wire is one of these, or anything for a mistake.
enum class AtomicKind : std::uint8_t { sum, compare_swap, read, swap, count_ };

const char* name_of(OperationKind kind) noexcept;

namespace region_access {
inline constexpr std::uint8_t read = 1;
inline constexpr std::uint8_t write = 2;
inline constexpr std::uint8_t atomic = 4;
} // namespace region_access

/// What `kind` makes of one 8-byte value.
std::uint64_t atomic_result(AtomicKind kind, std::uint64_t value, std::uint64_t operand,
                            std::uint64_t comparand) noexcept;

/// Registered memory of a host. Its number in the run is its key.
struct RegionPlan {
    std::uint32_t host = 0;
    std::uint64_t size = 0;
    std::uint8_t access = 0;
    Time revoke_at = time_never; ///< the host closes it then
};

inline constexpr std::uint32_t no_lane = ~std::uint32_t{0};
/// What fills memory into which a read or a result is to come.
inline constexpr std::byte untouched_byte{0xa5};
/// A region number that no host knows.
inline constexpr std::uint32_t unknown_region = 0xdead'0000;

/// Where a region begins, as its host names it.
constexpr std::uint64_t region_base(std::uint32_t region) noexcept
{
    return (std::uint64_t{region} + 1) << 32;
}

/// An operation of a run.
struct RmaPlan {
    OperationKind kind = OperationKind::write;
    std::uint32_t initiator = 0;
    std::uint32_t target = 0;
    Time submit_at{};
    std::uint64_t length = 0; ///< bytes; of an atomic: a multiple of 8
    CompletionLevel level = CompletionLevel::transmit;
    bool copy_payload = false;
    bool fence = false;
    bool has_data = false;
    std::uint8_t pieces = 1; ///< local iovecs
    std::uint8_t range_count = 1;
    std::array<RemoteRange, max_iov> ranges{}; ///< key: the region's number
    std::uint32_t lane = no_lane;              ///< operations with the same lane follow one another
    AtomicKind atomic = AtomicKind::sum;
    bool fetch = false;
    bool compare_zero = false;
    Cause mistake = Cause::none; ///< what is wrong with it: the target rejects it so
    bool revocable = false;      ///< may meet its region's end

    /// Its completion says that it has taken effect.
    bool proven() const noexcept
    {
        return level >= CompletionLevel::transmit || kind == OperationKind::read || fetch;
    }
    bool wants_completion() const noexcept
    {
        return level != CompletionLevel::none || kind == OperationKind::read || fetch;
    }
};

class RmaLedger {
public:
    struct Record {
        RmaPlan plan;
        std::size_t position = 0; ///< among all operations and messages of its pair
        Time submitted_at{};
        Time completed_at{};
        std::map<std::uint64_t, std::uint64_t> handled; ///< offset → length: placed, served or rejected
        std::uint64_t handled_bytes = 0;
        std::vector<std::byte> expected; ///< reads: what was served; fetching atomics: the old values
        Cause cause = Cause::none;
        Cause rejected = Cause::none;
        std::uint32_t target_incarnation = 0; ///< 0: not yet met
        bool submitted = false;
        bool completed = false;
        bool abandoned = false;
        bool orphaned = false; ///< its initiator died before completion
        bool last = false;     ///< write: announced complete
        bool executed = false; ///< atomic
    };
    /// Which part of which operation an event is about.
    struct Part {
        std::uint32_t id = 0;
        std::uint64_t offset = 0; ///< in the operation
    };

    RmaLedger(Ledger& messages, std::vector<RmaPlan> plans, std::vector<RegionPlan> regions);

    std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(records_.size()); }
    const RmaPlan& plan(std::uint32_t id) const { return records_.at(id).plan; }
    const Record& record(std::uint32_t id) const { return records_.at(id); }
    const std::vector<RegionPlan>& regions() const noexcept { return regions_; }
    std::uint64_t seed() const noexcept { return messages_.seed(); }
    /// Of the pattern that an operation writes, or has as operands.
    static std::uint64_t identity(std::uint32_t id) noexcept { return std::uint64_t{1} << 40 | id; }
    /// Of the pattern that a region holds when it is made.
    static std::uint64_t region_identity(std::uint32_t region) noexcept
    {
        return std::uint64_t{2} << 40 | region;
    }
    /// On the wire: an AtomicKind, or what no target knows.
    static std::uint8_t operation_byte(const RmaPlan& plan) noexcept
    {
        return static_cast<std::uint8_t>(static_cast<unsigned>(plan.atomic) +
                                         (plan.mistake == Cause::bad_operation ? 0xe0U : 0U));
    }
    /// The ranges of an operation as they go to the engine.
    std::array<RemoteRange, max_iov> wire_ranges(std::uint32_t id) const;
    void set_trace(bool on) noexcept { trace_ = on; }
    /// Its failure, or its peer's, belongs to the run.
    bool may_fail(const RmaPlan& plan) const;

    // -- Observations at the initiator

    void on_submitted(std::uint32_t id, Time now);
    /// It will not be submitted: what it was to follow has failed.
    void on_abandoned(std::uint32_t id) { records_.at(id).abandoned = true; }
    /// `memory`: what the reader's buffer or the result holds; empty for what brings nothing.
    void on_completed(std::uint32_t id, Cause cause, std::span<const std::byte> memory, Time now);
    void on_message_submitted(std::uint32_t message, bool fence);
    void on_host_killed(std::uint32_t host);

    // -- Observations at the target; `incarnation` is the target's

    Part on_write(std::uint32_t source, std::uint32_t target, std::uint32_t incarnation, const Event& event);
    /// Every announced part is answered by one of these.
    void on_placed(const Part& part, const Event& event);
    void on_rejected(const Part& part, std::uint64_t length, Cause cause);
    Part on_read(std::uint32_t source, std::uint32_t target, std::uint32_t incarnation, const Event& event);
    void on_served(const Part& part, std::span<const std::byte> bytes);
    std::uint32_t on_atomic(std::uint32_t source, std::uint32_t target, std::uint32_t incarnation,
                            const Event& event);
    /// Carries the atomic out on the model and compares what it fetched.
    void on_executed(std::uint32_t id, std::span<const std::byte> old_values);
    /// What the region of atomics must hold.
    std::span<const std::byte> cells(std::uint32_t region);
    void on_host_restarted(std::uint32_t host);
    void on_message_taken(std::uint32_t message);

    // -- The end

    bool settled(const std::vector<bool>& dead) const;
    void check_end(const std::vector<bool>& dead) const;
    std::string first_unsettled(const std::vector<bool>& dead) const;
    std::string describe(std::uint32_t id) const;
    [[noreturn]] void fail(std::uint32_t id, const std::string& what) const;

private:
    /// An operation or a message, in the order of a pair's submissions.
    struct Step {
        std::uint32_t id = 0;
        bool message = false;
        std::size_t fence = 0;    ///< everything before this position was complete first
        std::size_t sequence = 0; ///< messages and atomics: their number
    };
    struct Pair {
        std::vector<Step> steps;
        std::size_t complete = 0;      ///< every earlier step is complete
        std::size_t sequence_next = 0; ///< of the next message or atomic to take effect
        std::size_t sequence_count = 0;
    };
    struct Lane {
        std::vector<std::uint32_t> submitted;
        std::size_t current = 0; ///< position of the latest that took effect
    };

    Pair& pair_of(std::uint32_t source, std::uint32_t target);
    Record& meet(std::uint32_t source, std::uint32_t target, std::uint32_t incarnation, OperationKind kind,
                 const RemoteRange& range, Part& part);
    void claim(const Part& part, std::uint64_t length);
    void check_effect(const Part& part);
    void add_step(Pair& pair, std::uint32_t id, bool message, bool fence, bool sequenced);
    void check_fence(std::uint32_t source, std::uint32_t target, std::size_t position);
    void check_lane(const Part& part);
    void take_turn(std::uint32_t source, std::uint32_t target, std::size_t position);
    bool complete(const Step& step) const;
    bool has_effect(const Record& record) const;
    void check_failure(std::uint32_t id, std::span<const std::byte> memory, Time now) const;
    void check_success(std::uint32_t id, std::span<const std::byte> memory) const;
    bool unsettled(const Record& record, const std::vector<bool>& dead) const;
    void tell(std::uint32_t id, const std::string& what) const;

    Ledger& messages_;
    const std::vector<RegionPlan> regions_;
    std::vector<Record> records_;
    std::map<std::uint64_t, Pair> pairs_;
    std::map<std::uint32_t, Lane> lanes_;
    std::map<std::uint32_t, std::size_t> message_positions_;
    std::map<std::uint32_t, std::vector<std::byte>> cells_;
    bool trace_ = false;
};

} // namespace srd::sim
