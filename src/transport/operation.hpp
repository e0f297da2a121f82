// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What is asked of the engine and what it tells: operations in, events out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

#include <srd/iov.hpp>
#include <srd/limits.hpp>
#include <srd/status.hpp>
#include <srd/types.hpp>

namespace srd {

/// When a submitted message reports send_done (fi_cq(3), completion levels).
enum class CompletionLevel : std::uint8_t {
    none,     ///< never: the caller wants no event (only with copy_payload), but see Event::Kind::peer_lost
    inject,   ///< when the caller's buffer may be reused
    transmit, ///< when the peer has taken over responsibility: its engine acknowledged every byte
    delivery, ///< when the peer has placed every byte in a matched receive buffer
};

enum class OperationKind : std::uint8_t {
    message, ///< to whatever receive the peer matches it with
    write,   ///< into registered memory of the peer
    read,    ///< from registered memory of the peer into `iov`
    atomic,  ///< on registered memory of the peer
};

/// Bytes of a peer's registered memory, as that peer names them.
struct RemoteRange {
    std::uint64_t address = 0;
    std::uint64_t length = 0; ///< bytes
    std::uint64_t key = 0;
};

/// What an atomic does. Operation and datatype are carried, not interpreted.
struct AtomicOperation {
    std::uint8_t operation = 0; ///< enum fi_op
    std::uint8_t datatype = 0;  ///< enum fi_datatype
    bool fetch = false;         ///< the old values are wanted in `result`
    bool has_operand = true;    ///< Operation::iov holds operands; false for a pure read
    bool has_compare = false;
    std::span<const iovec> compare; ///< comparands, taken before submit() returns
    std::span<const iovec>
        result; ///< at most max_iov entries, as long as the ranges; memory valid until send_done
};

/// Properties of a message that travel with it.
struct MessageFlags {
    // One byte: a pair of bools is written by the byte and copied by the word, and the copy waits for the
    // writes.
    bool tagged : 1 = false;   ///< FI_TAGGED rather than FI_MSG
    bool has_data : 1 = false; ///< carries remote CQ data
};

/// What a message says of itself, whoever holds it: the application, a record of the engine, a frame.
struct Envelope {
    std::uint64_t tag = 0;
    std::uint64_t data = 0; ///< remote CQ data, if flags.has_data
    MessageFlags flags;
};

/// One operation: a message to send, or an access to a peer's registered memory. The iov array is copied; the
/// memory it points to must stay unchanged until send_done, unless copy_payload is set.
struct Operation : Envelope {
    OperationKind kind = OperationKind::message;
    PeerId peer{};
    CompletionLevel level = CompletionLevel::transmit;
    bool copy_payload = false; ///< take the payload before submit() returns; at most max_inject_size bytes
    bool fence =
        false; ///< FI_FENCE: it and what follows it to this peer starts when all before it is complete
    std::span<const iovec> iov; ///< at most max_iov entries; empty: a zero-length message
    /// Whose memory `iov` is (an atomic's: AtomicOperation::result), as a whole or in part. What is copied
    /// before submit() returns is in the host's.
    DeviceId device = DeviceId::host;
    std::uint64_t cookie = 0; ///< handed back in send_done; not interpreted

    // Remote memory access. An acknowledged write is a placed one, so its levels transmit and delivery are
    // the same; reads and fetching atomics complete when their data is here, whatever the level.
    std::span<const RemoteRange>
        remote;             ///< 1 .. max_iov, together as long as `iov` (atomics: as the operands)
    AtomicOperation atomic; ///< operands are taken before submit() returns, at most max_atomic_size bytes
};

struct Event : Envelope {
    enum class Kind : std::uint8_t {
        hello,        ///< a peer introduced itself: resolve `payload` (its address), then accept_hello()
        message,      ///< the peer's next message in order: answer with accept(), park() or refuse()
        receive_done, ///< an accepted message that was pending is complete, or failed with `cause`
        send_done,    ///< a submitted operation is complete, or failed with `cause`
        message_lost, ///< a parked message can never be completed (its peer failed); already discarded
        write,        ///< place() its bytes at `ranges[0]`, then confirm(), or reject()
        read,         ///< find the memory of `ranges[0]`: serve() or reject()
        atomic,       ///< carry it out on `ranges`, write old values to `result`: confirm() or reject()
        read_served,  ///< every byte of a peer's read has got there (Engine::serve with `tell`)
        peer_lost,    ///< the connection ended with `cause`, after what had a record was reported. `cookie`
                      ///< operations that have no send_done (any more), of `length` bytes together, were not
                      ///< acknowledged; if there are none, only a peer's failure is told
        waiting,      ///< operations have waited for the peer for `length` ms, in which nothing was heard:
                      ///< `cause` is what they may fail with. Told for one peer now and then
        route_released, ///< the engine has forgotten the route `cookie`: Engine::take_released_route()
        rails,          ///< a peer tells its further addresses, `payload`: PacketIo::set_peer_rails(), then
                        ///< on_peer_rails()
        mtu_found, ///< packets to `peer` are of `length` bytes at most; the ends would take `cookie` bytes
    };
    Kind kind{};
    PeerId peer{};
    Cause cause = Cause::none;
    MessageId message{};      ///< message, message_lost
    std::uint64_t length = 0; ///< message, receive_done: the whole message's bytes; peer_lost, waiting
    std::uint64_t cookie = 0; ///< receive_done, send_done; peer_lost
    std::span<const std::byte> payload;  ///< hello: address; write: bytes, if they are here; atomic: operands
    std::span<const RemoteRange> ranges; ///< write, read: one; atomic: 1 .. max_iov
    bool last = false;          ///< write: with these bytes the operation is complete (`length`: of the whole
                                ///< operation, `data` if flags.has_data); read: the operation's last piece
    std::uint8_t operation = 0; ///< atomic: enum fi_op, unchecked
    std::uint8_t datatype = 0;  ///< atomic: enum fi_datatype, unchecked
    std::span<const std::byte> compare; ///< atomic: comparands, or empty
    std::span<std::byte> result;        ///< atomic: where old values go; empty: they are not wanted
};

/// What accept() achieved.
enum class Accepted : std::uint8_t {
    complete, ///< every byte is placed; the MessageId is gone
    pending,  ///< receive_done will follow
    failed,   ///< every byte is here, but the buffer's device did not take them; the MessageId is gone
};

} // namespace srd
