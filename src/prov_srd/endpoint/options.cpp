// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "endpoint/options.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include <srd/limits.hpp>

#include "common/log.hpp"
#include "entry/params.hpp"

namespace srd {
namespace {

constexpr std::size_t default_min_multi_receive = 64; ///< bytes
/// Applications post more receives than they ask for (Open MPI: without a limit), so this many are always
/// taken.
constexpr std::size_t least_receives = 65536;
constexpr std::size_t most_receives = std::size_t{1} << 22;

std::size_t or_default(std::size_t value, std::size_t fallback) noexcept
{
    return value != 0 ? value : fallback;
}

// Options by number: 1.17 has no names for the newer ones.
enum Option : int {
    opt_min_multi_recv = 0,
    opt_tx_size = 6,
    opt_rx_size = 7,
    opt_hmem_p2p = 8,
    opt_cuda_api_permitted = 10,
    opt_shared_memory_permitted = 11,
    opt_max_msg_size = 12, // then tagged, RMA, atomic
    opt_max_atomic_size = 15,
    opt_inject_msg_size = 16, // then tagged, RMA, atomic
    opt_inject_atomic_size = 19,
};
static_assert(static_cast<int>(FI_OPT_MIN_MULTI_RECV) == opt_min_multi_recv);
static_assert(static_cast<int>(FI_OPT_TX_SIZE) == opt_tx_size &&
              static_cast<int>(FI_OPT_RX_SIZE) == opt_rx_size);
static_assert(static_cast<int>(FI_OPT_FI_HMEM_P2P) == opt_hmem_p2p);

constexpr bool is_size(int option) noexcept
{
    return option >= opt_max_msg_size && option <= opt_inject_atomic_size;
}

/// Of an option that is_size().
constexpr SizeKind size_kind(int option) noexcept
{
    return static_cast<SizeKind>((option - opt_max_msg_size) % (opt_inject_msg_size - opt_max_msg_size));
}

template <typename T>
int put_option(T value, void* to, std::size_t* size) noexcept
{
    const std::size_t given = std::exchange(*size, sizeof(T));
    if (given < sizeof(T)) {
        return -FI_ETOOSMALL;
    }
    std::memcpy(to, &value, sizeof(T));
    return 0;
}

template <typename T>
bool take_option(int option, const void* from, std::size_t size, T& value) noexcept
{
    if (size != sizeof(value)) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_setopt: option %d has %zu bytes, not %zu", option, sizeof(value), size);
        return false;
    }
    std::memcpy(&value, from, sizeof(value));
    return true;
}

/// fi_endpoint(3), FI_OPT_FI_HMEM_P2P: no device reaches into another's memory, so every mode that leaves the
/// choice to the provider is met.
int set_hmem_p2p(int mode) noexcept
{
    switch (mode) {
    case FI_HMEM_P2P_ENABLED:
    case FI_HMEM_P2P_PREFERRED:
    case FI_HMEM_P2P_DISABLED:
        return 0;
    case FI_HMEM_P2P_REQUIRED:
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_setopt: FI_HMEM_P2P_REQUIRED cannot be met: srd copies device memory by way of the "
                 "host's");
        return -FI_EOPNOTSUPP;
    default:
        SRD_WARN(FI_LOG_EP_CTRL, "fi_setopt: FI_OPT_FI_HMEM_P2P has no mode %d", mode);
        return -FI_EINVAL;
    }
}

} // namespace

Options::Options(const fi_info& info) noexcept
    : caps_(info.caps),
      inject_size_(info.tx_attr != nullptr ? std::min(info.tx_attr->inject_size, max_inject_size)
                                           : max_inject_size),
      message_size_(or_default(info.ep_attr != nullptr ? info.ep_attr->max_msg_size : 0, SIZE_MAX)),
      receive_count_(
          std::clamp(info.rx_attr != nullptr ? info.rx_attr->size : 0, least_receives, most_receives)),
      min_multi_receive_(default_min_multi_receive)
{
    for (std::size_t kind = 0; kind < limits_.size(); ++kind) {
        limits_[kind].size = bound(static_cast<SizeKind>(kind), false);
        limits_[kind].inject = bound(static_cast<SizeKind>(kind), true);
    }
}

std::size_t Options::bound(SizeKind kind, bool inject) const noexcept
{
    const std::size_t bound = inject ? inject_size_ : message_size_;
    return kind == SizeKind::atomic ? std::min(bound, max_atomic_size) : bound;
}

int Options::set_limit(SizeKind kind, bool inject, std::size_t value) noexcept
{
    if (value > bound(kind, inject)) {
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_setopt: a size of %zu is more than this endpoint's %zu bytes; ask fi_getopt first",
                 value, bound(kind, inject));
        return -FI_EINVAL;
    }
    Limits& limits = limits_[static_cast<std::size_t>(kind)];
    (inject ? limits.inject : limits.size).store(value, std::memory_order_relaxed);
    return 0;
}

int Options::permit_shared_memory(bool permitted, bool is_enabled) noexcept
{
    if (is_enabled && permitted != shared_memory_permitted()) {
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_setopt: FI_OPT_SHARED_MEMORY_PERMITTED decides how the endpoint is made; set it before "
                 "fi_enable");
        return -FI_EOPBADSTATE;
    }
    shared_memory_permitted_.store(permitted);
    return 0;
}

/// fi_endpoint(3): -FI_EINVAL where there is no CUDA to call.
int Options::permit_cuda(bool permitted) const noexcept
{
    if ((caps_ & FI_HMEM) == 0) {
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_setopt: FI_OPT_CUDA_API_PERMITTED means nothing here: srd calls CUDA for "
                 "endpoints with FI_HMEM only");
        return -FI_EINVAL;
    }
    if (!permitted) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_setopt: device memory cannot be copied without CUDA's calls "
                                 "(FI_OPT_CUDA_API_PERMITTED); open the endpoint without FI_HMEM");
        return -FI_EOPNOTSUPP;
    }
    return 0;
}

int Options::get(int level, int option, void* value, std::size_t* size) const noexcept
{
    if (level != FI_OPT_ENDPOINT) {
        return -FI_ENOPROTOOPT;
    }
    if (value == nullptr || size == nullptr) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_getopt: the value or its size is NULL");
        return -FI_EINVAL;
    }
    if (is_size(option)) {
        return put_option(limit(size_kind(option), option >= opt_inject_msg_size), value, size);
    }
    switch (option) {
    case opt_min_multi_recv:
        return put_option(min_multi_receive_.load(), value, size);
    case opt_tx_size:
        return put_option<std::size_t>(params().limits.tx_messages, value, size);
    case opt_rx_size:
        return put_option(receive_count_, value, size);
    case opt_hmem_p2p:
        return put_option<int>(FI_HMEM_P2P_DISABLED, value, size);
    case opt_cuda_api_permitted:
        return (caps_ & FI_HMEM) != 0 ? put_option(true, value, size) : -FI_ENOPROTOOPT;
    case opt_shared_memory_permitted:
        return put_option(shared_memory_permitted(), value, size);
    default: // FI_OPT_CM_DATA_SIZE too: there are no connections to send such data with
        return -FI_ENOPROTOOPT;
    }
}

int Options::set(int level, int option, const void* value, std::size_t size, bool is_enabled) noexcept
{
    if (level != FI_OPT_ENDPOINT) {
        return -FI_ENOPROTOOPT;
    }
    if (value == nullptr) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_setopt: the value is NULL");
        return -FI_EINVAL;
    }
    std::size_t bytes = 0;
    if (is_size(option)) {
        return take_option(option, value, size, bytes)
                   ? set_limit(size_kind(option), option >= opt_inject_msg_size, bytes)
                   : -FI_EINVAL;
    }
    switch (option) {
    case opt_min_multi_recv:
        if (!take_option(option, value, size, bytes)) {
            return -FI_EINVAL;
        }
        min_multi_receive_.store(bytes);
        return 0;
    case opt_hmem_p2p: {
        int mode = 0;
        return take_option(option, value, size, mode) ? set_hmem_p2p(mode) : -FI_EINVAL;
    }
    case opt_cuda_api_permitted: {
        std::uint8_t permitted = 0;
        return take_option(option, value, size, permitted) ? permit_cuda(permitted != 0) : -FI_EINVAL;
    }
    case opt_shared_memory_permitted: {
        std::uint8_t permitted = 0; // a bool to the caller, whose byte may hold any number
        static_assert(sizeof(permitted) == sizeof(bool));
        return take_option(option, value, size, permitted) ? permit_shared_memory(permitted != 0, is_enabled)
                                                           : -FI_EINVAL;
    }
    default:
        return -FI_ENOPROTOOPT;
    }
}

} // namespace srd
