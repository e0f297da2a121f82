// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Connection identifier → peer. Open addressing over identifiers that are
// random by construction, so the identifier is its own hash; an attacker who
// invents identifiers only ever misses.
#pragma once

#include <bit>
#include <cstdint>

#include <srd/check.hpp>
#include <srd/intrusive_list.hpp>
#include <srd/lazy_array.hpp>

namespace srd {

class ConnectionTable {
public:
    explicit ConnectionTable(std::uint32_t max_entries)
        : mask_(std::bit_ceil(std::uint64_t{max_entries} * 2) - 1), entries_(mask_ + 1)
    {
    }

    void insert(std::uint64_t connection, std::uint32_t peer) noexcept
    {
        SRD_DCHECK(connection != 0);
        std::uint64_t at = connection & mask_;
        while (entries_[at].connection != 0) {
            at = (at + 1) & mask_;
        }
        entries_[at] = Entry{connection, peer};
    }

    /// The peer, or no_index.
    std::uint32_t find(std::uint64_t connection) const noexcept
    {
        for (std::uint64_t at = connection & mask_; entries_[at].connection != 0; at = (at + 1) & mask_) {
            if (entries_[at].connection == connection) {
                return entries_[at].peer;
            }
        }
        return no_index;
    }

    void erase(std::uint64_t connection) noexcept
    {
        std::uint64_t at = connection & mask_;
        while (entries_[at].connection != connection) {
            SRD_CHECK(entries_[at].connection != 0);
            at = (at + 1) & mask_;
        }
        // Close the gap: move back every follower whose own place is not behind it.
        std::uint64_t gap = at;
        for (at = (at + 1) & mask_; entries_[at].connection != 0; at = (at + 1) & mask_) {
            const std::uint64_t home = entries_[at].connection & mask_;
            if (((at - home) & mask_) >= ((at - gap) & mask_)) {
                entries_[gap] = entries_[at];
                gap = at;
            }
        }
        entries_[gap] = Entry{};
    }

private:
    struct Entry {
        std::uint64_t connection; ///< 0: free
        std::uint32_t peer;
    };
    std::uint64_t mask_;
    LazyArray<Entry> entries_;
};

} // namespace srd
