// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "sim/told_writes.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "support/engine_pair.hpp"
#include "support/sim/sim_random.hpp"

namespace srd::sim {
namespace {

/// Which numbers were seen, each of which must be seen once. They come in any order, but not further apart
/// than as many operations as an engine has records for.
class Once {
public:
    explicit Once(const char* what) : what_(what), seen_(window) {}

    void note(std::uint64_t number)
    {
        if (number < first_ || seen_[number % window]) {
            return fail(number, "twice");
        }
        if (number >= first_ + window) {
            return fail(number, "before others that were never");
        }
        seen_[number % window] = true;
        while (seen_[first_ % window]) {
            seen_[first_ % window] = false;
            ++first_;
        }
    }
    /// All below were seen.
    std::uint64_t first_missing() const { return first_; }
    const std::string& failure() const { return failure_; }

private:
    static constexpr std::uint64_t window = 1U << 16;

    void fail(std::uint64_t number, const char* how)
    {
        if (failure_.empty()) {
            failure_ = "operation " + std::to_string(number) + " was " + what_ + ' ' + how;
        }
    }

    const char* what_;
    std::vector<bool> seen_;
    std::uint64_t first_ = 0;
    std::string failure_;
};

class Run {
public:
    explicit Run(const ToldWrites& config)
        : config_(config), random_(config.seed), pair_({.max_packet = 1472, .burst_packets = 8}),
          payload_(longest)
    {
        for (test::EngineHost* const host : {&pair_.a, &pair_.b}) {
            host->io.drop = [this](std::size_t) {
                const bool lost = random_.chance(config_.loss);
                lost_ += lost ? 1U : 0U;
                return lost;
            };
        }
    }

    ToldResult run()
    {
        std::uint64_t idle = 0;
        while (failure().empty() && (told_.first_missing() != config_.operations ||
                                     completed_.first_missing() != config_.operations)) {
            const std::uint64_t before = told_.first_missing() + completed_.first_missing() + next_;
            post_some();
            pair_.a.io.reverse = random_.chance(0.1);
            pair_.b.io.reverse = random_.chance(0.1);
            pair_.a.pass(pair_.now);
            pair_.b.pass(pair_.now);
            pair_.now += std::chrono::microseconds(5);
            hear();
            idle = before == told_.first_missing() + completed_.first_missing() + next_ ? idle + 1 : 0;
            if (idle > 10'000'000) {
                return result("operation " + std::to_string(told_.first_missing()) + " was never told, or " +
                              std::to_string(completed_.first_missing()) + " never completed");
            }
        }
        return result(failure());
    }

private:
    static constexpr std::size_t longest = 20'000;

    /// Several before any goes out.
    void post_some()
    {
        const std::uint64_t batch = random_.between(1, 16);
        for (std::uint64_t i = 0; i < batch && next_ != config_.operations; ++i) {
            if (!post(next_)) {
                return;
            }
            ++next_;
        }
    }

    bool post(std::uint64_t number)
    {
        // Mostly short, some without bytes, a few in many packets, some to several ranges.
        const std::uint64_t kind = random_.between(0, 199);
        const std::uint64_t length = kind < 20    ? 0
                                     : kind < 190 ? random_.between(1, 64)
                                     : kind < 199 ? random_.between(65, 3000)
                                                  : random_.between(3001, longest);
        const std::size_t ranges = kind % 7 == 0 && length >= max_iov ? max_iov : 1;
        std::array<RemoteRange, max_iov> remote;
        std::uint64_t at = 0;
        for (std::size_t i = 0; i < ranges; ++i) {
            const std::uint64_t part = i + 1 == ranges ? length - at : length / max_iov;
            remote[i] = {at * 2, part, test::EngineHost::region};
            at += part;
        }
        const iovec iov{payload_.data(), length};
        Operation operation;
        operation.kind = OperationKind::write;
        operation.level = number % 3 == 0   ? CompletionLevel::delivery
                          : number % 3 == 1 ? CompletionLevel::transmit
                                            : CompletionLevel::inject;
        operation.copy_payload = length <= max_inject_size && number % 5 == 0;
        operation.fence = kind == 50;
        operation.iov = {&iov, 1};
        operation.remote = {remote.data(), ranges};
        operation.flags.has_data = true;
        operation.data = number;
        return pair_.submit(operation, number) == Status::ok;
    }

    void hear()
    {
        for (const std::uint64_t data : pair_.b.remote_data) {
            const bool breaks = data % 4099 == 4098;
            if (!(breaks && config_.forget_to_tell)) {
                told_.note(data);
            }
            if (breaks && config_.tell_twice) {
                told_.note(data);
            }
        }
        pair_.b.remote_data.clear();
        for (const Event& event : pair_.a.done) {
            if (event.kind != Event::Kind::send_done || event.cause != Cause::none) {
                other_failure_ = "operation " + std::to_string(event.cookie) + " failed";
            } else {
                completed_.note(event.cookie);
            }
        }
        pair_.a.done.clear();
        if (!pair_.a.lost.empty() || !pair_.b.lost.empty()) {
            other_failure_ = "the connection was lost";
        }
    }

    std::string failure() const
    {
        return !told_.failure().empty()        ? told_.failure()
               : !completed_.failure().empty() ? completed_.failure()
                                               : other_failure_;
    }

    ToldResult result(std::string failure) const
    {
        const Counters& count = pair_.a.counters;
        return {.failure = std::move(failure),
                .lost_packets = lost_,
                .retransmissions = count.retransmits_rack.value() + count.retransmits_probe.value() +
                                   count.retransmits_timeout.value()};
    }

    const ToldWrites config_;
    SimRandom random_;
    test::EnginePair pair_;
    test::Bytes payload_;
    Once told_{"told"};
    Once completed_{"completed"};
    std::string other_failure_;
    std::uint64_t next_ = 0;
    std::uint64_t lost_ = 0;
};

} // namespace

ToldResult run_told_writes(const ToldWrites& config)
{
    return Run(config).run();
}

} // namespace srd::sim
