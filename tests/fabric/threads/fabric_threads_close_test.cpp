// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Closing and cancelling in the middle of traffic: every operation that was accepted completes exactly once
// on the side that stays, whatever the other side does.
#include <atomic>
#include <optional>
#include <thread>

#include "fabric/load_support.hpp"

using namespace fabric_test;

namespace {

struct Tally {
    std::uint64_t accepted = 0;
    std::uint64_t good = 0;
    std::uint64_t failed = 0;
    std::uint64_t unknown = 0; ///< completions that are not of `accepted`, or its second ones

    void read(fid_cq* cq, std::vector<bool>& open)
    {
        fi_cq_tagged_entry entry{};
        fi_cq_err_entry error{};
        const ssize_t got = fi_cq_read(cq, &entry, 1);
        if (got == -FI_EAGAIN) {
            return;
        }
        void* context = entry.op_context;
        if (got == -FI_EAVAIL && fi_cq_readerr(cq, &error, 0) == 1) {
            context = error.op_context;
            ++failed;
        } else {
            ++good;
        }
        const auto index = reinterpret_cast<std::uintptr_t>(context) - 1;
        if (index >= open.size() || !open[index]) {
            ++unknown;
        } else {
            open[index] = false;
        }
    }
};

/// Closed without an assertion, which only the test's own thread may make.
template <typename Object>
struct Plain {
    Plain() = default;
    Plain(const Plain&) = delete;
    Plain& operator=(const Plain&) = delete;
    ~Plain()
    {
        if (object != nullptr && fi_close(&object->fid) != 0) {
            std::abort();
        }
    }
    Object* object = nullptr;
};

void* context_of(std::size_t index)
{
    return reinterpret_cast<void*>(index + 1); // NOLINT: a number that comes back
}

/// A domain of its own whose endpoint sends four messages and closes after some reads of its queue.
/// False if something went wrong.
bool send_and_close(OpenDomain& domain, const std::vector<std::byte>& address,
                    const std::vector<std::uint8_t>& data, std::uint64_t reads)
{
    Plain<fid_domain> here;
    Plain<fid_av> av;
    Plain<fid_cq> cq;
    Plain<fid_ep> ep;
    fi_av_attr av_attr{};
    fi_cq_attr cq_attr{};
    fi_addr_t to = FI_ADDR_NOTAVAIL;
    fi_info* const info = domain.info.get();
    bool good = fi_domain(domain.fabric.get(), info, &here.object, nullptr) == 0 &&
                fi_av_open(here.object, &av_attr, &av.object, nullptr) == 0 &&
                fi_cq_open(here.object, &cq_attr, &cq.object, nullptr) == 0 &&
                fi_endpoint(here.object, info, &ep.object, nullptr) == 0 &&
                fi_ep_bind(ep.object, &av.object->fid, 0) == 0 &&
                fi_ep_bind(ep.object, &cq.object->fid, FI_TRANSMIT | FI_RECV) == 0 &&
                fi_enable(ep.object) == 0 && fi_av_insert(av.object, address.data(), 1, &to, 0, nullptr) == 1;
    for (int i = 0; i < 4 && good; ++i) {
        good = fi_send(ep.object, data.data(), data.size(), nullptr, to, nullptr) == 0;
    }
    fi_cq_entry entry{};
    for (std::uint64_t i = 0; i < reads && good; ++i) {
        fi_cq_read(cq.object, &entry, 1);
    }
    return good;
}

/// The endpoint is as good as new: a word reaches it.
void expect_a_word(TestEndpoint& receiver, TestEndpoint& sender)
{
    const fi_addr_t to = sender.insert(receiver);
    std::uint64_t word = 0;
    const std::uint64_t answer = 42;
    const Patience patience;
    REQUIRE(fi_trecv(receiver.ep.get(), &word, 8, nullptr, FI_ADDR_UNSPEC, 1, 0, &word) == 0);
    REQUIRE(fi_tinject(sender.ep.get(), &answer, 8, to, 1) == 0);
    // Until its completion the word belongs to the provider, whose thread may be writing it.
    bool completed = false;
    while (!completed && !patience.over()) {
        sender.poll();
        receiver.poll();
        while (!receiver.ready.empty() && receiver.ready.front().context() != &word) {
            receiver.ready.pop_front();
        }
        completed = !receiver.ready.empty();
    }
    REQUIRE(completed);
    CHECK(word == answer);
}

} // namespace

TEST_CASE("close: the receiver goes in the middle of traffic, and every send completes once")
{
    Options options;
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    constexpr std::size_t sizes[] = {8, 3000, 40000, 400000};
    const std::vector<std::uint8_t> data = pattern(400000);
    std::uint64_t failed = 0;
    for (std::uint64_t round = 0; round < scaled(20); ++round) {
        OpenDomain there("127.0.0.1", hints_for(options));
        OpenDomain here("127.0.0.1", hints_for(options));
        std::optional<TestEndpoint> receiver(std::in_place, there, options);
        TestEndpoint sender(here, options);
        const fi_addr_t to = sender.insert(*receiver);
        std::vector<std::vector<std::uint8_t>> in(8, std::vector<std::uint8_t>(400000));
        std::atomic<std::uint64_t> received{0};
        std::atomic<bool> gone{false};
        std::thread other([&] {
            const std::uint64_t enough = 10 + 7 * round;
            std::uint64_t posted = 0;
            const Patience patience;
            while (received.load() < enough && !patience.over()) {
                while (posted < received.load() + in.size()) {
                    auto& buffer = in[posted++ % in.size()];
                    fi_recv(receiver->ep.get(), buffer.data(), buffer.size(), nullptr, FI_ADDR_UNSPEC,
                            nullptr);
                }
                fi_cq_tagged_entry entry{};
                received.fetch_add(fi_cq_read(receiver->cq.get(), &entry, 1) == 1 ? 1 : 0);
            }
            receiver->ep.close();
            gone.store(true);
        });
        Tally tally;
        std::vector<bool> open;
        const Patience patience;
        while (!gone.load() && !patience.over()) { // keeps fifty on their way
            if (tally.accepted - tally.good - tally.failed < 50) {
                const std::size_t size = sizes[tally.accepted % std::size(sizes)];
                open.push_back(true);
                const ssize_t result =
                    fi_send(sender.ep.get(), data.data(), size, nullptr, to, context_of(open.size() - 1));
                if (result == 0) {
                    ++tally.accepted;
                } else {
                    open.pop_back();
                    CHECK(result == -FI_EAGAIN);
                }
            }
            tally.read(sender.cq.get(), open);
        }
        other.join();
        while (tally.good + tally.failed < tally.accepted && !patience.over()) {
            tally.read(sender.cq.get(), open);
        }
        for (int i = 0; i < 100; ++i) {
            tally.read(sender.cq.get(), open);
        }
        CHECK(tally.good + tally.failed == tally.accepted);
        CHECK(tally.unknown == 0);
        CHECK(tally.good >= received.load());
        failed += tally.failed;
    }
    CHECK(failed > 0); // or nothing was closed in the middle of anything
}

TEST_CASE("close: the sender goes in the middle of traffic, and the receiver goes on with others")
{
    Options options;
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    OpenDomain domain("127.0.0.1", hints_for(options));
    TestEndpoint receiver(domain, options);
    const auto address = receiver.name();
    constexpr std::size_t size = 200000;
    const std::vector<std::uint8_t> data = pattern(size);
    std::atomic<std::uint64_t> wrong{0};
    std::atomic<bool> over{false};
    std::thread senders([&] {
        for (std::uint64_t round = 0; round < scaled(40); ++round) {
            // closes anywhere in between
            wrong.fetch_add(send_and_close(domain, address, data, 200 * (round % 5)) ? 0 : 1);
        }
        over.store(true);
    });
    // A receive that was matched and then abandoned fails; the others deliver whole messages.
    std::vector<std::vector<std::uint8_t>> in(4, std::vector<std::uint8_t>(size));
    std::uint64_t good = 0;
    const Patience patience;
    for (auto& buffer : in) {
        REQUIRE(fi_recv(receiver.ep.get(), buffer.data(), size, nullptr, FI_ADDR_UNSPEC, &buffer) == 0);
    }
    while (!over.load() && !patience.over()) {
        receiver.poll();
        if (receiver.ready.empty()) {
            continue;
        }
        auto& buffer = *static_cast<std::vector<std::uint8_t>*>(receiver.ready.front().context());
        if (!receiver.ready.front().failed) {
            ++good;
            CHECK(buffer == data);
        }
        receiver.ready.pop_front();
        REQUIRE(fi_recv(receiver.ep.get(), buffer.data(), size, nullptr, FI_ADDR_UNSPEC, &buffer) == 0);
    }
    senders.join();
    CHECK(wrong.load() == 0);
    CHECK(good > 0);
    for (auto& buffer : in) {
        fi_cancel(&receiver.ep->fid, &buffer);
    }
    TestEndpoint last(domain, options);
    expect_a_word(receiver, last);
}

TEST_CASE("close: receives that are cancelled while their messages arrive complete once, with or without")
{
    Options options;
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    Pair pair(options);
    const std::uint64_t count = scaled(3000);
    std::atomic<bool> wrong{false};
    std::vector<std::uint64_t> in(count, 0);
    std::thread sender([&] {
        const Patience patience;
        for (std::uint64_t i = 1; i <= count; ++i) {
            ssize_t result = 0;
            while ((result = fi_inject(pair.a.ep.get(), &i, 8, pair.b_at_a)) == -FI_EAGAIN &&
                   !patience.over()) {
                fi_cq_read(pair.a.cq.get(), nullptr, 0);
            }
            if (result != 0) {
                wrong.store(true);
            }
        }
    });
    Tally tally;
    std::vector<bool> open(count, true);
    const Patience patience;
    for (std::uint64_t i = 0; i < count; ++i) {
        REQUIRE(fi_recv(pair.b.ep.get(), &in[i], 8, nullptr, FI_ADDR_UNSPEC, context_of(i)) == 0);
        ++tally.accepted;
        if (i % 2 == 0) {
            fi_cancel(&pair.b.ep->fid, context_of(i));
        }
        tally.read(pair.b.cq.get(), open);
    }
    sender.join();
    // The messages whose receives were cancelled are still there for others.
    while (tally.good < count && !patience.over()) {
        tally.read(pair.b.cq.get(), open);
        pair.a.poll();
        if (tally.good + tally.failed == tally.accepted) {
            open.push_back(true);
            in.push_back(0);
            REQUIRE(fi_recv(pair.b.ep.get(), in.data() + in.size() - 1, 8, nullptr, FI_ADDR_UNSPEC,
                            context_of(open.size() - 1)) == 0);
            ++tally.accepted;
            while (tally.good + tally.failed < tally.accepted && !patience.over()) {
                tally.read(pair.b.cq.get(), open);
                pair.a.poll();
            }
        }
    }
    CHECK_FALSE(wrong.load());
    CHECK(tally.good == count);
    CHECK(tally.unknown == 0);
    std::uint64_t next = 1; // in the order in which they were sent
    for (const std::uint64_t word : in) {
        if (word != 0) {
            REQUIRE(word == next++);
        }
    }
    CHECK(next == count + 1);
}
