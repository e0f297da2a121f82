// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Memory for payload that has no buffer of the user's yet: unexpected and
// out-of-turn eager messages. A few size classes share one bound in bytes, so
// a flood of small messages and one of large ones are held to the same limit.
// Each class could take all of it, so none reserves address space for that before it is used.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <srd/check.hpp>
#include <srd/growing_slab.hpp>
#include <srd/intrusive_list.hpp>
#include <srd/slab.hpp>

namespace srd {

class PayloadPool {
public:
    /// `budget`: bytes over all classes.
    explicit PayloadPool(std::size_t budget)
        : classes_{make(budget, 0), make(budget, 1), make(budget, 2), make(budget, 3),
                   make(budget, 4), make(budget, 5), make(budget, 6)},
          budget_(budget)
    {
    }

    struct Chunk {
        std::uint32_t index = no_index;
        std::uint8_t size_class = 0;
    };

    /// A chunk of at least `bytes`; index no_index when the bound is reached, the system has no more, or
    /// `bytes` is over max_chunk.
    Chunk alloc(std::size_t bytes) noexcept
    {
        for (std::uint8_t size_class = 0; size_class < sizes.size(); ++size_class) {
            if (bytes <= sizes[size_class]) {
                if (used_ + sizes[size_class] > budget_) {
                    return {};
                }
                const std::uint32_t index = classes_[size_class].alloc();
                if (index != no_index) {
                    used_ += sizes[size_class];
                }
                return {index, size_class};
            }
        }
        return {};
    }

    void release(Chunk chunk) noexcept
    {
        classes_[chunk.size_class].release(chunk.index);
        used_ -= sizes[chunk.size_class];
    }

    std::byte* data(Chunk chunk) noexcept { return classes_[chunk.size_class].data(chunk.index); }
    std::size_t used() const noexcept { return used_; }
    std::size_t budget() const noexcept { return budget_; }

    static constexpr std::array<std::size_t, 7> sizes{128, 512, 2048, 8192, 32768, 65536, 131072};
    static constexpr std::size_t max_chunk = sizes.back();
    /// What a payload of `bytes` takes of the budget.
    static constexpr std::size_t footprint(std::size_t bytes) noexcept
    {
        for (const std::size_t size : sizes) {
            if (bytes <= size) {
                return bytes == 0 ? 0 : size;
            }
        }
        return max_chunk;
    }

private:
    static GrowingSlab make(std::size_t budget, std::size_t size_class)
    {
        const std::size_t count = std::min<std::size_t>(budget / sizes[size_class], IndexPool::max_capacity);
        return {sizes[size_class], static_cast<std::uint32_t>(count)};
    }

    std::array<GrowingSlab, sizes.size()> classes_;
    std::size_t budget_;
    std::size_t used_ = 0;
};

} // namespace srd
