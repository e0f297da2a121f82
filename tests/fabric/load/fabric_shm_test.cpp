// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Shared memory as an application meets it: everything takes it, sleepers are woken, and peers that die are
// told apart from those that live. Proof by the counter io_shm_packets. With FI_SRD_SHM=0 the same over UDP.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include <poll.h>
#include <sys/mman.h>

#include "fabric/atomic_support.hpp"
#include "fabric/load_support.hpp"
#include "support/child.hpp"

using namespace fabric_test;
using srd::test::Child;

namespace {

/// The provider reads its environment once, before the first test case.
const std::string folder = [] {
    char name[] = "/tmp/srd-shm.XXXXXX";
    const char* made = mkdtemp(name);
    const std::string path = made == nullptr ? "" : made;
    setenv("FI_SRD_STATS", (path + "/%p.json").c_str(), 1);
    setenv("FI_SRD_SHM", "1", 0);
    return path;
}();

/// After the last test case.
const struct Cleaner {
    Cleaner() = default;
    Cleaner(const Cleaner&) = delete;
    Cleaner& operator=(const Cleaner&) = delete;
    ~Cleaner() { std::filesystem::remove_all(folder); }
} cleaner;

/// What this process's endpoints have counted that were closed since the last call.
std::map<std::string, std::uint64_t> counted()
{
    REQUIRE_FALSE(folder.empty());
    const std::string path = folder + "/" + std::to_string(getpid()) + ".json";
    std::map<std::string, std::uint64_t> sums;
    std::ifstream lines(path);
    for (std::string line; std::getline(lines, line);) {
        for (const char* name : {"tx_packets", "io_shm_packets", "io_shm_messages", "tx_messages",
                                 "tx_writes", "tx_reads", "tx_atomics", "rx_messages"}) {
            const std::size_t at = line.find('"' + std::string(name) + "\":");
            REQUIRE(at != std::string::npos);
            sums[name] += std::stoull(line.substr(at + std::strlen(name) + 3));
        }
    }
    lines.close();
    REQUIRE(unlink(path.c_str()) == 0);
    return sums;
}

/// Most packets went through memory; with FI_SRD_SHM=0 none did.
void expect_memory(std::map<std::string, std::uint64_t> counters)
{
    if (std::strcmp(std::getenv("FI_SRD_SHM"), "0") == 0) {
        CHECK(counters["io_shm_packets"] == 0);
        CHECK(counters["io_shm_messages"] == 0);
        return;
    }
    const std::uint64_t messages = counters["io_shm_messages"];
    const std::uint64_t sent = counters["tx_packets"] + messages;
    const std::uint64_t by_memory = counters["io_shm_packets"] + messages;
    INFO(by_memory << " of " << sent << " packets and messages through memory");
    CHECK(sent > 0);
    CHECK(by_memory > sent / 2);
}

/// Memory that children share.
struct Meeting {
    std::atomic<bool> ready{false};
    std::array<std::byte, 64> address{};
    std::size_t size = 0;
    std::atomic<std::uint64_t> heard{0}; ///< messages
};

constexpr std::uint64_t last_tag = 1000000;
constexpr std::size_t longest = 70000; // more than is buffered: done when the peer has it, and not before

/// In a child: sends every tagged message back to where it came from, until the last one.
int echo(Meeting& meeting, std::uint16_t port)
{
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    static_cast<sockaddr_in*>(domain.info->src_addr)->sin_port = htons(port);
    TestEndpoint end(domain, Options{});
    const std::vector<std::byte> name = end.name();
    std::copy(name.begin(), name.end(), meeting.address.begin());
    meeting.size = name.size();
    meeting.ready = true;
    sockaddr_in parent{};
    fi_addr_t to = FI_ADDR_NOTAVAIL;
    std::vector<std::uint8_t> in(longest);
    for (std::uint64_t tag = 0; tag != last_tag;) {
        REQUIRE(fi_trecv(end.ep.get(), in.data(), in.size(), nullptr, FI_ADDR_UNSPEC, 0, ~std::uint64_t{0},
                         &in) == 0);
        while (end.ready.empty()) {
            end.poll();
            sched_yield();
        }
        REQUIRE_FALSE(end.ready.front().failed);
        const fi_cq_tagged_entry got = end.ready.front().good;
        end.ready.pop_front();
        ++meeting.heard;
        tag = got.tag;
        if (to == FI_ADDR_NOTAVAIL) { // the first message says where
            REQUIRE(got.len == sizeof(parent));
            std::memcpy(&parent, in.data(), sizeof(parent));
            REQUIRE(fi_av_insert(end.av.get(), &parent, 1, &to, 0, nullptr) == 1);
        }
        while (fi_tsend(end.ep.get(), in.data(), got.len, nullptr, to, tag, &end) == -FI_EAGAIN) {
            end.poll();
        }
        while (end.ready.empty()) {
            end.poll();
        }
        REQUIRE_FALSE(end.ready.front().failed);
        end.ready.pop_front();
    }
    return 0;
}

struct EchoProcess {
    srd::test::Shared<Meeting> meeting;
    Child child;

    explicit EchoProcess(std::uint16_t port = 0) : child([this, port] { return echo(*meeting, port); })
    {
        const Patience patience;
        while (!meeting->ready) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            REQUIRE_FALSE(patience.over());
        }
    }
    std::uint16_t port() const
    {
        sockaddr_in address{};
        std::memcpy(&address, meeting->address.data(), sizeof(address));
        return ntohs(address.sin_port);
    }
};

/// An endpoint that sends to echoes and counts what comes back.
struct Caller {
    OpenDomain domain{"127.0.0.1", hints_for(Options{})};
    TestEndpoint end{domain, Options{}};
    std::vector<std::uint8_t> in = std::vector<std::uint8_t>(longest);
    std::uint64_t failed = 0;
    std::uint64_t marked = 0; ///< completions whose context is this
    std::uint64_t back = 0;
    bool marked_over = true; ///< no operations are under way that are expected to fail

    fi_addr_t know(const EchoProcess& process)
    {
        fi_addr_t to = FI_ADDR_NOTAVAIL;
        REQUIRE(fi_av_insert(end.av.get(), process.meeting->address.data(), 1, &to, 0, nullptr) == 1);
        return to;
    }
    /// Says where we are.
    void greet(fi_addr_t to)
    {
        const std::vector<std::byte> name = end.name();
        call(to, 0, name.data(), name.size());
    }
    void sort_out()
    {
        end.poll();
        for (; !end.ready.empty(); end.ready.pop_front()) {
            const Entry& entry = end.ready.front();
            marked += entry.context() == &marked ? 1 : 0;
            if (entry.failed) {
                INFO(fi_strerror(entry.error.err));
                REQUIRE((entry.error.flags & FI_SEND) != 0);
                CHECK((entry.error.err == FI_ECONNREFUSED || entry.error.err == FI_ECONNRESET));
                ++failed;
            } else if ((entry.good.flags & FI_RECV) != 0) {
                ++back;
            }
        }
    }
    void call(fi_addr_t to, std::uint64_t tag, const void* data, std::size_t size)
    {
        const std::uint64_t before = back;
        REQUIRE(fi_trecv(end.ep.get(), in.data(), in.size(), nullptr, FI_ADDR_UNSPEC, tag, 0, &in) == 0);
        const Patience patience;
        std::uint64_t failed_before = failed;
        const auto send = [&] {
            while (fi_tsend(end.ep.get(), data, size, nullptr, to, tag, this) == -FI_EAGAIN) {
                sort_out();
                REQUIRE_FALSE(patience.over());
            }
        };
        send();
        while (back == before) {
            sort_out();
            REQUIRE_FALSE(patience.over());
            if (failed != failed_before && marked_over) {
                // News of the dead process may come while the next one at its address is being met.
                failed_before = failed;
                send();
            }
        }
    }
};

} // namespace

TEST_CASE("shm: messages, writes, reads and atomics of every length take it")
{
    {
        Options options = atomic_options();
        AtomicPair pair(options);
        const auto out = pattern(300000);
        std::vector<std::uint8_t> in(out.size());
        Handle<fid_mr> region;
        std::vector<std::uint8_t> target(out.size());
        REQUIRE(fi_mr_reg(pair.domain.domain.get(), target.data(), target.size(),
                          FI_REMOTE_READ | FI_REMOTE_WRITE, 0, 77, 0, region.out(), nullptr) == 0);
        for (std::size_t size = 1; size <= out.size(); size = size * 3 + 1) {
            for (int i = 0; i < 20; ++i) {
                REQUIRE(fi_trecv(pair.b.ep.get(), in.data(), size, nullptr, FI_ADDR_UNSPEC, 1, 0, &in) == 0);
                REQUIRE(pair.retry([&] {
                    return fi_tsend(pair.a.ep.get(), out.data(), size, nullptr, pair.b_at_a, 1, nullptr);
                }) == 0);
                REQUIRE_FALSE(pair.next(pair.a).failed);
                REQUIRE_FALSE(pair.next(pair.b).failed);
                REQUIRE(std::equal(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(size), out.begin()));
                REQUIRE(fi_write(pair.a.ep.get(), out.data(), size, nullptr, pair.b_at_a, 0, 77, nullptr) ==
                        0);
                REQUIRE_FALSE(pair.next(pair.a).failed);
                std::fill(in.begin(), in.end(), std::uint8_t{0});
                REQUIRE(fi_read(pair.a.ep.get(), in.data(), size, nullptr, pair.b_at_a, 0, 77, nullptr) == 0);
                REQUIRE_FALSE(pair.next(pair.a).failed);
                REQUIRE(std::equal(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(size), out.begin()));
                const std::uint64_t one = 1;
                std::uint64_t before = 0;
                REQUIRE(fi_fetch_atomic(pair.a.ep.get(), &one, 1, nullptr, &before, nullptr, pair.b_at_a, 0,
                                        key, FI_UINT64, FI_SUM, nullptr) == 0);
                pair.finish(fetched, nullptr);
                CHECK(pair.words[0] == before + 1);
            }
        }
    }
    auto counters = counted();
    expect_memory(counters);
    CHECK(counters["tx_messages"] > 0);
    CHECK(counters["tx_writes"] > 0);
    CHECK(counters["tx_reads"] > 0);
    CHECK(counters["tx_atomics"] > 0);
}

TEST_CASE("shm: an endpoint that may not use it stays off it, towards whoever may")
{
    constexpr int shared_memory_permitted = 11; // enum of fi_endpoint.h since libfabric 1.19
    constexpr std::uint64_t rounds = 200;
    std::size_t opened = 0;
    Options options;
    options.before_enable = [&](fid_ep* ep) {
        const bool permitted = false;
        if (opened++ == 0) { // one of the two
            REQUIRE(fi_setopt(&ep->fid, FI_OPT_ENDPOINT, shared_memory_permitted, &permitted,
                              sizeof(permitted)) == 0);
        }
    };
    {
        Pair pair(options);
        std::vector<std::uint8_t> out = pattern(longest);
        std::vector<std::uint8_t> in(longest);
        for (std::uint64_t tag = 0; tag != rounds; ++tag) {
            const bool forth = tag % 2 == 0;
            TestEndpoint& from = forth ? pair.a : pair.b;
            TestEndpoint& to = forth ? pair.b : pair.a;
            const std::size_t size = tag % 4 < 2 ? 8 : longest;
            REQUIRE(fi_trecv(to.ep.get(), in.data(), in.size(), nullptr, FI_ADDR_UNSPEC, tag, 0, &in) == 0);
            REQUIRE(pair.retry([&] {
                return fi_tsend(from.ep.get(), out.data(), size, nullptr, forth ? pair.b_at_a : pair.a_at_b,
                                tag, &out);
            }) == 0);
            CHECK_FALSE(pair.next(to).failed);
            CHECK_FALSE(pair.next(from).failed);
        }
        CHECK(in == out);
    }
    auto counters = counted();
    CHECK(counters["tx_messages"] == rounds);
    CHECK(counters["io_shm_packets"] == 0);
}

TEST_CASE("shm: whoever waits for a completion is woken")
{
    Options options;
    options.wait = FI_WAIT_FD;
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    const bool by_descriptor = GENERATE(true, false);
    INFO("progress " << options.progress << ", by descriptor " << by_descriptor);
    constexpr std::uint64_t rounds = 1000;
    {
        Pair pair(options);
        std::atomic<bool> good{true};
        const auto play = [&](TestEndpoint& end, fi_addr_t to, bool begins) {
            std::uint64_t out = 0;
            std::uint64_t in = 0;
            // One completion of a receive; those of sends pass by.
            const auto wait = [&] {
                const Patience patience;
                for (fi_cq_tagged_entry entry{}; !patience.over();) {
                    if (by_descriptor) {
                        int fd = -1;
                        fid* object = &end.cq->fid;
                        if (fi_control(object, FI_GETWAIT, &fd) != 0) {
                            return false;
                        }
                        if (fi_trywait(pair.domain.fabric.get(), &object, 1) == 0) {
                            pollfd waiting{fd, POLLIN, 0};
                            if (poll(&waiting, 1, 20000) != 1) {
                                return false;
                            }
                        }
                    }
                    const ssize_t count = by_descriptor
                                              ? fi_cq_read(end.cq.get(), &entry, 1)
                                              : fi_cq_sread(end.cq.get(), &entry, 1, nullptr, 20000);
                    if (count == 1 && (entry.flags & FI_RECV) != 0) {
                        return true;
                    }
                    if (count != 1 && (count != -FI_EAGAIN || !by_descriptor)) {
                        return false;
                    }
                }
                return false;
            };
            for (std::uint64_t i = 1; i <= rounds && good; ++i) {
                bool round = fi_trecv(end.ep.get(), &in, 8, nullptr, FI_ADDR_UNSPEC, i, 0, &in) == 0;
                out = i;
                round = round && (!begins || fi_tinject(end.ep.get(), &out, 8, to, i) == 0);
                round = round && wait() && in == i;
                round = round && (begins || fi_tinject(end.ep.get(), &out, 8, to, i) == 0);
                if (!round) {
                    good = false;
                }
            }
        };
        std::thread other([&] { play(pair.b, pair.a_at_b, false); });
        play(pair.a, pair.b_at_a, true);
        other.join();
        CHECK(good);
    }
    expect_memory(counted());
}

TEST_CASE("shm: a killed peer ends in errors as over the network, others go on, and its address serves again")
{
#ifdef __SANITIZE_THREAD__
    WARN("SKIPPED: ThreadSanitizer knows no threads of children that a process with threads has forked");
    return;
#endif
    {
        EchoProcess other;
        auto victim = std::make_unique<EchoProcess>();
        const std::uint16_t port = victim->port();
        Caller caller;
        const fi_addr_t to_other = caller.know(other);
        const fi_addr_t to_victim = caller.know(*victim);
        const std::vector<std::uint8_t> data = pattern(longest);
        caller.greet(to_other);
        for (int round = 0; round < 3; ++round) {
            caller.greet(to_victim);
            for (std::uint64_t i = 0; i < 300; ++i) {
                const std::size_t size = i % 20 == 0 ? longest : i * 5;
                caller.call(to_victim, 1 + i, data.data(), size);
                caller.call(to_other, 1 + i, data.data(), size);
            }
            // Messages are on their way in both directions at the moment of death, and more follow.
            const std::uint64_t failed_before = caller.failed;
            caller.marked = 0;
            caller.marked_over = false;
            // What is posted to the dead has to fail. Short ones may have been written into memory that it
            // has left unread.
            std::uint64_t posted = 0;
            std::uint64_t lost = 0;
            for (std::uint64_t i = 0; i < 60; ++i) {
                if (i == 30) {
                    victim->child.kill();
                }
                const bool is_long = i % 3 == 0;
                if (fi_tsend(caller.end.ep.get(), data.data(), is_long ? longest : 100, nullptr, to_victim,
                             500, &caller.marked) == 0) {
                    ++posted;
                    lost += is_long && i >= 30 ? 1 : 0;
                }
                caller.sort_out();
            }
            REQUIRE(lost > 0);
            const Patience patience(std::chrono::seconds(30));
            for (std::uint64_t tag = 1000; caller.marked < posted; ++tag) {
                caller.call(to_other, tag, data.data(), 1000); // goes on meanwhile
                REQUIRE_FALSE(patience.over());
            }
            CHECK(caller.failed >= failed_before + lost);
            caller.marked_over = true;
            victim = std::make_unique<EchoProcess>(port);
        }
        caller.greet(to_victim);
        caller.call(to_victim, last_tag, data.data(), 8);
        caller.call(to_other, last_tag, data.data(), 8);
        CHECK(victim->child.wait() == 0);
        CHECK(other.child.wait() == 0);
    }
    auto counters = counted();
    expect_memory(counters);
}

TEST_CASE("shm: what was posted with FI_MORE goes out with the next message, whichever way that takes")
{
    if (std::strcmp(std::getenv("FI_SRD_SHM"), "0") == 0) {
        WARN("skipped: without memory the echo waits for acknowledgements, which are progress of ours");
        return;
    }
    EchoProcess process;
    Caller caller;
    const fi_addr_t to = caller.know(process);
    caller.greet(to);
    std::vector<std::uint8_t> bytes = pattern(64);
    for (std::uint64_t tag = 1; tag < 1000; ++tag) { // by now messages go through memory
        caller.call(to, tag, bytes.data(), bytes.size());
    }
    for (int round = 0; round < 10; ++round) {
        const auto quiet = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
        while (std::chrono::steady_clock::now() < quiet) {
            caller.sort_out(); // nothing is under way, whose acknowledgement would send it
        }
        const std::uint64_t heard = process.meeting->heard;
        iovec piece{bytes.data(), bytes.size()};
        fi_msg_tagged in_packet{};
        in_packet.msg_iov = &piece;
        in_packet.iov_count = 1;
        in_packet.addr = to;
        in_packet.tag = 1;
        REQUIRE(fi_tsendmsg(caller.end.ep.get(), &in_packet,
                            FI_MORE | FI_DELIVERY_COMPLETE | FI_COMPLETION) == 0);
        REQUIRE(fi_tsend(caller.end.ep.get(), bytes.data(), bytes.size(), nullptr, to, 2, nullptr) == 0);
        const Patience patience;
        while (process.meeting->heard != heard + 2) { // we make no progress
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            REQUIRE_FALSE(patience.over());
        }
        std::vector<std::uint8_t> in(bytes.size());
        for (int i = 0; i < 2; ++i) {
            REQUIRE(fi_trecv(caller.end.ep.get(), in.data(), in.size(), nullptr, FI_ADDR_UNSPEC, 0,
                             ~std::uint64_t{0}, &in) == 0);
        }
        for (const std::uint64_t before = caller.back; caller.back != before + 2;) {
            caller.sort_out();
            REQUIRE_FALSE(patience.over());
        }
    }
    caller.call(to, last_tag, bytes.data(), bytes.size());
    CHECK(process.child.wait() == 0);
}
