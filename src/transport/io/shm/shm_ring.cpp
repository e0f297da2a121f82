// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/shm/shm_ring.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include <sys/uio.h>

#include <srd/check.hpp>
#include <srd/iov.hpp>

#include "io/shm/shm_order.hpp"

namespace srd {

namespace {

/// From this length on fetching is quicker than copying twice.
constexpr std::uint32_t fetched_packet = 16384;

} // namespace

ProcessMemory::Read read_process(const ShmHeader& writer, std::uint32_t epoch, std::span<const iovec> from,
                                 std::span<const iovec> into) noexcept
{
    SRD_CHECK(from.size() <= max_iov && into.size() <= max_iov);
    std::uint64_t secret = 0;
    std::array<iovec, 1 + max_iov> local{{{&secret, sizeof(secret)}}};
    std::array<iovec, 1 + max_iov> remote{{{std::bit_cast<void*>(writer.secret_at), sizeof(secret)}}};
    std::copy(into.begin(), into.end(), local.begin() + 1);
    std::copy(from.begin(), from.end(), remote.begin() + 1);
    const std::span<const iovec> wanted = std::span(local).first(1 + into.size());
    const ssize_t got =
        ::process_vm_readv(writer.process, wanted.data(), wanted.size(), remote.data(), 1 + from.size(), 0);
    std::atomic_thread_fence(std::memory_order_seq_cst); // pairs with ShmRoutes::revoke()
    if (writer.epoch.load(std::memory_order_seq_cst) != epoch ||
        writer.closed.load(std::memory_order_seq_cst) != 0) {
        return ProcessMemory::Read::changed; // also if it could not be read: it may have been unmapped
    }
    return got < 0 || static_cast<std::uint64_t>(got) != total_length(wanted) || secret != writer.secret
               ? ProcessMemory::Read::forbidden
               : ProcessMemory::Read::done;
}

// -- Pool -----------------------------------------------------------------------

std::uint32_t ShmPool::find(std::uint32_t count, const ShmControl& ring) const noexcept
{
    const auto left = static_cast<std::uint32_t>(std::popcount(free_));
    std::uint32_t held = 0;
    if (left < shm_blocks / 2) {
        for (std::uint64_t rest = begins_; rest != 0; rest &= rest - 1) {
            const Run& run = runs_[static_cast<std::size_t>(std::countr_zero(rest))];
            held += run.ring == &ring ? run.count : 0;
        }
    }
    if (held + count > left) {
        return shm_no_block;
    }
    std::uint64_t starts = free_; // bit i: `count` free blocks begin there
    for (std::uint32_t i = 1; i < count; ++i) {
        starts &= free_ >> i;
    }
    return starts == 0 ? shm_no_block : static_cast<std::uint32_t>(std::countr_zero(starts));
}

/// Frees the blocks of packets that were read. False: there are none.
bool ShmPool::reclaim() noexcept
{
    const std::uint64_t before = free_;
    for (std::uint64_t rest = begins_; rest != 0; rest &= rest - 1) {
        const auto first = static_cast<std::uint32_t>(std::countr_zero(rest));
        const Run& run = runs_[first];
        const std::uint32_t passed = run.ring->head.load(std::memory_order_acquire) - run.packet;
        if (passed != 0 && passed <= std::numeric_limits<std::uint32_t>::max() / 2) {
            free_ |= ((std::uint64_t{1} << run.count) - 1) << first;
            begins_ &= ~(std::uint64_t{1} << first);
        }
    }
    return free_ != before;
}

std::uint32_t ShmPool::alloc(std::uint32_t count, const ShmControl& ring, std::uint32_t packet) noexcept
{
    SRD_DCHECK(count >= 1 && count < shm_blocks);
    std::uint32_t first = find(count, ring);
    if (first == shm_no_block && reclaim()) {
        first = find(count, ring);
    }
    if (first != shm_no_block) {
        free_ &= ~(((std::uint64_t{1} << count) - 1) << first);
        begins_ |= std::uint64_t{1} << first;
        runs_[first] = {&ring, packet, count};
    }
    return first;
}

// -- Writing --------------------------------------------------------------------

ShmSender::ShmSender(const ShmMapping& own, ShmPool& pool, std::uint32_t ring) noexcept
    : own_(&own), pool_(&pool), entries_(own.entries(ring)), control_(&own.control(ring)), ring_(ring)
{
}

/// True if an entry is free.
bool ShmSender::room() noexcept
{
    if (tail_ - head_ < shm_ring_entries) {
        return true;
    }
    const std::uint32_t head = control_->head.load(std::memory_order_acquire);
    if (head == head_ || head - head_ > tail_ - head_) {
        return false; // or the peer has stored an invalid head
    }
    head_ = head;
    return true;
}

/// Writes where the stable pieces are instead of copying them. False: not worth it, or not possible.
bool ShmSender::write_pieces(const TxPacket& packet, ShmEntry& entry) const noexcept
{
    if (packet.stable_from >= packet.iov_count || packet.length < fetched_packet ||
        control_->copy.load(std::memory_order_relaxed) != 0) {
        return false;
    }
    const std::span<const iovec> pieces(packet.iov.data(), packet.iov_count);
    const auto head = pieces.first(packet.stable_from);
    const auto rest = pieces.subspan(packet.stable_from);
    const std::uint64_t length = total_length(head);
    if (length > entry.split.head.size() || rest.size() > entry.split.pieces.size()) {
        return false;
    }
    copy_range(head, 0, length, entry.split.head.data());
    for (std::size_t i = 0; i < rest.size(); ++i) {
        entry.split.pieces[i] = {reinterpret_cast<std::uintptr_t>(rest[i].iov_base), rest[i].iov_len};
    }
    entry.length = static_cast<std::uint32_t>(length);
    entry.block = shm_no_block;
    entry.piece_count = static_cast<std::uint32_t>(rest.size());
    entry.split.epoch = own_->header().epoch.load(std::memory_order_relaxed);
    return true;
}

void ShmSender::publish(ShmEntry& entry) noexcept
{
    failures_ = 0;
    ShmOrder(own_->header().identity.token, ring_).note_written();
    entry.turn.store(++tail_, std::memory_order_release);
}

bool ShmSender::push(const TxPacket& packet) noexcept
{
    SRD_DCHECK(packet.length <= max_shm_packet);
    ShmEntry& entry = entries_[tail_ % shm_ring_entries];
    std::uint32_t block = shm_no_block;
    bool fits = room();
    if (fits && write_pieces(packet, entry)) {
        publish(entry);
        return true;
    }
    if (fits && packet.length > entry.bytes.size()) {
        block = pool_->alloc((packet.length + shm_block_size - 1) / shm_block_size, *control_, tail_);
        fits = block != shm_no_block;
        if (!fits && control_->head.load(std::memory_order_relaxed) == tail_) {
            failures_ = patience; // other rings hold the pool: waiting for this reader frees nothing
        }
    }
    if (!fits) {
        failures_ = std::min(failures_ + 1, patience);
        return false;
    }
    entry.length = packet.length;
    entry.block = block;
    entry.piece_count = 0;
    copy_range({packet.iov.data(), packet.iov_count}, 0, packet.length,
               block == shm_no_block ? entry.bytes.data() : own_->block(block));
    publish(entry);
    return true;
}

void ShmSender::abandon() noexcept
{
    head_ = tail_;
    control_->head.store(tail_, std::memory_order_release);
    control_->watched.store(0, std::memory_order_relaxed);
}

// -- Reading --------------------------------------------------------------------

std::uint32_t ShmReceiver::open(const std::shared_ptr<ShmMapping>& segment, std::uint32_t ring,
                                std::uint32_t start, RouteId route)
{
    std::uint32_t free = shm_rings;
    for (std::uint32_t doorbell = 0; doorbell < rings_.size(); ++doorbell) {
        if (rings_[doorbell].segment == segment && rings_[doorbell].number == ring) {
            return doorbell;
        }
        if (is_over(rings_[doorbell])) {
            close_ring(doorbell);
        }
        if (rings_[doorbell].segment == nullptr && free == shm_rings) {
            free = doorbell;
        }
    }
    ShmLaneMapping lane;
    if (!lane.map(segment->header().identity.token, ring)) {
        return shm_rings;
    }
    if (free == shm_rings) {
        if (rings_.size() == shm_rings) {
            return shm_rings;
        }
        free = static_cast<std::uint32_t>(rings_.size());
        rings_.emplace_back();
        held_.reserve(rings_.size());
        lanes_.reserve(rings_.size() + max_watched); // one that is watched and was rung is found twice
    }
    Ring& opened = rings_[free];
    opened = Ring{};
    opened.segment = segment;
    opened.entries = segment->entries(ring);
    opened.control = &segment->control(ring);
    opened.lane = ShmLaneReader(std::move(lane), *segment, ring);
    opened.number = ring;
    opened.next = start;
    opened.route = route;
    const std::uint32_t epoch = segment->header().epoch.load(std::memory_order_seq_cst);
    const bool forbidden = read_process(segment->header(), epoch, {}, {}) == ProcessMemory::Read::forbidden;
    opened.control->copy.store(forbidden ? 1 : 0, std::memory_order_relaxed);
    ++open_count_;
    return free;
}

void ShmReceiver::orphan(RouteId route, const ShmMapping* except) noexcept
{
    for (Ring& ring : rings_) {
        ring.orphan =
            ring.orphan || (ring.segment != nullptr && ring.segment.get() != except && ring.route == route);
    }
}

void ShmReceiver::close_ring(std::uint32_t doorbell) noexcept
{
    const auto place = std::find(watched_.begin(), watched_.begin() + watched_count_, doorbell);
    if (place != watched_.begin() + watched_count_) {
        *place = watched_[--watched_count_];
    }
    pending_[doorbell / 64] &= ~(std::uint64_t{1} << doorbell % 64);
    std::erase(lanes_, doorbell); // a faulty writer has taken a message back
    rings_[doorbell] = Ring{};
    --open_count_;
}

void ShmReceiver::mark_pending(std::uint32_t doorbell) noexcept
{
    pending_[doorbell / 64] |= std::uint64_t{1} << doorbell % 64;
    any_pending_ = true;
}

/// From now on the writer need not ring the doorbell.
void ShmReceiver::watch(std::uint32_t doorbell) noexcept
{
    Ring& ring = rings_[doorbell];
    if (ring.watched || watched_count_ == max_watched) {
        return;
    }
    ring.watched = true;
    ring.heard = polls_;
    watched_[watched_count_++] = doorbell;
    ring.control->watched.store(1, std::memory_order_relaxed);
}

/// From now on the writer rings the doorbell; what it wrote before it could know that is found here.
void ShmReceiver::unwatch(std::size_t place) noexcept
{
    const std::uint32_t doorbell = watched_[place];
    Ring& ring = rings_[doorbell];
    watched_[place] = watched_[--watched_count_];
    ring.watched = false;
    ring.control->watched.store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst); // pairs with the one in ShmRoutes::flush()
    if (ring.ready()) {
        mark_pending(doorbell);
    }
}

void ShmReceiver::collect_doorbells() noexcept
{
    const std::size_t words = (rings_.size() + 63) / 64;
    for (std::size_t word = 0; word < words; ++word) {
        auto& doorbells = own_.header().doorbells[word];
        if (doorbells.load(std::memory_order_relaxed) == 0) [[likely]] {
            continue;
        }
        pending_[word] |= doorbells.exchange(0, std::memory_order_acq_rel);
        any_pending_ = true;
    }
}

/// Returns the packets of one ring.
std::size_t ShmReceiver::read(std::uint32_t doorbell, std::span<RxPacket> packets, Time now) noexcept
{
    Ring& ring = rings_[doorbell];
    std::size_t count = 0;
    const std::uint32_t begin = ring.next;
    ring.passed_over = false;
    while (count < packets.size() && ring.packet_ready()) {
        const ShmEntry& entry = ring.entries[ring.next % shm_ring_entries];
        // Another processor has just written these cache lines: fetch them in parallel.
        __builtin_prefetch(&entry.bytes[cache_line - offsetof(ShmEntry, bytes)]);
        __builtin_prefetch(&entry.bytes[2 * cache_line - offsetof(ShmEntry, bytes)]);
        ++ring.next;
        const std::byte* data = entry.bytes.data();
        // Each is read once and validated: a faulty writer may change it at any time.
        const std::uint32_t length = read_once(entry.length);
        const std::uint32_t block = read_once(entry.block);
        const std::uint32_t piece_count = read_once(entry.piece_count);
        if (block != shm_no_block) {
            if (block >= shm_blocks || length > (shm_blocks - block) * shm_block_size) {
                ++malformed_;
                continue;
            }
            data = ring.segment->block(block);
        } else if (length > (piece_count == 0 ? entry.bytes.size() : entry.split.head.size())) {
            ++malformed_;
            continue;
        }
        packets[count] = {data, length, false, true, now};
        if (block == shm_no_block && piece_count != 0) {
            if (piece_count > entry.split.pieces.size()) {
                ++malformed_;
                continue;
            }
            const std::span<const ShmPiece> pieces(entry.split.pieces.data(), piece_count);
            for (const ShmPiece& piece : pieces) {
                packets[count].remote_length += static_cast<std::uint32_t>(piece.length);
            }
            packets[count].mapping_id = doorbell * shm_ring_entries + (ring.next - 1) % shm_ring_entries;
            packets[count].remote = this;
        }
        ++count;
    }
    if (ring.next != begin) {
        ShmOrder(ring.segment->header().identity.token, ring.number).note_read();
        ring.heard = polls_;
        if (!ring.held) {
            ring.held = true;
            held_.push_back(doorbell);
        }
    }
    // After the packets: what was written before a farewell is found with it.
    if (ring.lane.ready()) {
        ring.lane.prefetch();
        ring.lane.begin_turn();
        lanes_.push_back(doorbell);
    }
    return count;
}

/// True if the writer has gone and everything has been read.
bool ShmReceiver::is_over(const Ring& ring) noexcept
{
    return ring.segment != nullptr && !ring.held &&
           (ring.orphan || ring.segment->header().closed.load(std::memory_order_acquire) != 0) &&
           !ring.ready();
}

/// Stops polling idle rings, which makes room for others, and closes those of peers that have gone.
void ShmReceiver::look_after_rings() noexcept
{
    for (std::size_t place = watched_count_; place-- > 0;) {
        if (polls_ - rings_[watched_[place]].heard >= patience) {
            unwatch(place);
        }
    }
    for (std::uint32_t doorbell = 0; doorbell < rings_.size(); ++doorbell) {
        if (is_over(rings_[doorbell])) {
            close_ring(doorbell);
        }
    }
}

std::size_t ShmReceiver::receive(std::span<RxPacket> packets, Time now) noexcept
{
    if (++polls_ % patience == 0) [[unlikely]] {
        look_after_rings();
    }
    lanes_.clear();
    any_passed_over_ = false;
    std::size_t count = 0;
    for (std::size_t place = 0; place < watched_count_; ++place) {
        if (rings_[watched_[place]].ready()) {
            count += read(watched_[place], packets.subspan(count), now);
        }
    }
    collect_doorbells();
    return any_pending_ ? count + receive_pending(packets.subspan(count), now) : count;
}

/// Returns the packets of rings whose doorbells were rung.
std::size_t ShmReceiver::receive_pending(std::span<RxPacket> packets, Time now) noexcept
{
    std::size_t count = 0;
    any_pending_ = false;
    for (std::size_t word = 0; word < pending_.size(); ++word) {
        std::uint64_t rest = std::exchange(pending_[word], 0);
        for (; rest != 0; rest &= rest - 1) {
            const auto doorbell =
                static_cast<std::uint32_t>(word * 64 + static_cast<unsigned>(std::countr_zero(rest)));
            if (doorbell >= rings_.size() || rings_[doorbell].segment == nullptr) {
                continue;
            }
            watch(doorbell); // before reading: what is written later is found by the next poll
            count += read(doorbell, packets.subspan(count), now);
            if (!rings_[doorbell].watched && rings_[doorbell].ready()) {
                mark_pending(doorbell);
            }
        }
    }
    return count;
}

bool ShmReceiver::fetch(std::uint32_t mapping_id, std::span<const iovec> into) noexcept
{
    Ring& ring = rings_[mapping_id / shm_ring_entries];
    const ShmEntry& entry = ring.entries[mapping_id % shm_ring_entries];
    std::array<iovec, max_iov> from;
    const std::size_t count = std::min<std::size_t>(entry.piece_count, from.size());
    for (std::size_t i = 0; i < count; ++i) {
        const ShmPiece& piece = entry.split.pieces[i];
        from[i] = {std::bit_cast<void*>(piece.address), piece.length};
    }
    const ProcessMemory::Read result =
        read_process(ring.segment->header(), entry.split.epoch, std::span(from).first(count), into);
    if (result == ProcessMemory::Read::forbidden) {
        ring.control->copy.store(1, std::memory_order_relaxed);
    }
    return result == ProcessMemory::Read::done;
}

void ShmReceiver::release() noexcept
{
    for (const std::uint32_t doorbell : held_) {
        Ring& ring = rings_[doorbell];
        ring.held = false;
        ring.control->head.store(ring.next, std::memory_order_release);
    }
    held_.clear();
}

const LocalRoad::Arrived* ShmReceiver::front_message() noexcept
{
    while (!lanes_.empty()) {
        Ring& ring = rings_[lanes_.back()];
        if (!ring.lane.ready_in_turn()) {
            lanes_.pop_back();
            continue;
        }
        ring.heard = polls_;
        message_.route = ring.route;
        if (ring.lane.read(message_)) [[likely]] {
            return &message_;
        }
        ++malformed_;
        ring.lane.pop();
    }
    return nullptr;
}

bool ShmReceiver::waiting() const noexcept
{
    for (std::size_t word = 0; any_pending_ && word < pending_.size(); ++word) {
        for (std::uint64_t rest = pending_[word]; rest != 0; rest &= rest - 1) {
            const std::size_t doorbell = word * 64 + static_cast<unsigned>(std::countr_zero(rest));
            if (doorbell < rings_.size() && rings_[doorbell].segment != nullptr &&
                rings_[doorbell].has_news()) {
                return true;
            }
        }
    }
    for (std::size_t place = 0; place < watched_count_; ++place) {
        if (rings_[watched_[place]].has_news()) {
            return true;
        }
    }
    const std::size_t words = (rings_.size() + 63) / 64;
    return std::any_of(own_.header().doorbells.begin(),
                       own_.header().doorbells.begin() + static_cast<std::ptrdiff_t>(words),
                       [](const auto& doorbells) { return doorbells.load(std::memory_order_relaxed) != 0; });
}

} // namespace srd
