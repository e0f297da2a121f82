// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/sim/sim_local.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "support/alloc_guard.hpp"
#include "support/gather.hpp"
#include "support/sim/sim_io.hpp"
#include "support/sim/sim_net.hpp"

namespace srd::sim {

SimLocalRoad::SimLocalRoad(SimNetwork& network, SimIo& io, std::uint64_t seed)
    : network_(network), io_(io), random_(seed)
{
}

SimLocalRoad* SimLocalRoad::road_of(std::uint32_t host) const
{
    return network_.port(host)->local_road();
}

std::size_t SimLocalRoad::waiting_from(std::uint32_t host) const
{
    const auto place = arrived_.find(host);
    return place == arrived_.end() ? 0 : place->second.size();
}

LocalRoad::Sent SimLocalRoad::send(RouteId route, const LocalMessage& message, std::span<const iovec> payload,
                                   std::uint32_t length) noexcept
{
    const AllocationPermit permit;
    const std::uint32_t host = io_.route_host(route);
    SimLocalRoad* const there = road_of(host);
    const auto known = written_.find(host);
    const bool rejected = known != written_.end() && known->second.rejected == message.connection;
    if (there == nullptr || rejected || random_.chance(0.1)) {
        return Sent::closed;
    }
    std::deque<Item>& queue = there->arrived_[io_.host()];
    if (queue.size() >= capacity) {
        return random_.chance(0.02) ? Sent::closed : Sent::full;
    }
    Item item;
    item.message = message;
    test::gather(payload, item.bytes);
    if (item.bytes.size() != length) {
        std::abort(); // its length is not what its pieces hold
    }
    item.due = network_.clock().now() + std::chrono::nanoseconds(random_.between(50, 2000));
    const Time due = item.due;
    queue.push_back(std::move(item));
    there->io_.on_local_bytes(io_.host(), length);
    network_.port(host)->on_local_message(due);
    Writing& writing = written_[host];
    if (writing.connection != message.connection) {
        writing = {.connection = message.connection, .rejected = writing.rejected};
    }
    return Sent::done;
}

std::uint32_t SimLocalRoad::taken(RouteId route, std::uint32_t connection, std::uint32_t next) noexcept
{
    const AllocationPermit permit;
    const auto place = written_.find(io_.route_host(route));
    const bool known = place != written_.end() && place->second.connection == connection &&
                       place->second.rejected != connection;
    return known && place->second.any_taken ? place->second.next : next;
}

void SimLocalRoad::on_taken(std::uint32_t by, const LocalMessage& message)
{
    const auto place = written_.find(by);
    if (place != written_.end() && place->second.connection == message.connection) {
        place->second.next = message.sequence + 1;
        place->second.any_taken = true;
    }
}

std::size_t SimLocalRoad::stalled(std::span<RouteId> routes) noexcept
{
    const AllocationPermit permit;
    std::size_t count = 0;
    for (auto& [host, writing] : written_) {
        SimLocalRoad* const there = road_of(host);
        const std::size_t waiting = there == nullptr ? 0 : there->waiting_from(io_.host());
        if (waiting != 0 && waiting >= writing.waiting && count < routes.size()) {
            routes[count++] = io_.route_to(host);
        }
        writing.waiting = waiting;
    }
    return count;
}

bool SimLocalRoad::all_taken() noexcept
{
    return std::all_of(written_.begin(), written_.end(), [this](const auto& written) {
        SimLocalRoad* const there = road_of(written.first);
        return there == nullptr || there->waiting_from(io_.host()) == 0;
    });
}

void SimLocalRoad::look(Time now)
{
    found_.clear();
    passed_over_ = false;
    for (const auto& [host, queue] : arrived_) {
        if (!queue.empty() && queue.front().due <= now) {
            found_.push_back(host);
        }
    }
}

Time SimLocalRoad::next_due() const
{
    Time due = time_never;
    for (const auto& [host, queue] : arrived_) {
        due = queue.empty() ? due : std::min(due, queue.front().due);
    }
    return due;
}

const LocalRoad::Arrived* SimLocalRoad::front() noexcept
{
    const AllocationPermit permit;
    while (!found_.empty()) {
        const std::uint32_t host = found_.back();
        std::deque<Item>& queue = arrived_[host];
        if (!queue.empty() && queue.front().due <= network_.clock().now()) {
            static_cast<LocalMessage&>(front_) = queue.front().message;
            front_.route = io_.route_to(host);
            front_.is_new = !std::exchange(queue.front().was_seen, true);
            front_.payload = queue.front().bytes;
            return &front_;
        }
        found_.pop_back();
    }
    return nullptr;
}

void SimLocalRoad::pop() noexcept
{
    const AllocationPermit permit;
    const std::uint32_t host = found_.back();
    std::deque<Item>& queue = arrived_[host];
    if (SimLocalRoad* const writer = road_of(host); writer != nullptr) {
        writer->on_taken(io_.host(), queue.front().message); // which nobody tells it
    }
    // Whoever still looks at it now sees garbage.
    std::fill(queue.front().bytes.begin(), queue.front().bytes.end(), std::byte{0xa5});
    queue.pop_front();
}

void SimLocalRoad::reject() noexcept
{
    const AllocationPermit permit;
    const std::uint32_t host = found_.back();
    if (SimLocalRoad* const writer = road_of(host); writer != nullptr) {
        writer->on_rejected(io_.host(), arrived_[host].front().message.connection);
    }
    pop();
}

} // namespace srd::sim
