// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fabric/fabric_support.hpp"

#include <array>
#include <functional>
#include <vector>

#include <srd/limits.hpp>

#include "wire/layout.hpp"

using namespace fabric_test;

namespace {

const sockaddr_in& ipv4_of(const void* address)
{
    return *static_cast<const sockaddr_in*>(address);
}

/// A value that the enumeration does not have, as a newer or a broken application may send.
template <typename Enum>
void set_raw(Enum& field, unsigned value)
{
    static_assert(sizeof(field) == sizeof(value));
    std::memcpy(&field, &value, sizeof(value));
}

} // namespace

TEST_CASE("no hints: every interface, loopback last and in a fabric of its own")
{
    int code = 0;
    const InfoPtr list = get_info(code, nullptr);
    REQUIRE(code == 0);
    bool seen_loopback = false;
    for (const fi_info* info = list.get(); info != nullptr; info = info->next) {
        CHECK(std::string(info->fabric_attr->prov_name) == "srd");
        CHECK(info->fabric_attr->prov_version == FI_VERSION(SRD_VERSION_MAJOR, SRD_VERSION_MINOR));
        CHECK(info->ep_attr->type == FI_EP_RDM);
        CHECK(info->ep_attr->protocol_version == srd::wire::protocol_version);
        CHECK(info->mode == 0);
        CHECK(info->domain_attr->mr_mode == 0);
        CHECK(info->src_addr != nullptr);
        CHECK(info->dest_addr == nullptr);
        CHECK((info->addr_format == FI_SOCKADDR_IN || info->addr_format == FI_SOCKADDR_IN6));
        CHECK(info->src_addrlen ==
              (info->addr_format == FI_SOCKADDR_IN ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)));
        constexpr std::uint64_t expected = FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC | FI_SEND | FI_RECV |
                                           FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE | FI_FENCE |
                                           FI_RMA_EVENT | FI_MULTI_RECV;
        CHECK((info->caps & expected) == expected);
        CHECK(info->tx_attr->rma_iov_limit == 4);
        constexpr std::uint64_t atomic_orders =
            FI_ORDER_ATOMIC_RAR | FI_ORDER_ATOMIC_RAW | FI_ORDER_ATOMIC_WAR | FI_ORDER_ATOMIC_WAW;
        CHECK(info->tx_attr->msg_order == (FI_ORDER_SAS | atomic_orders));
        CHECK(info->rx_attr->msg_order == (FI_ORDER_SAS | atomic_orders));
        CHECK(info->ep_attr->max_order_raw_size == srd::max_atomic_size);
        CHECK(info->ep_attr->max_order_war_size == srd::max_atomic_size);
        CHECK(info->ep_attr->max_order_waw_size == srd::max_atomic_size);
        CHECK((info->caps & FI_DIRECTED_RECV) != 0);
        CHECK(info->domain_attr->max_ep_tx_ctx == 1);
        CHECK(info->domain_attr->max_err_data == srd::max_address_size);
        if (seen_loopback) {
            CHECK(is_loopback(*info));
        }
        seen_loopback = seen_loopback || is_loopback(*info);
        for (const fi_info* other = list.get(); other != info; other = other->next) {
            if (is_loopback(*other) != is_loopback(*info)) {
                CHECK(std::string(other->fabric_attr->name) != info->fabric_attr->name);
            }
        }
    }
    CHECK(seen_loopback);
}

TEST_CASE("hints change the answer")
{
    const InfoPtr hints = make_hints(FI_MSG);
    hints->domain_attr->threading = FI_THREAD_DOMAIN;
    hints->domain_attr->control_progress = FI_PROGRESS_AUTO;
    hints->domain_attr->data_progress = FI_PROGRESS_AUTO;
    hints->domain_attr->av_type = FI_AV_MAP;
    hints->domain_attr->resource_mgmt = FI_RM_DISABLED;
    hints->tx_attr->size = 2048;
    hints->tx_attr->inject_size = 16;
    hints->tx_attr->iov_limit = 2;
    hints->tx_attr->op_flags = FI_DELIVERY_COMPLETE;
    hints->rx_attr->size = 512;
    int code = 0;
    const InfoPtr info = get_info(code, hints.get());
    REQUIRE(code == 0);
    CHECK(info->domain_attr->threading == FI_THREAD_DOMAIN);
    CHECK(info->domain_attr->control_progress == FI_PROGRESS_AUTO);
    CHECK(info->domain_attr->data_progress == FI_PROGRESS_AUTO);
    CHECK(info->domain_attr->av_type == FI_AV_MAP);
    CHECK(info->domain_attr->resource_mgmt == FI_RM_ENABLED);
    CHECK(info->tx_attr->size == 2048);
    CHECK(info->tx_attr->inject_size == 16);
    CHECK(info->tx_attr->iov_limit == 2);
    CHECK(info->tx_attr->op_flags == FI_DELIVERY_COMPLETE);
    CHECK(info->rx_attr->size == 512);
    CHECK(info->rx_attr->op_flags == 0);
    // Primary capabilities only if asked for; what costs nothing always; both directions by default.
    CHECK((info->caps & (FI_TAGGED | FI_SOURCE | FI_DIRECTED_RECV)) == 0);
    CHECK((info->caps & (FI_MULTI_RECV | FI_SEND | FI_RECV)) == (FI_MULTI_RECV | FI_SEND | FI_RECV));
    CHECK((info->caps & (FI_RMA | FI_ATOMIC | FI_READ | FI_REMOTE_WRITE)) == 0);
    CHECK((info->tx_attr->caps & ~info->caps) == 0);
    CHECK((info->rx_attr->caps & ~info->caps) == 0);
}

TEST_CASE("directions are filled in for messages and for remote access, each if none is named")
{
    constexpr std::uint64_t messages = FI_SEND | FI_RECV;
    constexpr std::uint64_t accesses = FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
    struct Row {
        std::uint64_t asked;
        std::uint64_t answered; ///< of the direction bits
    };
    const Row row = GENERATE(Row{FI_MSG, messages}, Row{FI_RMA, accesses}, Row{FI_ATOMIC, accesses},
                             Row{FI_MSG | FI_RMA, messages | accesses},
                             Row{FI_TAGGED | FI_ATOMIC | FI_SEND, FI_SEND | accesses},
                             Row{FI_MSG | FI_RMA | FI_WRITE, messages | FI_WRITE},
                             Row{FI_RMA | FI_READ | FI_REMOTE_READ, FI_READ | FI_REMOTE_READ});
    int code = 0;
    const InfoPtr info = get_info(code, make_hints(row.asked).get());
    REQUIRE(code == 0);
    CHECK((info->caps & (messages | accesses)) == row.answered);
    CHECK((info->tx_attr->caps & (messages | accesses)) == (row.answered & (FI_SEND | FI_READ | FI_WRITE)));
    CHECK((info->rx_attr->caps & (messages | accesses)) ==
          (row.answered & (FI_RECV | FI_REMOTE_READ | FI_REMOTE_WRITE)));
    CHECK((info->tx_attr->caps & row.asked & FI_RMA) == (row.asked & FI_RMA));
    CHECK((info->rx_attr->caps & row.asked & FI_ATOMIC) == (row.asked & FI_ATOMIC));
    CHECK((info->tx_attr->caps & FI_FENCE) != 0);
    CHECK((info->rx_attr->caps & FI_RMA_EVENT) != 0);
}

TEST_CASE("limits of remote access are taken from the hints")
{
    const InfoPtr hints = make_hints(FI_RMA | FI_ATOMIC);
    hints->tx_attr->rma_iov_limit = 2;
    hints->tx_attr->msg_order = FI_ORDER_ATOMIC_WAW | FI_ORDER_SAS;
    hints->ep_attr->max_order_waw_size = 64;
    int code = 0;
    const InfoPtr info = get_info(code, hints.get());
    REQUIRE(code == 0);
    CHECK(info->tx_attr->rma_iov_limit == 2);
    CHECK(info->ep_attr->max_order_waw_size == 64);
    // Without remote access an order of it means nothing.
    hints->caps = FI_MSG;
    hints->ep_attr->max_order_waw_size = SIZE_MAX;
    get_info(code, hints.get());
    CHECK(code == 0);
}

namespace {

struct Change {
    const char* what;
    std::function<void(fi_info&)> apply;
};
const std::vector<Change> impossible = {
    {"endpoint type", [](fi_info& h) { h.ep_attr->type = FI_EP_MSG; }},
    {"datagrams", [](fi_info& h) { h.ep_attr->type = FI_EP_DGRAM; }},
    {"persistent memory", [](fi_info& h) { h.caps |= FI_RMA_PMEM; }},
    {"device memory that is not registered", [](fi_info& h) { h.caps |= FI_HMEM; }},
    {"an unknown capability", [](fi_info& h) { h.caps |= 1ULL << 43; }},
    {"address format", [](fi_info& h) { h.addr_format = FI_ADDR_GNI; }},
    {"provider version", [](fi_info& h) { h.fabric_attr->prov_version = FI_VERSION(99, 0); }},
    {"fabric name", [](fi_info& h) { h.fabric_attr->name = strdup("nowhere"); }},
    {"domain name", [](fi_info& h) { h.domain_attr->name = strdup("nothing0"); }},
    {"threading", [](fi_info& h) { set_raw(h.domain_attr->threading, 77); }},
    {"progress", [](fi_info& h) { set_raw(h.domain_attr->data_progress, 77); }},
    {"av type", [](fi_info& h) { set_raw(h.domain_attr->av_type, 77); }},
    {"cq data", [](fi_info& h) { h.domain_attr->cq_data_size = 9; }},
    {"counters", [](fi_info& h) { h.domain_attr->cntr_cnt = 1U << 30; }},
    {"mr iovs", [](fi_info& h) { h.domain_attr->mr_iov_limit = 5; }},
    {"mr mode", [](fi_info& h) { h.domain_attr->mr_mode = FI_MR_BASIC | FI_MR_LOCAL; }},
    {"both mr modes", [](fi_info& h) { h.domain_attr->mr_mode = FI_MR_BASIC | FI_MR_SCALABLE; }},
    {"protocol", [](fi_info& h) { h.ep_attr->protocol = FI_PROTO_SOCK_TCP; }},
    {"message size", [](fi_info& h) { h.ep_attr->max_msg_size = SIZE_MAX; }},
    {"contexts", [](fi_info& h) { h.ep_attr->tx_ctx_cnt = 2; }},
    {"shared context", [](fi_info& h) { h.ep_attr->rx_ctx_cnt = FI_SHARED_CONTEXT; }},
    {"tx order", [](fi_info& h) { h.tx_attr->msg_order = FI_ORDER_RAW; }},
    {"rx order", [](fi_info& h) { h.rx_attr->msg_order = FI_ORDER_WAW; }},
    {"completion order", [](fi_info& h) { h.tx_attr->comp_order = FI_ORDER_STRICT; }},
    {"tx op flags", [](fi_info& h) { h.tx_attr->op_flags = FI_COMMIT_COMPLETE; }},
    {"rx op flags", [](fi_info& h) { h.rx_attr->op_flags = FI_TRIGGER; }},
    {"inject size", [](fi_info& h) { h.tx_attr->inject_size = 1U << 20; }},
    {"tx size", [](fi_info& h) { h.tx_attr->size = 1U << 30; }},
    {"rx size", [](fi_info& h) { h.rx_attr->size = 1U << 30; }},
    {"tx iovs", [](fi_info& h) { h.tx_attr->iov_limit = 5; }},
    {"rx iovs", [](fi_info& h) { h.rx_attr->iov_limit = 5; }},
    {"rma iovs", [](fi_info& h) { h.tx_attr->rma_iov_limit = 5; }},
    {"read after write",
     [](fi_info& h) {
         h.caps |= FI_RMA;
         h.ep_attr->max_order_raw_size = srd::max_atomic_size + 1;
     }},
    {"write after read",
     [](fi_info& h) {
         h.caps |= FI_ATOMIC;
         h.ep_attr->max_order_war_size = srd::max_atomic_size + 1;
     }},
    {"write after write",
     [](fi_info& h) {
         h.caps |= FI_RMA;
         h.ep_attr->max_order_waw_size = SIZE_MAX;
     }},
    {"tx caps", [](fi_info& h) { h.tx_attr->caps = FI_COLLECTIVE; }},
    {"rx caps", [](fi_info& h) { h.rx_attr->caps = FI_COLLECTIVE; }},
    {"short source address",
     [](fi_info& h) {
         h.src_addr = calloc(1, 4);
         h.src_addrlen = 4;
     }},
    {"source address of nobody",
     [](fi_info& h) {
         auto* address = static_cast<sockaddr_in*>(calloc(1, sizeof(sockaddr_in)));
         *address = make_ipv4("203.0.113.77", 0);
         h.src_addr = address;
         h.src_addrlen = sizeof(*address);
     }},
};

} // namespace

TEST_CASE("hints that cannot be met give no answer")
{
    for (const Change& change : impossible) {
        INFO(change.what);
        const InfoPtr hints = make_hints(FI_MSG);
        change.apply(*hints);
        int code = 0;
        const InfoPtr info = get_info(code, hints.get());
        CHECK(code == -FI_ENODATA);
    }
}

TEST_CASE("memory registration modes by API version")
{
    struct Row {
        std::uint32_t version;
        int asked;
        int answered;
    };
    const Row row = GENERATE(
        Row{FI_VERSION(1, 17), 0, 0}, Row{FI_VERSION(1, 17), FI_MR_BASIC, FI_MR_BASIC},
        Row{FI_VERSION(1, 17), FI_MR_SCALABLE, FI_MR_SCALABLE},
        Row{FI_VERSION(1, 17), FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_PROV_KEY,
            FI_MR_VIRT_ADDR | FI_MR_PROV_KEY},
        Row{FI_VERSION(1, 17), FI_MR_LOCAL | FI_MR_ENDPOINT | FI_MR_ALLOCATED, FI_MR_ALLOCATED},
        Row{FI_VERSION(1, 17), FI_MR_ENDPOINT | FI_MR_RMA_EVENT | FI_MR_RAW, 0},
        Row{FI_VERSION(1, 17), FI_MR_VIRT_ADDR, FI_MR_VIRT_ADDR},
        Row{FI_VERSION(1, 5), FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY,
            FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY},
        Row{FI_VERSION(1, 4), FI_MR_UNSPEC, FI_MR_BASIC}, Row{FI_VERSION(1, 4), FI_MR_BASIC, FI_MR_BASIC},
        Row{FI_VERSION(1, 4), FI_MR_SCALABLE, FI_MR_SCALABLE});
    const InfoPtr hints = make_hints(FI_MSG);
    hints->domain_attr->mr_mode = row.asked;
    int code = 0;
    const InfoPtr info = get_info(code, hints.get(), nullptr, nullptr, 0, row.version);
    REQUIRE(code == 0);
    CHECK(info->domain_attr->mr_mode == row.answered);
}

TEST_CASE("a source node and service become the source address")
{
    int code = 0;
    const InfoPtr info = get_info(code, make_hints().get(), "127.0.0.1", "9228", FI_SOURCE | FI_NUMERICHOST);
    REQUIRE(code == 0);
    CHECK(info->next == nullptr);
    CHECK(std::string(info->domain_attr->name) == "lo");
    REQUIRE(info->addr_format == FI_SOCKADDR_IN);
    CHECK(ipv4_of(info->src_addr).sin_port == htons(9228));
    CHECK(ipv4_of(info->src_addr).sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    CHECK(info->dest_addr == nullptr);
}

TEST_CASE("another address of an interface's subnet serves as source")
{
    int code = 0;
    const InfoPtr info = get_info(code, nullptr, "127.3.2.1", "9228", FI_SOURCE);
    REQUIRE(code == 0);
    CHECK(std::string(info->domain_attr->name) == "lo");
    CHECK(ipv4_of(info->src_addr).sin_addr.s_addr == htonl(0x7f030201));
}

TEST_CASE("a service without a node is a port on every interface")
{
    int code = 0;
    const InfoPtr hints = make_hints();
    hints->addr_format = FI_SOCKADDR_IN;
    const InfoPtr list = get_info(code, hints.get(), nullptr, "9228", FI_SOURCE);
    REQUIRE(code == 0);
    for (const fi_info* info = list.get(); info != nullptr; info = info->next) {
        CHECK(ipv4_of(info->src_addr).sin_port == htons(9228));
        CHECK(ipv4_of(info->src_addr).sin_addr.s_addr != htonl(INADDR_ANY));
    }
}

TEST_CASE("a destination gets the source address that leads to it")
{
    int code = 0;
    const InfoPtr info = get_info(code, make_hints().get(), "127.0.0.1", "9228");
    REQUIRE(code == 0);
    REQUIRE(info->dest_addr != nullptr);
    CHECK(info->dest_addrlen == sizeof(sockaddr_in));
    CHECK(ipv4_of(info->dest_addr).sin_port == htons(9228));
    CHECK(ipv4_of(info->src_addr).sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    CHECK(ipv4_of(info->src_addr).sin_port == 0);
    CHECK(std::string(info->domain_attr->name) == "lo");
}

TEST_CASE("IPv6: the address format follows the node")
{
    int code = 0;
    const InfoPtr info = get_info(code, make_hints().get(), "::1", "9228");
    if (code != 0) {
        WARN("SKIPPED: this host has no IPv6 loopback address");
        return;
    }
    CHECK(info->addr_format == FI_SOCKADDR_IN6);
    CHECK(info->src_addrlen == sizeof(sockaddr_in6));
    CHECK(static_cast<const sockaddr_in6*>(info->dest_addr)->sin6_port == htons(9228));

    const InfoPtr hints = make_hints();
    hints->addr_format = FI_SOCKADDR_IN;
    const InfoPtr none = get_info(code, hints.get(), "::1", "9228");
    CHECK(code == -FI_ENODATA);
}

TEST_CASE("nodes that cannot be resolved give no answer")
{
    int code = 0;
    InfoPtr info = get_info(code, nullptr, "no-such-host.invalid", "9228", FI_NUMERICHOST);
    CHECK(code == -FI_ENODATA);
    info = get_info(code, nullptr, "127.0.0.1", "no-such-service");
    CHECK(code == -FI_ENODATA);
    info = get_info(code, nullptr, "203.0.113.77", "9228", FI_SOURCE | FI_NUMERICHOST);
    CHECK(code == -FI_ENODATA);
    info = get_info(code, nullptr, nullptr, nullptr, FI_SOURCE);
    CHECK(code == -FI_ENODATA);
}

TEST_CASE("names from an answer lead back to it, in any case")
{
    int code = 0;
    const InfoPtr list = get_info(code, nullptr);
    REQUIRE(code == 0);
    const InfoPtr hints = make_hints();
    std::string name = list->domain_attr->name;
    name[0] = static_cast<char>(std::toupper(name[0]));
    hints->domain_attr->name = strdup(name.c_str());
    hints->fabric_attr->name = strdup(list->fabric_attr->name);
    const InfoPtr again = get_info(code, hints.get());
    REQUIRE(code == 0);
    CHECK(std::string(again->domain_attr->name) == list->domain_attr->name);
    CHECK(std::string(again->fabric_attr->name) == list->fabric_attr->name);
}

TEST_CASE("an answer can be copied and used as hints")
{
    int code = 0;
    const InfoPtr list = get_info(code, nullptr);
    REQUIRE(code == 0);
    const InfoPtr copy(fi_dupinfo(list.get()), &fi_freeinfo);
    REQUIRE(copy != nullptr);
    const InfoPtr again = get_info(code, copy.get());
    REQUIRE(code == 0);
    CHECK(again->src_addrlen == list->src_addrlen);
    CHECK(std::memcmp(again->src_addr, list->src_addr, list->src_addrlen) == 0);
    CHECK(again->caps == list->caps);
}
