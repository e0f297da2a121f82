// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The table behind an address vector of one process: socket address <-> index.
//
// Laws:
//  - The same address has one index, however often it is inserted; it goes with
//    the last removal.
//  - An index that has gone names nothing, and no other address gets it, before
//    recycle(): meanwhile whoever remembers what it meant can be told to forget.
//
// Memory: an entry costs about 90 bytes. Threading: any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include <srd/address.hpp>

namespace srd {

class AddressTable {
public:
    static constexpr std::uint32_t none = ~std::uint32_t{0};

    /// Makes room for `count` addresses. Throws std::bad_alloc.
    void reserve(std::size_t count);

    /// Adds `address`, or counts one more use if it is there. Returns its index. Throws std::bad_alloc; then
    /// nothing has changed.
    std::uint32_t insert(const SocketAddress& address);

    enum class Removed : std::uint8_t {
        unknown, ///< the index names nothing
        used,    ///< there are other uses
        gone,    ///< that was the last: recycle() is due
    };
    /// Takes one use back.
    Removed remove(std::uint64_t index) noexcept;
    /// `index`, which remove() has reported gone, may be given to another address.
    void recycle(std::uint32_t index) noexcept;

    /// False: `index` names nothing.
    bool address_of(std::uint64_t index, SocketAddress& address) const noexcept;
    /// The index of `address`; `none` if it was not inserted.
    std::uint32_t find(const SocketAddress& address) const noexcept;

    /// Changes at least whenever an address comes or goes.
    const std::atomic<std::uint64_t>& generation() const noexcept { return generation_; }

private:
    struct Use {
        std::uint32_t index = 0;
        std::uint32_t count = 0;
    };
    struct Hash {
        std::size_t operator()(const SocketAddress& address) const noexcept { return address.hash(); }
    };
    using Index = std::unordered_map<SocketAddress, Use, Hash>;

    mutable std::shared_mutex mutex_;
    Index index_;                             ///< its nodes hold the addresses; they never move
    std::vector<Index::value_type*> entries_; ///< by index; null: names nothing
    std::vector<std::uint32_t> free_;         ///< recycled
    std::atomic<std::uint64_t> generation_{1};
};

} // namespace srd
