// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Each check returns the reason why a hint cannot be met, or an empty string.
// The order is that of libfabric's own utility code: endpoint type first,
// because ofi_rxm and ofi_rxd probe every provider with other types.
#include <array>
#include <cstdio>
#include <limits>

#include "common/c_api.hpp"
#include "entry/identity.hpp"
#include "entry/info.hpp"
#include "entry/job_keys.hpp"

namespace srd {

namespace {

std::string tags(std::uint64_t bits, fi_type type)
{
    std::array<char, 1024> text{};
    fi_tostr_r(text.data(), text.size(), &bits, type);
    std::string result(text.data());
    while (!result.empty() && (result.back() == ' ' || result.back() == ',')) {
        result.pop_back();
    }
    return result.empty() ? "nothing" : result;
}

std::string subset(const char* what, std::uint64_t wanted, std::uint64_t offered, fi_type type)
{
    if ((wanted & ~offered) == 0) {
        return {};
    }
    std::array<char, 32> number{};
    std::snprintf(number.data(), number.size(), "0x%llx", static_cast<unsigned long long>(wanted & ~offered));
    return std::string(what) + " asks for " + tags(wanted & ~offered, type) + " (" + number.data() +
           "); srd offers " + tags(offered, type);
}

std::string at_most(const char* what, std::uint64_t wanted, std::uint64_t offered)
{
    if (wanted <= offered) {
        return {};
    }
    return std::string(what) + " is " + std::to_string(wanted) + "; srd offers at most " +
           std::to_string(offered);
}

/// The first reason that is not empty.
template <typename... Reasons>
std::string first_of(Reasons&&... reasons)
{
    std::string result;
    (void)((result.empty() ? (result = reasons(), result.empty()) : false) && ...);
    return result;
}

std::string check_ep_type(const fi_info& hints)
{
    if (hints.ep_attr == nullptr || raw(hints.ep_attr->type) == FI_EP_UNSPEC ||
        raw(hints.ep_attr->type) == FI_EP_RDM) {
        return {};
    }
    return "ep_attr->type asks for another endpoint type; srd offers FI_EP_RDM";
}

/// Device memory is known by its registration: whoever hands over a buffer without would have it touched.
std::string check_devices(const fi_info& hints)
{
    const int mode = hints.domain_attr != nullptr ? hints.domain_attr->mr_mode : 0;
    return (hints.caps & FI_HMEM) == 0 || (mode & FI_MR_HMEM) != 0
               ? std::string{}
               : "caps asks for FI_HMEM without FI_MR_HMEM in domain_attr->mr_mode; srd moves device memory "
                 "that "
                 "is registered";
}

std::string check_addr_format(const fi_info& hints)
{
    switch (hints.addr_format) {
    case FI_FORMAT_UNSPEC:
    case FI_SOCKADDR:
    case FI_SOCKADDR_IN:
    case FI_SOCKADDR_IN6:
        return {};
    default:
        return "addr_format asks for " + tags(hints.addr_format, FI_TYPE_ADDR_FORMAT) +
               "; srd offers FI_SOCKADDR_IN and FI_SOCKADDR_IN6";
    }
}

std::string check_fabric(const fi_info& hints)
{
    const fi_fabric_attr* attr = hints.fabric_attr;
    return attr == nullptr ? std::string{}
                           : at_most("fabric_attr->prov_version", attr->prov_version, provider_version);
}

/// srd needs no registration mode, so only the old bits, which exclude all others, can be wrong.
std::string check_mr_mode(std::uint32_t version, int mode)
{
    const bool is_legacy = (mode & (FI_MR_BASIC | FI_MR_SCALABLE)) != 0;
    const bool has_others = (mode & ~(FI_MR_BASIC | FI_MR_SCALABLE)) != 0;
    const bool has_both = (mode & FI_MR_BASIC) != 0 && (mode & FI_MR_SCALABLE) != 0;
    if (has_both || (is_legacy && has_others)) {
        return "domain_attr->mr_mode combines FI_MR_BASIC or FI_MR_SCALABLE with other bits; each stands "
               "alone";
    }
    if (FI_VERSION_LT(version, FI_VERSION(1, 5)) && has_others) {
        return "domain_attr->mr_mode has bits that the API before 1.5 does not know";
    }
    return {};
}

/// A job key, if there is one.
std::string check_key(const char* what, const std::uint8_t* key, std::size_t size)
{
    std::string error;
    static_cast<void>(job_keys_of(key, size, nullptr, error));
    return error.empty() ? error : std::string(what) + ": " + error;
}

std::string check_models(const fi_domain_attr& attr)
{
    if (raw(attr.threading) > FI_THREAD_ENDPOINT) {
        return "domain_attr->threading is unknown; srd offers all from FI_THREAD_SAFE on";
    }
    constexpr unsigned last_progress = 3; // FI_PROGRESS_CONTROL_UNIFIED of libfabric 2
    if (raw(attr.control_progress) > last_progress || raw(attr.data_progress) > last_progress) {
        return "domain_attr->control_progress or data_progress is unknown; srd offers FI_PROGRESS_AUTO and "
               "_MANUAL";
    }
    if (raw(attr.resource_mgmt) > FI_RM_ENABLED) {
        return "domain_attr->resource_mgmt is unknown; srd offers FI_RM_ENABLED";
    }
    if (raw(attr.av_type) > FI_AV_TABLE) {
        return "domain_attr->av_type is unknown; srd offers FI_AV_MAP and FI_AV_TABLE";
    }
    return {};
}

std::string check_domain(std::uint32_t version, const fi_domain_attr& attr)
{
    std::string always =
        first_of([&] { return check_models(attr); },
                 [&] { return at_most("domain_attr->cq_data_size", attr.cq_data_size, offer::cq_data_size); },
                 [&] { return check_mr_mode(version, attr.mr_mode); });
    if (!always.empty() || FI_VERSION_LT(version, FI_VERSION(1, 5))) {
        return always;
    }
    return first_of(
        [&] { return at_most("domain_attr->cntr_cnt", attr.cntr_cnt, offer::object_count); },
        [&] { return at_most("domain_attr->mr_iov_limit", attr.mr_iov_limit, max_iov); },
        [&] { return subset("domain_attr->caps", attr.caps, offer::domain_caps, FI_TYPE_CAPS); },
        [&] { return check_key("domain_attr->auth_key", attr.auth_key, attr.auth_key_size); },
        [&] { return at_most("domain_attr->max_err_data", attr.max_err_data, offer::error_data_size); },
        [&] { return at_most("domain_attr->mr_cnt", attr.mr_cnt, offer::region_count); });
}

std::string check_ep(std::uint32_t version, const fi_ep_attr& attr, std::uint64_t caps)
{
    const bool has_access = (caps & (FI_RMA | FI_ATOMIC)) != 0; // else an order of accesses means nothing
    const auto order_size = [&](const char* what, std::size_t wanted) {
        return has_access ? at_most(what, wanted, offer::max_order_size) : std::string{};
    };
    if (attr.protocol != FI_PROTO_UNSPEC && attr.protocol != endpoint_protocol) {
        return "ep_attr->protocol asks for another protocol; srd speaks its own, leave it FI_PROTO_UNSPEC";
    }
    return first_of(
        [&] {
            return at_most("ep_attr->protocol_version", attr.protocol_version, endpoint_protocol_version);
        },
        [&] { return at_most("ep_attr->max_msg_size", attr.max_msg_size, offer::max_msg_size); },
        [&] { return order_size("ep_attr->max_order_raw_size", attr.max_order_raw_size); },
        [&] { return order_size("ep_attr->max_order_war_size", attr.max_order_war_size); },
        [&] { return order_size("ep_attr->max_order_waw_size", attr.max_order_waw_size); },
        [&] { return at_most("ep_attr->tx_ctx_cnt", attr.tx_ctx_cnt, 1); },
        [&] { return at_most("ep_attr->rx_ctx_cnt", attr.rx_ctx_cnt, 1); },
        [&] {
            return takes_auth_keys(version)
                       ? check_key("ep_attr->auth_key", attr.auth_key, attr.auth_key_size)
                       : std::string{};
        });
}

std::string check_rx(const fi_rx_attr& attr)
{
    // Bits that mean nothing on this side; applications copy fi_info.caps here.
    constexpr std::uint64_t ignored =
        FI_READ | FI_WRITE | FI_SEND | FI_FENCE | FI_MULTICAST | FI_NAMED_RX_CTX | offer::domain_caps;
    return first_of(
        [&] { return subset("rx_attr->caps", attr.caps & ~ignored, offer::rx_caps, FI_TYPE_CAPS); },
        [&] { return subset("rx_attr->op_flags", attr.op_flags, offer::rx_op_flags, FI_TYPE_OP_FLAGS); },
        [&] { return subset("rx_attr->msg_order", attr.msg_order, offer::msg_order, FI_TYPE_MSG_ORDER); },
        [&] { return subset("rx_attr->comp_order", attr.comp_order, 0, FI_TYPE_MSG_ORDER); },
        [&] { return at_most("rx_attr->total_buffered_recv", attr.total_buffered_recv, 0); },
        [&] { return at_most("rx_attr->size", attr.size, offer::max_queue_size); },
        [&] { return at_most("rx_attr->iov_limit", attr.iov_limit, max_iov); });
}

std::string check_tx(const fi_tx_attr& attr)
{
    constexpr std::uint64_t ignored = FI_REMOTE_READ | FI_REMOTE_WRITE | FI_RECV | FI_DIRECTED_RECV |
                                      FI_MULTI_RECV | FI_SOURCE | FI_RMA_EVENT | FI_SOURCE_ERR |
                                      offer::domain_caps;
    return first_of(
        [&] { return subset("tx_attr->caps", attr.caps & ~ignored, offer::tx_caps, FI_TYPE_CAPS); },
        [&] { return subset("tx_attr->op_flags", attr.op_flags, offer::tx_op_flags, FI_TYPE_OP_FLAGS); },
        [&] { return subset("tx_attr->msg_order", attr.msg_order, offer::msg_order, FI_TYPE_MSG_ORDER); },
        [&] { return subset("tx_attr->comp_order", attr.comp_order, 0, FI_TYPE_MSG_ORDER); },
        [&] { return at_most("tx_attr->inject_size", attr.inject_size, max_inject_size); },
        [&] { return at_most("tx_attr->size", attr.size, offer::max_queue_size); },
        [&] { return at_most("tx_attr->iov_limit", attr.iov_limit, max_iov); },
        [&] { return at_most("tx_attr->rma_iov_limit", attr.rma_iov_limit, max_iov); });
}

} // namespace

std::string info_mismatch(std::uint32_t version, const fi_info& hints)
{
    const std::string nothing;
    return first_of(
        [&] { return check_ep_type(hints); },
        [&] { return subset("caps", hints.caps, offer::caps, FI_TYPE_CAPS); },
        [&] { return check_devices(hints); }, [&] { return check_addr_format(hints); },
        [&] { return check_fabric(hints); },
        [&] { return hints.domain_attr == nullptr ? nothing : check_domain(version, *hints.domain_attr); },
        [&] { return hints.ep_attr == nullptr ? nothing : check_ep(version, *hints.ep_attr, hints.caps); },
        [&] { return hints.rx_attr == nullptr ? nothing : check_rx(*hints.rx_attr); },
        [&] { return hints.tx_attr == nullptr ? nothing : check_tx(*hints.tx_attr); });
}

} // namespace srd
