// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Receiver-governed sending: what large messages and reads may send to us now.
//
// Law: nothing more is granted unless the bytes granted and not yet arrived, over all peers, and those that
// come without a grant, stay within a budget (GrantBudget), so that what we invite fits where it lands before
// we look, and in the switches. Those that want more take turns, and none holds more than its share, so that
// a sender that has stopped cannot starve others. A limit never shrinks while its message lives.
#pragma once

#include <algorithm>
#include <cstdint>

#include <srd/check.hpp>
#include <srd/intrusive_list.hpp>
#include <srd/limits.hpp>

#include "receive/grant_budget.hpp"
#include "receive/incoming.hpp"

namespace srd {

class Grants {
public:
    /// A sender gets grants in steps of so many bytes, so that grants are few, many senders share the budget,
    /// and one flow still fills its pipe. Whole packets, and as many as go out as one batch: a short packet
    /// ends that.
    static std::uint64_t quantum(std::uint32_t mtu) noexcept
    {
        constexpr std::uint32_t packets = 16;
        constexpr std::uint32_t overhead = sizeof(wire::PacketHeader) + sizeof(wire::DataFrame);
        return std::uint64_t{std::max(packets, max_udp_payload / mtu)} * (mtu - overhead);
    }
    /// To a peer on this host: whole messages one after the other find their memory in the cache.
    static constexpr std::uint64_t quantum_same_host = 1U << 20;

    /// `budget`: bytes.
    explicit Grants(std::uint64_t budget) noexcept : budget_(budget) {}

    bool any_wanted() const noexcept { return wanting_count_ != 0; }
    /// Several send, and what they began without a grant is more than may be under way: they should ask
    /// first.
    bool is_crowded() const noexcept { return budget_.is_crowded(); }

    /// If the message's first bytes come without a grant, the rest of them is on its way.
    void expect(RxMessage& message) noexcept
    {
        if (message.is<GrantedReceive>() && message.unasked() != 0) {
            SRD_DCHECK(message.limit == 0);
            message.limit = message.unasked();
            outstanding_ += message.limit - message.received;
            budget_.on_unscheduled(message.peer, outstanding_);
        }
    }
    /// The message waits for bytes: it takes part in the turns from now on.
    void want(IncomingPool& pool, std::uint32_t index) noexcept
    {
        RxMessage& message = pool[index];
        SRD_DCHECK(message.is_granted() && !message.grant.listed && message.limit < message.total);
        message.grant.listed = true;
        wanting_.push_back(pool, index);
        ++wanting_count_;
        budget_.on_sender(message.peer);
        settled_ = false;
    }
    /// Gives back what the message was granted and will not use.
    void stop(IncomingPool& pool, std::uint32_t index) noexcept
    {
        RxMessage& message = pool[index];
        leave(pool, index);
        if (message.is_granted()) {
            outstanding_ -= message.limit - message.received;
            message.limit = message.received;
        }
    }
    /// Granted bytes have arrived for `message`, which counts them already, in a packet that was `marked`
    /// (ECN) or not. `quantum`: of its peer.
    void on_arrived(const RxMessage& message, std::uint64_t bytes, bool marked,
                    std::uint64_t quantum) noexcept
    {
        SRD_DCHECK(bytes <= outstanding_);
        outstanding_ -= bytes;
        const bool more = budget_.on_arrived(message.peer, bytes, marked);
        settled_ =
            settled_ && !more && !(message.grant.listed && within_share(message, step_of(message, quantum)));
    }

    /// Shares what is left of the budget. `quantum_of(peer)`: bytes of one grant; `on_grant(index)`: the
    /// message's limit has been raised, tell its sender.
    template <typename QuantumOf, typename OnGrant>
    void issue(IncomingPool& pool, QuantumOf&& quantum_of, OnGrant&& on_grant)
    {
        std::uint32_t turns = settled_ ? 0 : wanting_count_;
        while (turns != 0) {
            const std::uint32_t index = wanting_.front();
            RxMessage& message = pool[index];
            SRD_DCHECK(message.grant.listed && message.limit < message.total);
            const std::uint64_t step = step_of(message, quantum_of(message.peer));
            if (outstanding_ != 0 && outstanding_ + step > budget_.bytes()) {
                return;
            }
            wanting_.erase(pool, index);
            if (!within_share(message, step)) {
                wanting_.push_back(pool, index);
                --turns;
                continue;
            }
            message.limit += step;
            outstanding_ += step;
            on_grant(index);
            if (message.limit < message.total) {
                wanting_.push_back(pool, index);
            } else {
                message.grant.listed = false;
                --wanting_count_;
            }
            turns = wanting_count_; // somebody got something: go round again
        }
        settled_ = true;
    }

    /// Aborts unless `outstanding` and `wanting`, summed over all records, are what is booked.
    void check(std::uint64_t outstanding, std::uint32_t wanting) const
    {
        SRD_CHECK(outstanding == outstanding_);
        SRD_CHECK(wanting == wanting_count_);
    }

private:
    std::uint64_t step_of(const RxMessage& message, std::uint64_t quantum) const noexcept
    {
        return std::min({quantum, budget_.bytes() / 2, message.total - message.limit});
    }
    /// May it have `step` bytes more, beside the others that want some?
    bool within_share(const RxMessage& message, std::uint64_t step) const noexcept
    {
        const std::uint64_t outstanding = message.limit - message.received;
        return outstanding == 0 || outstanding + step <= std::max(step, budget_.bytes() / wanting_count_);
    }
    void leave(IncomingPool& pool, std::uint32_t index) noexcept
    {
        RxMessage& message = pool[index];
        if (message.grant.listed) {
            wanting_.erase(pool, index);
            --wanting_count_;
            message.grant.listed = false;
            settled_ = false;
        }
    }

    IndexList<&RxMessage::grant> wanting_;
    std::uint32_t wanting_count_ = 0;
    std::uint64_t outstanding_ = 0; ///< bytes granted and not arrived
    GrantBudget budget_;
    bool settled_ = false; ///< each that wants more holds its share: another round would change nothing
};

} // namespace srd
