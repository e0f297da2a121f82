// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Writes a capture with a packet of every kind, as the engine's encoders make them, and a job key file for
// those that are sealed: wire_sample CAPTURE KEYFILE. What the dissector must make of them stands, packet for
// packet, in frames_check.py. Every packet is read by the engine's decoder as well, which must think of it as
// is said here.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <netinet/in.h>

#include "io/shm/shm_message.hpp"
#include "io/udp/liveness_responder.hpp"
#include "io/verbs/verbs_routes.hpp"
#include "seal/crypto/crypto_library.hpp"
#include "seal/hello_auth.hpp"
#include "seal/job_key.hpp"
#include "seal/key_ring.hpp"
#include "seal/sealed_session.hpp"
#include "wire/binding.hpp"
#include "wire/frames.hpp"
#include "wire/layout.hpp"

#include "capture.hpp"

namespace {

using namespace srd;       // NOLINT(google-build-using-namespace) the subject of this program
using namespace srd::wire; // NOLINT(google-build-using-namespace)
using namespace srd::test; // NOLINT(google-build-using-namespace)

/// One of two endpoints: what its hello says, and the psns of what it sends.
struct End {
    std::uint64_t connection;
    std::uint64_t incarnation;
    std::uint32_t psn;
    Bytes address;
    std::uint16_t port;
};

Bytes address4(std::uint16_t port, std::uint8_t host)
{
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(0xc0000200 + host);
    return raw(address);
}

Bytes address6(std::uint16_t port)
{
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    address.sin6_addr.s6_addr[0] = 0x20;
    address.sin6_addr.s6_addr[15] = 0x02;
    return raw(address);
}

Bytes hello_of(const End& end, std::uint8_t flags)
{
    HelloFrame hello;
    hello.flags = flags;
    hello.address_length = static_cast<std::uint8_t>(end.address.size());
    hello.first_psn = end.psn;
    hello.incarnation = end.incarnation;
    hello.connection = end.connection;
    hello.max_packet = 1472;
    hello.rx_buffer = 8U << 20;
    hello.oldest = Dialect{}.oldest;
    hello.newest = Dialect{}.newest;
    hello.features = Dialect{}.features;
    std::copy(end.address.begin(), end.address.end(), hello.address.begin());
    return raw(hello);
}

PacketHeader header_to(const End& receiver, unsigned flags, std::uint32_t psn = 0, std::uint8_t attempt = 0,
                       std::uint8_t path = 3)
{
    PacketHeader header;
    header.flags = static_cast<std::uint8_t>(flags);
    header.path = path;
    header.attempt = attempt;
    header.psn = psn;
    header.connection = receiver.connection;
    return header;
}

/// As it goes over the wire.
Bytes bound(Bytes packet)
{
    bind_packet(packet);
    return packet;
}

/// The engine's opinion of the frames.
bool engine_takes(const Bytes& frames)
{
    Reader reader(frames);
    while (reader.remaining() != 0) {
        Frame frame;
        if (!decode(reader, false, 0, frame)) {
            return false;
        }
    }
    return true;
}

/// Two ends, and what they send each other.
class Conversation {
public:
    Conversation(Capture& capture, const End& from, const End& to) : a(from), b(to), capture_(capture) {}

    /// A packet from `a`, or from `b` with `back`.
    void send(bool back, const PacketHeader& header, const Bytes& ack, const Bytes& frames, bool good = true)
    {
        if (engine_takes(frames) != good) {
            fail("the engine does not agree about packet with psn " + std::to_string(header.psn));
        }
        datagram(back, raw(header) + ack + frames);
    }
    /// One packet.
    void datagram(bool back, Bytes bytes) { put(back, bound(std::move(bytes))); }
    /// As they are.
    void put(bool back, const Bytes& bytes)
    {
        const End& to = back ? a : b;
        capture_.datagram(back, static_cast<std::uint16_t>(40000 + (back ? 100 : 0) + next_port_++ % 64),
                          to.port, bytes);
    }
    /// The next psn of `a`.
    void data(const Bytes& frames, unsigned flags = 0)
    {
        send(false, header_to(b, packet_flag::sequenced | flags, a.psn++), {}, frames);
    }

    End a;
    End b;

private:
    Capture& capture_;
    unsigned next_port_ = 0;
};

Bytes message(std::uint32_t sequence, std::size_t size)
{
    return written([&](std::byte* out) { return put_message(out, {}, sequence, no_handle, size); }) +
           filler(size);
}

void handshake(Conversation& talk)
{
    PacketHeader introduction = header_to(talk.b, 0);
    introduction.connection = 0;
    talk.send(false, introduction, {}, hello_of(talk.a, hello_flag::answer_wanted));
    talk.send(true, header_to(talk.a, 0), {}, hello_of(talk.b, hello_flag::no_room));
    talk.send(true, header_to(talk.a, 0), {}, hello_of(talk.b, 0));
    talk.send(false, header_to(talk.b, 0), {}, hello_of(talk.a, hello_flag::answer_wanted | hello_flag::met));
}

void messages(Conversation& talk)
{
    Envelope envelope;
    envelope.tag = 0x1122334455667788;
    envelope.data = 4711;
    envelope.flags.tagged = true;
    envelope.flags.has_data = true;
    talk.data(written([&](std::byte* out) { return put_message(out, envelope, 7, 77, 20); }) + filler(20) +
              message(8, 0));
    talk.data(written([&](std::byte* out) { return put_eager(out, envelope, 9, 78, 4096, 100, 8192); }) +
              filler(100));
    const std::array<iovec, 2> source{iovec{std::bit_cast<void*>(std::uintptr_t{0x1000}), 60000},
                                      iovec{std::bit_cast<void*>(std::uintptr_t{0x9000}), 10000}};
    UnscheduledMessage requested;
    requested.handle = 80;
    requested.total = 80000;
    talk.data(
        written([&](std::byte* out) { return put_request(out, envelope, 10, 79, 70000, 0, 5, source); }) +
        written([&](std::byte* out) { return put_request(out, envelope, 11, 80, 80000, 8192, 0, {}); }) +
        written(
            [&](std::byte* out) { return put_unscheduled(out, envelope, 11, requested, 4096, 100, 8192); }) +
        filler(100));
    GrantFrame grant;
    grant.sequence = 11;
    grant.sender_handle = 21;
    grant.receiver_handle = 22;
    grant.limit = 65536;
    DeliveredFrame delivered;
    delivered.sequence = 12;
    delivered.handle = 23;
    DataFrame data;
    data.flags = data_flag::answers_read;
    data.length = 50;
    data.sequence = 13;
    data.receiver_handle = 24;
    data.offset = 1U << 20;
    talk.data(raw(grant) + raw(delivered) + raw(data) + filler(50));
}

void memory_access(Conversation& talk)
{
    WriteHeader write;
    write.range = {0x7f0000001000, 40, 0xfeedfacecafebeef};
    write.length = write.total = 40;
    write.data = 4712;
    write.has_data = true;
    WriteHeader piece = write;
    piece.whole = false;
    piece.has_data = false;
    piece.total = 9000;
    ReadFrame read;
    read.flags = rma_flag::last;
    read.sequence = 31;
    read.handle = 32;
    read.length = 4096;
    read.key = 0xfeedfacecafebeef;
    read.address = 0x7f0000002000;
    read.offset = 8192;
    talk.data(written([&](std::byte* out) { return put_write(out, write); }) + filler(40) + raw(read));
    talk.data(written([&](std::byte* out) { return put_write(out, piece); }) + filler(40));
    AtomicFrame atomic;
    atomic.flags = atomic_flag::fetch | atomic_flag::has_operand | atomic_flag::has_compare;
    atomic.length = 16;
    atomic.sequence = 14;
    atomic.handle = 33;
    atomic.operation = 12; // FI_CSWAP
    atomic.datatype = 7;   // FI_UINT64
    atomic.ranges = 2;
    AtomicRange range;
    range.address = 0x7f0000003000;
    range.length = 8;
    range.key = 0xfeedfacecafebeef;
    ResultFrame result;
    result.length = 16;
    result.sequence = 15;
    result.handle = 34;
    talk.data(raw(atomic) + raw(range) + raw(range) + filler(32) + raw(result) + filler(16));
    const AccessFailure fault{Cause::out_of_bounds, false, false, 0, 35, 3};
    const AccessFailure denied{Cause::access_denied, true, true, 16, 36, 0};
    talk.data(written([&](std::byte* out) { return put_failure(put_failure(out, fault), denied); }));
}

/// Bytes that only their place is told of, and what tells that they were not read.
void named_bytes(Conversation& talk)
{
    const std::array<iovec, 2> source{iovec{std::bit_cast<void*>(std::uintptr_t{0x1000}), 60000},
                                      iovec{std::bit_cast<void*>(std::uintptr_t{0x9000}), 10000}};
    WriteHeader write;
    write.range = {0x7f0000001000, 0, 0xfeedfacecafebeef};
    write.named = true;
    write.pieces = 2;
    talk.data(written([&](std::byte* out) { return put_names(put_write(out, write), 6, source); }));
    write.whole = false;
    write.total = 69'999; // less than is named
    talk.send(false, header_to(talk.b, packet_flag::sequenced, talk.a.psn++), {},
              written([&](std::byte* out) { return put_names(put_write(out, write), 6, source); }), false);
    DataFrame data;
    data.flags = data_flag::answers_read | data_flag::named;
    data.length = 1;
    data.sequence = 13;
    data.receiver_handle = 24;
    const Bytes head = raw(data) + raw(MessageHandle{77});
    talk.data(head + written([&](std::byte* out) { return put_names(out, 6, std::span(source).first(1)); }));
    const AccessFailure unread{Cause::none, false, false, 13, 77, 4, Unread::ever};
    talk.data(written([&](std::byte* out) { return put_failure(out, unread); }));
}

/// Acknowledgements, probes, fragments, packets that were captured as one, the end.
void control(Conversation& talk)
{
    AckBlock ack;
    ack.cumulative = talk.a.psn - 4;
    ack.echo_psn = talk.a.psn - 1;
    ack.hold_ns = 500;
    ack.echo_path = 3;
    ack.flags = ack_flag::echo | ack_flag::marks | ack_flag::receiver_not_ready;
    ack.words = 2;
    ack.message_next = 9;
    ack.duplicates = 1;
    ack.faults = 2;
    const Bytes bitmap = raw(u64(0b1010)) + raw(u64(0b11)); // cumulative + 1, + 3, + 64, + 65
    const MarkBlock marks{ack.echo_psn, u64(1)};
    talk.send(true, header_to(talk.a, packet_flag::has_ack), raw(ack) + raw(marks) + bitmap, {});

    MtuProbeFrame probe;
    probe.number = 5;
    probe.size = 1400;
    talk.send(false, header_to(talk.b, 0), {}, raw(probe), false); // short of what it says
    talk.datagram(false, raw(header_to(talk.b, 0)) + raw(probe) + Bytes(1400 - 24));
    probe.flags = question_flag::answer;
    talk.send(true, header_to(talk.a, 0), {}, raw(probe));

    RailsFrame rails;
    rails.way = 2;
    rails.count = 1;
    rails.nonce = 0x0123456789abcdef;
    Bytes address(rail_size);
    address[10] = address[11] = std::byte{0xff};
    address[12] = std::byte{10};
    address[15] = std::byte{7};
    talk.send(false, header_to(talk.b, 0), {}, raw(rails) + address);
    rails.flags = question_flag::answer;
    talk.send(true, header_to(talk.a, 0), {}, raw(rails) + Bytes(rail_size - 1), false); // one byte too few

    const Bytes frames = message(17, 100);
    const FragmentHeader first{u32(0), u32(static_cast<std::uint32_t>(frames.size()))};
    const FragmentHeader second{u32(64), first.total};
    const PacketHeader whole =
        header_to(talk.b, packet_flag::sequenced | packet_flag::fragment, talk.a.psn++, 1);
    talk.datagram(false, raw(whole) + raw(second) + slice(frames, 64, frames.size()));
    talk.datagram(false, raw(whole) + raw(first) + slice(frames, 0, 64));

    Bytes train;
    for (std::uint32_t i = 0; i < 3; ++i) {
        train = train + bound(raw(header_to(talk.b, packet_flag::sequenced, talk.a.psn++)) +
                              message(18 + i, i < 2 ? 200 : 9));
    }
    talk.put(false, train);
    ack.words = 0;
    ack.flags = 0;
    ack.cumulative = talk.a.psn;
    talk.send(true, header_to(talk.a, packet_flag::has_ack), raw(ack), raw(CloseFrame{}));
}

/// What happens on the way.
void disorder(Conversation& talk)
{
    const PacketHeader lost = header_to(talk.b, packet_flag::sequenced, talk.a.psn++);
    const PacketHeader late = header_to(talk.b, packet_flag::sequenced, talk.a.psn++);
    talk.send(false, lost, {}, message(30, 8));
    talk.data(message(32, 8)); // before `late`: a gap of one
    talk.send(false, late, {}, message(31, 8));
    talk.send(false, late, {}, message(31, 8)); // twice
    talk.send(false, header_to(talk.b, packet_flag::sequenced, lost.psn, 1, 9), {}, message(30, 8));
    talk.send(false, header_to(talk.b, packet_flag::sequenced, talk.a.psn++), {},
              written([](std::byte* out) { return put_eager(out, {}, 33, no_handle, 0, 10, 20); }) +
                  filler(11),
              false);
    PacketHeader other = late;
    other.version = 1;
    talk.send(false, other, {}, message(34, 8)); // of a version that is not this one
}

/// The messages of the backends, and a packet in a queue pair.
void other_ways(Conversation& talk, Capture& capture)
{
    ShmMessage shm;
    shm.kind = BypassKind::question;
    shm.nonce = 99;
    shm.ring = 4;
    std::copy(talk.a.address.begin(), talk.a.address.end(), shm.address.begin());
    talk.put(false, raw(shm));
    VerbsMessage verbs;
    verbs.kind = BypassKind::answer;
    verbs.queue_pair = 0x1234;
    std::copy(talk.b.address.begin(), talk.b.address.end(), verbs.address.begin());
    talk.put(true, raw(verbs));
    // RoCE v2: base header (UD, send only), datagram header, packet, invariant CRC.
    Bytes roce(20);
    roce[0] = std::byte{0x64};
    roce[3] = std::byte{0xff};
    roce[7] = std::byte{0x12}; // the queue pairs: 0 and 1 are for management
    roce[19] = std::byte{0x13};
    capture.datagram(
        false, 50000, 4791,
        roce + bound(raw(header_to(talk.b, packet_flag::sequenced, talk.a.psn++)) + message(35, 24)) +
            Bytes(4));
    const std::array<std::uint8_t, 20> tcp{0xbd, 0x12, 0xbd, 0x13, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1};
    capture.write(Capture::ip(false, IPPROTO_TCP, raw(tcp) + raw(liveness_request)));
    // "Port unreachable", about a packet that was sent before.
    const Bytes quoted = Capture::udp(
        false, 40000, 7002, bound(raw(header_to(talk.b, packet_flag::sequenced, 9)) + message(33, 8)));
    capture.write(Capture::ip(true, IPPROTO_ICMP, Bytes{std::byte{3}, std::byte{3}} + Bytes(6) + quoted));
}

/// A sealed conversation with the cipher that the offers come to. `share`: both exchange keys.
void sealed(Conversation& talk, const KeyRing& ring, CipherOffer offer, const KeyExchange::Share& share)
{
    HelloAuth auth(ring, offer, share);
    HmacSha256 hmac;
    const std::uint32_t id = ring.sending().id;
    const auto hello = [&](bool back, PacketHeader header, std::uint8_t flags, HelloKeys keys) {
        const Bytes packet = raw(header) + hello_of(back ? talk.b : talk.a, flags);
        std::array<std::byte, HelloAuth::trailer_size> trailer;
        auth.append(packet, trailer, keys);
        talk.datagram(back, packet + Bytes(trailer.begin(), trailer.end()));
    };
    PacketHeader introduction = header_to(talk.b, packet_flag::authenticated);
    introduction.connection = 0;
    hello(false, introduction, hello_flag::answer_wanted, {id, 0});
    hello(true, header_to(talk.a, packet_flag::authenticated), 0, {id, id});
    const auto session =
        SealedSession::make(hmac, {protocol_version, agreed_cipher(offer, offer), {}},
                            {ring.sending(), talk.a.incarnation, talk.a.connection, talk.a.address},
                            {ring.sending(), talk.b.incarnation, talk.b.connection, talk.b.address});
    for (const bool forged : {false, true}) {
        Bytes packet = raw(header_to(talk.b, packet_flag::sequenced | packet_flag::sealed, talk.a.psn++)) +
                       message(40, 300);
        Bytes out(packet.size() + SealedSession::overhead);
        const iovec piece{packet.data(), packet.size()};
        session->seal({&piece, 1}, out.data());
        if (forged) {
            out[60] ^= std::byte{1};
        }
        talk.datagram(false, out);
    }
}

KeyRing ring_in(const char* name, const char* key)
{
    std::FILE* const file = std::fopen(name, "w");
    if (file == nullptr || std::fputs(key, file) < 0 || std::fclose(file) != 0) {
        fail(std::string("cannot write ") + name);
    }
    std::string error;
    const auto secrets = JobSecrets::parse(std::as_bytes(std::span(key, std::strlen(key))), error);
    if (!secrets || load_crypto_library(error) == nullptr) {
        fail(error);
    }
    auto ring = KeyRing::make(*secrets, error);
    if (!ring) {
        fail(error);
    }
    return std::move(*ring);
}

} // namespace

int main(int argc, char** argv)
{
    if (argc != 3) {
        fail("usage: wire_sample CAPTURE KEYFILE");
    }
    const auto ring =
        ring_in(argv[2], "# of a job\n000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
    Capture capture(argv[1]);
    const End a{0xaaaaaaaaaaaaaaaa, 0x1111111111111111, 4294967290, address4(7001, 1), 7001};
    const End b{0xbbbbbbbbbbbbbbbb, 0x2222222222222222, 1000, address6(7002), 7002};
    Conversation talk(capture, a, b);
    handshake(talk);
    messages(talk);
    memory_access(talk);
    control(talk);
    disorder(talk);
    other_ways(talk, capture);
    for (const auto offer : {CipherOffer::prefers_aes, CipherOffer::prefers_chacha}) {
        End c = a;
        End d = b;
        c.connection += 0x100 + static_cast<unsigned>(offer);
        d.connection += 0x100 + static_cast<unsigned>(offer);
        Conversation secret(capture, c, d);
        sealed(secret, ring, offer, {});
    }
    End c = a;
    End d = b;
    c.connection += 0x200;
    d.connection += 0x200;
    Conversation exchanged(capture, c, d);
    sealed(exchanged, ring, CipherOffer::prefers_aes, {std::byte{9}});
    named_bytes(talk);
    return EXIT_SUCCESS;
}
