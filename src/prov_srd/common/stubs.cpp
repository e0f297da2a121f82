// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "common/stubs.hpp"

#include "common/log.hpp"

namespace srd::stubs {

namespace {
constexpr Unsupported no;
}

fi_ops_collective collective = {sizeof(fi_ops_collective), no, no, no, no, no, no, no, no, no, no, no};

int refuse(const char* call) noexcept
{
    SRD_WARN(FI_LOG_CORE,
             "%s are not served: every endpoint has one transmit and one receive context of its own", call);
    return -FI_ENOSYS;
}

int bind(fid*, fid*, std::uint64_t)
{
    return -FI_ENOSYS;
}

int control(fid*, int, void*)
{
    return -FI_ENOSYS;
}

int ops_open(fid*, const char*, std::uint64_t, void**, void*)
{
    return -FI_ENOSYS;
}

int tx_ctx(fid_ep*, int, fi_tx_attr*, fid_ep**, void*)
{
    return refuse("fi_tx_context: transmit contexts of a scalable endpoint");
}

int rx_ctx(fid_ep*, int, fi_rx_attr*, fid_ep**, void*)
{
    return refuse("fi_rx_context: receive contexts of a scalable endpoint");
}

ssize_t size_left(fid_ep*)
{
    return -FI_ENOSYS;
}

} // namespace srd::stubs
