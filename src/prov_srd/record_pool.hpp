// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A fixed number of records, named by index. Their memory is reserved when the
// pool is made, and touched when a record is first used: a pool sized for the
// worst case costs what is really used. `Record` has a member `next_free`,
// which the pool owns while the record is free.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

#include <srd/check.hpp>
#include <srd/intrusive_list.hpp>

namespace srd {

template <typename Record>
class RecordPool {
    static_assert(std::is_trivially_destructible_v<Record>);

public:
    explicit RecordPool(std::uint32_t capacity)
        : records_(std::allocator<Record>().allocate(capacity)), capacity_(capacity)
    {
    }
    ~RecordPool() { std::allocator<Record>().deallocate(records_, capacity_); }
    RecordPool(const RecordPool&) = delete;
    RecordPool& operator=(const RecordPool&) = delete;

    /// no_index if all are in use.
    std::uint32_t alloc() noexcept
    {
        if (free_ != no_index) {
            const std::uint32_t index = free_;
            free_ = records_[index].next_free;
            return index;
        }
        if (fresh_ == capacity_) {
            return no_index;
        }
        std::construct_at(records_ + fresh_);
        return fresh_++;
    }

    void release(std::uint32_t index) noexcept
    {
        SRD_DCHECK(index < fresh_);
        records_[index].next_free = free_;
        free_ = index;
    }

    Record& operator[](std::uint32_t index) noexcept
    {
        SRD_DCHECK(index < fresh_);
        return records_[index];
    }

    /// Every record that was ever in use has a lower index.
    std::uint32_t touched() const noexcept { return fresh_; }

private:
    Record* records_;
    std::uint32_t capacity_;
    std::uint32_t fresh_ = 0;
    std::uint32_t free_ = no_index;
};

} // namespace srd
