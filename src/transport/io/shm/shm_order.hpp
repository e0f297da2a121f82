// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Words in shared memory: read once, because another process may change them at any time; and, for
// ThreadSanitizer, the order that their publication establishes.
#pragma once

#include <array>
#include <cstdint>

#include "io/shm/shm_segment.hpp"

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace srd {

template <typename Word>
Word read_once(const Word& word) noexcept
{
    return *static_cast<const volatile Word*>(&word);
}

/// Names a ring to ThreadSanitizer. If both ends are in one process, it is mapped at two addresses, which
/// ThreadSanitizer takes for two objects. So the order that the turns establish is told to it by a third
/// address that both ends compute.
class ShmOrder {
public:
    ShmOrder() = default;
    ShmOrder(const ShmToken& segment, std::uint32_t ring) noexcept
        : place_(static_cast<std::uint8_t>(segment[0] ^ ring))
    {
    }

#if defined(__SANITIZE_THREAD__)
    void note_written() const noexcept
    {
        __tsan_release(&places[place_]);
    }
    void note_read() const noexcept
    {
        __tsan_acquire(&places[place_]);
    }

private:
    static inline std::array<char, 256> places;
#else
    void note_written() const noexcept {}
    void note_read() const noexcept {}

private:
#endif
    std::uint8_t place_ = 0;
};

} // namespace srd
