// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The application of a simulated host: it submits the messages of the run's
// plan in order, posts the receives meant for it, matches arriving messages to
// them by tag as a provider does, and reports everything to the ledger.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <vector>

#include "sim/rma_app.hpp"
#include "support/checkers.hpp"
#include "support/sim/sim_host.hpp"

namespace srd::sim {

/// Bits of a tag: the message's identity, and above it the class that says which receives may match it.
inline constexpr std::uint64_t tag_any_class = std::uint64_t{1} << 63;
inline constexpr std::uint64_t tag_identity_mask = 0xffff'ffff;

class Workload final : public SimApp {
public:
    struct Options {
        std::size_t outstanding_bytes = 32U << 20; ///< not submitted while more than this is incomplete
        bool reuse_early = true;                   ///< scribble over a send buffer as soon as that is legal
        bool forget_completion = false;            ///< a broken provider that loses one completion (canary)
    };

    Workload(Ledger& ledger, std::uint32_t host, const Options& options);

    void on_event(SimHost& host, const Event& event) override;
    Time on_pass(SimHost& host, Time now) override;

    /// The process ended: what it had in memory is gone.
    void on_killed();
    /// A new process starts: receives for what has not been received are posted again.
    void on_restarted();
    /// Nothing more will be submitted by this host.
    void stop_submitting() { next_send_ = sends_.size(); }
    /// The host's remote memory access, and the ledger that knows the order of both.
    void set_rma(RmaApp* rma, RmaLedger* ledger)
    {
        rma_ = rma;
        rma_ledger_ = ledger;
    }
    /// Hosts of the run, by index; the ledger's `transmit` law looks into the destination's.
    void set_hosts(std::vector<std::unique_ptr<SimHost>>* hosts) { hosts_ = hosts; }
    std::size_t parked() const noexcept { return parked_.size(); }

private:
    struct Send {
        std::vector<std::byte> memory;
    };
    struct Receive {
        std::uint64_t tag = 0;
        std::uint64_t ignore = 0;
        bool tagged = false;
        bool discard = false;
        std::uint64_t capacity = 0;
    };
    /// A receive buffer under an accept() that has not finished.
    struct Landing {
        std::uint32_t message = 0;
        Receive receive;
        std::vector<std::vector<std::byte>> pieces; ///< each with a guard behind it
        std::vector<std::size_t> sizes;             ///< without the guards
    };
    struct Parked {
        MessageId id{};
        std::uint32_t message = 0;
    };

    static bool matches(const Receive& receive, const MessagePlan& plan);
    void on_message(SimHost& host, const Event& event);
    void on_receive_done(const Event& event);
    void on_send_done(SimHost& host, const Event& event);
    void on_message_lost(const Event& event);
    void check_memory(SimHost& host) const;
    void take(SimHost& host, std::uint32_t message);
    bool submit_next(SimHost& host, Time now);
    void post_receive(SimHost& host, const Receive& receive);
    bool place(SimHost& host, MessageId id, std::uint32_t message, const Receive& receive);
    void finish(const Landing& landing, std::uint64_t length);
    std::uint64_t bytes_handed_over(std::uint32_t id) const;
    Receive receive_for(std::uint32_t id) const;

    Ledger& ledger_;
    const std::uint32_t host_;
    const Options options_;
    std::vector<std::unique_ptr<SimHost>>* hosts_ = nullptr;
    RmaApp* rma_ = nullptr;            ///< remote memory access, if the run has any
    RmaLedger* rma_ledger_ = nullptr;  ///< which also knows the order of both
    std::vector<std::uint32_t> sends_; ///< messages to send, in order
    std::size_t next_send_ = 0;
    static constexpr Duration first_retry = std::chrono::microseconds(20);
    Duration retry_wait_ = first_retry;   ///< doubles while there is no room for the next
    std::vector<std::uint32_t> receives_; ///< messages to post receives for, by time
    std::size_t next_receive_ = 0;
    std::map<std::uint32_t, Send> sending_;
    std::size_t outstanding_ = 0;
    std::list<Receive> posted_;
    std::list<Parked> parked_;
    std::map<std::uint64_t, Landing> landings_;
    std::uint64_t next_landing_ = 1;
    std::deque<Receive> repost_; ///< receives to be posted again at the end of the pass
};

} // namespace srd::sim
