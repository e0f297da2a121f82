// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "entry/backend.hpp"
#include "entry/identity.hpp"
#include "entry/info.hpp"
#include "entry/job_keys.hpp"
#include "entry/nic.hpp"

namespace srd {

namespace {

/// Attribute blocks are larger in newer libfabrics, which read (as zero) and free what was built
/// for this header. So every block is this large, more than any version's.
constexpr std::size_t block_size = 512;
static_assert(sizeof(fi_domain_attr) * 2 <= block_size);

template <typename Block>
Block* make_block()
{
    static_assert(std::is_trivial_v<Block> && sizeof(Block) <= block_size);
    void* memory = std::calloc(1, block_size);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return static_cast<Block*>(memory);
}

char* copy_text(const std::string& text)
{
    char* copy = strdup(text.c_str());
    if (copy == nullptr) {
        throw std::bad_alloc();
    }
    return copy;
}

void* copy_address(const SocketAddress& address)
{
    void* copy = std::malloc(address.size());
    if (copy == nullptr) {
        throw std::bad_alloc();
    }
    std::memcpy(copy, address.bytes().data(), address.size());
    return copy;
}

template <typename Field>
void take(Field& field, const Field& hint)
{
    if (hint != Field{}) {
        field = hint;
    }
}

/// What of the primary capabilities is asked for (no hints, or zero: everything), and what costs nothing.
std::uint64_t chosen_caps(const fi_info* hints, std::uint64_t comm_caps)
{
    const std::uint64_t offered = offer::caps & (~offer::comm_caps | comm_caps);
    if (hints == nullptr || hints->caps == 0) {
        return offered & ~offer::explicit_caps;
    }
    // Which hosts can be reached is a fact and costs nothing; libfabric 2 counts it among the secondary bits.
    std::uint64_t caps = (hints->caps | offer::free_caps | comm_caps) & offered;
    if ((caps & FI_SOURCE_ERR) != 0) {
        caps |= FI_SOURCE; // means nothing without
    }
    // fi_getinfo(3): without a direction all are meant.
    constexpr std::uint64_t messages = FI_SEND | FI_RECV;
    constexpr std::uint64_t accesses = FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
    if ((caps & (FI_MSG | FI_TAGGED)) != 0 && (caps & messages) == 0) {
        caps |= messages;
    }
    if ((caps & (FI_RMA | FI_ATOMIC)) != 0 && (caps & accesses) == 0) {
        caps |= accesses;
    }
    return caps;
}

/// Of one side: what the info has and this side's hint, if any, does not leave out.
std::uint64_t side_caps(std::uint64_t info_caps, std::uint64_t hint, std::uint64_t offered)
{
    std::uint64_t caps = info_caps & offered;
    if (hint != 0) {
        constexpr std::uint64_t kept =
            offer::free_caps | FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
        caps &= hint | kept;
    }
    return caps;
}

void fill_tx(fi_tx_attr& attr, std::uint64_t caps, const fi_tx_attr* hints)
{
    attr.caps = side_caps(caps, hints != nullptr ? hints->caps : 0, offer::tx_caps);
    attr.op_flags = FI_COMPLETION;
    attr.msg_order = offer::msg_order;
    attr.inject_size = max_inject_size;
    attr.size = offer::default_queue_size;
    attr.iov_limit = max_iov;
    attr.rma_iov_limit = max_iov;
    if (hints != nullptr) {
        attr.op_flags = hints->op_flags; // zero is a choice too
        take(attr.inject_size, hints->inject_size);
        take(attr.size, hints->size);
        take(attr.iov_limit, hints->iov_limit);
        take(attr.rma_iov_limit, hints->rma_iov_limit);
    }
}

void fill_rx(fi_rx_attr& attr, std::uint64_t caps, const fi_rx_attr* hints)
{
    attr.caps = side_caps(caps, hints != nullptr ? hints->caps : 0, offer::rx_caps);
    attr.op_flags = FI_COMPLETION;
    attr.msg_order = offer::msg_order;
    attr.size = offer::default_queue_size;
    attr.iov_limit = max_iov;
    if (hints != nullptr) {
        attr.op_flags = hints->op_flags;
        take(attr.size, hints->size);
        take(attr.iov_limit, hints->iov_limit);
    }
}

/// Whoever opens what fi_getinfo has found uses the key of the hints.
template <typename Attributes>
void copy_key(Attributes& attr, const Attributes* hints)
{
    if (hints == nullptr || hints->auth_key_size == 0) {
        return;
    }
    attr.auth_key = static_cast<std::uint8_t*>(std::malloc(hints->auth_key_size));
    if (attr.auth_key == nullptr) {
        throw std::bad_alloc();
    }
    std::memcpy(attr.auth_key, hints->auth_key, hints->auth_key_size);
    attr.auth_key_size = hints->auth_key_size;
}

void fill_ep(fi_ep_attr& attr, const fi_ep_attr* hints)
{
    attr.type = FI_EP_RDM;
    attr.protocol = endpoint_protocol;
    attr.protocol_version = endpoint_protocol_version;
    attr.max_msg_size = offer::max_msg_size;
    attr.max_order_raw_size = offer::max_order_size;
    attr.max_order_war_size = offer::max_order_size;
    attr.max_order_waw_size = offer::max_order_size;
    attr.mem_tag_format = offer::mem_tag_format;
    attr.tx_ctx_cnt = 1;
    attr.rx_ctx_cnt = 1;
    if (hints != nullptr) {
        take(attr.max_order_raw_size, hints->max_order_raw_size);
        take(attr.max_order_war_size, hints->max_order_war_size);
        take(attr.max_order_waw_size, hints->max_order_waw_size);
    }
}

/// No mode is needed. An application that can do with virtual addresses and keys of ours gets those, whatever
/// else it can do with, as from providers of devices: for many it is the only way that they have tried, and
/// nobody can guess our keys.
int chosen_mr_mode(std::uint32_t version, std::uint64_t caps, const fi_domain_attr* hints)
{
    const int legacy = hints != nullptr ? hints->mr_mode & (FI_MR_BASIC | FI_MR_SCALABLE) : 0;
    if (legacy != 0) {
        return legacy;
    }
    if (FI_VERSION_LT(version, FI_VERSION(1, 5))) {
        return static_cast<int>(FI_MR_BASIC); // as every other provider: Charm++ knows no other
    }
    const int modes = offer::mr_modes | ((caps & FI_HMEM) != 0 ? FI_MR_HMEM : 0);
    return hints != nullptr ? hints->mr_mode & modes : 0;
}

void fill_domain(fi_domain_attr& attr, std::uint32_t version, std::uint64_t caps, const fi_domain_attr* hints)
{
    attr.threading = FI_THREAD_SAFE;
    attr.control_progress = FI_PROGRESS_MANUAL;
    attr.data_progress = FI_PROGRESS_MANUAL;
    attr.resource_mgmt = FI_RM_ENABLED;
    attr.av_type = FI_AV_UNSPEC;
    attr.mr_mode = chosen_mr_mode(version, caps, hints);
    attr.mr_key_size = offer::mr_key_size;
    attr.cq_data_size = offer::cq_data_size;
    attr.cq_cnt = offer::object_count;
    attr.ep_cnt = offer::object_count;
    attr.tx_ctx_cnt = offer::object_count;
    attr.rx_ctx_cnt = offer::object_count;
    attr.max_ep_tx_ctx = 1;
    attr.max_ep_rx_ctx = 1;
    attr.cntr_cnt = offer::object_count;
    attr.mr_iov_limit = max_iov;
    attr.max_err_data = offer::error_data_size;
    attr.mr_cnt = offer::region_count;
    if (hints != nullptr) {
        take(attr.threading, hints->threading);
        take(attr.control_progress, hints->control_progress);
        take(attr.data_progress, hints->data_progress);
        take(attr.av_type, hints->av_type);
    }
}

} // namespace

fi_info* build_info(std::uint32_t version, const NetInterface& entry, const std::string& domain,
                    const SocketAddress& source, const SocketAddress& destination, std::uint64_t comm_caps,
                    const fi_info* hints)
{
    std::unique_ptr<fi_info, decltype(&fi_freeinfo)> owner(make_block<fi_info>(), &fi_freeinfo);
    fi_info& info = *owner;
    info.tx_attr = make_block<fi_tx_attr>();
    info.rx_attr = make_block<fi_rx_attr>();
    info.ep_attr = make_block<fi_ep_attr>();
    info.domain_attr = make_block<fi_domain_attr>();
    info.fabric_attr = make_block<fi_fabric_attr>();

    info.caps = chosen_caps(hints, comm_caps);
    info.addr_format = source.family() == AF_INET6 ? FI_SOCKADDR_IN6 : FI_SOCKADDR_IN;
    info.src_addr = copy_address(source);
    info.src_addrlen = source.size();
    if (!destination.empty()) {
        info.dest_addr = copy_address(destination);
        info.dest_addrlen = destination.size();
    }
    info.handle = hints != nullptr ? hints->handle : nullptr;
    fill_tx(*info.tx_attr, info.caps, hints != nullptr ? hints->tx_attr : nullptr);
    fill_rx(*info.rx_attr, info.caps, hints != nullptr ? hints->rx_attr : nullptr);
    fill_ep(*info.ep_attr, hints != nullptr ? hints->ep_attr : nullptr);
    fill_domain(*info.domain_attr, version, info.caps, hints != nullptr ? hints->domain_attr : nullptr);
    if (hints != nullptr && takes_auth_keys(version)) {
        copy_key(*info.ep_attr, hints->ep_attr);
        copy_key(*info.domain_attr, hints->domain_attr);
    }
    info.domain_attr->caps = comm_caps | FI_SHARED_AV;
    info.domain_attr->name = copy_text(domain);
    info.fabric_attr->name = copy_text(fabric_name_of(entry)); // prov_name stays null: the core writes it
    info.nic = make_nic(device_of(entry, domain));
    return owner.release();
}

} // namespace srd
