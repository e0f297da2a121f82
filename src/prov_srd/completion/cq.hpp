// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Completion queues. A queue holds at least as many completions as were asked
// for without allocating; when the application reads too slowly it grows. When
// there is no memory to grow with, it is overrun (fi_cq(3)): what was written before can
// still be read, and then every read returns -FI_EAVAIL and every fi_cq_readerr() FI_EOVERRUN.
//
// Threading: every function may be called by any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_eq.h>

#include <srd/limits.hpp>
#include <srd/status.hpp>

#include "progress/progress_group.hpp"
#include "progress/progress_lock.hpp"

namespace srd {

struct Domain;
struct WaitSet;

/// A successful operation. Starts with the fields of fi_cq_tagged_entry, of which every
/// other format is a prefix.
struct Completion {
    void* context = nullptr;
    std::uint64_t flags = 0;
    std::size_t length = 0;
    void* buffer = nullptr;
    std::uint64_t data = 0;
    std::uint64_t tag = 0;
    fi_addr_t source = FI_ADDR_NOTAVAIL;
};
static_assert(offsetof(Completion, flags) == offsetof(fi_cq_tagged_entry, flags));
static_assert(offsetof(Completion, length) == offsetof(fi_cq_tagged_entry, len));
static_assert(offsetof(Completion, buffer) == offsetof(fi_cq_tagged_entry, buf));
static_assert(offsetof(Completion, data) == offsetof(fi_cq_tagged_entry, data));
static_assert(offsetof(Completion, tag) == offsetof(fi_cq_tagged_entry, tag));

/// A failed operation.
struct CompletionError {
    Completion completion;
    std::size_t overflow = 0;      ///< bytes of the message beyond the buffer
    int error = 0;                 ///< positive fi_errno
    Cause cause = Cause::none;     ///< reported as prov_errno
    std::uint8_t address_size = 0; ///< the peer's address, reported as err_data
    std::array<std::byte, max_address_size> address{};
    std::uint64_t position = 0; ///< completions written before it; set by the queue
};

/// A queue of T that doubles when it is full.
template <typename T>
class GrowingRing {
public:
    /// `capacity` is a power of two. Throws std::bad_alloc.
    explicit GrowingRing(std::size_t capacity)
        : items_(std::make_unique_for_overwrite<T[]>(capacity)), mask_(capacity - 1)
    {
    }

    bool empty() const noexcept { return head_ == tail_; }
    std::size_t size() const noexcept { return tail_ - head_; }
    std::size_t capacity() const noexcept { return mask_ + 1; }
    T& front() noexcept { return items_[head_ & mask_]; }
    T& back() noexcept { return items_[(tail_ - 1) & mask_]; }
    void pop() noexcept { ++head_; }
    /// False: it is full and there is no memory to grow with; nothing has changed.
    bool push(const T& item) noexcept
    {
        if (size() == capacity() && !grow()) [[unlikely]] {
            return false;
        }
        items_[tail_++ & mask_] = item;
        return true;
    }

private:
    bool grow() noexcept
    {
        std::unique_ptr<T[]> larger(new (std::nothrow) T[2 * capacity()]);
        if (larger == nullptr) {
            return false;
        }
        for (std::size_t i = 0; i < capacity(); ++i) {
            larger[i] = items_[(head_ + i) & mask_];
        }
        tail_ = size();
        head_ = 0;
        items_ = std::move(larger);
        mask_ = 2 * mask_ + 1;
        return true;
    }

    std::unique_ptr<T[]> items_;
    std::size_t mask_;
    std::size_t head_ = 0;
    std::size_t tail_ = 0;
};

struct CompletionQueue {
    CompletionQueue(Domain& owner, const fi_cq_attr& attr, std::size_t entry_bytes, void* context);
    ~CompletionQueue();
    CompletionQueue(const CompletionQueue&) = delete;
    CompletionQueue& operator=(const CompletionQueue&) = delete;

    // -- For endpoints ------------------------------------------------------

    void write(const Completion& completion) noexcept SRD_EXCLUDES(lock);
    void write_error(const CompletionError& failure) noexcept SRD_EXCLUDES(lock);

    // -- For the libfabric calls (cq.cpp) -----------------------------------

    ssize_t read(void* entries, std::size_t count, fi_addr_t* sources) noexcept;
    ssize_t read_wait(void* entries, std::size_t count, fi_addr_t* sources, int timeout_ms) noexcept;
    ssize_t read_error(fi_cq_err_entry& entry) noexcept;
    void signal() noexcept;
    int try_wait() noexcept;
    bool has_entries() noexcept SRD_EXCLUDES(lock);
    /// The application has been given completions, or is going to be, since it was last told that there are
    /// none: it has not yet done all that it may do about them. A hint, without the lock.
    bool is_in_use() const noexcept { return given_.load(std::memory_order_relaxed) || !seems_empty(); }

    fid_cq fid{}; ///< must be first
    Domain& domain;
    const std::size_t entry_size; ///< bytes of an entry in the queue's format
    const fi_wait_obj wait_obj;
    ProgressGroup group; ///< the endpoints that report here
    ProgressLock lock;
    std::atomic<std::uint32_t> poll_sets{0}; ///< that it is in
    WaitSet* wait_set = nullptr;             ///< FI_WAIT_SET

private:
    ssize_t take(void* entries, std::size_t count, fi_addr_t* sources) SRD_REQUIRES(lock);
    void fill(fi_cq_err_entry& entry, const CompletionError& failure) noexcept SRD_REQUIRES(lock);
    void note_entries() noexcept SRD_REQUIRES(lock);
    /// There was no memory for a completion.
    void overrun() noexcept SRD_REQUIRES(lock);
    /// Without the lock, for who looks again anyway.
    bool seems_empty() const noexcept { return entries_.load(std::memory_order_relaxed) == 0; }

    GrowingRing<Completion> completions_ SRD_GUARDED_BY(lock);
    // Errors have a queue of their own, but are reported in the order in which they happened: an
    // FI_MULTI_RECV buffer must not be released before its messages are reported.
    GrowingRing<CompletionError> errors_ SRD_GUARDED_BY(lock);
    std::uint64_t written_ SRD_GUARDED_BY(lock) = 0; ///< completions
    std::uint64_t taken_ SRD_GUARDED_BY(lock) = 0;
    bool overrun_ SRD_GUARDED_BY(lock) = false;            ///< for good: nothing is written any more
    std::array<std::byte, max_address_size> error_data_{}; ///< what the last read error's err_data points to
    std::uint32_t reads_without_pass_ SRD_GUARDED_BY(lock) = 0; ///< that found something
    std::atomic<std::size_t> entries_{0};                       ///< completions and errors that wait
    std::atomic<bool> given_{false};                            ///< since the last read that found nothing
    std::atomic<std::uint32_t> signals_{0};
    std::atomic<bool> signaled_{false};
};

inline CompletionQueue& cq_from(fid_cq* cq) noexcept
{
    return *static_cast<CompletionQueue*>(static_cast<void*>(cq));
}

/// fi_cq_open(3).
int cq_open(fid_domain* domain, fi_cq_attr* attr, fid_cq** cq, void* context) noexcept;
/// fi_trywait(3): 0 if it is safe to sleep on the wait descriptor, -FI_EAGAIN if completions wait.
int cq_trywait(fid* cq) noexcept;

/// The positive fi_errno under which `cause` is reported.
int error_of(Cause cause) noexcept;

} // namespace srd
