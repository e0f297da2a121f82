// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A peer that means harm and knows how: it has met the victim, remembers what it was sent, and makes packets
// whose fields the input chooses, near to what the victim expects more often than not.
//
// What it sends as bytes of a message is always pattern(), under a tag that says so: whatever the victim puts
// together of it must be that again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "fuzz/input.hpp"
#include "fuzz/meeting.hpp"
#include "fuzz/victim.hpp"
#include "wire/frames.hpp"

namespace srd::fuzz {

class Remote final : public RemoteBytes {
public:
    /// `seals`: null, or it has the job's key.
    explicit Remote(std::uint32_t route, std::unique_ptr<EndpointSeals> seals = nullptr)
        : route_(route), seals_(std::move(seals))
    {
    }

    RouteId route() const noexcept { return RouteId{route_}; }
    /// Introduces itself anew, and proves that it has heard the answer. False: the victim does not want to
    /// know it.
    bool meet(Victim& victim, std::uint32_t first_psn, std::uint32_t max_packet = Victim::max_packet);
    /// A packet that the victim has sent to it.
    void hear(std::span<const std::byte> packet);

    /// Makes a packet, or several, as the input says, for send().
    void make(Input& input);
    /// A packet that acknowledges all that has come.
    void make_acknowledgement();
    /// Everything made so far arrives at once. `tamper`: the last packet changes while it is read.
    void send(Victim& victim, bool tamper);

private:
    using Bytes = std::vector<std::byte>;

    /// A frame of the victim's, as far as an answer needs it.
    struct Seen {
        wire::FrameType type{};
        std::uint32_t sequence = 0;
        std::uint32_t handle = 0;
        std::uint64_t length = 0;
        std::uint64_t offset = 0; ///< of the answer's next piece
    };
    struct Made {
        Bytes bytes;
        std::uint32_t remote_length = 0;
        std::uint32_t sequence = 0; ///< of the remote bytes
        std::uint64_t offset = 0;
        bool finished = false; ///< it goes as it is
    };
    /// What somebody on the way, or without a key, does to packets.
    enum class Meddling : std::uint8_t { none, clear, changed, repeated };

    void hear_hello(const Answer& answer, std::span<const std::byte> packet);
    std::span<const std::byte> opened(std::span<const std::byte> packet);
    void begin_session(const Answer& answer, std::span<const std::byte> packet);
    void choose_meddling(Input& input);
    void seal(Made& made);
    /// Returns how many of the packets must not be taken.
    std::uint32_t seal_all();
    /// Sends a hello, and hears what the victim says to it.
    void exchange(Victim& victim, const Claim& claim);
    void note(const wire::Frame& frame);
    void note(wire::FrameType type, std::uint32_t sequence, std::uint32_t handle, std::uint64_t length);
    Seen& pick(Input& input, wire::FrameType type);

    Made& begin();
    wire::PacketHeader header(Input& input, std::uint8_t flags);
    static std::uint16_t choose_size(Input& input);
    std::uint32_t choose_psn(Input& input);
    std::uint32_t choose_sequence(Input& input);
    void put_ack(Input& input, Bytes& out) const;
    void put_unsequenced(Input& input, Made& made);
    void put_frames(Input& input, Made& made, unsigned count, bool remote);
    void put_frame(Input& input, Made& made, bool remote);
    void put_payload(Made& made, std::uint32_t sequence, std::uint64_t offset, std::size_t size, bool remote);
    void put_message(Input& input, Made& made);
    void put_part(Input& input, Made& made);
    void put_request(Input& input, Bytes& out);
    void put_grant(Input& input, Bytes& out);
    void put_names(Input& input, Bytes& out, std::uint64_t length);
    void put_data(Input& input, Made& made, bool answers_read, bool remote);
    void put_write(Input& input, Made& made, bool remote);
    void put_read(Input& input, Bytes& out);
    void put_atomic(Input& input, Bytes& out);
    void put_answer(Input& input, Bytes& out);
    void flood(Input& input);
    void cut(Input& input, std::size_t frames_at);

    bool fetch(std::uint32_t mapping_id, std::span<const iovec> into) noexcept override;

    std::uint32_t route_;
    std::unique_ptr<EndpointSeals> seals_; ///< its session with the victim is that of peer 0
    Meddling meddling_ = Meddling::none;   ///< with the packets to be sent next
    std::uint32_t changed_at_ = 0;
    Bytes sealed_; ///< packet, the latest
    Bytes opened_; ///< packet of the victim's
    Claim self_;
    std::uint64_t told_ = 0;       ///< the identifier in the victim's latest hello
    std::uint64_t connection_ = 0; ///< the one under which it has met us; 0: it has not

    std::uint32_t next_psn_ = 0;
    std::uint32_t next_sequence_ = 0;
    std::uint32_t tx_first_ = 0; ///< the victim's: acknowledged
    std::uint32_t tx_next_ = 0;
    std::uint8_t tx_attempt_ = 0;
    std::uint16_t faults_ = 0;
    wire::MtuProbeFrame asked_;  ///< the victim's latest question for the MTU
    wire::RailsFrame asked_way_; ///< and whether one of our addresses is reached
    struct {
        std::uint32_t sequence = 0;
        std::uint32_t total = 1;
        std::uint32_t offset = 0;
        std::uint64_t requested = 0; ///< bytes of the message, if `total` of them are unscheduled
    } part_;
    std::array<Seen, 32> seen_{};
    std::size_t seen_count_ = 0;
    std::vector<Made> made_;
    std::size_t made_count_ = 0;
    bool fetch_fails_ = false;
    std::uint32_t flooded_ = 0; ///< numbers used by flood()
};

} // namespace srd::fuzz
