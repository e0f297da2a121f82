// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A pool of equal chunks of raw bytes that takes address space as it is used, for pools that are seldom used
// and could be large: limits on address space (ulimit -v, strict overcommit) count what is reserved. Its
// steps cost a system call each and an indirection per access; what every packet needs is a ByteSlab.
//
// Threading: one thread at a time.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include <srd/check.hpp>
#include <srd/slab.hpp>

namespace srd {

/// Chunks are aligned to a cache line; contents are not initialised. Address space that was taken stays.
class GrowingSlab {
public:
    static constexpr std::uint32_t none = IndexPool::none;

    /// At most `count` chunks of `bytes` bytes. Throws std::bad_alloc.
    GrowingSlab(std::size_t bytes, std::uint32_t count)
        : pool_(count), stride_((std::max<std::size_t>(bytes, 1) + 63) & ~std::size_t{63}),
          shift_(static_cast<std::uint32_t>(std::bit_width(std::max(step_bytes / stride_, std::size_t{1}))) -
                 1),
          steps_(std::make_unique<Reserve[]>((std::size_t{count} >> shift_) + 1))
    {
    }

    /// Returns a chunk's index, or `none` when the pool is exhausted or the system has no more.
    std::uint32_t alloc() noexcept
    {
        const std::uint32_t index = pool_.alloc();
        if (index != none && steps_[index >> shift_].data() == nullptr && !take_step(index >> shift_)) {
            pool_.release(index);
            return none;
        }
        return index;
    }
    void release(std::uint32_t index) noexcept { pool_.release(index); }

    std::byte* data(std::uint32_t index) noexcept
    {
        SRD_DCHECK(pool_.live(index));
        return steps_[index >> shift_].data() + stride_ * (index & ((1U << shift_) - 1));
    }
    std::uint32_t in_use() const noexcept { return pool_.in_use(); }

private:
    static constexpr std::size_t step_bytes = std::size_t{2} << 20;

    bool take_step(std::size_t step) noexcept
    {
        try {
            steps_[step] = Reserve(stride_ << shift_);
            return true;
        } catch (const std::bad_alloc&) {
            return false;
        }
    }

    IndexPool pool_;
    std::size_t stride_;
    std::uint32_t shift_; ///< of an index: the number of its step
    std::unique_ptr<Reserve[]> steps_;
};

} // namespace srd
