// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "mr_table.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

namespace srd {

namespace {

struct Region {
    std::array<iovec, max_iov> memory{};
    std::size_t pieces = 0;
    std::uint64_t length = 0; ///< over all pieces
    std::uint64_t origin = 0; ///< what a peer calls the first byte
    Access access = Access::none;
};

/// True if the piece and the sum of the lengths stay inside the address space.
/// A region may end at the very last byte: MPI registers [0, UINTPTR_MAX) for dynamic windows.
bool fits(const iovec& piece, std::uint64_t sum) noexcept
{
    const auto base = reinterpret_cast<std::uintptr_t>(piece.iov_base);
    return piece.iov_len <= std::numeric_limits<std::uintptr_t>::max() - base &&
           piece.iov_len <= std::numeric_limits<std::uint64_t>::max() - sum;
}

} // namespace

struct MrTable::Impl {
    explicit Impl(std::function<std::uint64_t()> source) : random(std::move(source)) {}

    static Status make_region(const RegionSpec& spec, Region& region) noexcept
    {
        if (spec.memory.empty() || spec.memory.size() > max_iov) {
            return Status::invalid;
        }
        for (const iovec& piece : spec.memory) {
            if (!fits(piece, region.length)) {
                return Status::invalid;
            }
            region.length += piece.iov_len;
            region.memory[region.pieces++] = piece;
        }
        region.access = spec.access;
        region.origin = spec.addressing == Addressing::virtual_address
                            ? reinterpret_cast<std::uintptr_t>(spec.memory.front().iov_base)
                            : spec.offset;
        return Status::ok;
    }

    mutable std::shared_mutex mutex;
    std::unordered_map<std::uint64_t, Region> regions;
    std::function<std::uint64_t()> random;
};

MrTable::MrTable(std::function<std::uint64_t()> random) : impl_(std::make_unique<Impl>(std::move(random))) {}

MrTable::~MrTable() = default;

Status MrTable::insert(const RegionSpec& spec, std::uint64_t& key)
{
    Region region;
    if (const Status status = Impl::make_region(spec, region); status != Status::ok) {
        return status;
    }
    const std::unique_lock lock(impl_->mutex);
    do {
        key = impl_->random();
    } while (key == 0 || key == std::numeric_limits<std::uint64_t>::max() || impl_->regions.contains(key));
    impl_->regions.emplace(key, region);
    return Status::ok;
}

Status MrTable::insert_as(const RegionSpec& spec, std::uint64_t key)
{
    Region region;
    if (const Status status = Impl::make_region(spec, region); status != Status::ok) {
        return status;
    }
    const std::unique_lock lock(impl_->mutex);
    return impl_->regions.emplace(key, region).second ? Status::ok : Status::again;
}

bool MrTable::remove(std::uint64_t key) noexcept
{
    const std::unique_lock lock(impl_->mutex);
    return impl_->regions.erase(key) != 0;
}

std::size_t MrTable::resolve(std::uint64_t key, std::uint64_t address, std::uint64_t length, Access access,
                             std::span<iovec, max_iov> pieces) const noexcept
{
    const std::shared_lock lock(impl_->mutex);
    const auto found = impl_->regions.find(key);
    if (found == impl_->regions.end()) {
        return 0;
    }
    const Region& region = found->second;
    // No sum is formed before it is known not to wrap.
    if (!includes(region.access, access) || address < region.origin ||
        address - region.origin > region.length || length > region.length - (address - region.origin)) {
        return 0;
    }
    std::uint64_t skip = address - region.origin;
    std::uint64_t left = length;
    std::size_t count = 0;
    for (const iovec& piece : std::span(region.memory).first(region.pieces)) {
        if (skip > piece.iov_len || (skip == piece.iov_len && left != 0)) {
            skip -= piece.iov_len;
            continue;
        }
        const std::uint64_t take = std::min<std::uint64_t>(left, piece.iov_len - skip);
        pieces[count++] = {static_cast<std::byte*>(piece.iov_base) + skip, take};
        left -= take;
        skip = 0;
        if (left == 0) {
            break;
        }
    }
    return count;
}

std::size_t MrTable::size() const noexcept
{
    const std::shared_lock lock(impl_->mutex);
    return impl_->regions.size();
}

} // namespace srd
