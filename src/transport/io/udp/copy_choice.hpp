// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Whether the pieces of a batch are laid together before the kernel copies them.
//
// The kernel copies a batch piece by piece into memory that another processor has
// just read, if the receiver is on this host or behind a virtual interface. Copies
// of less than some 4 KiB then wait for each cache line to change its owner; one long
// copy does not, so that copying the pieces together first costs half of it. To a
// network card that reads memory itself, it may cost a tenth more. Which of the two it
// is, only the clock knows.
//
// Law: a trial sends batches by both ways in turn; the way with the lower median of
// the time per byte is taken until the next trial, batches_between batches later.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <srd/check.hpp>
#include <srd/time.hpp>

namespace srd {

class CopyChoice {
public:
    static constexpr std::size_t samples = 15; ///< of each way
    static constexpr std::uint32_t batches_between = 2048;

    /// The next batch is laid together.
    bool together() const noexcept { return trying() ? taken_ % 2 != 0 : together_; }
    /// Its time is asked for.
    bool trying() const noexcept { return left_ == 0; }

    /// A batch was sent whose time was not asked for.
    void on_batch() noexcept
    {
        SRD_DCHECK(left_ != 0);
        --left_;
    }
    /// One of a trial, of `bytes` > 0, with all that was done for it.
    void on_timed_batch(Duration time, std::size_t bytes) noexcept
    {
        SRD_DCHECK(trying() && bytes != 0);
        costs_[taken_ % 2][taken_ / 2] = static_cast<float>(time.count()) / static_cast<float>(bytes);
        if (++taken_ == 2 * samples) {
            taken_ = 0;
            left_ = batches_between;
            together_ = median(costs_[1]) < median(costs_[0]);
        }
    }

private:
    using Costs = std::array<float, samples>; ///< nanoseconds per byte

    static float median(Costs& costs) noexcept
    {
        const auto middle = costs.begin() + samples / 2;
        std::nth_element(costs.begin(), middle, costs.end());
        return *middle;
    }

    std::array<Costs, 2> costs_{}; ///< of pieces, and laid together
    std::size_t taken_ = 0;        ///< samples of this trial
    std::uint32_t left_ = 0;       ///< batches until the next; 0: this is one
    bool together_ = false;
};

} // namespace srd
