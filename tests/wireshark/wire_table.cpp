// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Prints tools/wireshark/srd_wire.lua, what the Wireshark dissector knows of the wire: the layouts, values
// and limits of the headers, which the compiler reads here. The test wireshark.table compares it with the
// file.
//
// What is missing here does not compile or does not run: a frame type without a name, a field that is in no
// list (the fields of a layout must fill it), a flag that is in its `all` and in no list.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include <rdma/fabric.h>
#include <rdma/fi_atomic.h>

#include <srd/limits.hpp>

#include "io/shm/shm_message.hpp"
#include "io/udp/liveness_responder.hpp"
#include "io/verbs/verbs_routes.hpp"
#include "seal/hello_auth.hpp"
#include "seal/job_key.hpp"
#include "seal/sealed_session.hpp"
#include "wire/frames.hpp"
#include "wire/layout.hpp"

namespace {

using namespace srd;       // NOLINT(google-build-using-namespace) the subject of this program
using namespace srd::wire; // NOLINT(google-build-using-namespace)

[[noreturn]] void incomplete(const char* what)
{
    std::fprintf(stderr, "wire_table: the list of %s is not complete\n", what);
    std::exit(EXIT_FAILURE);
}

struct Field {
    const char* name;
    std::size_t offset;
    std::size_t size;
};

void print_layout(const char* name, std::size_t size, std::span<const Field> fields)
{
    std::printf("        %s = { size = %zu, fields = {\n", name, size);
    std::size_t end = 0;
    for (const Field& field : fields) {
        if (field.offset != end) {
            incomplete(name);
        }
        end += field.size;
        std::printf("            { \"%s\", %zu, %zu },\n", field.name, field.offset, field.size);
    }
    if (end != size) {
        incomplete(name);
    }
    std::printf("        } },\n");
}

#define FIELD(layout, name)                                                                                  \
    Field                                                                                                    \
    {                                                                                                        \
#name, offsetof(layout, name), sizeof(layout::name)                                                  \
    }
#define LAYOUT(layout, ...) print_layout(#layout, sizeof(layout), std::array{__VA_ARGS__})

void print_packet_layouts()
{
    using P = PacketHeader;
    LAYOUT(PacketHeader, FIELD(P, version), FIELD(P, flags), FIELD(P, path), FIELD(P, attempt), FIELD(P, psn),
           FIELD(P, connection));
    using A = AckBlock;
    LAYOUT(AckBlock, FIELD(A, cumulative), FIELD(A, echo_psn), FIELD(A, hold_ns), FIELD(A, echo_attempt),
           FIELD(A, echo_path), FIELD(A, flags), FIELD(A, words), FIELD(A, message_next),
           FIELD(A, duplicates), FIELD(A, faults));
    LAYOUT(MarkBlock, FIELD(MarkBlock, first), FIELD(MarkBlock, bits));
    LAYOUT(FragmentHeader, FIELD(FragmentHeader, offset), FIELD(FragmentHeader, total));
    using T = HelloTrailer;
    LAYOUT(HelloTrailer, FIELD(T, key_id), FIELD(T, offer), FIELD(T, told), FIELD(T, share), FIELD(T, mac));
    using S = ShmMessage;
    LAYOUT(ShmMessage, FIELD(S, magic), FIELD(S, kind), FIELD(S, nonce), FIELD(S, token), FIELD(S, ring),
           FIELD(S, start), FIELD(S, address), FIELD(S, proof));
    using V = VerbsMessage;
    LAYOUT(VerbsMessage, FIELD(V, magic), FIELD(V, kind), FIELD(V, nonce), FIELD(V, queue_pair),
           FIELD(V, key), FIELD(V, address));
}

void print_message_layouts()
{
    LAYOUT(MessageData, FIELD(MessageData, value));
    LAYOUT(SourceEpoch, FIELD(SourceEpoch, value));
    LAYOUT(MessagePiece, FIELD(MessagePiece, address), FIELD(MessagePiece, length));
    LAYOUT(MessageHandle, FIELD(MessageHandle, value));
    using M = MessageFrame;
    LAYOUT(MessageFrame, FIELD(M, type), FIELD(M, flags), FIELD(M, length), FIELD(M, sequence),
           FIELD(M, tag));
    using P = PartFrame;
    LAYOUT(PartFrame, FIELD(P, type), FIELD(P, flags), FIELD(P, length), FIELD(P, sequence), FIELD(P, tag),
           FIELD(P, offset), FIELD(P, total));
    using U = UnscheduledMessage;
    LAYOUT(UnscheduledMessage, FIELD(U, handle), FIELD(U, total));
    LAYOUT(UnscheduledBytes, FIELD(UnscheduledBytes, value));
    using R = RequestFrame;
    LAYOUT(RequestFrame, FIELD(R, type), FIELD(R, flags), FIELD(R, pieces), FIELD(R, reserved),
           FIELD(R, sequence), FIELD(R, tag), FIELD(R, total), FIELD(R, handle));
    using G = GrantFrame;
    LAYOUT(GrantFrame, FIELD(G, type), FIELD(G, flags), FIELD(G, reserved), FIELD(G, sequence),
           FIELD(G, sender_handle), FIELD(G, receiver_handle), FIELD(G, limit));
    using D = DataFrame;
    LAYOUT(DataFrame, FIELD(D, type), FIELD(D, flags), FIELD(D, length), FIELD(D, sequence),
           FIELD(D, receiver_handle), FIELD(D, offset));
    using E = DeliveredFrame;
    LAYOUT(DeliveredFrame, FIELD(E, type), FIELD(E, flags), FIELD(E, reserved), FIELD(E, sequence),
           FIELD(E, handle));
}

void print_memory_layouts()
{
    using W = WriteFrame;
    LAYOUT(WriteFrame, FIELD(W, type), FIELD(W, flags), FIELD(W, length), FIELD(W, handle), FIELD(W, key),
           FIELD(W, address));
    LAYOUT(WriteTotal, FIELD(WriteTotal, value));
    using R = ReadFrame;
    LAYOUT(ReadFrame, FIELD(R, type), FIELD(R, flags), FIELD(R, reserved), FIELD(R, sequence),
           FIELD(R, handle), FIELD(R, length), FIELD(R, key), FIELD(R, address), FIELD(R, offset));
    using A = AtomicFrame;
    LAYOUT(AtomicFrame, FIELD(A, type), FIELD(A, flags), FIELD(A, length), FIELD(A, sequence),
           FIELD(A, handle), FIELD(A, operation), FIELD(A, datatype), FIELD(A, ranges), FIELD(A, reserved));
    LAYOUT(AtomicRange, FIELD(AtomicRange, address), FIELD(AtomicRange, length), FIELD(AtomicRange, key));
    using S = ResultFrame;
    LAYOUT(ResultFrame, FIELD(S, type), FIELD(S, flags), FIELD(S, length), FIELD(S, sequence),
           FIELD(S, handle));
    using F = FaultFrame;
    LAYOUT(FaultFrame, FIELD(F, type), FIELD(F, cause), FIELD(F, is_read), FIELD(F, reserved),
           FIELD(F, sequence), FIELD(F, handle), FIELD(F, faults));
}

void print_connection_layouts()
{
    using H = HelloFrame;
    LAYOUT(HelloFrame, FIELD(H, type), FIELD(H, flags), FIELD(H, address_length), FIELD(H, round_trip),
           FIELD(H, first_psn), FIELD(H, incarnation), FIELD(H, connection), FIELD(H, max_packet),
           FIELD(H, rx_buffer), FIELD(H, address), FIELD(H, oldest), FIELD(H, newest), FIELD(H, reserved),
           FIELD(H, features));
    LAYOUT(CloseFrame, FIELD(CloseFrame, type), FIELD(CloseFrame, flags), FIELD(CloseFrame, reserved));
    using M = MtuProbeFrame;
    LAYOUT(MtuProbeFrame, FIELD(M, type), FIELD(M, flags), FIELD(M, number), FIELD(M, size));
    using L = RailsFrame;
    LAYOUT(RailsFrame, FIELD(L, type), FIELD(L, flags), FIELD(L, way), FIELD(L, count), FIELD(L, nonce));
}

struct Value {
    const char* name;
    std::uint64_t value;
};

void print_values(const char* name, std::span<const Value> values)
{
    std::printf("    %s = {\n", name);
    for (const Value& value : values) {
        std::printf("        { \"%s\", %llu },\n", value.name, static_cast<unsigned long long>(value.value));
    }
    std::printf("    },\n");
}

void print_flags(const char* name, std::uint64_t all, std::span<const Value> values)
{
    std::uint64_t listed = 0;
    for (const Value& value : values) {
        listed |= value.value;
    }
    if (listed != all) {
        incomplete(name);
    }
    print_values(name, values);
}

#define VALUE(space, name)                                                                                   \
    Value                                                                                                    \
    {                                                                                                        \
#name, static_cast < std::uint64_t>(space::name)                                                     \
    }
#define FLAGS(space, ...) print_flags(#space, space::all, std::array{__VA_ARGS__})

void print_all_flags()
{
    namespace p = packet_flag;
    FLAGS(packet_flag, VALUE(p, sequenced), VALUE(p, has_ack), VALUE(p, ack_requested), VALUE(p, fragment),
          VALUE(p, sealed), VALUE(p, authenticated));
    namespace a = ack_flag;
    print_values("ack_flag", std::array{VALUE(a, echo), VALUE(a, marks), VALUE(a, receiver_not_ready),
                                        VALUE(a, memory_scarce), VALUE(a, no_unscheduled)});
    namespace f = frame_flag;
    FLAGS(frame_flag, VALUE(f, tagged), VALUE(f, has_data), VALUE(f, want_delivered), VALUE(f, unscheduled));
    FLAGS(data_flag, VALUE(data_flag, answers_read), VALUE(data_flag, named));
    FLAGS(rma_flag, VALUE(rma_flag, has_data), VALUE(rma_flag, whole), VALUE(rma_flag, last),
          VALUE(rma_flag, named));
    namespace t = atomic_flag;
    FLAGS(atomic_flag, VALUE(t, fetch), VALUE(t, has_operand), VALUE(t, has_compare));
    namespace h = hello_flag;
    FLAGS(hello_flag, VALUE(h, answer_wanted), VALUE(h, no_room), VALUE(h, met), VALUE(h, key_wanted));
    FLAGS(question_flag, VALUE(question_flag, answer));
}

/// Null: no frame type. A new one does not compile until it is here.
const char* name_of(FrameType type)
{
    switch (type) {
#define NAME(type)                                                                                           \
    case FrameType::type:                                                                                    \
        return #type
        NAME(message);
        NAME(part);
        NAME(request);
        NAME(grant);
        NAME(data);
        NAME(delivered);
        NAME(hello);
        NAME(close);
        NAME(write);
        NAME(read);
        NAME(atomic);
        NAME(result);
        NAME(fault);
        NAME(denied);
        NAME(mtu_probe);
        NAME(rails);
#undef NAME
    }
    return nullptr;
}

void print_enumerations()
{
    std::printf("    frame_type = {\n");
    for (unsigned type = 0; type < 256; ++type) {
        if (const char* const name = name_of(static_cast<FrameType>(type))) {
            std::printf("        { \"%s\", %u },\n", name, type);
        }
    }
    std::printf("    },\n");
    namespace c = fault_cause;
    print_values("fault_cause",
                 std::array{VALUE(c, bad_key), VALUE(c, out_of_bounds), VALUE(c, access_denied),
                            VALUE(c, bad_operation), VALUE(c, region_closed), VALUE(c, not_read),
                            VALUE(c, unreadable)});
    print_values("bypass_kind", std::array{VALUE(BypassKind, question), VALUE(BypassKind, answer),
                                           VALUE(ShmMessage, wake_up)});
    print_values("cipher", std::array{VALUE(Cipher, aes_128_gcm), VALUE(Cipher, chacha20_poly1305)});
    print_values("cipher_offer", std::array{VALUE(CipherOffer, aes_only), VALUE(CipherOffer, prefers_aes),
                                            VALUE(CipherOffer, prefers_chacha)});
}

/// libfabric's numbers of what an atomic does. (Those that newer libfabrics have added are not served.)
void print_libfabric_names()
{
    std::printf("    fi_op = {\n");
    for (int op = FI_MIN; op <= FI_MSWAP; ++op) {
        std::printf("        { \"%s\", %d },\n", fi_tostr(&op, FI_TYPE_ATOMIC_OP), op);
    }
    std::printf("    },\n    fi_datatype = {\n");
    for (int type = FI_INT8; type <= FI_LONG_DOUBLE_COMPLEX; ++type) {
        std::printf("        { \"%s\", %d },\n", fi_tostr(&type, FI_TYPE_ATOMIC_TYPE), type);
    }
    std::printf("    },\n");
}

template <typename Byte, std::size_t Size>
void print_magic(const char* name, const std::array<Byte, Size>& magic)
{
    std::printf("    %s = \"", name);
    for (const Byte byte : magic) {
        std::printf("\\x%02x", static_cast<unsigned>(static_cast<std::uint8_t>(byte)));
    }
    std::printf("\",\n");
}

void print_limits()
{
    print_magic("shm_magic", ShmMessage::right_magic);
    print_magic("verbs_magic", VerbsMessage::right_magic);
    print_magic("liveness_request", liveness_request);
    const auto print = [](const char* name, std::uint64_t value) {
        std::printf("    %s = %llu,\n", name, static_cast<unsigned long long>(value));
    };
    print("protocol_version", protocol_version);
    print("max_ack_words", max_ack_words);
    print("packet_window", packet_window);
    print("fragment_unit", fragment_unit);
    print("max_iov", max_iov);
    print("max_atomic_size", max_atomic_size);
    print("max_rma_frames", max_rma_frames);
    print("max_named", max_named);
    print("max_address_size", max_address_size);
    print("min_max_packet", min_max_packet);
    print("max_eager_total", max_eager_total);
    print("seal_counter_size", SealedSession::counter_size);
    print("seal_tag_size", aead_tag_size);
    print("seal_iv_size", aead_iv_size);
    print("seal_phase_bits", KeySchedule::phase_bits);
    print("seal_told_mask", HelloKeys::told_mask);
    print("job_secret_min_size", job_secret_min_size);
    print("job_secret_max_size", job_secret_max_size);
}

} // namespace

int main()
{
    std::printf("-- SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only\n"
                "--\n"
                "-- What goes over the wire, as the headers in src/transport have it. Made from them by\n"
                "-- `build/bin/wire_table`; the test wireshark.table tells when it is not what they say.\n"
                "return {\n"
                "    -- name = { size in bytes, fields = { name, offset, size } }\n"
                "    layouts = {\n");
    print_packet_layouts();
    print_message_layouts();
    print_memory_layouts();
    print_connection_layouts();
    std::printf("    },\n");
    print_all_flags();
    print_enumerations();
    print_libfabric_names();
    print_limits();
    std::printf("}\n");
    return EXIT_SUCCESS;
}
