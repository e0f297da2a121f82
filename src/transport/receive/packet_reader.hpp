// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The packets of one burst on their way through the frames: noted when they
// arrive, then read one after the other, frame by frame, with a stop at every
// frame that needs an answer of the layer above.
//
// Law: a packet is taken as a whole. What its frames may be together is checked
// here (wire::Contents); a frame that is not taken ends the reading, and the
// packet does not count as received.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <srd/check.hpp>
#include <srd/intrusive_list.hpp>
#include <srd/iov.hpp>
#include <srd/time.hpp>

#include "io/core/packet_io.hpp"
#include "seal/endpoint_seals.hpp"
#include "wire/frames.hpp"

namespace srd {

/// A packet whose header is read, and its acknowledgement acted upon.
struct PacketNote {
    std::span<const std::byte> frames;
    std::uint64_t connection = 0; ///< that it bears; the peer may have another before the packet's turn
    Time arrived{};
    std::uint32_t peer = no_index; ///< no_index: from a stranger
    std::uint32_t psn = 0;
    std::uint8_t attempt = 0;
    std::uint8_t path = 0;
    bool sequenced = false;
    bool marked = false;
    bool ack_requested = false;
    bool is_sealed = false; ///< still: `frames` is all of it
    std::uint8_t proof = 0; ///< PacketReader::proof()'s number
    std::uint32_t remote_length = 0;
    std::uint32_t mapping_id = 0;
    RemoteBytes* remote = nullptr;
};

class PacketReader {
public:
    /// What the event that was announced last is about, until it is answered.
    enum class Question : std::uint8_t { none, message, write, read, atomic };

    /// A message is deferred no more often than this, however it is with the application.
    static constexpr std::uint8_t max_deferrals = 3;

    PacketReader() { notes_.reserve(1024); } // one burst is noted before its events are drawn

    // -- The burst

    bool drained() const noexcept { return !open_ && next_ == notes_.size(); }
    void begin_burst() noexcept
    {
        SRD_CHECK(drained());
        notes_.clear();
        next_ = 0;
        proof_count_ = 0;
    }
    /// Keeps what the hello proves whose packet is noted next; its number. 0: it proves nothing, or so many
    /// have come in this burst that this one has to come again.
    std::uint8_t add_proof(const HelloProof& proof) noexcept
    {
        if (proof.key == nullptr || proof_count_ == proofs_.size()) {
            return 0;
        }
        proofs_[proof_count_] = proof;
        return static_cast<std::uint8_t>(++proof_count_);
    }
    /// What the hello in the open packet proves.
    HelloProof proof() const noexcept
    {
        return packet_->proof == 0 ? HelloProof{} : proofs_[packet_->proof - 1U];
    }
    /// One more packet, for the caller to describe. (In place: the fields are written by the byte and would
    /// be copied by the word, and the copy waits for the writes.)
    PacketNote& note() { return notes_.emplace_back(); }
    /// The next packet, not open yet; nullptr if there is none.
    PacketNote* take_note() noexcept { return next_ < notes_.size() ? &notes_[next_++] : nullptr; }

    /// The next packet introduces its sender or says goodbye.
    bool is_turning_point() const noexcept { return next_ < notes_.size() && !notes_[next_].sequenced; }

    // -- The open packet

    bool is_open() const noexcept { return open_; }
    /// `packet` must stay where it is until the next burst.
    void open(const PacketNote& packet) noexcept
    {
        SRD_DCHECK(!open_ && question_ == Question::none);
        open_ = true;
        packet_ = &packet;
        reader_ = wire::Reader(packet.frames);
        contents_ = wire::Contents::neutral;
        rma_frames_ = 0;
    }
    /// No more of it is read.
    void close() noexcept { open_ = false; }
    /// The packet opened last. Its note is the caller's, or of this burst.
    const PacketNote& packet() const noexcept { return *packet_; }
    bool at_end() const noexcept { return reader_.remaining() == 0 && !reread_; }

    /// Reads the next frame; after resume() the one that was deferred. False: the packet is malformed.
    bool next_frame() noexcept
    {
        SRD_DCHECK(open_ && !at_end());
        is_repeated_ = std::exchange(reread_, false);
        if (!is_repeated_) {
            deferrals_ = 0;
        }
        return is_repeated_ || (contents_agree() && wire::decode(reader_, packet_->remote != nullptr,
                                                                 packet_->remote_length, frame_));
    }
    /// The frame whose question is open was announced before, and deferred.
    bool is_repeated() const noexcept { return is_repeated_; }
    /// The frame read last.
    const wire::Frame& frame() const noexcept { return frame_; }
    template <typename T>
    const T& frame_as() const noexcept
    {
        SRD_DCHECK(std::holds_alternative<T>(frame_));
        return *std::get_if<T>(&frame_);
    }
    /// Write, read and fault frames of the packet up to and with this one.
    std::uint32_t rma_frames() const noexcept { return rma_frames_; }

    /// Copies a frame's bytes to `into` from `offset` on; what lies beyond its end is dropped. False: they
    /// lie with the sender and cannot be had any more, the packet counts as lost.
    bool copy_payload(const wire::Payload& payload, std::span<const iovec> into,
                      std::uint64_t offset) const noexcept
    {
        if (!payload.remote) {
            scatter(into, offset, payload.bytes);
            return true;
        }
        std::array<iovec, max_iov> pieces;
        const std::size_t used = slice(into, offset, payload.size, pieces);
        return used == 0 || packet_->remote->fetch(packet_->mapping_id, std::span(pieces).first(used));
    }

    // -- The event that awaits an answer

    Question question() const noexcept { return question_; }
    /// The record that holds it; no_index: it is frame(), whose bytes lie in the packet.
    std::uint32_t record() const noexcept { return record_; }
    std::uint32_t peer() const noexcept { return peer_; }                 ///< of whom the question is
    std::span<RemoteRange, max_iov> ranges() noexcept { return ranges_; } ///< an access's
    void ask(Question question, std::uint32_t peer, std::uint32_t record) noexcept
    {
        SRD_DCHECK(question_ == Question::none && question != Question::none);
        question_ = question;
        peer_ = peer;
        record_ = record;
    }
    /// The message in memory of this host, `frame`, is the one that is announced.
    void ask_local(const wire::EagerFrame& frame, std::uint32_t peer) noexcept
    {
        SRD_DCHECK(!open_);
        frame_ = frame;
        is_local_ = true;
        ask(Question::message, peer, no_index);
    }
    /// The question is about a message in memory of this host (LocalRoad::front()), not about a packet's.
    bool is_local() const noexcept { return is_local_; }
    void answered() noexcept
    {
        SRD_DCHECK(question_ != Question::none);
        question_ = Question::none;
        record_ = no_index;
        is_local_ = false;
        is_repeated_ = false;
    }

    // -- The rest of a burst, put off

    /// The question about frame() is asked again after resume(); until then nothing more is read.
    void defer() noexcept
    {
        SRD_DCHECK(may_defer());
        answered();
        deferred_ = true;
        ++deferrals_;
    }
    bool may_defer() const noexcept
    {
        return question_ == Question::message && record_ == no_index && !is_local_ &&
               deferrals_ < max_deferrals;
    }
    bool has_deferred() const noexcept { return deferred_; }
    /// False: nothing was deferred.
    bool resume() noexcept
    {
        reread_ = deferred_ && open_;
        return std::exchange(deferred_, false);
    }

    // -- Messages whose turn may have come

    /// A peer with held messages, the next of which may be due; no_index: none.
    std::uint32_t turn_of() const noexcept { return turn_of_; }
    void set_turn_of(std::uint32_t peer) noexcept { turn_of_ = peer; }

    /// The peer's connection has ended: nothing of it is read any more, and no answer is awaited.
    void forget(std::uint32_t peer) noexcept
    {
        if (open_ && packet_->peer == peer) {
            open_ = false;
            reread_ = false;
        }
        if (question_ != Question::none && peer_ == peer) {
            answered();
        }
        if (turn_of_ == peer) {
            turn_of_ = no_index;
        }
    }

private:
    /// Writes and reads share a packet with no frame that may be refused, and are not too many.
    bool contents_agree() noexcept
    {
        const wire::Contents contents = wire::contents_of(static_cast<wire::FrameType>(*reader_.peek()));
        if (contents == wire::Contents::neutral) {
            return true;
        }
        rma_frames_ += contents == wire::Contents::rma ? 1U : 0U;
        if (contents_ == wire::Contents::neutral) {
            contents_ = contents;
        }
        return contents_ == contents && rma_frames_ <= wire::max_rma_frames;
    }

    std::vector<PacketNote> notes_;
    std::array<HelloProof, 64> proofs_{}; ///< of the burst
    std::size_t proof_count_ = 0;
    std::size_t next_ = 0;

    bool open_ = false;
    bool is_local_ = false;
    bool deferred_ = false;
    bool reread_ = false;
    bool is_repeated_ = false;
    std::uint8_t deferrals_ = 0; ///< of frame()
    Question question_ = Question::none;
    wire::Contents contents_ = wire::Contents::neutral; ///< of the frames read so far
    std::uint32_t rma_frames_ = 0;
    std::uint32_t record_ = no_index;
    std::uint32_t peer_ = no_index;
    std::uint32_t turn_of_ = no_index;
    const PacketNote* packet_ = nullptr;
    wire::Reader reader_{{}};
    wire::Frame frame_;
    std::array<RemoteRange, max_iov> ranges_{};
};

} // namespace srd
