// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Latency, bandwidth and message rate by message size. The first half of the
// ranks is paired with the second half; all pairs run at the same time, and
// the figures are the mean latency and the sum of the bandwidths.
//   mpi_bench [--max-bytes N] [--milliseconds-per-size N] [--onesided 1 | --collectives 1]
// With --onesided: put, get, accumulate and fetch-and-op instead, each from the
// call to the end of its flush, in an epoch that stays open. With --collectives:
// exchanges between the pairs (MPI_Sendrecv), allreduce, alltoall (of `bytes` in
// all) and broadcast, among all ranks.
// Figures are shown, never judged; that the data is right is mpi_ring's work.
#include "mpi_support.hpp"

#include <algorithm>

namespace {

using namespace mpi_test;

constexpr int stream_window = 64;
constexpr int tag_ping = 1;
constexpr int tag_flood = 2;
constexpr int tag_done = 3;

struct Pair {
    int rank = 0;
    int size = 0;
    int peer = 0;
    bool first = false; // sends first
};

/// Seconds per round trip.
double ping_pong(const Pair& pair, Bytes& buffer, std::size_t size, int rounds)
{
    const int count = static_cast<int>(size);
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    for (int i = 0; i < rounds; ++i) {
        if (pair.first) {
            MPI_Send(buffer.data(), count, MPI_BYTE, pair.peer, tag_ping, MPI_COMM_WORLD);
            MPI_Recv(buffer.data(), count, MPI_BYTE, pair.peer, tag_ping, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else {
            MPI_Recv(buffer.data(), count, MPI_BYTE, pair.peer, tag_ping, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            MPI_Send(buffer.data(), count, MPI_BYTE, pair.peer, tag_ping, MPI_COMM_WORLD);
        }
    }
    count_sent(size * static_cast<std::size_t>(rounds));
    return (MPI_Wtime() - start) / rounds;
}

/// Seconds per message, one way, with a window of messages in flight.
double stream(const Pair& pair, Bytes& buffer, std::size_t size, int windows)
{
    const int count = static_cast<int>(size);
    MPI_Request requests[stream_window];
    char done = 0;
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    for (int i = 0; i < windows; ++i) {
        for (MPI_Request& request : requests) {
            if (pair.first) {
                MPI_Isend(buffer.data(), count, MPI_BYTE, pair.peer, tag_flood, MPI_COMM_WORLD, &request);
            } else {
                MPI_Irecv(buffer.data(), count, MPI_BYTE, pair.peer, tag_flood, MPI_COMM_WORLD, &request);
            }
        }
        MPI_Waitall(stream_window, requests, MPI_STATUSES_IGNORE);
    }
    // A sender is done when the receiver says that all has arrived.
    if (pair.first) {
        MPI_Recv(&done, 1, MPI_CHAR, pair.peer, tag_done, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        count_sent(size * static_cast<std::size_t>(stream_window) * static_cast<std::size_t>(windows));
    } else {
        MPI_Send(&done, 1, MPI_CHAR, pair.peer, tag_done, MPI_COMM_WORLD);
    }
    return (MPI_Wtime() - start) / windows / stream_window;
}

/// How many repetitions fill the time, agreed among all ranks.
int repetitions(double seconds_each, double budget, int most)
{
    double slowest = 0;
    MPI_Allreduce(&seconds_each, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return std::clamp(static_cast<int>(budget / std::max(slowest, 1e-7)), 2, most);
}

void measure(const Pair& pair, Bytes& buffer, std::size_t size, double budget)
{
    const double trip_guess = ping_pong(pair, buffer, size, size < 65536 ? 20 : 2);
    const double trip = ping_pong(pair, buffer, size, repetitions(trip_guess, budget / 2, 20000));
    const double each_guess = stream(pair, buffer, size, 1);
    const double each = stream(pair, buffer, size, repetitions(each_guess * stream_window, budget / 2, 2000));

    double sums[2] = {trip / 2 * 1e6, 1.0 / each};
    double totals[2] = {0, 0};
    if (!pair.first) {
        sums[0] = sums[1] = 0;
    }
    MPI_Reduce(sums, totals, 2, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    if (pair.rank == 0) {
        std::printf("%10zu %14.2f %14.1f %16.0f\n", size, totals[0] / (pair.size / 2),
                    totals[1] * static_cast<double>(size) / 1e6, totals[1]);
        std::fflush(stdout);
    }
}

/// Memory that the peer accesses, in an epoch that is open for all.
class Window {
public:
    explicit Window(std::size_t bytes) : memory_(bytes)
    {
        MPI_Info info = MPI_INFO_NULL;
        MPI_Info_create(&info); // what a program must say to get its NIC's atomics for a single word
        MPI_Info_set(info, "acc_single_intrinsic", "true");
        MPI_Info_set(info, "accumulate_ops", "same_op_no_op");
        // Memory that the library allocates would be shared among the ranks of a host.
        MPI_Win_create(memory_.data(), static_cast<MPI_Aint>(bytes), 1, info, MPI_COMM_WORLD, &window_);
        MPI_Info_free(&info);
        MPI_Win_lock_all(MPI_MODE_NOCHECK, window_);
        MPI_Barrier(MPI_COMM_WORLD);
    }
    ~Window()
    {
        MPI_Win_unlock_all(window_);
        MPI_Win_free(&window_);
    }
    Window(const Window&) = delete;
    Window& operator=(const Window&) = delete;
    MPI_Win get() const { return window_; }

private:
    Bytes memory_;
    MPI_Win window_ = MPI_WIN_NULL;
};

/// Seconds per operation: `operate` and a flush, one after the other, on the first half of the ranks. The
/// others wait in a barrier meanwhile, which makes progress.
template <typename Operate>
double time_operation(const Pair& pair, MPI_Win window, double budget, Operate&& operate)
{
    double each = 0;
    int rounds = 20;
    for (const bool warm_up : {true, false}) {
        MPI_Barrier(MPI_COMM_WORLD);
        const double start = MPI_Wtime();
        for (int i = 0; pair.first && i < rounds; ++i) {
            operate();
            MPI_Win_flush(pair.peer, window);
        }
        each = (MPI_Wtime() - start) / rounds;
        MPI_Barrier(MPI_COMM_WORLD);
        if (warm_up) {
            rounds = repetitions(pair.first ? each : 0, budget, 50000);
        }
    }
    return each;
}

void measure_onesided(const Pair& pair, Bytes& buffer, std::size_t size, double budget)
{
    const Window window(size);
    const int bytes = static_cast<int>(size);
    const int words = bytes / 8;
    const std::uint64_t one = 1;
    std::uint64_t before = 0;
    double sums[4] = {
        time_operation(pair, window.get(), budget / 4,
                       [&] {
                           MPI_Put(buffer.data(), bytes, MPI_BYTE, pair.peer, 0, bytes, MPI_BYTE,
                                   window.get());
                           count_sent(size);
                       }),
        time_operation(
            pair, window.get(), budget / 4,
            [&] { MPI_Get(buffer.data(), bytes, MPI_BYTE, pair.peer, 0, bytes, MPI_BYTE, window.get()); }),
        time_operation(pair, window.get(), budget / 4,
                       [&] {
                           MPI_Accumulate(buffer.data(), words, MPI_UINT64_T, pair.peer, 0, words,
                                          MPI_UINT64_T, MPI_SUM, window.get());
                       }),
        time_operation(
            pair, window.get(), budget / 4,
            [&] { MPI_Fetch_and_op(&one, &before, MPI_UINT64_T, pair.peer, 0, MPI_SUM, window.get()); }),
    };
    for (double& sum : sums) {
        sum = pair.first ? sum * 1e6 : 0;
    }
    double totals[4] = {};
    MPI_Reduce(sums, totals, 4, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    if (pair.rank == 0) {
        const double pairs = pair.size / 2;
        std::printf("%10zu %14.2f %14.2f %14.2f %14.2f\n", size, totals[0] / pairs, totals[1] / pairs,
                    totals[2] / pairs, totals[3] / pairs);
        std::fflush(stdout);
    }
}

/// Seconds per call of this rank. `rounds`: before those that count.
template <typename Call>
double time_collective(double budget, int rounds, Call&& call)
{
    double each = 0;
    for (const bool warm_up : {true, false}) {
        MPI_Barrier(MPI_COMM_WORLD);
        const double start = MPI_Wtime();
        for (int i = 0; i < rounds; ++i) {
            call();
        }
        each = (MPI_Wtime() - start) / rounds;
        if (warm_up) {
            rounds = repetitions(each, budget, 20000);
        }
    }
    return each;
}

void measure_collectives(const Pair& pair, Bytes& buffer, std::size_t size, double budget)
{
    Bytes other(size);
    const int bytes = static_cast<int>(size);
    const int words = bytes / 8;
    const int share = bytes / pair.size;
    const int warm_up = size < 65536 ? 200 : 3;
    const double times[4] = {
        time_collective(budget / 4, warm_up,
                        [&] {
                            MPI_Sendrecv(buffer.data(), bytes, MPI_BYTE, pair.peer, tag_ping, other.data(),
                                         bytes, MPI_BYTE, pair.peer, tag_ping, MPI_COMM_WORLD,
                                         MPI_STATUS_IGNORE);
                            count_sent(size);
                        }),
        time_collective(budget / 4, warm_up,
                        [&] {
                            MPI_Allreduce(buffer.data(), other.data(), words, MPI_UINT64_T, MPI_SUM,
                                          MPI_COMM_WORLD);
                        }),
        time_collective(budget / 4, warm_up,
                        [&] {
                            MPI_Alltoall(buffer.data(), share, MPI_BYTE, other.data(), share, MPI_BYTE,
                                         MPI_COMM_WORLD);
                        }),
        time_collective(budget / 4, warm_up,
                        [&] { MPI_Bcast(buffer.data(), bytes, MPI_BYTE, 0, MPI_COMM_WORLD); }),
    };
    double totals[4] = {};
    MPI_Reduce(times, totals, 4, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    if (pair.rank == 0) {
        std::printf("%10zu", size);
        for (const double total : totals) {
            std::printf(" %14.2f", total / pair.size * 1e6);
        }
        std::printf("\n");
        std::fflush(stdout);
    }
}

} // namespace

int main(int argc, char** argv)
{
    MPI_Init(&argc, &argv);
    Pair pair;
    MPI_Comm_rank(MPI_COMM_WORLD, &pair.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &pair.size);
    require(pair.size >= 2 && pair.size % 2 == 0, "needs an even number of ranks", pair.size);
    pair.first = pair.rank < pair.size / 2;
    pair.peer = (pair.rank + pair.size / 2) % pair.size;
    const std::size_t max_bytes = option(argc, argv, "--max-bytes", 4U << 20U);
    const double budget = static_cast<double>(option(argc, argv, "--milliseconds-per-size", 400)) / 1000;

    Bytes buffer(std::max<std::size_t>(max_bytes, 1));
    fill(buffer.data(), buffer.size(), {pair.rank, pair.peer, 0});
    const bool onesided = option(argc, argv, "--onesided", 0) != 0;
    const bool collectives = option(argc, argv, "--collectives", 0) != 0;
    if (pair.rank == 0 && onesided) {
        std::printf("%10s %14s %14s %14s %14s   (us)\n", "bytes", "put", "get", "accumulate", "fetch-and-op");
    } else if (pair.rank == 0 && collectives) {
        std::printf("%10s %14s %14s %14s %14s   (us)\n", "bytes", "exchange", "allreduce", "alltoall",
                    "broadcast");
    } else if (pair.rank == 0) {
        std::printf("%10s %14s %14s %16s\n", "bytes", "latency us", "MB/s", "messages/s");
    }
    for (std::size_t size = onesided || collectives ? 8 : 0; size <= max_bytes;
         size = size == 0 ? 8 : size * 4) {
        if (collectives) {
            measure_collectives(pair, buffer, size, budget);
        } else if (onesided) {
            measure_onesided(pair, buffer, size, budget);
        } else {
            measure(pair, buffer, size, budget);
        }
    }
    report_bytes_sent();
    MPI_Finalize();
    return 0;
}
