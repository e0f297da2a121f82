// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which peers can be reached through shared memory, and how that is found out: by the laws of
// bypass_routes.hpp. The first question asks for the peer's segment, the second offers a ring in ours.
//
// Same host means: the peer has opened our object in /dev/shm and can tell what is written in it, and we have
// opened the peer's. That is so for processes of one user who see the same /dev/shm under the same kernel,
// whatever their network and process namespaces, and for nobody else. A question to anybody else is refused
// or never answered; it is not repeated until the peer falls silent.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <srd/address.hpp>
#include <srd/time.hpp>
#include <srd/wire.hpp>

#include "io/core/bypass_routes.hpp"
#include "io/core/io_options.hpp"
#include "io/core/notice_queue.hpp"
#include "io/core/packet_io.hpp"
#include "io/shm/shm_ring.hpp"
#include "io/shm/shm_segment.hpp"

namespace srd {

//   0               1               2               3
//  +---------------------------------------------------------------+
//  |  magic, 8 bytes: its first is no version of wire.hpp          |
//  +---------------------------------------------------------------+
//  |  kind: 1 question, 2 answer, 3 refusal (BypassKind), 4 wake up|
//  +---------------------------------------------------------------+
//  |  nonce, 8 bytes: of the question, repeated by its answer      |
//  +---------------------------------------------------------------+
//  |  kernel, 16 bytes: the sender's boot id                       |
//  +---------------------------------------------------------------+
//  |  token, 16 bytes: of the sender's object                      |
//  +---------------------------------------------------------------+
//  |  secret, 8 bytes: answer: of the asker's object               |
//  +---------------------------------------------------------------+
//  |  ring: question: the ring offered, or no_ring; answer: its    |
//  |        doorbell                                               |
//  +---------------------------------------------------------------+
//  |  start: question: number of the ring's next packet            |
//  +---------------------------------------------------------------+
//  |  address, 28 bytes: the sender's, a sockaddr_in or _in6       |
//  +---------------------------------------------------------------+
struct ShmMessage {
    static constexpr std::array<std::uint8_t, 8> right_magic{0xf5, 's', 'r', 'd', 's', 'h', 'm', '1'};
    static constexpr std::uint32_t wake_up = BypassKind::first_other;
    static constexpr std::uint32_t no_ring = ~std::uint32_t{0};

    std::array<std::uint8_t, 8> magic = right_magic;
    wire::u32 kind;
    wire::u64 nonce;
    std::array<std::uint8_t, 16> kernel{};
    ShmToken token{};
    wire::u64 secret;
    wire::u32 ring;
    wire::u32 start;
    std::array<std::byte, sizeof(sockaddr_in6)> address{};
};
static_assert(sizeof(ShmMessage) == 96 && alignof(ShmMessage) == 1);

/// Packets to a peer on this host.
struct ShmWay {
    ShmSender sender;                    ///< with has_ring
    std::shared_ptr<ShmMapping> segment; ///< the peer's
    std::uint32_t doorbell = 0;          ///< our ring's, in it
    RouteId route{};
    bool touched = false; ///< written to since the last flush()
    bool has_ring = false;
    ShmToken reader{}; ///< of the peer that the ring was offered to
};

class ShmRoutes final : public BypassRoutes<ShmMessage, ShmWay> {
public:
    /// `base` must outlive the object.
    ShmRoutes(IoLog log, PacketIo& base);

    /// The way through shared memory if it is open; otherwise null, and asks for it if that is due.
    ShmWay* open(RouteId id, Time now)
    {
        if (Route* const known = find(id); known != nullptr) [[likely]] {
            if (known->state.is_open()) [[likely]] {
                if (known->way.segment->header().closed.load(std::memory_order_relaxed) == 0) [[likely]] {
                    return &known->way;
                }
                suspect(id); // but the segment may be needed for a flush() yet
            }
            if (known->state.is_refused()) {
                return nullptr;
            }
        }
        want(id, now);
        return nullptr;
    }
    /// Rings the doorbells of the readers of `ways` that do not poll, and wakes those that sleep.
    void flush(std::span<ShmWay* const> ways);
    /// As ProcessMemory.
    std::uint32_t epoch() const noexcept;
    ProcessMemory::Read read(RouteId id, std::uint32_t epoch, std::span<const iovec> from,
                             std::span<const iovec> into) noexcept;
    /// PacketIo::revoke(): packets that were written but not copied must not be read any more.
    void revoke() noexcept;
    /// The peer's process has gone.
    void forget(RouteId id) noexcept;

    /// Which ways have opened (same_host) and closed (network).
    NoticeQueue& notices() noexcept { return notices_; }
    /// The rings written to us; null before the first.
    ShmReceiver* receiver() noexcept { return receiver_.get(); }
    /// Whether peers must wake us.
    void set_asleep(bool asleep) noexcept;

private:
    bool can_ask() override { return open_segment(); }
    void ask(RouteId id, Route& route, Time now) override;
    void on_question(RouteId id, const ShmMessage& question) override;
    Verdict on_answer(RouteId id, Route& route, const ShmMessage& answer) override;
    OnSilence on_silence(RouteId /*id*/, Stage /*stage*/) override { return OnSilence::refuse; }
    void on_opened(RouteId id, Route& route) override;
    void on_closed(RouteId id) noexcept override { notices_.push(id, RouteNotice::Kind::network); }

    bool open_segment();
    bool offer_ring(ShmWay& way, const ShmToken& reader);
    ShmMessage describe(std::uint32_t kind, std::uint64_t nonce) const;
    std::shared_ptr<ShmMapping> map_peer(RouteId id, const ShmToken& token);
    void give_up(ShmWay& way) noexcept;
    void give_up_closed();

    const IoLog log_;
    const std::array<std::uint8_t, 16> kernel_;
    ShmSegment segment_;
    bool usable_ = true; ///< false: no segment could be made
    bool ring_warned_ = false;
    ShmPool pool_;
    NoticeQueue notices_;
    std::unique_ptr<ShmReceiver> receiver_;
    std::vector<RouteId> mapped_;   ///< routes that may have a mapped segment
    std::vector<ShmSender> unused_; ///< rings of peers that have gone
};

} // namespace srd
