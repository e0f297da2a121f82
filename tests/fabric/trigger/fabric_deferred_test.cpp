// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_trigger(3), deferred work: FI_QUEUE_WORK, FI_CANCEL_WORK, FI_FLUSH_WORK.
#include "fabric/rma_support.hpp"

#include <array>
#include <set>

#include <rdma/fi_atomic.h>
#include <rdma/fi_trigger.h>

using namespace fabric_test;

namespace {

Options work_options()
{
    Options options;
    options.caps = FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC | FI_TRIGGER | FI_DIRECTED_RECV;
    options.wait = FI_WAIT_UNSPEC;
    options.counters = true;
    return options;
}

/// The structures of one work, which begin with where the data is. All of them may be gone as soon as the
/// work is queued, except the work itself, which is its name.
struct Parts {
    iovec iov{};
    fi_rma_iov remote{};
    std::array<fi_ioc, 3> elements{}; ///< operands, results, comparands
    fi_rma_ioc target{};
    fi_op_msg msg{};
    fi_op_tagged tagged{};
    fi_op_rma rma{};
    fi_op_atomic atomic{};
    fi_op_fetch_atomic fetch{};
    fi_op_compare_atomic compare{};
    fi_op_cntr change{};
};

struct WorkPair : Pair {
    explicit WorkPair(const Options& options = work_options())
        : Pair(options), gate(open_counter(domain)), done(open_counter(domain)), window(domain, 64)
    {
    }

    int control(int command, void* argument) { return fi_control(&domain.domain->fid, command, argument); }

    /// An operation on an 8-byte word from a to b (receives: at b); counted by `counter`. Everything but
    /// `work` is overwritten before this returns.
    int queue(fi_deferred_work& work, fi_op_type kind, std::uint64_t threshold, std::uint64_t& word,
              fid_cntr* counter, std::uint64_t flags = 0, std::uint64_t offset = 0)
    {
        Parts parts;
        work = {};
        work.threshold = threshold;
        work.triggering_cntr = gate.get();
        work.completion_cntr = counter;
        work.op_type = kind;
        fill(work, parts, word, flags, offset);
        const int code = control(FI_QUEUE_WORK, &work);
        std::memset(static_cast<void*>(&parts), 0xee, sizeof(parts));
        std::memset(static_cast<void*>(&work), 0xee, sizeof(work));
        return code;
    }

    int queue_change(fi_deferred_work& work, fi_op_type kind, std::uint64_t threshold, fid_cntr* counter,
                     std::uint64_t value)
    {
        fi_op_cntr change{counter, value};
        work = {};
        work.threshold = threshold;
        work.triggering_cntr = gate.get();
        work.op_type = kind;
        work.op.cntr = &change;
        const int code = control(FI_QUEUE_WORK, &work);
        change = {};
        return code;
    }

    /// No entry appears in any queue.
    bool is_silent()
    {
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
        while (std::chrono::steady_clock::now() < end) {
            poll();
        }
        return a.ready.empty() && b.ready.empty();
    }
    std::uint64_t word_at(std::size_t offset)
    {
        std::uint64_t word = 0;
        std::memcpy(&word, window.data() + offset, sizeof(word));
        return word;
    }

    Handle<fid_cntr> gate;
    Handle<fid_cntr> done;
    Window window;
    std::uint64_t result = 0;
    std::uint64_t comparand = 0;

private:
    void fill(fi_deferred_work& work, Parts& parts, std::uint64_t& word, std::uint64_t flags,
              std::uint64_t offset)
    {
        const bool is_receive = work.op_type == FI_OP_RECV || work.op_type == FI_OP_TRECV;
        fid_ep* const ep = is_receive ? b.ep.get() : a.ep.get();
        const fi_addr_t peer = is_receive ? a_at_b : b_at_a;
        parts.iov = {&word, sizeof(word)};
        parts.remote = {window.address(offset), sizeof(word), window.key()};
        parts.elements = {{{&word, 1}, {&result, 1}, {&comparand, 1}}};
        parts.target = {window.address(offset), 1, window.key()};
        parts.msg = {ep, {&parts.iov, nullptr, 1, peer, &work, 0}, flags};
        parts.tagged = {ep, {&parts.iov, nullptr, 1, peer, 9, 0, &work, 0}, flags};
        parts.rma = {ep, {&parts.iov, nullptr, 1, peer, &parts.remote, 1, &work, 0}, flags};
        const fi_msg_atomic base{&parts.elements[0],
                                 nullptr,
                                 1,
                                 peer,
                                 &parts.target,
                                 1,
                                 FI_UINT64,
                                 work.op_type == FI_OP_COMPARE_ATOMIC ? FI_CSWAP : FI_SUM,
                                 &work,
                                 0};
        const fi_msg_fetch fetch{&parts.elements[1], nullptr, 1};
        parts.atomic = {ep, base, flags};
        parts.fetch = {ep, base, fetch, flags};
        parts.compare = {ep, base, fetch, {&parts.elements[2], nullptr, 1}, flags};
        switch (work.op_type) {
        case FI_OP_RECV:
        case FI_OP_SEND:
            work.op.msg = &parts.msg;
            break;
        case FI_OP_TRECV:
        case FI_OP_TSEND:
            work.op.tagged = &parts.tagged;
            break;
        case FI_OP_ATOMIC:
            work.op.atomic = &parts.atomic;
            break;
        case FI_OP_FETCH_ATOMIC:
            work.op.fetch_atomic = &parts.fetch;
            break;
        case FI_OP_COMPARE_ATOMIC:
            work.op.compare_atomic = &parts.compare;
            break;
        default:
            work.op.rma = &parts.rma;
        }
    }
};

} // namespace

TEST_CASE("deferred: every kind of operation, counted by its counter and by nothing else")
{
    Options options = work_options();
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    WorkPair pair(options);
    std::array<fi_deferred_work, 9> works{};
    std::uint64_t received = 0;
    std::uint64_t tagged = 0;
    std::uint64_t fetched = 0;
    std::uint64_t five = 5;
    std::uint64_t six = 6;
    fid_cntr* const done = pair.done.get();
    // Sources are read when the work starts.
    REQUIRE(pair.queue(works[0], FI_OP_RECV, 1, received, done) == 0);
    REQUIRE(pair.queue(works[1], FI_OP_TRECV, 1, tagged, done) == 0);
    REQUIRE(pair.queue(works[2], FI_OP_SEND, 2, five, done) == 0);
    REQUIRE(pair.queue(works[3], FI_OP_TSEND, 2, six, done) == 0);
    REQUIRE(pair.queue(works[4], FI_OP_WRITE, 2, five, done, FI_DELIVERY_COMPLETE, 16) == 0);
    REQUIRE(pair.queue(works[5], FI_OP_ATOMIC, 3, six, done, 0, 16) == 0);
    REQUIRE(pair.queue(works[6], FI_OP_FETCH_ATOMIC, 4, six, done, 0, 16) == 0);
    REQUIRE(pair.queue(works[7], FI_OP_READ, 5, fetched, done, 0, 16) == 0);
    REQUIRE(pair.queue(works[8], FI_OP_COMPARE_ATOMIC, 6, five, done, 0, 16) == 0);
    CHECK(pair.is_silent());
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    CHECK(pair.is_silent());
    CHECK(fi_cntr_read(done) == 0);
    five = 50;
    REQUIRE(fi_cntr_adderr(pair.gate.get(), 1) == 0); // errors count as well
    CHECK(fi_cntr_wait(done, 5, 60000) == 0);
    CHECK(received == 50);
    CHECK(tagged == 6);
    CHECK(pair.word_at(16) == 50);
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    CHECK(fi_cntr_wait(done, 6, 60000) == 0);
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    CHECK(fi_cntr_wait(done, 7, 60000) == 0);
    CHECK(pair.result == 56);
    CHECK(pair.word_at(16) == 62);
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    CHECK(fi_cntr_wait(done, 8, 60000) == 0);
    CHECK(fetched == 62);
    pair.comparand = 62;
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    CHECK(fi_cntr_wait(done, 9, 60000) == 0);
    CHECK(pair.result == 62);
    CHECK(pair.word_at(16) == 50);
    CHECK(pair.is_silent());
    CHECK(fi_cntr_read(pair.a.sent.get()) == 0);
    CHECK(fi_cntr_read(pair.b.received.get()) == 0);
    CHECK(fi_cntr_readerr(done) == 0);
}

TEST_CASE("deferred: FI_COMPLETION asks for the endpoint's completions, too")
{
    WorkPair pair;
    std::array<fi_deferred_work, 3> works{};
    std::uint64_t received = 0;
    std::uint64_t word = 5;
    REQUIRE(pair.queue(works[0], FI_OP_RECV, 1, received, pair.done.get(), FI_COMPLETION) == 0);
    REQUIRE(pair.queue(works[1], FI_OP_SEND, 1, word, pair.done.get(), FI_COMPLETION) == 0);
    // Named as the completion counter, the endpoint's counter counts the work once.
    REQUIRE(pair.queue(works[2], FI_OP_SEND, 1, word, pair.a.sent.get(), FI_COMPLETION) == 0);
    REQUIRE(fi_recv(pair.b.ep.get(), &received, 8, nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    pair.until([&] { return pair.a.ready.size() == 2 && pair.b.ready.size() == 2; });
    CHECK(std::set<void*>{pair.a.ready[0].context(), pair.a.ready[1].context()} ==
          std::set<void*>{&works[1], &works[2]});
    CHECK(fi_cntr_wait(pair.done.get(), 2, 60000) == 0);
    CHECK(fi_cntr_read(pair.a.sent.get()) == 2);
    CHECK(fi_cntr_read(pair.b.received.get()) == 2);
    CHECK(fi_cntr_read(pair.done.get()) == 2);
}

TEST_CASE("deferred: a failure is counted as an error")
{
    WorkPair pair;
    fi_deferred_work work{};
    std::uint64_t word = 5;
    REQUIRE(pair.queue(work, FI_OP_WRITE, 1, word, pair.done.get(), 0, 60) == 0); // beyond the end
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    CHECK(fi_cntr_wait(pair.done.get(), 1, 60000) == -FI_EAVAIL);
    CHECK(fi_cntr_readerr(pair.done.get()) == 1);
    CHECK(fi_cntr_read(pair.done.get()) == 0);
    CHECK(pair.is_silent());
    CHECK(pair.window.is_zero());
}

TEST_CASE("deferred: counters trigger counters, in order and without end to the chain's length")
{
    WorkPair pair;
    constexpr std::size_t length = 20000;
    std::vector<fi_deferred_work> chain(length);
    for (std::size_t i = 0; i < length; ++i) { // each raises the counter that the next one waits for
        REQUIRE(pair.queue_change(chain[i], FI_OP_CNTR_ADD, i + 1, pair.gate.get(), 1) == 0);
    }
    std::array<fi_deferred_work, 2> changes{};
    REQUIRE(pair.queue_change(changes[0], FI_OP_CNTR_SET, length, pair.done.get(), 10) == 0);
    REQUIRE(pair.queue_change(changes[1], FI_OP_CNTR_ADD, length, pair.done.get(), 5) == 0);
    CHECK(fi_cntr_read(pair.done.get()) == 0);
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    CHECK(fi_cntr_wait(pair.done.get(), 15, 60000) == 0);
    CHECK(fi_cntr_read(pair.gate.get()) == length + 1);
}

TEST_CASE("deferred: work is canceled one by one, by counter, or all")
{
    WorkPair pair;
    std::array<fi_deferred_work, 4> works{};
    REQUIRE(pair.queue_change(works[0], FI_OP_CNTR_ADD, 1, pair.done.get(), 1) == 0);
    REQUIRE(pair.queue_change(works[1], FI_OP_CNTR_ADD, 1, pair.done.get(), 10) == 0);
    CHECK(fi_close(&pair.gate->fid) == -FI_EBUSY);
    CHECK(fi_close(&pair.done->fid) == -FI_EBUSY);
    REQUIRE(pair.control(FI_CANCEL_WORK, &works[0]) == 0);
    CHECK(pair.control(FI_CANCEL_WORK, &works[0]) == -FI_ENOENT);
    REQUIRE(fi_cntr_add(pair.gate.get(), 1) == 0);
    CHECK(fi_cntr_read(pair.done.get()) == 10);
    CHECK(pair.control(FI_CANCEL_WORK, &works[1]) == -FI_ENOENT);

    Handle<fid_cntr> other = open_counter(pair.domain);
    const auto queue_two = [&] {
        REQUIRE(pair.queue_change(works[2], FI_OP_CNTR_ADD, 5, pair.done.get(), 100) == 0);
        std::swap(other, pair.gate);
        REQUIRE(pair.queue_change(works[3], FI_OP_CNTR_ADD, 5, pair.done.get(), 1000) == 0);
        std::swap(other, pair.gate);
    };
    queue_two();
    REQUIRE(pair.control(FI_FLUSH_WORK, &pair.gate->fid) == 0);
    REQUIRE(fi_cntr_set(pair.gate.get(), 5) == 0);
    REQUIRE(fi_cntr_set(other.get(), 5) == 0);
    CHECK(fi_cntr_read(pair.done.get()) == 1010);
    REQUIRE(fi_cntr_set(pair.gate.get(), 0) == 0);
    REQUIRE(fi_cntr_set(other.get(), 0) == 0);
    queue_two();
    REQUIRE(pair.control(FI_FLUSH_WORK, nullptr) == 0);
    REQUIRE(fi_cntr_set(pair.gate.get(), 5) == 0);
    REQUIRE(fi_cntr_set(other.get(), 5) == 0);
    CHECK(fi_cntr_read(pair.done.get()) == 1010);
}

TEST_CASE("deferred: a counter stays open while an operation is going to be counted by it")
{
    WorkPair pair;
    fi_deferred_work work{};
    std::uint64_t received = 0;
    Handle<fid_cntr> counter = open_counter(pair.domain);
    REQUIRE(pair.queue(work, FI_OP_RECV, 0, received, counter.get()) == 0);
    CHECK(fi_close(&counter->fid) == -FI_EBUSY);
    const std::uint64_t word = 3;
    REQUIRE(fi_inject(pair.a.ep.get(), &word, 8, pair.b_at_a) == 0);
    CHECK(fi_cntr_wait(counter.get(), 1, 60000) == 0);
    CHECK(received == word);
    CHECK(counter.close() == 0);
}

TEST_CASE("deferred: what cannot be done is refused when it is queued")
{
    WorkPair pair;
    fi_deferred_work work{};
    std::uint64_t word = 0;
    CHECK(pair.control(FI_QUEUE_WORK, nullptr) == -FI_EINVAL);
    CHECK(pair.queue(work, FI_OP_RECV, 1, word, pair.done.get(), FI_PEEK) == -FI_ENOSYS);
    CHECK(pair.queue(work, static_cast<fi_op_type>(FI_OP_CNTR_ADD + 1), 1, word, nullptr) == -FI_ENOSYS);
    CHECK(pair.queue_change(work, FI_OP_CNTR_ADD, 1, nullptr, 1) == -FI_EINVAL);
    fi_op_cntr change{pair.done.get(), 1};
    work = {};
    work.triggering_cntr = pair.gate.get();
    work.completion_cntr = pair.done.get(); // must be NULL
    work.op_type = FI_OP_CNTR_ADD;
    work.op.cntr = &change;
    CHECK(pair.control(FI_QUEUE_WORK, &work) == -FI_EINVAL);
    work.completion_cntr = nullptr;
    work.triggering_cntr = nullptr;
    CHECK(pair.control(FI_QUEUE_WORK, &work) == -FI_EINVAL);
    OpenDomain other("127.0.0.1", hints_for(work_options()));
    const Handle<fid_cntr> foreign = open_counter(other);
    CHECK(pair.queue(work, FI_OP_SEND, 1, word, foreign.get()) == -FI_EINVAL);
    fi_op_msg message{};
    TestEndpoint elsewhere(other, work_options());
    message.ep = elsewhere.ep.get();
    work = {};
    work.triggering_cntr = pair.gate.get();
    work.op_type = FI_OP_SEND;
    work.op.msg = &message;
    CHECK(pair.control(FI_QUEUE_WORK, &work) == -FI_EINVAL);
    CHECK(pair.control(FI_FLUSH_WORK, &pair.a.ep->fid) == -FI_EINVAL);
}
