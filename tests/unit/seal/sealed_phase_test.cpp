// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Changes of the key phase, with as many packets as there are in one: four million take a second or two.
#include "support/alloc_guard.hpp"
#include "unit/seal/session_fixture.hpp"

using namespace srd;
using namespace srd::test;

namespace {

constexpr std::uint64_t phase = KeySchedule::phase_packets;

/// Two ends, and how many packets the first has sealed.
class LongPair : public SessionPair {
public:
    explicit LongPair(Cipher cipher) : SessionPair(cipher) {}

    /// Seals packets that are lost, until `counter` is the next.
    void lose_until(std::uint64_t counter)
    {
        Bytes header = counting(SealedSession::header_size);
        Bytes out(SealedSession::header_size + SealedSession::overhead);
        const iovec piece{header.data(), header.size()};
        std::size_t size = out.size();
        for (; next_ < counter && size == out.size(); ++next_) {
            size = a->seal({&piece, 1}, out.data());
        }
        REQUIRE(size == out.size());
    }

    /// The packet with that counter, which has not been sealed.
    Bytes packet(std::uint64_t counter)
    {
        lose_until(counter);
        ++next_;
        return sealed(*a, known_packet());
    }

    /// A packet was sealed elsewhere.
    void count() { ++next_; }

    OpenResult result(const Bytes& packet) { return result_of(*b, packet); }

private:
    std::uint64_t next_ = 0;
};

} // namespace

TEST_CASE("sealed phase: packets of both sides of a change arrive in any order")
{
    LongPair pair(Cipher::aes_128_gcm);
    CHECK(pair.result(pair.packet(phase / 2 - 1)) == OpenResult::opened);
    CHECK(pair.result(pair.packet(phase - 4)) == OpenResult::opened);
    const Bytes last_but_two = pair.packet(phase - 3);
    const Bytes last_but_one = pair.packet(phase - 2);
    const Bytes last = pair.packet(phase - 1);
    const Bytes first = pair.packet(phase);
    const Bytes second = pair.packet(phase + 1);
    // Computed by another implementation of docs/protocol.md, section 13.
    CHECK(to_hex(first) == "000102030405060708090a0b0c0d0e0f0000400000000000"
                           "3fa765075153f2355077eb9880fbf3686cd1987f55d6739574d9e211e5");
    CHECK(pair.result(second) == OpenResult::opened);
    CHECK(pair.result(last_but_one) == OpenResult::opened);
    CHECK(pair.result(first) == OpenResult::opened);
    CHECK(pair.result(last) == OpenResult::opened);
    for (const Bytes& again : {second, last_but_one, first, last}) {
        CHECK(pair.result(again) == OpenResult::replayed);
    }
    // The window reaches into the last phase as long as it reaches at all.
    CHECK(pair.result(pair.packet(phase + 4092)) == OpenResult::opened);
    CHECK(pair.result(last_but_two) == OpenResult::opened);
    CHECK(pair.result(pair.packet(phase + 4093)) == OpenResult::opened);
    CHECK(pair.result(last_but_two) == OpenResult::too_old);
    CHECK(pair.b->forgeries() == 0);
}

TEST_CASE("sealed phase: forged packets of the next phase harm nobody")
{
    LongPair pair(Cipher::chacha20_poly1305);
    const Bytes old = pair.packet(10);
    CHECK(pair.result(with_counter(old, phase)) == OpenResult::too_new);
    CHECK(pair.result(pair.packet(phase / 2 - 1)) == OpenResult::opened);
    CHECK(pair.result(with_counter(old, phase)) == OpenResult::too_new);
    CHECK(pair.result(pair.packet(phase / 2)) == OpenResult::opened);
    CHECK(pair.result(with_counter(old, phase)) == OpenResult::auth_failed);
    CHECK(pair.result(pair.packet(phase / 2 + 1)) == OpenResult::opened);
    CHECK(pair.result(with_counter(old, phase)) == OpenResult::auth_failed);
    CHECK(pair.result(with_counter(old, phase + 2)) == OpenResult::too_new);
    CHECK(pair.result(pair.packet(phase - 1)) == OpenResult::opened);
    const Bytes first = pair.packet(phase);
    CHECK(to_hex(first) == "000102030405060708090a0b0c0d0e0f0000400000000000"
                           "2bb606eecf8b694e520743a9a385f553bdbadc939c48169dd8d128477f");
    CHECK(opened(*pair.b, first) == SessionPair::known_packet());
    CHECK(pair.b->forgeries() == 2);
}

TEST_CASE("sealed phase: two changes, without allocation")
{
    LongPair pair(Cipher::aes_128_gcm);
    for (std::uint64_t at = phase / 4; at <= 2 * phase + phase / 4; at += phase / 4) {
        pair.lose_until(at - 1);
        const Bytes before = pair.packet(at - 1);
        Bytes packet = SessionPair::known_packet();
        Bytes out(packet.size() + SealedSession::overhead);
        const iovec piece{packet.data(), packet.size()};
        const auto violations = sim::allocation_violations();
        OpenResult result{};
        {
            const sim::AllocationBan ban;
            static_cast<void>(pair.a->seal({&piece, 1}, out.data()));
            result = pair.b->open(std::span(out));
        }
        pair.count();
        CHECK(sim::allocation_violations() == violations);
        CHECK(result == OpenResult::opened);
        CHECK(pair.result(before) == OpenResult::opened);
    }
    CHECK(pair.b->forgeries() == 0);
}
