// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The lane beside a ring of packets (shm_segment.hpp): whole messages from one writer, the segment's owner,
// to one reader. A short one is one cache line, header and payload; of a longer one the payload lies in lines
// of its own.
//
// Laws: those of the rings. An entry is published by its `turn`, stored last, and freed by the head that the
// reader stores; lines of payload are freed with their entry. Only entries have turns, so what applications
// write is never taken for one.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <sys/uio.h>

#include <srd/types.hpp>

#include "io/core/local_road.hpp"
#include "io/shm/shm_order.hpp"
#include "io/shm/shm_segment.hpp"

namespace srd {

inline constexpr std::uint32_t shm_lane_entries = 64;
inline constexpr std::uint32_t shm_lane_lines = 256;

/// Lines that a payload of `length` bytes takes.
constexpr std::uint32_t shm_lines_of(std::uint32_t length) noexcept
{
    return (length + 63U) / 64U;
}
static_assert(cache_line == 64);

struct ShmLaneEntry {
    static constexpr std::uint16_t tagged = 0x8000, has_data = 0x4000; ///< in `length`

    alignas(cache_line) std::atomic<std::uint32_t> turn; ///< the message's number in the lane plus one
    std::uint32_t sequence;
    std::uint32_t connection;
    std::uint16_t length; ///< of the payload, bytes, and two flags
    std::uint16_t line;   ///< the first one of the payload, if it does not fit `bytes`
    std::uint64_t tag;
    std::uint64_t data;
    std::array<std::byte, 32> bytes;
};
static_assert(sizeof(ShmLaneEntry) == cache_line && LocalRoad::max_message < ShmLaneEntry::has_data);

struct ShmLane {
    std::array<ShmLaneEntry, shm_lane_entries> entries;
    alignas(cache_line) std::array<std::array<std::byte, cache_line>, shm_lane_lines> lines;
};
static_assert(sizeof(ShmLane) == shm_lane_size);

/// The writing end.
class ShmLaneWriter {
public:
    /// `own`: the segment with the ring. It must outlive the object.
    ShmLaneWriter(ShmLaneMapping&& lane, const ShmMapping& own, std::uint32_t ring) noexcept
        : mapping_(std::move(lane)), lane_(mapping_.lane()), control_(own.control(ring)),
          order_(own.header().identity.token, ring)
    {
    }

    LocalRoad::Sent send(const LocalMessage& message, std::span<const iovec> payload,
                         std::uint32_t length) noexcept;
    /// LocalRoad::taken().
    std::uint32_t taken(std::uint32_t connection, std::uint32_t next) noexcept;
    bool all_taken() noexcept
    {
        learn_head();
        return head_ == tail_;
    }
    /// True if there were messages at the last call, too, and none was taken since.
    bool stalled() noexcept;
    /// A reader is going to be told of the lane, if none reads it already: it begins with what is written
    /// next.
    void offer() noexcept { control_.lane_start.store(tail_, std::memory_order_release); }
    /// The reader has gone: everything is free again.
    void abandon() noexcept;

private:
    /// Attempts that fail one after the other, each followed by a pass of the caller: longer than a running
    /// reader takes to look.
    static constexpr std::uint32_t patience = 4096;

    bool is_rejected(std::uint32_t connection) const noexcept
    {
        return connection != 0 && control_.lane_rejected.load(std::memory_order_relaxed) == connection;
    }
    void learn_head() noexcept;
    bool find_lines(std::uint32_t count, std::uint32_t& used) noexcept;

    ShmLaneMapping mapping_;
    ShmLane& lane_;
    ShmControl& control_;
    const ShmOrder order_;
    std::uint32_t tail_ = 0;      ///< messages written
    std::uint32_t head_ = 0;      ///< messages that the reader is known to have taken
    std::uint32_t line_tail_ = 0; ///< lines given out, and freed
    std::uint32_t line_head_ = 0;
    std::uint32_t failures_ = 0;
    std::uint32_t looked_at_ = 0;                         ///< head_ when stalled() looked
    bool had_unread_ = false;                             ///< there were messages then
    std::uint32_t connection_ = 0;                        ///< of the last message
    std::uint32_t connected_at_ = 0;                      ///< number of its first message, or of a later one
    std::array<std::uint16_t, shm_lane_entries> lines_{}; ///< that each message occupies
    std::array<std::uint32_t, shm_lane_entries> sequences_{}; ///< of each message
};

/// The reading end.
class ShmLaneReader {
public:
    ShmLaneReader() = default;
    /// `segment`: with the ring. It must outlive the object.
    ShmLaneReader(ShmLaneMapping&& lane, const ShmMapping& segment, std::uint32_t ring) noexcept
        : mapping_(std::move(lane)), lane_(&mapping_.lane()), control_(&segment.control(ring)),
          order_(segment.header().identity.token, ring),
          next_(control_->lane_start.load(std::memory_order_acquire))
    {
    }

    bool ready() const noexcept
    {
        return lane_->entries[next_ % shm_lane_entries].turn.load(std::memory_order_acquire) == next_ + 1;
    }
    /// Of what is in the lane now a lap is read before others have their turn, however fast the writer is.
    void begin_turn() noexcept { turn_end_ = next_ + shm_lane_entries; }
    bool ready_in_turn() const noexcept { return next_ != turn_end_ && ready(); }
    /// Another processor has just written the lines of the message that is ready: fetches the first ones in
    /// parallel.
    void prefetch() const noexcept;
    /// Reads the message that is ready. False: its description is invalid.
    bool read(LocalRoad::Arrived& message) noexcept;
    void pop() noexcept
    {
        was_read_ = false;
        control_->lane_head.store(++next_, std::memory_order_release);
    }

    /// pop(), and no more of that connection.
    void reject(std::uint32_t connection) noexcept
    {
        control_->lane_rejected.store(connection, std::memory_order_relaxed);
        pop(); // whoever sees it taken sees that
    }

private:
    ShmLaneMapping mapping_;
    const ShmLane* lane_ = nullptr;
    ShmControl* control_ = nullptr;
    ShmOrder order_;
    std::uint32_t next_ = 0;
    std::uint32_t turn_end_ = 0;
    bool was_read_ = false; ///< message number next_
};

} // namespace srd
