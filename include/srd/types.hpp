// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Handles. Each is an index that only its owner can interpret, made a type of
// its own so that one cannot be passed for another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace srd {

enum class PeerId : std::uint32_t {};    ///< a remote endpoint; owner: Engine; dense from 0
enum class RouteId : std::uint32_t {};   ///< an address that can be sent to; owner: PacketIo; dense from 0
enum class PathId : std::uint8_t {};     ///< an entropy value of a route, 0 .. IoCaps::path_count - 1
enum class MessageId : std::uint32_t {}; ///< an incoming message that the engine holds; owner: Engine

template <typename Id>
inline constexpr Id no_id{std::numeric_limits<std::underlying_type_t<Id>>::max()};

template <typename Id>
constexpr std::size_t index_of(Id id) noexcept
{
    return static_cast<std::size_t>(id);
}

} // namespace srd
