// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_getinfo: what srd offers, whether it meets an application's hints, and
// the answer.
//
//   info.cpp        interfaces and addresses: which answers there are
//   info_check.cpp  hints against the offer
//   info_build.cpp  one answer, altered as the hints ask
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#include <srd/address.hpp>
#include <srd/limits.hpp>

#include "io/host/interfaces.hpp"

namespace srd {

// -- The offer --------------------------------------------------------------

namespace offer {

inline constexpr std::uint64_t tx_caps =
    FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC | FI_SEND | FI_READ | FI_WRITE | FI_FENCE | FI_TRIGGER | FI_HMEM;
inline constexpr std::uint64_t rx_caps = FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC | FI_RECV | FI_REMOTE_READ |
                                         FI_REMOTE_WRITE | FI_MULTI_RECV | FI_DIRECTED_RECV | FI_SOURCE |
                                         FI_RMA_EVENT | FI_TRIGGER | FI_SOURCE_ERR | FI_HMEM;
inline constexpr std::uint64_t comm_caps = FI_LOCAL_COMM | FI_REMOTE_COMM;
inline constexpr std::uint64_t domain_caps = comm_caps | FI_SHARED_AV;
inline constexpr std::uint64_t caps = tx_caps | rx_caps | domain_caps;
/// Given whether asked for or not, because they cost nothing.
inline constexpr std::uint64_t free_caps = FI_MULTI_RECV | FI_FENCE | FI_RMA_EVENT | FI_SHARED_AV;
/// Given only if asked for, even where everything is: the one turns completions into errors, the other asks
/// something of whoever registers memory (FI_MR_HMEM).
inline constexpr std::uint64_t explicit_caps = FI_SOURCE_ERR | FI_HMEM;
inline constexpr std::uint64_t tx_op_flags =
    FI_INJECT | FI_COMPLETION | FI_INJECT_COMPLETE | FI_TRANSMIT_COMPLETE | FI_DELIVERY_COMPLETE;
inline constexpr std::uint64_t rx_op_flags = FI_COMPLETION | FI_MULTI_RECV;
/// Sends and atomics are one sequence per pair of endpoints; reads and writes have no order.
inline constexpr std::uint64_t msg_order =
    FI_ORDER_SAS | FI_ORDER_ATOMIC_RAR | FI_ORDER_ATOMIC_RAW | FI_ORDER_ATOMIC_WAR | FI_ORDER_ATOMIC_WAW;
inline constexpr std::size_t max_order_size = max_atomic_size; ///< bytes: what is ordered is an atomic
/// Ways to name registered memory that are not needed, but taken if an application can do with them.
inline constexpr int mr_modes = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
inline constexpr std::uint64_t max_msg_size = 1ULL << 40;            ///< bytes
inline constexpr std::uint64_t mem_tag_format = 0xAAAAAAAAAAAAAAAAU; ///< FI_TAG_GENERIC: all 64 bits
inline constexpr std::size_t default_queue_size = 1024;              ///< operations per context
inline constexpr std::size_t max_queue_size = 16384;                 ///< what hints may ask for
inline constexpr std::size_t object_count = 256;                 ///< endpoints, queues, counters per domain
inline constexpr std::size_t error_data_size = max_address_size; ///< the address of the peer that failed
inline constexpr std::size_t region_count = 1U << 20;            ///< memory regions per domain
inline constexpr std::size_t cq_data_size = 8;                   ///< bytes
inline constexpr std::size_t mr_key_size = 8;                    ///< bytes

} // namespace offer

// -- The calls --------------------------------------------------------------

/// fi_provider.getinfo.
int get_info(std::uint32_t version, const char* node, const char* service, std::uint64_t flags,
             const fi_info* hints, fi_info** info) noexcept;

/// Why `hints` cannot be met, as a sentence that also says what srd offers; empty if they can.
/// Addresses and names are not looked at. Also for an info that comes back to fi_domain() or fi_endpoint().
std::string info_mismatch(std::uint32_t version, const fi_info& hints);

/// One answer: `domain` is the domain's name, `source` is the local address, `destination` may be empty,
/// `comm_caps` a subset of offer::comm_caps. Every block is malloc()ed separately, as fi_freeinfo() needs it.
/// Throws std::bad_alloc.
fi_info* build_info(std::uint32_t version, const NetInterface& entry, const std::string& domain,
                    const SocketAddress& source, const SocketAddress& destination, std::uint64_t comm_caps,
                    const fi_info* hints);

/// The subnet as text: endpoints of one fabric reach each other.
std::string fabric_name_of(const NetInterface& entry);

} // namespace srd
