// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_trigger(3): triggered operations and deferred work.
#include "fabric/rma_support.hpp"

#include <array>
#include <atomic>
#include <thread>

#include <rdma/fi_atomic.h>
#include <rdma/fi_trigger.h>

using namespace fabric_test;

namespace {

Options trigger_options()
{
    Options options;
    options.caps = FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC | FI_TRIGGER | FI_DIRECTED_RECV;
    options.wait = FI_WAIT_UNSPEC;
    return options;
}

struct TriggerPair : Pair {
    explicit TriggerPair(const Options& options = trigger_options())
        : Pair(options), gate(open_counter(domain))
    {
    }

    /// Sends `word` from a to b when `counter` reaches `threshold`.
    ssize_t send_at(std::uint64_t threshold, fi_triggered_context& context, const std::uint64_t& word,
                    fid_cntr* counter, std::uint64_t flags = FI_TRIGGER)
    {
        context = {};
        context.event_type = FI_TRIGGER_THRESHOLD;
        context.trigger.threshold.cntr = counter;
        context.trigger.threshold.threshold = threshold;
        const iovec iov{const_cast<std::uint64_t*>(&word), sizeof(word)};
        fi_msg message{};
        message.msg_iov = &iov;
        message.iov_count = 1;
        message.addr = b_at_a;
        message.context = &context;
        return fi_sendmsg(a.ep.get(), &message, flags);
    }
    ssize_t send_at(std::uint64_t threshold, fi_triggered_context& context, const std::uint64_t& word)
    {
        return send_at(threshold, context, word, gate.get());
    }
    void post(std::uint64_t& word)
    {
        REQUIRE(fi_recv(b.ep.get(), &word, sizeof(word), nullptr, FI_ADDR_UNSPEC, &word) == 0);
    }
    /// Polls for a while in which a message would have come.
    void settle()
    {
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
        while (std::chrono::steady_clock::now() < end) {
            poll();
        }
    }
    bool is_silent()
    {
        settle();
        return a.ready.empty() && b.ready.empty();
    }
    int control(int command, void* argument) { return fi_control(&domain.domain->fid, command, argument); }

    Handle<fid_cntr> gate;
};

} // namespace

TEST_CASE("trigger: a send waits for its threshold and completes like any other")
{
    TriggerPair pair;
    std::uint64_t got = 0;
    const std::uint64_t word = 4711;
    fi_triggered_context context{};
    pair.post(got);
    REQUIRE(pair.send_at(3, context, word) == 0);
    REQUIRE(fi_cntr_add(pair.gate.get(), 2) == 0);
    REQUIRE(fi_cntr_adderr(pair.gate.get(), 5) == 0); // a value counts, errors do not
    CHECK(pair.is_silent());
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    CHECK(pair.next(pair.b).context() == &got);
    CHECK(got == word);
    const Entry sent = pair.next(pair.a);
    CHECK_FALSE(sent.failed);
    CHECK(sent.context() == &context);
    CHECK(sent.good.flags == (FI_SEND | FI_MSG));

    // The condition is met already: at once.
    pair.post(got);
    REQUIRE(pair.send_at(1, context, word) == 0);
    CHECK(pair.next(pair.b).context() == &got);
    CHECK(pair.next(pair.a).context() == &context);
}

TEST_CASE("trigger: in the order of thresholds, then of submission, also when the counter jumps")
{
    TriggerPair pair;
    const std::array<std::uint64_t, 6> thresholds{5, 2, 5, 1, 2, 9};
    const std::array<std::uint64_t, 6> words{0, 1, 2, 3, 4, 5};
    std::array<fi_triggered_context, 6> contexts{};
    std::array<std::uint64_t, 6> got{};
    for (std::size_t i = 0; i < words.size(); ++i) {
        pair.post(got[i]);
        REQUIRE(pair.send_at(thresholds[i], contexts[i], words[i]) == 0);
    }
    REQUIRE(fi_cntr_set(pair.gate.get(), 7) == 0);
    pair.until([&] { return pair.b.ready.size() == 5; });
    CHECK(pair.a.ready.size() <= 5);
    REQUIRE(fi_cntr_set(pair.gate.get(), 9) == 0);
    pair.until([&] { return pair.b.ready.size() == 6; });
    CHECK(got == std::array<std::uint64_t, 6>{3, 1, 4, 0, 2, 5});
}

TEST_CASE("trigger: receive completions start sends, whoever makes the progress")
{
    Options options = trigger_options();
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    options.counters = true;
    TriggerPair pair(options);
    constexpr std::size_t rounds = 200;
    std::vector<std::uint64_t> pings(rounds);
    std::vector<std::uint64_t> echoes(rounds);
    std::vector<fi_triggered_context> contexts(rounds);
    for (std::size_t i = 0; i < rounds; ++i) {
        pair.post(pings[i]);
        REQUIRE(fi_recv(pair.a.ep.get(), &echoes[i], 8, nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
        // b sends back what it received.
        std::swap(pair.a.ep, pair.b.ep);
        std::swap(pair.a_at_b, pair.b_at_a);
        REQUIRE(pair.send_at(i + 1, contexts[i], pings[i], pair.b.received.get()) == 0);
        std::swap(pair.a.ep, pair.b.ep);
        std::swap(pair.a_at_b, pair.b_at_a);
    }
    for (std::uint64_t i = 0; i < rounds; ++i) {
        const std::uint64_t word = i + 1;
        REQUIRE(pair.retry([&] { return fi_inject(pair.a.ep.get(), &word, 8, pair.b_at_a); }) == 0);
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (fi_cntr_read(pair.a.received.get()) < word) {
            REQUIRE(std::chrono::steady_clock::now() < end);
            if (options.progress == FI_PROGRESS_MANUAL) {
                fi_cntr_read(pair.b.sent.get()); // not the counter that triggers
            }
        }
        REQUIRE(echoes[i] == word);
    }
}

TEST_CASE("trigger: fi_cancel, and an address that has gone meanwhile, end in an error completion")
{
    TriggerPair pair;
    std::uint64_t got = 0;
    const std::uint64_t word = 1;
    std::array<fi_triggered_context, 2> contexts{};
    pair.post(got);
    REQUIRE(pair.send_at(1, contexts[0], word) == 0);
    REQUIRE(pair.send_at(1, contexts[1], word) == 0);
    CHECK(fi_close(&pair.gate->fid) == -FI_EBUSY);
    REQUIRE(fi_cancel(&pair.a.ep->fid, &contexts[0]) == 0);
    Entry entry = pair.next(pair.a);
    CHECK(entry.failed);
    CHECK(entry.context() == &contexts[0]);
    CHECK(entry.error.err == FI_ECANCELED);
    REQUIRE(fi_av_remove(pair.a.av.get(), &pair.b_at_a, 1, 0) == 0);
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    entry = pair.next(pair.a);
    CHECK(entry.failed);
    CHECK(entry.context() == &contexts[1]);
    CHECK(entry.error.err == FI_EINVAL);
    CHECK(pair.is_silent());
    fi_cancel(&pair.b.ep->fid, &got);
    CHECK(pair.next(pair.b).error.err == FI_ECANCELED);
}

TEST_CASE("trigger: receives, writes and atomics can be triggered, too")
{
    TriggerPair pair;
    Window window(pair.domain, 64);
    std::uint64_t got = 0;
    const std::uint64_t word = 77;
    const auto condition = [&](fi_triggered_context& context) {
        context.event_type = FI_TRIGGER_THRESHOLD;
        context.trigger.threshold.cntr = pair.gate.get();
        context.trigger.threshold.threshold = 1;
    };
    std::array<fi_triggered_context, 3> contexts{};
    std::for_each(contexts.begin(), contexts.end(), condition);

    iovec iov{&got, sizeof(got)};
    fi_msg_tagged receive{};
    receive.msg_iov = &iov;
    receive.iov_count = 1;
    receive.addr = FI_ADDR_UNSPEC;
    receive.tag = 5;
    receive.context = &contexts[0];
    REQUIRE(fi_trecvmsg(pair.b.ep.get(), &receive, FI_TRIGGER | FI_COMPLETION) == 0);

    const iovec from{const_cast<std::uint64_t*>(&word), sizeof(word)};
    const fi_rma_iov to{window.address(), sizeof(word), window.key()};
    fi_msg_rma write{};
    write.msg_iov = &from;
    write.iov_count = 1;
    write.rma_iov = &to;
    write.rma_iov_count = 1;
    write.addr = pair.b_at_a;
    write.context = &contexts[1];
    REQUIRE(fi_writemsg(pair.a.ep.get(), &write, FI_TRIGGER) == 0);

    const fi_ioc operand{const_cast<std::uint64_t*>(&word), 1};
    const fi_rma_ioc target{window.address(8), 1, window.key()};
    fi_msg_atomic atomic{};
    atomic.msg_iov = &operand;
    atomic.iov_count = 1;
    atomic.rma_iov = &target;
    atomic.rma_iov_count = 1;
    atomic.addr = pair.b_at_a;
    atomic.datatype = FI_UINT64;
    atomic.op = FI_SUM;
    atomic.context = &contexts[2];
    REQUIRE(fi_atomicmsg(pair.a.ep.get(), &atomic, FI_TRIGGER) == 0);

    REQUIRE(pair.retry(
                [&] { return fi_tsend(pair.a.ep.get(), &word, 8, nullptr, pair.b_at_a, 5, nullptr); }) == 0);
    CHECK(pair.next(pair.a).context() == nullptr);
    CHECK(pair.is_silent());
    CHECK(window.is_zero());
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    pair.until([&] { return pair.a.ready.size() == 2 && pair.b.ready.size() == 1; });
    CHECK(pair.b.ready[0].context() == &contexts[0]);
    CHECK(got == word);
    for (const std::size_t offset : {0U, 8U}) {
        std::uint64_t there = 0;
        std::memcpy(&there, window.data() + offset, sizeof(there));
        CHECK(there == word);
    }
}

TEST_CASE("trigger: forty thousand operations at once are retried until all have started, in order")
{
    TriggerPair pair;
    constexpr std::size_t total = 40000; // more than an endpoint takes at one time
    std::vector<std::uint64_t> words(total);
    std::vector<std::uint64_t> got(total);
    std::vector<fi_triggered_context> contexts(total);
    std::iota(words.begin(), words.end(), 1);
    for (std::size_t i = 0; i < total; ++i) {
        pair.post(got[i]);
        REQUIRE(pair.send_at(1, contexts[i], words[i]) == 0);
    }
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    pair.until([&] { return pair.a.ready.size() == total && pair.b.ready.size() == total; });
    CHECK(got == words);
}

TEST_CASE("trigger: what cannot be triggered is refused when it is submitted")
{
    TriggerPair pair;
    const std::uint64_t word = 1;
    fi_triggered_context context{};
    CHECK(pair.send_at(1, context, word, nullptr) == -FI_EINVAL);
    CHECK(pair.send_at(1, context, word, pair.gate.get(), FI_TRIGGER | FI_INJECT) == -FI_EINVAL);
    OpenDomain other("127.0.0.1", hints_for(trigger_options()));
    const Handle<fid_cntr> foreign = open_counter(other);
    CHECK(pair.send_at(1, context, word, foreign.get()) == -FI_EINVAL);
    fi_msg message{};
    message.addr = pair.b_at_a;
    CHECK(fi_sendmsg(pair.a.ep.get(), &message, FI_TRIGGER) == -FI_EINVAL); // no context
    context.event_type = FI_TRIGGER_XPU;
    message.context = &context;
    CHECK(fi_sendmsg(pair.a.ep.get(), &message, FI_TRIGGER) == -FI_EINVAL);
    message.iov_count = 5;
    context.event_type = FI_TRIGGER_THRESHOLD;
    context.trigger.threshold.cntr = pair.gate.get();
    context.trigger.threshold.threshold = 1;
    CHECK(fi_sendmsg(pair.a.ep.get(), &message, FI_TRIGGER) == -FI_EINVAL); // a bad message
    Pair plain;
    const Handle<fid_cntr> gate = open_counter(plain.domain);
    context.trigger.threshold.cntr = gate.get();
    message.iov_count = 0;
    CHECK(fi_sendmsg(plain.a.ep.get(), &message, FI_TRIGGER) == -FI_EOPNOTSUPP);
    CHECK(pair.is_silent());
}

TEST_CASE("trigger: an endpoint that closes takes its operations with it")
{
    TriggerPair pair;
    const std::uint64_t word = 1;
    fi_triggered_context context{};
    {
        TestEndpoint third(pair.domain, trigger_options());
        third.insert(pair.b);
        std::swap(third.ep, pair.a.ep);
        REQUIRE(pair.send_at(1, context, word) == 0);
        std::swap(third.ep, pair.a.ep);
    }
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    CHECK(pair.is_silent());
}

TEST_CASE("trigger: counters change, operations are queued and progress is made by several threads")
{
    TriggerPair pair;
    constexpr std::size_t total = 4000;
    std::vector<std::uint64_t> words(total, 1);
    std::vector<std::uint64_t> got(total);
    std::vector<fi_triggered_context> contexts(total);
    for (std::uint64_t& word : got) {
        pair.post(word);
    }
    std::atomic<bool> stop{false};
    std::thread counting([&] {
        for (std::size_t i = 0; i < total; ++i) {
            fi_cntr_add(pair.gate.get(), 1);
        }
    });
    std::thread progressing([&] {
        while (!stop.load()) {
            fi_cntr_read(pair.gate.get());
            fi_cq_read(pair.a.cq.get(), nullptr, 0);
        }
    });
    bool queued = true;
    for (std::size_t i = 0; i < total; ++i) {
        queued &= pair.send_at(i + 1, contexts[i], words[i]) == 0;
    }
    CHECK(queued);
    pair.until([&] { return pair.a.ready.size() == total && pair.b.ready.size() == total; });
    stop.store(true);
    counting.join();
    progressing.join();
    CHECK(got == words);
}

TEST_CASE("trigger: calls without flags, through an alias whose default is FI_TRIGGER")
{
    TriggerPair pair;
    fid_ep* alias = nullptr;
    REQUIRE(fi_ep_alias(pair.a.ep.get(), &alias, FI_TRANSMIT | FI_TRIGGER) == 0);
    std::uint64_t got = 0;
    const std::uint64_t word = 9;
    pair.post(got);
    fi_triggered_context context{};
    context.event_type = FI_TRIGGER_THRESHOLD;
    context.trigger.threshold.cntr = pair.gate.get();
    context.trigger.threshold.threshold = 1;
    REQUIRE(fi_send(alias, &word, 8, nullptr, pair.b_at_a, &context) == 0);
    CHECK(pair.is_silent());
    CHECK(fi_inject(alias, &word, 8, pair.b_at_a) == -FI_EINVAL); // has nowhere to say when
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    CHECK(pair.next(pair.b).context() == &got);
    CHECK(got == word);
    CHECK(pair.next(pair.a).context() == &context);

    // The endpoint itself is as it was, and outlives its aliases.
    pair.post(got);
    REQUIRE(fi_send(pair.a.ep.get(), &word, 8, nullptr, pair.b_at_a, nullptr) == 0);
    CHECK(pair.next(pair.b).context() == &got);
    CHECK(pair.next(pair.a).context() == nullptr);
    std::uint64_t flags = FI_TRANSMIT;
    REQUIRE(fi_control(&alias->fid, FI_GETOPSFLAG, &flags) == 0);
    CHECK(flags == FI_TRIGGER);
    flags = FI_TRANSMIT;
    REQUIRE(fi_control(&pair.a.ep->fid, FI_GETOPSFLAG, &flags) == 0);
    CHECK((flags & FI_TRIGGER) == 0);
    CHECK(fi_close(&pair.a.ep->fid) == -FI_EBUSY);
    CHECK(fi_close(&alias->fid) == 0);
    CHECK(fi_ep_alias(pair.a.ep.get(), &alias, FI_TRANSMIT | FI_RECV) == -FI_EINVAL);
}
