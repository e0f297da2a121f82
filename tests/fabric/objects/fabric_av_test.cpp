// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fabric/fabric_support.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <vector>

using namespace fabric_test;

namespace {

struct Fixture : OpenDomain {
    explicit Fixture(const char* node = "127.0.0.1") : OpenDomain(node) {}

    Handle<fid_av> open(fi_av_type type = FI_AV_TABLE, std::uint64_t flags = 0)
    {
        fi_av_attr attr{};
        attr.type = type;
        attr.flags = flags;
        Handle<fid_av> av;
        REQUIRE(fi_av_open(domain.get(), &attr, av.out(), nullptr) == 0);
        return av;
    }
};

sockaddr_in lookup(fid_av* av, fi_addr_t fi_addr)
{
    sockaddr_in address{};
    std::size_t size = sizeof(address);
    REQUIRE(fi_av_lookup(av, fi_addr, &address, &size) == 0);
    REQUIRE(size == sizeof(address));
    return address;
}

} // namespace

TEST_CASE_METHOD(Fixture, "insert, look up, remove")
{
    const auto type = GENERATE(FI_AV_TABLE, FI_AV_MAP);
    const Handle<fid_av> av = open(type);
    const std::array<sockaddr_in, 3> in{make_ipv4("10.0.0.1", 7), make_ipv4("10.0.0.2", 7),
                                        make_ipv4("10.0.0.1", 8)};
    std::array<fi_addr_t, 3> out{};
    REQUIRE(fi_av_insert(av.get(), in.data(), in.size(), out.data(), 0, nullptr) == 3);
    CHECK(out == std::array<fi_addr_t, 3>{0, 1, 2});
    for (std::size_t i = 0; i < in.size(); ++i) {
        const sockaddr_in found = lookup(av.get(), out[i]);
        CHECK(std::memcmp(&found, &in[i], sizeof(found)) == 0);
    }
    CHECK(fi_av_remove(av.get(), &out[1], 1, 0) == 0);
    CHECK(fi_av_remove(av.get(), &out[1], 1, 0) == -FI_EINVAL);
    sockaddr_in address{};
    std::size_t size = sizeof(address);
    CHECK(fi_av_lookup(av.get(), out[1], &address, &size) == -FI_EINVAL);
    CHECK(lookup(av.get(), out[2]).sin_port == htons(8));

    fi_addr_t again = FI_ADDR_NOTAVAIL;
    const sockaddr_in other = make_ipv4("10.0.0.9", 9);
    REQUIRE(fi_av_insert(av.get(), &other, 1, &again, 0, nullptr) == 1);
    CHECK(again == out[1]);
}

TEST_CASE_METHOD(Fixture, "an address inserted twice is one entry until it is removed twice")
{
    const Handle<fid_av> av = open();
    const sockaddr_in address = make_ipv4("10.0.0.1", 7);
    std::array<fi_addr_t, 2> out{};
    REQUIRE(fi_av_insert(av.get(), &address, 1, &out[0], 0, nullptr) == 1);
    REQUIRE(fi_av_insert(av.get(), &address, 1, &out[1], 0, nullptr) == 1);
    CHECK(out[0] == out[1]);
    CHECK(fi_av_remove(av.get(), out.data(), 1, 0) == 0);
    CHECK(lookup(av.get(), out[0]).sin_port == htons(7));
    CHECK(fi_av_remove(av.get(), out.data(), 1, 0) == 0);
    CHECK(fi_av_remove(av.get(), out.data(), 1, 0) == -FI_EINVAL);
}

TEST_CASE_METHOD(Fixture, "bad addresses fail one by one")
{
    const Handle<fid_av> av = open();
    std::array<sockaddr_in, 4> in{make_ipv4("10.0.0.1", 7), make_ipv4("10.0.0.2", 0), make_ipv4("0.0.0.0", 7),
                                  make_ipv4("10.0.0.3", 7)};
    in[1].sin_family = 0xfff;
    std::array<fi_addr_t, 4> out{};
    std::array<int, 4> errors{-1, -1, -1, -1};
    CHECK(fi_av_insert(av.get(), in.data(), in.size(), out.data(), FI_SYNC_ERR, errors.data()) == 2);
    CHECK(errors == std::array<int, 4>{0, FI_EINVAL, FI_EINVAL, 0});
    CHECK(out == std::array<fi_addr_t, 4>{0, FI_ADDR_NOTAVAIL, FI_ADDR_NOTAVAIL, 1});

    CHECK(fi_av_insert(av.get(), nullptr, 1, out.data(), 0, nullptr) == -FI_EINVAL);
    CHECK(fi_av_insert(av.get(), in.data(), 1, out.data(), FI_SYNC_ERR, nullptr) == -FI_EINVAL);
    CHECK(fi_av_insert(av.get(), in.data(), 1, out.data(), FI_TRIGGER, nullptr) == -FI_EBADFLAGS);
    CHECK(fi_av_insert(av.get(), in.data(), 0, out.data(), 0, nullptr) == 0);
    CHECK(fi_av_insert(av.get(), in.data(), 1, nullptr, 0, nullptr) == 1);
}

TEST_CASE_METHOD(Fixture, "a lookup into a short buffer tells the length")
{
    const Handle<fid_av> av = open();
    const sockaddr_in address = make_ipv4("10.0.0.1", 7);
    fi_addr_t fi_addr = 0;
    REQUIRE(fi_av_insert(av.get(), &address, 1, &fi_addr, 0, nullptr) == 1);
    std::array<unsigned char, 8> buffer{};
    buffer[4] = 0xee;
    std::size_t size = 4;
    CHECK(fi_av_lookup(av.get(), fi_addr, buffer.data(), &size) == 0);
    CHECK(size == sizeof(address));
    CHECK(std::memcmp(buffer.data(), &address, 4) == 0);
    CHECK(buffer[4] == 0xee);
}

TEST_CASE_METHOD(Fixture, "names and services")
{
    const Handle<fid_av> av = open();
    fi_addr_t fi_addr = FI_ADDR_NOTAVAIL;
    REQUIRE(fi_av_insertsvc(av.get(), "127.0.0.1", "7000", &fi_addr, 0, nullptr) == 1);
    CHECK(lookup(av.get(), fi_addr).sin_port == htons(7000));
    CHECK(fi_av_insertsvc(av.get(), "no-such-host.invalid", "7000", &fi_addr, 0, nullptr) == 0);
    CHECK(fi_addr == FI_ADDR_NOTAVAIL);
    CHECK(fi_av_insertsvc(av.get(), nullptr, "7000", &fi_addr, 0, nullptr) == -FI_EINVAL);

    std::array<fi_addr_t, 6> out{};
    REQUIRE(fi_av_insertsym(av.get(), "10.0.0.255", 2, "65534", 3, out.data(), 0, nullptr) == 4);
    CHECK(lookup(av.get(), out[0]).sin_addr.s_addr == htonl(0x0a0000ff));
    CHECK(lookup(av.get(), out[1]).sin_port == htons(65535));
    CHECK(out[2] == FI_ADDR_NOTAVAIL);
    CHECK(lookup(av.get(), out[3]).sin_addr.s_addr == htonl(0x0a000100));
    CHECK(lookup(av.get(), out[3]).sin_port == htons(65534));
    CHECK(out[5] == FI_ADDR_NOTAVAIL);
}

TEST_CASE_METHOD(Fixture, "addresses as text")
{
    const Handle<fid_av> av = open();
    const sockaddr_in address = make_ipv4("10.0.0.1", 7000);
    std::array<char, 64> text{};
    std::size_t size = text.size();
    REQUIRE(fi_av_straddr(av.get(), &address, text.data(), &size) == text.data());
    CHECK(std::string(text.data()) == "fi_sockaddr_in://10.0.0.1:7000");
    CHECK(size == std::strlen(text.data()) + 1);
    size = 10;
    REQUIRE(fi_av_straddr(av.get(), &address, text.data(), &size) == text.data());
    CHECK(std::string(text.data()) == "fi_sockad");
    CHECK(size == 31);
}

TEST_CASE("IPv6 addresses")
{
    int code = 0;
    if (const InfoPtr info = get_info(code, nullptr, "::1", nullptr, FI_SOURCE); code != 0) {
        WARN("SKIPPED: this host has no IPv6 loopback address");
        return;
    }
    Fixture fixture("::1");
    const Handle<fid_av> av = fixture.open();
    std::array<sockaddr_in6, 2> in{make_ipv6("2001:db8::1", 7), make_ipv6("2001:db8::2", 7)};
    in[0].sin6_flowinfo = 77;
    std::array<fi_addr_t, 2> out{};
    REQUIRE(fi_av_insert(av.get(), in.data(), 2, out.data(), 0, nullptr) == 2);
    in[0].sin6_flowinfo = 0; // not part of the address
    sockaddr_in6 found{};
    std::size_t size = sizeof(found);
    REQUIRE(fi_av_lookup(av.get(), out[0], &found, &size) == 0);
    CHECK(size == sizeof(found));
    CHECK(std::memcmp(&found, in.data(), sizeof(found)) == 0);
    std::array<char, 64> text{};
    size = text.size();
    REQUIRE(fi_av_straddr(av.get(), in.data(), text.data(), &size) != nullptr);
    CHECK(std::string(text.data()) == "fi_sockaddr_in6://[2001:db8::1]:7");
    std::array<fi_addr_t, 2> symmetric{};
    REQUIRE(fi_av_insertsym(av.get(), "2001:db8::ffff", 2, "7", 1, symmetric.data(), 0, nullptr) == 2);
    size = sizeof(found);
    REQUIRE(fi_av_lookup(av.get(), symmetric[1], &found, &size) == 0);
    const sockaddr_in6 next = make_ipv6("2001:db8::1:0", 7);
    CHECK(std::memcmp(&found, &next, sizeof(found)) == 0);
}

TEST_CASE_METHOD(Fixture, "100,000 addresses")
{
    constexpr std::size_t count = 100000;
    fi_av_attr attr{};
    attr.type = FI_AV_UNSPEC;
    attr.count = count;
    Handle<fid_av> av;
    REQUIRE(fi_av_open(domain.get(), &attr, av.out(), nullptr) == 0);
    CHECK(attr.type == FI_AV_TABLE);
    std::vector<sockaddr_in> in(count, make_ipv4("10.0.0.0", 7));
    for (std::size_t i = 0; i < count; ++i) {
        in[i].sin_addr.s_addr = htonl(0x0a000000U + static_cast<std::uint32_t>(i) + 1);
    }
    std::vector<fi_addr_t> out(count);
    REQUIRE(fi_av_insert(av.get(), in.data(), count, out.data(), 0, nullptr) == static_cast<int>(count));
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < count; ++i) {
        wrong += out[i] != i || lookup(av.get(), out[i]).sin_addr.s_addr != in[i].sin_addr.s_addr ? 1 : 0;
    }
    CHECK(wrong == 0);
    CHECK(fi_av_remove(av.get(), out.data(), count, 0) == 0);
}

TEST_CASE_METHOD(Fixture, "asynchronous insertion reports through the event queue")
{
    Handle<fid_eq> eq;
    fi_eq_attr eq_attr{};
    REQUIRE(fi_eq_open(fabric.get(), &eq_attr, eq.out(), nullptr) == 0);
    Handle<fid_av> av = open(FI_AV_TABLE, FI_EVENT);
    const std::array<sockaddr_in, 2> in{make_ipv4("10.0.0.1", 7), make_ipv4("10.0.0.2", 0)};
    std::array<fi_addr_t, 2> out{};
    int context = 0;
    CHECK(fi_av_insert(av.get(), in.data(), 2, out.data(), 0, &context) == -FI_ENOEQ);
    REQUIRE(fi_av_bind(av.get(), &eq->fid, 0) == 0);
    CHECK(fi_close(&eq->fid) == -FI_EBUSY);
    REQUIRE(fi_av_insert(av.get(), in.data(), 2, out.data(), 0, &context) == 0);

    std::uint32_t event = 0;
    fi_eq_entry entry{};
    CHECK(fi_eq_read(eq.get(), &event, &entry, sizeof(entry), 0) == -FI_EAVAIL);
    fi_eq_err_entry error{};
    REQUIRE(fi_eq_readerr(eq.get(), &error, 0) == sizeof(error));
    CHECK(error.fid == &av->fid);
    CHECK(error.context == &context);
    CHECK(error.data == 1);
    CHECK(error.err == FI_EINVAL);
    REQUIRE(fi_eq_read(eq.get(), &event, &entry, sizeof(entry), 0) == sizeof(entry));
    CHECK(event == FI_AV_COMPLETE);
    CHECK(entry.fid == &av->fid);
    CHECK(entry.context == &context);
    CHECK(entry.data == 1);
    CHECK(av.close() == 0);
}

TEST_CASE_METHOD(Fixture, "what an address vector is not")
{
    Handle<fid_av> av;
    fi_av_attr attr{};
    attr.rx_ctx_bits = 1;
    CHECK(fi_av_open(domain.get(), &attr, av.out(), nullptr) == -FI_EINVAL);
    attr.rx_ctx_bits = 0;
    attr.flags = FI_TRIGGER;
    CHECK(fi_av_open(domain.get(), &attr, av.out(), nullptr) == -FI_EINVAL);
}

TEST_CASE("av: who looks an address up while others insert and remove gets it whole or not at all")
{
    OpenDomain domain;
    fi_av_attr attr{};
    Handle<fid_av> av;
    REQUIRE(fi_av_open(domain.domain.get(), &attr, av.out(), nullptr) == 0);
    std::atomic<bool> stop{false};
    std::thread changer([&, address = make_ipv4("127.0.0.1", 1)]() mutable { // no REQUIRE in a thread
        for (std::uint16_t port = 1; !stop; port = static_cast<std::uint16_t>(port % 60000 + 1)) {
            address.sin_port = htons(port);
            fi_addr_t fi_addr = FI_ADDR_NOTAVAIL;
            if (fi_av_insert(av.get(), &address, 1, &fi_addr, 0, nullptr) != 1 ||
                fi_av_remove(av.get(), &fi_addr, 1, 0) != 0) {
                stop = true;
            }
        }
    });
    int found = 0;
    int broken = 0;
    for (int i = 0; i < 200000 && !stop; ++i) {
        sockaddr_in address{};
        std::size_t size = sizeof(address);
        if (fi_av_lookup(av.get(), 0, &address, &size) == 0) {
            ++found;
            broken += size != sizeof(address) || address.sin_family != AF_INET || address.sin_port == 0 ||
                      address.sin_addr.s_addr != htonl(INADDR_LOOPBACK);
        }
    }
    CHECK_FALSE(stop);
    stop = true;
    changer.join();
    CHECK(broken == 0);
    INFO(found << " found");
}
