// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// MPI_THREAD_MULTIPLE: several threads of every rank exchange messages with
// all other ranks at the same time, half of them over one shared communicator
// (told apart by tag), half over a communicator of their own.
//   mpi_threads [--threads N] [--messages N]
#include "mpi_support.hpp"

#include <thread>

namespace {

using namespace mpi_test;

struct Lane {
    MPI_Comm comm = MPI_COMM_NULL;
    int tag = 0;
    int rank = 0;
    int size = 0;
    std::uint64_t messages = 0;
};

std::size_t size_of(std::uint64_t index)
{
    return index % 50 == 0 ? 90000 + index : mix(index) % 6000;
}

std::uint64_t serial_of(const Lane& lane, std::uint64_t index)
{
    return (static_cast<std::uint64_t>(lane.tag) << 40U) + index;
}

void exchange(const Lane& lane)
{
    for (std::uint64_t index = 0; index < lane.messages; ++index) {
        const auto shift = 1 + static_cast<int>(index % static_cast<std::uint64_t>(lane.size - 1));
        const int to = (lane.rank + shift) % lane.size;
        const int from = (lane.rank + lane.size - shift) % lane.size;
        const std::size_t size = size_of(index);
        Bytes out(size);
        Bytes in(size);
        fill(out.data(), size, {lane.rank, to, serial_of(lane, index)});
        MPI_Request requests[2];
        MPI_Irecv(in.data(), static_cast<int>(size), MPI_BYTE, from, lane.tag, lane.comm, &requests[0]);
        MPI_Isend(out.data(), static_cast<int>(size), MPI_BYTE, to, lane.tag, lane.comm, &requests[1]);
        count_sent(size);
        MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
        verify(in.data(), size, {from, lane.rank, serial_of(lane, index)}, "threads: wrong data");
    }
}

} // namespace

int main(int argc, char** argv)
{
    int provided = MPI_THREAD_SINGLE;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    if (provided < MPI_THREAD_MULTIPLE) {
        std::printf("SKIPPED: this MPI does not offer MPI_THREAD_MULTIPLE\n");
        MPI_Finalize();
        return 77;
    }
    Lane lane;
    MPI_Comm_rank(MPI_COMM_WORLD, &lane.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &lane.size);
    require(lane.size >= 2, "needs two ranks at least");
    const auto threads = static_cast<int>(option(argc, argv, "--threads", 4));
    lane.messages = option(argc, argv, "--messages", 600);

    std::vector<Lane> lanes(static_cast<std::size_t>(threads), lane);
    for (int t = 0; t < threads; ++t) {
        Lane& mine = lanes[static_cast<std::size_t>(t)];
        mine.tag = 100 + t;
        mine.comm = MPI_COMM_WORLD;
        if (t % 2 == 1) {
            MPI_Comm_dup(MPI_COMM_WORLD, &mine.comm);
        }
    }
    std::vector<std::thread> running;
    for (const Lane& mine : lanes) {
        running.emplace_back(exchange, mine);
    }
    for (std::thread& thread : running) {
        thread.join();
    }
    for (Lane& mine : lanes) {
        if (mine.comm != MPI_COMM_WORLD) {
            MPI_Comm_free(&mine.comm);
        }
    }
    report_bytes_sent();
    if (lane.rank == 0) {
        std::printf("mpi_threads: %d ranks of %d threads, all data correct\n", lane.size, threads);
    }
    MPI_Finalize();
    return 0;
}
