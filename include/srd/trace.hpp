// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The last events of an endpoint, for "srd trace": packets as the engine sees them (in clear, also where they
// are sealed on the way), and what it concludes. Off, all of it costs a test of a null pointer.
//
// The ring lies in a file of its own, /dev/shm/srd-trace.PID.TIME, so that it is there after whatever has
// ended the process. As with live statistics, the owner holds a flock() on it, its mode is 0600, and readers
// believe nothing in it. Layout:
//
//   TraceHeader | TraceRecord × records
//
// Event n lies in record n mod records. It is whole if TraceRecord::number is n + 1 before and after it was
// read.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

#include <srd/limits.hpp>
#include <srd/types.hpp>

namespace srd {

enum class TraceKind : std::uint8_t {
    sent,     ///< a packet, to the backend
    received, ///< a packet; not those that do not parse, or cannot be opened
    // A packet is sent again: `value` is its psn.
    again_rack, ///< later ones have been acknowledged
    again_probe,
    again_timeout,
    again_refused, ///< its receiver had no memory
    again_mtu,     ///< it had become too long
    // `value` is a path.
    path_avoided, ///< after a loss
    path_dark,    ///< out of use
    met,          ///< a connection begins; `value` is the protocol's version
    failed,       ///< a connection ends; `value` is the Cause
    mtu_fell,     ///< `value` is what packets may have from now on, bytes
    denied,       ///< a peer's access to memory; `value` is the Cause
    count_        ///< number of kinds; not a kind
};

/// Whom an engine tells. `route`: of the peer, or no_id.
class TraceSink {
public:
    virtual void on_packet(TraceKind kind, RouteId route, std::span<const iovec> bytes) noexcept = 0;
    virtual void on_event(TraceKind kind, RouteId route, std::uint32_t value) noexcept = 0;

protected:
    ~TraceSink() = default;
};

inline constexpr std::uint32_t most_trace_records = 1U << 20; ///< of one endpoint
inline constexpr const char* trace_prefix = "srd-trace.";
inline constexpr std::uint64_t trace_magic = 0x6563'6172'742d'7273; ///< "sr-trace"

struct TraceRecord {
    static constexpr std::size_t most_bytes = 192;

    std::atomic<std::uint64_t> number{0}; ///< of the event, plus one; 0 while it is written
    std::uint64_t at_ns = 0;              ///< CLOCK_REALTIME
    TraceKind kind{};
    std::uint8_t address_size = 0;
    std::uint16_t captured = 0; ///< of the packet's bytes
    std::uint32_t length = 0;   ///< the packet's
    std::uint32_t value = 0;
    std::array<std::byte, 28> address{}; ///< the peer's
    std::array<std::byte, most_bytes> bytes{};
    std::uint64_t unused = 0;
};
static_assert(sizeof(TraceRecord) == 256);

struct TraceHeader {
    std::uint64_t magic = 0; ///< written last
    std::uint64_t layout = sizeof(TraceRecord) << 8 | static_cast<std::uint64_t>(TraceKind::count_);
    std::uint64_t pid = 0;
    std::uint64_t records = 0;
    std::atomic<std::uint64_t> next{0};                ///< number of the next event
    std::array<std::byte, max_address_size> address{}; ///< the endpoint's own
    std::uint32_t address_size = 0;
};
inline constexpr std::size_t trace_offset = 4096;
static_assert(sizeof(TraceHeader) <= trace_offset);

constexpr std::uint64_t trace_file_size(std::uint64_t records) noexcept
{
    return trace_offset + records * sizeof(TraceRecord);
}

} // namespace srd
