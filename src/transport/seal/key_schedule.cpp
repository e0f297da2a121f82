// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/key_schedule.hpp"

#include <algorithm>

#include <srd/check.hpp>
#include <srd/wire.hpp>

namespace srd {

namespace {

constexpr std::size_t side_max_size = 8 + 8 + 1 + max_address_size;
constexpr std::size_t context_max_size = 1 + 1 + 2 * (side_max_size + KeyExchange::size);
static_assert(context_max_size <= 255, "the length of a label's context is one byte");

std::byte* put(std::byte* to, const auto& value) noexcept
{
    static_assert(alignof(decltype(value)) == 1);
    return std::copy_n(reinterpret_cast<const std::byte*>(&value), sizeof(value), to);
}

std::byte* put_side(std::byte* to, const SealedSide& side) noexcept
{
    SRD_CHECK(side.address.size() <= max_address_size);
    to = put(to, wire::u64(side.incarnation));
    to = put(to, wire::u64(side.connection));
    to = put(to, static_cast<std::uint8_t>(side.address.size()));
    return std::copy(side.address.begin(), side.address.end(), to);
}

} // namespace

KeySchedule::KeySchedule(HmacSha256& hmac, const SealTerms& terms, const SealedSide& sender,
                         const SealedSide& receiver) noexcept
    : hmac_(&hmac), cipher_(terms.cipher)
{
    std::array<std::byte, context_max_size> context;
    std::byte* end = put(context.data(), terms.version);
    end = put(end, static_cast<std::uint8_t>(terms.cipher));
    end = put_side(end, sender);
    end = put_side(end, receiver);
    std::span<const std::byte> root = sender.key.traffic.bytes();
    Secret<HmacSha256::size> extracted;
    if (!terms.exchanged.empty()) {
        hkdf_extract(hmac, root, terms.exchanged, extracted.bytes());
        root = extracted.bytes();
        end = std::copy(sender.share.begin(), sender.share.end(), end);
        end = std::copy(receiver.share.begin(), receiver.share.end(), end);
    }
    hkdf_expand_label(hmac, root, "send", {context.data(), end}, secret_.bytes());
}

void KeySchedule::derive(PhaseKeys& keys) noexcept
{
    hkdf_expand_label(*hmac_, secret_.bytes(), "key", {}, keys.key.bytes().first(key_size_of(cipher_)));
    hkdf_expand_label(*hmac_, secret_.bytes(), "iv", {}, keys.iv);
}

void KeySchedule::advance() noexcept
{
    Secret<32> next;
    hkdf_expand_label(*hmac_, secret_.bytes(), "next", {}, next.bytes());
    secret_ = std::move(next);
    ++phase_;
}

} // namespace srd
