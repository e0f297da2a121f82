// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Arrived bytes on their way into device memory.
//
// Law: copies are begun as packets are read, and waited for before anybody hears of them: before a
// completion, a message that may tell of what a peer has written, and the end of the burst, in whose packets
// the bytes lie (Engine::poll_event). What a message's completion says is settled for that message.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

#include <srd/check.hpp>
#include <srd/iov.hpp>
#include <srd/limits.hpp>

#include "receive/packet_reader.hpp"

namespace srd {

class DevicePlacement {
public:
    static constexpr std::size_t space = max_udp_payload; ///< bytes of host memory: the longest packet

    enum class Result : std::uint8_t {
        done,   ///< begun; settle() tells
        lost,   ///< the bytes lie with the sender and cannot be had any more: the packet counts as lost
        failed, ///< the device does not take them
    };

    /// `memory` and the `space` bytes at `host` outlive this.
    void use(DeviceMemory& memory, std::byte* host) noexcept
    {
        memory_ = &memory;
        host_ = host;
    }

    /// Begins to copy `bytes`, which stay where they are until settle(), to `into` from `offset` on; what
    /// lies beyond its end is dropped. False: the device does not take them.
    bool store(DeviceId device, std::span<const iovec> into, std::uint64_t offset,
               std::span<const std::byte> bytes) noexcept
    {
        SRD_CHECK(memory_ != nullptr);
        const std::byte* from = bytes.data();
        bool all = true;
        for_each_piece(into, offset, bytes.size(), [&](std::byte* to, std::size_t size) {
            all = all && memory_->store(device, to, size, from);
            from += size;
        });
        begun_ = true;
        return all;
    }
    /// The same for the payload of the packet that `reader` reads.
    Result place(const PacketReader& reader, const wire::Payload& payload, DeviceId device,
                 std::span<const iovec> into, std::uint64_t offset) noexcept
    {
        if (!payload.remote) {
            return store(device, into, offset, payload.bytes) ? Result::done : Result::failed;
        }
        SRD_CHECK(host_ != nullptr && payload.size <= space);
        const iovec host{host_, payload.size};
        if (!reader.copy_payload(payload, {&host, 1}, 0)) {
            return Result::lost;
        }
        return store(device, into, offset, {host_, payload.size}) && settle() ? Result::done : Result::failed;
    }

    /// Copies are begun that nobody has waited for.
    bool any_begun() const noexcept { return begun_; }
    /// Waits for them. False: some have failed, or had before.
    bool settle() noexcept
    {
        begun_ = false;
        return memory_->settle();
    }

private:
    DeviceMemory* memory_ = nullptr;
    std::byte* host_ = nullptr;
    bool begun_ = false;
};

} // namespace srd
