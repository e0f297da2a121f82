// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Two ends of a sealed connection.
#pragma once

#include <cstring>
#include <memory>

#include "seal/sealed_session.hpp"
#include "unit/seal/seal_fixture.hpp"

namespace srd::test {

class SessionPair {
public:
    explicit SessionPair(Cipher cipher)
        : ring(ring_of(key_1)), a(SealedSession::make(hmac, {1, cipher, {}}, side_a(), side_b())),
          b(SealedSession::make(hmac, {1, cipher, {}}, side_b(), side_a()))
    {
        REQUIRE((a != nullptr && b != nullptr));
    }

    SealedSide side_a() const { return {ring.sending(), 0x1111111111111111, 0xaaaaaaaaaaaaaaaa, address_a}; }
    SealedSide side_b() const { return {ring.sending(), 0x2222222222222222, 0xbbbbbbbbbbbbbbbb, address_b}; }

    /// 16 bytes of header and "sealed by srd".
    static Bytes known_packet()
    {
        Bytes packet = counting(16);
        const Bytes body = of_text("sealed by srd");
        packet.insert(packet.end(), body.begin(), body.end());
        return packet;
    }

    const Bytes address_a = from_hex("02001b58c0000201 0000000000000000");
    const Bytes address_b = from_hex("02001b58c0000202 0000000000000000");
    const KeyRing ring;
    HmacSha256 hmac;
    std::unique_ptr<SealedSession> a;
    std::unique_ptr<SealedSession> b;
};

inline Bytes sealed(SealedSession& session, Bytes packet)
{
    Bytes out(packet.size() + SealedSession::overhead);
    const iovec piece{packet.data(), packet.size()};
    REQUIRE(session.seal({&piece, 1}, out.data()) == out.size());
    return out;
}

inline OpenResult result_of(SealedSession& session, Bytes packet)
{
    return session.open(std::span(packet));
}

/// Opened in place; empty: it was not.
inline Bytes opened(SealedSession& session, Bytes packet)
{
    if (session.open(std::span(packet)) != OpenResult::opened) {
        return {};
    }
    const auto whole =
        std::span(packet).subspan(SealedSession::counter_size, packet.size() - SealedSession::overhead);
    return {whole.begin(), whole.end()};
}

inline Bytes with_counter(Bytes packet, std::uint64_t counter)
{
    const wire::u64 field = counter;
    std::memcpy(packet.data() + SealedSession::header_size, &field, sizeof(field));
    return packet;
}

} // namespace srd::test
