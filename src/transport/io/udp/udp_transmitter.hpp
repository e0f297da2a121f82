// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The sending half of the UDP backend.
//
// Packets of one burst are grouped into messages: a run of packets of the same
// length (the last may be shorter) to one route on one path is one UDP_SEGMENT
// message, which crosses the kernel's network stack once. Messages on one path,
// thus one socket, share a sendmmsg call; a single packet takes the cheapest
// system call there is.
//
// The route and path that most packets take get a connected socket: the kernel
// then keeps the route instead of looking it up, a tenth of the whole cost of a
// small packet.
//
// A batch of short pieces is laid together where that proves faster (CopyChoice).
//
// What the kernel says about a packet it does not take:
//   no room now             the burst ends there; the engine offers the packet again
//   too large (EMSGSIZE)    the path's MTU shrank: notice, and this packet goes without DF
//   no segmentation         the same packets go one by one, and the socket is remembered
//   an ICMP answer          it concerns an earlier packet: read the error queue, send again
//   anything else           the packet counts as sent and lost
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <netinet/in.h>
#include <sys/socket.h>

#include <srd/counters.hpp>

#include "io/core/io_options.hpp"
#include "io/core/packet_io.hpp"
#include "io/udp/copy_choice.hpp"
#include "io/udp/udp_routes.hpp"
#include "io/udp/udp_senders.hpp"

namespace srd {

class UdpTransmitter {
public:
    /// Packets in one UDP_SEGMENT message: the kernel's UDP_MAX_SEGMENTS, which newer kernels have raised.
    static constexpr std::uint16_t max_segments = 64;

    struct Settings {
        std::size_t path_count = 1;
        bool offload = true; // UDP_SEGMENT may be tried
    };

    /// All references must outlive the transmitter. `main`: the endpoint's own socket, path 0.
    UdpTransmitter(UdpSender& main, std::shared_ptr<UdpSenders> others, const SocketAddress& local,
                   UdpRoutes& routes, NoticeQueue& notices, Counters& counters, const IoOptions& options,
                   Settings settings);

    /// As PacketIo::tx_burst.
    std::size_t tx_burst(std::span<const TxPacket> packets);

    /// As PacketIo::reply.
    void reply(const SocketAddress& address, std::span<const std::byte> packet) noexcept;

    /// The id may stand for another address from now on.
    void forget_route(RouteId route) noexcept
    {
        connected_route_ = connected_route_ == route ? no_id<RouteId> : connected_route_;
        candidate_ = candidate_ == route ? no_id<RouteId> : candidate_;
    }

    /// Reads the error queue of `sender` and turns it into notices. True if there was anything.
    bool collect_errors(UdpSender& sender);
    /// Turns one report from an error queue into a notice, if it concerns a route of ours.
    void report(const SocketError& error);

private:
    static constexpr std::size_t max_messages = 64;     // per sendmmsg
    static constexpr std::size_t max_pieces = 1024;     // iovecs over the messages of one sendmmsg
    static constexpr unsigned connect_after = 64;       // messages in a row to one route by one path
    static constexpr int max_attempts = 4;              // per message: each async error report costs one
    static constexpr std::size_t fine_packets = 2;      // of so many may the pieces be laid together,
    static constexpr std::uint32_t coarse_piece = 4096; // unless the kernel copies long ones anyway
    static constexpr std::size_t together_size =
        std::size_t{2} * 65536; // what a cache near the processor holds
    using Clock = std::chrono::steady_clock;

    struct alignas(cmsghdr) Control {
        std::array<char, CMSG_SPACE(sizeof(std::uint16_t))> bytes{};
    };
    enum class Verdict : std::uint8_t {
        retry,     // the error was about an earlier packet
        stop,      // no room now
        lost,      // counts as sent
        one_by_one // the packets of this message must be sent singly
    };

    UdpSender& sender_of(PathId path);
    /// Length of the run at the front of `packets` that can be one message.
    std::size_t run_length(std::span<const TxPacket> packets, bool segmentation) const noexcept;
    /// Groups a prefix of `packets`, all on one socket, into messages. Returns its length.
    std::size_t gather(std::span<const TxPacket> packets, const UdpSender& sender) noexcept;
    void add_message(std::span<const TxPacket> run) noexcept;
    /// A batch of so many packets, as long as `first`, consists of short pieces.
    static bool is_fine(const TxPacket& first, std::size_t count) noexcept;
    void add_fine_message(bool together) noexcept;
    /// Sends the gathered messages of `packets`. Returns how many packets are accepted.
    std::size_t flush(std::span<const TxPacket> packets, UdpSender& sender);
    /// The connected socket instead of `sender` if the one gathered message, `packet`, can take it.
    UdpSender& prefer_connected(UdpSender& sender, const TxPacket& packet);
    bool connect_to(RouteId route, PathId path);
    /// One system call for the gathered messages from `first` on: how many were sent, or -1 with errno.
    int send_messages(int fd, std::size_t first) noexcept;
    /// Sends `packets` as single datagrams. Returns how many are accepted.
    std::size_t send_one_by_one(std::span<const TxPacket> packets, UdpSender& sender);
    bool send_fragmented(const TxPacket& packet);
    Verdict judge(int error, const TxPacket& packet, bool batch, UdpSender& sender);

    UdpSender& main_;
    std::shared_ptr<UdpSenders> others_;
    SocketAddress local_;
    UdpRoutes& routes_;
    NoticeQueue& notices_;
    Counters& counters_;
    const IoOptions& options_;
    const Settings settings_;
    UdpSender connected_;                      // opened when first needed
    RouteId connected_route_ = no_id<RouteId>; // where connected_ goes
    PathId connected_path_{};                  // and for which path it stands
    RouteId candidate_ = no_id<RouteId>;       // where it might go next,
    PathId candidate_path_{};                  // and for which path,
    unsigned candidate_streak_ = 0;            // after so many messages in a row
    FileDescriptor fragmenting_;               // without DF; opened when first needed

    std::array<mmsghdr, max_messages> messages_{};
    std::array<Control, max_messages> controls_{};
    std::array<std::uint16_t, max_messages> message_packets_{}; // packets in each message
    std::array<iovec, max_pieces> pieces_{};
    std::size_t message_count_ = 0;
    std::size_t piece_count_ = 0;

    CopyChoice copy_choice_;
    const std::unique_ptr<std::byte[]> together_; // together_size bytes, touched when first needed
    std::size_t fine_bytes_ = 0;                  // of the gathered messages that consist of short pieces
};

} // namespace srd
