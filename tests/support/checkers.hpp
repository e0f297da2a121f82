// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The ledger: the model against which a simulated run is checked. Every message
// has an identity; its content follows from the run's seed and that identity.
// Each call reports one observation and throws SimFailure if the law forbids it:
//
//   exactly once   a message is announced for good at most once, and received at most once
//   order          a pair's messages are announced in the order of their submission
//   content        every byte is the submitted one, bytes beyond a short buffer are untouched
//   completion     every operation completes exactly once, with a cause that the run allows
//   level          `delivery` only after placement, `transmit` only after the bytes got there
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine.hpp"
#include <srd/status.hpp>
#include <srd/time.hpp>

namespace srd::sim {

/// Fills `bytes` with the content of message `identity` of run `seed`, from `offset` on.
void pattern_fill(std::span<std::byte> bytes, std::uint64_t seed, std::uint64_t identity,
                  std::uint64_t offset = 0);
/// True if `bytes` are that content.
bool pattern_matches(std::span<const std::byte> bytes, std::uint64_t seed, std::uint64_t identity,
                     std::uint64_t offset = 0);

/// A message to be sent in a run.
struct MessagePlan {
    std::uint32_t source = 0;
    std::uint32_t destination = 0;
    Time submit_at{};
    std::uint64_t length = 0;
    std::uint64_t tag = 0;  ///< the low 32 bits are the identity
    std::uint64_t data = 0; ///< the low 32 bits are the identity
    MessageFlags flags;
    CompletionLevel level = CompletionLevel::transmit;
    bool copy_payload = false;
    bool fence = false;         ///< starts when all before it to its destination is complete
    std::uint8_t pieces = 1;    ///< iovecs
    Time receive_at{};          ///< when the receive meant for it is posted
    std::uint64_t capacity = 0; ///< of that receive's buffer
    bool exact = true;          ///< that receive matches only this message; else any of its class
    bool discard = false;       ///< that receive is a discard of the unexpected message
};

/// A set of causes.
using CauseSet = std::uint32_t;
constexpr CauseSet cause_bit(Cause cause) noexcept
{
    return CauseSet{1} << static_cast<unsigned>(cause);
}

class Ledger {
public:
    struct Record {
        MessagePlan plan;
        Time submitted_at{};
        Time completed_at{};
        std::uint64_t position = 0; ///< in the order of its pair
        std::uint64_t bytes_before =
            0; ///< what the destination had been handed from the source at submission
        Cause cause = Cause::none;
        std::uint8_t source_incarnation = 0;
        std::uint8_t destination_incarnation = 0; ///< that took it
        bool submitted = false;
        bool completed = false;
        bool taken = false;    ///< accepted or parked
        bool received = false; ///< placed, or discarded
        bool lost = false;     ///< taken, then lost with its sender's failure
        bool orphaned = false; ///< its sender died before completion
    };

    Ledger(std::uint64_t seed, std::vector<MessagePlan> plans, std::uint32_t hosts);

    std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(records_.size()); }
    const MessagePlan& plan(std::uint32_t id) const { return records_.at(id).plan; }
    const Record& record(std::uint32_t id) const { return records_.at(id); }
    std::uint64_t seed() const noexcept { return seed_; }

    /// Causes with which operations that involve `host` may fail.
    void allow(std::uint32_t host, CauseSet causes) { allowed_.at(host) |= causes; }
    CauseSet allowed(std::uint32_t host) const { return allowed_.at(host); }

    /// Whatever has happened before: what is submitted from then on neither fails nor is lost.
    void set_certain_from(Time when) noexcept { certain_from_ = when; }

    /// Prints every observation.
    void set_trace(bool on) noexcept { trace_ = on; }

    // -- Observations

    void on_submitted(std::uint32_t id, std::uint8_t incarnation, std::uint64_t bytes_before, Time now);
    /// Finds out which message is announced, checks that it may be. Not yet for good.
    std::uint32_t on_announced(std::uint32_t source, std::uint32_t destination, const Event& event);
    void on_taken(std::uint32_t id, std::uint8_t incarnation);
    void on_received(std::uint32_t id, std::uint64_t length, std::span<const std::byte> placed);
    void on_discarded(std::uint32_t id);
    void on_lost(std::uint32_t id, Cause cause);
    /// `bytes_now`: what the destination has been handed from the source so far.
    void on_completed(std::uint32_t id, Cause cause, std::uint64_t bytes_now, Time now);
    void on_host_killed(std::uint32_t host);

    /// True when nothing more is to come. `dead`: hosts whose process has ended for good.
    bool settled(const std::vector<bool>& dead) const;
    /// The laws about the whole run.
    void check_end(const std::vector<bool>& dead) const;
    /// One message that keeps the run from being settled, in words.
    std::string first_unsettled(const std::vector<bool>& dead) const;

private:
    [[noreturn]] void fail(std::uint32_t id, const std::string& what) const;
    bool may_fail(const MessagePlan& plan) const;
    bool is_certain(const Record& record) const noexcept { return record.submitted_at >= certain_from_; }
    bool unsettled(const Record& record, const std::vector<bool>& dead) const;
    void require_order(std::uint32_t id);
    void tell(std::uint32_t id, const char* what) const;

    struct Pair {
        std::vector<std::uint32_t> submitted; ///< identities in order
        std::size_t next = 0;                 ///< position after the last one taken
    };

    const std::uint64_t seed_;
    std::vector<Record> records_;
    std::map<std::uint64_t, Pair> pairs_;
    std::vector<CauseSet> allowed_;
    Time certain_from_ = time_never;
    bool trace_ = false;
};

} // namespace srd::sim
