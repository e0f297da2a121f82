// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <cstdint>
#include <vector>

#include "link.hpp"

namespace bench {
namespace {

/// Rank 0: round-trip times of messages of `size` bytes for `duration_ns` (longer for min_samples of them, up
/// to four times as long), after a tenth of it as warm-up. `awaited`: every message has a completion; else it
/// is injected where the provider can.
void ping_pong(Link& link, std::size_t size, bool awaited, int rank, std::int64_t duration_ns)
{
    const auto send = [&](std::uint64_t tag) {
        if (awaited) {
            link.send(size, tag);
        } else {
            link.send_and_forget(size, tag);
        }
    };
    link.begin(size, 2);
    std::uint64_t turn = 0;
    std::vector<std::int64_t> samples;
    bool last = false;
    if (rank == 0) {
        samples.reserve(max_samples);
        const std::int64_t begin = now_ns();
        const std::int64_t record_from = begin + duration_ns / 10;
        const std::int64_t end = record_from + duration_ns;
        for (std::int64_t before = begin; !last;) {
            last = (before >= end && (samples.size() >= min_samples || before >= end + 3 * duration_ns)) ||
                   samples.size() == max_samples;
            send(tag_data | (last ? tag_last : 0));
            link.refill();
            ++turn;
            link.wait("the answer", [&] { return link.received() == turn; });
            const std::int64_t after = now_ns();
            if (before >= record_from && !last) {
                samples.push_back(after - before);
            }
            before = after;
        }
    }
    while (rank == 1 && !last) {
        ++turn;
        link.wait("the question", [&] { return link.received() == turn; });
        last = link.last_seen();
        send(tag_data);
        link.refill();
    }
    link.wait_sent();
    link.meet();
    if (rank == 0) {
        print_times(awaited ? "send_latency" : "latency", size, samples, 2);
    }
}

/// Keeps the window of sends posted for `duration_ns`, but never more messages on the way than the receiver
/// has receives posted: each of its one-byte answers tells that another window's worth is posted again.
/// Returns the nanoseconds until the receiver's final answer; sets `messages`.
std::int64_t send_stream(Link& link, std::size_t size, std::int64_t duration_ns, std::uint64_t& messages)
{
    const std::uint64_t window = link.window();
    const auto room = [&] { return messages < (link.received() + 2) * window; };
    link.begin(1, link.window());
    messages = 0;
    const std::int64_t begin = now_ns();
    while (now_ns() - begin < duration_ns) {
        while (room() && link.free_sends() != 0 && link.try_send(size, tag_data)) {
            ++messages;
        }
        link.poll();
        link.refill();
    }
    link.wait("room for the last message", room);
    ++messages;
    link.send(size, tag_data | tag_last | messages);
    link.refill();
    link.wait("the answer to the last message", [&] {
        link.refill();
        return link.received() == messages / window + 1;
    });
    return now_ns() - begin;
}

void receive_stream(Link& link, std::size_t size)
{
    link.begin(size, 2 * link.window());
    std::uint64_t answered = 0;
    while (!link.last_seen() || link.received() != link.last_count()) {
        const std::uint64_t before = link.received();
        link.wait("the stream", [&] { return link.received() != before; });
        link.refill();
        for (; link.received() - answered >= link.window(); answered += link.window()) {
            link.send(1, tag_data);
        }
    }
    link.send(1, tag_data);
}

/// One way from rank 0 to rank 1. Returns rank 0's elapsed nanoseconds and sets `messages`.
std::int64_t stream(Link& link, std::size_t size, int rank, std::int64_t duration_ns, std::uint64_t& messages)
{
    std::int64_t elapsed = 0;
    if (rank == 0) {
        elapsed = send_stream(link, size, duration_ns, messages);
    } else {
        receive_stream(link, size);
    }
    link.wait_sent();
    link.meet();
    link.refill();
    if (rank == 1) {
        link.control().write_number(link.received());
    } else if (link.control().read_number() != messages) {
        throw Error("the receiver did not get every message exactly once");
    }
    return elapsed;
}

} // namespace

void run_message_tests(Link& link, const Options& options)
{
    for (const auto* sizes : {&options.latency, &options.send_latency, &options.rate, &options.bandwidth}) {
        for (const std::size_t size : *sizes) {
            link.verify(size, options.rank);
        }
    }
    for (const std::size_t size : options.latency) {
        ping_pong(link, size, false, options.rank, options.point_ns());
    }
    for (const std::size_t size : options.send_latency) {
        ping_pong(link, size, true, options.rank, options.point_ns());
    }
    const auto streams = [&](const char* test, const std::vector<std::size_t>& sizes) {
        for (const std::size_t size : sizes) {
            std::uint64_t messages = 0;
            stream(link, size, options.rank, options.point_ns() / 10, messages);
            const std::int64_t elapsed = stream(link, size, options.rank, options.point_ns(), messages);
            if (options.rank == 0) {
                print_stream(test, size, messages, elapsed);
            }
        }
    };
    streams("rate", options.rate);
    streams("bandwidth", options.bandwidth);
}

} // namespace bench
