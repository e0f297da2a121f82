// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Sealed packets of one connection: keys for both directions, the counter of what was sent, and the window of
// what was received. docs/protocol.md, section 13.
//
//  +---------------------------------------------------------------+
//  |  header, 16 bytes: in clear, authenticated                    |
//  +---------------------------------------------------------------+
//  |  counter, 8 bytes: 0, 1, 2, ... of all packets that this side |
//  |  has sealed on this connection                                |
//  +---------------------------------------------------------------+
//  |  all that followed the header, encrypted                      |
//  +---------------------------------------------------------------+
//  |  tag, 16 bytes                                                |
//  +---------------------------------------------------------------+
//
// The counter is the nonce. A repeated packet is sealed anew, under a counter of its own. Its upper bits are
// the key phase (KeySchedule), so no bit of the header tells of one. Nothing here knows what a header means.
//
// Memory, in thousands of connections: 0.8 KiB for the object and two contexts of libcrypto, 3.1 KiB in all
// with AES-128-GCM. So it is made when the handshake is over, and not before. There is one context for what
// is received, though packets of two phases may arrive in turns: that it takes another key then costs 120 ns,
// in the 4096 packets around a change of phase, of which there is one in four million.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <sys/uio.h>

#include <srd/wire.hpp>

#include "seal/crypto/aead.hpp"
#include "seal/key_schedule.hpp"
#include "seal/replay_window.hpp"

namespace srd {

/// The numbers of sealed packets: each is given out once.
class PacketCounter {
public:
    /// No packet has this counter or a higher one. 2^60 packets take 3,600 years at ten million per second;
    /// the bound is there because a counter that wraps would repeat nonces.
    static constexpr std::uint64_t limit = std::uint64_t{1} << 60;

    explicit PacketCounter(std::uint64_t first = 0) noexcept : next_(first) {}

    bool exhausted() const noexcept { return next_ >= limit; }
    /// Not if exhausted().
    std::uint64_t take() noexcept { return next_++; }
    std::uint64_t latest() const noexcept { return next_ - 1; }
    /// The latest was not used after all.
    void give_back() noexcept { --next_; }

private:
    std::uint64_t next_;
};

/// What became of a packet that was to be opened.
enum class OpenResult : std::uint8_t {
    opened,
    too_short,   ///< for header, counter and tag
    replayed,    ///< was opened before
    too_old,     ///< more than 4096 packets behind the newest: may be a replay
    too_new,     ///< more than half a phase ahead of the newest: nobody sends such
    auth_failed, ///< forged, or not from this connection
    exhausted,   ///< so many were forged that one may succeed: the connection needs new keys
};

class SealedSession {
public:
    static constexpr std::size_t header_size = 16;
    static constexpr std::size_t counter_size = sizeof(wire::u64);
    /// How much longer a packet becomes.
    static constexpr std::size_t overhead = counter_size + aead_tag_size;
    /// A counter further ahead than this is refused before anything is computed for it. As long as it is a
    /// phase less a window at most, two phases suffice; a sender that hears nothing stops far below it.
    static constexpr std::uint64_t ahead_max = KeySchedule::phase_packets / 2;
    static constexpr std::uint64_t window = 4096; ///< packets, see ReplayWindow

    /// After both hellos are known. The cipher: agreed_cipher() of their offers. `hmac`: a tool that must
    /// outlive the session and belong to its thread. Null: there is no memory.
    static std::unique_ptr<SealedSession> make(HmacSha256& hmac, const SealTerms& terms,
                                               const SealedSide& self, const SealedSide& peer) noexcept;

    /// The packet in these pieces, whose header is the beginning of the first, sealed to `out`, which has
    /// room for it and `overhead` more and overlaps none of them. Returns the length of the sealed packet; 0:
    /// none may be sealed any more, and the connection ends. Allocates nothing. Seal what goes out now: a
    /// packet that the backend refused is taken back: counters that were never sent count as lost packets,
    /// and after 2^21 of those in a row the peer opens nothing any more.
    std::size_t seal(std::span<const iovec> packet, std::byte* out) noexcept;

    /// The packet that was sealed last has not left this process, and never will. Its counter, hence its
    /// nonce, serves another one.
    void take_back() noexcept;

    /// Opens a sealed packet where it is: header and contents are then one after the other in
    /// packet.subspan(counter_size, packet.size() - overhead), and the bytes around are undefined. Unless it
    /// was opened, nothing of it may be used. Allocates nothing.
    OpenResult open(std::span<std::byte> packet) noexcept;
    /// The same with header and contents, packet.size() - overhead bytes, written to `out`, which does not
    /// overlap. Unless it was opened, what is in `out` is undefined.
    OpenResult open(std::span<const std::byte> packet, std::byte* out) noexcept;

    bool has_opened() const noexcept { return rx_.replay.next() != 0; } ///< any packet
    std::uint64_t forgeries() const noexcept { return rx_.forgeries; }  ///< packets with auth_failed

private:
    SealedSession(HmacSha256& hmac, const SealTerms& terms, const SealedSide& self, const SealedSide& peer);

    struct Tx {
        Tx(HmacSha256& hmac, const SealTerms& terms, const SealedSide& self, const SealedSide& peer);
        void set_phase(std::uint64_t phase) noexcept;

        KeySchedule schedule;
        PhaseKeys keys; ///< of the schedule's phase
        AeadSealer sealer;
        PacketCounter counter;
    };
    struct Rx {
        Rx(HmacSha256& hmac, const SealTerms& terms, const SealedSide& self, const SealedSide& peer);
        const PhaseKeys& set_phase(std::uint64_t phase) noexcept;
        OpenResult check(std::uint64_t counter) const noexcept;
        /// What was sealed goes to `out` + `place`.
        OpenResult open(std::span<const std::byte> packet, std::byte* out, std::size_t place) noexcept;

        KeySchedule schedule;          ///< at the newest phase of which keys were derived
        std::array<PhaseKeys, 2> keys; ///< of the newest phase and of the one before: at the phase's last bit
        AeadOpener opener;
        std::uint64_t opener_phase = 0; ///< whose key it has
        std::uint64_t forgeries = 0;
        ReplayWindow<window> replay;
    };

    Tx tx_;
    Rx rx_;
};

static_assert(SealedSession::ahead_max <= KeySchedule::phase_packets - SealedSession::window,
              "keys of the last phase are needed no more when those of the next take their place");

} // namespace srd
