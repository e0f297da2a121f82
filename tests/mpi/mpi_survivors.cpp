// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the survivors of a killed rank see under ULFM (Open MPI 5, mpirun
// --with-ft ulfm): whatever they wait in ends with an error within seconds, and
// they can agree, shrink the communicator and go on.
//   mpi_survivors --wait recv|any|allreduce|send [--within-ms N] [--bytes N]
// --wait: what survivors are in when the last rank is killed; "send" has 1 MiB
// under way to it. --bytes: of each message before and afterwards.
#include "mpi_support.hpp"

#include <csignal>
#include <string>
#include <unistd.h>

extern "C" {
// Weak: these are Open MPI 5's, and this program is compiled against Open MPI 4's header.
int MPIX_Comm_agree(MPI_Comm comm, int* flag) __attribute__((weak));
int MPIX_Comm_ack_failed(MPI_Comm comm, int num_to_ack, int* num_acked) __attribute__((weak));
int MPIX_Comm_shrink(MPI_Comm comm, MPI_Comm* newcomm) __attribute__((weak));
}

namespace {

using namespace mpi_test;

// mpi.h of Open MPI 5.
constexpr int err_proc_failed = 75;
constexpr int err_revoked = 77;
constexpr double head_start_s = 0.3; ///< from the last barrier to the kill: survivors are waiting by then

int class_of(int error)
{
    int error_class = MPI_SUCCESS;
    MPI_Error_class(error, &error_class);
    return error_class;
}

/// Every rank sends to its right neighbour in `comm` and checks what came from the left.
void exchange(MPI_Comm comm, std::size_t bytes, std::uint64_t serial)
{
    Ring ring;
    MPI_Comm_rank(comm, &ring.rank);
    MPI_Comm_size(comm, &ring.size);
    Bytes out(bytes);
    Bytes in(bytes);
    fill(out.data(), bytes, {ring.rank, ring.right(), serial});
    const int n = static_cast<int>(bytes);
    const int error = MPI_Sendrecv(out.data(), n, MPI_BYTE, ring.right(), 1, in.data(), n, MPI_BYTE,
                                   ring.left(), 1, comm, MPI_STATUS_IGNORE);
    require(error == MPI_SUCCESS, "exchange failed", class_of(error));
    count_sent(bytes);
    verify(in.data(), bytes, {ring.left(), ring.rank, serial}, "exchange: wrong data");
}

void sum_of_ones(MPI_Comm comm)
{
    int size = 0;
    MPI_Comm_size(comm, &size);
    int one = 1;
    int sum = 0;
    const int error = MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, comm);
    require(error == MPI_SUCCESS, "allreduce failed", class_of(error));
    require(sum == size, "allreduce: wrong sum", sum);
}

/// Waits, in the way that was asked for, for what only the victim can give; the error.
int wait_for_victim(const std::string& wait, int victim)
{
    Bytes data(1U << 20U);
    const int n = static_cast<int>(data.size());
    if (wait == "recv") {
        return MPI_Recv(data.data(), n, MPI_BYTE, victim, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    if (wait == "any") {
        return MPI_Recv(data.data(), n, MPI_BYTE, MPI_ANY_SOURCE, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    if (wait == "send") {
        return MPI_Send(data.data(), n, MPI_BYTE, victim, 2, MPI_COMM_WORLD);
    }
    require(wait == "allreduce", "--wait recv, any, allreduce or send");
    int one = 1;
    int sum = 0;
    return MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
}

/// The survivors agree that they saw it, and leave the victim behind.
MPI_Comm leave_behind(int survivors)
{
    int acked = 0;
    require(MPIX_Comm_ack_failed(MPI_COMM_WORLD, 1, &acked) == MPI_SUCCESS, "ack_failed failed");
    require(acked == 1, "ack_failed: so many failed", acked);
    int all = 1;
    const int agreed = MPIX_Comm_agree(MPI_COMM_WORLD, &all);
    require(agreed == MPI_SUCCESS && all == 1, "agree failed", class_of(agreed));
    MPI_Comm rest = MPI_COMM_NULL;
    const int shrunk = MPIX_Comm_shrink(MPI_COMM_WORLD, &rest);
    require(shrunk == MPI_SUCCESS, "shrink failed", class_of(shrunk));
    int size = 0;
    MPI_Comm_size(rest, &size);
    require(size == survivors, "shrink: wrong size", size);
    return rest;
}

const char* word_option(int argc, char** argv, const char* name, const char* fallback)
{
    for (int i = 1; i + 1 < argc; ++i) {
        if (std::strcmp(argv[i], name) == 0) {
            return argv[i + 1];
        }
    }
    return fallback;
}

} // namespace

int main(int argc, char** argv)
{
    Ring ring;
    start(ring, argc, argv);
    require(MPIX_Comm_shrink != nullptr && MPIX_Comm_agree != nullptr && MPIX_Comm_ack_failed != nullptr,
            "this MPI has no ULFM");
    const std::string wait = word_option(argc, argv, "--wait", "recv");
    const double within_s = static_cast<double>(option(argc, argv, "--within-ms", 5000)) / 1000;
    const std::size_t bytes = option(argc, argv, "--bytes", 100000);
    const int victim = ring.size - 1;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);

    for (int i = 0; i < 20; ++i) {
        exchange(MPI_COMM_WORLD, bytes, ++ring.serial);
    }
    sum_of_ones(MPI_COMM_WORLD);
    MPI_Barrier(MPI_COMM_WORLD);
    if (ring.rank == victim) {
        usleep(static_cast<useconds_t>(head_start_s * 1e6));
        kill(getpid(), SIGKILL);
    }
    const double began = MPI_Wtime();
    const int error = wait_for_victim(wait, victim);
    const double waited = MPI_Wtime() - began - head_start_s;
    const int error_class = class_of(error);
    std::printf("rank %d: %s: error class %d %.3f s after the kill\n", ring.rank, wait.c_str(), error_class,
                waited);
    std::fflush(stdout);
    require(error_class == err_proc_failed || error_class == err_revoked, "not the error of a failed process",
            error_class);
    require(waited < within_s, "told too late, ms", static_cast<long long>(waited * 1000));

    MPI_Comm rest = leave_behind(ring.size - 1);
    for (int i = 0; i < 20; ++i) {
        exchange(rest, bytes, ++ring.serial);
    }
    sum_of_ones(rest);
    std::uint64_t mine = bytes_sent.load();
    std::uint64_t sum = 0;
    MPI_Reduce(&mine, &sum, 1, MPI_UINT64_T, MPI_SUM, 0, rest);
    if (ring.rank == 0) {
        std::printf("payload bytes sent by all ranks: %llu\n", static_cast<unsigned long long>(sum));
        std::printf("mpi_survivors: %d of %d ranks went on, all data correct\n", ring.size - 1, ring.size);
    }
    MPI_Comm_free(&rest);
    MPI_Finalize();
    return 0;
}
