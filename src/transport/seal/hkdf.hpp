// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// HKDF with SHA-256 (RFC 5869), and the labels by which every key of the protocol is derived.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "seal/crypto/hmac.hpp"

namespace srd {

/// All use `hmac` as their tool; its key is another one afterwards.
void hkdf_extract(HmacSha256& hmac, std::span<const std::byte> salt, std::span<const std::byte> secret,
                  std::span<std::byte, HmacSha256::size> out) noexcept;

/// `out`: at most 255 * 32 bytes; it must not overlap `secret`.
void hkdf_expand(HmacSha256& hmac, std::span<const std::byte> secret, std::span<const std::byte> info,
                 std::span<std::byte> out) noexcept;

/// HKDF-Expand-Label of TLS 1.3 (RFC 8446, section 7.1), with "srd 1 " in the place of "tls13 ". `label`: at
/// most 16 bytes, `context`: at most 255, `out`: as hkdf_expand().
void hkdf_expand_label(HmacSha256& hmac, std::span<const std::byte> secret, std::string_view label,
                       std::span<const std::byte> context, std::span<std::byte> out) noexcept;

} // namespace srd
