// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <cstring>
#include <vector>

#include "support/catch.hpp"
#include "unit/send/sender_parts.hpp"

namespace {

using namespace srd;
using namespace srd::test;
using namespace std::chrono_literals;
using State = TxSlot::State;
using Repair = TxSlot::Repair;
using wire::Contents;

const Time start{Duration(1h)};
constexpr std::uint32_t wire_bytes = 100 + sizeof(wire::PacketHeader);

using Slots = std::vector<std::uint32_t>;

std::byte* frame(SenderParts& parts, std::size_t bytes, Contents contents, std::size_t capacity = 1000)
{
    return parts.window.frame_space(parts.pool, SenderParts::peer, bytes, capacity, contents);
}

} // namespace

TEST_CASE("PacketWindow: psns in the order of beginning, across the wrap, none twice")
{
    SenderParts parts(0xfffffffd);
    CHECK(parts.window.empty());
    for (std::uint32_t i = 0; i < 8; ++i) {
        const std::uint32_t slot = parts.add();
        CHECK(parts.psn(slot) == 0xfffffffd + i);
        CHECK(parts.window.next() == 0xfffffffd + i + 1);
        parts.check();
    }
    CHECK(parts.window.una() == 0xfffffffd);
    for (std::uint32_t i = 0; i < 8; ++i) {
        const std::uint32_t slot = parts.window.first_ready();
        parts.window.sent(parts.pool, slot, start);
        CHECK(parts.window.find_sent(parts.pool, 0xfffffffd + i) == slot);
        parts.ack(slot);
        CHECK(parts.window.una() == 0xfffffffd + i + 1);
        parts.check();
    }
    CHECK(parts.window.empty());
    CHECK(parts.psn(parts.add()) == 5); // it goes on where it was
}

TEST_CASE("PacketWindow: at most packet_window packets between una and next")
{
    SenderParts parts(0xffffff00);
    for (std::uint32_t i = 0; i < packet_window; ++i) {
        REQUIRE(parts.window.has_room(parts.pool, packet_window - i));
        REQUIRE_FALSE(parts.window.has_room(parts.pool, packet_window - i + 1));
        REQUIRE_FALSE(parts.window.within_window(packet_window - i + 1));
        parts.window.sent(parts.pool, parts.add(), start);
    }
    parts.check();
    CHECK(frame(parts, 10, Contents::messages) == nullptr);
    // All but the oldest are acknowledged: the receiver's bitmap is no freer.
    for (std::uint32_t i = 1; i < packet_window; ++i) {
        parts.ack(parts.window.newest_in_flight());
    }
    CHECK_FALSE(parts.window.has_room(parts.pool, 1));
    CHECK(parts.pool.in_use() == 1);
    parts.check();
    parts.ack(parts.window.oldest_in_flight());
    CHECK(parts.window.has_room(parts.pool, packet_window));
}

TEST_CASE("PacketWindow: the pool's packets and maps are room, too")
{
    PacketPool pool(4, 1);
    PacketWindow one(5);
    PacketWindow two(5);
    CHECK(one.has_room(pool, 4));
    CHECK_FALSE(one.has_room(pool, 5));
    one.add_piece(pool, 0, 7, 0, 100, true);
    CHECK(one.has_room(pool, 3));
    CHECK_FALSE(one.has_room(pool, 4));
    CHECK_FALSE(two.has_room(pool, 1)); // no map
    CHECK(two.frame_space(pool, 1, 10, 100, Contents::neutral) == nullptr);
    CHECK(two.empty());
    one.sent(pool, one.first_ready(), start);
    pool.release(one.release(pool, 5));
    one.advance(pool);
    CHECK(two.has_room(pool, 4));
    two.add_piece(pool, 1, 7, 0, 100, true);
    two.check(pool, 1);
    one.check(pool, 0);
}

TEST_CASE("PacketWindow: small frames share the open packet as far as they fit and agree")
{
    SenderParts parts;
    std::byte* const first = frame(parts, 400, Contents::neutral);
    const std::uint32_t open = parts.window.open_slot();
    CHECK(first == parts.pool.chunk(parts.pool[open].chunk));
    CHECK(frame(parts, 600, Contents::messages) == first + 400);
    CHECK(parts.window.open_slot() == open);
    CHECK(parts.pool[open].contents == Contents::messages);
    CHECK_FALSE(parts.window.any_ready());
    parts.check();
    CHECK(frame(parts, 1, Contents::neutral) != nullptr); // one more byte than the capacity
    CHECK(parts.window.open_slot() != open);
    CHECK(parts.window.first_ready() == open);
    CHECK(parts.state(open) == State::ready);

    CHECK(frame(parts, 1, Contents::rma) != nullptr);
    const std::uint32_t accesses = parts.window.open_slot();
    CHECK(frame(parts, 1, Contents::neutral) != nullptr);
    CHECK(parts.window.open_slot() == accesses);
    CHECK(frame(parts, 1, Contents::messages) != nullptr); // what may be refused, and what must not be
    CHECK(parts.window.open_slot() != accesses);
    parts.check();
}

TEST_CASE("PacketWindow: no more accesses in a packet than the receiver takes")
{
    SenderParts parts;
    REQUIRE(frame(parts, 1, Contents::rma) != nullptr);
    const std::uint32_t open = parts.window.open_slot();
    for (std::uint32_t i = 1; i < wire::max_rma_frames; ++i) {
        REQUIRE(frame(parts, 1, Contents::rma) != nullptr);
        REQUIRE(parts.window.open_slot() == open);
    }
    CHECK(parts.pool[open].rma_frames == wire::max_rma_frames);
    REQUIRE(frame(parts, 1, Contents::rma) != nullptr);
    CHECK(parts.window.open_slot() != open);
}

TEST_CASE("PacketWindow: a piece and a packet of small frames, in order; the last may be hastened")
{
    SenderParts parts;
    REQUIRE(frame(parts, 10, Contents::messages) != nullptr);
    const std::uint32_t small = parts.window.open_slot();
    CHECK(parts.window.anything_to_send());
    const std::uint32_t piece = parts.add();
    CHECK(parts.window.open_slot() == no_index);
    CHECK(parts.window.first_ready() == small);
    CHECK(parts.window.last_ready() == piece);
    CHECK(parts.pool[piece].is_generated());
    CHECK_FALSE(parts.pool[small].is_generated());
    const std::uint32_t urgent = parts.add();
    parts.window.hasten_last(parts.pool);
    CHECK(parts.window.first_ready() == urgent);
    CHECK(parts.window.last_ready() == piece);
    parts.check();
}

TEST_CASE("PacketWindow: the end of our operations, which answers do not move")
{
    SenderParts parts;
    CHECK_FALSE(parts.window.outstanding_before(100));
    parts.window.sent(parts.pool, parts.add(true), start);
    CHECK(parts.window.operations_end() == 101);
    parts.add(false);
    CHECK(parts.window.operations_end() == 101);
    REQUIRE(frame(parts, 10, Contents::neutral) != nullptr);
    CHECK(parts.window.operations_end() == 101);
    CHECK_FALSE(parts.window.outstanding_before(100));
    CHECK(parts.window.outstanding_before(101));
    CHECK(parts.window.outstanding_before(102));
    REQUIRE(frame(parts, 10, Contents::messages) != nullptr); // joins the answers' packet
    CHECK(parts.window.operations_end() == 103);
    parts.ack(parts.window.oldest_in_flight());
    CHECK_FALSE(parts.window.outstanding_before(101));
    CHECK(parts.window.outstanding_before(102));
}

TEST_CASE("PacketWindow: without operations nothing is outstanding before their end, wherever psns begin")
{
    SenderParts parts(0xfffffffe);
    for (int i = 0; i < 4; ++i) {
        parts.window.sent(parts.pool, parts.add(false), start);
    }
    CHECK_FALSE(parts.window.outstanding_before(parts.window.operations_end()));
}

TEST_CASE("PacketWindow: those in flight are in the order of their latest transmission")
{
    SenderParts parts;
    const Slots slots = parts.burst(3, start);
    CHECK(parts.window.bytes_in_flight() == 3 * wire_bytes);
    CHECK(parts.window.oldest_in_flight() == slots[0]);
    CHECK(parts.window.newest_in_flight() == slots[2]);
    parts.window.lose(parts.pool, slots[0], Repair::rack, false);
    CHECK(parts.window.bytes_in_flight() == 2 * wire_bytes);
    CHECK(parts.state(slots[0]) == State::lost);
    CHECK(parts.window.any_outstanding());
    CHECK(parts.window.anything_to_send());
    parts.check();
    parts.window.sent(parts.pool, slots[0], start + 1ms);
    CHECK(parts.window.oldest_in_flight() == slots[1]);
    CHECK(parts.window.newest_in_flight() == slots[0]);
    CHECK(parts.pool[slots[0]].attempt() == 1);
    CHECK(parts.pool[slots[1]].attempt() == 0);
    CHECK(parts.pool[slots[0]].sent_at() == start + 1ms);
    CHECK(parts.pool[slots[0]].repair() == Repair::rack);
    CHECK(parts.psn(slots[0]) == 100);
    parts.check();
}

TEST_CASE("PacketWindow: what is lost goes in the order of its loss, or first")
{
    SenderParts parts;
    const Slots slots = parts.burst(3, start);
    parts.window.lose(parts.pool, slots[1], Repair::rack, false);
    parts.window.lose(parts.pool, slots[0], Repair::rack, false);
    parts.window.lose(parts.pool, slots[2], Repair::probe, true);
    CHECK(parts.window.bytes_in_flight() == 0);
    CHECK_FALSE(parts.window.any_in_flight());
    CHECK(parts.window.any_outstanding());
    CHECK(parts.repair(start) == Slots{slots[2], slots[1], slots[0]});
}

TEST_CASE("PacketWindow: attempts saturate")
{
    SenderParts parts;
    const std::uint32_t slot = parts.burst(1, start).front();
    for (unsigned i = 1; i < 300; ++i) {
        parts.window.lose(parts.pool, slot, Repair::timeout, true);
        parts.window.sent(parts.pool, slot, start);
        REQUIRE(parts.pool[slot].attempt() == std::min(i, 255U));
    }
}

TEST_CASE("PacketWindow: what the backend did not take is as it was before")
{
    SenderParts parts;
    const Slots old = parts.burst(2, start);
    parts.window.lose(parts.pool, old[0], Repair::rack, false);
    parts.window.lose(parts.pool, old[1], Repair::rack, false);
    const Slots fresh{parts.add(), parts.add()};
    for (const std::uint32_t slot : {old[0], old[1], fresh[0], fresh[1]}) {
        parts.window.sent(parts.pool, slot, start + 1ms);
    }
    CHECK(parts.window.bytes_in_flight() == 4 * wire_bytes);
    for (const std::uint32_t slot : {fresh[1], fresh[0], old[1], old[0]}) {
        parts.window.unsent(parts.pool, slot);
        parts.check();
    }
    CHECK(parts.window.bytes_in_flight() == 0);
    CHECK(parts.window.first_ready() == fresh[0]);
    CHECK(parts.window.last_ready() == fresh[1]);
    CHECK(parts.window.first_lost() == old[0]);
    CHECK(parts.pool[old[0]].attempt() == 0);
    CHECK(parts.repair(start + 2ms) == old);
    CHECK(parts.pool[old[0]].attempt() == 1);
    CHECK(parts.window.release(parts.pool, parts.psn(fresh[0])) == no_index); // never sent
}

TEST_CASE("PacketWindow: everything again, control packets first, then by psn")
{
    SenderParts parts(0xfffffffe);
    const Slots slots = parts.burst(6, start);
    parts.pool[slots[2]].control = true;
    parts.pool[slots[4]].control = true;
    parts.window.lose(parts.pool, slots[3], Repair::rack, false);
    parts.window.lose(parts.pool, slots[0], Repair::rack, false);
    parts.window.sent(parts.pool, slots[0], start + 1ms);
    parts.ack(slots[1]);
    const std::uint32_t unsent = parts.add();
    parts.window.resend_all(parts.pool, Repair::refused);
    parts.check();
    CHECK(parts.window.bytes_in_flight() == 0);
    CHECK(parts.window.first_ready() == unsent);
    CHECK(parts.pool[slots[5]].repair() == Repair::refused);
    CHECK(parts.repair(start + 2ms) == Slots{slots[2], slots[4], slots[0], slots[3], slots[5]});
    parts.check();
}

TEST_CASE("PacketWindow: released in any order, una follows the gaps")
{
    SenderParts parts;
    const Slots slots = parts.burst(4, start);
    parts.window.lose(parts.pool, slots[1], Repair::rack, false);
    parts.ack(slots[2]);
    CHECK(parts.window.una() == 100);
    CHECK(parts.window.find_sent(parts.pool, 102) == no_index);
    CHECK(parts.window.release(parts.pool, 102) == no_index); // again
    parts.ack(slots[0]);
    CHECK(parts.window.una() == 101);
    parts.check();
    parts.ack(slots[1]); // also when it is thought lost
    CHECK(parts.window.una() == 103);
    CHECK_FALSE(parts.window.any_lost());
    CHECK(parts.window.bytes_in_flight() == wire_bytes);
    parts.ack(slots[3]);
    CHECK(parts.window.empty());
    CHECK(parts.window.bytes_in_flight() == 0);
    CHECK(parts.pool.in_use() == 0);
    parts.check();
}

TEST_CASE("PacketWindow: an acknowledgement of what was never sent releases nothing")
{
    SenderParts parts;
    const std::uint32_t ready = parts.add();
    REQUIRE(frame(parts, 10, Contents::messages) != nullptr);
    const std::uint32_t open = parts.window.open_slot();
    CHECK(parts.window.release(parts.pool, parts.psn(ready)) == no_index);
    CHECK(parts.window.release(parts.pool, parts.psn(open)) == no_index);
    CHECK(parts.state(open) == State::open);
    parts.window.advance(parts.pool);
    CHECK(parts.window.una() == 100);
    parts.check();
}

TEST_CASE("PacketWindow: when the connection ends every packet is handed out once, and nothing stays behind")
{
    SenderParts parts;
    Slots all = parts.burst(3, start);
    parts.window.lose(parts.pool, all[0], Repair::rack, false);
    parts.ack(all[1]);
    all.erase(all.begin() + 1);
    all.push_back(parts.add());
    REQUIRE(frame(parts, 10, Contents::messages) != nullptr);
    all.push_back(parts.window.open_slot());
    Slots finished;
    parts.window.abandon(parts.pool, [&](std::uint32_t slot) {
        finished.push_back(slot);
        parts.pool.release(slot);
    });
    std::sort(finished.begin(), finished.end());
    std::sort(all.begin(), all.end());
    CHECK(finished == all);
    CHECK(parts.window.empty());
    CHECK(parts.window.bytes_in_flight() == 0);
    CHECK_FALSE(parts.window.anything_to_send());
    CHECK(parts.pool.in_use() == 0);
    parts.check();
    // The map is clean for its next user.
    parts.window = PacketWindow(100);
    for (std::uint32_t i = 0; i < packet_window; ++i) {
        parts.window.sent(parts.pool, parts.add(), start);
    }
    parts.check();
}
