// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What fi_atomic(3) says of every operation on every datatype, for tests: integers
// are 128 bits and everything else is a long double, and nothing is shared with the
// code under test.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include <rdma/fi_domain.h>

#include "support/catch.hpp"

namespace atomic_model {

__extension__ using Int128 = __int128;
__extension__ using UInt128 = unsigned __int128;
using Bytes = std::vector<std::byte>;

inline constexpr std::uint32_t type_count = 20;
inline constexpr std::uint32_t operation_diff = 19; // FI_DIFF of libfabric 2

inline constexpr std::array<std::size_t, type_count> sizes = {1, 1,  2,  2,  4,  4,  8, 8, 4, 8,
                                                              8, 16, 16, 32, 16, 16, 2, 2, 1, 1};

inline bool is_integer(std::uint32_t type)
{
    return type < 8 || type == FI_INT128 || type == FI_UINT128;
}
inline bool is_signed(std::uint32_t type)
{
    return type % 2 == 0;
}
inline bool is_complex(std::uint32_t type)
{
    return type == FI_FLOAT_COMPLEX || type == FI_DOUBLE_COMPLEX || type == FI_LONG_DOUBLE_COMPLEX;
}

/// The magnitudes of a small float's codes, by the definition of the format.
inline const std::vector<long double>& magnitudes(std::uint32_t type)
{
    struct Format {
        int exponent_bits;
        int mantissa_bits;
        std::size_t finite; ///< codes
    };
    static const std::array<Format, 4> formats = {
        {{5, 10, 0x7c00}, {8, 7, 0x7f80}, {4, 3, 0x7f}, {5, 2, 0x7c}}};
    static const std::array<std::vector<long double>, 4> values = [] {
        std::array<std::vector<long double>, 4> result;
        for (std::size_t i = 0; i < formats.size(); ++i) {
            const int mantissas = 1 << formats[i].mantissa_bits;
            const int bias = (1 << (formats[i].exponent_bits - 1)) - 1;
            for (std::size_t code = 0; code < formats[i].finite; ++code) {
                const int exponent = static_cast<int>(code) / mantissas;
                const long double fraction =
                    static_cast<long double>(static_cast<int>(code) % mantissas) / mantissas;
                result[i].push_back(exponent == 0 ? fraction * std::pow(2.0L, 1 - bias)
                                                  : (1 + fraction) * std::pow(2.0L, exponent - bias));
            }
        }
        return result;
    }();
    return values.at(type - 16);
}

template <typename T>
inline long double read_as(const std::byte* from)
{
    T value;
    std::memcpy(&value, from, sizeof(T));
    return value;
}

inline long double read_real(std::uint32_t type, const std::byte* from)
{
    switch (type) {
    case FI_FLOAT:
    case FI_FLOAT_COMPLEX:
        return read_as<float>(from);
    case FI_DOUBLE:
    case FI_DOUBLE_COMPLEX:
        return read_as<double>(from);
    case FI_LONG_DOUBLE:
    case FI_LONG_DOUBLE_COMPLEX:
        return read_as<long double>(from);
    default:
        std::uint32_t code = 0;
        std::memcpy(&code, from, sizes[type]);
        const std::uint32_t sign = 1U << (8 * sizes[type] - 1);
        const long double value = magnitudes(type).at(code & (sign - 1));
        return (code & sign) != 0 ? -value : value;
    }
}

template <typename T>
inline void write_as(std::byte* to, long double value)
{
    const auto narrow = static_cast<T>(value);
    std::memcpy(to, &narrow, std::is_same_v<T, long double> ? 10 : sizeof(T)); // no padding
}

inline void write_real(std::uint32_t type, std::byte* to, long double value)
{
    switch (type) {
    case FI_FLOAT:
    case FI_FLOAT_COMPLEX:
        return write_as<float>(to, value);
    case FI_DOUBLE:
    case FI_DOUBLE_COMPLEX:
        return write_as<double>(to, value);
    case FI_LONG_DOUBLE:
    case FI_LONG_DOUBLE_COMPLEX:
        return write_as<long double>(to, value);
    default:
        const std::vector<long double>& codes = magnitudes(type);
        const long double size = std::fabs(value);
        std::uint32_t best = 0;
        for (std::uint32_t code = 0; code < codes.size(); ++code) {
            const long double better = std::fabs(codes[best] - size) - std::fabs(codes[code] - size);
            if (better > 0 || (better == 0 && code % 2 == 0)) {
                best = code;
            }
        }
        best |= std::signbit(value) ? 1U << (8 * sizes[type] - 1) : 0;
        std::memcpy(to, &best, sizes[type]);
    }
}

/// A number of any type.
struct Number {
    UInt128 bits = 0; ///< integers, sign extended
    long double re = 0;
    long double im = 0;
};

inline Number read_number(std::uint32_t type, const std::byte* from)
{
    Number number;
    if (is_integer(type)) {
        std::memcpy(&number.bits, from, sizes[type]);
        const auto shift = 8 * (sizeof(UInt128) - sizes[type]);
        number.bits <<= shift;
        number.bits = is_signed(type) ? static_cast<UInt128>(static_cast<Int128>(number.bits) >> shift)
                                      : number.bits >> shift;
    } else {
        number.re = read_real(type, from);
        number.im = is_complex(type) ? read_real(type, from + sizes[type] / 2) : 0;
    }
    return number;
}

inline void write_number(std::uint32_t type, std::byte* to, const Number& number)
{
    if (is_integer(type)) {
        std::memcpy(to, &number.bits, sizes[type]);
        return;
    }
    write_real(type, to, number.re);
    if (is_complex(type)) {
        write_real(type, to + sizes[type] / 2, number.im);
    }
}

/// -1, 0 or 1; for complex numbers only 0 or not.
inline int order(std::uint32_t type, const Number& a, const Number& b)
{
    if (!is_integer(type)) {
        return a.re < b.re ? -1 : a.re > b.re ? 1 : a.im == b.im ? 0 : 1;
    }
    if (is_signed(type)) {
        const auto left = static_cast<Int128>(a.bits);
        const auto right = static_cast<Int128>(b.bits);
        return left < right ? -1 : left > right;
    }
    return a.bits < b.bits ? -1 : a.bits > b.bits;
}

inline Number truth(bool value)
{
    return {value ? UInt128{1} : UInt128{0}, value ? 1.0L : 0.0L, 0};
}

inline Number product(std::uint32_t type, const Number& a, const Number& b)
{
    if (!is_complex(type)) { // else -0.0 from the imaginary parts
        return {a.bits * b.bits, a.re * b.re, 0};
    }
    return {0, a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

/// What fi_atomic(3) says of `addr[i]`, `buf[i]` and `compare[i]`. True: buf[i] takes its place.
inline bool model(std::uint32_t operation, std::uint32_t type, const Number& addr, const Number& buf,
                  const Number& compare, Number& after)
{
    const Number zero;
    const bool a = order(type, addr, zero) != 0;
    const bool b = order(type, buf, zero) != 0;
    after = addr;
    switch (operation) {
    case FI_MIN:
        return order(type, buf, addr) < 0;
    case FI_MAX:
        return order(type, buf, addr) > 0;
    case FI_SUM:
        after = {addr.bits + buf.bits, addr.re + buf.re, addr.im + buf.im};
        return false;
    case operation_diff:
        after = {addr.bits - buf.bits, addr.re - buf.re, addr.im - buf.im};
        return false;
    case FI_PROD:
        after = product(type, addr, buf);
        return false;
    case FI_LOR:
        after = truth(a || b);
        return false;
    case FI_LAND:
        after = truth(a && b);
        return false;
    case FI_LXOR:
        after = truth((a && !b) || (!a && b));
        return false;
    case FI_BOR:
        after.bits = addr.bits | buf.bits;
        return false;
    case FI_BAND:
        after.bits = addr.bits & buf.bits;
        return false;
    case FI_BXOR:
        after.bits = addr.bits ^ buf.bits;
        return false;
    case FI_ATOMIC_WRITE:
        return true;
    case FI_CSWAP:
        return order(type, compare, addr) == 0;
    case FI_CSWAP_NE:
        return order(type, compare, addr) != 0;
    case FI_CSWAP_LE:
        return order(type, compare, addr) <= 0;
    case FI_CSWAP_LT:
        return order(type, compare, addr) < 0;
    case FI_CSWAP_GE:
        return order(type, compare, addr) >= 0;
    case FI_CSWAP_GT:
        return order(type, compare, addr) > 0;
    case FI_MSWAP:
        after.bits = (buf.bits & compare.bits) | (addr.bits & ~compare.bits);
        return false;
    default:
        REQUIRE(operation == FI_ATOMIC_READ);
        return false;
    }
}

inline Bytes expected(std::uint32_t operation, std::uint32_t type, Bytes target, const Bytes& operand,
                      const Bytes& compare)
{
    const std::size_t size = sizes[type];
    for (std::size_t at = 0; at < target.size(); at += size) {
        Number after;
        if (model(operation, type, read_number(type, &target[at]), read_number(type, &operand[at]),
                  read_number(type, &compare[at]), after)) {
            std::memcpy(&target[at], &operand[at], size);
        } else {
            write_number(type, &target[at], after);
        }
    }
    return target;
}

// -- Operands -------------------------------------------------------------------------

inline std::uint32_t next_random()
{
    static std::uint64_t state = 1;
    state = state * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>(state >> 33);
}

/// Numbers that often meet each other, that every float holds exactly, and integers' extremes.
inline Bytes numbers(std::uint32_t type, std::size_t count)
{
    static const std::array<long double, 8> values = {0, 0.5, 1, 1.5, 2, 3, -1, -6};
    Bytes bytes(count * sizes[type]);
    for (std::byte& byte : bytes) { // the padding too
        byte = static_cast<std::byte>(next_random());
    }
    for (std::size_t i = 0; i < count; ++i) {
        Number number{0, values[next_random() % 8], values[next_random() % 8]};
        const std::uint32_t pick = next_random() % 8;
        number.bits = pick < 4 ? pick : ~UInt128{0} >> (pick % 4);
        if (pick == 7 && is_integer(type)) { // the smallest signed one
            number.bits = UInt128{1} << (8 * sizes[type] - 1);
        }
        if (!is_integer(type) || next_random() % 4 != 0) { // else random bits
            write_number(type, &bytes[i * sizes[type]], number);
        }
    }
    return bytes;
}

} // namespace atomic_model
