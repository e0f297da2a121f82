// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the two processes of a benchmark share besides the network under test:
// a stream socket (one end of a socketpair that bench/compare hands to each),
// pinning, a clock, and the summary of a set of samples.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

namespace bench {

class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail_errno(const char* what)
{
    throw Error(std::string(what) + ": " + std::strerror(errno));
}

/// Monotonic nanoseconds.
inline std::int64_t now_ns()
{
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

/// Binds the calling thread to `cpu`; negative: leaves it alone.
inline void pin_to_cpu(int cpu)
{
    if (cpu < 0) {
        return;
    }
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(cpu), &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        fail_errno("sched_setaffinity");
    }
}

/// Out-of-band channel to the other process. Loss rules never touch it: it is a local socket.
class Control {
public:
    Control(int fd, std::int64_t timeout_ns) : fd_(fd), timeout_ns_(timeout_ns) {}

    void write(std::span<const std::byte> bytes) const
    {
        while (!bytes.empty()) {
            const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent <= 0) {
                fail_errno("control channel");
            }
            bytes = bytes.subspan(static_cast<std::size_t>(sent));
        }
    }

    /// Blocks up to the timeout for all of `bytes`.
    void read(std::span<std::byte> bytes) const
    {
        while (!bytes.empty()) {
            pollfd entry{fd_, POLLIN, 0};
            if (::poll(&entry, 1, static_cast<int>(timeout_ns_ / 1'000'000)) <= 0) {
                throw Error("control channel: the other process does not answer");
            }
            const ssize_t got = ::recv(fd_, bytes.data(), bytes.size(), 0);
            if (got <= 0) {
                throw Error("control channel: the other process is gone");
            }
            bytes = bytes.subspan(static_cast<std::size_t>(got));
        }
    }

    /// True if read() would find something. Throws when the other process is gone.
    bool readable() const
    {
        pollfd entry{fd_, POLLIN | POLLRDHUP, 0};
        if (::poll(&entry, 1, 0) <= 0) {
            return false;
        }
        if ((entry.revents & POLLIN) != 0) {
            char peeked = 0;
            if (::recv(fd_, &peeked, 1, MSG_PEEK | MSG_DONTWAIT) == 1) {
                return true;
            }
        }
        throw Error("control channel: the other process is gone");
    }

    void write_number(std::uint64_t number) const { write(std::as_bytes(std::span(&number, 1))); }
    std::uint64_t read_number() const
    {
        std::uint64_t number = 0;
        read(std::as_writable_bytes(std::span(&number, 1)));
        return number;
    }

private:
    int fd_;
    std::int64_t timeout_ns_;
};

/// "64,1024" to numbers; an empty text is an empty list.
inline std::vector<std::size_t> parse_sizes(const char* text)
{
    std::vector<std::size_t> sizes;
    while (*text != '\0') {
        char* end = nullptr;
        sizes.push_back(std::strtoul(text, &end, 10));
        if (end == text || (*end != ',' && *end != '\0')) {
            throw Error(std::string("not a list of sizes: ") + text);
        }
        text = *end == ',' ? end + 1 : end;
    }
    return sizes;
}

/// Prints one JSON line about times of single operations, in nanoseconds, each divided by `divisor`; sorts
/// them.
inline void print_times(const char* test, std::size_t size, std::vector<std::int64_t>& times, int divisor)
{
    if (times.empty()) {
        throw Error(std::string(test) + ": not one operation within the time");
    }
    std::sort(times.begin(), times.end());
    double sum = 0;
    for (const std::int64_t sample : times) {
        sum += static_cast<double>(sample);
    }
    const auto count = static_cast<double>(times.size());
    const double unit = 1000.0 * divisor;
    const auto in_us = [&](double quantile) {
        const auto index = static_cast<std::size_t>(quantile * (count - 1) + 0.5);
        return static_cast<double>(times[index]) / unit;
    };
    std::printf("{\"test\": \"%s\", \"size\": %zu, \"samples\": %zu, \"mean_us\": %.3f, \"min_us\": %.3f, "
                "\"p50_us\": %.3f, \"p99_us\": %.3f, \"p999_us\": %.3f, \"max_us\": %.3f}\n",
                test, size, times.size(), sum / count / unit, in_us(0), in_us(0.5), in_us(0.99), in_us(0.999),
                in_us(1));
    std::fflush(stdout);
}

/// Of a ping-pong, by its round trips: a one-way time is half of one.
inline void print_latency(std::size_t size, std::vector<std::int64_t>& round_trips)
{
    print_times("latency", size, round_trips, 2);
}

/// Prints one JSON line about a stream of messages. `test`: its name in the report.
inline void print_stream(const char* test, std::size_t size, std::uint64_t messages, std::int64_t elapsed_ns)
{
    const double seconds = static_cast<double>(elapsed_ns) * 1e-9;
    const double rate = static_cast<double>(messages) / seconds;
    std::printf("{\"test\": \"%s\", \"size\": %zu, \"messages\": %llu, \"seconds\": %.4f, \"mmsg_s\": %.6f, "
                "\"gb_s\": %.6f}\n",
                test, size, static_cast<unsigned long long>(messages), seconds, rate * 1e-6,
                rate * static_cast<double>(size) * 1e-9);
    std::fflush(stdout);
}

} // namespace bench
