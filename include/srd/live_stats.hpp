// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The file in which a process keeps its statistics where others can read them ("srd stat"): the layout, which
// the provider and the command share.
//
//   LiveHeader | LiveEndpoint × slots
//
// The counters in it are those that the engine counts in, so they are always true, and nothing is lost when
// the process ends without closing its endpoints, killed or by exit(): its file stays. Everything else is a
// snapshot that the process writes when somebody has asked: who raises LiveHeader::asked gets
// LiveEndpoint::answered = asked within half a second, unless the process is stopped. Nobody who does not ask
// costs anything.
//
// The owner holds a flock() on the file: one that can be locked is an ended process's. It has mode 0600.
// Readers use pread() and pwrite(), so that no process can hurt them by shortening its file, and believe
// nothing in it.
//
// A snapshot is valid if `sequence` is even and the same before and after it was read.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <srd/counters.hpp>
#include <srd/limits.hpp>
#include <srd/peer_view.hpp>

namespace srd {

/// Of the file's name, in /dev/shm or $XDG_RUNTIME_DIR.
inline constexpr const char* live_prefix = "srd-live.";
inline constexpr std::uint64_t live_magic = 0x6576'696c'2d64'7273; ///< "srd-live"
inline constexpr std::size_t live_page = 4096;

struct LivePeer {
    std::array<std::byte, max_address_size> address{}; ///< the first `address_size` bytes: a socket address
    std::uint64_t address_size = 0;
    PeerView view;
};

struct LiveSnapshot {
    static constexpr std::uint32_t max_peers = 64;

    std::uint64_t at_ns = 0; ///< CLOCK_REALTIME
    std::uint64_t silent_us =
        0; ///< since the application has called for this endpoint, to a tenth of a second
    std::uint32_t receives = 0;     ///< that are posted, and no message has come for
    std::uint32_t peers = 0;        ///< that there are
    std::uint32_t peers_waited = 0; ///< for which something waits
    std::uint32_t listed = 0;       ///< of the peers here; those that are waited for come first
    std::array<LivePeer, max_peers> peer;
};

struct alignas(live_page) LiveEndpoint {
    std::atomic<std::uint32_t> used{0}; ///< 1: an endpoint's
    std::atomic<std::uint32_t> answered{0};
    std::atomic<std::uint32_t> sequence{0};
    std::uint32_t address_size = 0;
    std::array<std::byte, max_address_size> address{}; ///< the endpoint's own
    std::array<char, 64> domain{};
    alignas(64) Counters counters;
    alignas(64) LiveSnapshot snapshot;
};

struct alignas(live_page) LiveHeader {
    static constexpr std::uint32_t slots = 64;

    std::uint64_t magic = 0; ///< written last
    std::uint64_t layout = 0;
    std::uint64_t pid = 0;
    std::uint64_t started_ns = 0; ///< CLOCK_REALTIME, when the file was made
    std::array<char, 64> host{};
    std::array<char, 16> rank{}; ///< of MPI, if it is known
    std::array<char, 64> command{};
    alignas(64) std::atomic<std::uint32_t> asked{0};
    std::atomic<std::uint32_t> trace{
        0}; ///< trace_order(): what "srd trace" wants; 0: nothing but what FI_SRD_TRACE says
};

/// Tells files of other versions: changes with the counters' names and with the sizes of what lies there.
constexpr std::uint64_t live_layout() noexcept
{
    std::uint64_t hash = 14695981039346656037U; // FNV-1a
    const auto add = [&](std::uint64_t value) { hash = (hash ^ value) * 1099511628211U; };
    const auto add_name = [&](const char* name) {
        for (; *name != '\0'; ++name) {
            add(static_cast<unsigned char>(*name));
        }
    };
#define SRD_X(name, text) add_name(#name);
    SRD_COUNTERS(SRD_X)
#undef SRD_X
    add(sizeof(LiveHeader));
    add(sizeof(LiveEndpoint));
    add(sizeof(PeerView));
    add(2); // raise it when a field gets another meaning
    return hash;
}

/// An order to keep the last `records` events of each endpoint from now on; 0 of them: none.
constexpr std::uint32_t trace_order(std::uint32_t records) noexcept
{
    return records + 1;
}

constexpr std::size_t live_offset(std::uint32_t slot) noexcept
{
    return sizeof(LiveHeader) + slot * sizeof(LiveEndpoint);
}
inline constexpr std::size_t live_file_size = live_offset(LiveHeader::slots);

static_assert(std::atomic<std::uint32_t>::is_always_lock_free &&
              std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(sizeof(LiveEndpoint) <= 4 * live_page, "memory of /dev/shm that an endpoint takes");

} // namespace srd
