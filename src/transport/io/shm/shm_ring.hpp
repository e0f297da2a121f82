// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The two ends of a ring in shared memory (shm_box.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <srd/types.hpp>

#include "io/core/packet_io.hpp"
#include "io/shm/shm_box.hpp"

namespace srd {

/// Copies the beginning of `from`, memory of the process that `writer` belongs to, to `into`, which is no
/// longer. Everything is checked in the same system call, or after it: that it was that process's memory,
/// because a process number may come to mean another one, and that it had not been taken back by then.
ProcessMemory::Read read_process(const ShmHeader& writer, std::uint32_t epoch, std::span<const iovec> from,
                                 std::span<const iovec> into) noexcept;

/// The blocks of the own box's pool. They come back by themselves when the ring's head has passed the packet.
class ShmPool {
public:
    /// The first of `count` adjacent blocks for packet number `packet` of a ring, or shm_no_block. No ring
    /// gets more than what is left to others, so that peers that do not read cannot have it all.
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

/// Where packets to one peer are written.
class ShmSender {
public:
    ShmSender() = default;
    /// `own`: the box with the ring. All references must outlive the object.
    ShmSender(const ShmMapping& own, ShmPool& pool, std::uint32_t ring) noexcept;

    std::uint32_t ring() const noexcept { return ring_; }
    /// Packets written so far: the next one's number.
    std::uint32_t tail() const noexcept { return tail_; }
    /// Writes one packet, of at most max_shm_packet bytes. False: the ring is full, or the pool.
    bool push(const TxPacket& packet) noexcept;
    /// True if push() has failed so often while the reader gave nothing back that it seems not to run.
    bool stuck() const noexcept { return failures_ >= patience; }
    /// Nobody reads any more what was written.
    void abandon() noexcept;

private:
    /// In vain, at a microsecond or so each: longer than a running reader is busy with one packet.
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

/// All rings that are written to this endpoint.
class ShmReceiver final : public RemoteBytes {
public:
    /// `own`: the box with the bells. Must outlive the object.
    explicit ShmReceiver(const ShmMapping& own) noexcept : own_(own) {}

    /// Begins to read `ring` of a peer's box, whose next packet is number `start`; the number of its bell, or
    /// shm_rings if there is none left. The same ring twice is the same.
    std::uint32_t open(const std::shared_ptr<ShmMapping>& box, std::uint32_t ring, std::uint32_t start,
                       RouteId route);
    /// Whoever wrote from there has gone, unless it writes from `except`: rings close when they are empty.
    void orphan(RouteId route, const ShmMapping* except = nullptr) noexcept;
    bool empty() const noexcept { return open_count_ == 0; }

    /// Fills a prefix of `packets`; they stay valid until release().
    std::size_t receive(std::span<RxPacket> packets, Time now) noexcept;
    bool fetch(std::uint32_t mapping_id, std::span<const iovec> into) noexcept override;
    void release() noexcept;
    /// True if a packet is there that is not handed out.
    bool waiting() const noexcept;

    /// Packets whose description made no sense, since the last call.
    std::uint64_t take_malformed() noexcept { return std::exchange(malformed_, 0); }

private:
    struct Ring {
        std::shared_ptr<ShmMapping> box; ///< null: not in use
        const ShmEntry* entries = nullptr;
        ShmControl* control = nullptr;
        std::uint32_t number = 0;
        std::uint32_t next = 0; ///< packet to hand out next
        RouteId route{};
        bool orphan = false;
        bool watched = false;
        bool held = false;       ///< packets before `next` are handed out
        std::uint64_t heard = 0; ///< looks_ when something was there

        bool ready() const noexcept
        {
            return entries[next % shm_ring_entries].turn.load(std::memory_order_acquire) == next + 1;
        }
    };

    /// Rings looked at without waiting for a bell.
    static constexpr std::size_t max_watched = 8;
    /// Looks without a packet after which a ring gives its place up. (About a millisecond.)
    static constexpr std::uint64_t patience = 1U << 14U;

    std::size_t read(std::uint32_t bell, std::span<RxPacket> packets, Time now) noexcept;
    std::size_t receive_rung(std::span<RxPacket> packets, Time now) noexcept;
    static bool is_over(const Ring& ring) noexcept;
    void close_ring(std::uint32_t bell) noexcept;
    void look_after_rings() noexcept;
    void watch(std::uint32_t bell) noexcept;
    void unwatch(std::size_t place) noexcept;
    void collect_bells() noexcept;
    void ring_bell(std::uint32_t bell) noexcept;

    const ShmMapping& own_;
    std::vector<Ring> rings_; ///< by bell
    std::size_t open_count_ = 0;
    std::array<std::uint32_t, max_watched> watched_{};
    std::size_t watched_count_ = 0;
    std::array<std::uint64_t, shm_rings / 64> rung_{}; ///< bells heard whose rings are not yet empty
    bool any_rung_ = false;
    std::vector<std::uint32_t> held_; ///< bells of the rings with packets handed out
    std::uint64_t looks_ = 0;
    std::uint64_t malformed_ = 0;
};

} // namespace srd
