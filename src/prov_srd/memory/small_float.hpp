// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Floating point numbers of 8 and 16 bits, for which neither the compilers that
// we support nor every processor has a type. Only atomics compute with them, so
// they are converted to double and back.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace srd {

/// One sign bit, `exponent_bits`, `mantissa_bits`. With `has_infinity` all exponent bits set mean infinity
/// and NaN, as in IEEE 754; without, only the code with every bit set is a NaN and the rest are numbers (E4M3
/// of the OCP 8-bit floating point specification).
template <int exponent_bits, int mantissa_bits, bool has_infinity>
class SmallFloat {
public:
    using Bits = std::conditional_t<(exponent_bits + mantissa_bits < 8), std::uint8_t, std::uint16_t>;

    SmallFloat() = default;

    /// Rounds to nearest, ties to even. What is too large becomes infinity, or NaN where there is none.
    /// A double has more than twice the digits, so sums, differences and products that were computed in
    /// double are rounded as if they had been computed exactly.
    explicit SmallFloat(double value) noexcept
    {
        const auto sign = static_cast<Bits>(std::signbit(value) ? sign_bit : 0);
        const double size = std::fabs(value);
        int exponent = 0; // size is in [0.5, 1) * 2^exponent
        std::frexp(size, &exponent);
        if (std::isnan(size)) {
            bits_ = static_cast<Bits>(sign | nan);
        } else if (std::isinf(size) || exponent > max_exponent) {
            bits_ = static_cast<Bits>(sign | overflow);
        } else {
            // In units of the last place the number is an integer. Its codes are counted from zero on, so
            // rounding up to the next power of two carries into the exponent by itself.
            const int scale = size == 0.0 || exponent < min_exponent ? min_exponent : exponent;
            const auto units =
                static_cast<std::uint32_t>(std::nearbyint(std::ldexp(size, mantissa_bits + 1 - scale)));
            const std::uint32_t code =
                units + (static_cast<std::uint32_t>(scale - min_exponent) << mantissa_bits);
            bits_ = static_cast<Bits>(sign | (code > largest ? overflow : code));
        }
    }

    explicit operator double() const noexcept
    {
        const std::uint32_t code = bits_ & (sign_bit - 1U);
        const double sign = (bits_ & sign_bit) != 0 ? -1.0 : 1.0;
        if (code > largest) {
            return has_infinity && code == overflow
                       ? sign * std::numeric_limits<double>::infinity()
                       : std::copysign(std::numeric_limits<double>::quiet_NaN(), sign);
        }
        const auto exponent = static_cast<int>(code >> mantissa_bits);
        const std::uint32_t mantissa = code & ((1U << mantissa_bits) - 1U);
        const std::uint32_t units = exponent == 0 ? mantissa : mantissa | (1U << mantissa_bits);
        return sign *
               std::ldexp(units, (exponent == 0 ? 1 : exponent) - 1 + min_exponent - 1 - mantissa_bits);
    }

private:
    static constexpr std::uint32_t sign_bit = 1U << (exponent_bits + mantissa_bits);
    static constexpr std::uint32_t infinity = ((1U << exponent_bits) - 1U) << mantissa_bits;
    static constexpr std::uint32_t nan =
        has_infinity ? infinity | (1U << (mantissa_bits - 1)) : sign_bit - 1U;
    static constexpr std::uint32_t overflow = has_infinity ? infinity : nan;
    static constexpr std::uint32_t largest = overflow - 1U; ///< the code of the largest finite number
    // As frexp() counts: one more than the usual exponent.
    static constexpr int bias = (1 << (exponent_bits - 1)) - 1;
    static constexpr int min_exponent = 2 - bias; ///< of the smallest number that is not subnormal
    static constexpr int max_exponent = bias + (has_infinity ? 1 : 2); ///< of the largest number

    Bits bits_;
};

using Float16 = SmallFloat<5, 10, true>;
using BFloat16 = SmallFloat<8, 7, true>;
using Float8E4M3 = SmallFloat<4, 3, false>;
using Float8E5M2 = SmallFloat<5, 2, true>;

} // namespace srd
