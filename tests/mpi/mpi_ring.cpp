// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Correctness of MPI over the provider under test, for any number of ranks
// from two up: every received byte is compared with what was sent.
//   mpi_ring [--max-bytes N] [--flood N] [--seconds N]
// With --seconds the whole list is repeated (with other data) for that long,
// so that something can be broken in the network meanwhile.
#include "mpi_support.hpp"

#include <algorithm>
#include <string>

namespace {

using namespace mpi_test;

struct Job : Ring {
    std::size_t max_bytes = 64U << 20U;
    std::uint64_t flood = 4000;
};

void step(const Job& job, const char* name)
{
    MPI_Barrier(MPI_COMM_WORLD);
    if (job.rank == 0) {
        std::printf("  %s\n", name);
        std::fflush(stdout);
    }
}

/// Sizes around every limit that a transport is likely to have.
std::vector<std::size_t> sizes_up_to(std::size_t max_bytes)
{
    std::vector<std::size_t> sizes = {0, 1, 7, 8, 9, 63, 64, 65, 255, 1000};
    for (const std::size_t edge : {1024U, 1472U, 4096U, 8192U, 16384U, 65507U, 65536U, 262144U}) {
        sizes.insert(sizes.end(), {edge - 1, edge, edge + 1});
    }
    for (std::size_t size = 1U << 20U; size <= max_bytes; size *= 4) {
        sizes.insert(sizes.end(), {size - 3, size});
    }
    std::erase_if(sizes, [&](std::size_t size) { return size > max_bytes; });
    return sizes;
}

/// All ranks send to the right and receive from the left at the same time.
void ring_all_at_once(Job& job)
{
    step(job, "ring, all ranks at once");
    for (const std::size_t size : sizes_up_to(job.max_bytes)) {
        const std::uint64_t serial = ++job.serial;
        Bytes out(size);
        Bytes in(size, std::byte{0xee});
        fill(out.data(), size, {job.rank, job.right(), serial});
        MPI_Request requests[2];
        MPI_Irecv(in.data(), static_cast<int>(size), MPI_BYTE, job.left(), 5, MPI_COMM_WORLD, &requests[0]);
        MPI_Isend(out.data(), static_cast<int>(size), MPI_BYTE, job.right(), 5, MPI_COMM_WORLD, &requests[1]);
        count_sent(size);
        MPI_Status statuses[2];
        MPI_Waitall(2, requests, statuses);
        int count = -1;
        MPI_Get_count(&statuses[0], MPI_BYTE, &count);
        require(count == static_cast<int>(size), "ring: wrong length", count);
        verify(in.data(), size, {job.left(), job.rank, serial}, "ring: wrong data");
    }
}

/// One token travels round and is added to at every rank.
void ring_token(Job& job)
{
    step(job, "ring, one token");
    const int laps = 100;
    long long token = 0;
    for (int lap = 0; lap < laps; ++lap) {
        if (job.rank == 0) {
            ++token;
            MPI_Send(&token, 1, MPI_LONG_LONG, job.right(), 6, MPI_COMM_WORLD);
            MPI_Recv(&token, 1, MPI_LONG_LONG, job.left(), 6, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else {
            MPI_Recv(&token, 1, MPI_LONG_LONG, job.left(), 6, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            ++token;
            MPI_Send(&token, 1, MPI_LONG_LONG, job.right(), 6, MPI_COMM_WORLD);
        }
        count_sent(sizeof token);
    }
    const long long expected =
        static_cast<long long>(laps) * job.size - (job.rank == 0 ? 0 : job.size - 1 - job.rank);
    require(token == expected, "token has a wrong value", token);
}

void allreduce(Job& job)
{
    step(job, "allreduce");
    for (const std::size_t count : {1U, 3U, 100U, 5000U, 300000U}) {
        const std::uint64_t salt = ++job.serial;
        std::vector<std::uint64_t> mine(count);
        std::vector<std::uint64_t> sum(count);
        std::vector<double> mine_real(count);
        std::vector<double> most(count);
        for (std::size_t i = 0; i < count; ++i) {
            mine[i] = mix(salt + i) >> 32U | static_cast<std::uint64_t>(job.rank) << 40U;
            mine_real[i] = static_cast<double>((i + static_cast<std::size_t>(job.rank)) % 1000U);
        }
        const int n = static_cast<int>(count);
        MPI_Allreduce(mine.data(), sum.data(), n, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
        MPI_Allreduce(mine_real.data(), most.data(), n, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
        count_sent(16 * count); // whatever the algorithm, a rank sends its vectors once at least
        const auto ranks = static_cast<std::uint64_t>(job.size);
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint64_t want = (mix(salt + i) >> 32U) * ranks + (ranks * (ranks - 1) / 2 << 40U);
            double want_most = 0;
            for (std::size_t r = 0; r < ranks; ++r) {
                want_most = std::max(want_most, static_cast<double>((i + r) % 1000U));
            }
            require(sum[i] == want, "allreduce: wrong sum at", static_cast<long long>(i));
            require(most[i] == want_most, "allreduce: wrong maximum at", static_cast<long long>(i));
        }
    }
}

void alltoall(Job& job)
{
    step(job, "alltoall and alltoallv");
    const auto ranks = static_cast<std::size_t>(job.size);
    for (const std::size_t block : {1U, 100U, 4097U, 70000U}) {
        const std::uint64_t serial = ++job.serial;
        Bytes out(block * ranks);
        Bytes in(block * ranks);
        for (int r = 0; r < job.size; ++r) {
            fill(out.data() + block * static_cast<std::size_t>(r), block, {job.rank, r, serial});
        }
        const int n = static_cast<int>(block);
        MPI_Alltoall(out.data(), n, MPI_BYTE, in.data(), n, MPI_BYTE, MPI_COMM_WORLD);
        count_sent(block * (ranks - 1));
        for (int r = 0; r < job.size; ++r) {
            verify(in.data() + block * static_cast<std::size_t>(r), block, {r, job.rank, serial}, "alltoall");
        }
    }
    // Every pair has a length of its own, nothing and much among them.
    const auto length = [](int from, int to) { return ((from * 7 + to * 13) % 5) * 20011; };
    const std::uint64_t serial = ++job.serial;
    std::vector<int> out_counts, in_counts, out_at, in_at;
    int out_sum = 0;
    int in_sum = 0;
    for (int r = 0; r < job.size; ++r) {
        out_counts.push_back(length(job.rank, r));
        in_counts.push_back(length(r, job.rank));
        out_at.push_back(out_sum);
        in_at.push_back(in_sum);
        out_sum += out_counts.back();
        in_sum += in_counts.back();
    }
    Bytes out(static_cast<std::size_t>(out_sum));
    Bytes in(static_cast<std::size_t>(in_sum));
    for (std::size_t r = 0; r < ranks; ++r) {
        fill(out.data() + out_at[r], static_cast<std::size_t>(out_counts[r]),
             {job.rank, static_cast<int>(r), serial});
    }
    MPI_Alltoallv(out.data(), out_counts.data(), out_at.data(), MPI_BYTE, in.data(), in_counts.data(),
                  in_at.data(), MPI_BYTE, MPI_COMM_WORLD);
    count_sent(static_cast<std::size_t>(out_sum - out_counts[static_cast<std::size_t>(job.rank)]));
    for (std::size_t r = 0; r < ranks; ++r) {
        verify(in.data() + in_at[r], static_cast<std::size_t>(in_counts[r]),
               {static_cast<int>(r), job.rank, serial}, "alltoallv");
    }
}

std::size_t flood_size(std::uint64_t index)
{
    if (index % 97 == 0) {
        return 40000; // beyond any eager limit
    }
    return mix(index) % 2000;
}

/// Everyone sends to rank 0, which receives nothing until all have sent. The
/// order of equal tags must survive, and every byte must.
void unexpected_flood(Job& job)
{
    step(job, "flood of unexpected messages");
    const std::uint64_t base = job.serial;
    job.serial += job.flood;
    if (job.rank != 0) {
        std::vector<Bytes> data(job.flood);
        std::vector<MPI_Request> requests(job.flood);
        for (std::uint64_t i = 0; i < job.flood; ++i) {
            data[i].resize(flood_size(i));
            fill(data[i].data(), data[i].size(), {job.rank, 0, base + i});
            MPI_Isend(data[i].data(), static_cast<int>(data[i].size()), MPI_BYTE, 0, static_cast<int>(i % 3),
                      MPI_COMM_WORLD, &requests[i]);
            count_sent(data[i].size());
        }
        const char sent = 1;
        MPI_Send(&sent, 1, MPI_CHAR, 0, 1000, MPI_COMM_WORLD);
        MPI_Waitall(static_cast<int>(job.flood), requests.data(), MPI_STATUSES_IGNORE);
        return;
    }
    for (int r = 1; r < job.size; ++r) {
        char sent = 0;
        MPI_Recv(&sent, 1, MPI_CHAR, r, 1000, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    // Tag 2 first, by source; then tag 1 from anyone; then the rest of any tag.
    std::vector<std::uint64_t> next(static_cast<std::size_t>(job.size) * 3);
    for (std::size_t slot = 0; slot < next.size(); ++slot) {
        next[slot] = slot % 3;
    }
    Bytes buffer(65536);
    const auto take = [&](int source, int tag) {
        MPI_Status status;
        MPI_Recv(buffer.data(), static_cast<int>(buffer.size()), MPI_BYTE, source, tag, MPI_COMM_WORLD,
                 &status);
        std::uint64_t& index =
            next[static_cast<std::size_t>(status.MPI_SOURCE) * 3 + static_cast<std::size_t>(status.MPI_TAG)];
        int count = -1;
        MPI_Get_count(&status, MPI_BYTE, &count);
        require(static_cast<std::size_t>(count) == flood_size(index), "flood: order or length", count);
        verify(buffer.data(), flood_size(index), {status.MPI_SOURCE, 0, base + index}, "flood: wrong data");
        index += 3;
    };
    const auto with_tag = [&](std::uint64_t tag) { return (job.flood + 2 - tag) / 3; };
    for (int r = 1; r < job.size; ++r) {
        for (std::uint64_t i = 0; i < with_tag(2); ++i) {
            take(r, 2);
        }
    }
    const auto senders = static_cast<std::uint64_t>(job.size - 1);
    for (std::uint64_t i = 0; i < senders * with_tag(1); ++i) {
        take(MPI_ANY_SOURCE, 1);
    }
    for (std::uint64_t i = 0; i < senders * with_tag(0); ++i) {
        take(MPI_ANY_SOURCE, MPI_ANY_TAG);
    }
}

void check_envelope(const MPI_Status& status, std::size_t size, int tag)
{
    int count = -1;
    MPI_Get_count(&status, MPI_BYTE, &count);
    require(count == static_cast<int>(size), "probe: wrong length", count);
    require(status.MPI_TAG == tag, "probe: wrong tag", status.MPI_TAG);
}

/// Reaches FI_PEEK and FI_CLAIM.
void probes(Job& job)
{
    step(job, "probe, matched probe, synchronous send");
    for (const std::size_t size : {0U, 33U, 5000U, 100000U}) {
        // One message for a probe and a receive, one for a matched probe. (The second is not synchronous:
        // Open MPI 4.1 never answers a synchronous send that a matched probe took, over any provider.)
        const std::uint64_t serial = ++job.serial;
        Bytes out(size);
        fill(out.data(), size, {job.rank, job.right(), serial});
        MPI_Request requests[2];
        MPI_Issend(out.data(), static_cast<int>(size), MPI_BYTE, job.right(), 7, MPI_COMM_WORLD,
                   &requests[0]);
        MPI_Isend(out.data(), static_cast<int>(size), MPI_BYTE, job.right(), 17, MPI_COMM_WORLD,
                  &requests[1]);
        count_sent(2 * size);
        Bytes in(size);
        MPI_Status status;
        MPI_Message message;
        MPI_Mprobe(MPI_ANY_SOURCE, 17, MPI_COMM_WORLD, &message, &status);
        check_envelope(status, size, 17);
        MPI_Mrecv(in.data(), static_cast<int>(size), MPI_BYTE, &message, MPI_STATUS_IGNORE);
        verify(in.data(), size, {job.left(), job.rank, serial}, "matched probe: wrong data");
        in.assign(size, std::byte{0});
        MPI_Probe(job.left(), MPI_ANY_TAG, MPI_COMM_WORLD, &status);
        check_envelope(status, size, 7);
        MPI_Recv(in.data(), static_cast<int>(size), MPI_BYTE, status.MPI_SOURCE, status.MPI_TAG,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        verify(in.data(), size, {job.left(), job.rank, serial}, "probe: wrong data");
        MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
    }
}

/// Reaches fi_cancel and FI_ETRUNC.
void cancel_and_truncate(Job& job)
{
    step(job, "cancel, truncation");
    char never = 0;
    MPI_Request request;
    MPI_Irecv(&never, 1, MPI_CHAR, job.left(), 8, MPI_COMM_WORLD, &request);
    MPI_Cancel(&request);
    MPI_Status status;
    MPI_Wait(&request, &status);
    int cancelled = 0;
    MPI_Test_cancelled(&status, &cancelled);
    require(cancelled != 0, "a receive could not be cancelled");

    MPI_Comm quiet;
    MPI_Comm_dup(MPI_COMM_WORLD, &quiet);
    MPI_Comm_set_errhandler(quiet, MPI_ERRORS_RETURN);
    for (const int size : {100, 50000}) {
        Bytes out(static_cast<std::size_t>(size));
        Bytes in(out.size(), std::byte{0xee}); // longer than it says: a write beyond its 16 bytes is seen
        MPI_Isend(out.data(), size, MPI_BYTE, job.right(), 9, quiet, &request);
        count_sent(out.size());
        const int error = MPI_Recv(in.data(), 16, MPI_BYTE, job.left(), 9, quiet, MPI_STATUS_IGNORE);
        int error_class = MPI_SUCCESS;
        MPI_Error_class(error, &error_class);
        require(error_class == MPI_ERR_TRUNCATE, "a receive that is too short was not told so", error_class);
        MPI_Wait(&request, MPI_STATUS_IGNORE);
        const auto beyond = std::count(in.begin() + 16, in.end(), std::byte{0xee});
        require(beyond == size - 16, "a receive that is too short was written beyond its end", beyond);
    }
    MPI_Comm_free(&quiet);
}

/// Non-contiguous data and many communicators.
void datatypes_and_communicators(Job& job)
{
    step(job, "vector datatype, communicators");
    const int rows = 513;
    const int stride = 37;
    std::vector<int> matrix(static_cast<std::size_t>(rows * stride));
    for (std::size_t i = 0; i < matrix.size(); ++i) {
        matrix[i] = job.rank * 1000000 + static_cast<int>(i);
    }
    std::vector<int> column(static_cast<std::size_t>(rows), -1);
    MPI_Datatype vector_type;
    MPI_Type_vector(rows, 1, stride, MPI_INT, &vector_type);
    MPI_Type_commit(&vector_type);
    for (int c = 0; c < 8; ++c) {
        MPI_Comm half;
        MPI_Comm_split(MPI_COMM_WORLD, job.rank % 2, job.rank, &half);
        int rank = 0;
        int size = 0;
        MPI_Comm_rank(half, &rank);
        MPI_Comm_size(half, &size);
        MPI_Sendrecv(&matrix[static_cast<std::size_t>(c)], 1, vector_type, (rank + 1) % size, c,
                     column.data(), rows, MPI_INT, (rank + size - 1) % size, c, half, MPI_STATUS_IGNORE);
        const int from = ((rank + size - 1) % size) * 2 + job.rank % 2;
        for (int i = 0; i < rows; ++i) {
            require(column[static_cast<std::size_t>(i)] == from * 1000000 + i * stride + c,
                    "vector: wrong at", i);
        }
        count_sent(size > 1 ? sizeof(int) * static_cast<std::size_t>(rows) : 0);
        MPI_Comm_free(&half);
    }
    MPI_Type_free(&vector_type);
}

} // namespace

int main(int argc, char** argv)
{
    Job job;
    start(job, argc, argv);
    job.max_bytes = option(argc, argv, "--max-bytes", job.max_bytes);
    job.flood = option(argc, argv, "--flood", job.flood);
    const int rounds = repeat(option(argc, argv, "--seconds", 0), [&] {
        ring_token(job);
        ring_all_at_once(job);
        allreduce(job);
        alltoall(job);
        unexpected_flood(job);
        probes(job);
        cancel_and_truncate(job);
        datatypes_and_communicators(job);
    });
    report_bytes_sent();
    finish(job, "mpi_ring", rounds);
    return 0;
}
