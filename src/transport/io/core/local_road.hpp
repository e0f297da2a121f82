// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Whole messages to peers on the same host, through memory that both ends map. It loses, repeats and reorders
// nothing, so nothing is acknowledged or timed: a message that was written has arrived. What ends it is the
// end of a process, which is noticed by the packets beside it.
//
// A message names its place in the sequence of its sender's messages, most of which may travel in packets:
// the receiver takes it at its turn, and until then it stays where it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

#include <srd/types.hpp>

namespace srd {

/// What a message says of itself.
struct LocalMessage {
    static constexpr std::uint32_t name_of(std::uint64_t connection) noexcept
    {
        return static_cast<std::uint32_t>(connection);
    }

    std::uint32_t connection = 0; ///< name_of() the receiver's identifier of the connection
    std::uint32_t sequence = 0;
    std::uint64_t tag = 0;
    std::uint64_t data = 0;
    bool tagged = false;
    bool has_data = false;
};

class LocalRoad {
public:
    static constexpr std::uint32_t max_message = 8192; ///< bytes

    enum class Sent : std::uint8_t {
        done,   ///< it has arrived
        full,   ///< not now: the receiver has not yet read what was sent before
        closed, ///< there is no such road to that peer now, its reader seems not to run, or has rejected
                ///< messages of that connection
    };
    struct Arrived : LocalMessage {
        RouteId route{};
        bool is_new = true;                 ///< front() returns it for the first time
        std::span<const std::byte> payload; ///< valid until pop()
    };

    // -- Sending

    /// `length`: bytes of `payload`, at most max_message.
    virtual Sent send(RouteId route, const LocalMessage& message, std::span<const iovec> payload,
                      std::uint32_t length) noexcept = 0;
    /// The number of the first message of `connection` to `route` that was not taken yet, if some have been
    /// taken; `next` otherwise.
    virtual std::uint32_t taken(RouteId route, std::uint32_t connection, std::uint32_t next) noexcept = 0;
    /// Fills a prefix of `routes` with some where messages wait and none was taken since the last call.
    /// Returns how many.
    virtual std::size_t stalled(std::span<RouteId> routes) noexcept = 0;
    /// Every message has been taken, but those to peers that have gone.
    virtual bool all_taken() noexcept = 0;

    // -- Receiving. What PacketIo::rx_burst has found:

    virtual bool any() const noexcept = 0;
    /// The next message of some sender; null: there are none.
    virtual const Arrived* front() noexcept = 0;
    /// front() is taken.
    virtual void pop() noexcept = 0;
    /// front() is of no connection that the reader knows. It is dropped, and none of that connection comes
    /// this way any more: its sender finds out in packets that nobody answers.
    virtual void reject() noexcept = 0;
    /// front() and what follows it of the same sender has to wait until the next rx_burst.
    virtual void pass_over() noexcept = 0;
    /// Something was passed over since the last rx_burst. Nothing but its turn comes to wake who sleeps.
    virtual bool any_passed_over() const noexcept = 0;

protected:
    ~LocalRoad() = default;
};

} // namespace srd
