// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

namespace srd::fuzz {

/// True in the run that must fail: the harness holds something against the code that is not so.
inline bool canary()
{
    static const bool planted = std::getenv("SRD_FUZZ_CANARY") != nullptr;
    return planted;
}

/// Reads the fuzzer's bytes; zero when they are used up.
class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

    bool empty() const noexcept { return rest_.empty(); }
    std::uint8_t byte() noexcept
    {
        if (rest_.empty()) {
            return 0;
        }
        const std::uint8_t value = rest_.front();
        rest_ = rest_.subspan(1);
        return value;
    }
    std::uint32_t word() noexcept
    {
        const std::uint32_t low = byte();
        return low | std::uint32_t{byte()} << 8;
    }
    std::uint32_t quad() noexcept
    {
        const std::uint32_t low = word();
        return low | word() << 16;
    }
    /// A number near a bound more often than not: small, large, or as the input has it.
    std::uint64_t number() noexcept
    {
        const std::uint8_t kind = byte();
        switch (kind >> 5) {
        case 0:
        case 1:
        case 2:
            return kind & 31U;
        case 3:
            return std::uint64_t{1} << (kind & 31U);
        case 4:
            return (std::uint64_t{1} << (kind & 31U)) - 1;
        case 5:
            return ~std::uint64_t{0} - (kind & 31U);
        case 6:
            return word();
        default:
            return quad() | std::uint64_t{quad()} << 32;
        }
    }
    /// The rest, as it is.
    std::span<const std::uint8_t> rest() const noexcept { return rest_; }

private:
    std::span<const std::uint8_t> rest_;
};

} // namespace srd::fuzz
