// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Timers for numbered objects, each armed at most once: a hierarchical wheel.
//
// Time is counted in ticks of 4.096 us from the origin. A deadline is rounded
// up to a tick, so nothing fires early and nothing more than a tick late. The
// level of an armed id is where its tick first differs from the current one,
// in digits of six bits; its slot is that digit. So every id of a level is due
// before every id of the levels above, and a slot never has to be looked at
// before the current tick enters it, when its ids move down ("cascade"). Nine
// levels span all of Time: there is no horizon.
//
// arm() and cancel() are O(1); expire() costs what it fires and cascades (an
// id moves down at most eight times). Nothing allocates after construction; an
// id's 24 bytes are touched when it is first armed.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <srd/check.hpp>
#include <srd/slab.hpp>
#include <srd/time.hpp>

namespace srd {

class TimingWheel {
public:
    static constexpr Duration resolution{4096};

    /// For ids 0 .. capacity-1. `origin`: the earliest time that will ever be passed to expire().
    TimingWheel(std::uint32_t capacity, Time origin)
        : memory_(std::size_t{capacity} * sizeof(Node)), nodes_(memory_.as<Node>()), capacity_(capacity),
          origin_(origin)
    {
    }
    TimingWheel(const TimingWheel&) = delete;
    TimingWheel& operator=(const TimingWheel&) = delete;

    /// Makes `id` fire at `deadline`, and not at what it was armed for before. A deadline that has
    /// passed fires with the next expire(), never within the running one. time_never disarms.
    void arm(std::uint32_t id, Time deadline) noexcept
    {
        SRD_DCHECK(id < capacity_);
        if (deadline == time_never) {
            cancel(id);
            return;
        }
        const std::uint64_t tick = tick_after(deadline);
        Node& node = nodes_[id];
        if (node.slot != disarmed) {
            if (node.tick == tick) {
                return;
            }
            unlink(id);
        } else {
            ++armed_count_;
        }
        node.tick = tick;
        link(id);
    }

    void cancel(std::uint32_t id) noexcept
    {
        SRD_DCHECK(id < capacity_);
        if (nodes_[id].slot != disarmed) {
            unlink(id);
            nodes_[id].slot = disarmed;
            --armed_count_;
        }
    }

    bool armed(std::uint32_t id) const noexcept
    {
        SRD_DCHECK(id < capacity_);
        return nodes_[id].slot != disarmed;
    }

    std::uint32_t armed_count() const noexcept { return armed_count_; }

    /// Calls `fire(id)` for every id whose deadline, rounded up, has come, in order of deadline to
    /// the tick; the id is disarmed before. `fire` may arm and cancel any id, also this one.
    /// A `now` before that of an earlier call does nothing.
    template <typename Fire>
    void expire(Time now, Fire&& fire)
    {
        const std::uint64_t target = tick_before(now);
        if (now < origin_ || target < current_) {
            return;
        }
        // What is armed too late from here on goes to the other overdue list.
        const unsigned overdue = overdue_;
        overdue_ ^= overdue_first ^ overdue_second;
        fire_slot(overdue, fire);
        for (;;) {
            const unsigned level = lowest_level();
            if (level == levels) {
                break;
            }
            const unsigned digit = first_digit(level);
            const std::uint64_t start = start_of(level, digit);
            if (start > target) {
                break;
            }
            current_ = start;
            if (level == 0) {
                fire_slot(digit, fire);
            } else {
                cascade(level * radix + digit);
            }
        }
        current_ = target;
    }

    /// When to call expire() next: never later than the tick of the earliest deadline, and exactly
    /// that unless timers near it were cancelled. time_never if nothing is armed. Always later than
    /// the last expire()'s `now` unless something is overdue, so sleeping until next() never spins.
    Time next() const noexcept
    {
        if (slots_[overdue_].head != none) {
            return time_of(current_);
        }
        const unsigned level = lowest_level();
        return level == levels ? time_never : time_of(slots_[level * radix + first_digit(level)].earliest);
    }

private:
    static constexpr std::uint32_t none = 0xffffffffU;
    static constexpr unsigned digit_bits = 6;
    static constexpr unsigned radix = 1U << digit_bits;
    static constexpr unsigned tick_bits = 12; // of nanoseconds
    static constexpr unsigned levels = 9;
    static_assert(levels * digit_bits + tick_bits >= 63, "all of Time");
    static_assert(resolution == Duration(1 << tick_bits));
    static constexpr unsigned overdue_first = levels * radix;
    static constexpr unsigned overdue_second = overdue_first + 1;
    static constexpr std::uint16_t disarmed = 0; // so that untouched memory is disarmed

    struct Node {
        std::uint64_t tick;
        std::uint32_t next;
        std::uint32_t previous;
        std::uint16_t slot; // disarmed, or 1 + index into slots_
    };

    struct Slot {
        std::uint64_t earliest = 0; // lower bound of the ticks of its ids
        std::uint32_t head = none;
    };

    std::uint64_t tick_before(Time time) const noexcept
    {
        return static_cast<std::uint64_t>((time - origin_).count()) >> tick_bits;
    }
    std::uint64_t tick_after(Time time) const noexcept
    {
        if (time <= origin_) {
            return 0;
        }
        const auto ns = static_cast<std::uint64_t>((time - origin_).count());
        return (ns + (1U << tick_bits) - 1) >> tick_bits;
    }
    Time time_of(std::uint64_t tick) const noexcept
    {
        // The last tick before the end of Time may round up past it.
        const std::uint64_t room = static_cast<std::uint64_t>((time_never - origin_).count());
        return origin_ + Duration(static_cast<std::int64_t>(std::min(tick << tick_bits, room - 1)));
    }

    unsigned lowest_level() const noexcept
    {
        return level_mask_ == 0 ? levels : static_cast<unsigned>(std::countr_zero(level_mask_));
    }
    unsigned first_digit(unsigned level) const noexcept
    {
        return static_cast<unsigned>(std::countr_zero(digit_masks_[level]));
    }
    // The first tick of a slot: the current one's higher digits, then the slot's, then zeros.
    std::uint64_t start_of(unsigned level, unsigned digit) const noexcept
    {
        const unsigned shift = level * digit_bits;
        return ((current_ >> shift & ~std::uint64_t{radix - 1}) | digit) << shift;
    }

    unsigned slot_for(std::uint64_t tick) const noexcept
    {
        if (tick <= current_) {
            return overdue_;
        }
        const auto differing = static_cast<unsigned>(63 - std::countl_zero(tick ^ current_));
        const unsigned level = differing / digit_bits;
        return level * radix + static_cast<unsigned>(tick >> (level * digit_bits) & (radix - 1));
    }

    void link(std::uint32_t id) noexcept { link_to(slot_for(nodes_[id].tick), id); }

    void link_to(unsigned slot_index, std::uint32_t id) noexcept
    {
        Node& node = nodes_[id];
        Slot& slot = slots_[slot_index];
        if (slot.head == none) {
            slot.earliest = node.tick;
            if (slot_index < overdue_first) {
                digit_masks_[slot_index / radix] |= std::uint64_t{1} << (slot_index % radix);
                level_mask_ |= 1U << (slot_index / radix);
            }
        } else {
            slot.earliest = std::min(slot.earliest, node.tick);
            nodes_[slot.head].previous = id;
        }
        node.next = slot.head;
        node.previous = none;
        node.slot = static_cast<std::uint16_t>(slot_index + 1);
        slot.head = id;
    }

    void unlink(std::uint32_t id) noexcept
    {
        const Node& node = nodes_[id];
        const unsigned slot_index = node.slot - 1U;
        Slot& slot = slots_[slot_index];
        if (node.next != none) {
            nodes_[node.next].previous = node.previous;
        }
        if (node.previous != none) {
            nodes_[node.previous].next = node.next;
            return;
        }
        SRD_DCHECK(slot.head == id);
        slot.head = node.next;
        if (slot.head == none && slot_index < overdue_first) {
            const unsigned level = slot_index / radix;
            digit_masks_[level] &= ~(std::uint64_t{1} << (slot_index % radix));
            if (digit_masks_[level] == 0) {
                level_mask_ &= ~(1U << level);
            }
        }
    }

    template <typename Fire>
    void fire_slot(unsigned slot_index, Fire& fire)
    {
        while (slots_[slot_index].head != none) {
            const std::uint32_t id = slots_[slot_index].head;
            cancel(id);
            fire(id);
        }
    }

    // Empties a slot whose first tick is the current one into the levels below.
    void cascade(unsigned slot_index) noexcept
    {
        while (slots_[slot_index].head != none) {
            const std::uint32_t id = slots_[slot_index].head;
            unlink(id);
            // An id due at the slot's very first tick belongs to the tick being processed:
            // digit 0 of level 0, which expire() fires next, not to the overdue.
            link_to(nodes_[id].tick == current_ ? static_cast<unsigned>(current_ & (radix - 1))
                                                : slot_for(nodes_[id].tick),
                    id);
        }
    }

    Reserve memory_;
    Node* nodes_;
    std::uint32_t capacity_;
    std::uint32_t armed_count_ = 0;
    Time origin_;
    std::uint64_t current_ = 0; // the last tick processed
    unsigned overdue_ = overdue_first;
    std::uint32_t level_mask_ = 0;
    std::array<std::uint64_t, levels> digit_masks_{};
    std::array<Slot, levels * radix + 2> slots_{};
};

} // namespace srd
