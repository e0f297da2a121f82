// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// An endpoint's name, operation flags and options.
#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "common/boundary.hpp"
#include "common/log.hpp"
#include "endpoint/endpoint.hpp"
#include "entry/params.hpp"
#include "objects/fabric_domain.hpp"

namespace srd {

// -- Names and options ----------------------------------------------------------

int Endpoint::get_name(void* address, std::size_t* size)
{
    if (size == nullptr || (address == nullptr && *size != 0)) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_getname: the buffer or its size is NULL");
        return -FI_EINVAL;
    }
    if (const int error = open_io(); error != 0) { // binds the port, so that there is a name
        return error;
    }
    ProgressGuard guard(lock);
    const std::span<const std::byte> own = io_->local_address().bytes();
    const std::size_t given = std::exchange(*size, own.size());
    if (address != nullptr) {
        std::memcpy(address, own.data(), std::min(given, own.size()));
    }
    return given < own.size() ? -FI_ETOOSMALL : 0;
}

int Endpoint::set_name(const void* address, std::size_t size)
{
    SocketAddress wanted;
    if (address == nullptr || !SocketAddress::parse(address, size, wanted) ||
        wanted.family() != domain.local_address.family()) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_setname: not a socket address of the domain's family");
        return -FI_EINVAL;
    }
    ProgressGuard guard(lock);
    if (io_ != nullptr) {
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_setname: the endpoint has its name; set it before fi_enable and fi_getname");
        return -FI_EOPBADSTATE;
    }
    if (wanted.is_wildcard()) {
        const std::uint16_t port = wanted.port();
        wanted = domain.local_address;
        wanted.set_port(port);
    }
    wanted_address_ = wanted;
    return 0;
}

int Endpoint::open_alias(const EndpointFace& original, const struct fi_alias& request)
{
    const std::uint64_t direction = request.flags & (FI_TRANSMIT | FI_RECV);
    if (request.fid == nullptr || direction == (FI_TRANSMIT | FI_RECV) ||
        (direction == 0 && request.flags != 0)) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_ep_alias: the flags must name FI_TRANSMIT or FI_RECV, not both");
        return -FI_EINVAL;
    }
    auto alias = std::make_unique<EndpointFace>(original);
    if (direction != 0) {
        (direction == FI_TRANSMIT ? alias->tx_flags : alias->rx_flags) = request.flags & ~direction;
    }
    aliases_.fetch_add(1);
    *request.fid = &alias.release()->fid.fid;
    return 0;
}

int Endpoint::close_alias(EndpointFace& alias) noexcept
{
    delete &alias;
    aliases_.fetch_sub(1);
    return 0;
}

int Endpoint::control(EndpointFace& face, int command, void* argument) noexcept
{
    switch (command) {
    case FI_ENABLE:
        return guarded([&] { return enable(); });
    case FI_ALIAS:
        return argument == nullptr ? -FI_EINVAL : guarded([&] {
            return open_alias(face, *static_cast<const struct fi_alias*>(argument));
        });
    case FI_GETOPSFLAG:
    case FI_SETOPSFLAG: {
        auto* flags = static_cast<std::uint64_t*>(argument);
        const std::uint64_t direction = flags != nullptr ? *flags & (FI_TRANSMIT | FI_RECV) : 0;
        if (direction != FI_TRANSMIT && direction != FI_RECV) {
            SRD_WARN(FI_LOG_EP_CTRL,
                     "FI_GETOPSFLAG, FI_SETOPSFLAG: the flags must name FI_TRANSMIT or FI_RECV");
            return -FI_EINVAL;
        }
        std::uint64_t& current = direction == FI_TRANSMIT ? face.tx_flags : face.rx_flags;
        if (command == FI_SETOPSFLAG) {
            current = *flags & ~direction;
        } else {
            *flags = current;
        }
        return 0;
    }
    default:
        return -FI_ENOSYS;
    }
}

namespace {

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

/// fi_endpoint(3), FI_OPT_FI_HMEM_P2P: srd moves no device memory, so every mode that leaves the
/// choice to the provider is met.
int set_hmem_p2p(int mode) noexcept
{
    switch (mode) {
    case FI_HMEM_P2P_ENABLED:
    case FI_HMEM_P2P_PREFERRED:
    case FI_HMEM_P2P_DISABLED:
        return 0;
    case FI_HMEM_P2P_REQUIRED:
        SRD_WARN(FI_LOG_EP_CTRL, "fi_setopt: FI_HMEM_P2P_REQUIRED cannot be met: srd has no FI_HMEM");
        return -FI_EOPNOTSUPP;
    default:
        SRD_WARN(FI_LOG_EP_CTRL, "fi_setopt: FI_OPT_FI_HMEM_P2P has no mode %d", mode);
        return -FI_EINVAL;
    }
}

} // namespace

std::size_t Endpoint::size_bound(SizeKind kind, bool inject) const noexcept
{
    const std::size_t bound = inject ? inject_size_ : message_size_;
    return kind == SizeKind::atomic ? std::min(bound, max_atomic_size) : bound;
}

/// Lowering is honoured: what is longer is refused with -FI_EMSGSIZE from then on.
int Endpoint::set_size(SizeKind kind, bool inject, std::size_t value) noexcept
{
    if (value > size_bound(kind, inject)) {
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_setopt: a size of %zu is more than this endpoint's %zu bytes; ask fi_getopt first",
                 value, size_bound(kind, inject));
        return -FI_EINVAL;
    }
    SizeLimits& limits = limits_[static_cast<std::size_t>(kind)];
    (inject ? limits.inject : limits.size).store(value, std::memory_order_relaxed);
    return 0;
}

int Endpoint::get_option(int level, int option, void* value, std::size_t* size) noexcept
{
    if (level != FI_OPT_ENDPOINT) {
        return -FI_ENOPROTOOPT;
    }
    if (value == nullptr || size == nullptr) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_getopt: the value or its size is NULL");
        return -FI_EINVAL;
    }
    if (is_size(option)) {
        const SizeLimits& limits =
            limits_[static_cast<std::size_t>(option - opt_max_msg_size) % limits_.size()];
        return put_option((option >= opt_inject_msg_size ? limits.inject : limits.size).load(), value, size);
    }
    switch (option) {
    case opt_min_multi_recv:
        return put_option(min_multi_receive_.load(), value, size);
    case opt_tx_size:
        return put_option<std::size_t>(params().limits.tx_messages, value, size);
    case opt_rx_size:
        return put_option(rx_size_, value, size);
    case opt_hmem_p2p:
        return put_option<int>(FI_HMEM_P2P_DISABLED, value, size);
    default: // FI_OPT_CM_DATA_SIZE too: there are no connections to send such data with
        return -FI_ENOPROTOOPT;
    }
}

int Endpoint::set_option(int level, int option, const void* value, std::size_t size) noexcept
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
        const auto kind =
            static_cast<SizeKind>(static_cast<std::size_t>(option - opt_max_msg_size) % limits_.size());
        return take_option(option, value, size, bytes) ? set_size(kind, option >= opt_inject_msg_size, bytes)
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
    case opt_cuda_api_permitted: // fi_endpoint(3): the answer where there is no CUDA to call
        SRD_WARN(FI_LOG_EP_CTRL,
                 "fi_setopt: FI_OPT_CUDA_API_PERMITTED means nothing here: srd never calls CUDA");
        return -FI_EINVAL;
    case opt_shared_memory_permitted: { // none is used, whatever the application permits
        bool permitted = false;
        return take_option(option, value, size, permitted) ? 0 : -FI_EINVAL;
    }
    default:
        return -FI_ENOPROTOOPT;
    }
}

} // namespace srd
