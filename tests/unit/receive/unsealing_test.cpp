// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <memory>
#include <vector>

#include "receive/unsealing.hpp"
#include "support/parts_world.hpp"
#include "unit/seal/seal_fixture.hpp"

using namespace srd;
using namespace srd::test;
using Result = Unsealing::Result;
namespace flag = wire::packet_flag;

namespace {

std::unique_ptr<EndpointSeals> seals()
{
    static const std::shared_ptr<const KeyRing> ring = [] {
        library();
        std::string error;
        const auto secrets = JobSecrets::parse(counting(32), error);
        REQUIRE(secrets);
        auto made = KeyRing::make(*secrets, error);
        REQUIRE(made);
        return std::make_shared<const KeyRing>(std::move(*made));
    }();
    return std::make_unique<EndpointSeals>(ring, CipherOffer::prefers_aes);
}

struct World {
    explicit World(bool keyed = true) : keys(keyed ? seals() : nullptr) {}

    /// A packet of a hello, and a trailer if it is to have one.
    std::vector<std::byte> hello(std::uint8_t flags, EndpointSeals* by = nullptr)
    {
        wire::PacketHeader header;
        header.flags = flags;
        std::vector<std::byte> bytes(sizeof(header) + sizeof(wire::HelloFrame));
        wire::put(wire::put(bytes.data(), header), PartsWorld::hello(5, 6));
        if (by != nullptr) {
            const std::size_t size = bytes.size();
            bytes.resize(size + EndpointSeals::trailer_size);
            by->append_trailer(std::span(bytes).first(size), bytes.data() + size, by->keys_of(0));
        }
        return bytes;
    }
    Result open(const std::vector<std::byte>& bytes, bool local = false)
    {
        RxPacket packet;
        packet.data = bytes.data();
        packet.length = static_cast<std::uint32_t>(bytes.size());
        packet.local = local;
        reader = wire::Reader(bytes);
        const auto header = reader.take<wire::PacketHeader>();
        proof = 0;
        return unsealing.concerns(packet, *header) ? unsealing.open(packet, *header, no_index, reader, proof)
                                                   : Result::readable;
    }

    std::unique_ptr<EndpointSeals> keys;
    Counters count;
    std::array<std::byte, 4> address{};
    Shared shared{parts_caps(), parts_limits(), parts_tuning(), count, address, 5, keys.get()};
    Unsealing unsealing{shared};
    wire::Reader reader{{}};
    std::uint8_t proof = 0;
};

} // namespace

TEST_CASE("Unsealing: a hello proves something only with a right trailer, and is read without it")
{
    World world;
    auto bytes = world.hello(flag::authenticated, world.keys.get());
    CHECK(world.open(bytes) == Result::readable);
    CHECK(world.proof != 0);
    CHECK(world.reader.remaining() == sizeof(wire::HelloFrame));
    CHECK(world.count.rx_auth_failed.value() == 0);
    bytes[30] ^= std::byte{1};
    CHECK(world.open(bytes) == Result::readable);
    CHECK(world.proof == 0);
    CHECK(world.open(world.hello(0)) == Result::readable);
    CHECK(world.proof == 0);
    CHECK(world.count.rx_auth_failed.value() == 2);
}

TEST_CASE("Unsealing: nothing else is read in clear, whatever its first byte is taken for")
{
    World world;
    for (unsigned flags = 1; flags <= flag::all; ++flags) {
        const auto marks = static_cast<std::uint8_t>(flags);
        if ((marks & flag::sealed) != 0) {
            continue;
        }
        // For instance an acknowledgement of psn 7: it would begin as a hello does.
        INFO("flags " << flags);
        CHECK((world.open(world.hello(marks)) == Result::dropped || marks == flag::authenticated));
        CHECK((world.open(world.hello(marks, world.keys.get())) == Result::dropped ||
               marks == flag::authenticated));
    }
    std::vector<std::byte> other = world.hello(0);
    other[sizeof(wire::PacketHeader)] = std::byte{8};
    CHECK(world.open(other) == Result::dropped);
    CHECK(world.open(other, true) == Result::readable); // nobody else can have written it
    CHECK(world.open(world.hello(flag::sealed)) == Result::sealed);
}

TEST_CASE("Unsealing: who has no key drops what is sealed, and answers who introduces himself with one")
{
    World world(false);
    CHECK(world.open(world.hello(0)) == Result::readable);
    CHECK(world.count.rx_auth_failed.value() == 0);
    CHECK(world.open(world.hello(flag::sealed)) == Result::dropped);
    const auto other = seals();
    CHECK(world.open(world.hello(flag::authenticated, other.get())) == Result::readable);
    CHECK(world.proof == 0);
    CHECK(world.reader.remaining() == sizeof(wire::HelloFrame));
    CHECK(world.count.rx_auth_failed.value() == 2);
}
