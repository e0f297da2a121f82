// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "matching/match.hpp"

#include <bit>

#include <srd/check.hpp>

namespace srd {

Matcher::Matcher(std::uint32_t receive_count, std::uint32_t unexpected_count)
    : receives(receive_count), unexpected(unexpected_count)
{
}

std::uint8_t Matcher::class_of(Table& in, std::uint64_t ignore) noexcept
{
    std::uint8_t unused = no_class;
    for (std::uint8_t i = 0; i < class_count; ++i) {
        const MaskClass& candidate = in.classes[i];
        if (candidate.ignore == ignore) {
            return i;
        }
        if (unused == no_class && i != 0 && candidate.from_any == 0 && candidate.directed == 0) {
            unused = i;
        }
    }
    if (unused != no_class) {
        in.classes[unused].ignore = ignore;
    }
    return unused;
}

void Matcher::post(std::uint32_t index) noexcept
{
    ReceiveRecord& record = receives[index];
    SRD_DCHECK(receives.live(index) && !record.posted);
    Table& in = table(record.tagged);
    record.order = next_order_++;
    record.posted = true;
    record.mask_class = class_of(in, record.ignore);
    ++posted_count_;
    directed_count_ += record.source != any_source ? 1U : 0U;
    if (record.mask_class == no_class) {
        in.masked.push_back(receives, index);
        return;
    }
    MaskClass& members = in.classes[record.mask_class];
    ++(record.source == any_source ? members.from_any : members.directed);
    members.buckets[bucket_of(record.tag & ~record.ignore, record.source)].push_back(receives, index);
}

void Matcher::remove_posted(std::uint32_t index) noexcept
{
    ReceiveRecord& record = receives[index];
    SRD_DCHECK(receives.live(index) && record.posted && posted_count_ != 0);
    Table& in = table(record.tagged);
    record.posted = false;
    --posted_count_;
    directed_count_ -= record.source != any_source ? 1U : 0U;
    if (record.mask_class == no_class) {
        in.masked.erase(receives, index);
        return;
    }
    MaskClass& members = in.classes[record.mask_class];
    --(record.source == any_source ? members.from_any : members.directed);
    members.buckets[bucket_of(record.tag & ~record.ignore, record.source)].erase(receives, index);
}

/// The earliest receive of the class that wants exactly `source` (or any_source).
std::uint32_t Matcher::find_in(MaskClass& in, std::uint64_t tag, RouteId source) noexcept
{
    const auto& bucket = in.buckets[bucket_of(tag & ~in.ignore, source)];
    for (std::uint32_t index = bucket.front(); index != no_index; index = bucket.next(receives, index)) {
        const ReceiveRecord& record = receives[index];
        if (((record.tag ^ tag) & ~in.ignore) == 0 && record.source == source) {
            return index;
        }
    }
    return no_index;
}

std::uint32_t Matcher::find_posted(bool tagged, std::uint64_t tag, RouteId source) noexcept
{
    Table& in = table(tagged);
    std::uint32_t best = no_index;
    const auto consider = [&](std::uint32_t index) {
        if (index != no_index && (best == no_index || receives[index].order < receives[best].order)) {
            best = index;
        }
    };
    for (MaskClass& members : in.classes) {
        if (members.from_any != 0) {
            consider(find_in(members, tag, any_source));
        }
        if (members.directed != 0) {
            consider(find_in(members, tag, source));
        }
    }
    for (std::uint32_t index = in.masked.front(); index != no_index;
         index = in.masked.next(receives, index)) {
        const ReceiveRecord& record = receives[index];
        if (((record.tag ^ tag) & ~record.ignore) == 0 &&
            (record.source == any_source || record.source == source)) {
            consider(index);
            break;
        }
    }
    return best;
}

void Matcher::add_unexpected(std::uint32_t index) noexcept
{
    UnexpectedRecord& record = unexpected[index];
    Table& in = table(record.tagged);
    record.claimed = false;
    record.arrival = next_arrival_++;
    ++in.unexpected_count;
    in.all.push_back(unexpected, index);
    in.by_tag[bucket_of(record.tag, any_source)].push_back(unexpected, index);
    in.by_source[bucket_of(record.tag, record.source)].push_back(unexpected, index);
}

void Matcher::remove_unexpected(std::uint32_t index) noexcept
{
    UnexpectedRecord& record = unexpected[index];
    Table& in = table(record.tagged);
    SRD_DCHECK(unexpected.live(index) && !record.claimed && in.unexpected_count != 0);
    --in.unexpected_count;
    in.all.erase(unexpected, index);
    in.by_tag[bucket_of(record.tag, any_source)].erase(unexpected, index);
    in.by_source[bucket_of(record.tag, record.source)].erase(unexpected, index);
}

/// The earliest message with exactly this tag.
std::uint32_t Matcher::find_tag(Table& in, std::uint64_t tag, RouteId source) noexcept
{
    const auto search = [&](const auto& list) {
        std::uint32_t index = list.front();
        while (index != no_index && (unexpected[index].tag != tag ||
                                     (source != any_source && unexpected[index].source != source))) {
            index = list.next(unexpected, index);
        }
        return index;
    };
    return source == any_source ? search(in.by_tag[bucket_of(tag, any_source)])
                                : search(in.by_source[bucket_of(tag, source)]);
}

std::uint32_t Matcher::search_unexpected(bool tagged, std::uint64_t tag, std::uint64_t ignore,
                                         RouteId source) noexcept
{
    Table& in = table(tagged);
    if (std::popcount(ignore) > max_enumerated_bits) {
        std::uint32_t index = in.all.front();
        while (index != no_index && (((unexpected[index].tag ^ tag) & ~ignore) != 0 ||
                                     (source != any_source && unexpected[index].source != source))) {
            index = in.all.next(unexpected, index);
        }
        return index;
    }
    std::uint32_t best = no_index;
    std::uint64_t ignored = ignore; // runs through the subsets of the mask, from all to none
    while (true) {
        const std::uint32_t index = find_tag(in, (tag & ~ignore) | ignored, source);
        if (index != no_index && (best == no_index || unexpected[index].arrival < unexpected[best].arrival)) {
            best = index;
        }
        if (ignored == 0) {
            return best;
        }
        ignored = (ignored - 1) & ignore;
    }
}

std::uint32_t Matcher::find_message(MessageId message) noexcept
{
    for (const Table* in : {&tagged_, &untagged_}) {
        for (std::uint32_t index = in->all.front(); index != no_index;
             index = in->all.next(unexpected, index)) {
            if (unexpected[index].message == message) {
                return index;
            }
        }
    }
    for (std::uint32_t index = claimed_.front(); index != no_index;
         index = claimed_.next(unexpected, index)) {
        if (unexpected[index].message == message && unexpected[index].cause == Cause::none) {
            return index;
        }
    }
    return no_index;
}

void Matcher::claim(std::uint32_t index, void* context) noexcept
{
    remove_unexpected(index);
    unexpected[index].claimed = true;
    unexpected[index].claimed_by = context;
    unexpected[index].cause = Cause::none;
    claimed_.push_back(unexpected, index);
}

std::uint32_t Matcher::find_claimed(const void* context) noexcept
{
    std::uint32_t index = claimed_.front();
    while (index != no_index && unexpected[index].claimed_by != context) {
        index = claimed_.next(unexpected, index);
    }
    return index;
}

void Matcher::release_claimed(std::uint32_t index) noexcept
{
    SRD_DCHECK(unexpected.live(index) && unexpected[index].claimed);
    claimed_.erase(unexpected, index);
    unexpected.release(index);
}

} // namespace srd
