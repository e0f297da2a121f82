// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// An endpoint's options (fi_getopt, fi_setopt) and the limits of its fi_info.
//
// Law: an option never allows more than the info does. What is longer than a
// limit is refused with -FI_EMSGSIZE from the moment it is lowered.
//
// Threading: any thread; set() is serialized by the application.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <rdma/fabric.h>

namespace srd {

/// What fi_getopt() and fi_setopt() call FI_OPT_MAX_..._SIZE and FI_OPT_INJECT_..._SIZE.
enum class SizeKind : std::uint8_t { msg, tagged, rma, atomic };

class Options {
public:
    explicit Options(const fi_info& info) noexcept;

    /// FI_OPT_ENDPOINT options: 0 or a negative fi_errno. `size`: bytes of `value`.
    int get(int level, int option, void* value, std::size_t* size) const noexcept;
    /// `is_enabled`: of the endpoint; some options must be set before.
    int set(int level, int option, const void* value, std::size_t size, bool is_enabled) noexcept;

    std::uint64_t caps() const noexcept { return caps_; }
    /// The longest operation of this kind, bytes; `inject`: with FI_INJECT.
    std::size_t limit(SizeKind kind, bool inject) const noexcept
    {
        const Limits& limits = limits_[static_cast<std::size_t>(kind)];
        return (inject ? limits.inject : limits.size).load(std::memory_order_relaxed);
    }
    /// Receives that may be posted at one time.
    std::size_t receive_count() const noexcept { return receive_count_; }
    /// FI_OPT_MIN_MULTI_RECV, bytes.
    std::size_t min_multi_receive() const noexcept
    {
        return min_multi_receive_.load(std::memory_order_relaxed);
    }
    /// FI_OPT_SHARED_MEMORY_PERMITTED. Does not change once the endpoint is enabled.
    bool shared_memory_permitted() const noexcept { return shared_memory_permitted_.load(); }

private:
    struct Limits {
        std::atomic<std::size_t> size{0};   ///< longest operation, bytes
        std::atomic<std::size_t> inject{0}; ///< longest with FI_INJECT, bytes
    };
    static constexpr std::size_t kind_count = 4;

    /// The most that the info allows: what the limits are at first.
    std::size_t bound(SizeKind kind, bool inject) const noexcept;
    int set_limit(SizeKind kind, bool inject, std::size_t value) noexcept;
    int permit_cuda(bool permitted) const noexcept;
    int permit_shared_memory(bool permitted, bool is_enabled) noexcept;

    const std::uint64_t caps_;
    const std::size_t inject_size_;
    const std::size_t message_size_;
    const std::size_t receive_count_;
    std::array<Limits, kind_count> limits_; ///< by SizeKind
    std::atomic<std::size_t> min_multi_receive_;
    std::atomic<bool> shared_memory_permitted_{true};
};

} // namespace srd
