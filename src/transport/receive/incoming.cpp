// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "receive/incoming.hpp"

#include <bit>
#include <cstring>

#include <srd/check.hpp>

namespace srd {

static_assert(wire::max_eager_total == PayloadPool::max_chunk, "whatever comes unasked can be kept");

namespace {

/// Bytes of the budget that the payload of a held message takes.
std::uint64_t held_footprint(const RxMessage& message) noexcept
{
    return PayloadPool::footprint(message.unasked());
}

} // namespace

IncomingPool::IncomingPool(std::uint32_t records, std::size_t payload_bytes, std::uint32_t peers,
                           const HashKey& key)
    : messages_(records), payloads_(payload_bytes), seams_(key[3]), shares_(peers),
      buckets_(std::bit_ceil(std::size_t{records})),
      bucket_bits_(static_cast<int>(std::bit_width(records - 1))), hash_key_(key)
{
    SRD_CHECK(records > 1);
}

std::uint32_t IncomingPool::create(All& of_peer, std::uint32_t peer, std::uint32_t sequence,
                                   bool reserve) noexcept
{
    if (reserve && (reserve_reached() || has_its_share(peer))) {
        return no_index;
    }
    const std::uint32_t index = messages_.alloc();
    if (index == no_index) {
        return no_index;
    }
    messages_[index].peer = peer;
    messages_[index].sequence = sequence;
    ++shares_[peer].records;
    of_peer.push_back(messages_, index);
    return index;
}

void IncomingPool::release(All& of_peer, std::uint32_t index) noexcept
{
    RxMessage& message = messages_[index];
    SRD_DCHECK(!message.control.listed && !message.grant.listed && !message.done.listed);
    erase(index);
    drop_stored(message);
    SRD_DCHECK(shares_[message.peer].records != 0);
    --shares_[message.peer].records;
    of_peer.erase(messages_, index);
    messages_.release(index);
}

// -- Finding ----------------------------------------------------------------------

std::size_t IncomingPool::bucket_of(std::uint32_t peer, std::uint32_t sequence) const noexcept
{
    return (hash_key_[0] + hash_key_[1] * sequence + hash_key_[2] * peer) >> (64 - bucket_bits_);
}

std::uint32_t IncomingPool::find(std::uint32_t peer, std::uint32_t sequence, bool writing) const noexcept
{
    std::uint32_t at = buckets_[bucket_of(peer, sequence)] - 1;
    while (at != no_index && (messages_[at].peer != peer || messages_[at].sequence != sequence ||
                              messages_[at].is<WriteReceive>() != writing)) {
        at = messages_[at].hash.next;
    }
    return at;
}

std::size_t IncomingPool::bucket_size(std::uint32_t peer, std::uint32_t sequence) const noexcept
{
    std::size_t size = 0;
    for (std::uint32_t at = buckets_[bucket_of(peer, sequence)] - 1; at != no_index;
         at = messages_[at].hash.next) {
        ++size;
    }
    return size;
}

void IncomingPool::insert(std::uint32_t index) noexcept
{
    RxMessage& message = messages_[index];
    SRD_DCHECK(!message.hash.listed);
    std::uint32_t& head = buckets_[bucket_of(message.peer, message.sequence)];
    message.hash.prev = no_index;
    message.hash.next = head - 1;
    if (head != 0) {
        messages_[head - 1].hash.prev = index;
    }
    head = index + 1;
    message.hash.listed = true;
}

void IncomingPool::erase(std::uint32_t index) noexcept
{
    RxMessage& message = messages_[index];
    if (!message.hash.listed) {
        return;
    }
    message.hash.listed = false;
    if (message.hash.next != no_index) {
        messages_[message.hash.next].hash.prev = message.hash.prev;
    }
    if (message.hash.prev != no_index) {
        messages_[message.hash.prev].hash.next = message.hash.next;
    } else {
        buckets_[bucket_of(message.peer, message.sequence)] = message.hash.next + 1;
    }
}

// -- Payload ------------------------------------------------------------------------

bool IncomingPool::store(RxMessage& message, std::uint64_t offset,
                         std::span<const std::byte> payload) noexcept
{
    const std::uint64_t unasked = message.unasked();
    SRD_DCHECK(offset + payload.size() <= unasked && payload.size() <= unasked - message.received);
    if (unasked != 0 && message.chunk.index == no_index) {
        Share& share = shares_[message.peer];
        const bool has_its_share = share.bytes > payloads_.budget() - payloads_.used();
        const PayloadPool::Chunk chunk = has_its_share ? PayloadPool::Chunk{} : payloads_.alloc(unasked);
        if (chunk.index == no_index) {
            return false;
        }
        message.chunk = chunk;
        share.bytes += PayloadPool::footprint(unasked);
    }
    if (!payload.empty()) {
        std::memcpy(payloads_.data(message.chunk) + offset, payload.data(), payload.size());
    }
    take(message, offset, payload.size());
    return true;
}

void IncomingPool::drop_stored(RxMessage& message) noexcept
{
    if (message.chunk.index != no_index) {
        payloads_.release(message.chunk);
        message.chunk = {};
        shares_[message.peer].bytes -= PayloadPool::footprint(message.unasked());
    }
}

void IncomingPool::hold(RxMessage& message) noexcept
{
    SRD_DCHECK(can_hold(held_footprint(message)));
    message.stage = RxMessage::Stage::held;
    ++held_messages_;
    held_bytes_ += held_footprint(message);
}

void IncomingPool::unhold(const RxMessage& message) noexcept
{
    SRD_DCHECK(message.stage == RxMessage::Stage::held);
    SRD_DCHECK(held_messages_ != 0 && held_bytes_ >= held_footprint(message));
    --held_messages_;
    held_bytes_ -= held_footprint(message);
}

// -- Events -------------------------------------------------------------------------

void IncomingPool::report(std::uint32_t index) noexcept
{
    SRD_DCHECK(!messages_[index].done.listed);
    messages_[index].done.listed = true;
    done_.push_back(messages_, index);
}

std::uint32_t IncomingPool::take_done() noexcept
{
    const std::uint32_t index = done_.pop_front(messages_);
    if (index != no_index) {
        messages_[index].done.listed = false;
    }
    return index;
}

void IncomingPool::check() const
{
    SRD_CHECK(payloads_.used() <= payloads_.budget());
    SRD_CHECK(held_messages_ <= messages_.in_use());
}

} // namespace srd
