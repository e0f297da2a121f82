// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "device/device_staging.hpp"

#include <algorithm>

#include <srd/check.hpp>
#include <srd/iov.hpp>

namespace srd {

/// chunk_count: it is not there.
std::size_t DeviceStaging::find(const TxMessage& message, std::uint64_t number) const noexcept
{
    const auto found = std::find_if(chunks_.begin(), chunks_.end(), [&](const Chunk& chunk) {
        return chunk.message == message.staged && chunk.number == number;
    });
    return static_cast<std::size_t>(found - chunks_.begin());
}

/// One that no packet of this burst needs, the oldest first; chunk_count: there is none.
std::size_t DeviceStaging::free_chunk() noexcept
{
    for (std::size_t tried = 0; tried < chunk_count; ++tried) {
        const std::size_t at = next_;
        next_ = (next_ + 1) % chunk_count;
        if (chunks_[at].burst != burst_ && (!chunks_[at].begun || settle())) {
            return at;
        }
    }
    return chunk_count;
}

/// Begins to copy a chunk; `at` is where.
DeviceStaging::Result DeviceStaging::begin(const TxMessage& message, std::uint64_t number,
                                           std::size_t& at) noexcept
{
    SRD_CHECK(memory_ != nullptr);
    at = free_chunk();
    if (at == chunk_count) {
        return Result::full;
    }
    const std::uint64_t offset = number * chunk_size;
    std::byte* to = host_ + at * chunk_size;
    bool all = true;
    any_begun_ = true;
    for_each_piece(message.pieces(), offset, std::min<std::uint64_t>(chunk_size, message.total - offset),
                   [&](const std::byte* from, std::size_t size) {
                       all = all && memory_->fetch(message.device, from, size, to);
                       to += size;
                   });
    chunks_[at] = {.message = all ? message.staged : 0, .number = number, .burst = 0, .begun = true};
    return all ? Result::ready : Result::failed;
}

/// False: what was begun is not there.
bool DeviceStaging::settle() noexcept
{
    any_begun_ = false;
    const bool done = memory_->settle();
    for (Chunk& chunk : chunks_) {
        if (chunk.begun && !done) {
            chunk.message = 0;
        }
        chunk.begun = false;
    }
    return done;
}

DeviceStaging::Result DeviceStaging::prepare(const TxMessage& message, std::uint64_t offset,
                                             std::uint64_t length) noexcept
{
    SRD_DCHECK(message.staged != 0 && length <= chunk_size && offset + length <= message.total);
    const std::uint64_t end = offset + length;
    for (std::uint64_t number = offset / chunk_size; number * chunk_size < end; ++number) {
        std::size_t at = find(message, number);
        const bool is_new = at == chunk_count;
        if (is_new) {
            if (const Result result = begin(message, number, at); result != Result::ready) {
                return result;
            }
        }
        if (chunks_[at].begun && !settle()) {
            return Result::failed;
        }
        chunks_[at].burst = burst_;
        const std::uint64_t next = number + 1;
        const std::uint64_t next_end = std::min(message.total, (next + 1) * chunk_size);
        std::size_t ahead = 0;
        if (next * chunk_size < message.total && message.framed < next_end &&
            find(message, next) == chunk_count) {
            static_cast<void>(begin(message, next, ahead)); // whoever needs it tries again
        }
    }
    return Result::ready;
}

std::size_t DeviceStaging::pieces(const TxMessage& message, std::uint64_t offset, std::uint64_t length,
                                  std::span<iovec> pieces) const noexcept
{
    std::size_t count = 0;
    while (length != 0) {
        const std::size_t at = find(message, offset / chunk_size);
        SRD_CHECK(at != chunk_count && chunks_[at].burst == burst_);
        const std::uint64_t within = offset % chunk_size;
        const std::uint64_t take = std::min<std::uint64_t>(length, chunk_size - within);
        pieces[count++] = {host_ + at * chunk_size + within, take};
        offset += take;
        length -= take;
    }
    return count;
}

} // namespace srd
