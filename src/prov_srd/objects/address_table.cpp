// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "objects/address_table.hpp"

#include <mutex>

#include <srd/check.hpp>

namespace srd {

void AddressTable::reserve(std::size_t count)
{
    const std::unique_lock lock(mutex_);
    entries_.reserve(count);
    index_.reserve(count);
}

std::uint32_t AddressTable::insert(const SocketAddress& address)
{
    const std::unique_lock lock(mutex_);
    const auto [entry, is_new] = index_.try_emplace(address);
    if (is_new) {
        if (free_.empty()) {
            try {
                if (entries_.size() == entries_.capacity()) {
                    entries_.reserve(2 * entries_.size() + 16);
                }
                free_.reserve(entries_.capacity()); // so that recycle() cannot fail
            } catch (...) {
                index_.erase(entry);
                throw;
            }
            entry->second.index = static_cast<std::uint32_t>(entries_.size());
            entries_.push_back(nullptr);
        } else {
            entry->second.index = free_.back();
            free_.pop_back();
        }
        SRD_CHECK(entries_[entry->second.index] == nullptr);
        entries_[entry->second.index] = &*entry;
    }
    ++entry->second.count;
    generation_.fetch_add(1, std::memory_order_release);
    return entry->second.index;
}

AddressTable::Removed AddressTable::remove(std::uint64_t index) noexcept
{
    const std::unique_lock lock(mutex_);
    if (index >= entries_.size() || entries_[index] == nullptr) {
        return Removed::unknown;
    }
    const Index::value_type& entry = *entries_[index];
    SRD_CHECK(entry.second.index == index && entry.second.count != 0);
    if (--entries_[index]->second.count != 0) {
        return Removed::used;
    }
    entries_[index] = nullptr;
    index_.erase(index_.find(entry.first));
    generation_.fetch_add(1, std::memory_order_release);
    return Removed::gone;
}

void AddressTable::recycle(std::uint32_t index) noexcept
{
    const std::unique_lock lock(mutex_);
    SRD_CHECK(index < entries_.size() && entries_[index] == nullptr);
    SRD_CHECK(free_.size() < free_.capacity());
    free_.push_back(index);
}

bool AddressTable::address_of(std::uint64_t index, SocketAddress& address) const noexcept
{
    const std::shared_lock lock(mutex_);
    if (index >= entries_.size() || entries_[index] == nullptr) {
        return false;
    }
    address = entries_[index]->first;
    return true;
}

std::uint32_t AddressTable::find(const SocketAddress& address) const noexcept
{
    const std::shared_lock lock(mutex_);
    const auto found = index_.find(address);
    return found == index_.end() ? none : found->second.index;
}

} // namespace srd
