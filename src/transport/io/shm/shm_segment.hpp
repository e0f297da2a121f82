// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The memory that an endpoint shares with its peers on the same host: one segment per endpoint, an object in
// /dev/shm. An endpoint writes the packets that it sends into its own segment; peers map it and read them.
//
//   header | controls, one per ring | rings, one per receiving peer | pool of blocks for larger packets
//     | lanes, one per ring: whole messages (shm_lane.hpp), each mapped by itself
//
// Laws:
//  - A ring has one writer, the segment's owner, and one reader. The writer publishes an entry by storing its
//    `turn` after everything else in it; the reader frees entries by advancing the ring's `head`. A process
//    that is killed before either store has published nothing, and nobody waits for it.
//  - Memory is allocated (posix_fallocate) before it is used: a full /dev/shm is an error code and not a
//    SIGBUS. What is not allocated yet costs nothing.
//  - The owner holds a flock() on the object, so that objects of killed processes are recognized and removed.
//    Nobody ever shrinks it. Its mode is 0600, and an object of another user is refused. Its name, 128 random
//    bits, is no secret: everybody can list /dev/shm. What is written in it is: its key proves messages
//    (shm_message.hpp), and its owner's address tells whom they may be about. Whatever peers write into it is
//    validated all the same.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <srd/address.hpp>
#include <srd/file_descriptor.hpp>
#include <srd/limits.hpp>

namespace srd {

inline constexpr std::size_t cache_line = 64;
inline constexpr std::uint32_t shm_ring_entries = 16;
inline constexpr std::uint32_t shm_rings = 1024; ///< peers on this host that an endpoint can write to
inline constexpr std::uint32_t shm_blocks = 64;
inline constexpr std::uint32_t shm_block_size = 8192;
inline constexpr std::size_t shm_lane_size = 20480;
inline constexpr std::uint32_t shm_no_block = ~std::uint32_t{0};

/// The random part of an object's name.
using ShmToken = std::array<std::uint8_t, 16>;
/// What only those know who can read an object.
using ShmKey = std::array<std::uint64_t, 2>;

/// Whose object it is. Written before ShmHeader::magic, and never changed.
struct ShmIdentity {
    ShmToken token;                                    ///< the object's
    ShmKey key;                                        ///< proves messages
    std::array<std::byte, sizeof(sockaddr_in6)> owner; ///< the address of its endpoint
};

/// Bytes in the memory of the process that wrote the entry.
struct ShmPiece {
    std::uint64_t address;
    std::uint64_t length;
};

/// A packet whose tail was not copied: the reader fetches it from the writer's memory.
struct ShmSplit {
    std::array<std::byte, 172> head;
    std::uint32_t epoch; ///< ShmHeader::epoch when it was written
    std::array<ShmPiece, max_iov> pieces;
};

struct ShmEntry {
    std::atomic<std::uint32_t> turn; ///< the packet's number in the ring plus one, written last
    std::uint32_t length;            ///< bytes in `bytes`, or in the pool
    std::uint32_t block;       ///< first block of the pool that holds them; shm_no_block: they are in `bytes`
    std::uint32_t piece_count; ///< of `split`; 0: there are only `bytes`
    union {
        std::array<std::byte, 240> bytes;
        ShmSplit split;
    };
};
static_assert(sizeof(ShmEntry) == 256 && sizeof(ShmSplit) == sizeof(ShmEntry::bytes));

struct ShmControl {
    alignas(cache_line) std::atomic<std::uint32_t> head; ///< packets that the reader has freed
    std::atomic<std::uint32_t> lane_head;                ///< messages that it has taken
    alignas(
        cache_line) std::atomic<std::uint32_t> watched; ///< the reader polls this ring: no doorbell is needed
    std::atomic<std::uint32_t> copy;                    ///< the reader may not read the writer's memory
    std::atomic<std::uint32_t> lane_start; ///< by the writer: number of the message that a reader begins with
    std::atomic<std::uint32_t> lane_rejected; ///< names the last connection of which messages were dropped
};

struct ShmHeader {
    static constexpr std::uint64_t right_magic = 0x0003'6d68'732d'6473; ///< "sd-shm", layout 3
    alignas(cache_line) std::atomic<std::uint64_t> magic;               ///< written last
    std::atomic<std::uint32_t> closed;                                  ///< the owner has closed its endpoint
    // For cross-memory attach, process_vm_readv(2).
    std::int32_t process;    ///< the owner's process id in its own namespace
    std::uint64_t secret;    ///< any number
    std::uint64_t secret_at; ///< address of a copy of `secret` in its private memory: whoever reads it there
                             ///< has the right process, and the permission
    std::atomic<std::uint32_t> epoch; ///< advanced when pieces written before must not be read any more
    alignas(cache_line) ShmIdentity identity;
    /// The owner sleeps on its descriptors: a packet for it needs a message by the base backend.
    alignas(cache_line) std::atomic<std::uint32_t> asleep;
    /// A bit for each ring, in other segments, that is written to the owner: set by the writer if the owner
    /// does not poll that ring.
    alignas(cache_line) std::array<std::atomic<std::uint64_t>, shm_rings / 64> doorbells;
};
static_assert(offsetof(ShmHeader, identity) == cache_line && offsetof(ShmHeader, asleep) == 2 * cache_line);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free &&
              std::atomic<std::uint64_t>::is_always_lock_free);

struct ShmLane; // shm_lane.hpp

/// The lane beside one ring of a segment, our own or a peer's, mapped.
class ShmLaneMapping {
public:
    ShmLaneMapping() = default;
    ~ShmLaneMapping();
    ShmLaneMapping(ShmLaneMapping&& other) noexcept : base_(std::exchange(other.base_, nullptr)) {}
    ShmLaneMapping& operator=(ShmLaneMapping&& other) noexcept
    {
        std::swap(base_, other.base_);
        return *this;
    }

    /// Maps that of `ring` in the object with that token, where it is allocated. False with errno.
    bool map(const ShmToken& token, std::uint32_t ring) noexcept;
    ShmLane& lane() const noexcept;

private:
    void* base_ = nullptr;
};

/// A mapped segment: our own or a peer's.
class ShmMapping {
public:
    /// Maps `file`, an object of the right size. False with errno.
    bool map(const FileDescriptor& file) noexcept;
    ShmMapping() = default;
    ~ShmMapping();
    ShmMapping(const ShmMapping&) = delete;
    ShmMapping& operator=(const ShmMapping&) = delete;

    ShmHeader& header() const noexcept;
    ShmControl& control(std::uint32_t ring) const noexcept;
    ShmEntry* entries(std::uint32_t ring) const noexcept; ///< shm_ring_entries of them
    std::byte* block(std::uint32_t number) const noexcept;
    static std::size_t size() noexcept;

private:
    std::byte* base_ = nullptr;
};

/// The segment of an endpoint. Not thread-safe.
class ShmSegment {
public:
    /// Makes the object of the endpoint with that address. 0, or errno with a sentence.
    int open(const SocketAddress& owner, std::string& error);
    ~ShmSegment();

    const std::shared_ptr<ShmMapping>& mapping() const noexcept { return mapping_; }
    ShmHeader& header() const noexcept { return mapping_->header(); }
    /// Allocates one more ring with its lane, and with the first one the pool. False with errno: /dev/shm is
    /// full, or all rings are used.
    bool add_ring(std::uint32_t& ring) noexcept;

private:
    FileDescriptor file_; ///< holds the lock
    std::string name_;
    std::uint64_t secret_ = 0; ///< in private memory: ShmHeader::secret_at
    std::shared_ptr<ShmMapping> mapping_;
    std::uint32_t ring_count_ = 0;
};

/// A peer's object, not mapped: whether it is what a message says is known without.
class ShmObject {
public:
    /// False with errno: no such object in this /dev/shm, or not one of this user's.
    bool open(const ShmToken& token) noexcept;
    const ShmKey& key() const noexcept { return key_; }
    const SocketAddress& owner() const noexcept { return owner_; }
    /// Null with errno.
    std::shared_ptr<ShmMapping> map() const;
    const FileDescriptor& file() const noexcept { return file_; }

private:
    FileDescriptor file_;
    ShmKey key_{};
    SocketAddress owner_;
};

/// True if the segment's owner holds its lock. That nobody has its address may be a mistake, for a firewall
/// may say so; this is none.
bool shm_owner_lives(const ShmToken& token) noexcept;

/// Maps a peer's segment. Null with errno, as ShmObject.
std::shared_ptr<ShmMapping> open_shm_segment(const ShmToken& token);

} // namespace srd
