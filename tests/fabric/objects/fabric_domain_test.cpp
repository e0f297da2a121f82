// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fabric/fabric_support.hpp"

#include <array>

#include <rdma/fi_atomic.h>

using namespace fabric_test;

TEST_CASE("parents with open children stay")
{
    OpenDomain open;
    CHECK(fi_close(&open.fabric->fid) == -FI_EBUSY);
    {
        Handle<fid_av> av;
        fi_av_attr attr{};
        REQUIRE(fi_av_open(open.domain.get(), &attr, av.out(), nullptr) == 0);
        CHECK(fi_close(&open.domain->fid) == -FI_EBUSY);
    }
    CHECK(open.domain.close() == 0);
    {
        Handle<fid_eq> eq;
        fi_eq_attr attr{};
        REQUIRE(fi_eq_open(open.fabric.get(), &attr, eq.out(), nullptr) == 0);
        CHECK(fi_close(&open.fabric->fid) == -FI_EBUSY);
    }
    CHECK(open.fabric.close() == 0);
}

TEST_CASE("several domains in one fabric, several fabrics")
{
    OpenDomain first;
    OpenDomain second;
    Handle<fid_domain> third;
    REQUIRE(fi_domain(first.fabric.get(), first.info.get(), third.out(), nullptr) == 0);
    CHECK(third->fid.fclass == FI_CLASS_DOMAIN);
    CHECK(first.domain->fid.context == &first);
    CHECK(first.fabric->fid.context == &first);
    CHECK(first.fabric->api_version == FI_VERSION(1, 17));
}

TEST_CASE("a domain of an info that was tampered with is refused")
{
    OpenDomain open;
    fid_domain* domain = nullptr;
    const InfoPtr info(fi_dupinfo(open.info.get()), &fi_freeinfo);
    info->caps |= FI_MULTICAST;
    CHECK(fi_domain(open.fabric.get(), info.get(), &domain, nullptr) == -FI_EINVAL);
    info->caps = open.info->caps;
    std::free(info->domain_attr->name);
    info->domain_attr->name = nullptr;
    CHECK(fi_domain(open.fabric.get(), info.get(), &domain, nullptr) == -FI_EINVAL);
    info->domain_attr->name = strdup("nothing0");
    std::free(info->src_addr);
    info->src_addr = nullptr;
    info->src_addrlen = 0;
    CHECK(fi_domain(open.fabric.get(), info.get(), &domain, nullptr) == -FI_ENODEV);
}

TEST_CASE("a domain needs no source address in its info")
{
    OpenDomain open;
    const InfoPtr info(fi_dupinfo(open.info.get()), &fi_freeinfo);
    std::free(info->src_addr);
    info->src_addr = nullptr;
    info->src_addrlen = 0;
    Handle<fid_domain> domain;
    CHECK(fi_domain(open.fabric.get(), info.get(), domain.out(), nullptr) == 0);
}

TEST_CASE("a domain takes one event queue")
{
    OpenDomain open;
    Handle<fid_eq> eq;
    fi_eq_attr attr{};
    REQUIRE(fi_eq_open(open.fabric.get(), &attr, eq.out(), nullptr) == 0);
    CHECK(fi_domain_bind(open.domain.get(), &open.domain->fid, 0) == -FI_EINVAL);
    REQUIRE(fi_domain_bind(open.domain.get(), &eq->fid, 0) == 0);
    CHECK(fi_domain_bind(open.domain.get(), &eq->fid, 0) == -FI_EINVAL);
    CHECK(fi_close(&eq->fid) == -FI_EBUSY);
    CHECK(open.domain.close() == 0);
}

TEST_CASE("what is not served says so")
{
    OpenDomain open;
    fid_ep* endpoint = nullptr;
    fid_pep* passive = nullptr;
    fid_stx* shared_tx = nullptr;
    void* ops = nullptr;
    CHECK(fi_scalable_ep(open.domain.get(), open.info.get(), &endpoint, nullptr) == -FI_ENOSYS);
    CHECK(fi_srx_context(open.domain.get(), open.info->rx_attr, &endpoint, nullptr) == -FI_ENOSYS);
    CHECK(fi_stx_context(open.domain.get(), open.info->tx_attr, &shared_tx, nullptr) == -FI_ENOSYS);
    CHECK(fi_passive_ep(open.fabric.get(), open.info.get(), &passive, nullptr) == -FI_ENOSYS);
    CHECK(fi_open_ops(&open.domain->fid, "unknown", 0, &ops, nullptr) == -FI_ENOSYS);
    CHECK(fi_set_ops(&open.domain->fid, "unknown", 0, nullptr, nullptr) == -FI_ENOSYS);
    CHECK(fi_control(&open.fabric->fid, FI_GETWAIT, nullptr) == -FI_ENOSYS);
}

TEST_CASE("trywait knows event queues with and without events")
{
    OpenDomain open;
    Handle<fid_eq> eq;
    fi_eq_attr attr{};
    attr.wait_obj = FI_WAIT_FD;
    attr.flags = FI_WRITE;
    REQUIRE(fi_eq_open(open.fabric.get(), &attr, eq.out(), nullptr) == 0);
    std::array<fid*, 1> objects{&eq->fid};
    CHECK(fi_trywait(open.fabric.get(), objects.data(), 1) == 0);
    const fi_eq_entry entry{};
    REQUIRE(fi_eq_write(eq.get(), FI_NOTIFY, &entry, sizeof(entry), 0) == sizeof(entry));
    CHECK(fi_trywait(open.fabric.get(), objects.data(), 1) == -FI_EAGAIN);
    objects[0] = &open.domain->fid;
    CHECK(fi_trywait(open.fabric.get(), objects.data(), 1) == -FI_EINVAL);
}
