// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

struct Parts {
    Parts()
    {
        fi_av_attr av_attr{};
        REQUIRE(fi_av_open(domain.domain.get(), &av_attr, av.out(), nullptr) == 0);
        fi_cq_attr cq_attr{};
        REQUIRE(fi_cq_open(domain.domain.get(), &cq_attr, cq.out(), nullptr) == 0);
        REQUIRE(fi_endpoint(domain.domain.get(), domain.info.get(), ep.out(), nullptr) == 0);
    }
    OpenDomain domain;
    Handle<fid_av> av;
    Handle<fid_cq> cq;
    Handle<fid_ep> ep;
};

} // namespace

TEST_CASE("endpoint: tells what is missing before it can be enabled")
{
    Parts parts;
    std::uint64_t word = 0;
    CHECK(fi_enable(parts.ep.get()) == -FI_ENOAV);
    CHECK(fi_send(parts.ep.get(), &word, 8, nullptr, 0, nullptr) == -FI_EOPBADSTATE);
    CHECK(fi_recv(parts.ep.get(), &word, 8, nullptr, FI_ADDR_UNSPEC, nullptr) == -FI_EOPBADSTATE);
    CHECK(fi_cancel(&parts.ep->fid, nullptr) == -FI_EOPBADSTATE);
    REQUIRE(fi_ep_bind(parts.ep.get(), &parts.av->fid, 0) == 0);
    CHECK(fi_ep_bind(parts.ep.get(), &parts.av->fid, 0) == -FI_EINVAL);
    CHECK(fi_enable(parts.ep.get()) == -FI_ENOCQ);
    CHECK(fi_ep_bind(parts.ep.get(), &parts.cq->fid, 0) == -FI_EBADFLAGS);
    CHECK(fi_ep_bind(parts.ep.get(), &parts.cq->fid, FI_TRANSMIT | FI_READ) == -FI_EBADFLAGS);
    REQUIRE(fi_ep_bind(parts.ep.get(), &parts.cq->fid, FI_TRANSMIT) == 0);
    CHECK(fi_ep_bind(parts.ep.get(), &parts.cq->fid, FI_TRANSMIT) == -FI_EINVAL);
    CHECK(fi_enable(parts.ep.get()) == -FI_ENOCQ);
    REQUIRE(fi_ep_bind(parts.ep.get(), &parts.cq->fid, FI_RECV) == 0);
    CHECK(fi_ep_bind(parts.ep.get(), &parts.domain.domain->fid, 0) == -FI_EINVAL);
    CHECK(fi_enable(parts.ep.get()) == 0);
    CHECK(fi_enable(parts.ep.get()) == 0);
    CHECK(fi_ep_bind(parts.ep.get(), &parts.cq->fid, FI_RECV) == -FI_EOPBADSTATE);
    CHECK(fi_close(&parts.av->fid) == -FI_EBUSY);
    CHECK(fi_close(&parts.cq->fid) == -FI_EBUSY);
    CHECK(fi_close(&parts.domain.domain->fid) == -FI_EBUSY);
}

TEST_CASE("endpoint: objects of another domain cannot be bound")
{
    Parts parts;
    Parts other;
    CHECK(fi_ep_bind(parts.ep.get(), &other.av->fid, 0) == -FI_EINVAL);
    CHECK(fi_ep_bind(parts.ep.get(), &other.cq->fid, FI_TRANSMIT | FI_RECV) == -FI_EINVAL);
}

TEST_CASE("endpoint: has a name before it is enabled, and keeps it")
{
    Parts parts;
    sockaddr_in name{};
    std::size_t size = 4;
    CHECK(fi_getname(&parts.ep->fid, &name, &size) == -FI_ETOOSMALL);
    CHECK(size == sizeof(name));
    REQUIRE(fi_getname(&parts.ep->fid, &name, &size) == 0);
    CHECK(name.sin_family == AF_INET);
    CHECK(ntohl(name.sin_addr.s_addr) == INADDR_LOOPBACK);
    CHECK(name.sin_port != 0);
    const sockaddr_in another = make_ipv4("127.0.0.1", 1);
    sockaddr_in copy = another;
    CHECK(fi_setname(&parts.ep->fid, &copy, sizeof(copy)) == -FI_EOPBADSTATE);

    Handle<fid_ep> same;
    REQUIRE(fi_endpoint(parts.domain.domain.get(), parts.domain.info.get(), same.out(), nullptr) == 0);
    sockaddr_in taken = name;
    REQUIRE(fi_setname(&same->fid, &taken, sizeof(taken)) == 0);
    CHECK(fi_getname(&same->fid, &copy, &size) == -FI_EADDRINUSE);
    CHECK(fi_setname(&same->fid, &taken, 3) == -FI_EINVAL);
}

TEST_CASE("endpoint: options and operation flags")
{
    Parts parts;
    fid* ep = &parts.ep->fid;
    std::size_t value = 0;
    std::size_t size = sizeof(value);
    REQUIRE(fi_getopt(ep, FI_OPT_ENDPOINT, FI_OPT_MIN_MULTI_RECV, &value, &size) == 0);
    CHECK(value > 0);
    value = 4321;
    REQUIRE(fi_setopt(ep, FI_OPT_ENDPOINT, FI_OPT_MIN_MULTI_RECV, &value, sizeof(value)) == 0);
    value = 0;
    REQUIRE(fi_getopt(ep, FI_OPT_ENDPOINT, FI_OPT_MIN_MULTI_RECV, &value, &size) == 0);
    CHECK(value == 4321);
    for (const int option : {12, 13}) { // FI_OPT_MAX_MSG_SIZE, FI_OPT_MAX_TAGGED_SIZE of libfabric 2
        REQUIRE(fi_getopt(ep, FI_OPT_ENDPOINT, option, &value, &size) == 0);
        CHECK(value == parts.domain.info->ep_attr->max_msg_size);
    }
    for (const int option : {16, 17}) { // FI_OPT_INJECT_MSG_SIZE, FI_OPT_INJECT_TAGGED_SIZE
        REQUIRE(fi_getopt(ep, FI_OPT_ENDPOINT, option, &value, &size) == 0);
        CHECK(value == parts.domain.info->tx_attr->inject_size);
        value += 1;
        CHECK(fi_setopt(ep, FI_OPT_ENDPOINT, option, &value, sizeof(value)) == -FI_EINVAL);
    }
    size = 2;
    CHECK(fi_getopt(ep, FI_OPT_ENDPOINT, FI_OPT_MIN_MULTI_RECV, &value, &size) == -FI_ETOOSMALL);
    CHECK(fi_getopt(ep, FI_OPT_ENDPOINT, 999, &value, &size) == -FI_ENOPROTOOPT);
    CHECK(fi_setopt(ep, FI_OPT_ENDPOINT, 999, &value, sizeof(value)) == -FI_ENOPROTOOPT);
    CHECK(fi_getopt(ep, 7, FI_OPT_MIN_MULTI_RECV, &value, &size) == -FI_ENOPROTOOPT);

    std::uint64_t flags = FI_TRANSMIT | FI_DELIVERY_COMPLETE;
    REQUIRE(fi_control(ep, FI_SETOPSFLAG, &flags) == 0);
    flags = FI_TRANSMIT;
    REQUIRE(fi_control(ep, FI_GETOPSFLAG, &flags) == 0);
    CHECK(flags == FI_DELIVERY_COMPLETE);
    flags = FI_TRANSMIT | FI_RECV;
    CHECK(fi_control(ep, FI_GETOPSFLAG, &flags) == -FI_EINVAL);
    CHECK(fi_control(ep, 12345, nullptr) == -FI_ENOSYS);
}

TEST_CASE("endpoint: a canceled receive reports FI_ECANCELED, once, and takes no message")
{
    Pair pair;
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    REQUIRE(fi_trecv(pair.b.ep.get(), &first, 8, nullptr, FI_ADDR_UNSPEC, 1, 0, &first) == 0);
    REQUIRE(fi_trecv(pair.b.ep.get(), &second, 8, nullptr, FI_ADDR_UNSPEC, 1, 0, &second) == 0);
    REQUIRE(fi_cancel(&pair.b.ep->fid, &first) == 0);
    REQUIRE(fi_cancel(&pair.b.ep->fid, &first) == 0); // nothing left to cancel
    const Entry canceled = pair.next(pair.b);
    REQUIRE(canceled.failed);
    CHECK(canceled.error.err == FI_ECANCELED);
    CHECK(canceled.error.op_context == &first);
    CHECK(canceled.error.flags == (FI_RECV | FI_TAGGED));
    const std::uint64_t value = 5;
    REQUIRE(fi_tinject(pair.a.ep.get(), &value, 8, pair.b_at_a, 1) == 0);
    CHECK(pair.next(pair.b).good.op_context == &second);
    CHECK(first == 0);
    CHECK(second == 5);
}
