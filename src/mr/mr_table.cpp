// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "mr_table.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

#include <srd/check.hpp>

namespace srd {

namespace {

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
        region.owner = spec.owner;
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
    generation_.fetch_add(1, std::memory_order_release);
    return impl_->regions.erase(key) != 0;
}

/// The region under `key`, copied to `cache`, or null.
const Region* MrTable::find(Cache& cache, std::uint64_t key) const noexcept
{
    constexpr std::uint64_t golden = 0x9e3779b97f4a7c15; // spreads keys that were simply counted
    constexpr int index_bits = 4;
    static_assert(std::tuple_size_v<decltype(cache.entries_)> == 1U << index_bits);
    Cache::Entry& entry = cache.entries_[(key * golden) >> (64 - index_bits)];
    if (entry.key == key && entry.generation == generation_.load(std::memory_order_acquire)) [[likely]] {
        return &entry.region;
    }
    const std::shared_lock lock(impl_->mutex);
    const auto found = impl_->regions.find(key);
    if (found == impl_->regions.end()) {
        return nullptr;
    }
    entry = {.generation = generation_.load(std::memory_order_relaxed), .key = key, .region = found->second};
    return &entry.region;
}

Resolved MrTable::resolve(Cache& cache, std::uint64_t key, std::uint64_t address, std::uint64_t length,
                          Access access) const noexcept
{
    Resolved result;
    const Region* const region = find(cache, key);
    if (region == nullptr) {
        return result;
    }
    result.owner = region->owner;
    if (!includes(region->access, access)) {
        result.cause = Cause::access_denied;
        return result;
    }
    // No sum is formed before it is known not to wrap.
    if (address < region->origin || address - region->origin > region->length ||
        length > region->length - (address - region->origin)) {
        result.cause = Cause::out_of_bounds;
        return result;
    }
    result.cause = Cause::none;
    std::uint64_t skip = address - region->origin;
    std::uint64_t left = length;
    for (const iovec& piece : std::span(region->memory).first(region->pieces)) {
        if (skip > piece.iov_len || (skip == piece.iov_len && left != 0)) {
            skip -= piece.iov_len;
            continue;
        }
        const std::uint64_t take = std::min<std::uint64_t>(left, piece.iov_len - skip);
        // As a number: a region of the whole address space begins at NULL.
        const auto place = reinterpret_cast<std::uintptr_t>(piece.iov_base) + skip;
        result.pieces[result.count++] = {std::bit_cast<void*>(place), take};
        left -= take;
        skip = 0;
        if (left == 0) {
            break;
        }
    }
    SRD_CHECK(left == 0 && result.count != 0); // what was checked against the length is in the pieces
    return result;
}

std::size_t MrTable::size() const noexcept
{
    const std::shared_lock lock(impl_->mutex);
    return impl_->regions.size();
}

} // namespace srd
