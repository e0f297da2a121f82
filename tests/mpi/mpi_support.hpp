// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the MPI test programs share: patterns that tell where every byte came
// from, checks that name the place of a difference, and a count of the payload
// bytes sent, which the runner compares with srd's own counters.
#pragma once

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace mpi_test {

using Bytes = std::vector<std::byte>;

/// Payload bytes that this rank handed to sends for other ranks. A lower bound
/// of what the transport carried: collectives are counted only where their
/// minimum is known.
inline std::atomic<std::uint64_t> bytes_sent{0};

/// Name of a stream of bytes: no two messages of a program share all of these.
struct Stream {
    int source = 0;
    int destination = 0;
    std::uint64_t serial = 0;
};

/// Ends the whole job, with the reason on stderr.
[[noreturn]] inline void fail(const char* what, long long detail = 0)
{
    int rank = -1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    std::fprintf(stderr, "rank %d: FAILED: %s (%lld)\n", rank, what, detail);
    std::fflush(stderr);
    MPI_Abort(MPI_COMM_WORLD, 1);
    std::abort();
}

inline void require(bool condition, const char* what, long long detail = 0)
{
    if (!condition) {
        fail(what, detail);
    }
}

inline std::uint64_t mix(std::uint64_t value)
{
    value += 0x9e3779b97f4a7c15U;
    value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9U;
    value = (value ^ (value >> 27U)) * 0x94d049bb133111ebU;
    return value ^ (value >> 31U);
}

/// The word at `index` of a stream; cheap enough for 64 MiB messages.
inline std::uint64_t word_of(std::uint64_t key, std::size_t index)
{
    return (key ^ index) * 0xd6e8feb86659fd93U;
}

inline std::uint64_t key_of(const Stream& stream)
{
    const auto ends = (static_cast<std::uint64_t>(static_cast<std::uint32_t>(stream.source)) << 32U) |
                      static_cast<std::uint32_t>(stream.destination);
    return mix(ends ^ mix(stream.serial));
}

inline void fill(std::byte* data, std::size_t size, const Stream& stream)
{
    const std::uint64_t key = key_of(stream);
    for (std::size_t at = 0; at < size; at += 8) {
        const std::uint64_t word = word_of(key, at / 8);
        std::memcpy(data + at, &word, size - at < 8 ? size - at : 8);
    }
}

/// Ends the job at the first byte that differs from what `fill` wrote.
inline void verify(const std::byte* data, std::size_t size, const Stream& stream, const char* where)
{
    const std::uint64_t key = key_of(stream);
    for (std::size_t at = 0; at < size; at += 8) {
        const std::uint64_t word = word_of(key, at / 8);
        if (std::memcmp(data + at, &word, size - at < 8 ? size - at : 8) != 0) {
            std::fprintf(stderr, "message %d -> %d, serial %llu, %zu bytes: wrong at byte %zu\n",
                         stream.source, stream.destination, static_cast<unsigned long long>(stream.serial),
                         size, at);
            fail(where, static_cast<long long>(at));
        }
    }
}

inline void count_sent(std::size_t bytes)
{
    bytes_sent.fetch_add(bytes, std::memory_order_relaxed);
}

/// Prints, on rank 0, the line that the runner reads. Collective.
inline void report_bytes_sent()
{
    std::uint64_t mine = bytes_sent.load();
    std::uint64_t sum = 0;
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Reduce(&mine, &sum, 1, MPI_UINT64_T, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0) {
        std::printf("payload bytes sent by all ranks: %llu\n", static_cast<unsigned long long>(sum));
        std::fflush(stdout);
    }
}

/// The ranks of a program, in a ring.
struct Ring {
    int rank = 0;
    int size = 0;
    std::uint64_t serial = 0; ///< of messages; advances alike on all ranks

    int right() const { return (rank + 1) % size; }
    int left() const { return (rank + size - 1) % size; }
};

/// Starts MPI. Ends the job unless there are two ranks at least.
inline void start(Ring& ring, int argc, char** argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &ring.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ring.size);
    require(ring.size >= 2, "needs two ranks at least");
}

/// Calls `round` once, and again until that many seconds are over; how often. Collective.
template <typename Round>
int repeat(std::uint64_t seconds, Round&& round)
{
    const double until = MPI_Wtime() + static_cast<double>(seconds);
    int rounds = 0;
    int more = 1;
    while (more != 0) {
        round();
        ++rounds;
        more = MPI_Wtime() < until ? 1 : 0;
        MPI_Bcast(&more, 1, MPI_INT, 0, MPI_COMM_WORLD);
    }
    return rounds;
}

/// Prints the line that tells of success, and ends MPI.
inline void finish(const Ring& ring, const char* program, int rounds)
{
    MPI_Barrier(MPI_COMM_WORLD);
    if (ring.rank == 0) {
        std::printf("%s: %d ranks, %d round(s), all data correct\n", program, ring.size, rounds);
    }
    MPI_Finalize();
}

/// Value of `--name N` on the command line, or the default.
inline std::uint64_t option(int argc, char** argv, const char* name, std::uint64_t fallback)
{
    for (int i = 1; i + 1 < argc; ++i) {
        if (std::strcmp(argv[i], name) == 0) {
            return std::strtoull(argv[i + 1], nullptr, 0);
        }
    }
    return fallback;
}

} // namespace mpi_test
