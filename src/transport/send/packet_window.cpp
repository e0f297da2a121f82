// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "send/packet_window.hpp"

#include <algorithm>

#include <srd/check.hpp>

namespace srd {

/// The next sequenced packet. The caller has made sure of room.
std::uint32_t PacketWindow::begin(PacketPool& pool, std::uint32_t peer) noexcept
{
    close_open(pool);
    SRD_CHECK(within_window(1));
    if (map_ == no_index) {
        SRD_DCHECK(una_ == next_);
        map_ = pool.map_indices_.alloc();
        SRD_CHECK(map_ != no_index);
    }
    const std::uint32_t index = pool.slots_.alloc();
    SRD_CHECK(index != no_index);
    TxSlot& slot = pool.slots_[index];
    slot.peer = peer;
    slot.psn_ = next_++;
    SRD_DCHECK(pool.maps_[map_].at(slot.psn_) == no_index);
    pool.maps_[map_].set(slot.psn_, index);
    return index;
}

void PacketWindow::close_open(PacketPool& pool) noexcept
{
    if (open_ == no_index) {
        return;
    }
    TxSlot& slot = pool.slots_[open_];
    SRD_DCHECK(slot.state_ == TxSlot::State::open && slot.length != 0);
    slot.state_ = TxSlot::State::ready;
    ready_.push_back(pool.slots_, open_);
    open_ = no_index;
}

std::byte* PacketWindow::frame_space(PacketPool& pool, std::uint32_t peer, std::size_t bytes,
                                     std::size_t capacity, wire::Contents contents) noexcept
{
    using wire::Contents;
    SRD_DCHECK(bytes != 0 && bytes <= capacity && capacity <= chunk_size);
    const auto joins = [&](const TxSlot& slot) {
        return slot.length + bytes <= capacity && slot.rma_frames < wire::max_rma_frames &&
               (contents == Contents::neutral || slot.contents == Contents::neutral ||
                contents == slot.contents);
    };
    if (open_ == no_index || !joins(pool.slots_[open_])) {
        if (!has_room(pool, 1)) {
            return nullptr;
        }
        const std::uint32_t index = begin(pool, peer);
        pool.slots_[index].chunk = pool.chunks_.alloc();
        SRD_CHECK(pool.slots_[index].chunk != no_index); // as many chunks as slots
        open_ = index;
    }
    TxSlot& slot = pool.slots_[open_];
    if (contents != Contents::neutral) {
        slot.contents = contents;
        slot.rma_frames = static_cast<std::uint8_t>(slot.rma_frames + (contents == Contents::rma ? 1 : 0));
        operations_end_ = slot.psn_ + 1;
    }
    std::byte* const out = pool.chunks_.data(slot.chunk) + slot.length;
    slot.length += static_cast<std::uint32_t>(bytes);
    SRD_DCHECK(slot.length <= capacity);
    return out;
}

void PacketWindow::add_piece(PacketPool& pool, std::uint32_t peer, std::uint32_t message,
                             std::uint64_t offset, std::uint32_t length, bool is_operation,
                             bool named) noexcept
{
    const std::uint32_t index = begin(pool, peer);
    TxSlot& slot = pool.slots_[index];
    slot.piece = true;
    slot.message = message;
    slot.offset = offset;
    slot.length = length;
    slot.named = named;
    slot.state_ = TxSlot::State::ready;
    ready_.push_back(pool.slots_, index);
    if (is_operation) {
        operations_end_ = slot.psn_ + 1;
    }
}

void PacketWindow::hasten_last(PacketPool& pool) noexcept
{
    const std::uint32_t last = ready_.back();
    SRD_DCHECK(last != no_index);
    ready_.erase(pool.slots_, last);
    ready_.push_front(pool.slots_, last);
}

void PacketWindow::sent(PacketPool& pool, std::uint32_t index, Time now) noexcept
{
    TxSlot& slot = pool.slots_[index];
    SRD_DCHECK(slot.state_ == TxSlot::State::lost || slot.state_ == TxSlot::State::ready);
    const bool again = slot.state_ == TxSlot::State::lost;
    (again ? lost_ : ready_).erase(pool.slots_, index);
    if (again && slot.attempt_ < 255) {
        ++slot.attempt_;
    }
    slot.state_ = TxSlot::State::in_flight;
    // Threads read the clock before they wait for their turn: it may seem to go back a little.
    slot.sent_at_ = in_flight_.empty() ? now : std::max(now, pool.slots_[in_flight_.back()].sent_at_);
    in_flight_.push_back(pool.slots_, index);
    bytes_in_flight_ += slot.wire_bytes();
}

void PacketWindow::unsent(PacketPool& pool, std::uint32_t index) noexcept
{
    TxSlot& slot = pool.slots_[index];
    SRD_DCHECK(slot.state_ == TxSlot::State::in_flight && slot.peer != no_index);
    in_flight_.erase(pool.slots_, index);
    bytes_in_flight_ -= slot.wire_bytes();
    if (slot.attempt_ == 0) {
        slot.state_ = TxSlot::State::ready;
        ready_.push_front(pool.slots_, index);
    } else {
        --slot.attempt_;
        slot.state_ = TxSlot::State::lost;
        lost_.push_front(pool.slots_, index);
    }
}

void PacketWindow::lose(PacketPool& pool, std::uint32_t index, TxSlot::Repair repair, bool first) noexcept
{
    TxSlot& slot = pool.slots_[index];
    SRD_DCHECK(slot.state_ == TxSlot::State::in_flight && repair != TxSlot::Repair::none);
    in_flight_.erase(pool.slots_, index);
    bytes_in_flight_ -= slot.wire_bytes();
    slot.state_ = TxSlot::State::lost;
    slot.repair_ = repair;
    if (first) {
        lost_.push_front(pool.slots_, index);
    } else {
        lost_.push_back(pool.slots_, index);
    }
}

void PacketWindow::resend_all(PacketPool& pool, TxSlot::Repair repair) noexcept
{
    for (const bool control : {true, false}) {
        for (std::uint32_t psn = una_; psn != next_; ++psn) {
            const std::uint32_t at = find_sent(pool, psn);
            if (at == no_index || pool.slots_[at].control != control) {
                continue;
            }
            TxSlot& slot = pool.slots_[at];
            (slot.state_ == TxSlot::State::in_flight ? in_flight_ : lost_).erase(pool.slots_, at);
            slot.state_ = TxSlot::State::lost;
            slot.repair_ = repair;
            lost_.push_back(pool.slots_, at);
        }
    }
    SRD_DCHECK(in_flight_.empty());
    bytes_in_flight_ = 0;
}

std::uint32_t PacketWindow::find_sent(const PacketPool& pool, std::uint32_t psn) const noexcept
{
    SRD_DCHECK(map_ != no_index && psn - una_ < next_ - una_);
    const std::uint32_t at = pool.maps_[map_].at(psn);
    if (at == no_index) {
        return no_index;
    }
    const TxSlot::State state = pool.slots_[at].state_;
    return state == TxSlot::State::in_flight || state == TxSlot::State::lost ? at : no_index;
}

std::uint32_t PacketWindow::release(PacketPool& pool, std::uint32_t psn) noexcept
{
    const std::uint32_t at = find_sent(pool, psn);
    if (at == no_index) {
        return no_index;
    }
    TxSlot& slot = pool.slots_[at];
    SRD_DCHECK(slot.psn_ == psn);
    if (slot.state_ == TxSlot::State::in_flight) {
        in_flight_.erase(pool.slots_, at);
        SRD_DCHECK(bytes_in_flight_ >= slot.wire_bytes());
        bytes_in_flight_ -= slot.wire_bytes();
    } else {
        lost_.erase(pool.slots_, at);
    }
    pool.maps_[map_].clear(psn);
    return at;
}

void PacketWindow::advance(PacketPool& pool) noexcept
{
    if (map_ == no_index) {
        return;
    }
    const PsnMap& map = pool.maps_[map_];
    while (una_ != next_ && map.at(una_) == no_index) {
        ++una_;
    }
    if (una_ == next_) {
        SRD_DCHECK(in_flight_.empty() && bytes_in_flight_ == 0);
        pool.map_indices_.release(map_);
        map_ = no_index;
    }
}

void PacketWindow::give_map_back(PacketPool& pool) noexcept
{
    if (map_ == no_index) {
        return;
    }
    for (std::uint32_t psn = una_; psn != next_; ++psn) {
        pool.maps_[map_].clear(psn);
    }
    pool.map_indices_.release(map_);
    map_ = no_index;
}

void PacketWindow::check(const PacketPool& pool, std::uint32_t peer) const
{
    const std::uint32_t sent = next_ - una_;
    SRD_CHECK(sent <= packet_window);
    SRD_CHECK((sent == 0) == (map_ == no_index));
    SRD_CHECK(sent == 0 || pool.maps_[map_].at(una_) != no_index);

    std::uint32_t bytes = 0;
    std::uint32_t listed = open_ != no_index ? 1 : 0;
    SRD_CHECK(open_ == no_index || pool.slots_[open_].state_ == TxSlot::State::open);
    Time previous{};
    for (std::uint32_t at = in_flight_.front(); at != no_index; at = List::next(pool.slots_, at)) {
        const TxSlot& slot = pool.slots_[at];
        SRD_CHECK(slot.state_ == TxSlot::State::in_flight && slot.peer == peer);
        SRD_CHECK(slot.sent_at_ >= previous);
        previous = slot.sent_at_;
        bytes += slot.wire_bytes();
        ++listed;
    }
    SRD_CHECK(bytes == bytes_in_flight_);
    for (std::uint32_t at = ready_.front(); at != no_index; at = List::next(pool.slots_, at)) {
        SRD_CHECK(pool.slots_[at].state_ == TxSlot::State::ready);
        ++listed;
    }
    for (std::uint32_t at = lost_.front(); at != no_index; at = List::next(pool.slots_, at)) {
        SRD_CHECK(pool.slots_[at].state_ == TxSlot::State::lost);
        ++listed;
    }
    std::uint32_t held = 0;
    for (std::uint32_t i = 0; i < sent; ++i) {
        const std::uint32_t at = pool.maps_[map_].at(una_ + i);
        held += at != no_index ? 1U : 0U;
        SRD_CHECK(at == no_index || pool.slots_[at].psn_ == una_ + i);
    }
    SRD_CHECK(held == listed); // every unacknowledged packet is on exactly one list
}

} // namespace srd
