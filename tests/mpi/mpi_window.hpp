// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A window of MPI's one-sided communication, of any kind, and a count of what was asked of other ranks'
// memory.
#pragma once

#include <utility>

#include "mpi_support.hpp"

namespace mpi_test {

struct Job : Ring {
    std::size_t max_bytes = 4U << 20U;
    int count = 200;
};

/// What this rank asked of other ranks' memory, for the proof.
inline std::uint64_t accesses[3];
enum Access { put = 0, get = 1, atomic = 2 };

inline bool one_rank_per_host()
{
    MPI_Comm host;
    int ranks = 0;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host);
    MPI_Comm_size(host, &ranks);
    MPI_Comm_free(&host);
    MPI_Allreduce(MPI_IN_PLACE, &ranks, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return ranks == 1;
}

inline bool is_open_mpi_4()
{
    char name[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(name, &length);
    return std::strstr(name, "Open MPI v4") != nullptr;
}

enum class Kind { create, allocate, dynamic };

/// A window over `size` bytes of every rank, addressed by byte offsets whatever its kind.
class Window {
public:
    Window(const Job& job, Kind kind, std::size_t size)
        : job_(job), kind_(kind), size_(size), shared_(kind == Kind::allocate && !one_rank_per_host())
    {
        const auto length = static_cast<MPI_Aint>(size);
        MPI_Aint base = 0;
        if (kind == Kind::allocate) {
            MPI_Win_allocate(length, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &data_, &window_);
        } else {
            memory_.resize(size);
            data_ = memory_.data();
            if (kind == Kind::create) {
                MPI_Win_create(data_, length, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &window_);
            } else {
                MPI_Win_create_dynamic(MPI_INFO_NULL, MPI_COMM_WORLD, &window_);
                MPI_Win_attach(window_, data_, length);
                MPI_Get_address(data_, &base);
            }
        }
        bases_.resize(static_cast<std::size_t>(job.size));
        MPI_Allgather(&base, 1, MPI_AINT, bases_.data(), 1, MPI_AINT, MPI_COMM_WORLD);
    }
    ~Window()
    {
        if (kind_ == Kind::dynamic) {
            MPI_Barrier(MPI_COMM_WORLD);
            MPI_Win_detach(window_, data_);
        }
        MPI_Win_free(&window_);
    }
    Window(const Window&) = delete;
    Window& operator=(const Window&) = delete;

    MPI_Win handle() const { return window_; }
    /// MPI may have put it into memory that ranks of a host share: no network is needed then.
    bool shared() const { return shared_; }
    const Job& job() const { return job_; }
    std::size_t size() const { return size_; }
    std::byte* data() const { return data_; }
    MPI_Aint at(int target, std::size_t offset) const
    {
        return bases_[static_cast<std::size_t>(target)] + static_cast<MPI_Aint>(offset);
    }

    /// Sets every byte of this rank's part; others may touch it afterwards.
    void clear(int value) const
    {
        MPI_Barrier(MPI_COMM_WORLD);
        MPI_Win_lock(MPI_LOCK_EXCLUSIVE, job_.rank, 0, window_);
        std::memset(data_, value, size_);
        MPI_Win_unlock(job_.rank, window_);
        MPI_Barrier(MPI_COMM_WORLD);
    }

    /// Waits for all ranks, then makes what they did visible to this rank's loads.
    void settle() const
    {
        MPI_Barrier(MPI_COMM_WORLD);
        MPI_Win_lock(MPI_LOCK_SHARED, job_.rank, 0, window_);
        MPI_Win_unlock(job_.rank, window_);
    }

    std::uint64_t word(std::size_t index) const
    {
        std::uint64_t value = 0;
        std::memcpy(&value, data_ + 8 * index, sizeof value);
        return value;
    }

    void count(Access access, int target, std::size_t bytes) const
    {
        if (target != job_.rank && !shared_) {
            ++accesses[access];
            count_sent(bytes);
        }
    }

    void put_bytes(const Bytes& from, int target, std::size_t offset) const
    {
        const int n = static_cast<int>(from.size());
        MPI_Put(from.data(), n, MPI_BYTE, target, at(target, offset), n, MPI_BYTE, window_);
        count(put, target, from.size());
    }
    void get_bytes(Bytes& to, int target, std::size_t offset) const
    {
        const int n = static_cast<int>(to.size());
        MPI_Get(to.data(), n, MPI_BYTE, target, at(target, offset), n, MPI_BYTE, window_);
        count(get, target, to.size());
    }
    void fetch_and_op(std::uint64_t operand, std::uint64_t& result, int target, std::size_t index,
                      MPI_Op op) const
    {
        MPI_Fetch_and_op(&operand, &result, MPI_UINT64_T, target, at(target, 8 * index), op, window_);
        MPI_Win_flush(target, window_);
        count(atomic, target, sizeof operand);
    }
    std::uint64_t compare_and_swap(std::uint64_t expected, std::uint64_t wanted, int target,
                                   std::size_t index) const
    {
        std::uint64_t found = 0;
        MPI_Compare_and_swap(&wanted, &expected, &found, MPI_UINT64_T, target, at(target, 8 * index),
                             window_);
        MPI_Win_flush(target, window_);
        count(atomic, target, sizeof wanted);
        return found;
    }

private:
    const Job& job_;
    Kind kind_;
    std::size_t size_;
    bool shared_;
    Bytes memory_;
    std::byte* data_ = nullptr;
    MPI_Win window_ = MPI_WIN_NULL;
    std::vector<MPI_Aint> bases_;
};

} // namespace mpi_test
