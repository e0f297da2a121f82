// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// From keys to memory. resolve() is the only place in the provider where
// numbers that came over the wire turn into a pointer.
#pragma once

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
};

/// The keys of one domain. A key of another domain is simply not there, so the
/// domain check and the key check are one. Any thread.
class MrTable {
public:
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

    /// From the return on resolve() does not find the key. False: there is no such key.
    bool remove(std::uint64_t key) noexcept;

    /// The memory of [address, address + length) in the region `key`, as at most max_iov pieces.
    /// Returns the number of pieces, or 0 if the key is unknown, the access is not granted or a
    /// byte lies outside. A `length` of 0 is checked likewise and gives one empty piece.
    std::size_t resolve(std::uint64_t key, std::uint64_t address, std::uint64_t length, Access access,
                        std::span<iovec, max_iov> pieces) const noexcept;

    std::size_t size() const noexcept;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace srd
