// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

void post(TestEndpoint& who, std::vector<std::uint8_t>& buffer)
{
    iovec iov{buffer.data(), buffer.size()};
    fi_msg message{};
    message.msg_iov = &iov;
    message.iov_count = 1;
    message.addr = FI_ADDR_UNSPEC;
    message.context = &buffer;
    REQUIRE(fi_recvmsg(who.ep.get(), &message, FI_MULTI_RECV) == 0);
}

void set_minimum(TestEndpoint& who, std::size_t bytes)
{
    REQUIRE(fi_setopt(&who.ep->fid, FI_OPT_ENDPOINT, FI_OPT_MIN_MULTI_RECV, &bytes, sizeof(bytes)) == 0);
}

} // namespace

TEST_CASE("multirecv: messages are packed, and the last of a buffer releases it")
{
    Pair pair;
    const bool posted_first = GENERATE(true, false);
    const std::size_t size = GENERATE(std::size_t{100}, std::size_t{30000});
    CAPTURE(posted_first, size);
    set_minimum(pair.b, size);
    std::vector<std::vector<std::uint8_t>> buffers(2, std::vector<std::uint8_t>(size * 4 + size / 2));
    const auto post_all = [&] {
        for (auto& buffer : buffers) {
            post(pair.b, buffer);
        }
    };
    if (posted_first) {
        post_all();
    }
    std::vector<std::vector<std::uint8_t>> data;
    for (unsigned i = 0; i < 8; ++i) {
        data.push_back(pattern(size, i));
    }
    for (auto& message : data) {
        REQUIRE(fi_send(pair.a.ep.get(), message.data(), size, nullptr, pair.b_at_a, &message) == 0);
    }
    if (!posted_first) {
        for (int i = 0; i < 1000; ++i) {
            pair.poll();
        }
        post_all();
    }
    int released = 0;
    std::vector<int> received(2, 0);
    for (int i = 0; i < 8; ++i) {
        const Entry got = pair.next(pair.b);
        REQUIRE_FALSE(got.failed);
        REQUIRE(got.good.len == size);
        const auto index = static_cast<std::size_t>(
            static_cast<std::vector<std::uint8_t>*>(got.good.op_context) - buffers.data());
        const auto* at = static_cast<const std::uint8_t*>(got.good.buf);
        const auto slot = static_cast<std::size_t>(at - buffers[index].data()) / size;
        REQUIRE(at == buffers[index].data() + slot * size);
        CHECK(std::equal(at, at + size, data[index * 4 + slot].begin()));
        ++received[index];
        if ((got.good.flags & FI_MULTI_RECV) != 0) {
            CHECK(received[index] == 4);
            ++released;
        }
    }
    CHECK(released == 2);
}

TEST_CASE("multirecv: a message that does not fit is truncated and releases the buffer")
{
    Pair pair;
    set_minimum(pair.b, 10);
    std::vector<std::uint8_t> buffer(100);
    post(pair.b, buffer);
    const auto data = pattern(90);
    for (int i = 0; i < 2; ++i) {
        REQUIRE(fi_send(pair.a.ep.get(), data.data(), 90, nullptr, pair.b_at_a, nullptr) == 0);
    }
    const Entry first = pair.next(pair.b);
    REQUIRE_FALSE(first.failed);
    CHECK((first.good.flags & FI_MULTI_RECV) == 0);
    const Entry second = pair.next(pair.b);
    REQUIRE(second.failed);
    CHECK(second.error.err == FI_ETRUNC);
    CHECK(second.error.olen == 80);
    CHECK((second.error.flags & FI_MULTI_RECV) != 0);
}

TEST_CASE("multirecv: a canceled buffer comes back; one too small is refused")
{
    Pair pair;
    set_minimum(pair.b, 64);
    std::vector<std::uint8_t> buffer(1000);
    post(pair.b, buffer);
    REQUIRE(fi_cancel(&pair.b.ep->fid, &buffer) == 0);
    const Entry entry = pair.next(pair.b);
    REQUIRE(entry.failed);
    CHECK(entry.error.err == FI_ECANCELED);
    CHECK(entry.error.op_context == &buffer);
    iovec iov{buffer.data(), 63};
    fi_msg message{};
    message.msg_iov = &iov;
    message.iov_count = 1;
    message.addr = FI_ADDR_UNSPEC;
    CHECK(fi_recvmsg(pair.b.ep.get(), &message, FI_MULTI_RECV) == -FI_EINVAL);
}
