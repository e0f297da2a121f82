// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets in, events out.
//
// on_packets() checks headers, lets acknowledgements act, and notes the rest.
// poll_event() then reads the noted packets frame by frame and stops at every
// event, so the matching layer decides about a message while its bytes still
// lie in the packet. A packet is marked as received only when all its frames
// are taken: whatever the matching layer refuses is simply not acknowledged.
//
// A frame is decoded once and handed to the part that owns what it is about.
#pragma once

#include <span>

#include <srd/time.hpp>

#include "io/core/packet_io.hpp"
#include "local/local_messages.hpp"
#include "operation.hpp"
#include "peer/lifecycle.hpp"
#include "peer/path_search.hpp"
#include "peer/rail_search.hpp"
#include "peer/watch.hpp"
#include "receive/frame_result.hpp"
#include "receive/placement.hpp"
#include "receive/reassembly.hpp"
#include "receive/unsealing.hpp"
#include "rma/initiator.hpp"
#include "rma/target.hpp"
#include "send/ack_handler.hpp"
#include "send/submission.hpp"
#include "shared.hpp"

namespace srd {

class Inbound {
public:
    Inbound(Shared& shared, PeerLifecycle& lifecycle, PeerWatch& watch, AckHandler& acks,
            Submission& submission, Placement& placement, RmaInitiator& initiator, RmaTarget& target,
            PathSearch& search, RailSearch& rails, LocalMessages& local)
        : s_(shared), lifecycle_(lifecycle), watch_(watch), acks_(acks), submission_(submission),
          placement_(placement), initiator_(initiator), target_(target), search_(search), rails_(rails),
          local_(local), unsealing_(shared)
    {
    }

    void on_packets(std::span<const RxPacket> packets, Time now);
    bool poll_event(Event& event);

private:
    void on_packet(const RxPacket& packet);
    static void describe(const RxPacket& packet, const wire::PacketHeader& header, PacketNote& note) noexcept;
    bool speaks_with_us(const wire::HelloFrame& hello) noexcept;
    void trace(wire::PacketHeader header, const wire::Reader& reader, std::uint32_t peer) noexcept;
    bool is_readable(const wire::PacketHeader& header) noexcept;
    bool is_of_stranger(const wire::PacketHeader& header, const wire::Reader& reader,
                        Unsealing::Result opened) noexcept;
    bool take_ack(wire::Reader& reader, std::uint32_t peer, Time arrived);
    bool take_fragment(wire::Reader& reader, const wire::PacketHeader& header, std::uint32_t peer);
    bool poll_done(Event& event);
    bool poll_held(Event& event);
    bool open_next();
    bool open_late(PacketNote& note);
    bool step(Event& event);
    FrameResult on_frame(Event& event);
    FrameResult on_sequenced(Event& event);
    void finish_packet();

    Shared& s_;
    PeerLifecycle& lifecycle_;
    PeerWatch& watch_;
    AckHandler& acks_;
    Submission& submission_;
    Placement& placement_;
    RmaInitiator& initiator_;
    RmaTarget& target_;
    PathSearch& search_;
    RailSearch& rails_;
    LocalMessages& local_;
    Unsealing unsealing_;
    Reassembly reassembly_;
    Time now_{};                 ///< of the burst whose packets are being read
    std::uint64_t newcomer_ = 0; ///< the identifier in the burst's latest introduction
};

} // namespace srd
