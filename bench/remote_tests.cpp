// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Writes, reads and atomics of the peer's memory. Rank 0 does everything; rank 1 only makes progress. A
// latency is the time from the call to the completion, which means that a write is there
// (FI_DELIVERY_COMPLETE) and that what was asked for is here.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "link.hpp"

namespace bench {
namespace {

/// Begins one operation; false: -FI_EAGAIN.
using Begin = std::function<bool()>;

/// Nanoseconds from call to completion of one operation at a time, for `duration_ns` (longer for min_samples
/// of them, up to four times as long), after a tenth of it as warm-up.
std::vector<std::int64_t> time_each(Link& link, const Begin& begin, std::int64_t duration_ns)
{
    std::vector<std::int64_t> samples;
    samples.reserve(max_samples);
    const std::int64_t record_from = now_ns() + duration_ns / 10;
    const std::int64_t end = record_from + duration_ns;
    std::int64_t before = now_ns();
    while (samples.size() < max_samples &&
           (before < end || (samples.size() < min_samples && before < end + 3 * duration_ns))) {
        link.wait("room for an operation", begin);
        link.wait_sent();
        const std::int64_t after = now_ns();
        if (before >= record_from) {
            samples.push_back(after - before);
        }
        before = after;
    }
    return samples;
}

/// Keeps the window of operations outstanding for `duration_ns`. Returns the nanoseconds until all have
/// completed; sets `count`.
std::int64_t time_all(Link& link, const Begin& begin, std::int64_t duration_ns, std::uint64_t& count)
{
    count = 0;
    const std::int64_t start = now_ns();
    do {
        while (link.free_sends() != 0 && begin()) {
            ++count;
        }
        link.poll();
    } while (now_ns() - start < duration_ns);
    link.wait_sent();
    return now_ns() - start;
}

/// One way of a ping-pong in memory: each rank writes the number of the turn into the other's memory and
/// waits until the other's answer shows up in its own. Whatever a provider calls complete, this is when data
/// is there.
void write_ping(Link& link, std::size_t size, int rank, std::int64_t duration_ns)
{
    constexpr std::uint64_t last_turn = ~std::uint64_t{0};
    // Written by the provider, or its NIC, behind the compiler's back.
    const auto* const seen = reinterpret_cast<const volatile std::uint64_t*>(link.rx_memory().data());
    std::fill_n(link.rx_memory().begin(), sizeof(*seen), std::byte{0});
    link.meet();
    std::vector<std::int64_t> samples;
    const auto write = [&](std::uint64_t turn) {
        std::memcpy(link.tx_memory().data(), &turn, sizeof(turn));
        link.write_and_forget({0, size});
    };
    if (rank == 0) {
        samples.reserve(max_samples);
        const std::int64_t record_from = now_ns() + duration_ns / 10;
        const std::int64_t end = record_from + duration_ns;
        std::int64_t before = now_ns();
        for (std::uint64_t turn = 1;
             samples.size() < max_samples &&
             (before < end || (samples.size() < min_samples && before < end + 3 * duration_ns));
             ++turn) {
            write(turn);
            link.wait("the answer in memory", [&] { return *seen == turn; });
            const std::int64_t after = now_ns();
            if (before >= record_from) {
                samples.push_back(after - before);
            }
            before = after;
        }
        write(last_turn);
    }
    for (std::uint64_t turn = 0; rank == 1 && turn != last_turn;) {
        link.wait("the question in memory", [&] { return *seen != turn; });
        turn = *seen;
        if (turn != last_turn) {
            write(turn);
        }
    }
    link.meet();
    if (rank == 0) {
        print_times("write_ping", size, samples, 2);
    }
}

/// Both ranks: rank 0 does `work`, rank 1 serves it, and both know that it is over.
void while_served(Link& link, int rank, const std::function<void()>& work)
{
    link.meet();
    if (rank == 0) {
        work();
        link.meet();
    } else {
        link.serve();
    }
}

void fill(std::vector<std::byte>& memory, std::size_t size, std::size_t seed)
{
    for (std::size_t offset = 0; offset < size; ++offset) {
        memory[offset] = pattern(seed, offset);
    }
}

void compare(const std::vector<std::byte>& memory, std::size_t size, std::size_t seed, const char* what)
{
    for (std::size_t offset = 0; offset < size; ++offset) {
        if (memory[offset] != pattern(seed, offset)) {
            throw Error(std::string("wrong data: ") + what + " of " + std::to_string(size) +
                        " bytes, offset " + std::to_string(offset));
        }
    }
}

/// Writes and reads `verify_messages` ranges of `size` bytes side by side; every byte is compared, and the
/// guards behind the last.
void verify_transfers(Link& link, std::size_t size, int rank)
{
    const std::size_t all = size * verify_messages;
    const auto each = [&](const char* what, bool (Link::*call)(Link::Range)) {
        for (std::size_t i = 0; i < verify_messages; ++i) {
            link.wait(what, [&] { return link.free_sends() != 0 && (link.*call)({i * size, size}); });
        }
        link.wait_sent();
    };
    fill(link.tx_memory(), all, 3);
    std::fill_n(link.rx_memory().begin(), all + guard_bytes, std::byte{0xA5});
    while_served(link, rank, [&] { each("room to write", &Link::try_write); });
    if (rank == 1) {
        compare(link.rx_memory(), all, 3, "write");
        for (std::size_t i = 0; i < guard_bytes; ++i) {
            if (link.rx_memory()[all + i] != std::byte{0xA5}) {
                throw Error("a write went beyond its end");
            }
        }
        fill(link.rx_memory(), all, 5);
    }
    while_served(link, rank, [&] { each("room to read", &Link::try_read); });
    if (rank == 0) {
        compare(link.tx_memory(), all, 5, "read");
    }
}

std::uint64_t word_at(const std::vector<std::byte>& memory, std::size_t at)
{
    std::uint64_t word = 0;
    std::memcpy(&word, memory.data() + at, sizeof(word));
    return word;
}

/// Prepares a count from zero; the operand is 1.
void reset_count(Link& link, int rank)
{
    const std::uint64_t value = rank == 0 ? 1 : 0;
    std::memcpy((rank == 0 ? link.tx_memory() : link.rx_memory()).data(), &value, sizeof(value));
}

/// Rank 1's word is what rank 0 has added, each exactly once.
void check_count(Link& link, int rank, std::uint64_t added)
{
    if (rank == 0) {
        link.control().write_number(added);
    } else if (const std::uint64_t wanted = link.control().read_number();
               word_at(link.rx_memory(), 0) != wanted) {
        throw Error("the counter shows " + std::to_string(word_at(link.rx_memory(), 0)) + " after " +
                    std::to_string(wanted) + " additions");
    }
}

void verify_fetch_add(Link& link, int rank)
{
    reset_count(link, rank);
    while_served(link, rank, [&] {
        for (std::uint64_t i = 0; i < verify_messages; ++i) {
            link.wait("room for an atomic", [&] { return link.try_fetch_add(); });
            link.wait_sent();
            if (word_at(link.tx_memory(), Link::result_offset) != i) {
                throw Error("fetch-add: a wrong old value");
            }
        }
    });
    check_count(link, rank, verify_messages);
}

void measure_fetch_add(Link& link, const Options& options)
{
    const Begin begin = [&] { return link.try_fetch_add(); };
    const int rank = options.rank;
    for (const std::size_t size : options.fetch_add_latency) {
        reset_count(link, rank);
        std::vector<std::int64_t> samples;
        std::uint64_t added = 0;
        while_served(link, rank, [&] {
            samples = time_each(
                link,
                [&] {
                    const bool begun = begin();
                    added += begun ? 1 : 0;
                    return begun;
                },
                options.point_ns());
        });
        check_count(link, rank, added);
        if (rank == 0) {
            print_times("fetch_add_latency", size, samples, 1);
        }
    }
    for (const std::size_t size : options.fetch_add_rate) {
        reset_count(link, rank);
        std::uint64_t warm_up = 0;
        std::uint64_t count = 0;
        std::int64_t elapsed = 0;
        while_served(link, rank, [&] {
            time_all(link, begin, options.point_ns() / 10, warm_up);
            elapsed = time_all(link, begin, options.point_ns(), count);
        });
        check_count(link, rank, warm_up + count);
        if (rank == 0) {
            print_stream("fetch_add_rate", size, count, elapsed);
        }
    }
}

/// Latency and bandwidth of `call`.
void measure_transfers(Link& link, const Options& options, bool (Link::*call)(Link::Range),
                       const char* latency_name, const std::vector<std::size_t>& latency_sizes,
                       const char* bandwidth_name, const std::vector<std::size_t>& bandwidth_sizes)
{
    for (const std::size_t size : latency_sizes) {
        while_served(link, options.rank, [&] {
            std::vector<std::int64_t> samples = time_each(
                link,
                [&] {
                    return (link.*call)({0, size});
                },
                options.point_ns());
            print_times(latency_name, size, samples, 1);
        });
    }
    for (const std::size_t size : bandwidth_sizes) {
        while_served(link, options.rank, [&] {
            const Begin begin = [&] { return (link.*call)({0, size}); };
            std::uint64_t count = 0;
            time_all(link, begin, options.point_ns() / 10, count);
            const std::int64_t elapsed = time_all(link, begin, options.point_ns(), count);
            print_stream(bandwidth_name, size, count, elapsed);
        });
    }
}

} // namespace

void run_remote_tests(Link& link, const Options& options)
{
    for (const auto* sizes :
         {&options.write_latency, &options.write_bandwidth, &options.read_latency, &options.read_bandwidth}) {
        for (const std::size_t size : *sizes) {
            verify_transfers(link, size, options.rank);
        }
    }
    for (const std::size_t size : options.write_ping) {
        write_ping(link, size, options.rank, options.point_ns());
    }
    measure_transfers(link, options, &Link::try_write, "write_latency", options.write_latency,
                      "write_bandwidth", options.write_bandwidth);
    measure_transfers(link, options, &Link::try_read, "read_latency", options.read_latency, "read_bandwidth",
                      options.read_bandwidth);
    if (link.can_fetch_add() && !(options.fetch_add_latency.empty() && options.fetch_add_rate.empty())) {
        verify_fetch_add(link, options.rank);
        measure_fetch_add(link, options);
    }
}

} // namespace bench
