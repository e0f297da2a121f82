// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// From keys to memory. resolve() is the only place in the provider where
// numbers that came over the wire turn into a pointer.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include <sys/uio.h>

#include <srd/limits.hpp>
#include <srd/status.hpp>

namespace srd {

/// What a region may be used for; bits.
enum class Access : std::uint32_t {
    none = 0,
    remote_read = 1,  ///< peers may read it
    remote_write = 2, ///< peers may write it
};
constexpr Access operator|(Access a, Access b) noexcept
{
    return static_cast<Access>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
constexpr bool includes(Access have, Access want) noexcept
{
    return (static_cast<std::uint32_t>(have) & static_cast<std::uint32_t>(want)) ==
           static_cast<std::uint32_t>(want);
}

/// How a peer's 64-bit address names a byte of the region.
enum class Addressing : std::uint8_t {
    offset,          ///< bytes from the beginning of the region plus RegionSpec::offset
    virtual_address, ///< the owner's virtual address (FI_MR_VIRT_ADDR, FI_MR_BASIC)
};

struct RegionSpec {
    std::span<const iovec> memory; ///< 1 .. max_iov pieces, addressed as one range; copied
    Access access = Access::none;
    Addressing addressing = Addressing::offset;
    std::uint64_t offset = 0; ///< the address of the first byte with Addressing::offset
    void* owner = nullptr;    ///< handed back by resolve(); not interpreted
};

/// What the table knows of a region.
struct Region {
    std::array<iovec, max_iov> memory{};
    std::size_t pieces = 0;
    std::uint64_t length = 0; ///< over all pieces
    std::uint64_t origin = 0; ///< what a peer calls the first byte
    Access access = Access::none;
    void* owner = nullptr;
};

/// What resolve() finds.
struct Resolved {
    Cause cause = Cause::bad_key; ///< none; bad_key; access_denied; out_of_bounds
    std::size_t count = 0;        ///< of `pieces`; at least 1 unless `cause` is set
    std::array<iovec, max_iov> pieces{};
    void* owner = nullptr; ///< of the region, if the key is known

    std::span<const iovec> memory() const noexcept { return {pieces.data(), count}; }
};

/// The keys of one domain. A key of another domain is simply not there, so the
/// domain check and the key check are one. Any thread.
class MrTable {
public:
    /// The regions that one user of the table (an endpoint, under its lock) has seen last, so that a key
    /// that comes again is found without the table's lock.
    class Cache {
        friend class MrTable;
        struct Entry {
            std::uint64_t generation = 0; ///< of the table when the region was copied; 0: empty
            std::uint64_t key = 0;
            Region region;
        };
        std::array<Entry, 16> entries_{};
    };

    /// `random` gives 64 unpredictable bits per call (a peer must not be able to guess a key from
    /// others that it was given). It is called with the table's lock held.
    explicit MrTable(std::function<std::uint64_t()> random);
    ~MrTable();
    MrTable(const MrTable&) = delete;
    MrTable& operator=(const MrTable&) = delete;

    /// Adds a region under a random key that no region of this table has.
    /// Errors: invalid (no piece, too many, or a range that wraps), no_memory.
    Status insert(const RegionSpec& spec, std::uint64_t& key);

    /// The same under the caller's key. Errors: as insert(); again: the key is taken.
    Status insert_as(const RegionSpec& spec, std::uint64_t key);

    /// False: there is no such key. From the return on, a resolve() that begins does not find the key. One
    /// that has begun in another thread may still be using the memory: wait until that thread has left the
    /// lock under which it resolves.
    bool remove(std::uint64_t key) noexcept;

    /// The memory of [address, address + length) in the region `key`, if `access` is granted there. A
    /// `length` of 0 is checked likewise and gives one empty piece. `cache`: only the caller's own.
    Resolved resolve(Cache& cache, std::uint64_t key, std::uint64_t address, std::uint64_t length,
                     Access access) const noexcept;

    std::size_t size() const noexcept;

private:
    const Region* find(Cache& cache, std::uint64_t key) const noexcept;

    struct Impl;
    std::unique_ptr<Impl> impl_;
    std::atomic<std::uint64_t> generation_{1}; ///< grows with every remove(): cached regions may be gone
};

} // namespace srd
