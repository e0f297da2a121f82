// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The receiving half of one connection: which packets have arrived, which
// message is next, what is to be acknowledged and what is to be answered.
//
// Laws:
//  - a packet counts as received once all its frames are taken; until then a copy of it is taken anew;
//  - an acknowledgement tells of every packet received, and echoes the latest one, so that the sender learns
//    a round trip; a duplicate is not echoed: that would vouch for a copy that was not the first to arrive;
//  - an acknowledgement is due at once when asked for, for what an earlier one has told to be missing (its
//    sender counts the time since), or after ack_every_packets or ack_every_bytes, or else after
//    Tuning::ack_delay, riding on data if there is any.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <srd/intrusive_list.hpp>
#include <srd/limits.hpp>
#include <srd/time.hpp>

#include "receive/incoming.hpp"
#include "receive/marks.hpp"
#include "receive/seq_bitmap.hpp"
#include "wire/frames.hpp"

namespace srd {

class Receiver {
public:
    /// Receiving this much without acknowledging it makes an acknowledgement due at once.
    static constexpr std::uint8_t ack_every_packets = 32;
    static constexpr std::uint32_t ack_every_bytes = 192U << 10;

    /// After a repetition has come so many acknowledgements go out twice, over two paths: where packets are
    /// lost, acknowledgements may be as well, and nobody tells of those.
    static constexpr std::uint8_t acks_twice = 8;

    using Window = SeqBitmap<packet_window>;

    /// What is remembered of a packet for the acknowledgement that echoes it.
    struct Echo {
        std::uint32_t psn = 0;
        std::uint8_t attempt = 0;
        std::uint8_t path = 0;
        Time arrived = time_never; ///< until there is one
    };

    explicit Receiver(const FirstNumbers& first = {}) noexcept
        : duplicates_(first.duplicates), faults_made_(first.faults), message_next_(first.message)
    {
    }

    /// What a farewell still says: the acknowledgement of all that was received.
    Receiver last_word() const noexcept
    {
        Receiver word;
        word.window_ = window_;
        word.message_next_ = message_next_;
        word.duplicates_ = duplicates_;
        word.faults_made_ = faults_made_;
        return word;
    }

    /// The sender's first psn is known.
    void start(std::uint32_t first_psn) noexcept
    {
        window_ = Window(first_psn);
        told_ = first_psn;
    }

    Window::Mark check(std::uint32_t psn) const noexcept { return window_.check(psn); }
    /// One more than the highest psn received.
    std::uint32_t highest() const noexcept { return window_.highest(); }
    void on_duplicate() noexcept
    {
        ++duplicates_;
        ack_now_ = true;
    }
    /// Every frame of a packet of `bytes` was taken. `requested`: the sender wants to know at once. True: the
    /// timer of the delayed acknowledgement has been set.
    bool on_received(const Echo& echo, bool marked, std::uint32_t bytes, bool requested, Duration ack_delay,
                     Time now) noexcept;

    // -- Acknowledgements

    bool ack_now() const noexcept { return ack_now_; }
    /// Something is to be acknowledged, at once or with the next packet.
    bool ack_pending() const noexcept { return ack_now_ || unacked_packets_ != 0; }
    /// Bytes of its block.
    std::size_t ack_size() const noexcept
    {
        return sizeof(wire::AckBlock) + (marks_.any() ? sizeof(wire::MarkBlock) : 0) +
               window_.used_words() * sizeof(std::uint64_t);
    }
    void request_ack() noexcept { ack_now_ = true; }
    /// The sender asks whether we live: our acknowledgements may not get through, so that the next takes any
    /// path. Where he asks again, and nothing else comes, it goes over two, four, eight.
    void on_question() noexcept
    {
        ack_now_ = true;
        if (answers_ == 0) {
            repeat_answer();
            questions_ = std::min(questions_ + 1U, 3U) & 3U;
        }
    }
    /// One of these goes out.
    void on_answer() noexcept { answers_ = answers_ == 0 ? 0 : (answers_ - 1U) & 0xfU; }
    bool questioned() const noexcept { return answers_ != 0; }
    /// Of the packet received last.
    std::uint8_t latest_path() const noexcept { return echo_.path; }
    Time next_timeout() const noexcept { return ack_at_; }
    /// True if the delayed acknowledgement is due now.
    bool on_timeout(Time now) noexcept;
    /// Writes the acknowledgement block, with as many bitmap words as fit in `room` bytes (at least
    /// sizeof(wire::AckBlock) + sizeof(wire::MarkBlock)); nothing is pending after that. Returns the first
    /// byte behind it.
    std::byte* write_ack(std::byte* out, std::size_t room, std::uint8_t wishes, Time now) noexcept;

    // -- Receiver not ready

    /// We refuse the sender's messages; acknowledgements say so. True: from now on.
    bool refuse() noexcept
    {
        ack_now_ = true;
        const bool began = !refusing_;
        refusing_ = true;
        return began;
    }
    /// We take them again. True: from now on.
    bool accept_again() noexcept
    {
        if (!refusing_) {
            return false;
        }
        refusing_ = false;
        ack_now_ = true;
        return true;
    }
    bool refusing() const noexcept { return refusing_; }

    // -- The order of messages

    std::uint32_t message_next() const noexcept
    {
        return message_next_;
    } ///< sequence of the next to announce
    /// How far a message is ahead of its turn; negative: it was announced before.
    std::int32_t ahead(std::uint32_t sequence) const noexcept
    {
        return wire::sequence_distance(sequence, message_next_);
    }
    void announced() noexcept { ++message_next_; }
    /// A requested message was announced, and had its buffer then or not: first bytes that come before the
    /// buffer are copied twice, which costs more than the round trip that they save.
    void on_requested(bool has_buffer) noexcept
    {
        if (!has_buffer) {
            unexpected_ = 15;
        } else if (unexpected_ != 0) {
            --unexpected_;
        }
    }
    std::uint32_t held() const noexcept { return held_; } ///< messages that wait for their turn
    void on_held() noexcept { ++held_; }
    void on_unheld() noexcept { --held_; }

    // -- Answers: records with something to say, in the order in which they came to have it

    bool any_control() const noexcept { return !control_.empty(); }
    std::uint32_t first_control() const noexcept { return control_.front(); }
    /// The record has something to say; if it is listed already, it says that, too.
    void owe(IncomingPool& pool, std::uint32_t record) noexcept
    {
        if (!pool[record].control.listed) {
            pool[record].control.listed = true;
            control_.push_back(pool, record);
        }
    }
    /// It has said it, or will not.
    void settle(IncomingPool& pool, std::uint32_t record) noexcept
    {
        if (pool[record].control.listed) {
            pool[record].control.listed = false;
            control_.erase(pool, record);
        }
    }

    // -- Remote access

    std::uint16_t faults_made() const noexcept { return faults_made_; }
    /// A fault frame is owed. Before the acknowledgement of the packet is made, which counts it.
    void on_fault_owed() noexcept { ++faults_made_; }

private:
    void repeat_answer() noexcept
    {
        answers_ = (1U << questions_) & 0xfU;
        twice_left_ = 0; // these are as many as need be
    }

    bool ack_now_ = false;
    std::uint8_t answers_ : 4 = 0;   ///< to a question, still to go out
    std::uint8_t questions_ : 2 = 0; ///< since a packet came, up to three
    bool refusing_ : 1 = false;
    bool again_ : 1 = false;          ///< the latest acknowledgement is still to go out a second time
    std::uint8_t unexpected_ : 4 = 0; ///< requested messages that must find their buffer before one may begin
    std::uint8_t twice_left_ : 4 = 0; ///< of those that go out twice
    std::uint8_t unacked_packets_ = 0; ///< up to ack_every_packets
    std::uint16_t duplicates_;
    std::uint16_t faults_made_;
    std::uint32_t told_ = 0; ///< what is missing below this, the sender has been told
    std::uint32_t unacked_bytes_ = 0;
    std::uint32_t message_next_;
    std::uint32_t held_ = 0;
    Echo echo_;
    Marks marks_;
    Time ack_at_ = time_never; ///< of the delayed acknowledgement
    IndexList<&RxMessage::control> control_;
    Window window_{0};
};

} // namespace srd
