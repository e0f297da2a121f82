// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A segment of shared memory whose owner means harm: entries, turns, heads, doorbells and its header are what
// the input says, between the calls of the reader; and a reader of our own ring that stores invalid heads.
// What is handed out lies within the segment, and nothing is written anywhere else.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

#include "fuzz/input.hpp"
#include "io/shm/shm_ring.hpp"

namespace {

using namespace srd;
using fuzz::Input;

constexpr std::uint32_t rings = 4;

[[noreturn]] void fail(const char* what)
{
    throw std::runtime_error(what);
}

/// A segment with a few rings, made once.
struct Segment : ShmSegment {
    Segment()
    {
        std::string error;
        if (open(SocketAddress::of_ipv4(INADDR_LOOPBACK, 1), error) != 0) {
            throw std::runtime_error(error);
        }
        for (std::uint32_t ring = 0; ring < rings; ++ring) {
            std::uint32_t number = 0;
            if (!add_ring(number) || number != ring) {
                throw std::runtime_error("no ring");
            }
        }
        process = header().process;
        secret = header().secret;
        secret_at = header().secret_at;
    }
    void reset() noexcept
    {
        for (std::uint32_t ring = 0; ring < rings; ++ring) {
            std::memset(static_cast<void*>(mapping()->entries(ring)), 0, shm_ring_entries * sizeof(ShmEntry));
            std::memset(static_cast<void*>(&mapping()->control(ring)), 0, sizeof(ShmControl));
        }
        for (auto& doorbells : header().doorbells) {
            doorbells = 0;
        }
        header().closed = header().epoch = header().asleep = 0;
        header().process = process;
        header().secret = secret;
        header().secret_at = secret_at;
    }
    std::int32_t process = 0;
    std::uint64_t secret = 0;
    std::uint64_t secret_at = 0;
};

struct World {
    Segment own;
    Segment liar;
    std::shared_ptr<ShmMapping> seen =
        open_shm_segment(liar.header().identity.token); ///< as the reader maps it
    std::vector<std::byte> readable = std::vector<std::byte>(64 << 10);
};

/// One input's part of it.
class Run {
public:
    explicit Run(World& world) : world_(world), receiver_(*world.own.mapping())
    {
        world.own.reset();
        world.liar.reset();
        for (std::uint32_t ring = 0; ring < senders_.size(); ++ring) {
            senders_[ring] = ShmSender(*world.own.mapping(), pool_, ring);
        }
    }
    ~Run() { receiver_.release(); }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    void step(Input& input)
    {
        const std::uint8_t what = input.byte();
        const std::uint32_t ring = what / 16U % rings;
        switch (what % 16) {
        case 0:
        case 1:
        case 2:
        case 3:
            return lie(input, ring);
        case 4: {
            const std::uint32_t start =
                what < 192 ? tails_[ring] : static_cast<std::uint32_t>(input.number());
            const std::uint32_t number = receiver_.open(world_.seen, ring, start, RouteId{what / 64U});
            if (number >= shm_rings) {
                fail("no ring is left");
            }
            return;
        }
        case 5:
            return receiver_.orphan(RouteId{what / 64U}, what % 32 < 16 ? nullptr : world_.seen.get());
        case 6:
            world_.own.header().doorbells[input.byte() % 16] = input.number();
            return;
        case 7:
            return lie_of_itself(input);
        case 8:
            return lie_of_heads(input, ring);
        case 9:
        case 10:
            return push(input, ring);
        case 11:
            if (what >= 192) {
                senders_[ring].abandon();
            }
            static_cast<void>(receiver_.waiting());
            return;
        default:
            return receive(input);
        }
    }

private:
    void lie(Input& input, std::uint32_t ring)
    {
        ShmEntry* const entries = world_.liar.mapping()->entries(ring);
        const std::uint8_t how = input.byte();
        const std::uint32_t turn = how < 192 ? tails_[ring]++ : static_cast<std::uint32_t>(input.number());
        ShmEntry& entry = entries[turn % shm_ring_entries];
        entry.block = how % 4 < 2    ? shm_no_block
                      : how % 4 == 2 ? input.byte() % 70U
                                     : static_cast<std::uint32_t>(input.number());
        entry.length = how % 16 < 8 ? input.byte() : static_cast<std::uint32_t>(input.number());
        entry.piece_count = how % 8 < 4     ? 0
                            : how % 32 < 24 ? input.byte() % 6U
                                            : static_cast<std::uint32_t>(input.number());
        if (entry.piece_count != 0) {
            entry.split.epoch = how % 64 < 48 ? 0 : input.byte() % 2U;
            for (ShmPiece& piece : entry.split.pieces) {
                const std::uint64_t length = input.number();
                piece = {how < 224 ? reinterpret_cast<std::uintptr_t>(world_.readable.data())
                                   : input.number(),
                         how % 2 == 0 ? length % world_.readable.size() : length};
            }
        }
        entry.turn.store(turn + 1);
        world_.own.header().doorbells[0] = ~std::uint64_t{0};
    }
    void lie_of_itself(Input& input)
    {
        ShmHeader& header = world_.liar.header();
        const std::uint8_t how = input.byte();
        header.epoch = how % 2;
        header.closed = how / 2 % 4 == 3 ? 1 : 0;
        header.process = how / 8 % 4 == 3 ? -static_cast<std::int32_t>(input.byte()) : world_.liar.process;
        header.secret_at = how / 32 % 4 == 3 ? input.number() : world_.liar.secret_at;
        header.secret = how >= 240 ? input.number() : world_.liar.secret;
    }
    /// Of our rings, by their readers.
    void lie_of_heads(Input& input, std::uint32_t ring)
    {
        ShmControl& control = world_.own.mapping()->control(ring);
        const std::uint8_t how = input.byte();
        control.head =
            how < 128 ? senders_[ring].tail() - how % 16 : static_cast<std::uint32_t>(input.number());
        control.watched = how;
        control.copy = how % 4;
    }
    void push(Input& input, std::uint32_t ring)
    {
        const std::uint32_t length =
            std::min<std::uint32_t>(static_cast<std::uint32_t>(input.number() % (max_shm_packet + 1)),
                                    static_cast<std::uint32_t>(world_.readable.size()));
        TxPacket packet;
        packet.length = length;
        packet.iov_count = 2;
        packet.stable_from = input.byte() % 4;
        const std::uint32_t head = std::min<std::uint32_t>(length, input.byte());
        packet.iov[0] = {world_.readable.data(), head};
        packet.iov[1] = {world_.readable.data() + head, length - head};
        const std::uint32_t number = senders_[ring].tail();
        if (!senders_[ring].push(packet)) {
            static_cast<void>(senders_[ring].stuck());
            return;
        }
        const ShmEntry& entry = world_.own.mapping()->entries(ring)[number % shm_ring_entries];
        const std::uint32_t blocks = (length + shm_block_size - 1) / shm_block_size;
        if (entry.turn != number + 1 || (entry.block != shm_no_block &&
                                         (entry.block >= shm_blocks || blocks > shm_blocks - entry.block))) {
            fail("a packet was written out of bounds");
        }
    }
    void receive(Input& input)
    {
        std::array<RxPacket, 8> packets;
        const std::size_t count =
            receiver_.receive(std::span(packets).first(1 + input.byte() % packets.size()), Time{});
        const auto begin = reinterpret_cast<std::uintptr_t>(&world_.seen->header());
        for (const RxPacket& packet : std::span(packets).first(count)) {
            const auto at = reinterpret_cast<std::uintptr_t>(packet.data);
            if (at < begin || at > begin + ShmMapping::size() ||
                packet.length > begin + ShmMapping::size() - at) {
                fail("a packet lies outside the segment");
            }
            if (fuzz::canary()) {
                fail("canary: a packet was received");
            }
            if (packet.remote != nullptr) {
                std::vector<std::byte> into(std::min<std::uint32_t>(packet.remote_length, 70'000));
                const iovec memory{into.data(), into.size()};
                static_cast<void>(packet.remote->fetch(packet.mapping_id, {&memory, into.empty() ? 0U : 1U}));
            }
        }
        receiver_.release();
        static_cast<void>(receiver_.take_malformed());
    }

    World& world_;
    ShmReceiver receiver_;
    ShmPool pool_;
    std::array<ShmSender, rings> senders_;
    std::array<std::uint32_t, rings> tails_{};
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static World world;
    Run run(world);
    Input input(data, size);
    for (int steps = 0; !input.empty() && steps < 128; ++steps) {
        run.step(input);
    }
    return 0;
}
