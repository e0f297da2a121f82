// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How two endpoints meet.
//
// An introduction (hello) carries the sender's address, its incarnation (one
// per endpoint), the connection identifier it wants in packets to itself, and
// its first psn. It may be forged, so nothing is remembered of it. The answer,
// a hello under the introduction's identifier, goes to that address and names
// the identifier of the connection (ConnectionNames). A hello under that
// identifier proves that its sender lives at the address: only then a record
// is made, or the connection of its predecessor there is ended. Its sender
// repeats it until it hears that the other side has a record of it (confirmed),
// and may send data meanwhile. Both sides may start at once: records that wait
// for an answer have the identifiers that are told to introductions. A hello on
// a confirmed connection is a question whether the peer still knows us.
//
//   idle ──greet()──► greeting ──learn(), establish()──► established, confirm() ──► confirmed
//     └──────────────learn(), establish()───────────────────┘
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <srd/check.hpp>
#include <srd/limits.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "wire/frames.hpp"

namespace srd {

/// What every hello of an endpoint says of it.
struct Identity {
    /// The hello that bears the address, with all that is the same in each.
    wire::HelloFrame hello() const noexcept
    {
        wire::HelloFrame frame;
        frame.address_length = address_length;
        frame.address = address;
        frame.incarnation = incarnation;
        frame.max_packet = max_packet;
        frame.rx_buffer = rx_buffer;
        frame.oldest = dialect.oldest;
        frame.newest = dialect.newest;
        frame.features = dialect.features;
        return frame;
    }

    std::array<std::byte, max_address_size> address{};
    std::uint8_t address_length = 0;
    std::uint64_t incarnation = 0; ///< random, never 0: tells a restarted process from the one before
    std::uint32_t max_packet = 0;  ///< largest packet we take, bytes
    std::uint32_t rx_buffer = 0;   ///< bytes that we can queue; 0: unknown
    Dialect dialect;               ///< what we speak
};

class Handshake {
public:
    enum class State : std::uint8_t { idle, greeting, established };

    static constexpr Duration interval_first = std::chrono::milliseconds(1);
    static constexpr Duration interval_max = std::chrono::milliseconds(200);

    Handshake() noexcept = default;
    /// `own_connection`: random, never 0; chosen by us, to be put into packets to us.
    explicit Handshake(std::uint64_t own_connection) noexcept : rx_connection_(own_connection)
    {
        SRD_CHECK(own_connection != 0);
    }

    State state() const noexcept { return state_; }
    bool established() const noexcept { return state_ == State::established; }
    bool confirmed() const noexcept { return confirmed_; } ///< the remote is known to have a record of us
    /// We have introduced ourselves, and do not know yet.
    bool unconfirmed() const noexcept { return state_ != State::idle && !confirmed_; }
    bool greeting() const noexcept { return state_ == State::greeting; }
    std::uint64_t rx_connection() const noexcept { return rx_connection_; }
    std::uint64_t tx_connection() const noexcept { return tx_connection_; } ///< 0 until it is known
    std::uint64_t remote_incarnation() const noexcept { return remote_incarnation_; }
    bool knows_remote() const noexcept { return tx_connection_ != 0; }
    /// Of packets, hellos aside.
    std::uint8_t version() const noexcept { return version_; }
    /// What both have, of feature::all.
    std::uint64_t features() const noexcept { return features_; }

    /// Starts to introduce us.
    void greet(Time now) noexcept
    {
        SRD_CHECK(state_ == State::idle);
        state_ = State::greeting;
        begin_asking(now);
    }
    /// The remote introduces itself; we are `own`, and have a version in common.
    void learn(const wire::HelloFrame& hello, const Dialect& own) noexcept
    {
        SRD_DCHECK(!knows_remote());
        const Dialect remote = wire::dialect_of(hello);
        version_ = own.common_version(remote);
        features_ = static_cast<std::uint8_t>(own.features & remote.features & feature::all);
        tx_connection_ = hello.connection;
        remote_incarnation_ = hello.incarnation;
    }
    /// We know each other, and may send. Until confirm() the remote, which may have forgotten our
    /// introduction, is told again who we are.
    void establish(Time now) noexcept
    {
        SRD_CHECK(knows_remote() && state_ != State::established);
        state_ = State::established;
        begin_asking(now);
    }
    /// The remote has a record of us.
    void confirm() noexcept
    {
        SRD_CHECK(established());
        confirmed_ = true;
        refused_ = other_key_ = other_version_ = false;
        hello_at_ = time_never;
    }
    /// The remote's record of us outlives our connection: only a farewell goes there.
    void address_farewell(const Handshake& ended) noexcept { tx_connection_ = ended.tx_connection_; }

    /// What an answer under our identifier means for a remote that is known.
    enum class Judgment : std::uint8_t {
        same,
        restarted, ///< another process lives there
        gave_up,   ///< the same one has dropped the connection meanwhile
        damaged,   ///< another process would have chosen another identifier: it was changed on the way
    };
    Judgment judge(const wire::HelloFrame& answer) const noexcept
    {
        SRD_DCHECK(knows_remote());
        const bool same_process = remote_incarnation_ == answer.incarnation;
        if (tx_connection_ == answer.connection) {
            return same_process ? Judgment::same : Judgment::damaged;
        }
        return same_process ? Judgment::gave_up : Judgment::restarted;
    }

    /// The remote has no room for us; we go on asking, unless it once had.
    void on_no_room() noexcept { refused_ = !confirmed_; }
    /// That is why it has not been met.
    bool refused() const noexcept { return refused_; }
    /// Something came in the remote's name that is not of our job, or that says that we are not of its. It
    /// may be forged, so it is only why the remote has not been met, if it is not.
    void on_other_key() noexcept { other_key_ = !confirmed_; }
    bool has_other_key() const noexcept { return other_key_; }
    /// The same of somebody who speaks none of our versions.
    void on_other_version() noexcept { other_version_ = !confirmed_; }
    bool has_other_version() const noexcept { return other_version_; }

    /// The peer, once met, has been asked whether it still knows us, and nothing was heard since.
    bool questioning() const noexcept { return questioning_; }
    /// A packet of the connection has come from the remote.
    void on_heard() noexcept { questioning_ = forgotten_ = asked_again_ = false; }
    /// The remote answers as if it knew our connection no more. It answers a question so, too, that was
    /// changed on the way: true if it has said so of another one since; else that is to be sent.
    bool is_forgotten() noexcept
    {
        if (!asked_again_) {
            forgotten_ = true;
            ask();
        }
        return asked_again_;
    }

    // -- Hellos to be sent

    bool hello_due() const noexcept { return hello_due_; }
    /// An introduction or a question is to be sent.
    void ask() noexcept
    {
        hello_due_ = true;
        is_reply_ = false;
        questioning_ = confirmed_;
    }
    static constexpr unsigned most_asked = 8;

    /// The same so many times (1 .. most_asked), over as many paths: packets there have been in vain.
    void ask_over(unsigned paths) noexcept
    {
        SRD_DCHECK(paths >= 1 && paths <= most_asked);
        ask();
        hellos_more_ = (paths - 1) & (most_asked - 1);
    }
    void reply() noexcept
    {
        hello_due_ = is_reply_ = true;
        hellos_more_ = 0;
    }
    /// Writes the hello. `max_packet`: the largest packet that can come from the peer; `first_psn`: of our
    /// packets; nothing earlier is ever sent again. `round_trip`: HelloFrame::round_trip.
    std::byte* write_hello(std::byte* out, const Identity& identity, std::uint32_t max_packet,
                           std::uint32_t first_psn, std::uint8_t round_trip) noexcept;
    void on_hello_sent(PathId path) noexcept
    {
        hello_path_ = path;
        asked_again_ = forgotten_;
        hello_repeated_ = hello_sent_;
        hello_sent_ = true;
    }
    /// The path that the latest hello took. What follows it there does not overtake it.
    PathId hello_path() const noexcept { return hello_path_; }
    /// From the introduction, which goes out in the pass in which it is asked for, until its answer comes at
    /// `now`; zero if it was sent more than once.
    Duration round_trip(Time now) const noexcept
    {
        const bool once = hello_sent_ && !hello_repeated_ && hello_count_ == 0;
        return once ? now - (hello_at_ - interval_first) : Duration::zero();
    }

    Time next_timeout() const noexcept { return hello_at_; }
    /// True if the introduction is due once more.
    bool on_timeout(Time now) noexcept
    {
        if (hello_at_ > now) {
            return false;
        }
        hello_count_ = static_cast<std::uint8_t>(std::min<unsigned>(hello_count_ + 1U, 16));
        hello_at_ = now + std::min<Duration>(interval_first * (1U << hello_count_), interval_max);
        ask();
        return true;
    }

private:
    void begin_asking(Time now) noexcept
    {
        ask();
        hello_count_ = 0;
        hello_sent_ = hello_repeated_ = false;
        hello_at_ = now + interval_first;
    }

    // Packed: an idle peer is to be small.
    State state_ = State::idle;
    std::uint8_t hello_count_ = 0; ///< introductions repeated
    PathId hello_path_{};
    std::uint8_t version_ = base_version;
    std::uint8_t features_ = 0;
    static_assert(feature::all <= 0xff);
    bool confirmed_ : 1 = false;
    bool hello_due_ : 1 = false;
    std::uint8_t hellos_more_ : 3 = 0; ///< and so many after that
    bool is_reply_ : 1 = false;
    bool questioning_ : 1 = false;
    bool forgotten_ : 1 = false;   ///< is_forgotten(): perhaps
    bool asked_again_ : 1 = false; ///< since
    bool other_key_ : 1 = false;
    bool other_version_ : 1 = false;
    bool refused_ : 1 = false; ///< the latest answer to an introduction said that there is no room
    // Since begin_asking():
    bool hello_sent_ : 1 = false;
    bool hello_repeated_ : 1 = false;
    std::uint64_t rx_connection_ = 0;
    std::uint64_t tx_connection_ = 0;
    std::uint64_t remote_incarnation_ = 0;
    Time hello_at_ = time_never;
};

} // namespace srd
