// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/shm/shm_lane.hpp"

#include <algorithm>
#include <cstring>

#include <srd/check.hpp>
#include <srd/iov.hpp>

namespace srd {

namespace {

constexpr std::uint32_t length_of(std::uint16_t length_and_flags) noexcept
{
    return length_and_flags & (ShmLaneEntry::has_data - 1U);
}

} // namespace

// -- Writing --------------------------------------------------------------------

/// Frees what the reader has taken since. A head that cannot be is ignored.
void ShmLaneWriter::learn_head() noexcept
{
    const std::uint32_t head = control_.lane_head.load(std::memory_order_acquire);
    if (head - head_ > tail_ - head_) {
        return;
    }
    for (; head_ != head; ++head_) {
        line_head_ += lines_[head_ % shm_lane_entries];
    }
}

/// True if `count` adjacent lines are free; they are the last ones of the next `used`.
bool ShmLaneWriter::find_lines(std::uint32_t count, std::uint32_t& used) noexcept
{
    const std::uint32_t at = line_tail_ % shm_lane_lines;
    used = at + count > shm_lane_lines ? shm_lane_lines - at + count : count;
    return line_tail_ - line_head_ + used <= shm_lane_lines;
}

LocalRoad::Sent ShmLaneWriter::send(const LocalMessage& message, std::span<const iovec> payload,
                                    std::uint32_t length) noexcept
{
    SRD_DCHECK(length <= LocalRoad::max_message);
    if (is_rejected(message.connection)) [[unlikely]] {
        return LocalRoad::Sent::closed;
    }
    ShmLaneEntry& entry = lane_.entries[tail_ % shm_lane_entries];
    const bool is_short = length <= entry.bytes.size();
    const std::uint32_t count = is_short ? 0 : shm_lines_of(length);
    std::uint32_t used = 0;
    if (tail_ - head_ == shm_lane_entries || !find_lines(count, used)) [[unlikely]] {
        learn_head();
        if (tail_ - head_ == shm_lane_entries || !find_lines(count, used)) {
            failures_ = std::min(failures_ + 1, patience);
            return failures_ < patience ? LocalRoad::Sent::full : LocalRoad::Sent::closed;
        }
    }
    failures_ = 0;
    if (message.connection != connection_) [[unlikely]] {
        connection_ = message.connection;
        connected_at_ = tail_;
    }
    const std::uint32_t line = (line_tail_ + used - count) % shm_lane_lines;
    std::byte* const to = is_short ? entry.bytes.data() : lane_.lines[line].data();
    copy_range(payload, 0, length, to);
    entry.sequence = message.sequence;
    entry.connection = message.connection;
    entry.length = static_cast<std::uint16_t>(length | (message.tagged ? ShmLaneEntry::tagged : 0U) |
                                              (message.has_data ? ShmLaneEntry::has_data : 0U));
    entry.line = static_cast<std::uint16_t>(line);
    entry.tag = message.tag;
    entry.data = message.data;
    lines_[tail_ % shm_lane_entries] = static_cast<std::uint16_t>(used);
    sequences_[tail_ % shm_lane_entries] = message.sequence;
    line_tail_ += used;
    order_.note_written();
    entry.turn.store(++tail_, std::memory_order_release);
    return LocalRoad::Sent::done;
}

std::uint32_t ShmLaneWriter::taken(std::uint32_t connection, std::uint32_t next) noexcept
{
    learn_head();
    const std::uint32_t count = head_ - connected_at_;
    if (connection != connection_ || is_rejected(connection) || count == 0 || count > tail_ - connected_at_) {
        return next;
    }
    connected_at_ = head_ - 1; // numbers wrap: what is said of the connection stays near
    return sequences_[(head_ - 1) % shm_lane_entries] + 1;
}

bool ShmLaneWriter::stalled() noexcept
{
    learn_head();
    const bool were_there = std::exchange(had_unread_, head_ != tail_);
    return std::exchange(looked_at_, head_) == head_ && were_there && had_unread_;
}

void ShmLaneWriter::abandon() noexcept
{
    control_.lane_head.store(tail_, std::memory_order_release);
    learn_head();
    failures_ = 0;
}

// -- Reading --------------------------------------------------------------------

void ShmLaneReader::prefetch() const noexcept
{
    constexpr std::uint32_t most = 16;
    const ShmLaneEntry& entry = lane_->entries[next_ % shm_lane_entries];
    const std::uint32_t length = length_of(read_once(entry.length));
    const std::uint32_t line = read_once(entry.line) % shm_lane_lines;
    if (length > entry.bytes.size()) {
        const std::uint32_t end = std::min({line + shm_lines_of(length), line + most, shm_lane_lines});
        for (std::uint32_t at = line; at < end; ++at) {
            __builtin_prefetch(lane_->lines[at].data());
        }
    }
}

bool ShmLaneReader::read(LocalRoad::Arrived& message) noexcept
{
    const ShmLaneEntry& entry = lane_->entries[next_ % shm_lane_entries];
    // Each is read once and validated: a faulty writer may change it at any time.
    const std::uint16_t length_and_flags = read_once(entry.length);
    const std::uint16_t line = read_once(entry.line);
    const std::uint32_t length = length_of(length_and_flags);
    const std::byte* bytes = entry.bytes.data();
    if (length > entry.bytes.size()) {
        if (length > LocalRoad::max_message || line >= shm_lane_lines ||
            shm_lines_of(length) > shm_lane_lines - line) {
            return false;
        }
        bytes = lane_->lines[line].data();
    }
    order_.note_read();
    message.connection = entry.connection;
    message.sequence = entry.sequence;
    message.tag = entry.tag;
    message.data = entry.data;
    message.tagged = (length_and_flags & ShmLaneEntry::tagged) != 0;
    message.has_data = (length_and_flags & ShmLaneEntry::has_data) != 0;
    message.payload = {bytes, length};
    message.is_new = !std::exchange(was_read_, true);
    return true;
}

} // namespace srd
