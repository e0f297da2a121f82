// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The few functions behind include/srd.
#include <array>
#include <cstdio>
#include <cstdlib>

#include <srd/check.hpp>
#include <srd/status.hpp>

namespace srd {

void check_failed(const char* expression, const char* file, int line) noexcept
{
    std::fprintf(
        stderr,
        "srd: internal error: %s is false at %s:%d; please report it, with what \"srd trace --dead\" "
        "prints if FI_SRD_TRACE was set\n",
        expression, file, line);
    std::abort();
}

const char* to_string(Cause cause) noexcept
{
    static constexpr std::array texts{
        "no error",
        "nothing has ever answered at the peer's address (is its program running? is the address right?)",
        "the peer stopped answering",
        "the peer's process was replaced by another one at the same address",
        "nobody listens at the peer's address any more (its process has exited)",
        "the peer closed its endpoint",
        "the peer was removed from the address vector, or this endpoint was closed",
        "this host has no network route to the peer",
        "the peer had no memory for the message for too long (receives not posted)",
        "the message was longer than the receive buffer",
        "the operation was canceled",
        "no matching message",
        "the target knows no such memory key (never given out, of another domain, or its region was closed)",
        "the range reaches beyond the target's memory region",
        "the target's memory region was not registered for this access",
        "the target does not serve this atomic operation on this datatype",
        "the target closed the memory region while it was being read, or its device memory failed",
        "the peer refused us: all its records of peers are in use (raise FI_SRD_MAX_PEERS there)",
        "the peer has never answered over UDP, though its host does over TCP: a firewall drops UDP (or the "
        "peer's process is stopped, or has another version of srd)",
        "the peer seals its traffic with another job key, or only one of the two sides seals it "
        "(FI_SRD_JOB_KEY_FILE)",
        "the peer answers over UDP no more, though its process runs and its host answers over TCP: a "
        "firewall "
        "drops UDP",
        "the accelerator's driver could not copy from or to the buffer's device memory",
        "the peer speaks other versions of the wire protocol only (install one release of srd on both sides)",
    };
    static_assert(texts.size() == static_cast<std::size_t>(Cause::count_));
    const auto index = static_cast<std::size_t>(cause);
    return index < texts.size() ? texts[index] : "unknown cause";
}

} // namespace srd
