// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The table behind a named address vector (fi_av_attr.name): a POSIX shared
// memory object that processes of one user on one host share.
//
// Laws:
//  - Addresses are only ever added, and each keeps its index for good: a removed
//    one is marked, and the same address gets the same index again. So an index
//    that another process has remembered never comes to mean another peer.
//  - An addition is published by one store, of the count, after everything else
//    is in place; readers take no lock. A process that dies in the middle leaves
//    bytes that nobody looks at and a robust mutex that the next one takes over.
//  - Every user holds a shared flock() on the object. Who gets it exclusively
//    is alone: what lies there is a dead process's, and is made anew or removed.
//  - Memory is allocated (posix_fallocate) before it is written, so that a full
//    /dev/shm is an error code and not a SIGBUS. It grows by doubling up to
//    max_addresses; address space for all of them is mapped at once, so that nothing ever moves.
//
// The object has mode 0600, and one of another user is refused: who shares it is trusted.
// Threading: every function may be called by any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include <rdma/fabric.h>

#include <srd/address.hpp>
#include <srd/file_descriptor.hpp>

namespace srd {

class SharedAddresses {
public:
    static constexpr std::uint32_t max_addresses = 1U << 20;

    struct Options {
        std::string domain;     ///< vectors of one name in different domains have nothing in common
        std::string name;       ///< the application's, any characters
        int family = 0;         ///< AF_INET or AF_INET6
        std::size_t count = 0;  ///< addresses to have memory for from the start
        bool read_only = false; ///< the table must exist
    };

    /// Opens the table, or makes it. Throws std::system_error, with a text for the log (ENOENT: read-only
    /// and nobody has made it; ENAMETOOLONG, EACCES, ENOMEM, ...).
    explicit SharedAddresses(const Options& options);
    /// The last one to leave removes the object.
    ~SharedAddresses();
    SharedAddresses(const SharedAddresses&) = delete;
    SharedAddresses& operator=(const SharedAddresses&) = delete;

    /// Adds `address`, or counts one more use of it. 0 or a negative fi_errno (-FI_EPERM: read-only,
    /// -FI_ENOMEM: full, or /dev/shm is).
    int insert(const SocketAddress& address, fi_addr_t& fi_addr) noexcept;
    /// Takes one use back; `gone`: that was the last. 0 or a negative fi_errno.
    int remove(fi_addr_t fi_addr, bool& gone) noexcept;
    /// False: `fi_addr` names nothing.
    bool address_of(fi_addr_t fi_addr, SocketAddress& address) const noexcept;
    /// FI_ADDR_NOTAVAIL if `address` is not there.
    fi_addr_t find(const SocketAddress& address) const noexcept;
    /// Changes with every insertion and removal of any process.
    const std::atomic<std::uint64_t>& generation() const noexcept;
    /// fi_av_attr.map_addr: an array of the fi_addr_t of all addresses in the order of insertion.
    void* ids() const noexcept;

private:
    struct Header;
    struct Entry;
    class Guard;

    bool try_open(const Options& options);
    bool initialize(std::size_t count);
    bool map();
    int allocate(std::uint32_t level) noexcept;
    int grow() noexcept;
    std::uint32_t published() const noexcept;
    bool is_at(std::uint32_t index, const SocketAddress& address) const noexcept;
    std::uint32_t find_index(const SocketAddress& address) const noexcept;
    void put(std::uint32_t level, const SocketAddress& address, std::uint32_t index) noexcept;
    SocketAddress read_address(std::uint32_t index) const noexcept;

    Header& header() const noexcept;
    Entry* entries() const noexcept;
    std::atomic<std::uint32_t>* slots(std::uint32_t level) const noexcept;

    std::string path_; ///< shm_open()'s name
    int family_;
    std::size_t address_size_;
    bool read_only_;
    FileDescriptor file_; ///< holds the lock
    std::byte* base_ = nullptr;
};

} // namespace srd
