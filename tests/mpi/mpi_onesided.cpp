// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Correctness of MPI's one-sided communication over the provider under test,
// for any number of ranks from two up: every kind of window, every kind of
// synchronization, and every byte and count compared with what it must be.
//   mpi_onesided [--max-bytes N] [--count N] [--seconds N]
// --count: atomics per rank and target. With --seconds the whole list is
// repeated (with other data) for that long.
#include "mpi_window.hpp"

#include <algorithm>
#include <utility>

namespace {

using namespace mpi_test;

void step(const Job& job, const char* name)
{
    MPI_Barrier(MPI_COMM_WORLD);
    if (job.rank == 0) {
        std::printf("  %s\n", name);
        std::fflush(stdout);
    }
}

constexpr std::size_t edge = 67; // bytes before and after what is put: unaligned, and watched

std::vector<std::size_t> sizes_up_to(std::size_t max_bytes)
{
    std::vector<std::size_t> sizes;
    for (const std::size_t size : {0U, 1U, 7U, 8U, 64U, 1000U, 4096U, 9001U, 65536U, 300007U}) {
        sizes.push_back(size);
    }
    for (std::size_t size = 1U << 20U; size <= max_bytes; size *= 4) {
        sizes.push_back(size);
    }
    std::erase_if(sizes, [&](std::size_t size) { return size > max_bytes; });
    return sizes;
}

/// What the left neighbour must have put here, and nothing beside it.
void check_put(const Job& job, const Window& window, std::size_t size, const char* where)
{
    const std::byte* data = window.data();
    verify(data + edge, size, {job.left(), job.rank, job.serial}, where);
    for (std::size_t i = 0; i < edge; ++i) {
        require(data[i] == std::byte{0xee}, "written before the beginning", static_cast<long long>(i));
        require(data[edge + size + i] == std::byte{0xee}, "written beyond the end",
                static_cast<long long>(i));
    }
}

Bytes pattern_for(const Job& job, int target, std::size_t size)
{
    Bytes bytes(size);
    fill(bytes.data(), size, {job.rank, target, job.serial});
    return bytes;
}

void fence(Job& job, const Window& window)
{
    step(job, "fence: put, get back");
    for (const std::size_t size : sizes_up_to(job.max_bytes)) {
        ++job.serial;
        window.clear(0xee);
        const Bytes out = pattern_for(job, job.right(), size);
        Bytes back(size);
        MPI_Win_fence(MPI_MODE_NOPRECEDE, window.handle());
        window.put_bytes(out, job.right(), edge);
        MPI_Win_fence(0, window.handle());
        check_put(job, window, size, "fence: wrong data put");
        window.get_bytes(back, job.right(), edge);
        MPI_Win_fence(MPI_MODE_NOSUCCEED, window.handle());
        require(back == out, "fence: wrong data got", static_cast<long long>(size));
    }
}

void post_start(Job& job, const Window& window)
{
    step(job, "post, start, complete, wait");
    MPI_Group world, from, to;
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    const int left = job.left();
    const int right = job.right();
    MPI_Group_incl(world, 1, &left, &from);
    MPI_Group_incl(world, 1, &right, &to);
    for (const std::size_t size : sizes_up_to(std::min<std::size_t>(job.max_bytes, 1U << 20U))) {
        ++job.serial;
        window.clear(0xee);
        const Bytes out = pattern_for(job, right, size);
        MPI_Win_post(from, 0, window.handle());
        MPI_Win_start(to, 0, window.handle());
        window.put_bytes(out, right, edge);
        MPI_Win_complete(window.handle());
        MPI_Win_wait(window.handle());
        check_put(job, window, size, "post/start: wrong data put");
    }
    MPI_Group_free(&world);
    MPI_Group_free(&from);
    MPI_Group_free(&to);
}

/// Every rank puts into and gets from every other, many operations at a time.
void flush_and_requests(Job& job, const Window& window)
{
    step(job, "lock_all: flush, requests");
    constexpr std::size_t pieces = 64;
    const std::size_t length =
        1 + std::min<std::size_t>(window.size(), 1U << 20U) / static_cast<std::size_t>(job.size) / pieces / 2;
    const auto place = [&](int source, std::size_t piece) {
        return (static_cast<std::size_t>(source) * pieces + piece) * length;
    };
    window.clear(0xee);
    const std::uint64_t base = job.serial;
    job.serial += pieces;
    MPI_Win_lock_all(0, window.handle());
    std::vector<Bytes> out;
    std::vector<MPI_Request> requests;
    for (int target = 0; target < job.size; ++target) {
        for (std::size_t piece = 0; piece < pieces; ++piece) {
            Bytes& bytes = out.emplace_back(length);
            fill(bytes.data(), length, {job.rank, target, base + piece});
            if (piece % 2 == 0) {
                window.put_bytes(bytes, target, place(job.rank, piece));
                continue;
            }
            const int n = static_cast<int>(length);
            MPI_Rput(bytes.data(), n, MPI_BYTE, target, window.at(target, place(job.rank, piece)), n,
                     MPI_BYTE, window.handle(), &requests.emplace_back());
            window.count(put, target, length);
        }
    }
    MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
    MPI_Win_flush_all(window.handle());
    MPI_Barrier(MPI_COMM_WORLD);
    // Then what the right neighbour's left neighbours put there is got from here.
    requests.clear();
    std::vector<Bytes> in(pieces, Bytes(length));
    for (std::size_t piece = 0; piece < pieces; ++piece) {
        const int n = static_cast<int>(length);
        MPI_Rget(in[piece].data(), n, MPI_BYTE, job.right(), window.at(job.right(), place(job.left(), piece)),
                 n, MPI_BYTE, window.handle(), &requests.emplace_back());
        window.count(get, job.right(), length);
    }
    MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
    MPI_Win_unlock_all(window.handle());
    for (std::size_t piece = 0; piece < pieces; ++piece) {
        verify(in[piece].data(), length, {job.left(), job.right(), base + piece}, "request: wrong data got");
    }
    window.settle();
    for (int source = 0; source < job.size; ++source) {
        for (std::size_t piece = 0; piece < pieces; ++piece) {
            verify(window.data() + place(source, piece), length, {source, job.rank, base + piece},
                   "flush: wrong data put");
        }
    }
}

/// Read, add one, write: right only if an exclusive lock excludes.
void exclusive_lock(Job& job, const Window& window)
{
    step(job, "exclusive lock");
    window.clear(0);
    const int laps = std::max(1, job.count / 10);
    for (int lap = 0; lap < laps; ++lap) {
        for (int i = 0; i < job.size; ++i) {
            const int target = (job.rank + i) % job.size;
            Bytes bytes(8);
            std::uint64_t value = 0;
            MPI_Win_lock(MPI_LOCK_EXCLUSIVE, target, 0, window.handle());
            window.get_bytes(bytes, target, 0);
            MPI_Win_flush(target, window.handle());
            std::memcpy(&value, bytes.data(), sizeof value);
            ++value;
            std::memcpy(bytes.data(), &value, sizeof value);
            window.put_bytes(bytes, target, 0);
            MPI_Win_unlock(target, window.handle());
        }
    }
    window.settle();
    const auto want = static_cast<std::uint64_t>(laps) * static_cast<std::uint64_t>(job.size);
    require(window.word(0) == want, "exclusive lock: updates lost", static_cast<long long>(window.word(0)));
}

/// All ranks draw tickets from every rank; each ticket is crossed off where it
/// was drawn. A lost or doubled atomic leaves a ticket with another count than one.
void tickets(Job& job, const Window& window)
{
    step(job, "fetch_and_op, accumulate");
    window.clear(0);
    const auto each = static_cast<std::uint64_t>(job.count);
    const std::uint64_t all = each * static_cast<std::uint64_t>(job.size);
    const std::uint64_t one = 1;
    require((all + 1) * 8 <= window.size(), "the window is too small for --count", job.count);
    MPI_Win_lock_all(0, window.handle());
    for (std::uint64_t lap = 0; lap < each; ++lap) {
        for (int i = 0; i < job.size; ++i) {
            const int target = (job.rank + i) % job.size;
            std::uint64_t ticket = 0;
            window.fetch_and_op(1, ticket, target, 0, MPI_SUM);
            require(ticket < all, "fetch_and_op: a ticket that does not exist",
                    static_cast<long long>(ticket));
            MPI_Accumulate(&one, 1, MPI_UINT64_T, target, window.at(target, 8 * (1 + ticket)), 1,
                           MPI_UINT64_T, MPI_SUM, window.handle());
            window.count(atomic, target, sizeof one);
        }
    }
    MPI_Win_unlock_all(window.handle());
    window.settle();
    require(window.word(0) == all, "fetch_and_op: wrong sum", static_cast<long long>(window.word(0)));
    for (std::size_t ticket = 0; ticket < all; ++ticket) {
        require(window.word(1 + ticket) == 1, "accumulate: not exactly once", static_cast<long long>(ticket));
    }
}

/// Read, add one, swap if nobody else did: right only if no swap is lost or done twice.
void swaps(Job& job, const Window& window)
{
    step(job, "compare_and_swap");
    window.clear(0);
    const auto each = static_cast<std::uint64_t>(job.count);
    MPI_Win_lock_all(0, window.handle());
    // Never on this rank itself: Open MPI 4.1 crashes there, over any provider.
    for (std::uint64_t lap = 0; lap < each; ++lap) {
        const int step_to = 1 + static_cast<int>(lap % static_cast<std::uint64_t>(job.size - 1));
        const int target = (job.rank + step_to) % job.size;
        std::uint64_t expected = 0;
        window.fetch_and_op(0, expected, target, 0, MPI_NO_OP);
        for (;;) {
            const std::uint64_t found = window.compare_and_swap(expected, expected + 1, target, 0);
            if (found == expected) {
                break;
            }
            require(found > expected, "compare_and_swap: went backwards", static_cast<long long>(found));
            expected = found;
        }
    }
    MPI_Win_unlock_all(window.handle());
    window.settle();
    require(window.word(0) == each, "compare_and_swap: wrong sum", static_cast<long long>(window.word(0)));
}

/// Element `i` of what `rank` adds; small enough that every type holds all sums exactly.
template <typename Value>
Value addend(int rank, std::size_t i)
{
    return static_cast<Value>((static_cast<std::size_t>(rank) * 7 + i * 3) % 11);
}

/// Vectors from all ranks to all ranks at once: sums, then maxima, then what was there is fetched.
template <typename Value>
void accumulate_vectors(Job& job, const Window& window, MPI_Datatype type)
{
    // Open MPI 4 ends the job where it should map a maximum to an atomic of libfabric.
    const bool with_maximum = !is_open_mpi_4();
    for (const std::size_t count : {1U, 5U, 1000U, 20000U}) {
        if (2 * count * sizeof(Value) > window.size()) {
            continue;
        }
        window.clear(0); // all bits zero is zero of every type
        std::vector<Value> mine(count);
        for (std::size_t i = 0; i < count; ++i) {
            mine[i] = addend<Value>(job.rank, i);
        }
        std::vector<std::vector<Value>> before(static_cast<std::size_t>(job.size), std::vector<Value>(count));
        const int n = static_cast<int>(count);
        const std::size_t bytes = count * sizeof(Value);
        MPI_Win_fence(MPI_MODE_NOPRECEDE, window.handle());
        for (int target = 0; target < job.size; ++target) {
            MPI_Accumulate(mine.data(), n, type, target, window.at(target, 0), n, type, MPI_SUM,
                           window.handle());
            window.count(atomic, target, bytes);
            if (with_maximum) {
                MPI_Accumulate(mine.data(), n, type, target, window.at(target, bytes), n, type, MPI_MAX,
                               window.handle());
                window.count(atomic, target, bytes);
            }
        }
        MPI_Win_fence(0, window.handle());
        for (int target = 0; target < job.size; ++target) {
            MPI_Get_accumulate(nullptr, 0, type, before[static_cast<std::size_t>(target)].data(), n, type,
                               target, window.at(target, 0), n, type, MPI_NO_OP, window.handle());
            window.count(atomic, target, bytes);
        }
        MPI_Win_fence(MPI_MODE_NOSUCCEED, window.handle());
        std::vector<Value> most(count);
        std::memcpy(most.data(), window.data() + bytes, bytes);
        for (std::size_t i = 0; i < count; ++i) {
            Value sum = 0;
            Value maximum = 0;
            for (int r = 0; r < job.size; ++r) {
                sum = static_cast<Value>(sum + addend<Value>(r, i));
                maximum = std::max(maximum, addend<Value>(r, i));
            }
            require(!with_maximum || most[i] == maximum, "accumulate: wrong maximum at",
                    static_cast<long long>(i));
            for (const auto& fetched : before) {
                require(fetched[i] == sum, "get_accumulate: wrong sum at", static_cast<long long>(i));
            }
        }
    }
}

void accumulate(Job& job, const Window& window)
{
    step(job, "accumulate and get_accumulate of vectors");
    accumulate_vectors<std::int32_t>(job, window, MPI_INT32_T);
    accumulate_vectors<std::uint64_t>(job, window, MPI_UINT64_T);
    accumulate_vectors<float>(job, window, MPI_FLOAT);
    accumulate_vectors<double>(job, window, MPI_DOUBLE);
    accumulate_vectors<std::int16_t>(job, window, MPI_INT16_T);
}

/// A column of a matrix is put into a column of the neighbour's.
void strided(Job& job, const Window& window)
{
    step(job, "strided put and get");
    const int rows = 300;
    const int columns = 17;
    MPI_Datatype column;
    MPI_Type_vector(rows, 1, columns, MPI_INT32_T, &column);
    MPI_Type_commit(&column);
    const auto cells = static_cast<std::size_t>(rows * columns);
    require(cells * 4 <= window.size(), "the window is too small for a matrix");
    std::vector<std::int32_t> out(cells);
    for (std::size_t i = 0; i < cells; ++i) {
        out[i] = job.rank * 1000000 + static_cast<std::int32_t>(i);
    }
    window.clear(0xee);
    std::vector<std::int32_t> back(static_cast<std::size_t>(rows), -1);
    MPI_Win_lock_all(0, window.handle());
    MPI_Put(&out[2], 1, column, job.right(), window.at(job.right(), 4 * 5), 1, column, window.handle());
    MPI_Win_flush(job.right(), window.handle());
    MPI_Get(back.data(), rows, MPI_INT32_T, job.right(), window.at(job.right(), 4 * 5), 1, column,
            window.handle());
    MPI_Win_unlock_all(window.handle());
    window.count(put, job.right(), static_cast<std::size_t>(rows) * 4);
    window.count(get, job.right(), static_cast<std::size_t>(rows) * 4);
    window.settle();
    std::vector<std::int32_t> in(cells);
    std::memcpy(in.data(), window.data(), cells * 4);
    std::int32_t untouched = 0;
    std::memset(&untouched, 0xee, sizeof untouched);
    for (int i = 0; i < rows * columns; ++i) {
        const std::int32_t want =
            i % columns == 5 ? job.left() * 1000000 + i - 3 : untouched; // column 2 went to column 5
        require(in[static_cast<std::size_t>(i)] == want, "strided: wrong cell", i);
    }
    for (int row = 0; row < rows; ++row) {
        require(back[static_cast<std::size_t>(row)] == job.rank * 1000000 + row * columns + 2,
                "strided: wrong cell got back", row);
    }
    MPI_Type_free(&column);
}

void report_accesses(const Job& job)
{
    std::uint64_t sums[3] = {};
    MPI_Reduce(accesses, sums, 3, MPI_UINT64_T, MPI_SUM, 0, MPI_COMM_WORLD);
    if (job.rank == 0) {
        std::printf("accesses to other ranks' memory: %llu put %llu get %llu atomic\n",
                    static_cast<unsigned long long>(sums[put]), static_cast<unsigned long long>(sums[get]),
                    static_cast<unsigned long long>(sums[atomic]));
    }
    report_bytes_sent();
}

void everything(Job& job)
{
    constexpr std::pair<Kind, const char*> kinds[] = {
        {Kind::create, "window over memory of the program"},
        {Kind::allocate, "window over memory of MPI"},
        {Kind::dynamic, "dynamic window"},
    };
    for (const auto& [kind, name] : kinds) {
        if (kind == Kind::dynamic && is_open_mpi_4() && one_rank_per_host()) {
            continue; // Open MPI 4.1 waits for itself (find_dynamic_region locks what refresh locks again)
        }
        if (job.rank == 0) {
            std::printf("%s\n", name);
        }
        const std::size_t size = std::max<std::size_t>(
            job.max_bytes + 2 * edge, 65536 + 8 * static_cast<std::size_t>(job.count * job.size));
        const Window window(job, kind, size);
        fence(job, window);
        post_start(job, window);
        flush_and_requests(job, window);
        exclusive_lock(job, window);
        tickets(job, window);
        if (!window.shared()) {
            swaps(job, window); // Open MPI 4.1 crashes in shared memory, over any provider
        }
        accumulate(job, window);
        strided(job, window);
    }
}

} // namespace

int main(int argc, char** argv)
{
    Job job;
    start(job, argc, argv);
    job.max_bytes = option(argc, argv, "--max-bytes", job.max_bytes);
    job.count = static_cast<int>(option(argc, argv, "--count", static_cast<std::uint64_t>(job.count)));
    const int rounds = repeat(option(argc, argv, "--seconds", 0), [&] { everything(job); });
    report_accesses(job);
    finish(job, "mpi_onesided", rounds);
    return 0;
}
