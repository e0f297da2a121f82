// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What arrives and cannot be handed over at once: messages before their turn,
// without a buffer, or in pieces; reads of ours, which receive as a granted
// message does; writes whose pieces have not all come; and answers that are owed.
//
// A whole message that is matched when it is announced never gets a record.
// Payload that has no buffer yet is bounded in bytes (PayloadPool), and at most
// half of that is for messages before their turn: they must not keep out those
// whose turn it is.
//
// One pool serves all peers. A peer that has more of it than what is left free gets
// no more of what it comes with unasked: one takes half at most, and however much
// several take, there is as much left for the next. Records name each other by
// index and are found by (peer, sequence) while pieces of them may come.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

#include <srd/intrusive_list.hpp>
#include <srd/lazy_array.hpp>
#include <srd/limits.hpp>
#include <srd/one_of.hpp>
#include <srd/slab.hpp>
#include <srd/status.hpp>

#include "operation.hpp"
#include "receive/payload_pool.hpp"
#include "receive/seams.hpp"
#include "wire/frames.hpp"

namespace srd {

/// A message sent without asking.
struct EagerReceive {};
/// A message whose sender we govern with grants. Before a buffer is known RxMessage::iov may tell where its
/// bytes lie in the sender's memory.
struct GrantedReceive {
    std::uint32_t source_epoch = 0; ///< of the sender, as it named that place
    std::uint32_t unscheduled = 0;  ///< its first bytes, which come without a grant
};
/// A read of ours: each grant is a read frame.
struct ReadReceive {
    std::uint32_t operation = no_index; ///< of OutgoingPool
    std::uint64_t asked = 0;            ///< bytes named in read frames so far
};
/// A write in several frames. Its sequence is the writer's handle, its cause the first fault.
struct WriteReceive {};
/// An atomic before its turn, or one that fetches. Ranges, operands, comparands and, at the end, room for the
/// result are in the chunk.
struct AtomicReceive {
    wire::AtomicFrame frame;
};
/// Only a frame is still to be sent.
struct Answer {
    enum class Kind : std::uint8_t { result, denied, fault };
    Kind kind = Kind::fault;
    bool is_read = false;                   ///< denied: sender_handle names a read
    std::uint16_t length = 0;               ///< result: bytes, at the end of the chunk
    wire::Unread unread = wire::Unread::no; ///< fault: sender_handle names what was not read
};

/// A Link that tells whether it is on its list.
struct ListedLink : Link {
    bool listed = false;
};

struct RxMessage : OneOf<EagerReceive, GrantedReceive, ReadReceive, WriteReceive, AtomicReceive, Answer> {
    /// A message's (EagerReceive, GrantedReceive; an atomic's: held or receiving).
    enum class Stage : std::uint8_t {
        held,      ///< arrived before its turn
        parked,    ///< announced, no buffer yet
        receiving, ///< announced, buffer known, bytes missing
        settling,  ///< complete; only its delivered frame is still to be sent
    };

    RxMessage() noexcept {} // leaves `iov` alone

    /// Bytes come only as far as `limit` allows.
    bool is_granted() const noexcept { return is<GrantedReceive>() || is<ReadReceive>(); }
    bool complete() const noexcept { return received >= total; }
    /// Its first bytes, which come before a buffer is known and may have to be stored.
    std::uint64_t unasked() const noexcept
    {
        const GrantedReceive* granted = as<GrantedReceive>();
        return granted != nullptr ? granted->unscheduled : total;
    }
    /// They are all here: nothing more comes that must find the record.
    bool has_unasked() const noexcept { return received >= unasked(); }
    std::span<const iovec> pieces() const noexcept { return {iov.data(), iov_count}; }

    Link all;           ///< the peer's list of all its records
    ListedLink hash;    ///< bucket of (peer, sequence)
    ListedLink control; ///< Receiver's list of what is to be said
    ListedLink grant;   ///< Grants' list of those that want more
    ListedLink done;    ///< the pool's list of receive_done / message_lost events to report
    /// The buffer; before it is known, a granted message's place in the sender's memory. The first iov_count
    /// are set.
    std::array<iovec, max_iov> iov;
    std::uint64_t total = 0;
    std::uint64_t received = 0; ///< bytes arrived (placed, stored or discarded beyond the buffer)
    std::uint64_t seams = 0;    ///< of the pieces that have arrived (Seams)
    std::uint64_t limit = 0;    ///< is_granted: bytes granted so far, or unscheduled
    std::uint64_t cookie = 0;
    Envelope envelope;
    std::uint32_t peer = no_index;
    std::uint32_t sequence = 0;
    std::uint32_t sender_handle = 0; ///< the sender's name for it
    PayloadPool::Chunk chunk;        ///< payload without a buffer, of unasked() bytes; no_index: none
    std::uint8_t iov_count = 0;
    Stage stage = Stage::receiving;
    Cause cause = Cause::none;
    bool want_delivered = false; ///< the sender waits for a delivered frame
    bool silent = false;         ///< discarded: nobody waits for it
    bool delivered_due = false;
    bool grant_due = false;
    DeviceId device = DeviceId::host; ///< whose memory the buffer is
};

class IncomingPool {
public:
    using All = IndexList<&RxMessage::all>;

    /// Random, for what peers must not be able to work out: of the hash of (peer, sequence), which they
    /// choose, and of the seams.
    using HashKey = std::array<std::uint64_t, 4>;

    IncomingPool(std::uint32_t records, std::size_t payload_bytes, std::uint32_t peers, const HashKey& key);

    RxMessage& operator[](std::uint32_t index) noexcept { return messages_[index]; }
    const RxMessage& operator[](std::uint32_t index) const noexcept { return messages_[index]; }
    bool live(std::uint32_t index) const noexcept { return messages_.live(index); }
    std::uint32_t in_use() const noexcept { return messages_.in_use(); }

    /// A record on the list `of_peer`; no_index if there are too many. With `reserve`, or if the peer has its
    /// share already: an eighth of all records is left for those that have a buffer, so that unexpected ones
    /// can never keep those out.
    std::uint32_t create(All& of_peer, std::uint32_t peer, std::uint32_t sequence, bool reserve) noexcept;
    bool has_room(std::uint32_t records) const noexcept
    {
        return messages_.capacity() - messages_.in_use() >= records;
    }
    /// The peer has as many records as are free, or more.
    bool has_its_share(std::uint32_t peer) const noexcept
    {
        return shares_[peer].records > messages_.capacity() - messages_.in_use();
    }
    bool reserve_reached() const noexcept
    {
        return messages_.in_use() >= messages_.capacity() - messages_.capacity() / 8;
    }
    /// The record is on no list but its peer's (and perhaps the hash).
    void release(All& of_peer, std::uint32_t index) noexcept;

    /// The record's later pieces find it by (peer, sequence); `writing`: WriteReceive, whose numbers are
    /// others.
    void insert(std::uint32_t index) noexcept;
    void erase(std::uint32_t index) noexcept; ///< also if it is not in
    std::uint32_t find(std::uint32_t peer, std::uint32_t sequence, bool writing = false) const noexcept;

    /// Records in the bucket of (peer, sequence): for tests.
    std::size_t bucket_size(std::uint32_t peer, std::uint32_t sequence) const noexcept;

    // -- Pieces

    /// False: with this piece all bytes would have arrived by their number, and yet some would be missing.
    bool may_take(const RxMessage& message, std::uint64_t offset, std::uint64_t size) const noexcept
    {
        return message.received + size < message.total ||
               seams_.cover(message.seams + seams_.of(offset, size), message.total);
    }
    /// It has arrived.
    void take(RxMessage& message, std::uint64_t offset, std::uint64_t size) const noexcept
    {
        message.received += size;
        message.seams += seams_.of(offset, size);
    }

    // -- Payload without a buffer

    /// Keeps bytes of the record's payload. False: the bound is reached, nothing has changed.
    bool store(RxMessage& message, std::uint64_t offset, std::span<const std::byte> payload) noexcept;
    std::byte* stored(const RxMessage& message) noexcept { return payloads_.data(message.chunk); }
    /// Gives the stored payload back.
    void drop_stored(RxMessage& message) noexcept;

    /// Room for one more message before its turn, which keeps so many bytes of payload?
    bool can_hold(std::uint64_t bytes) const noexcept
    {
        return held_bytes_ + bytes <= payloads_.budget() / 2 && held_messages_ < messages_.capacity() / 2;
    }
    void hold(RxMessage& message) noexcept;
    /// Its turn has come, or will never come.
    void unhold(const RxMessage& message) noexcept;
    std::uint32_t held_messages() const noexcept { return held_messages_; }

    /// The peer fills memory with what it sends unasked, or all together do: it should ask first while there
    /// is room for what is under way.
    bool is_scarce(std::uint32_t peer) const noexcept
    {
        const std::size_t left = payloads_.budget() - payloads_.used();
        return left < payloads_.budget() / 2 || shares_[peer].bytes + PayloadPool::max_chunk > left / 4;
    }
    /// Enough is free for peers that were refused to try again.
    bool has_recovered() const noexcept
    {
        return payloads_.used() <= payloads_.budget() - payloads_.budget() / 8 &&
               messages_.in_use() <= messages_.capacity() - messages_.capacity() / 4;
    }

    // -- Events that end records

    bool any_done() const noexcept { return !done_.empty(); }
    void report(std::uint32_t index) noexcept;
    /// The next to be reported, off the list; no_index if there is none.
    std::uint32_t take_done() noexcept;

    void check() const;

private:
    /// Of all peers' records and payload.
    struct Share {
        std::uint32_t records;
        std::uint64_t bytes;
    };

    std::size_t bucket_of(std::uint32_t peer, std::uint32_t sequence) const noexcept;

    Slab<RxMessage> messages_;
    PayloadPool payloads_;
    Seams seams_;
    LazyArray<Share> shares_;          ///< by peer
    LazyArray<std::uint32_t> buckets_; ///< index + 1 of the first record in the bucket, 0 = none
    int bucket_bits_;
    HashKey hash_key_; ///< multiply-add-shift (Dietzfelbinger 1996)
    IndexList<&RxMessage::done> done_;
    std::uint64_t held_bytes_ = 0;
    std::uint32_t held_messages_ = 0;
};

} // namespace srd
