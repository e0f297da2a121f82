// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <rdma/fi_atomic.h>
#include <rdma/fi_rma.h>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

TEST_CASE("msg: every size arrives whole, posted before and after")
{
    Pair pair;
    for (const std::size_t size : {0U, 1U, 64U, 1024U, 1025U, 4096U, 16384U, 16385U, 100000U, 3000000U}) {
        for (const bool posted_first : {true, false}) {
            CAPTURE(size, posted_first);
            const auto data = pattern(size, static_cast<unsigned>(size));
            std::vector<std::uint8_t> buffer(size + 8, 0xee);
            const auto post = [&] {
                REQUIRE(fi_recv(pair.b.ep.get(), buffer.data(), size, nullptr, FI_ADDR_UNSPEC, &buffer) == 0);
            };
            if (posted_first) {
                post();
            }
            REQUIRE(fi_send(pair.a.ep.get(), data.data(), size, nullptr, pair.b_at_a, &pair) == 0);
            for (int i = 0; i < 100; ++i) {
                pair.poll();
            }
            if (!posted_first) {
                post();
            }
            const Entry got = pair.next(pair.b);
            REQUIRE_FALSE(got.failed);
            CHECK(got.good.op_context == &buffer);
            CHECK(got.good.flags == (FI_RECV | FI_MSG));
            CHECK(got.good.len == size);
            CHECK(got.source == pair.a_at_b);
            CHECK(std::equal(data.begin(), data.end(), buffer.begin()));
            CHECK(buffer[size] == 0xee);
            const Entry sent = pair.next(pair.a);
            REQUIRE_FALSE(sent.failed);
            CHECK(sent.good.op_context == &pair);
            CHECK(sent.good.flags == (FI_SEND | FI_MSG));
        }
    }
}

namespace {

constexpr std::uint64_t cq_data = 0x1122334455667788;

void check_received(Pair& pair, void* context, std::uint64_t flags, std::size_t length)
{
    const Entry got = pair.next(pair.b);
    REQUIRE_FALSE(got.failed);
    CHECK(got.good.op_context == context);
    CHECK(got.good.flags == flags);
    CHECK(got.good.len == length);
    if ((flags & FI_REMOTE_CQ_DATA) != 0) {
        CHECK(got.good.data == cq_data);
    }
}

/// One completion, or none for an inject.
void check_sent(Pair& pair, bool silent)
{
    if (!silent) {
        CHECK(pair.next(pair.a).good.flags == (FI_SEND | FI_MSG));
        return;
    }
    for (int i = 0; i < 1000; ++i) {
        pair.poll();
    }
    CHECK(pair.a.ready.empty());
}

} // namespace

TEST_CASE("msg: all nine calls")
{
    Pair pair;
    fid_ep* a = pair.a.ep.get();
    fid_ep* b = pair.b.ep.get();
    const auto data = pattern(3000);
    void* bytes = const_cast<std::uint8_t*>(data.data());
    std::vector<std::uint8_t> buffer(4000);
    int context = 0;
    bool silent = false;
    std::uint64_t expected_flags = FI_RECV | FI_MSG;
    const std::size_t length = data.size();

    SECTION("recvv, sendv")
    {
        const iovec in[3] = {{buffer.data(), 1000}, {buffer.data() + 1000, 1}, {buffer.data() + 1001, 2999}};
        const iovec out[4] = {{bytes, 10},
                              {data.size() + static_cast<char*>(bytes) - 2990, 0},
                              {static_cast<char*>(bytes) + 10, 1990},
                              {static_cast<char*>(bytes) + 2000, 1000}};
        REQUIRE(fi_recvv(b, in, nullptr, 3, FI_ADDR_UNSPEC, &context) == 0);
        REQUIRE(fi_sendv(a, out, nullptr, 4, pair.b_at_a, &context) == 0);
    }
    SECTION("recvmsg, sendmsg with data")
    {
        iovec in{buffer.data(), buffer.size()};
        iovec out{bytes, data.size()};
        fi_msg message{};
        message.msg_iov = &in;
        message.iov_count = 1;
        message.addr = FI_ADDR_UNSPEC;
        message.context = &context;
        REQUIRE(fi_recvmsg(b, &message, FI_COMPLETION) == 0);
        message.msg_iov = &out;
        message.addr = pair.b_at_a;
        message.data = cq_data;
        REQUIRE(fi_sendmsg(a, &message, FI_REMOTE_CQ_DATA | FI_DELIVERY_COMPLETE) == 0);
        expected_flags |= FI_REMOTE_CQ_DATA;
    }
    SECTION("senddata")
    {
        REQUIRE(fi_recv(b, buffer.data(), buffer.size(), nullptr, pair.a_at_b, &context) == 0);
        REQUIRE(fi_senddata(a, bytes, length, nullptr, cq_data, pair.b_at_a, &context) == 0);
        expected_flags |= FI_REMOTE_CQ_DATA;
    }
    SECTION("inject")
    {
        REQUIRE(fi_recv(b, buffer.data(), buffer.size(), nullptr, FI_ADDR_UNSPEC, &context) == 0);
        auto copy = data;
        REQUIRE(fi_inject(a, copy.data(), length, pair.b_at_a) == 0);
        std::fill(copy.begin(), copy.end(), std::uint8_t{0});
        silent = true;
    }
    SECTION("injectdata")
    {
        REQUIRE(fi_recv(b, buffer.data(), buffer.size(), nullptr, FI_ADDR_UNSPEC, &context) == 0);
        REQUIRE(fi_injectdata(a, bytes, length, cq_data, pair.b_at_a) == 0);
        expected_flags |= FI_REMOTE_CQ_DATA;
        silent = true;
    }
    check_received(pair, &context, expected_flags, length);
    CHECK(std::equal(data.begin(), data.end(), buffer.begin()));
    check_sent(pair, silent);
}

TEST_CASE("msg: order is kept across sizes, and FI_MORE loses nothing")
{
    Pair pair;
    constexpr std::size_t count = 300;
    std::vector<std::vector<std::uint8_t>> data;
    std::vector<std::vector<std::uint8_t>> buffers(count);
    for (std::size_t i = 0; i < count; ++i) {
        data.push_back(pattern((i * i * 131) % 20000, static_cast<unsigned>(i)));
        buffers[i].resize(20000);
        REQUIRE(fi_recv(pair.b.ep.get(), buffers[i].data(), 20000, nullptr, FI_ADDR_UNSPEC, &buffers[i]) ==
                0);
    }
    for (std::size_t i = 0; i < count; ++i) {
        iovec out{data[i].data(), data[i].size()};
        fi_msg message{};
        message.msg_iov = &out;
        message.iov_count = 1;
        message.addr = pair.b_at_a;
        message.context = &data[i];
        REQUIRE(pair.retry(
                    [&] { return fi_sendmsg(pair.a.ep.get(), &message, i + 1 < count ? FI_MORE : 0); }) == 0);
    }
    std::size_t done = 0;
    while (done < count) {
        const Entry got = pair.next(pair.b);
        REQUIRE_FALSE(got.failed);
        const auto index = static_cast<std::size_t>(
            static_cast<std::vector<std::uint8_t>*>(got.good.op_context) - buffers.data());
        REQUIRE(got.good.len == data[index].size());
        REQUIRE(std::equal(data[index].begin(), data[index].end(), buffers[index].begin()));
        ++done;
    }
}

TEST_CASE("msg: an endpoint talks to itself")
{
    Pair pair;
    const fi_addr_t self = pair.a.insert(pair.a);
    for (const std::size_t size : {8U, 50000U}) {
        const auto data = pattern(size);
        std::vector<std::uint8_t> buffer(size);
        REQUIRE(fi_recv(pair.a.ep.get(), buffer.data(), size, nullptr, self, &buffer) == 0);
        REQUIRE(fi_send(pair.a.ep.get(), data.data(), size, nullptr, self, &pair) == 0);
        bool received = false;
        bool sent = false;
        while (!received || !sent) {
            const Entry entry = pair.next(pair.a);
            REQUIRE_FALSE(entry.failed);
            (entry.good.flags & FI_RECV ? received : sent) = true;
        }
        CHECK(buffer == data);
    }
}

TEST_CASE("msg: a message longer than the buffer reports FI_ETRUNC and how much was lost")
{
    Pair pair;
    for (const std::size_t size : {100U, 40000U}) {
        const auto data = pattern(size);
        std::vector<std::uint8_t> buffer(size, 0);
        REQUIRE(fi_recv(pair.b.ep.get(), buffer.data(), 60, nullptr, FI_ADDR_UNSPEC, &buffer) == 0);
        REQUIRE(fi_send(pair.a.ep.get(), data.data(), size, nullptr, pair.b_at_a, nullptr) == 0);
        const Entry got = pair.next(pair.b);
        REQUIRE(got.failed);
        CHECK(got.error.err == FI_ETRUNC);
        CHECK(got.error.op_context == &buffer);
        CHECK(got.error.len == 60);
        CHECK(got.error.olen == size - 60);
        CHECK(std::equal(buffer.begin(), buffer.begin() + 60, data.begin()));
        CHECK(buffer[60] == 0);
        CHECK_FALSE(pair.next(pair.a).failed); // the sender did nothing wrong
    }
}

TEST_CASE("msg: mistakes are refused with the documented error")
{
    Pair pair;
    fid_ep* a = pair.a.ep.get();
    std::vector<std::uint8_t> data(pair.domain.info->tx_attr->inject_size + 1);
    iovec iov[5]{};
    CHECK(fi_send(a, nullptr, 1, nullptr, pair.b_at_a, nullptr) == -FI_EINVAL);
    CHECK(fi_recv(a, nullptr, 1, nullptr, FI_ADDR_UNSPEC, nullptr) == -FI_EINVAL);
    CHECK(fi_sendv(a, iov, nullptr, 5, pair.b_at_a, nullptr) == -FI_EINVAL);
    CHECK(fi_sendv(a, nullptr, nullptr, 1, pair.b_at_a, nullptr) == -FI_EINVAL);
    CHECK(fi_recvv(a, iov, nullptr, 5, FI_ADDR_UNSPEC, nullptr) == -FI_EINVAL);
    CHECK(fi_sendmsg(a, nullptr, 0) == -FI_EINVAL);
    CHECK(fi_inject(a, data.data(), data.size(), pair.b_at_a) == -FI_EMSGSIZE);
    CHECK(fi_send(a, data.data(), 1, nullptr, 12345, nullptr) == -FI_EINVAL);
    CHECK(fi_send(a, data.data(), 1, nullptr, FI_ADDR_UNSPEC, nullptr) == -FI_EINVAL);
    CHECK(fi_recv(a, data.data(), 1, nullptr, 12345, nullptr) == -FI_EINVAL);
    iov[0] = {data.data(), 8};
    fi_msg message{};
    message.msg_iov = iov;
    message.iov_count = 1;
    message.addr = pair.b_at_a;
    CHECK(fi_sendmsg(a, &message, FI_MULTICAST) == -FI_EOPNOTSUPP);
    for (int i = 0; i < 100; ++i) {
        pair.poll();
    }
    CHECK(pair.a.ready.empty());
    CHECK(pair.b.ready.empty());
}

TEST_CASE("msg: selective completion reports only what asks for it")
{
    Options options;
    options.bind_flags |= FI_SELECTIVE_COMPLETION;
    Pair pair(options);
    std::uint64_t word = 7;
    std::uint64_t buffers[4]{};
    iovec in{&buffers[0], 8};
    fi_msg message{};
    message.msg_iov = &in;
    message.iov_count = 1;
    message.addr = FI_ADDR_UNSPEC;
    for (int i = 0; i < 4; ++i) {
        in.iov_base = &buffers[i];
        message.context = &buffers[i];
        REQUIRE(fi_recvmsg(pair.b.ep.get(), &message, i % 2 == 1 ? FI_COMPLETION : 0) == 0);
    }
    in.iov_base = &word;
    message.addr = pair.b_at_a;
    for (std::uint64_t i = 0; i < 4; ++i) {
        message.context = reinterpret_cast<void*>(i);
        REQUIRE(pair.retry([&] {
            return fi_sendmsg(pair.a.ep.get(), &message,
                              FI_INJECT | FI_TRANSMIT_COMPLETE | (i == 3 ? FI_COMPLETION : 0));
        }) == 0);
    }
    CHECK(pair.next(pair.b).good.op_context == &buffers[1]);
    CHECK(pair.next(pair.b).good.op_context == &buffers[3]);
    CHECK(pair.next(pair.a).good.op_context == reinterpret_cast<void*>(3));
    CHECK(pair.a.ready.empty());
    CHECK(pair.b.ready.empty());
    CHECK(buffers[0] == 7);
}
