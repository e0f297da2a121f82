// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// FI_SOURCE_ERR: a message from an address that is not in the vector is an error
// entry with everything that a completion has, and the address itself.
#include <array>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

constexpr std::uint64_t caps = FI_MSG | FI_TAGGED | FI_SOURCE | FI_SOURCE_ERR | FI_DIRECTED_RECV;

/// b knows nobody until it is told.
struct Strangers {
    explicit Strangers(const Options& options)
        : domain("127.0.0.1", hints_for(options)), a(domain, options), b(domain, options), b_at_a(a.insert(b))
    {
    }
    Entry next(TestEndpoint& who)
    {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
        while (who.ready.empty()) {
            a.poll();
            b.poll();
            REQUIRE(std::chrono::steady_clock::now() < end);
        }
        const Entry entry = who.ready.front();
        who.ready.pop_front();
        return entry;
    }

    OpenDomain domain;
    TestEndpoint a;
    TestEndpoint b;
    fi_addr_t b_at_a;
};

} // namespace

TEST_CASE("an unknown sender's message, its address, and the same sender once it is known")
{
    Options options;
    options.caps = caps;
    options.counters = true;
    Strangers both(options);
    TestEndpoint& a = both.a;
    TestEndpoint& b = both.b;

    std::array<char, 16> buffer{};
    REQUIRE(fi_trecv(b.ep.get(), buffer.data(), buffer.size(), nullptr, FI_ADDR_UNSPEC, 0, 0xff, &buffer) ==
            0);
    REQUIRE(fi_tsenddata(a.ep.get(), "unknown", 8, nullptr, 77, both.b_at_a, 0x12, nullptr) == 0);
    while (b.ready.empty()) {
        a.poll();
        fi_cq_tagged_entry entry{};
        fi_addr_t source = 0;
        const ssize_t result = fi_cq_readfrom(b.cq.get(), &entry, 1, &source);
        if (result == -FI_EAVAIL) {
            break;
        }
        REQUIRE(result == -FI_EAGAIN);
    }
    std::array<std::byte, 64> raw{};
    fi_cq_err_entry error{};
    SECTION("into the caller's memory")
    {
        error.err_data = raw.data();
        error.err_data_size = raw.size();
    }
    SECTION("behind the provider's pointer") {}
    REQUIRE(fi_cq_readerr(b.cq.get(), &error, 0) == 1);
    CHECK(error.err == FI_EADDRNOTAVAIL);
    CHECK(error.op_context == &buffer);
    CHECK(error.flags == (FI_RECV | FI_TAGGED | FI_REMOTE_CQ_DATA));
    CHECK(error.len == 8);
    CHECK(error.buf == buffer.data());
    CHECK(error.data == 77);
    CHECK(error.tag == 0x12);
    CHECK(error.olen == 0);
    CHECK(std::string(buffer.data()) == "unknown");
    const auto name = a.name();
    REQUIRE(error.err_data_size == name.size());
    CHECK(std::memcmp(error.err_data, name.data(), name.size()) == 0);
    CHECK(fi_cntr_read(b.received.get()) == 1); // it was received
    CHECK(fi_cntr_readerr(b.received.get()) == 0);

    fi_addr_t a_at_b = FI_ADDR_NOTAVAIL;
    REQUIRE(fi_av_insert(b.av.get(), error.err_data, 1, &a_at_b, 0, nullptr) == 1);
    REQUIRE(fi_trecv(b.ep.get(), buffer.data(), buffer.size(), nullptr, a_at_b, 0, 0xff, &buffer) == 0);
    REQUIRE(fi_tsend(a.ep.get(), "known", 6, nullptr, both.b_at_a, 0x12, nullptr) == 0);
    const Entry known = both.next(b);
    CHECK_FALSE(known.failed);
    CHECK(known.source == a_at_b);

    REQUIRE(fi_av_remove(b.av.get(), &a_at_b, 1, 0) == 0);
    REQUIRE(fi_trecv(b.ep.get(), buffer.data(), buffer.size(), nullptr, FI_ADDR_UNSPEC, 0, 0xff, &buffer) ==
            0);
    REQUIRE(fi_tsend(a.ep.get(), "again", 6, nullptr, both.b_at_a, 0x12, nullptr) == 0);
    const Entry removed = both.next(b);
    CHECK(removed.failed);
    CHECK(removed.error.err == FI_EADDRNOTAVAIL);
}

TEST_CASE("peeking at an unknown sender's message tells the address, too")
{
    Options options;
    options.caps = caps;
    Strangers both(options);
    REQUIRE(fi_tsend(both.a.ep.get(), "hello", 6, nullptr, both.b_at_a, 5, nullptr) == 0);
    fi_msg_tagged peek{};
    peek.addr = FI_ADDR_UNSPEC;
    peek.tag = 5;
    peek.context = &peek;
    Entry entry;
    do {
        REQUIRE(fi_trecvmsg(both.b.ep.get(), &peek, FI_PEEK) == 0);
        entry = both.next(both.b);
    } while (entry.failed && entry.error.err == FI_ENOMSG);
    REQUIRE(entry.failed);
    CHECK(entry.error.err == FI_EADDRNOTAVAIL);
    CHECK(entry.error.len == 6);
    const auto name = both.a.name();
    REQUIRE(entry.error.err_data_size == name.size());
    CHECK(std::memcmp(entry.error.err_data, name.data(), name.size()) == 0);
}

TEST_CASE("without FI_SOURCE_ERR an unknown sender is FI_ADDR_NOTAVAIL")
{
    Strangers both({});
    std::array<char, 16> buffer{};
    REQUIRE(fi_recv(both.b.ep.get(), buffer.data(), buffer.size(), nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
    REQUIRE(fi_send(both.a.ep.get(), "unknown", 8, nullptr, both.b_at_a, nullptr) == 0);
    const Entry entry = both.next(both.b);
    CHECK_FALSE(entry.failed);
    CHECK(entry.source == FI_ADDR_NOTAVAIL);
}

TEST_CASE("the capability is given when asked for, and brings FI_SOURCE along")
{
    int code = 0;
    const InfoPtr all = get_info(code, nullptr);
    REQUIRE(code == 0);
    CHECK((all->caps & FI_SOURCE_ERR) == 0);
    const InfoPtr hints = make_hints(FI_MSG | FI_SOURCE_ERR);
    const InfoPtr asked = get_info(code, hints.get());
    REQUIRE(code == 0);
    CHECK((asked->caps & (FI_SOURCE | FI_SOURCE_ERR)) == (FI_SOURCE | FI_SOURCE_ERR));
    CHECK((asked->rx_attr->caps & FI_SOURCE_ERR) != 0);
}
