// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Address vectors: fi_addr_t -> socket address and back. FI_AV_MAP and
// FI_AV_TABLE are served alike: fi_addr_t is an index from 0. A vector with a name
// (fi_av_attr.name) is a view of a table that processes share (shared_addresses.hpp).
//
//   av.cpp         the vector; open, bind, close, lookup, removal
//   av_insert.cpp  the insertion calls
//
// A peer's state comes into being when an endpoint first sends to it, not by insertion.
// Threading: every function may be called by any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

#include <srd/address.hpp>

#include "objects/address_table.hpp"

namespace srd {

class SharedAddresses;
struct Domain;
struct EventQueue;

/// Told by an AddressVector what happens to it. An endpoint implements this.
class AvObserver {
public:
    /// `fi_addr` names nothing any more. No other address gets it before all observers have returned.
    /// Called before fi_av_remove() returns; the observer may look into the vector, but not attach or detach.
    virtual void address_removed(fi_addr_t fi_addr) noexcept = 0;

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

    /// Changes at least whenever an address comes or goes, so that a cache of find() knows when it is stale.
    std::uint64_t generation() const noexcept { return generation_->load(std::memory_order_acquire); }

    /// The observer must stay alive until detach(); while one is attached the vector cannot be closed.
    /// Throws std::bad_alloc.
    void attach(AvObserver& observer);
    /// On return no call into `observer` is under way.
    void detach(AvObserver& observer) noexcept;

    // -- For the libfabric calls -------------------------------------------

    /// Adds `address`, or counts one more use if it is there. 0 or a negative fi_errno. Throws
    /// std::bad_alloc.
    int insert(const SocketAddress& address, fi_addr_t& fi_addr);
    /// Takes one use back; the observers hear of the last. 0, -FI_EINVAL if `fi_addr` names nothing, or
    /// -FI_EPERM if the vector is shared and was opened with FI_READ.
    int remove(fi_addr_t fi_addr) noexcept;
    bool has_observers() const noexcept;
    /// fi_av_attr.map_addr of a shared vector; null for others.
    void* map_addr() const noexcept;

    fid_av fid{}; ///< fid.fid.context is the application's
    Domain& domain;
    EventQueue* event_queue = nullptr; ///< bound with fi_av_bind for FI_EVENT insertions
    bool asynchronous = false;         ///< FI_EVENT: insertions report through event_queue

private:
    std::unique_ptr<SharedAddresses> shared_; ///< null: `own_` is used
    AddressTable own_;
    const std::atomic<std::uint64_t>* generation_ = &own_.generation();
    mutable std::mutex observers_mutex_; ///< before the tables' locks; held while observers are told
    std::vector<AvObserver*> observers_;
};

/// The vector behind an open fid_av.
inline AddressVector& av_from(fid_av* av) noexcept
{
    return *static_cast<AddressVector*>(static_cast<void*>(av));
}

/// fi_av_open(3).
int av_open(fid_domain* domain, fi_av_attr* attr, fid_av** av, void* context) noexcept;

// The calls of fi_av(3) that insert, in av_insert.cpp.
int av_insert(fid_av* av, const void* addr, std::size_t count, fi_addr_t* fi_addr, std::uint64_t flags,
              void* context) noexcept;
int av_insertsvc(fid_av* av, const char* node, const char* service, fi_addr_t* fi_addr, std::uint64_t flags,
                 void* context) noexcept;
int av_insertsym(fid_av* av, const char* node, std::size_t node_count, const char* service,
                 std::size_t service_count, fi_addr_t* fi_addr, std::uint64_t flags, void* context) noexcept;
/// Bytes of an address of this vector as the application gives it.
std::size_t address_size(const AddressVector& vector) noexcept;

} // namespace srd
