// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Address vectors: fi_addr_t -> socket address and back. FI_AV_MAP and
// FI_AV_TABLE are served alike: fi_addr_t is an index from 0. A vector with a name
// (fi_av_attr.name) is a view of a table that processes share (shared_addresses.hpp).
//
// Memory: an entry costs about 90 bytes and nothing else; a peer's state comes
// into being when an endpoint first sends to it.
// Threading: every function may be called by any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

#include <srd/address.hpp>

namespace srd {

class SharedAddresses;
struct Domain;
struct EventQueue;

/// Told by an AddressVector what happens to it. An endpoint implements this.
class AvObserver {
public:
    /// `fi_addr` no longer names `address`. Called without any lock of the vector held,
    /// before fi_av_remove() returns.
    virtual void address_removed(fi_addr_t fi_addr, std::span<const std::byte> address) noexcept = 0;

protected:
    ~AvObserver() = default;
};

struct AddressVector {
    /// Throws std::bad_alloc; if `attr` has a name also std::system_error.
    AddressVector(Domain& owner, const fi_av_attr& attr, void* context);
    ~AddressVector();
    AddressVector(const AddressVector&) = delete;
    AddressVector& operator=(const AddressVector&) = delete;

    // -- For the data path --------------------------------------------------

    /// The socket address behind `fi_addr`, as PacketIo::resolve() takes it. False: there is none.
    bool address_of(fi_addr_t fi_addr, SocketAddress& address) const noexcept;

    /// The fi_addr_t of a socket address; FI_ADDR_NOTAVAIL if it was not inserted.
    fi_addr_t find(const SocketAddress& address) const noexcept;

    /// Changes with every insertion and removal, so that a cache of find() and address_of() knows
    /// when it is stale.
    std::uint64_t generation() const noexcept { return generation_->load(std::memory_order_acquire); }

    /// The observer must stay alive until detach(); while one is attached the vector cannot be closed.
    void attach(AvObserver& observer);
    /// On return no call into `observer` is under way.
    void detach(AvObserver& observer) noexcept;

    // -- For the libfabric calls (av.cpp) -----------------------------------

    /// Adds `address`, or counts one more use if it is there. Returns 0 or a negative fi_errno.
    int insert(const SocketAddress& address, fi_addr_t& fi_addr);
    /// Takes one use back. 0, or -FI_EINVAL if `fi_addr` names nothing.
    int remove(fi_addr_t fi_addr) noexcept;
    bool has_observers() const noexcept;
    /// fi_av_attr.map_addr of a shared vector; null for others.
    void* map_addr() const noexcept;

    fid_av fid{}; ///< fid.fid.context is the application's
    Domain& domain;
    EventQueue* event_queue = nullptr; ///< bound with fi_av_bind for FI_EVENT insertions
    bool asynchronous = false;         ///< FI_EVENT: insertions report through event_queue

private:
    struct Use {
        std::uint32_t index = 0;
        std::uint32_t count = 0;
    };
    struct Hash {
        std::size_t operator()(const SocketAddress& address) const noexcept { return address.hash(); }
    };
    using Index = std::unordered_map<SocketAddress, Use, Hash>;

    int remove_own(fi_addr_t fi_addr, SocketAddress& address, bool& gone) noexcept;

    std::unique_ptr<SharedAddresses>
        shared_; ///< null: a vector of this process alone, in the fields that follow
    mutable std::shared_mutex mutex_;
    Index index_;                             ///< its nodes hold the addresses; they never move
    std::vector<Index::value_type*> entries_; ///< by fi_addr_t; null: free
    std::vector<std::uint32_t> free_;
    std::atomic<std::uint64_t> own_generation_{1};
    const std::atomic<std::uint64_t>* generation_ = &own_generation_;
    mutable std::mutex observers_mutex_; ///< taken before mutex_, and held while observers are told
    std::vector<AvObserver*> observers_;
};

/// The vector behind an open fid_av.
inline AddressVector& av_from(fid_av* av) noexcept
{
    return *static_cast<AddressVector*>(static_cast<void*>(av));
}

int av_open(fid_domain* domain, fi_av_attr* attr, fid_av** av, void* context) noexcept;

} // namespace srd
