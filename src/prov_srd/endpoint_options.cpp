// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// An endpoint's name, operation flags and options.
#include <algorithm>
#include <cstring>
#include <utility>

#include "boundary.hpp"
#include "endpoint.hpp"
#include "fabric_domain.hpp"
#include "log.hpp"
#include "params.hpp"

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
    const std::span<const std::byte> own = io_->local_address();
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

int Endpoint::control(int command, void* argument) noexcept
{
    switch (command) {
    case FI_ENABLE:
        return guarded([&] { return enable(); });
    case FI_GETOPSFLAG:
    case FI_SETOPSFLAG: {
        auto* flags = static_cast<std::uint64_t*>(argument);
        const std::uint64_t direction = flags != nullptr ? *flags & (FI_TRANSMIT | FI_RECV) : 0;
        if (direction != FI_TRANSMIT && direction != FI_RECV) {
            SRD_WARN(FI_LOG_EP_CTRL,
                     "FI_GETOPSFLAG, FI_SETOPSFLAG: the flags must name FI_TRANSMIT or FI_RECV");
            return -FI_EINVAL;
        }
        std::uint64_t& current = direction == FI_TRANSMIT ? tx_flags : rx_flags;
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

// Options of libfabric 2.x, by number, because 1.17 has no names for them.
enum Option : int {
    opt_min_multi_recv = 0,
    opt_cm_data_size = 1,
    opt_tx_size = 6,
    opt_rx_size = 7,
    opt_cuda_api_permitted = 10,
    opt_shared_memory_permitted = 11,
    opt_max_msg_size = 12,
    opt_max_tagged_size = 13,
    opt_inject_msg_size = 16,
    opt_inject_tagged_size = 17,
};
static_assert(static_cast<int>(FI_OPT_MIN_MULTI_RECV) == opt_min_multi_recv);
static_assert(static_cast<int>(FI_OPT_CM_DATA_SIZE) == opt_cm_data_size);
static_assert(static_cast<int>(FI_OPT_TX_SIZE) == opt_tx_size &&
              static_cast<int>(FI_OPT_RX_SIZE) == opt_rx_size);

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

} // namespace

int Endpoint::get_option(int level, int option, void* value, std::size_t* size) noexcept
{
    if (level != FI_OPT_ENDPOINT) {
        return -FI_ENOPROTOOPT;
    }
    if (value == nullptr || size == nullptr) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_getopt: the value or its size is NULL");
        return -FI_EINVAL;
    }
    switch (option) {
    case opt_min_multi_recv:
        return put_option(min_multi_receive_.load(), value, size);
    case opt_cm_data_size:
        return put_option(std::size_t{0}, value, size);
    case opt_tx_size:
        return put_option<std::size_t>(params().limits.tx_messages, value, size);
    case opt_rx_size:
        return put_option(rx_size_, value, size);
    case opt_max_msg_size:
    case opt_max_tagged_size:
        return put_option(message_limit_, value, size);
    case opt_inject_msg_size:
    case opt_inject_tagged_size:
        return put_option(inject_limit_, value, size);
    case opt_cuda_api_permitted:
    case opt_shared_memory_permitted:
        return put_option(false, value, size);
    default:
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
    const auto get = [&](auto& to) {
        if (size != sizeof(to)) {
            SRD_WARN(FI_LOG_EP_CTRL, "fi_setopt: option %d has %zu bytes, not %zu", option, sizeof(to), size);
            return false;
        }
        std::memcpy(&to, value, sizeof(to));
        return true;
    };
    std::size_t bytes = 0;
    switch (option) {
    case opt_min_multi_recv:
        if (!get(bytes)) {
            return -FI_EINVAL;
        }
        min_multi_receive_.store(bytes);
        return 0;
    case opt_max_msg_size: // promises not to send more: nothing changes for us
    case opt_max_tagged_size:
    case opt_inject_msg_size:
    case opt_inject_tagged_size: {
        const bool inject = option == opt_inject_msg_size || option == opt_inject_tagged_size;
        if (!get(bytes) || bytes > (inject ? inject_limit_ : message_limit_)) {
            return -FI_EINVAL;
        }
        return 0;
    }
    case opt_cuda_api_permitted: // neither CUDA nor shared memory is used whatever the application permits
    case opt_shared_memory_permitted:
        return size == sizeof(bool) ? 0 : -FI_EINVAL;
    default:
        return -FI_ENOPROTOOPT;
    }
}

} // namespace srd
