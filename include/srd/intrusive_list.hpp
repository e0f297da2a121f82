// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A doubly linked list of elements that live in a Slab and name each other by
// index. The link is a member of the element, so nothing is ever allocated.
#pragma once

#include <cstdint>

#include <srd/check.hpp>

namespace srd {

inline constexpr std::uint32_t no_index = 0xffffffff;

struct Link {
    std::uint32_t prev = no_index;
    std::uint32_t next = no_index;
};

/// `Member` is a pointer to the Link inside the element (`&TxSlot::link`).
/// An element is on at most one list per Link; the owner keeps track of which.
template <auto Member>
class IndexList {
public:
    bool empty() const noexcept { return head_ == no_index; }
    std::uint32_t front() const noexcept { return head_; }
    std::uint32_t back() const noexcept { return tail_; }

    template <typename Pool>
    static std::uint32_t next(Pool& pool, std::uint32_t index) noexcept
    {
        return (pool[index].*Member).next;
    }

    template <typename Pool>
    void push_back(Pool& pool, std::uint32_t index) noexcept
    {
        Link& link = pool[index].*Member;
        link.prev = tail_;
        link.next = no_index;
        (tail_ == no_index ? head_ : (pool[tail_].*Member).next) = index;
        tail_ = index;
    }

    template <typename Pool>
    void push_front(Pool& pool, std::uint32_t index) noexcept
    {
        Link& link = pool[index].*Member;
        link.prev = no_index;
        link.next = head_;
        (head_ == no_index ? tail_ : (pool[head_].*Member).prev) = index;
        head_ = index;
    }

    template <typename Pool>
    void erase(Pool& pool, std::uint32_t index) noexcept
    {
        Link& link = pool[index].*Member;
        SRD_DCHECK(head_ != no_index);
        (link.prev == no_index ? head_ : (pool[link.prev].*Member).next) = link.next;
        (link.next == no_index ? tail_ : (pool[link.next].*Member).prev) = link.prev;
        link = Link{};
    }

    template <typename Pool>
    std::uint32_t pop_front(Pool& pool) noexcept
    {
        const std::uint32_t index = head_;
        if (index != no_index) {
            erase(pool, index);
        }
        return index;
    }

private:
    std::uint32_t head_ = no_index;
    std::uint32_t tail_ = no_index;
};

} // namespace srd
