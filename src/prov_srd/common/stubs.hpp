// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Entries of operation tables that return -FI_ENOSYS. libfabric's inline
// wrappers call through the tables without a check, so a table or an entry that
// is missing would be a crash in the application.
#pragma once

#include <cstdint>

#include <rdma/fabric.h>
#include <rdma/fi_collective.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

namespace srd::stubs {

template <typename Result, typename... Arguments>
using Function = Result (*)(Arguments...);

/// Turns into a function of whatever type an entry has, which returns -FI_ENOSYS.
struct Unsupported {
    template <typename Result, typename... Arguments>
    constexpr operator Function<Result, Arguments...>() const noexcept
    {
        return [](Arguments...) -> Result { return -FI_ENOSYS; };
    }
};
inline constexpr Unsupported unsupported;

/// A line for the log about a call that cannot be served. Returns -FI_ENOSYS.
int refuse(const char* call) noexcept;

/// The same as Unsupported, with such a line; for what applications may try although it is not offered.
template <const auto& call>
struct Refused {
    template <typename Result, typename... Arguments>
    constexpr operator Function<Result, Arguments...>() const noexcept
    {
        return [](Arguments...) -> Result { return refuse(call); };
    }
};
inline constexpr char scalable_ep_call[] = "fi_scalable_ep: scalable endpoints";
inline constexpr char stx_context_call[] = "fi_stx_context: shared transmit contexts";
inline constexpr char srx_context_call[] = "fi_srx_context: shared receive contexts";
inline constexpr char passive_ep_call[] = "fi_passive_ep: passive endpoints";

/// Of collectives, which libfabric calls without asking whether there is a table.
extern fi_ops_collective collective;

// The same as plain functions, for tables that are served in part.
int bind(fid* object, fid* other, std::uint64_t flags);
int control(fid* object, int command, void* argument);
int ops_open(fid* object, const char* name, std::uint64_t flags, void** ops, void* context);
int tx_ctx(fid_ep* sep, int index, fi_tx_attr* attr, fid_ep** endpoint, void* context);
int rx_ctx(fid_ep* sep, int index, fi_rx_attr* attr, fid_ep** endpoint, void* context);
ssize_t size_left(fid_ep* endpoint);

} // namespace srd::stubs
