// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "memory/small_float.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "support/atomic_model.hpp"
#include "support/catch.hpp"

using namespace srd;
using atomic_model::magnitudes;

namespace {

template <typename Float>
std::uint32_t encode(double value)
{
    const Float number(value);
    std::uint32_t code = 0;
    std::memcpy(&code, &number, sizeof(number));
    return code;
}

template <typename Float>
double decode(std::uint32_t code)
{
    Float number;
    std::memcpy(static_cast<void*>(&number), &code, sizeof(number));
    return static_cast<double>(number);
}

/// Every code there and back, and every midpoint between two neighbours to the even one.
template <typename Float>
void check_small_float(std::uint32_t type)
{
    const std::vector<long double>& values = magnitudes(type);
    const std::uint32_t sign = 1U << (8 * sizeof(Float) - 1);
    for (std::uint32_t code = 0; code < values.size(); ++code) {
        const auto value = static_cast<double>(values[code]);
        REQUIRE(decode<Float>(code) == value);
        REQUIRE(decode<Float>(code | sign) == -value);
        REQUIRE(encode<Float>(value) == code);
        REQUIRE(encode<Float>(-value) == (code | sign));
        if (code + 1 < values.size()) {
            const double next = static_cast<double>(values[code + 1]);
            const double middle = (value + next) / 2;
            REQUIRE(encode<Float>(middle) == code + code % 2);
            REQUIRE(encode<Float>(std::nextafter(middle, 0)) == code);
            REQUIRE(encode<Float>(std::nextafter(middle, next)) == code + 1);
        }
    }
    CHECK(std::isnan(decode<Float>(encode<Float>(std::numeric_limits<double>::quiet_NaN()))));
}

} // namespace

TEST_CASE("small float: every number, every rounding")
{
    check_small_float<Float16>(16);
    check_small_float<BFloat16>(17);
    check_small_float<Float8E4M3>(18);
    check_small_float<Float8E5M2>(19);
    constexpr double infinity = std::numeric_limits<double>::infinity();
    CHECK(encode<Float16>(1) == 0x3c00);
    CHECK(encode<Float16>(65504) == 0x7bff);
    CHECK(encode<Float16>(65519.99) == 0x7bff);
    CHECK(encode<Float16>(65520) == 0x7c00);
    CHECK(encode<Float16>(-1e300) == 0xfc00);
    CHECK(decode<Float16>(0xfc00) == -infinity);
    CHECK(std::isnan(decode<Float16>(0x7c01)));
    CHECK(encode<BFloat16>(1) == 0x3f80);
    CHECK(encode<BFloat16>(infinity) == 0x7f80);
    CHECK(encode<Float8E5M2>(57344) == 0x7b);
    CHECK(encode<Float8E5M2>(61440) == 0x7c);
    CHECK(encode<Float8E4M3>(448) == 0x7e);
    CHECK(encode<Float8E4M3>(464) == 0x7e); // halfway to what would be 480: even
    CHECK(encode<Float8E4M3>(465) == 0x7f); // there is no infinity
    CHECK(encode<Float8E4M3>(-infinity) == 0xff);
    CHECK(std::isnan(decode<Float8E4M3>(0x7f)));
}
