// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Matching of messages with receives.
//
// Law: a message goes to the earliest posted receive that matches it; a
// receive takes the earliest arrived message that it matches.
//
// Cost: an application uses few different ignore masks (Open MPI: two or three,
// and never none), so receives are kept in one hash table per mask, keyed by the
// bits that matter and by the source or "any"; a message is looked up in each
// table in use. Only with more masks than tables are receives searched one by
// one. Every receive carries the order in which it was posted, so the best of the
// candidates is the earliest. Unexpected messages are on three lists each: of all, by
// tag, and by tag and source; a receive that ignores few bits looks into the
// lists of all tags that it can mean.
//
// Sources are compared as routes: a message's route is known before (and
// whether or not) its sender is in the address vector.
//
// Threading: the endpoint's lock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <sys/uio.h>

#include <srd/intrusive_list.hpp>
#include <srd/iov.hpp>
#include <srd/limits.hpp>
#include <srd/slab.hpp>
#include <srd/status.hpp>
#include <srd/types.hpp>

#include "completion/counted_by.hpp"

namespace srd {

inline constexpr RouteId any_source = no_id<RouteId>;

/// A receive from its posting to its completion, or one message's share of an FI_MULTI_RECV buffer.
struct ReceiveRecord {
    Link link; ///< while posted: of its bucket or the list of receives without a table

    // What was posted.
    std::uint64_t order; ///< of posting; never reused
    std::uint64_t tag;
    std::uint64_t ignore;
    void* context;
    RouteId source;
    bool tagged;
    bool posted;           ///< can still be matched
    bool wants_completion; ///< a success writes an entry
    bool silent;           ///< nothing does
    bool multi_receive;
    std::uint8_t mask_class; ///< while posted: the table it is in
    std::uint8_t iov_count;
    DeviceId device; ///< whose memory `iov` is, as a whole or in part
    std::array<iovec, max_iov> iov;
    std::size_t capacity; ///< bytes in iov; FI_MULTI_RECV: left in the buffer
    CountedBy counted_by;

    // FI_MULTI_RECV: the buffer (a record with multi_receive) and its shares (records with a parent).
    std::uint32_t parent;
    std::uint32_t shares; ///< of this buffer, not complete
    Cause ended_by;       ///< reported when the last share is complete

    // What was matched.
    std::uint64_t matched_tag;
    std::uint64_t data;
    RouteId from;
    bool has_data;
};

/// A message that arrived before its receive.
struct UnexpectedRecord {
    Link all; ///< of all messages in the order of arrival, or of those claimed
    Link by_tag;
    Link by_source;
    MessageId message;
    std::uint64_t arrival; ///< order of arrival; never reused
    std::uint64_t tag;
    std::uint64_t data;
    std::uint64_t length;
    void* claimed_by; ///< the context of the FI_PEEK | FI_CLAIM that took it off the lists
    RouteId source;
    Cause cause; ///< claimed, and lost since: why
    bool tagged;
    bool has_data;
    bool claimed;
};

class Matcher {
public:
    /// `receives`: records for posted receives, for those being filled and for the shares of FI_MULTI_RECV
    /// buffers.
    Matcher(std::uint32_t receives, std::uint32_t unexpected);

    Slab<ReceiveRecord> receives;
    Slab<UnexpectedRecord> unexpected;

    // -- Posted receives ----------------------------------------------------

    void post(std::uint32_t index) noexcept;
    void remove_posted(std::uint32_t index) noexcept;
    /// The receive that gets such a message; no_index if there is none.
    std::uint32_t find_posted(bool tagged, std::uint64_t tag, RouteId source) noexcept;
    std::uint32_t posted_count() const noexcept { return posted_count_; }
    /// Of these, receives from one source.
    std::uint32_t directed_count() const noexcept { return directed_count_; }

    // -- Unexpected messages ------------------------------------------------

    void add_unexpected(std::uint32_t index) noexcept;
    void remove_unexpected(std::uint32_t index) noexcept;
    /// The message that such a receive gets; no_index if there is none.
    std::uint32_t find_unexpected(bool tagged, std::uint64_t tag, std::uint64_t ignore,
                                  RouteId source) noexcept
    {
        return (tagged ? tagged_ : untagged_).unexpected_count == 0
                   ? no_index
                   : search_unexpected(tagged, tag, ignore, source);
    }
    /// By the engine's name for it, claimed messages included. Slow: for failures.
    std::uint32_t find_message(MessageId message) noexcept;
    /// FI_PEEK | FI_CLAIM: takes the message off the lists and keeps it for `context`.
    void claim(std::uint32_t index, void* context) noexcept;
    /// FI_CLAIM: the message kept for `context`; no_index if there is none.
    std::uint32_t find_claimed(const void* context) noexcept;
    /// Forgets a claimed message.
    void release_claimed(std::uint32_t index) noexcept;

private:
    static constexpr std::size_t bucket_count = 1024;
    template <auto Member>
    using Buckets = std::array<IndexList<Member>, bucket_count>;

    static constexpr std::size_t class_count = 6;
    static constexpr std::uint8_t no_class = 0xff;
    static constexpr int max_enumerated_bits = 3;

    /// The posted receives with one ignore mask.
    struct MaskClass {
        std::uint64_t ignore = 0;
        std::uint32_t from_any = 0;            ///< receives from any source
        std::uint32_t directed = 0;            ///< receives from one source
        Buckets<&ReceiveRecord::link> buckets; ///< by (tag without ignored bits, source or any)
    };

    /// FI_MSG and FI_TAGGED do not meet. (An untagged message has tag 0.)
    struct Table {
        std::uint32_t unexpected_count = 0;
        std::array<MaskClass, class_count> classes;
        IndexList<&ReceiveRecord::link> masked; ///< receives without a class, in the order of posting
        IndexList<&UnexpectedRecord::all> all;  ///< in the order of arrival
        Buckets<&UnexpectedRecord::by_tag> by_tag;
        Buckets<&UnexpectedRecord::by_source> by_source;
    };

    static std::size_t bucket_of(std::uint64_t tag, RouteId source) noexcept
    {
        const std::uint64_t key = tag * 0x9e3779b97f4a7c15U + index_of(source) * 0xd6e8feb86659fd93U;
        return (key ^ (key >> 32)) * 0x9e3779b97f4a7c15U >> 54;
    }
    static_assert(bucket_count == std::size_t{1} << (64 - 54));

    Table& table(bool tagged) noexcept { return tagged ? tagged_ : untagged_; }
    static std::uint8_t class_of(Table& in, std::uint64_t ignore) noexcept;
    std::uint32_t find_in(MaskClass& in, std::uint64_t tag, RouteId source) noexcept;
    std::uint32_t find_tag(Table& in, std::uint64_t tag, RouteId source) noexcept;
    std::uint32_t search_unexpected(bool tagged, std::uint64_t tag, std::uint64_t ignore,
                                    RouteId source) noexcept;

    IndexList<&UnexpectedRecord::all> claimed_;
    Table tagged_;
    Table untagged_;
    std::uint64_t next_order_ = 0;
    std::uint64_t next_arrival_ = 0;
    std::uint32_t posted_count_ = 0;
    std::uint32_t directed_count_ = 0;
};

} // namespace srd
