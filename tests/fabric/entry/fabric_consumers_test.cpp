// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the libraries above libfabric ask fi_getinfo for, written after their sources, and what must come
// back. A library that is refused here takes another provider, often without a word. It tells nothing of
// versions that ask otherwise.
#include "fabric/fabric_support.hpp"

#include <algorithm>
#include <functional>
#include <vector>

using namespace fabric_test;

namespace {

constexpr std::uint64_t any_host = FI_LOCAL_COMM | FI_REMOTE_COMM;
constexpr std::uint64_t contexts = FI_CONTEXT | FI_CONTEXT2;
constexpr int mr_basic_map = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
constexpr std::uint64_t atomic_orders =
    FI_ORDER_ATOMIC_RAR | FI_ORDER_ATOMIC_RAW | FI_ORDER_ATOMIC_WAR | FI_ORDER_ATOMIC_WAW;

struct Consumer {
    const char* name;
    std::uint32_t version; ///< that it asks for; an older libfabric is asked for its own
    std::function<void(fi_info&)> ask;
    int code;                                      ///< of fi_getinfo
    int mr_mode;                                   ///< that comes back
    std::function<void(const fi_info&)> also = {}; ///< what else it cannot do without
};

void set_progress(fi_info& hints, fi_progress progress)
{
    hints.domain_attr->control_progress = progress;
    hints.domain_attr->data_progress = progress;
}

void set_order(fi_info& hints, std::uint64_t order)
{
    hints.tx_attr->msg_order = order;
    hints.rx_attr->msg_order = order;
}

// -- MPI

void openmpi_mtl(fi_info& hints)
{
    hints.mode = contexts;
    hints.caps = FI_TAGGED | FI_MSG | any_host | FI_DIRECTED_RECV;
    set_order(hints, FI_ORDER_SAS);
    hints.tx_attr->op_flags = FI_COMPLETION;
    hints.rx_attr->op_flags = FI_COMPLETION;
    hints.domain_attr->threading = FI_THREAD_DOMAIN;
    hints.domain_attr->resource_mgmt = FI_RM_ENABLED;
    hints.domain_attr->av_type = FI_AV_MAP;
    hints.domain_attr->cq_data_size = 4;
}

void openmpi_mtl_device(fi_info& hints)
{
    openmpi_mtl(hints);
    hints.caps |= FI_HMEM;
    hints.domain_attr->mr_mode = FI_MR_ALLOCATED | FI_MR_HMEM;
}

/// osc/rdma sits on it.
void openmpi_btl(fi_info& hints)
{
    hints.mode = contexts;
    hints.caps = FI_RMA | FI_ATOMIC | FI_MSG;
    hints.tx_attr->op_flags = FI_DELIVERY_COMPLETE;
    hints.tx_attr->iov_limit = 1;
    hints.domain_attr->mr_mode = mr_basic_map | FI_MR_ENDPOINT;
}

void openmpi_btl_device(fi_info& hints)
{
    openmpi_btl(hints);
    hints.caps |= FI_HMEM;
    hints.domain_attr->mr_mode |= FI_MR_HMEM;
}

/// Intel MPI derives from it. Capabilities are those of the answer without hints (below).
void mpich(fi_info& hints)
{
    hints.mode = contexts | FI_ASYNC_IOV | FI_RX_CQ_DATA;
    hints.domain_attr->mode = FI_RESTRICTED_COMP;
    int code = 0;
    hints.caps = get_info(code, nullptr)->caps;
    hints.addr_format = FI_SOCKADDR_IN;
    set_order(hints, FI_ORDER_SAS);
    hints.tx_attr->msg_order |= atomic_orders;
    hints.tx_attr->op_flags = FI_COMPLETION | FI_DELIVERY_COMPLETE;
    hints.rx_attr->op_flags = FI_COMPLETION;
    hints.domain_attr->threading = FI_THREAD_DOMAIN;
    set_progress(hints, FI_PROGRESS_MANUAL);
    hints.domain_attr->resource_mgmt = FI_RM_ENABLED;
    hints.domain_attr->av_type = FI_AV_TABLE;
}

void mpich_needs(const fi_info& info)
{
    CHECK((info.caps & (FI_MSG | FI_MULTI_RECV | FI_TAGGED | FI_RMA | FI_ATOMIC | FI_DIRECTED_RECV)) ==
          (FI_MSG | FI_MULTI_RECV | FI_TAGGED | FI_RMA | FI_ATOMIC | FI_DIRECTED_RECV));
    CHECK(info.ep_attr->max_msg_size >= 16384);
    CHECK(info.domain_attr->cq_data_size >= 4);
    CHECK(info.domain_attr->threading == FI_THREAD_DOMAIN); // exactly, or it gives up
}

// -- Collectives, storage

void oneccl(fi_info& hints)
{
    hints.mode = FI_CONTEXT;
    hints.caps = FI_TAGGED;
    hints.domain_attr->resource_mgmt = FI_RM_ENABLED;
    set_progress(hints, FI_PROGRESS_MANUAL);
}

void nccl_plugin_sendrecv(fi_info& hints)
{
    hints.mode = contexts;
    hints.caps = any_host | FI_TAGGED | FI_MSG;
    hints.domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ENDPOINT | mr_basic_map;
    hints.domain_attr->mr_key_size = 2;
    hints.domain_attr->threading = FI_THREAD_SAFE;
    set_order(hints, FI_ORDER_SAS);
}

void nccl_plugin_sendrecv_device(fi_info& hints)
{
    nccl_plugin_sendrecv(hints);
    hints.caps |= FI_HMEM | FI_RMA | FI_READ;
    hints.domain_attr->mr_mode |= FI_MR_HMEM;
}

void nccl_plugin_rdma(fi_info& hints)
{
    hints.mode = contexts;
    hints.caps = FI_MSG | FI_RMA | FI_HMEM | any_host;
    hints.domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_HMEM | FI_MR_ENDPOINT | mr_basic_map;
    hints.domain_attr->mr_key_size = 2;
    hints.domain_attr->threading = FI_THREAD_COMPLETION;
    hints.domain_attr->cq_data_size = 4;
}

void nixl_list(fi_info& hints)
{
    hints.mode = FI_CONTEXT;
    hints.caps = FI_MSG | FI_RMA | any_host;
    hints.domain_attr->mr_mode = ~(FI_MR_BASIC | FI_MR_SCALABLE);
}

void nixl_rail(fi_info& hints)
{
    nixl_list(hints);
    hints.caps |= FI_HMEM;
    hints.domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_HMEM | mr_basic_map;
    hints.domain_attr->mr_key_size = 2;
    hints.domain_attr->threading = FI_THREAD_COMPLETION;
}

/// DAOS speaks through it.
void mercury(fi_info& hints)
{
    hints.mode = FI_ASYNC_IOV | FI_CONTEXT;
    hints.caps = FI_MSG | FI_TAGGED | FI_RMA | FI_DIRECTED_RECV | FI_SOURCE | FI_MULTI_RECV;
    hints.tx_attr->op_flags = FI_INJECT_COMPLETE;
    hints.domain_attr->resource_mgmt = FI_RM_ENABLED;
    hints.domain_attr->mr_mode = mr_basic_map | FI_MR_LOCAL | FI_MR_ENDPOINT;
    set_progress(hints, FI_PROGRESS_MANUAL);
    hints.addr_format = FI_SOCKADDR_IN;
    hints.domain_attr->threading = FI_THREAD_SAFE;
}

// -- PGAS

void gasnet(fi_info& hints)
{
    hints.mode = FI_CONTEXT;
    hints.caps = FI_RMA | FI_MSG | FI_MULTI_RECV;
    hints.tx_attr->op_flags = FI_DELIVERY_COMPLETE | FI_COMPLETION;
    hints.rx_attr->op_flags = FI_MULTI_RECV | FI_COMPLETION;
    hints.domain_attr->threading = FI_THREAD_SAFE;
    hints.domain_attr->control_progress = FI_PROGRESS_MANUAL;
    hints.domain_attr->resource_mgmt = FI_RM_ENABLED;
    hints.domain_attr->av_type = FI_AV_TABLE;
    hints.domain_attr->mr_mode = mr_basic_map | FI_MR_ENDPOINT;
}

/// Says that it could register device memory, and then asks for none of it.
void gasnet_memory_kinds(fi_info& hints)
{
    gasnet(hints);
    hints.domain_attr->mr_mode |= FI_MR_HMEM;
}

void chapel(fi_info& hints)
{
    hints.mode = FI_CONTEXT;
    hints.caps = FI_MSG | FI_MULTI_RECV | FI_RMA | FI_ATOMIC | any_host;
    hints.tx_attr->op_flags = FI_COMPLETION | FI_DELIVERY_COMPLETE;
    hints.domain_attr->threading = FI_THREAD_SAFE;
    set_progress(hints, FI_PROGRESS_MANUAL);
    hints.domain_attr->av_type = FI_AV_TABLE;
    hints.domain_attr->mr_mode = mr_basic_map | FI_MR_LOCAL | FI_MR_ENDPOINT;
    hints.domain_attr->resource_mgmt = FI_RM_ENABLED;
}

/// Where the order of messages is to make its memory model, it wants that of writes, too.
void chapel_ordered(fi_info& hints)
{
    chapel(hints);
    set_order(hints, FI_ORDER_RAW | FI_ORDER_WAW | FI_ORDER_SAW | FI_ORDER_SAS);
}

void sandia_shmem(fi_info& hints)
{
    hints.caps = FI_RMA | FI_ATOMIC | FI_RMA_EVENT | FI_FENCE;
    hints.domain_attr->data_progress = FI_PROGRESS_AUTO;
    hints.domain_attr->resource_mgmt = FI_RM_ENABLED;
    hints.domain_attr->mr_key_size = 1;
    hints.domain_attr->threading = FI_THREAD_DOMAIN;
    hints.tx_attr->op_flags = FI_DELIVERY_COMPLETE;
}

void sandia_shmem_basic(fi_info& hints)
{
    sandia_shmem(hints);
    hints.domain_attr->mr_mode = mr_basic_map;
}

void nvshmem(fi_info& hints)
{
    hints.mode = FI_CONTEXT2;
    hints.caps = FI_RMA | FI_HMEM | FI_MSG | FI_SOURCE;
    hints.domain_attr->mr_mode = mr_basic_map | FI_MR_LOCAL | FI_MR_HMEM;
    hints.domain_attr->data_progress = FI_PROGRESS_MANUAL;
    hints.domain_attr->threading = FI_THREAD_SAFE;
    hints.tx_attr->op_flags = FI_DELIVERY_COMPLETE;
}

/// As it asks a provider of verbs: it would hand over device memory that nobody has told of.
void nvshmem_verbs(fi_info& hints)
{
    nvshmem(hints);
    hints.caps = FI_RMA | FI_HMEM | FI_ATOMIC;
    hints.domain_attr->mr_mode = mr_basic_map;
}

void pingpong(fi_info& hints)
{
    hints.mode = FI_CONTEXT;
    hints.caps = FI_MSG;
    hints.domain_attr->mr_mode = FI_MR_LOCAL | mr_basic_map;
}

constexpr std::uint32_t api(unsigned major, unsigned minor)
{
    return FI_VERSION(major, minor);
}

const std::vector<Consumer> consumers = {
    {"Open MPI 4.1, mtl/ofi", api(1, 5),
     [](fi_info& h) {
         openmpi_mtl(h);
         h.caps &= ~FI_MSG;
     },
     0, 0},
    {"Open MPI 5.0, mtl/ofi", api(1, 18),
     [](fi_info& h) {
         openmpi_mtl(h);
         h.domain_attr->mr_mode = FI_MR_ALLOCATED;
     },
     0, FI_MR_ALLOCATED},
    {"Open MPI 5.0 with CUDA, mtl/ofi", api(1, 18), openmpi_mtl_device, 0, FI_MR_ALLOCATED | FI_MR_HMEM},
    {"Open MPI, btl/ofi", api(1, 18), openmpi_btl, 0, mr_basic_map,
     [](const fi_info& info) { CHECK(info.domain_attr->max_ep_tx_ctx == 1); }}, // more: scalable endpoints
    {"Open MPI with CUDA, btl/ofi", api(1, 18), openmpi_btl_device, 0, mr_basic_map | FI_MR_HMEM},
    {"MPICH, ch4:ofi", api(1, 17), mpich, 0, 0, mpich_needs},
    {"MPICH, ch4:ofi, keys of the provider", api(1, 17),
     [](fi_info& h) {
         mpich(h);
         h.domain_attr->mr_mode = mr_basic_map | FI_MR_ENDPOINT;
     },
     0, mr_basic_map, mpich_needs},
    {"oneCCL", api(1, 10), oneccl, 0, 0},
    {"aws-ofi-nccl, SENDRECV", api(1, 6), nccl_plugin_sendrecv, 0, mr_basic_map},
    {"aws-ofi-nccl, SENDRECV, GPUDirect", api(1, 18), nccl_plugin_sendrecv_device, 0,
     mr_basic_map | FI_MR_HMEM},
    {"aws-ofi-nccl, RDMA", api(1, 18), nccl_plugin_rdma, 0, mr_basic_map | FI_MR_HMEM},
    {"NIXL, list of devices", api(1, 18), nixl_list, 0, mr_basic_map},
    {"NIXL, rail", api(1, 18), nixl_rail, 0, mr_basic_map | FI_MR_HMEM},
    {"Mercury, DAOS", api(1, 13), mercury, 0, mr_basic_map},
    {"GASNet-EX, ofi", api(1, 5), gasnet, 0, mr_basic_map},
    {"GASNet-EX, ofi, memory kinds", api(1, 5), gasnet_memory_kinds, 0, mr_basic_map},
    {"Chapel", api(1, 9), chapel, 0, mr_basic_map},
    {"Chapel, ordered writes", api(1, 9), chapel_ordered, -FI_ENODATA, 0},
    {"Sandia OpenSHMEM, scalable keys", api(1, 5), sandia_shmem, 0, 0,
     [](const fi_info& info) { CHECK(info.tx_attr->inject_size >= sizeof(long double)); }},
    {"Sandia OpenSHMEM, basic keys", api(1, 5), sandia_shmem_basic, 0, mr_basic_map},
    {"NVSHMEM, libfabric", api(1, 15), nvshmem, 0, mr_basic_map | FI_MR_HMEM},
    {"NVSHMEM, libfabric as over verbs", api(1, 15), nvshmem_verbs, -FI_ENODATA, 0},
    {"fi_pingpong", api(1, 17), pingpong, 0, mr_basic_map},
};

/// What holds of every answer, whoever asks: nothing is less than was asked for.
void check_answer(const fi_info& info, const fi_info& hints)
{
    CHECK((hints.caps & ~info.caps) == 0);
    CHECK(info.mode == 0);
    CHECK(info.tx_attr->mode == 0);
    CHECK(info.domain_attr->mode == 0);
    CHECK((info.domain_attr->mr_mode & ~hints.domain_attr->mr_mode) == 0);
    CHECK(info.tx_attr->op_flags == hints.tx_attr->op_flags);
    CHECK(info.rx_attr->op_flags == hints.rx_attr->op_flags);
    CHECK((hints.tx_attr->msg_order & ~info.tx_attr->msg_order) == 0);
    CHECK((hints.rx_attr->msg_order & ~info.rx_attr->msg_order) == 0);
    CHECK(info.domain_attr->cq_data_size >= hints.domain_attr->cq_data_size);
    CHECK(info.domain_attr->mr_key_size >= hints.domain_attr->mr_key_size);
    CHECK(info.tx_attr->iov_limit >= hints.tx_attr->iov_limit);
    CHECK((hints.domain_attr->threading == FI_THREAD_UNSPEC ||
           info.domain_attr->threading == hints.domain_attr->threading));
    CHECK((hints.domain_attr->data_progress == FI_PROGRESS_UNSPEC ||
           info.domain_attr->data_progress == hints.domain_attr->data_progress));
    CHECK((hints.domain_attr->av_type == FI_AV_UNSPEC ||
           info.domain_attr->av_type == hints.domain_attr->av_type));
    CHECK(info.domain_attr->resource_mgmt == FI_RM_ENABLED);
    CHECK(info.src_addrlen <= 56); // of aws-ofi-nccl's handle
}

} // namespace

TEST_CASE("consumers get what they ask for")
{
    for (const Consumer& consumer : consumers) {
        INFO(consumer.name);
        const InfoPtr hints = make_hints(0);
        consumer.ask(*hints);
        int code = 0;
        const InfoPtr list =
            get_info(code, hints.get(), nullptr, nullptr, 0, std::min(consumer.version, fi_version()));
        REQUIRE(code == consumer.code);
        for (const fi_info* info = list.get(); info != nullptr; info = info->next) {
            check_answer(*info, *hints);
            CHECK(info->domain_attr->mr_mode == consumer.mr_mode);
            if (consumer.also) {
                consumer.also(*info);
            }
        }
    }
}

TEST_CASE("what consumers are given, they can open")
{
    for (const Consumer& consumer : consumers) {
        if (consumer.code != 0) {
            continue;
        }
        INFO(consumer.name);
        InfoPtr hints = make_hints(0);
        consumer.ask(*hints);
        OpenDomain domain("127.0.0.1", std::move(hints), std::min(consumer.version, fi_version()));
        Handle<fid_ep> ep;
        CHECK(fi_endpoint(domain.domain.get(), domain.info.get(), ep.out(), nullptr) == 0);
    }
}

namespace {

struct Change {
    const char* what;
    std::function<void(fi_info&)> apply;
};
/// What applications write into an info between fi_getinfo and the calls that open something.
const std::vector<Change> refused = {
    {"capabilities", [](fi_info& i) { i.caps |= FI_RMA_PMEM; }},
    {"endpoint type", [](fi_info& i) { i.ep_attr->type = FI_EP_MSG; }},
    {"protocol", [](fi_info& i) { i.ep_attr->protocol = FI_PROTO_SOCK_TCP; }},
    {"message size", [](fi_info& i) { i.ep_attr->max_msg_size = SIZE_MAX; }},
    {"contexts", [](fi_info& i) { i.ep_attr->tx_ctx_cnt = 2; }},
    {"tx capabilities", [](fi_info& i) { i.tx_attr->caps |= FI_COLLECTIVE; }},
    {"tx flags", [](fi_info& i) { i.tx_attr->op_flags = FI_COMMIT_COMPLETE; }},
    {"tx order", [](fi_info& i) { i.tx_attr->msg_order |= FI_ORDER_WAW; }},
    {"tx size", [](fi_info& i) { i.tx_attr->size = 1U << 30; }},
    {"inject size", [](fi_info& i) { i.tx_attr->inject_size = 1U << 20; }},
    {"rx flags", [](fi_info& i) { i.rx_attr->op_flags = FI_TRIGGER; }},
    {"rx iovs", [](fi_info& i) { i.rx_attr->iov_limit = 5; }},
    {"registration", [](fi_info& i) { i.domain_attr->mr_mode = FI_MR_BASIC | FI_MR_LOCAL; }},
    {"cq data", [](fi_info& i) { i.domain_attr->cq_data_size = 9; }},
    {"address format", [](fi_info& i) { i.addr_format = FI_ADDR_GNI; }},
};

} // namespace

TEST_CASE("fi_domain and fi_endpoint agree about an info that they refuse")
{
    OpenDomain opened;
    for (const Change& change : refused) {
        INFO(change.what);
        const InfoPtr info(fi_dupinfo(opened.info.get()), &fi_freeinfo);
        change.apply(*info);
        fid_domain* domain = nullptr;
        CHECK(fi_domain(opened.fabric.get(), info.get(), &domain, nullptr) == -FI_EINVAL);
        fid_ep* ep = nullptr;
        CHECK(fi_endpoint(opened.domain.get(), info.get(), &ep, nullptr) == -FI_EINVAL);
    }
}

TEST_CASE("an info with less than was given is no mismatch: GASNet opens its endpoints so")
{
    InfoPtr hints = make_hints(0);
    gasnet(*hints);
    OpenDomain opened("127.0.0.1", std::move(hints), FI_VERSION(1, 5));
    const InfoPtr info(fi_dupinfo(opened.info.get()), &fi_freeinfo);
    info->caps = FI_RMA;
    info->rx_attr->op_flags = 0;
    Handle<fid_ep> rma;
    CHECK(fi_endpoint(opened.domain.get(), info.get(), rma.out(), nullptr) == 0);
    info->caps = FI_MSG | FI_MULTI_RECV;
    info->tx_attr->op_flags = 0;
    info->rx_attr->op_flags = FI_MULTI_RECV;
    Handle<fid_ep> messages;
    CHECK(fi_endpoint(opened.domain.get(), info.get(), messages.out(), nullptr) == 0);
}
