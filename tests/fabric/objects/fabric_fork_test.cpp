// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fork(): the parent's communication goes on, whatever the child does.
#include <array>
#include <string>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "fabric/fabric_fixture.hpp"
#include "support/child.hpp"

using namespace fabric_test;
using srd::test::Child;

namespace {

/// One message each way, both completed at both ends.
void exchange(Pair& pair)
{
    std::array<char, 8> in_a{};
    std::array<char, 8> in_b{};
    REQUIRE(fi_trecv(pair.a.ep.get(), in_a.data(), in_a.size(), nullptr, FI_ADDR_UNSPEC, 1, 0, nullptr) == 0);
    REQUIRE(fi_trecv(pair.b.ep.get(), in_b.data(), in_b.size(), nullptr, FI_ADDR_UNSPEC, 1, 0, nullptr) == 0);
    REQUIRE(fi_tsend(pair.a.ep.get(), "to b", 5, nullptr, pair.b_at_a, 1, nullptr) == 0);
    REQUIRE(fi_tsend(pair.b.ep.get(), "to a", 5, nullptr, pair.a_at_b, 1, nullptr) == 0);
    for (TestEndpoint* who : {&pair.a, &pair.b}) {
        for (int i = 0; i < 2; ++i) {
            const Entry entry = pair.next(*who);
            CHECK_FALSE(entry.failed);
        }
    }
    CHECK(std::string(in_a.data()) == "to a");
    CHECK(std::string(in_b.data()) == "to b");
}

int count_sockets()
{
    int count = 0;
    for (int fd = 0; fd < 1024; ++fd) {
        int type = 0;
        socklen_t size = sizeof(type);
        count += getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 ? 1 : 0;
    }
    return count;
}

Options options_of(fi_progress progress)
{
    Options options;
    options.progress = progress;
    options.wait = FI_WAIT_UNSPEC;
    return options;
}

} // namespace

TEST_CASE("a child that closes what it inherited disturbs nobody")
{
    const auto progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    Pair pair(options_of(progress));
    exchange(pair);
    Child child([&] {
        int faults = 0;
        for (TestEndpoint* who : {&pair.a, &pair.b}) {
            faults += who->ep.close() != 0;
            faults += who->cq.close() != 0;
            faults += who->av.close() != 0;
        }
        faults += pair.domain.domain.close() != 0;
        faults += pair.domain.fabric.close() != 0;
        return faults;
    });
    CHECK(child.wait() == 0);
    exchange(pair);
}

TEST_CASE("a child that uses what it inherited is told so, and nothing goes out")
{
    Pair pair;
    exchange(pair);
    Child child([&] {
        if (fi_tsend(pair.a.ep.get(), "child", 6, nullptr, pair.b_at_a, 1, nullptr) != -FI_EOPBADSTATE) {
            return 1;
        }
        std::array<char, 8> buffer{};
        if (fi_trecv(pair.a.ep.get(), buffer.data(), 8, nullptr, FI_ADDR_UNSPEC, 1, 0, nullptr) !=
            -FI_EOPBADSTATE) {
            return 2;
        }
        fi_cq_tagged_entry entry{};
        if (fi_cq_read(pair.b.cq.get(), &entry, 1) != -FI_EAGAIN) {
            return 3;
        }
        fid_ep* ep = nullptr;
        if (fi_endpoint(pair.domain.domain.get(), pair.domain.info.get(), &ep, nullptr) != -FI_EOPBADSTATE) {
            return 4;
        }
        return 0;
    });
    CHECK(child.wait() == 0);
    exchange(pair);
}

TEST_CASE("a child cannot enable what it inherited, whether it was enabled before or not")
{
    Pair pair;
    exchange(pair);
    Handle<fid_ep> late;
    REQUIRE(fi_endpoint(pair.domain.domain.get(), pair.domain.info.get(), late.out(), nullptr) == 0);
    REQUIRE(fi_ep_bind(late.get(), &pair.a.av->fid, 0) == 0);
    REQUIRE(fi_ep_bind(late.get(), &pair.a.cq->fid, FI_TRANSMIT | FI_RECV) == 0);
    Child child([&] {
        int told = 0;
        for (fid_ep* ep : {pair.a.ep.get(), pair.b.ep.get(), late.get()}) {
            told += fi_enable(ep) == -FI_EOPBADSTATE;
        }
        return told;
    });
    CHECK(child.wait() == 3);
    CHECK(fi_enable(late.get()) == 0);
    exchange(pair);
}

TEST_CASE("a child that would wait on what it inherited is told so: the descriptors are not its own")
{
    const auto progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    Options options = options_of(progress);
    options.wait = FI_WAIT_FD;
    options.counters = true;
    Pair pair(options);
    fid_fabric* const fabric = pair.domain.fabric.get();
    fi_eq_attr eq_attr{};
    eq_attr.wait_obj = FI_WAIT_FD;
    Handle<fid_eq> eq;
    REQUIRE(fi_eq_open(fabric, &eq_attr, eq.out(), nullptr) == 0);
    fi_wait_attr wait_attr{};
    wait_attr.wait_obj = FI_WAIT_FD;
    Handle<fid_wait> set;
    REQUIRE(fi_wait_open(fabric, &wait_attr, set.out()) == 0);
    exchange(pair);
    std::array<fid*, 4> objects{&pair.a.cq->fid, &pair.a.received->fid, &eq->fid, &set->fid};
    for (fid*& object : objects) {
        const int code = fi_trywait(fabric, &object, 1); // arms a queue: the child inherits that, too
        REQUIRE((code == 0 || code == -FI_EAGAIN));
    }
    Child child([&] {
        int told = 0;
        for (fid*& object : objects) {
            int descriptor = -1;
            told += fi_trywait(fabric, &object, 1) == -FI_EOPBADSTATE;
            told += fi_control(object, FI_GETWAIT, &descriptor) == -FI_EOPBADSTATE;
        }
        fi_cq_tagged_entry entry{};
        std::uint32_t event = 0;
        told += fi_cq_sread(pair.a.cq.get(), &entry, 1, nullptr, -1) == -FI_EOPBADSTATE;
        told += fi_cntr_wait(pair.a.received.get(), 1000, -1) == -FI_EOPBADSTATE;
        told += fi_eq_sread(eq.get(), &event, &entry, sizeof(entry), -1, 0) == -FI_EOPBADSTATE;
        told += fi_wait(set.get(), -1) == -FI_EOPBADSTATE;
        return fi_cq_signal(pair.a.cq.get()) == 0 ? told : -1;
    });
    CHECK(child.wait() == 12);
    exchange(pair);
}

TEST_CASE("a child has none of the parent's sockets, so that peers see when the parent dies")
{
    const int before = count_sockets();
    Pair pair;
    exchange(pair);
    REQUIRE(count_sockets() > before);
    Child child([&] { return count_sockets() == before ? 0 : 1; });
    CHECK(child.wait() == 0);
    exchange(pair);
}

TEST_CASE("programs that are started see no descriptor of ours")
{
    Pair pair(options_of(FI_PROGRESS_AUTO));
    exchange(pair);
    for (int fd = 3; fd < 1024; ++fd) {
        const int flags = fcntl(fd, F_GETFD);
        std::array<char, 128> target{};
        const std::string link = "/proc/self/fd/" + std::to_string(fd);
        if (flags < 0 || readlink(link.c_str(), target.data(), target.size() - 1) < 0) {
            continue;
        }
        const std::string text = target.data();
        if (text.starts_with("socket:") || text.starts_with("anon_inode:[event")) {
            CAPTURE(fd, text);
            CHECK((flags & FD_CLOEXEC) != 0);
        }
    }
    CHECK(system("true") == 0);
    exchange(pair);
}

TEST_CASE("a child opens a fabric of its own and talks to its parent")
{
#ifdef __SANITIZE_THREAD__
    WARN("SKIPPED: ThreadSanitizer knows no threads of children that a process with threads has forked");
    return;
#endif
    const auto progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    Pair pair(options_of(progress));
    exchange(pair);
    const auto parent_name = pair.a.name();
    std::array<char, 8> text{};
    REQUIRE(fi_trecv(pair.a.ep.get(), text.data(), text.size(), nullptr, FI_ADDR_UNSPEC, 9, 0, nullptr) == 0);
    Child child([&] {
        OpenDomain domain("127.0.0.1", hints_for({}));
        TestEndpoint own(domain, {});
        fi_addr_t parent = FI_ADDR_NOTAVAIL;
        if (fi_av_insert(own.av.get(), parent_name.data(), 1, &parent, 0, nullptr) != 1 ||
            fi_tsend(own.ep.get(), "child", 6, nullptr, parent, 9, nullptr) != 0) {
            return 1;
        }
        while (own.ready.empty()) {
            own.poll();
        }
        return own.ready.front().failed ? 2 : 0;
    });
    CHECK_FALSE(pair.next(pair.a).failed);
    CHECK(std::string(text.data()) == "child");
    CHECK(child.wait() == 0);
    exchange(pair);
}

TEST_CASE("forking in the middle of a large transfer")
{
    Pair pair;
    const auto sent = pattern(8 << 20);
    std::vector<std::uint8_t> received(sent.size());
    REQUIRE(fi_recv(pair.b.ep.get(), received.data(), received.size(), nullptr, FI_ADDR_UNSPEC, nullptr) ==
            0);
    REQUIRE(pair.retry([&] {
        return fi_send(pair.a.ep.get(), sent.data(), sent.size(), nullptr, pair.b_at_a, nullptr);
    }) == 0);
    std::vector<std::unique_ptr<Child>> children;
    for (int i = 0; i < 8; ++i) {
        children.push_back(std::make_unique<Child>([&] {
            (void)fi_close(&pair.a.ep->fid);
            (void)fi_close(&pair.b.ep->fid);
            return 0;
        }));
        for (int pass = 0; pass < 20; ++pass) {
            pair.poll();
        }
    }
    CHECK_FALSE(pair.next(pair.a).failed);
    CHECK_FALSE(pair.next(pair.b).failed);
    CHECK(received == sent);
    for (const auto& child : children) {
        CHECK(child->wait() == 0);
    }
}
