// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fabric/fabric_support.hpp"

#include <array>
#include <set>
#include <vector>

using namespace fabric_test;

namespace {

constexpr std::uint64_t all_access =
    FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;

std::vector<char>& memory()
{
    static std::vector<char> bytes(4096);
    return bytes;
}

} // namespace

TEST_CASE("without a registration mode the application chooses keys")
{
    OpenDomain open;
    Handle<fid_mr> mr;
    REQUIRE(fi_mr_reg(open.domain.get(), memory().data(), memory().size(), all_access, 0, 77, 0, mr.out(),
                      &open) == 0);
    CHECK(fi_mr_key(mr.get()) == 77);
    CHECK(mr->fid.context == &open);
    CHECK(fi_mr_enable(mr.get()) == 0);
    fid_mr* second = nullptr;
    CHECK(fi_mr_reg(open.domain.get(), memory().data(), 1, all_access, 0, 77, 0, &second, nullptr) ==
          -FI_ENOKEY);
    CHECK(fi_close(&open.domain->fid) == -FI_EBUSY);
    CHECK(mr.close() == 0);
    Handle<fid_mr> third;
    CHECK(fi_mr_reg(open.domain.get(), memory().data(), 1, all_access, 0, 77, 0, third.out(), nullptr) == 0);
}

TEST_CASE("where the provider chooses keys, they are random and different")
{
    InfoPtr hints = make_hints(FI_RMA);
    hints->domain_attr->mr_mode = GENERATE(int{FI_MR_BASIC}, FI_MR_PROV_KEY);
    OpenDomain open("127.0.0.1", std::move(hints));
    std::set<std::uint64_t> keys;
    std::vector<Handle<fid_mr>> regions(64);
    for (Handle<fid_mr>& mr : regions) {
        REQUIRE(fi_mr_reg(open.domain.get(), memory().data(), memory().size(), all_access, 0, 77, 0, mr.out(),
                          nullptr) == 0);
        keys.insert(fi_mr_key(mr.get()));
    }
    CHECK(keys.size() == regions.size());
    CHECK(keys.count(77) == 0);
    CHECK(*keys.rbegin() > 0xffffffffU); // 64 draws below 2^32 out of 2^64 do not happen
}

TEST_CASE("regions of several pieces, of nothing, and of everything")
{
    OpenDomain open;
    std::array<iovec, 5> iov{};
    iov.fill({memory().data(), 16});
    Handle<fid_mr> mr;
    REQUIRE(fi_mr_regv(open.domain.get(), iov.data(), 4, all_access, 0, 1, 0, mr.out(), nullptr) == 0);
    fid_mr* none = nullptr;
    CHECK(fi_mr_regv(open.domain.get(), iov.data(), 5, all_access, 0, 2, 0, &none, nullptr) == -FI_EINVAL);
    CHECK(fi_mr_regv(open.domain.get(), iov.data(), 0, all_access, 0, 2, 0, &none, nullptr) == -FI_EINVAL);
    CHECK(fi_mr_reg(open.domain.get(), memory().data(), UINTPTR_MAX, all_access, 0, 2, 0, &none, nullptr) ==
          -FI_EINVAL);
    Handle<fid_mr> empty;
    CHECK(fi_mr_reg(open.domain.get(), memory().data(), 0, all_access, 0, 3, 0, empty.out(), nullptr) == 0);
    Handle<fid_mr> everything;
    CHECK(fi_mr_reg(open.domain.get(), nullptr, UINTPTR_MAX, all_access, 0, 4, 0, everything.out(),
                    nullptr) == 0);
}

TEST_CASE("attributes that cannot be served are refused")
{
    OpenDomain open;
    const iovec iov{memory().data(), memory().size()};
    fi_mr_attr attr{};
    attr.mr_iov = &iov;
    attr.iov_count = 1;
    attr.access = all_access;
    attr.requested_key = 5;
    fid_mr* none = nullptr;
    CHECK(fi_mr_regattr(open.domain.get(), &attr, 1ULL << 40, &none) == -FI_EOPNOTSUPP); // FI_MR_DMABUF
    CHECK(fi_mr_regattr(open.domain.get(), &attr, 1ULL << 41, &none) == -FI_EBADFLAGS);
    attr.iface = FI_HMEM_ROCR;
    CHECK(fi_mr_regattr(open.domain.get(), &attr, 0, &none) == -FI_ENOSYS);
    attr.iface = FI_HMEM_CUDA; // of a domain without FI_HMEM
    CHECK(fi_mr_regattr(open.domain.get(), &attr, 0, &none) == -FI_EOPNOTSUPP);
    attr.iface = FI_HMEM_SYSTEM;
    for (const std::uint64_t hint : {FI_HMEM_HOST_ALLOC, FI_HMEM_DEVICE_ONLY}) {
        Handle<fid_mr> region;
        CHECK(fi_mr_regattr(open.domain.get(), &attr, hint, region.out()) == 0);
    }
    for (const std::uint64_t capability : {FI_MSG, FI_RMA, FI_TAGGED, FI_ATOMIC}) { // LCI names FI_RMA
        Handle<fid_mr> region;
        attr.access = all_access | capability;
        CHECK(fi_mr_regattr(open.domain.get(), &attr, 0, region.out()) == 0);
    }
    attr.access = FI_TRIGGER;
    CHECK(fi_mr_regattr(open.domain.get(), &attr, 0, &none) == -FI_EINVAL);
    attr.access = all_access;
    Handle<fid_mr> mr;
    REQUIRE(fi_mr_regattr(open.domain.get(), &attr, 0, mr.out()) == 0);
    struct fi_mr_raw_attr raw {}; // there is a function of that name
    CHECK(fi_control(&mr->fid, FI_GET_RAW_MR, &raw) == -FI_ENOSYS);
    CHECK(fi_mr_bind(mr.get(), &open.domain->fid, 0) == -FI_EINVAL);
}

TEST_CASE("a region is bound to endpoints and counters of its domain")
{
    OpenDomain open("127.0.0.1", make_hints(FI_MSG | FI_RMA | FI_RMA_EVENT));
    OpenDomain other("127.0.0.1", make_hints(FI_MSG | FI_RMA | FI_RMA_EVENT));
    Handle<fid_ep> endpoint;
    Handle<fid_cntr> counter;
    Handle<fid_cntr> foreign;
    REQUIRE(fi_endpoint(open.domain.get(), open.info.get(), endpoint.out(), nullptr) == 0);
    REQUIRE(fi_cntr_open(open.domain.get(), nullptr, counter.out(), nullptr) == 0);
    REQUIRE(fi_cntr_open(other.domain.get(), nullptr, foreign.out(), nullptr) == 0);
    Handle<fid_mr> mr;
    REQUIRE(fi_mr_reg(open.domain.get(), memory().data(), 1, all_access, 0, 1, FI_RMA_EVENT, mr.out(),
                      nullptr) == 0);
    CHECK(fi_mr_bind(mr.get(), &endpoint->fid, 0) == 0);
    CHECK(fi_mr_bind(mr.get(), &endpoint->fid, FI_REMOTE_WRITE) == -FI_EINVAL);
    CHECK(fi_mr_bind(mr.get(), &foreign->fid, FI_REMOTE_WRITE) == -FI_EINVAL);
    CHECK(fi_mr_bind(mr.get(), &counter->fid, 0) == -FI_EINVAL);
    CHECK(fi_mr_bind(mr.get(), &counter->fid, FI_REMOTE_READ | FI_REMOTE_WRITE) == 0);
    CHECK(fi_mr_bind(mr.get(), &counter->fid, FI_REMOTE_WRITE) == -FI_EINVAL); // has one
    CHECK(fi_mr_enable(mr.get()) == 0);
    CHECK(fi_close(&counter->fid) == -FI_EBUSY);
    CHECK(mr.close() == 0);
    CHECK(counter.close() == 0);
}

TEST_CASE("registrations report through the domain's event queue if asked to")
{
    OpenDomain open;
    Handle<fid_eq> eq;
    fi_eq_attr eq_attr{};
    REQUIRE(fi_eq_open(open.fabric.get(), &eq_attr, eq.out(), nullptr) == 0);
    REQUIRE(fi_domain_bind(open.domain.get(), &eq->fid, FI_REG_MR) == 0);
    {
        Handle<fid_mr> mr;
        REQUIRE(fi_mr_reg(open.domain.get(), memory().data(), 1, all_access, 0, 1, 0, mr.out(), &eq) == 0);
        std::uint32_t event = 0;
        fi_eq_entry entry{};
        REQUIRE(fi_eq_read(eq.get(), &event, &entry, sizeof(entry), 0) == sizeof(entry));
        CHECK(event == FI_MR_COMPLETE);
        CHECK(entry.fid == &mr->fid);
        CHECK(entry.context == &eq);
    }
    CHECK(open.domain.close() == 0);
}
