// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How a call into the transport ends, and why an operation failed.
#pragma once

#include <cstdint>

namespace srd {

enum class [[nodiscard]] Status : std::uint8_t{
    ok,
    again,       ///< a resource is exhausted for now; nothing has changed; progress, then retry
    invalid,     ///< the argument cannot be served
    no_memory,   ///< a fixed pool or the operating system has no more
    unreachable, ///< the operating system knows no way to the address
};

/// Why an operation or a peer failed. The provider reports it as prov_errno
/// and fi_cq_strerror() turns it into a sentence.
enum class Cause : std::uint8_t {
    none,
    never_answered,     ///< no packet has ever come back from the address
    stopped_answering,  ///< was heard, then fell silent for longer than Tuning::peer_timeout
    restarted,          ///< another process (incarnation) answers at the address now
    refused,            ///< the peer's host says that nobody listens at the address
    closed,             ///< the peer closed its endpoint
    removed,            ///< the application removed the peer or closed its own endpoint
    unreachable,        ///< this host has no way to the peer
    peer_out_of_memory, ///< the peer answered receiver-not-ready for longer than Tuning::rnr_timeout
    truncated,          ///< the message was longer than the receive buffer
    canceled,           ///< the application canceled the operation
    not_found,          ///< FI_PEEK saw no such message
    bad_key,            ///< the target knows no such memory key (never given, of another domain, or closed)
    out_of_bounds,      ///< a byte of the range lies outside the target's memory region
    access_denied,      ///< the target's memory region was not registered for this access
    bad_operation,      ///< the target does not serve this atomic operation or datatype
    region_closed,      ///< the target closed the memory region while it was being read
    peer_full,          ///< the peer answered that it has no record left for another endpoint
    not_heard,          ///< no packet has ever come back, though the peer's host answers over TCP
    key_mismatch,       ///< the peer has no job key and we have, or the other way round, or another one
    cut_off,            ///< was heard; its process reads what comes, and yet answers nothing of ours
    device_failed,      ///< the memory of an accelerator could not be copied from or to
    version_mismatch,   ///< the peer speaks no version of the protocol that we speak
    count_              ///< number of causes; not a cause
};

/// The peer, its process or the way to it has failed: nothing comes from there any more. (The other causes
/// are one operation's, or somebody's wish.)
constexpr bool is_peer_failure(Cause cause) noexcept
{
    switch (cause) {
    case Cause::never_answered:
    case Cause::not_heard:
    case Cause::stopped_answering:
    case Cause::cut_off:
    case Cause::restarted:
    case Cause::refused:
    case Cause::unreachable:
    case Cause::peer_out_of_memory:
    case Cause::peer_full:
    case Cause::key_mismatch:
    case Cause::version_mismatch:
        return true;
    default:
        return false;
    }
}

/// An operation that ended so may have been carried out, or be carried out yet. Of the other causes each says
/// that it was not: before its first answer nothing but introductions goes to a peer.
constexpr bool is_outcome_unknown(Cause cause) noexcept
{
    const bool before_first_answer = cause == Cause::never_answered || cause == Cause::not_heard ||
                                     cause == Cause::key_mismatch || cause == Cause::version_mismatch;
    return (is_peer_failure(cause) && !before_first_answer) || cause == Cause::closed ||
           cause == Cause::removed;
}

/// An English clause for `cause`, fit to follow "operation failed: ".
const char* to_string(Cause cause) noexcept;

} // namespace srd
