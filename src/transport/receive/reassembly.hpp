// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets that come in fragments, put together. One of each connection at a
// time, which is all that a sender has under way, and few altogether: what finds
// no place comes again.
//
// Laws:
//  - fragments may come in any order, twice, overlap, and be of several transmissions of the packet:
//    its bytes are the same in all;
//  - another packet of the connection, or another length, takes the place of what was there;
//  - a place whose fragments have stopped coming (`patience`) is given to another connection;
//  - a whole packet stays until the burst that completed it has been read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <srd/intrusive_list.hpp>
#include <srd/lazy_array.hpp>
#include <srd/limits.hpp>
#include <srd/time.hpp>

#include "wire/layout.hpp"

namespace srd {

class Reassembly {
public:
    static constexpr std::uint32_t places = 64;
    static constexpr Duration patience = std::chrono::milliseconds(100);
    /// What was begun so long ago is of an earlier round of psns: the packet has come whole since. 2^32
    /// packets take longer, and repetitions come more often.
    static constexpr Duration round = std::chrono::seconds(10);

    Reassembly() : table_(places), memory_(places) {}

    enum class Result : std::uint8_t {
        kept,
        whole,   ///< `frames` is what the packet holds
        dropped, ///< malformed, or there is no place
    };
    Result add(std::uint64_t connection, std::uint32_t psn, const wire::FragmentHeader& header,
               std::span<const std::byte> bytes, Time now, std::span<const std::byte>& frames) noexcept;
    /// Whole packets have been read.
    void begin_burst() noexcept
    {
        if (any_whole_) {
            release_whole();
        }
    }

private:
    static constexpr std::size_t max_total = 65536;

    static_assert(max_total >= max_udp_payload);

    struct Place {
        std::uint64_t connection = 0; ///< 0: free
        std::uint32_t psn = 0;
        std::uint32_t total = 0;
        std::uint32_t missing = 0; ///< units
        bool whole = false;
        Time latest{};
        std::array<std::uint64_t, max_total / wire::fragment_unit / 64> arrived{}; ///< a bit per unit
    };

    std::uint32_t find(std::uint64_t connection, Time now) const noexcept;
    void release_whole() noexcept;

    LazyArray<Place> table_;
    LazyArray<std::array<std::byte, max_total>> memory_;
    bool any_whole_ = false;
};

} // namespace srd
