// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The common base of backends that bypass the sockets: a faster way to some peers (rings of an interface,
// queue pairs of a device, shared memory) beside a base backend that reaches everybody and does everything
// else. The base backend owns the address and the port, knows the routes, answers liveness probes and reports
// errors.
//
// Laws:
//  - A packet that the bypass cannot carry takes the base backend, in one burst with those directly behind it
//    that it cannot carry either, to whatever peer, or that go to the same peer: what stops one usually stops
//    all, and one large batch is cheaper than several small ones.
//  - A packet that the bypass could carry but has no room for now is not accepted; the engine will offer it
//    again.
//  - Each poll of the base backend is a system call. While packets come by the bypass it is polled only now
//    and then (PollBackoff), but always before one of its notices is acted on and before a sleep.
//  - rx_release() gives the memory of one burst back to each of the two at most once.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include <srd/check.hpp>

#include "io/core/forwarding_io.hpp"
#include "io/core/packet_io.hpp"
#include "io/core/poll_backoff.hpp"

namespace srd {

/// How often to poll a base backend from which little comes.
inline constexpr Duration base_interval = std::chrono::microseconds(20);

class BypassIo : public ForwardingIo {
public:
    explicit BypassIo(std::unique_ptr<PacketIo> base) : ForwardingIo(std::move(base)), caps_(inner().caps())
    {
    }

    const IoCaps& caps() const noexcept final { return caps_; }
    void rx_release() noexcept final
    {
        if (base_held_) {
            inner().rx_release();
            base_held_ = false;
        }
        if (bypass_held_) {
            bypass_held_ = false;
            release_bypass();
        }
    }
    void probe_liveness(RouteId route, Time now) final
    {
        suspect(route);
        inner().probe_liveness(route, now);
    }

protected:
    /// What became of a packet that was offered to the bypass.
    enum class Offered : std::uint8_t {
        sent,
        no_room,     ///< now, but there will be
        not_carried, ///< it has to take the base backend
    };
    struct Sent {
        std::size_t accepted = 0; ///< of all: what PacketIo::tx_burst returns
        std::size_t bypassed = 0; ///< of these, by the bypass
    };

    /// Sends a prefix of `packets`: `offer` is called with each that may take the bypass, in order. `carries`
    /// tells whether one behind a packet that has to take the base backend may.
    template <typename Offer, typename Carries>
    Sent send(std::span<const TxPacket> packets, Offer&& offer, Carries&& carries)
    {
        Sent sent;
        while (sent.accepted < packets.size()) {
            const Offered result = offer(packets[sent.accepted]);
            if (result == Offered::no_room) {
                break;
            }
            if (result == Offered::sent) {
                ++sent.accepted;
                ++sent.bypassed;
                continue;
            }
            std::size_t end = sent.accepted + 1;
            while (end < packets.size() &&
                   (packets[end].route == packets[end - 1].route || !carries(packets[end]))) {
                ++end;
            }
            sent.accepted += inner().tx_burst(packets.subspan(sent.accepted, end - sent.accepted));
            if (sent.accepted < end) {
                break;
            }
        }
        return sent;
    }

    /// Receives from the base backend a prefix of `packets`.
    std::size_t receive_base(std::span<RxPacket> packets, Time now)
    {
        SRD_DCHECK(!base_held_);
        const std::size_t count = inner().rx_burst(packets, now);
        base_held_ = count != 0;
        base_polls_.polled(now, count != 0);
        return count;
    }
    /// The bypass hands out packets, or messages, in memory of its own: one release_bypass() is due.
    void hold_bypass() noexcept
    {
        SRD_DCHECK(!bypass_held_);
        bypass_held_ = true;
    }
    /// Moves to the front the packets for which `is_message` is false; it has dealt with the others, messages
    /// between backends. Returns how many.
    template <typename IsMessage>
    static std::size_t keep_packets(std::span<RxPacket> packets, IsMessage&& is_message)
    {
        std::size_t kept = 0;
        for (const RxPacket& packet : packets) {
            if (!is_message(packet)) [[likely]] {
                packets[kept++] = packet;
            }
        }
        return kept;
    }
    const PollBackoff& base_polls() const noexcept { return base_polls_; }

    std::size_t poll_base_notices(std::span<RouteNotice> notices, Time now)
    {
        const std::size_t count = inner().poll_notices(notices, now);
        if (count != 0) {
            base_polls_.hurry(); // before a notice is acted on, all that came earlier must have been read
        }
        return count;
    }
    /// PacketIo::arm_wait of the base backend.
    bool arm_base()
    {
        const bool idle = inner().arm_wait();
        if (!idle) {
            base_polls_.hurry();
        }
        return idle;
    }

    IoCaps caps_; ///< the base backend's, until a derived class says otherwise

private:
    /// The memory of the packets that the bypass has handed out is its own again.
    virtual void release_bypass() noexcept = 0;
    /// The peer is silent: its bypass has to prove itself again.
    virtual void suspect(RouteId /*route*/) noexcept {}

    PollBackoff base_polls_{base_interval};
    bool base_held_ = false;   // packets of the base backend are handed out
    bool bypass_held_ = false; // packets of the bypass are
};

} // namespace srd
