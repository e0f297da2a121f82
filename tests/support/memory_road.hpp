// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// One end of memory between two endpoints of a unit test (LocalRoad): what the test sees of it, and whether
// it has room, is up to the test.
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "io/core/local_road.hpp"

#include "support/gather.hpp"

namespace srd::test {

class MemoryRoad final : public LocalRoad {
public:
    struct Written {
        LocalMessage message;
        std::vector<std::byte> bytes;
        bool was_seen = false;
    };

    Sent send(RouteId, const LocalMessage& message, std::span<const iovec> payload,
              std::uint32_t) noexcept override
    {
        if (message.connection == rejected_) {
            return Sent::closed;
        }
        if (answer == Sent::done && peer != nullptr) {
            Written written{.message = message, .bytes = {}};
            gather(payload, written.bytes);
            peer->incoming.push_back(std::move(written));
            unread_.push_back(message);
        }
        return answer;
    }
    std::uint32_t taken(RouteId, std::uint32_t connection, std::uint32_t next) noexcept override
    {
        ++looks;
        while (unread_.size() > (peer != nullptr ? peer->incoming.size() : 0)) {
            last_ = unread_.front();
            any_taken_ = true;
            unread_.pop_front();
        }
        return any_taken_ && last_.connection == connection ? last_.sequence + 1 : next;
    }
    std::size_t stalled(std::span<RouteId> routes) noexcept override
    {
        if (peer == nullptr || peer->incoming.empty()) {
            return 0;
        }
        routes.front() = RouteId{0};
        return 1;
    }
    bool all_taken() noexcept override { return peer == nullptr || peer->incoming.empty(); }
    /// What rx_burst does.
    void look() noexcept { is_found_ = readable && !incoming.empty(); }
    bool any() const noexcept override { return is_found_; }
    const Arrived* front() noexcept override
    {
        if (!is_found_ || incoming.empty()) {
            return nullptr;
        }
        Written& written = incoming.front();
        static_cast<LocalMessage&>(front_) = written.message;
        front_.is_new = !std::exchange(written.was_seen, true);
        front_.payload = written.bytes;
        return &front_;
    }
    void pop() noexcept override { incoming.pop_front(); }
    void reject() noexcept override
    {
        peer->rejected_ = incoming.front().message.connection;
        pop();
    }
    void pass_over() noexcept override { is_found_ = false; }
    bool any_passed_over() const noexcept override { return false; }

    MemoryRoad* peer = nullptr;
    Sent answer = Sent::done;
    bool readable = true; ///< the reader looks at it
    std::deque<Written> incoming;
    std::size_t looks = 0; ///< at what was taken

private:
    std::deque<LocalMessage> unread_; ///< of what was written
    std::uint32_t rejected_ = 0;      ///< connection
    LocalMessage last_;               ///< that is known to have been taken
    bool any_taken_ = false;
    bool is_found_ = false;
    Arrived front_;
};

} // namespace srd::test
