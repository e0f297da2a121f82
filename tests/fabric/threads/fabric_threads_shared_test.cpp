// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Several threads and several endpoints at the same objects: one address vector, one queue, one counter for
// all, endpoints that come and go while others talk. Threads count what goes wrong; the test's own thread
// judges.
#include <atomic>
#include <memory>
#include <thread>

#include "fabric/load_support.hpp"

using namespace fabric_test;

namespace {

using Count = std::atomic<std::uint64_t>;

/// The objects of a domain that any number of endpoints share.
struct Shared {
    explicit Shared(const Options& options) : domain("127.0.0.1", hints_for(options))
    {
        fi_av_attr av_attr{};
        REQUIRE(fi_av_open(domain.domain.get(), &av_attr, av.out(), nullptr) == 0);
        fi_cq_attr cq_attr{};
        cq_attr.format = FI_CQ_FORMAT_TAGGED;
        cq_attr.wait_obj = options.wait;
        REQUIRE(fi_cq_open(domain.domain.get(), &cq_attr, cq.out(), nullptr) == 0);
        sent = open_counter(domain, options.wait);
        received = open_counter(domain, options.wait);
    }

    OpenDomain domain;
    Handle<fid_av> av;
    Handle<fid_cq> cq;
    Handle<fid_cntr> sent;
    Handle<fid_cntr> received;
};

/// An endpoint on shared objects, made and used without assertions, because any thread may do so.
struct Member {
    /// Adds to `wrong` if anything fails; then nothing else may be called.
    Member(Shared& shared, Count& wrong)
    {
        sockaddr_in name{};
        std::size_t size = sizeof(name);
        const bool made =
            fi_endpoint(shared.domain.domain.get(), shared.domain.info.get(), ep.out(), this) == 0 &&
            fi_ep_bind(ep.get(), &shared.av->fid, 0) == 0 &&
            fi_ep_bind(ep.get(), &shared.cq->fid, FI_TRANSMIT | FI_RECV) == 0 &&
            fi_ep_bind(ep.get(), &shared.sent->fid, FI_SEND) == 0 &&
            fi_ep_bind(ep.get(), &shared.received->fid, FI_RECV) == 0 && fi_enable(ep.get()) == 0 &&
            fi_getname(&ep->fid, &name, &size) == 0 &&
            fi_av_insert(shared.av.get(), &name, 1, &address, 0, nullptr) == 1;
        if (!made) {
            wrong.fetch_add(1);
        }
    }

    Handle<fid_ep> ep;
    fi_addr_t address = FI_ADDR_NOTAVAIL;
};

/// Reads one completion, which must be good. True if there was one.
bool read_one(fid_cq* cq, bool blocking, Count& wrong)
{
    fi_cq_tagged_entry entry{};
    const ssize_t got = blocking ? fi_cq_sread(cq, &entry, 1, nullptr, 100) : fi_cq_read(cq, &entry, 1);
    if (got != 1 && got != -FI_EAGAIN) {
        wrong.fetch_add(1);
    }
    return got == 1;
}

constexpr std::size_t sizes[] = {0, 8, 600, 5000, 17000, 70000};

std::uint8_t letter(std::uint64_t from, std::uint64_t index)
{
    return static_cast<std::uint8_t>(from * 31 + index * 7 + 1);
}

/// `members` endpoints on one vector, queue and pair of counters; every one has a thread that sends `count`
/// messages to the next one and receives as many from the one before.
void ring(const Options& options, std::uint64_t members, std::uint64_t count)
{
    const bool blocking = options.wait != FI_WAIT_NONE;
    Shared shared(options);
    Count wrong{0};
    Count completed{0};
    std::vector<std::unique_ptr<Member>> all;
    for (std::uint64_t i = 0; i < members; ++i) {
        all.push_back(std::make_unique<Member>(shared, wrong));
    }
    REQUIRE(wrong.load() == 0);
    const std::uint64_t wanted = 2 * members * count;
    const Patience patience;
    std::vector<std::thread> threads;
    for (std::uint64_t i = 0; i < members; ++i) {
        threads.emplace_back([&, i] {
            fid_ep* const own = all[i]->ep.get();
            const std::uint64_t left = (i + members - 1) % members;
            const fi_addr_t right = all[(i + 1) % members]->address;
            std::vector<std::vector<std::uint8_t>> in(count);
            std::vector<std::vector<std::uint8_t>> out(count);
            const auto retry = [&](auto&& call) {
                ssize_t result = 0;
                while ((result = call()) == -FI_EAGAIN && !patience.over()) {
                    completed.fetch_add(read_one(shared.cq.get(), false, wrong) ? 1 : 0);
                }
                wrong.fetch_add(result != 0 ? 1 : 0);
            };
            for (std::uint64_t m = 0; m < count; ++m) {
                const std::size_t size = sizes[m % std::size(sizes)];
                in[m].resize(size);
                out[m].assign(size, letter(i, m));
                retry([&] {
                    return fi_trecv(own, in[m].data(), size, nullptr, FI_ADDR_UNSPEC, m, 0, nullptr);
                });
                retry([&] { return fi_tsend(own, out[m].data(), size, nullptr, right, m, nullptr); });
                completed.fetch_add(read_one(shared.cq.get(), false, wrong) ? 1 : 0);
            }
            while (completed.load() < wanted && wrong.load() == 0 && !patience.over()) {
                completed.fetch_add(read_one(shared.cq.get(), blocking, wrong) ? 1 : 0);
            }
            for (std::uint64_t m = 0; m < count; ++m) { // everybody's completions have been read
                for (const std::uint8_t byte : in[m]) {
                    wrong.fetch_add(byte != letter(left, m) ? 1 : 0);
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(wrong.load() == 0);
    CHECK(completed.load() == wanted);
    CHECK(fi_cntr_read(shared.sent.get()) == members * count);
    CHECK(fi_cntr_read(shared.received.get()) == members * count);
    CHECK(fi_cntr_readerr(shared.sent.get()) + fi_cntr_readerr(shared.received.get()) == 0);
}

} // namespace

TEST_CASE("shared: endpoints with a thread each share vector, queue and counters")
{
    Options options;
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    options.wait = GENERATE(FI_WAIT_NONE, FI_WAIT_UNSPEC);
    ring(options, 4, scaled(600));
}

TEST_CASE("shared: threads that wait for a counter, one that reads the queue")
{
    Options options;
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    options.wait = FI_WAIT_UNSPEC;
    Shared shared(options);
    Count wrong{0};
    Member a(shared, wrong);
    Member b(shared, wrong);
    REQUIRE(wrong.load() == 0);
    const std::uint64_t count = scaled(300);
    std::vector<std::uint64_t> in(count);
    for (std::uint64_t& word : in) {
        REQUIRE(fi_recv(b.ep.get(), &word, 8, nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
    }
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
        threads.emplace_back([&] {
            for (std::uint64_t i = 1; i <= count; ++i) { // all of them wake at every message
                wrong.fetch_add(fi_cntr_wait(shared.received.get(), i, 60000) != 0 ? 1 : 0);
            }
        });
    }
    std::uint64_t completed = 0;
    const Patience patience;
    for (std::uint64_t i = 0; i < count; ++i) {
        ssize_t result = 0;
        while ((result = fi_inject(a.ep.get(), &i, 8, b.address)) == -FI_EAGAIN && !patience.over()) {
            completed += read_one(shared.cq.get(), false, wrong) ? 1 : 0;
        }
        REQUIRE(result == 0);
        while (completed <= i && !patience.over()) {
            completed += read_one(shared.cq.get(), true, wrong) ? 1 : 0;
        }
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(wrong.load() == 0);
    CHECK(completed == count);
    for (std::uint64_t i = 0; i < count; ++i) {
        REQUIRE(in[i] == i);
    }
}

TEST_CASE("shared: endpoints come and go on queues and vectors that others are using")
{
    Options options;
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    Shared shared(options);
    Count wrong{0};
    std::atomic<bool> stop{false};
    Member a(shared, wrong);
    Member b(shared, wrong);
    REQUIRE(wrong.load() == 0);
    Count posted{0};
    Count taken{0};
    Count echoes{0};
    const Patience patience;
    std::vector<std::thread> threads;
    threads.emplace_back([&] { // the lasting pair talks
        std::uint64_t value = 0;
        while (!stop.load() && !patience.over()) {
            std::uint64_t word = 0;
            const ssize_t receive = fi_trecv(b.ep.get(), &word, 8, nullptr, a.address, 1, 0, &word);
            wrong.fetch_add(receive != 0 ? 1 : 0);
            const std::uint64_t before = fi_cntr_read(shared.received.get());
            posted.fetch_add(1);
            while (fi_tinject(a.ep.get(), &++value, 8, b.address, 1) == -FI_EAGAIN) {
                --value;
                taken.fetch_add(read_one(shared.cq.get(), false, wrong) ? 1 : 0);
            }
            while (taken.load() < posted.load() && !patience.over()) {
                taken.fetch_add(read_one(shared.cq.get(), false, wrong) ? 1 : 0);
            }
            wrong.fetch_add(word != value || fi_cntr_read(shared.received.get()) < before + 1 ? 1 : 0);
            echoes.fetch_add(1);
        }
    });
    const std::uint64_t rounds = scaled(150);
    for (std::uint64_t i = 0; i < rounds; ++i) {
        Member guest(shared, wrong);
        REQUIRE(wrong.load() == 0);
        // What a guest that closes has not heard of yet is discarded, silently.
        std::uint64_t word = i;
        wrong.fetch_add(fi_trecv(guest.ep.get(), &word, 8, nullptr, FI_ADDR_UNSPEC, 2, 0, &word) != 0 ? 1
                                                                                                      : 0);
        fi_tinject(guest.ep.get(), &i, 8, a.address, 99);
        fi_tinject(a.ep.get(), &i, 8, guest.address, 98);
        fi_addr_t gone = guest.address;
        wrong.fetch_add(fi_av_remove(shared.av.get(), &gone, 1, 0) != 0 ? 1 : 0);
    }
    stop.store(true);
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(wrong.load() == 0);
    CHECK(echoes.load() > 0);
    CHECK_FALSE(patience.over());
}
