// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Payload that lies in device memory, on its way out: what packets are gathered from instead.
//
// Laws:
//  - Host memory holds a bounded number of chunks, each a copy of one part of one message. A chunk is copied
//    whole when the first packet needs a byte of it, and the next one of the message is begun then, so that a
//    device works while packets go out.
//  - The application's buffer does not change before its operation is done, so a chunk stays true for as long
//    as its message lives; another may take its place as soon as the burst is over, and what has to be
//    repeated is copied again. Hence nothing is kept until it is acknowledged.
//  - Nothing is copied ahead but what still has to go out for the first time: when an operation is done, no
//    copy of its buffer is under way.
//  - Packets of one burst keep their chunks: when all are kept, the burst ends.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

#include <srd/iov.hpp>

#include "send/outgoing.hpp"

namespace srd {

class DeviceStaging {
public:
    static constexpr std::size_t chunk_size = 256U << 10;
    static constexpr std::size_t chunk_count = 32;
    static constexpr std::size_t space = chunk_size * chunk_count; ///< bytes of host memory

    enum class Result : std::uint8_t {
        ready,
        full,   ///< of what this burst sends; ready in the next one
        failed, ///< the bytes cannot be had
    };

    /// `memory` and the `space` bytes at `host` outlive this.
    void use(DeviceMemory& memory, std::byte* host) noexcept
    {
        memory_ = &memory;
        host_ = host;
    }
    /// For TxMessage::staged: a message's name here.
    std::uint32_t new_name() noexcept
    {
        last_name_ += last_name_ == ~std::uint32_t{0} ? 2 : 1; // 0 is nobody's
        return last_name_;
    }

    /// Has bytes [offset, offset + length) of the message, at most a chunk's, ready for pieces().
    Result prepare(const TxMessage& message, std::uint64_t offset, std::uint64_t length) noexcept;
    /// Puts the places of those bytes, which prepare() has made ready in this burst, into `pieces`, two at
    /// most; returns their number. They stay until on_burst_done().
    std::size_t pieces(const TxMessage& message, std::uint64_t offset, std::uint64_t length,
                       std::span<iovec> pieces) const noexcept;
    /// No copy is under way any more: buffers may go away.
    void quiesce() noexcept
    {
        if (any_begun_) {
            static_cast<void>(settle());
        }
    }
    /// The backend has taken or returned all packets built.
    void on_burst_done() noexcept { ++burst_; }

private:
    struct Chunk {
        std::uint32_t message = 0; ///< TxMessage::staged; 0: empty
        std::uint64_t number = 0;  ///< of the message's chunks
        std::uint64_t burst = 0;   ///< the last one that needs it
        bool begun = false;        ///< not settled yet
    };

    std::size_t find(const TxMessage& message, std::uint64_t number) const noexcept;
    std::size_t free_chunk() noexcept;
    Result begin(const TxMessage& message, std::uint64_t number, std::size_t& at) noexcept;
    bool settle() noexcept;

    DeviceMemory* memory_ = nullptr;
    std::byte* host_ = nullptr;
    std::array<Chunk, chunk_count> chunks_{};
    std::size_t next_ = 0; ///< where free_chunk() goes on
    bool any_begun_ = false;
    std::uint64_t burst_ = 1;
    std::uint32_t last_name_ = 0;
};

} // namespace srd
