// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Endpoint options, those of libfabric 2 (by number) included, and what is not served.
#include <array>
#include <limits>

#include <rdma/fi_atomic.h>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

// enum of fi_endpoint.h in libfabric 2.1
constexpr int cuda_api_permitted = 10;
constexpr int shared_memory_permitted = 11;
constexpr int max_msg_size = 12;
constexpr int inject_msg_size = 16;
constexpr std::size_t kinds = 4; // message, tagged, RMA, atomic

std::size_t get_size(fid_ep* ep, int option)
{
    std::size_t value = 0;
    std::size_t size = sizeof(value);
    REQUIRE(fi_getopt(&ep->fid, FI_OPT_ENDPOINT, option, &value, &size) == 0);
    CHECK(size == sizeof(value));
    return value;
}

template <typename T>
int set(fid_ep* ep, int option, T value)
{
    return fi_setopt(&ep->fid, FI_OPT_ENDPOINT, option, &value, sizeof(value));
}

} // namespace

TEST_CASE("sizes by kind of operation: the info's at first, never more")
{
    Pair pair;
    fid_ep* ep = pair.a.ep.get();
    for (std::size_t kind = 0; kind < kinds; ++kind) {
        const int longest = max_msg_size + static_cast<int>(kind);
        const int inject = inject_msg_size + static_cast<int>(kind);
        const std::size_t most = get_size(ep, longest);
        const std::size_t most_injected = get_size(ep, inject);
        CHECK(most <= pair.domain.info->ep_attr->max_msg_size);
        CHECK(most_injected <= pair.domain.info->tx_attr->inject_size);
        if (kind != 3) {
            CHECK(most == pair.domain.info->ep_attr->max_msg_size);
            CHECK(most_injected == pair.domain.info->tx_attr->inject_size);
        }
        CHECK(set(ep, longest, most + 1) == -FI_EINVAL);
        CHECK(set(ep, inject, most_injected + 1) == -FI_EINVAL);
        CHECK(set(ep, longest, std::uint32_t{1}) == -FI_EINVAL); // not a size_t
        CHECK(get_size(ep, longest) == most);
        CHECK(set(ep, longest, std::size_t{100}) == 0);
        CHECK(set(ep, inject, std::size_t{10}) == 0);
        CHECK(get_size(ep, longest) == 100);
        CHECK(get_size(ep, inject) == 10);
        CHECK(set(ep, longest, most) == 0);
        CHECK(get_size(ep, longest) == most);
        std::size_t value = 0;
        std::size_t size = 4;
        CHECK(fi_getopt(&ep->fid, FI_OPT_ENDPOINT, longest, &value, &size) == -FI_ETOOSMALL);
        CHECK(size == sizeof(value));
    }
}

TEST_CASE("the atomic size is what fi_atomicvalid counts in")
{
    Options options;
    options.caps |= FI_ATOMIC;
    Pair pair(options);
    std::size_t count = 0;
    REQUIRE(fi_atomicvalid(pair.a.ep.get(), FI_UINT64, FI_SUM, &count) == 0);
    CHECK(get_size(pair.a.ep.get(), max_msg_size + 3) == count * sizeof(std::uint64_t));
}

TEST_CASE("a lowered size is honoured, for that kind alone")
{
    Pair pair;
    fid_ep* ep = pair.a.ep.get();
    std::array<char, 200> bytes{};
    REQUIRE(set(ep, max_msg_size, std::size_t{100}) == 0);
    REQUIRE(set(ep, inject_msg_size + 1, std::size_t{10}) == 0);
    CHECK(fi_send(ep, bytes.data(), 101, nullptr, pair.b_at_a, nullptr) == -FI_EMSGSIZE);
    CHECK(fi_tinject(ep, bytes.data(), 11, pair.b_at_a, 0) == -FI_EMSGSIZE);
    CHECK(fi_send(ep, bytes.data(), 100, nullptr, pair.b_at_a, nullptr) == 0);
    CHECK(fi_tsend(ep, bytes.data(), 101, nullptr, pair.b_at_a, 0, nullptr) == 0);
    CHECK(fi_tinject(ep, bytes.data(), 10, pair.b_at_a, 0) == 0);
    CHECK(fi_inject(ep, bytes.data(), 11, pair.b_at_a) == 0);
}

TEST_CASE("what concerns devices and memory: the answers of fi_endpoint(3)")
{
    Pair pair;
    fid_ep* ep = pair.a.ep.get();
    CHECK(set(ep, cuda_api_permitted, false) == -FI_EINVAL);
    int mode = -1;
    std::size_t size = sizeof(mode);
    REQUIRE(fi_getopt(&ep->fid, FI_OPT_ENDPOINT, FI_OPT_FI_HMEM_P2P, &mode, &size) == 0);
    CHECK(mode == FI_HMEM_P2P_DISABLED);
    CHECK(set(ep, FI_OPT_FI_HMEM_P2P, int{FI_HMEM_P2P_ENABLED}) == 0);
    CHECK(set(ep, FI_OPT_FI_HMEM_P2P, int{FI_HMEM_P2P_PREFERRED}) == 0);
    CHECK(set(ep, FI_OPT_FI_HMEM_P2P, int{FI_HMEM_P2P_DISABLED}) == 0);
    CHECK(set(ep, FI_OPT_FI_HMEM_P2P, int{FI_HMEM_P2P_REQUIRED}) == -FI_EOPNOTSUPP);
    CHECK(set(ep, FI_OPT_FI_HMEM_P2P, 17) == -FI_EINVAL);
    for (const int option : {int{FI_OPT_CM_DATA_SIZE}, int{FI_OPT_BUFFERED_MIN}, int{FI_OPT_BUFFERED_LIMIT},
                             9 /* XPU_TRIGGER */, 20 /* FIREWALL_ADDR */, -1}) {
        std::size_t value = 0;
        size = sizeof(value);
        CHECK(fi_getopt(&ep->fid, FI_OPT_ENDPOINT, option, &value, &size) == -FI_ENOPROTOOPT);
        CHECK(set(ep, option, std::size_t{0}) == -FI_ENOPROTOOPT);
    }
}

TEST_CASE("shared memory is permitted or not before the endpoint is enabled")
{
    const auto permitted = [](fid_ep* ep) {
        bool value = false;
        std::size_t size = sizeof(value);
        REQUIRE(fi_getopt(&ep->fid, FI_OPT_ENDPOINT, shared_memory_permitted, &value, &size) == 0);
        CHECK(size == sizeof(value));
        return value;
    };
    const bool wanted = GENERATE(true, false);
    Options options;
    options.before_enable = [&](fid_ep* ep) {
        CHECK(permitted(ep));
        CHECK(set(ep, shared_memory_permitted, 1) == -FI_EINVAL); // not a bool
        CHECK(set(ep, shared_memory_permitted, !wanted) == 0);
        CHECK(permitted(ep) == !wanted);
        CHECK(set(ep, shared_memory_permitted, std::uint8_t{2}) == 0); // what C would call true
        std::uint8_t byte = 0;
        std::size_t size = sizeof(byte);
        CHECK(fi_getopt(&ep->fid, FI_OPT_ENDPOINT, shared_memory_permitted, &byte, &size) == 0);
        CHECK(byte == 1);
        CHECK(set(ep, shared_memory_permitted, wanted) == 0);
    };
    Pair pair(options);
    fid_ep* ep = pair.a.ep.get();
    CHECK(permitted(ep) == wanted);
    CHECK(set(ep, shared_memory_permitted, !wanted) == -FI_EOPBADSTATE);
    CHECK(set(ep, shared_memory_permitted, wanted) == 0); // as it is
    CHECK(permitted(ep) == wanted);
}

TEST_CASE("scalable endpoints and shared contexts: not offered, and every call says so")
{
    Pair pair;
    fid_domain* domain = pair.domain.domain.get();
    fi_info* info = pair.domain.info.get();
    CHECK(info->domain_attr->max_ep_tx_ctx == 1);
    CHECK(info->domain_attr->max_ep_rx_ctx == 1);
    CHECK(info->domain_attr->max_ep_stx_ctx == 0);
    CHECK(info->domain_attr->max_ep_srx_ctx == 0);
    CHECK((info->caps & FI_NAMED_RX_CTX) == 0);

    fid_ep* ep = nullptr;
    fid_stx* stx = nullptr;
    fid_pep* pep = nullptr;
    CHECK(fi_scalable_ep(domain, info, &ep, nullptr) == -FI_ENOSYS);
    CHECK(fi_stx_context(domain, info->tx_attr, &stx, nullptr) == -FI_ENOSYS);
    CHECK(fi_srx_context(domain, info->rx_attr, &ep, nullptr) == -FI_ENOSYS);
    CHECK(fi_passive_ep(pair.domain.fabric.get(), info, &pep, nullptr) == -FI_ENOSYS);
    CHECK(fi_tx_context(pair.a.ep.get(), 0, info->tx_attr, &ep, nullptr) == -FI_ENOSYS);
    CHECK(fi_rx_context(pair.a.ep.get(), 0, info->rx_attr, &ep, nullptr) == -FI_ENOSYS);
    for (std::size_t* count : {&info->ep_attr->tx_ctx_cnt, &info->ep_attr->rx_ctx_cnt}) {
        *count = FI_SHARED_CONTEXT;
        CHECK(fi_endpoint(domain, info, &ep, nullptr) == -FI_ENOSYS);
        *count = 1;
    }
    InfoPtr hints = make_hints();
    hints->ep_attr->rx_ctx_cnt = FI_SHARED_CONTEXT;
    int code = 0;
    CHECK(get_info(code, hints.get()) == nullptr);
    CHECK(code == -FI_ENODATA);
}
