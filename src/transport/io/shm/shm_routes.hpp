// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which peers can be reached through shared memory, and how that is found out: by the laws of
// bypass_routes.hpp. The first question asks for the peer's segment, the second offers a ring in ours.
//
// Same host means: the peer's address is one of this host, the peer has read our object in /dev/shm (its
// messages prove it, shm_message.hpp), and we have opened the peer's, in which that address is written. That
// is so for processes of one user who see the same /dev/shm under the same kernel, and for nobody else.
//
// Laws:
//  - Who is not on this host is asked nothing and told nothing. Questions to others of this host, who are
//    another user's or have no shared memory, stay unanswered; they are repeated once a second.
//  - What has no proof changes nothing: it is dropped without an answer, before anything is mapped, kept or
//    resolved for its sake. So no other user can close a way, take it over, or be told of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <srd/address.hpp>
#include <srd/time.hpp>

#include "io/core/bypass_routes.hpp"
#include "io/core/io_options.hpp"
#include "io/core/notice_queue.hpp"
#include "io/core/packet_io.hpp"
#include "io/shm/shm_message.hpp"
#include "io/shm/shm_ring.hpp"
#include "io/shm/shm_segment.hpp"

namespace srd {

/// Packets to a peer on this host.
struct ShmWay {
    ShmSender sender;                    ///< with has_ring
    std::unique_ptr<ShmLaneWriter> lane; ///< likewise
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
    // As LocalRoad.
    LocalRoad::Sent send_message(RouteId id, const LocalMessage& message, std::span<const iovec> payload,
                                 std::uint32_t length, Time now);
    std::uint32_t messages_taken(RouteId id, std::uint32_t connection, std::uint32_t next) noexcept;
    std::size_t stalled(std::span<RouteId> routes) noexcept;
    bool all_taken() noexcept;

    /// As ProcessMemory.
    std::uint32_t epoch() const noexcept;
    ProcessMemory::Read read(RouteId id, std::uint32_t epoch, std::span<const iovec> from,
                             std::span<const iovec> into) noexcept;
    /// PacketIo::revoke(): packets that were written but not copied must not be read any more.
    void revoke() noexcept;
    /// The peer's process has gone, or so it is said.
    void forget(RouteId id) noexcept;

    /// A ring belongs to the route: of ours, or one that its process writes to us.
    bool is_used(RouteId id) noexcept
    {
        const Route* const route = find(id);
        return route != nullptr && (route->way.has_ring || route->way.segment != nullptr ||
                                    (receiver_ != nullptr && receiver_->reads_from(id)));
    }

    /// Which ways have opened (same_host) and closed (network).
    NoticeQueue& notices() noexcept { return notices_; }
    /// The rings written to us; null before the first.
    ShmReceiver* receiver() noexcept { return receiver_.get(); }
    /// Whether peers must wake us.
    void set_asleep(bool asleep) noexcept;

private:
    bool can_ask(RouteId id) override { return base().on_this_host(id) && open_segment(); }
    void ask(RouteId id, Route& route, Time now) override;
    void on_question(const ShmMessage& question, Time now) override;
    Verdict on_answer(RouteId id, Route& route, const ShmMessage& answer) override;
    OnSilence on_silence(RouteId /*id*/, Stage /*stage*/) override { return OnSilence::ask_on; }
    void on_opened(RouteId id, Route& route) override;
    void on_closed(RouteId id) noexcept override { notices_.push(id, RouteNotice::Kind::network); }

    bool open_segment();
    bool offer_ring(ShmWay& way, const ShmToken& reader);
    ShmMessage describe(std::uint32_t kind, std::uint64_t nonce) const;
    void send_proved(RouteId id, ShmMessage message, const ShmKey& key);
    /// True if the message was made for us by somebody who knows `key`.
    bool is_proved(const ShmMessage& message, const ShmKey& key) const noexcept
    {
        return message.proof == proof_of(message, key, kernel_, local_address());
    }
    bool believe(const ShmMessage& question, Time now, RouteId& id);
    bool has_mapped(const Route& route, const ShmToken& token) const noexcept;
    bool adopt(RouteId id, const ShmObject& object);
    void tell_reader(const ShmWay& way);
    void give_up(ShmWay& way) noexcept;
    void give_up_closed();

    const IoLog log_;
    const ShmKernel kernel_;
    ShmSegment segment_;
    bool usable_ = true; ///< false: no segment could be made
    bool ring_warned_ = false;
    ShmPool pool_;
    NoticeQueue notices_;
    std::unique_ptr<ShmReceiver> receiver_;
    std::vector<RouteId> mapped_; ///< routes that may have a mapped segment
    struct UnusedRing {
        ShmSender sender;
        std::unique_ptr<ShmLaneWriter> lane;
    };
    std::vector<UnusedRing> unused_; ///< of peers that have gone
};

} // namespace srd
