// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <csignal>
#include <optional>
#include <sys/wait.h>
#include <unistd.h>

#include "fabric/fabric_fixture.hpp"
#include "support/child.hpp"

using namespace fabric_test;

TEST_CASE("close: what was injected is delivered although the endpoint closes at once")
{
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint b(domain, Options{});
    constexpr std::uint64_t count = 500;
    std::vector<std::uint64_t> buffers(count);
    for (std::uint64_t& buffer : buffers) {
        REQUIRE(fi_recv(b.ep.get(), &buffer, 8, nullptr, FI_ADDR_UNSPEC, &buffer) == 0);
    }
    {
        TestEndpoint a(domain, Options{});
        const fi_addr_t to = a.insert(b);
        for (std::uint64_t i = 0; i < count; ++i) {
            ssize_t result = 0;
            while ((result = fi_inject(a.ep.get(), &i, 8, to)) == -FI_EAGAIN) {
                b.poll();
            }
            REQUIRE(result == 0);
        }
    }
    while (b.ready.size() < count) {
        const std::size_t before = b.ready.size();
        b.poll();
        REQUIRE(b.ready.size() - before <= 1);
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        CHECK(buffers[i] == i);
        CHECK_FALSE(b.ready[i].failed);
    }
}

TEST_CASE("close: posted receives and unmatched sends are discarded without completions")
{
    Options options;
    Pair pair(options);
    std::vector<std::uint8_t> big(1 << 20);
    std::uint64_t word = 0;
    REQUIRE(fi_send(pair.a.ep.get(), big.data(), big.size(), nullptr, pair.b_at_a, &big) ==
            0); // b never posts
    REQUIRE(fi_trecv(pair.a.ep.get(), &word, 8, nullptr, FI_ADDR_UNSPEC, 1, 0, &word) == 0);
    for (int i = 0; i < 100; ++i) {
        pair.poll();
    }
    REQUIRE(pair.a.ep.close() == 0);
    pair.a.poll();
    CHECK(pair.a.ready.empty());
}

TEST_CASE("close: nothing is written any more into a receive that is still posted")
{
    // The endpoint goes on for the sake of what it sends, while its owner may have freed what it posted.
    Pair pair;
    constexpr std::uint64_t news = 7;
    std::vector<std::uint64_t> posted(16);
    std::vector<std::uint64_t> buffer(16); // FI_MULTI_RECV
    pair.a.poll();                         // known to each other, so that messages leave at once
    REQUIRE(fi_inject(pair.a.ep.get(), &news, 8, pair.b_at_a) == 0);
    REQUIRE(fi_recv(pair.b.ep.get(), posted.data(), 8, nullptr, FI_ADDR_UNSPEC, posted.data()) == 0);
    pair.until([&] { return pair.b.ready.size() == 1; });
    std::ranges::fill(posted, 0);
    for (std::uint64_t& word : posted) {
        REQUIRE(fi_trecv(pair.b.ep.get(), &word, 8, nullptr, FI_ADDR_UNSPEC, 1, 0, &word) == 0);
    }
    const iovec whole{buffer.data(), buffer.size() * sizeof buffer[0]};
    const fi_msg receive{&whole, nullptr, 1, FI_ADDR_UNSPEC, buffer.data(), 0};
    REQUIRE(fi_recvmsg(pair.b.ep.get(), &receive, FI_MULTI_RECV) == 0);
    for (std::size_t i = 0; i < posted.size(); ++i) {
        REQUIRE(fi_tinject(pair.a.ep.get(), &news, 8, pair.b_at_a, 1) == 0);
        REQUIRE(fi_inject(pair.a.ep.get(), &news, 8, pair.b_at_a) == 0);
    }
    REQUIRE(pair.b.ep.close() == 0);
    CHECK(std::ranges::count(posted, news) == 0);
    CHECK(std::ranges::count(buffer, news) == 0);
    REQUIRE(pair.a.ep.close() == 0); // whose messages were accepted, or have failed: either way it ends
}

TEST_CASE("close: opened, enabled and closed again many times")
{
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint b(domain, Options{});
    for (std::uint64_t i = 0; i < 20; ++i) {
        TestEndpoint a(domain, Options{});
        const fi_addr_t to = a.insert(b);
        std::uint64_t word = 0;
        REQUIRE(fi_recv(b.ep.get(), &word, 8, nullptr, FI_ADDR_UNSPEC, &word) == 0);
        REQUIRE(fi_send(a.ep.get(), &i, 8, nullptr, to, &a) == 0);
        while (a.ready.empty() || b.ready.empty()) {
            a.poll();
            b.poll();
        }
        CHECK(word == i);
        CHECK_FALSE(a.ready.front().failed);
        b.ready.clear();
    }
}

TEST_CASE("close: a peer that is killed fails the operations that wait for it, by name")
{
    const srd::test::Shared<sockaddr_in> address;
    srd::test::Signpost known;
    srd::test::Child child([&]() -> int {
        OpenDomain domain("127.0.0.1", hints_for(Options{}));
        TestEndpoint own(domain, Options{});
        const auto name = own.name();
        REQUIRE(name.size() == sizeof(sockaddr_in));
        std::memcpy(&*address, name.data(), name.size());
        known.tell();
        while (true) { // makes progress, takes no message
            fi_cq_read(own.cq.get(), nullptr, 0);
        }
    });
    known.await();
    std::vector<std::byte> name(sizeof(sockaddr_in));
    std::memcpy(name.data(), &*address, name.size());
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint own(domain, Options{});
    fi_addr_t to = FI_ADDR_NOTAVAIL;
    REQUIRE(fi_av_insert(own.av.get(), name.data(), 1, &to, 0, nullptr) == 1);
    std::uint64_t word = 1;
    REQUIRE(fi_send(own.ep.get(), &word, 8, nullptr, to, &word) == 0);
    while (own.ready.empty()) {
        own.poll();
    }
    CHECK_FALSE(own.ready.front().failed); // the connection stands
    own.ready.clear();
    std::vector<std::uint8_t> big(1 << 20);
    REQUIRE(fi_send(own.ep.get(), big.data(), big.size(), nullptr, to, &big) == 0); // waits for a receive
    child.kill();
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (own.ready.empty() && std::chrono::steady_clock::now() < end) {
        own.poll();
    }
    REQUIRE(own.ready.size() == 1);
    const Entry entry = own.ready.front();
    REQUIRE(entry.failed);
    CHECK(entry.error.op_context == &big);
    CHECK((entry.error.err == FI_ECONNREFUSED || entry.error.err == FI_ETIMEDOUT));
    CHECK(entry.error.prov_errno != 0);
    REQUIRE(entry.error.err_data_size == name.size());
    CHECK(std::memcmp(entry.error.err_data, name.data(), name.size()) == 0);
}
