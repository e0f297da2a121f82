// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The applications of the packet fuzzer: the victim, which takes whatever comes, and the attacker's own,
// which is an ordinary one whose operations may end in any way.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "sim/workload.hpp"
#include "support/sim/sim_host.hpp"

namespace srd::fuzz {

using namespace srd::sim;
using std::chrono::microseconds;
using std::chrono::milliseconds;

inline constexpr std::uint32_t attacker = 2; ///< its host

/// Memory that may be read and written by a peer, and what goes to a peer from here.
class Accessed {
public:
    explicit Accessed(std::uint64_t seed) : random_(seed) {}

    /// Answers an access in one of the ways there are.
    void answer(SimHost& host, const Event& event)
    {
        check_shape(event);
        if (random_.chance(0.2)) {
            host.reject(
                static_cast<Cause>(random_.between(static_cast<std::uint64_t>(Cause::bad_key),
                                                   static_cast<std::uint64_t>(Cause::region_closed))));
        } else if (event.kind != Event::Kind::read) {
            std::fill(event.result.begin(), event.result.end(), std::byte{0x11});
            host.confirm();
        } else if (event.ranges[0].length > memory_.size()) {
            host.reject(Cause::out_of_bounds);
        } else {
            const iovec piece{memory_.data(), event.ranges[0].length};
            host.serve(std::span(&piece, 1), event.ranges[0].key % 4, random_.chance(0.5), 0);
        }
        if (random_.chance(0.02)) {
            host.revoke(random_.between(0, 3));
        }
    }

    /// Submits the next access to `peer` if few are under way.
    void submit_next(SimHost& host, PeerId peer)
    {
        const auto slot =
            static_cast<std::size_t>(std::find(busy_.begin(), busy_.end(), false) - busy_.begin());
        if (slot == busy_.size() || submitted_ == 60) {
            return;
        }
        std::vector<std::byte>& local = local_[slot];
        if (local.empty()) {
            local.assign(local_size + 2 * guard, settled);
        }
        require_settled(local);
        Operation operation = next_operation(local);
        operation.peer = peer;
        operation.cookie = slot;
        const iovec piece{local.data() + guard, operation.remote[0].length};
        const bool is_atomic = operation.kind == OperationKind::atomic;
        operation.iov =
            is_atomic && !operation.atomic.has_operand ? std::span<const iovec>() : std::span(&piece, 1);
        operation.atomic.result = operation.atomic.fetch ? std::span(&piece, 1) : std::span<const iovec>();
        operation.atomic.compare =
            operation.atomic.has_compare ? std::span(&piece, 1) : std::span<const iovec>();
        if (host.submit(operation) == Status::ok) {
            ++submitted_;
            busy_[slot] = true;
        }
    }

    void on_send_done(const Event& event)
    {
        if (event.cookie >= busy_.size() || !busy_[event.cookie]) {
            throw SimFailure("an operation completed twice, or one that was never submitted");
        }
        busy_[event.cookie] = false;
        std::vector<std::byte>& local = local_[event.cookie];
        std::fill(local.begin() + guard, local.end() - guard, settled);
        require_settled(local);
    }

    void check_end() const
    {
        for (std::size_t slot = 0; slot < local_.size(); ++slot) {
            if (!busy_[slot] && !local_[slot].empty()) {
                require_settled(local_[slot]);
            }
        }
    }

private:
    static constexpr std::size_t local_size = 20'000;
    static constexpr std::ptrdiff_t guard = 64;
    static constexpr std::byte settled{0x3c};

    /// Nothing outside an operation's memory is touched, nor that memory after its completion.
    static void require_settled(const std::vector<std::byte>& local)
    {
        if (std::any_of(local.begin(), local.end(), [](std::byte byte) { return byte != settled; })) {
            throw SimFailure("memory was changed outside an operation, or after it");
        }
    }

    static void check_shape(const Event& event)
    {
        const std::uint64_t total =
            std::accumulate(event.ranges.begin(), event.ranges.end(), std::uint64_t{0},
                            [](std::uint64_t sum, const RemoteRange& range) { return sum + range.length; });
        const bool is_atomic = event.kind == Event::Kind::atomic;
        const bool shaped = !event.ranges.empty() && event.ranges.size() <= (is_atomic ? max_iov : 1) &&
                            (event.kind != Event::Kind::write || event.payload.size() == total) &&
                            (!is_atomic || (event.length <= max_atomic_size && total == event.length)) &&
                            (event.payload.empty() || !is_atomic || event.payload.size() == event.length) &&
                            (event.compare.empty() || event.compare.size() == event.length) &&
                            (event.result.empty() || event.result.size() == event.length);
        if (!shaped) {
            throw SimFailure("an access was announced whose parts do not fit each other");
        }
        // Every byte that is said to be there can be read.
        volatile std::byte last{};
        for (const std::span<const std::byte> bytes : {event.payload, event.compare}) {
            for (const std::byte byte : bytes) {
                last = byte;
            }
        }
        (void)last;
    }

    Operation next_operation(std::vector<std::byte>&)
    {
        static constexpr std::array<std::uint64_t, 7> lengths{0, 8, 100, 1200, 5000, 20'000, 480};
        Operation operation;
        operation.kind = static_cast<OperationKind>(1 + submitted_ % 3);
        range_ = {submitted_ * 0x1000, lengths[submitted_ % lengths.size()], submitted_};
        if (operation.kind == OperationKind::atomic) {
            range_.length = std::min<std::uint64_t>(range_.length, max_atomic_size);
            operation.atomic.fetch = submitted_ % 2 == 0;
            operation.atomic.has_compare = submitted_ % 4 == 0;
            operation.atomic.has_operand = submitted_ % 5 != 0 || operation.atomic.has_compare;
        }
        operation.level = submitted_ % 4 == 1 ? CompletionLevel::inject : CompletionLevel::delivery;
        operation.flags.has_data = operation.kind == OperationKind::write && submitted_ % 2 == 0;
        operation.fence = submitted_ % 11 == 10;
        operation.remote = std::span(&range_, 1);
        return operation;
    }

    SimRandom random_;
    std::vector<std::byte> memory_ = std::vector<std::byte>(64 << 10);
    std::array<std::vector<std::byte>, 6> local_;
    std::array<bool, 6> busy_{};
    RemoteRange range_;
    std::uint64_t submitted_ = 0;
};

/// Takes whatever comes from the attacker, in all the ways there are; checks nothing but memory.
class Victim final : public SimApp {
public:
    Victim(Workload& honest, std::uint64_t seed) : honest_(honest), random_(seed) {}

    void on_event(SimHost& host, const Event& event) override
    {
        const bool from_attacker = host.peer_host(event.peer) == attacker;
        if (!from_attacker) {
            honest_.on_event(host, event);
            return;
        }
        switch (event.kind) {
        case Event::Kind::message:
            return take(host, event);
        case Event::Kind::message_lost:
            std::erase(parked_, event.message);
            return;
        case Event::Kind::write:
        case Event::Kind::read:
        case Event::Kind::atomic:
            return accessed_.answer(host, event);
        case Event::Kind::send_done:
            return accessed_.on_send_done(event);
        default:
            return;
        }
    }

    void check_end() const { accessed_.check_end(); }

    Time on_pass(SimHost& host, Time now) override
    {
        while (parked_.size() > 8) {
            const MessageId oldest = parked_.front();
            parked_.erase(parked_.begin());
            Accepted outcome{};
            if (random_.chance(0.5)) {
                host.discard(oldest);
            } else if (host.accept(oldest, sink(), 0, outcome) != Status::ok) {
                throw SimFailure("accept() of a parked message answered 'again'");
            }
        }
        accessed_.submit_next(host, host.open_peer(attacker));
        return honest_.on_pass(host, now);
    }

private:
    void take(SimHost& host, const Event& event)
    {
        Accepted outcome{};
        MessageId id = event.message;
        if (random_.chance(0.4) && host.accept(id, sink(), 0, outcome) == Status::ok) {
            return;
        }
        if (host.park(id) == Status::ok) {
            parked_.push_back(id);
            return;
        }
        host.refuse(event.message);
    }

    std::span<const iovec> sink()
    {
        iov_ = {memory_.data(), random_.between(0, memory_.size())};
        return {&iov_, 1};
    }

    Workload& honest_;
    Accessed accessed_{5};
    SimRandom random_;
    std::vector<std::byte> memory_ = std::vector<std::byte>(64 << 10);
    iovec iov_{};
    std::vector<MessageId> parked_;
};

/// The attacker's own endpoint: an ordinary one whose operations may end in any way.
class Attacker final : public SimApp {
public:
    void on_event(SimHost& host, const Event& event) override
    {
        switch (event.kind) {
        case Event::Kind::message:
            return host.refuse(event.message);
        case Event::Kind::write:
        case Event::Kind::read:
        case Event::Kind::atomic:
            return accessed_.answer(host, event);
        case Event::Kind::send_done:
            if (event.cookie < sizes_.size()) {
                accessed_.on_send_done(event);
            }
            return;
        default:
            return;
        }
    }
    Time on_pass(SimHost& host, Time now) override
    {
        accessed_.submit_next(host, host.open_peer(0));
        if (sent_ == sizes_.size()) {
            return now + microseconds(20);
        }
        Operation operation;
        operation.peer = host.open_peer(0);
        operation.cookie = sizes_.size(); // unlike those of accesses
        const iovec piece{memory_.data(), sizes_[sent_]};
        operation.iov = std::span(&piece, 1);
        operation.flags.tagged = true;
        operation.flags.has_data = sent_ % 2 == 0;
        operation.level = sent_ % 3 == 0 ? CompletionLevel::delivery : CompletionLevel::transmit;
        if (host.submit(operation) == Status::ok) {
            ++sent_;
        }
        return now + microseconds(20);
    }

private:
    std::vector<std::byte> memory_ = std::vector<std::byte>(256 << 10);
    std::vector<std::size_t> sizes_{0, 16, 900, 3000, 9000, 16'000, 100'000, 20, 2000, 200'000};
    std::size_t sent_ = 0;
    Accessed accessed_{6};
};

} // namespace srd::fuzz
