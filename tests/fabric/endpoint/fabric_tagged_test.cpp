// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

constexpr std::uint64_t all_bits = ~std::uint64_t{0};

void post(TestEndpoint& who, std::uint64_t& buffer, std::uint64_t tag, std::uint64_t ignore,
          fi_addr_t source = FI_ADDR_UNSPEC)
{
    REQUIRE(fi_trecv(who.ep.get(), &buffer, sizeof(buffer), nullptr, source, tag, ignore, &buffer) == 0);
}

void inject(Pair& pair, std::uint64_t value, std::uint64_t tag)
{
    REQUIRE(pair.retry(
                [&] { return fi_tinject(pair.a.ep.get(), &value, sizeof(value), pair.b_at_a, tag); }) == 0);
}

} // namespace

TEST_CASE("tagged: all nine calls")
{
    Pair pair;
    fid_ep* a = pair.a.ep.get();
    fid_ep* b = pair.b.ep.get();
    auto data = pattern(2000);
    std::vector<std::uint8_t> buffer(2000);
    const iovec in{buffer.data(), buffer.size()};
    const iovec out{data.data(), data.size()};
    fi_msg_tagged message{};
    message.iov_count = 1;
    message.context = &message;
    message.tag = 0xabcdef0123456789;
    std::uint64_t flags = FI_RECV | FI_TAGGED;
    bool silent = false;
    SECTION("trecv, tsend")
    {
        REQUIRE(fi_trecv(b, in.iov_base, in.iov_len, nullptr, FI_ADDR_UNSPEC, message.tag, 0, &message) == 0);
        REQUIRE(fi_tsend(a, out.iov_base, out.iov_len, nullptr, pair.b_at_a, message.tag, &message) == 0);
    }
    SECTION("trecvv, tsendv")
    {
        REQUIRE(fi_trecvv(b, &in, nullptr, 1, FI_ADDR_UNSPEC, message.tag, 0, &message) == 0);
        REQUIRE(fi_tsendv(a, &out, nullptr, 1, pair.b_at_a, message.tag, &message) == 0);
    }
    SECTION("trecvmsg, tsendmsg")
    {
        message.msg_iov = &in;
        message.addr = FI_ADDR_UNSPEC;
        REQUIRE(fi_trecvmsg(b, &message, 0) == 0);
        message.msg_iov = &out;
        message.addr = pair.b_at_a;
        message.data = 99;
        REQUIRE(fi_tsendmsg(a, &message, FI_REMOTE_CQ_DATA | FI_INJECT | FI_INJECT_COMPLETE) == 0);
        flags |= FI_REMOTE_CQ_DATA;
    }
    SECTION("tsenddata")
    {
        REQUIRE(fi_trecv(b, in.iov_base, in.iov_len, nullptr, FI_ADDR_UNSPEC, message.tag, 0, &message) == 0);
        REQUIRE(fi_tsenddata(a, out.iov_base, out.iov_len, nullptr, 99, pair.b_at_a, message.tag, &message) ==
                0);
        flags |= FI_REMOTE_CQ_DATA;
    }
    SECTION("tinject")
    {
        REQUIRE(fi_trecv(b, in.iov_base, in.iov_len, nullptr, FI_ADDR_UNSPEC, message.tag, 0, &message) == 0);
        REQUIRE(fi_tinject(a, out.iov_base, out.iov_len, pair.b_at_a, message.tag) == 0);
        silent = true;
    }
    SECTION("tinjectdata")
    {
        REQUIRE(fi_trecv(b, in.iov_base, in.iov_len, nullptr, FI_ADDR_UNSPEC, message.tag, 0, &message) == 0);
        REQUIRE(fi_tinjectdata(a, out.iov_base, out.iov_len, 99, pair.b_at_a, message.tag) == 0);
        flags |= FI_REMOTE_CQ_DATA;
        silent = true;
    }
    const Entry got = pair.next(pair.b);
    REQUIRE_FALSE(got.failed);
    CHECK(got.good.flags == flags);
    CHECK(got.good.tag == 0xabcdef0123456789);
    CHECK(got.good.len == 2000);
    CHECK(got.source == pair.a_at_b);
    if ((flags & FI_REMOTE_CQ_DATA) != 0) {
        CHECK(got.good.data == 99);
    }
    CHECK(buffer == data);
    if (!silent) {
        CHECK(pair.next(pair.a).good.flags == (FI_SEND | FI_TAGGED));
    }
}

TEST_CASE("tagged: the earliest posted receive that matches wins, whatever its kind")
{
    Pair pair;
    // Every order of the four kinds of receive for tag 5; each message must take the first that is left.
    std::vector<int> kinds = {0, 1, 2, 3};
    do {
        std::uint64_t buffers[4]{};
        std::vector<std::uint64_t*> posted;
        for (const int kind : kinds) {
            std::uint64_t& buffer = buffers[kind];
            switch (kind) {
            case 0:
                post(pair.b, buffer, 5, 0);
                break;
            case 1:
                post(pair.b, buffer, 5, 0, pair.a_at_b);
                break;
            case 2:
                post(pair.b, buffer, 0, all_bits);
                break;
            default:
                post(pair.b, buffer, 4, 3, pair.a_at_b);
                break;
            }
            posted.push_back(&buffer);
        }
        for (std::uint64_t i = 0; i < 4; ++i) {
            inject(pair, 100 + i, 5);
        }
        for (std::uint64_t i = 0; i < 4; ++i) {
            const Entry got = pair.next(pair.b);
            REQUIRE_FALSE(got.failed);
            CHECK(got.good.op_context == posted[i]);
            CHECK(*posted[i] == 100 + i);
        }
    } while (std::next_permutation(kinds.begin(), kinds.end()));
}

TEST_CASE("tagged: a receive takes the earliest message that it matches")
{
    Pair pair;
    for (std::uint64_t i = 0; i < 8; ++i) {
        std::uint64_t value = 200 + i;
        pair.park(&value, sizeof(value), i % 4);
    }
    std::uint64_t buffer = 0;
    const auto take = [&](std::uint64_t tag, std::uint64_t ignore, fi_addr_t source) {
        post(pair.b, buffer, tag, ignore, source);
        const Entry got = pair.next(pair.b);
        REQUIRE_FALSE(got.failed);
        return buffer;
    };
    CHECK(take(2, 0, FI_ADDR_UNSPEC) == 202);
    CHECK(take(0, all_bits, FI_ADDR_UNSPEC) == 200);
    CHECK(take(2, 1, pair.a_at_b) == 203); // tags 2 and 3
    CHECK(take(1, 0, pair.a_at_b) == 201);
    CHECK(take(0, 3, FI_ADDR_UNSPEC) == 204);
    CHECK(take(0xff00, 0xffff, pair.a_at_b) == 205);
    CHECK(take(3, 0, FI_ADDR_UNSPEC) == 207);
    CHECK(take(2, 0, FI_ADDR_UNSPEC) == 206);
}

TEST_CASE("tagged: more ignore masks than there are tables for")
{
    Pair pair;
    std::uint64_t buffers[16]{};
    for (std::uint64_t i = 0; i < 16; ++i) {
        post(pair.b, buffers[i], i << 32, (std::uint64_t{1} << i) - 1);
    }
    for (std::uint64_t i = 16; i-- > 0;) {
        inject(pair, i, i << 32);
    }
    for (int i = 0; i < 16; ++i) {
        REQUIRE_FALSE(pair.next(pair.b).failed);
    }
    for (std::uint64_t i = 0; i < 16; ++i) {
        CHECK(buffers[i] == i);
    }
}

TEST_CASE("tagged: a directed receive waits for its source, and tagged and plain messages do not meet")
{
    Pair pair;
    TestEndpoint c(pair.domain, Options{});
    const fi_addr_t b_at_c = c.insert(pair.b);
    const fi_addr_t c_at_b = pair.b.insert(c);
    std::uint64_t from_c = 0;
    std::uint64_t plain = 0;
    post(pair.b, from_c, 1, 0, c_at_b);
    REQUIRE(fi_recv(pair.b.ep.get(), &plain, 8, nullptr, FI_ADDR_UNSPEC, &plain) == 0);
    inject(pair, 11, 1);
    for (int i = 0; i < 2000; ++i) {
        pair.poll();
    }
    CHECK(pair.b.ready.empty());
    const std::uint64_t value = 22;
    REQUIRE(fi_tinject(c.ep.get(), &value, 8, b_at_c, 1) == 0);
    pair.until([&] {
        c.poll();
        return !pair.b.ready.empty();
    });
    const Entry got = pair.next(pair.b);
    CHECK(got.good.op_context == &from_c);
    CHECK(got.source == c_at_b);
    CHECK(from_c == 22);
    std::uint64_t from_a = 0;
    post(pair.b, from_a, 1, 0);
    CHECK(pair.next(pair.b).good.op_context == &from_a);
    CHECK(from_a == 11);
}

TEST_CASE("tagged: thousands of unexpected messages wait without loss")
{
    Pair pair;
    constexpr std::uint64_t count = 5000;
    for (std::uint64_t i = 0; i < count; ++i) {
        inject(pair, i * 3, i);
    }
    std::uint64_t buffer = 0;
    for (std::uint64_t i = count; i-- > 0;) {
        post(pair.b, buffer, i, 0);
        const Entry got = pair.next(pair.b);
        REQUIRE_FALSE(got.failed);
        REQUIRE(buffer == i * 3);
    }
}
