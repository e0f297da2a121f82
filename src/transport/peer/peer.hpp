// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A remote endpoint:
//
//   Peer = Route + Handshake + Rails + Liveness + Connection{ what is sent, what is received, recovery }
//
// A connection is what two incarnations have agreed on. When it ends, what was
// outstanding is failed (PeerLifecycle::drop) and the peer gets a new Handshake,
// Rails,
// Liveness and Connection; Route stays, and so do complete unexpected messages,
// which are the application's already. Nothing else survives.
//
// Each part is a class that owns its law; its header is where to read it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <srd/intrusive_list.hpp>
#include <srd/time.hpp>

#include "peer/handshake.hpp"
#include "peer/liveness.hpp"
#include "peer/rails.hpp"
#include "peer/route.hpp"
#include "receive/incoming.hpp"
#include "receive/receiver.hpp"
#include "send/ack_clock.hpp"
#include "send/congestion_window.hpp"
#include "send/fragmentation.hpp"
#include "send/outgoing.hpp"
#include "send/packet_window.hpp"
#include "send/path_choice.hpp"
#include "send/receiver_not_ready.hpp"
#include "send/recovery.hpp"
#include "send/trains.hpp"

namespace srd {

struct Connection {
    explicit Connection(const FirstNumbers& first = {}) noexcept
        : queue(first), recovery(first), receiver(first)
    {
    }

    // Sender.
    SendQueue queue;             ///< operations, in order
    PacketWindow window;         ///< their packets
    CongestionWindow congestion; ///< how much may go
    PathChoice paths;            ///< where it goes
    ReceiverNotReady refusal;    ///< the peer takes no messages for now
    AckClock ack_clock;
    Fragmentation fragmentation; ///< what is longer than the MTU by now
    Trains trains;               ///< whether batches get there
    bool unreadable = false;     ///< the system does not let us read the peer's memory
    bool unread = false;         ///< nor the peer ours
    Recovery recovery;           ///< what is sent again
    // Receiver.
    Receiver receiver;
};

/// A peer's place among those that take turns to send.
struct SendTurn {
    Time retry_at{};          ///< the backend has refused a packet; no other before
    std::uint16_t limit = 64; ///< packets it may send in its next turn
};

/// Close frames carry the last acknowledgement, and nobody is left to repeat them: without it, a peer takes
/// for lost what has arrived. On a host none is lost.
inline constexpr std::uint8_t farewells = 3;

struct Peer {
    Peer() noexcept {} // the policies' constructors do not throw, though they do not say so

    bool is_waiting() const noexcept
    {
        return connection.window.any_outstanding() || handshake.unconfirmed();
    }
    /// True while the peer owes us something: a handshake answer or an acknowledgement.
    bool awaits_answer() const noexcept
    {
        return is_waiting() || connection.queue.any_operation() || connection.queue.any_doubtful();
    }
    /// True if a turn would have something to send, windows aside.
    bool has_work() const noexcept
    {
        return handshake.hello_due() || farewells_due != 0 ||
               (handshake.established() &&
                (connection.receiver.ack_now() || connection.window.anything_to_send() ||
                 connection.queue.any_waiting() || connection.queue.any_granted() ||
                 connection.receiver.any_control() || route.path_mtu().any_due() || rails.any_due()));
    }
    /// Every operation to it is complete and nothing is to be said.
    bool drained() const noexcept
    {
        return connection.window.empty() && !connection.queue.any_operation() &&
               !connection.queue.any_granted() && !connection.receiver.any_control();
    }
    /// Bytes of copied frames that fit one packet to it now, beside the acknowledgement that is owed.
    std::uint32_t frame_capacity() const noexcept
    {
        const std::size_t reserve = connection.receiver.ack_pending()
                                        ? std::min(connection.receiver.ack_size(), wire::max_ack_reserve)
                                        : 0;
        return std::min(route.mtu() - static_cast<std::uint32_t>(sizeof(wire::PacketHeader) + reserve),
                        chunk_size);
    }
    /// The same, whatever is owed.
    std::uint32_t least_frame_capacity() const noexcept
    {
        return std::min(route.mtu() - wire::packet_overhead, chunk_size);
    }
    /// The MTU may have changed; it was `before`.
    void on_mtu(std::uint32_t before) noexcept
    {
        if (route.mtu() != before) {
            connection.congestion.set_packet_size(route.mtu(), rails.lanes());
        }
        if (route.mtu() < before) {
            connection.fragmentation.on_mtu_fallen(connection.window.next());
        }
    }
    /// A timer asks for a repetition: of a packet, or of an introduction.
    bool repeats(Time now) const noexcept
    {
        return connection.recovery.probe_due(now) || handshake.next_timeout() <= now;
    }
    /// When a timer of one of the parts is due.
    Time deadline() const noexcept
    {
        return earliest(connection.receiver.next_timeout(), handshake.next_timeout(),
                        connection.refusal.next_timeout(), connection.recovery.next_timeout(),
                        liveness.next_timeout(), connection.congestion.next_timeout(),
                        route.path_mtu().next_timeout(), rails.next_timeout());
    }

    Route route;
    Handshake handshake;
    Rails rails; ///< ways to it
    Liveness liveness;
    Connection connection;
    [[no_unique_address]] SendTurn turn; // what follows lies behind its last member
    bool pinned = false;                 ///< the application named it: its PeerId stays
    std::uint8_t farewells_due = 0;      ///< close frames that are to be sent
    IncomingPool::All incoming;          ///< records of what came from it

private:
    friend class PeerTable;
    bool active_ = false; ///< on the table's list of peers with something to send
    Link active_link_;
    Time armed_at_ = time_never;
};

} // namespace srd
