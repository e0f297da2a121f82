// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/hkdf.hpp"

#include <algorithm>
#include <array>

#include <srd/check.hpp>

namespace srd {

namespace {

constexpr std::string_view label_prefix = "srd 1 ";
constexpr std::size_t label_max_size = 16;

} // namespace

void hkdf_extract(HmacSha256& hmac, std::span<const std::byte> salt, std::span<const std::byte> secret,
                  std::span<std::byte, HmacSha256::size> out) noexcept
{
    hmac.set_key(salt);
    hmac.compute({secret}, out);
}

void hkdf_expand(HmacSha256& hmac, std::span<const std::byte> secret, std::span<const std::byte> info,
                 std::span<std::byte> out) noexcept
{
    SRD_CHECK(out.size() <= 255 * HmacSha256::size);
    hmac.set_key(secret);
    Secret<HmacSha256::size> block;
    std::span<const std::byte> previous; // T(0) is empty
    std::byte number{0};
    while (!out.empty()) {
        number = static_cast<std::byte>(std::to_integer<unsigned>(number) + 1);
        hmac.compute({previous, info, {&number, 1}}, block.bytes());
        const std::size_t take = std::min(out.size(), HmacSha256::size);
        std::copy_n(block.bytes().begin(), take, out.begin());
        out = out.subspan(take);
        previous = block.bytes();
    }
}

void hkdf_expand_label(HmacSha256& hmac, std::span<const std::byte> secret, std::string_view label,
                       std::span<const std::byte> context, std::span<std::byte> out) noexcept
{
    SRD_CHECK(label.size() <= label_max_size && context.size() <= 255);
    std::array<std::byte, 2 + 1 + label_prefix.size() + label_max_size + 1 + 255> info;
    std::byte* end = info.data();
    const auto put_byte = [&end](std::size_t value) { *end++ = static_cast<std::byte>(value); };
    const auto put_text = [&end](std::string_view text) {
        end = std::copy_n(reinterpret_cast<const std::byte*>(text.data()), text.size(), end);
    };
    put_byte(out.size() >> 8);
    put_byte(out.size() & 0xff);
    put_byte(label_prefix.size() + label.size());
    put_text(label_prefix);
    put_text(label);
    put_byte(context.size());
    end = std::copy(context.begin(), context.end(), end);
    hkdf_expand(hmac, secret, {info.data(), end}, out);
}

} // namespace srd
