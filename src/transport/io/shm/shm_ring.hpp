// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The two ends of a ring in shared memory (shm_segment.hpp).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <srd/types.hpp>

#include "io/core/packet_io.hpp"
#include "io/shm/shm_lane.hpp"
#include "io/shm/shm_segment.hpp"

namespace srd {

/// Copies the first bytes of `from`, memory of the process that owns `writer`, to `into`, which is no longer.
/// The same system call checks that it is that process (process ids are reused), and afterwards the epoch
/// tells whether the bytes may have changed meanwhile.
ProcessMemory::Read read_process(const ShmHeader& writer, std::uint32_t epoch, std::span<const iovec> from,
                                 std::span<const iovec> into) noexcept;

/// The blocks of our own segment's pool. A block is free again when the ring's head has passed its packet.
class ShmPool {
public:
    /// The first of `count` adjacent blocks for packet number `packet` of a ring, or shm_no_block. No ring
    /// gets more than is left for the others, so that a peer that does not read cannot exhaust the pool.
    std::uint32_t alloc(std::uint32_t count, const ShmControl& ring, std::uint32_t packet) noexcept;

private:
    struct Run {
        const ShmControl* ring = nullptr;
        std::uint32_t packet = 0;
        std::uint32_t count = 0;
    };

    std::uint32_t find(std::uint32_t count, const ShmControl& ring) const noexcept;
    bool reclaim() noexcept;

    static_assert(shm_blocks == 64);
    std::uint64_t free_ = ~std::uint64_t{0};
    std::uint64_t begins_ = 0;           ///< bit i: a run in use begins at block i
    std::array<Run, shm_blocks> runs_{}; ///< by first block
};

/// The writing end: packets to one peer.
class ShmSender {
public:
    ShmSender() = default;
    /// `own`: the segment with the ring. All references must outlive the object.
    ShmSender(const ShmMapping& own, ShmPool& pool, std::uint32_t ring) noexcept;

    std::uint32_t ring() const noexcept { return ring_; }
    /// Packets written so far: the next one's number.
    std::uint32_t tail() const noexcept { return tail_; }
    /// Writes one packet, of at most max_shm_packet bytes. False: the ring is full, or the pool.
    bool push(const TxPacket& packet) noexcept;
    /// True if push() has failed so often, while the reader freed nothing, that the reader seems not to run.
    bool stuck() const noexcept { return failures_ >= patience; }
    /// The reader has gone: all entries are free again.
    void abandon() noexcept;

private:
    /// Failed attempts, a microsecond or so each: longer than a running reader takes for one packet.
    static constexpr std::uint32_t patience = 64;

    bool room() noexcept;
    bool write_pieces(const TxPacket& packet, ShmEntry& entry) const noexcept;
    void publish(ShmEntry& entry) noexcept;

    const ShmMapping* own_ = nullptr;
    ShmPool* pool_ = nullptr;
    ShmEntry* entries_ = nullptr;
    ShmControl* control_ = nullptr;
    std::uint32_t ring_ = shm_rings;
    std::uint32_t tail_ = 0;
    std::uint32_t head_ = 0; ///< as last seen
    std::uint32_t failures_ = 0;
};

inline constexpr std::uint32_t max_shm_packet = 8 * shm_block_size;

/// The reading end of all rings that are written to this endpoint.
class ShmReceiver final : public RemoteBytes {
public:
    /// `own`: the segment with the doorbells. Must outlive the object.
    explicit ShmReceiver(const ShmMapping& own) noexcept : own_(own) {}

    /// Begins to read `ring` of a peer's segment, whose next packet is number `start`; the number of its
    /// doorbell, or shm_rings if there is none left. The same ring twice is the same.
    std::uint32_t open(const std::shared_ptr<ShmMapping>& segment, std::uint32_t ring, std::uint32_t start,
                       RouteId route);
    /// The processes that wrote from `route` have gone, except the one with the segment `except`: their rings
    /// close when they are empty.
    void orphan(RouteId route, const ShmMapping* except = nullptr) noexcept;
    /// One of the rings is its peer's.
    bool reads_from(RouteId route) const noexcept
    {
        return std::any_of(rings_.begin(), rings_.end(), [route](const Ring& ring) {
            return ring.segment != nullptr && ring.route == route;
        });
    }
    bool empty() const noexcept { return open_count_ == 0; }

    /// Fills a prefix of `packets`; they stay valid until release(). Finds lanes with messages, too.
    std::size_t receive(std::span<RxPacket> packets, Time now) noexcept;
    bool fetch(std::uint32_t mapping_id, std::span<const iovec> into) noexcept override;
    void release() noexcept;

    // -- Messages in the lanes that receive() has found: as LocalRoad

    bool any_message() const noexcept { return !lanes_.empty(); }
    const LocalRoad::Arrived* front_message() noexcept;
    void pop_message() noexcept { rings_[lanes_.back()].lane.pop(); }
    void reject_message() noexcept { rings_[lanes_.back()].lane.reject(message_.connection); }
    void pass_over() noexcept
    {
        rings_[lanes_.back()].passed_over = any_passed_over_ = true;
        lanes_.pop_back();
    }
    bool any_passed_over() const noexcept { return any_passed_over_; }

    /// True if there is a packet or message that receive() has not found yet.
    bool waiting() const noexcept;

    /// Packets with an invalid description since the last call.
    std::uint64_t take_malformed() noexcept { return std::exchange(malformed_, 0); }

private:
    struct Ring {
        std::shared_ptr<ShmMapping> segment; ///< null: not in use
        const ShmEntry* entries = nullptr;
        ShmControl* control = nullptr;
        std::uint32_t number = 0;
        std::uint32_t next = 0; ///< number of the packet to return next
        ShmLaneReader lane;
        RouteId route{};
        bool orphan = false;
        bool watched = false;
        bool passed_over = false; ///< the message in the lane has to wait
        bool held = false;        ///< returned by receive(), not yet released
        std::uint64_t heard = 0;  ///< value of polls_ when a packet was last found

        bool packet_ready() const noexcept
        {
            return entries[next % shm_ring_entries].turn.load(std::memory_order_acquire) == next + 1;
        }
        bool ready() const noexcept { return lane.ready() || packet_ready(); }
        bool has_news() const noexcept { return (!passed_over && lane.ready()) || packet_ready(); }
    };

    /// Rings that are polled without waiting for a doorbell.
    static constexpr std::size_t max_watched = 8;
    /// Polls without a packet after which a ring is polled no more (about a millisecond).
    static constexpr std::uint64_t patience = 1U << 14U;

    std::size_t read(std::uint32_t doorbell, std::span<RxPacket> packets, Time now) noexcept;
    std::size_t receive_pending(std::span<RxPacket> packets, Time now) noexcept;
    static bool is_over(const Ring& ring) noexcept;
    void close_ring(std::uint32_t doorbell) noexcept;
    void look_after_rings() noexcept;
    void watch(std::uint32_t doorbell) noexcept;
    void unwatch(std::size_t place) noexcept;
    void collect_doorbells() noexcept;
    void mark_pending(std::uint32_t doorbell) noexcept;

    const ShmMapping& own_;
    std::vector<Ring> rings_; ///< by doorbell
    std::size_t open_count_ = 0;
    std::array<std::uint32_t, max_watched> watched_{};
    std::size_t watched_count_ = 0;
    std::array<std::uint64_t, shm_rings / 64> pending_{}; ///< doorbells rung whose rings are not yet empty
    bool any_pending_ = false;
    std::vector<std::uint32_t> held_;  ///< doorbells of the rings with packets to release
    std::vector<std::uint32_t> lanes_; ///< doorbells of the rings whose lanes have messages to take
    bool any_passed_over_ = false;
    LocalRoad::Arrived message_; ///< the first one of the last of them
    std::uint64_t polls_ = 0;
    std::uint64_t malformed_ = 0;
};

} // namespace srd
