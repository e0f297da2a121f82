// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/sealed_session.hpp"

#include <cstring>
#include <new>

#include <srd/check.hpp>

namespace srd {

namespace {

/// More pieces than a packet has: the header with what follows it, and those of the payload.
constexpr std::size_t pieces_max = 16;

} // namespace

SealedSession::Tx::Tx(HmacSha256& hmac, const SealTerms& terms, const SealedSide& self,
                      const SealedSide& peer)
    : schedule(hmac, terms, self, peer), sealer(terms.cipher)
{
    schedule.derive(keys);
    sealer.set_key(keys.key.bytes().first(key_size_of(terms.cipher)));
}

void SealedSession::Tx::set_phase(std::uint64_t phase) noexcept
{
    schedule.advance();
    SRD_CHECK(schedule.phase() == phase);
    schedule.derive(keys);
    sealer.set_key(keys.key.bytes().first(key_size_of(schedule.cipher())));
}

SealedSession::Rx::Rx(HmacSha256& hmac, const SealTerms& terms, const SealedSide& self,
                      const SealedSide& peer)
    : schedule(hmac, terms, peer, self), opener(terms.cipher)
{
    schedule.derive(keys[0]);
    opener.set_key(keys[0].key.bytes().first(key_size_of(terms.cipher)));
}

/// The keys of a phase that is the newest one, the one before, or the one after that.
const PhaseKeys& SealedSession::Rx::set_phase(std::uint64_t phase) noexcept
{
    PhaseKeys& wanted = keys[phase % 2];
    if (phase > schedule.phase()) {
        schedule.advance();
        SRD_CHECK(schedule.phase() == phase);
        schedule.derive(wanted);
    }
    opener.set_key(wanted.key.bytes().first(key_size_of(schedule.cipher())));
    opener_phase = phase;
    return wanted;
}

OpenResult SealedSession::Rx::check(std::uint64_t counter) const noexcept
{
    using Verdict = ReplayWindow<window>::Verdict;
    switch (replay.check(counter)) {
    case Verdict::replayed:
        return OpenResult::replayed;
    case Verdict::too_old:
        return OpenResult::too_old;
    case Verdict::fresh:
        break;
    }
    if (counter >= PacketCounter::limit || counter >= replay.next() + ahead_max) {
        return OpenResult::too_new;
    }
    return forgeries >= forgeries_limit_of(schedule.cipher()) ? OpenResult::exhausted : OpenResult::opened;
}

OpenResult SealedSession::Rx::open(std::span<const std::byte> packet, std::byte* out,
                                   std::size_t place) noexcept
{
    if (packet.size() < header_size + overhead) {
        return OpenResult::too_short;
    }
    wire::u64 field;
    std::memcpy(&field, packet.data() + header_size, sizeof(field));
    const std::uint64_t counter = field;
    if (const OpenResult refusal = check(counter); refusal != OpenResult::opened) {
        return refusal;
    }
    const std::uint64_t phase = KeySchedule::phase_of(counter);
    const PhaseKeys& phase_keys = phase == opener_phase ? keys[phase % 2] : set_phase(phase);
    if (!opener.open(phase_keys.iv_of(counter), packet.first(header_size),
                     packet.subspan(header_size + counter_size), out + place)) {
        ++forgeries;
        return OpenResult::auth_failed;
    }
    replay.mark(counter);
    return OpenResult::opened;
}

SealedSession::SealedSession(HmacSha256& hmac, const SealTerms& terms, const SealedSide& self,
                             const SealedSide& peer)
    : tx_(hmac, terms, self, peer), rx_(hmac, terms, self, peer)
{
}

std::unique_ptr<SealedSession> SealedSession::make(HmacSha256& hmac, const SealTerms& terms,
                                                   const SealedSide& self, const SealedSide& peer) noexcept
{
    try {
        return std::unique_ptr<SealedSession>(new SealedSession(hmac, terms, self, peer));
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

std::size_t SealedSession::seal(std::span<const iovec> packet, std::byte* out) noexcept
{
    SRD_CHECK(!packet.empty() && packet.size() <= pieces_max && packet[0].iov_len >= header_size);
    if (tx_.counter.exhausted()) {
        return 0;
    }
    const std::uint64_t counter = tx_.counter.take();
    if (const std::uint64_t phase = KeySchedule::phase_of(counter); phase != tx_.schedule.phase()) {
        tx_.set_phase(phase);
    }
    std::array<iovec, pieces_max> pieces;
    std::size_t size = 0;
    for (std::size_t i = 0; i < packet.size(); ++i) {
        pieces[i] = packet[i];
        size += packet[i].iov_len;
    }
    pieces[0].iov_base = static_cast<std::byte*>(packet[0].iov_base) + header_size;
    pieces[0].iov_len -= header_size;

    const wire::u64 field = counter;
    std::memcpy(out, packet[0].iov_base, header_size);
    std::memcpy(out + header_size, &field, counter_size);
    const bool sealed = tx_.sealer.seal(tx_.keys.iv_of(counter), {out, header_size},
                                        {pieces.data(), packet.size()}, out + header_size + counter_size);
    return sealed ? size + overhead : 0;
}

void SealedSession::take_back() noexcept
{
    if (KeySchedule::phase_of(tx_.counter.latest()) == tx_.schedule.phase()) {
        tx_.counter.give_back();
    } // else the keys are gone, and the counter is a lost packet
}

OpenResult SealedSession::open(std::span<std::byte> packet) noexcept
{
    const OpenResult result = rx_.open(packet, packet.data(), header_size + counter_size);
    if (result == OpenResult::opened) {
        std::memmove(packet.data() + counter_size, packet.data(), header_size); // they overlap
    }
    return result;
}

OpenResult SealedSession::open(std::span<const std::byte> packet, std::byte* out) noexcept
{
    const OpenResult result = rx_.open(packet, out, header_size);
    if (result == OpenResult::opened) {
        std::memcpy(out, packet.data(), header_size);
    }
    return result;
}

} // namespace srd
