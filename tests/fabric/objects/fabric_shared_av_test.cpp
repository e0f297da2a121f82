// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Named address vectors: several processes, one table.
#include <array>
#include <chrono>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <dirent.h>
#include <sys/stat.h>

#include "fabric/fabric_fixture.hpp"
#include "support/child.hpp"

using namespace fabric_test;
using srd::test::Child;
using srd::test::Signpost;

namespace {

/// A name that no other run of this test has.
std::string own_name(const char* what)
{
    return std::string("test/") + what + " " + std::to_string(getpid());
}

std::string shm_prefix()
{
    return "srd_av." + std::to_string(geteuid()) + ".";
}

/// The objects under /dev/shm that belong to this test's process.
std::vector<std::string> objects(const std::string& name)
{
    std::vector<std::string> found;
    DIR* directory = opendir("/dev/shm");
    REQUIRE(directory != nullptr);
    const std::string tail = name.substr(name.rfind(' ') + 1);
    while (const dirent* entry = readdir(directory)) {
        const std::string file = entry->d_name;
        if (file.starts_with(shm_prefix()) && file.ends_with("20" + tail)) {
            found.push_back("/dev/shm/" + file);
        }
    }
    closedir(directory);
    return found;
}

struct SharedVector {
    SharedVector(OpenDomain& domain, const std::string& name, std::uint64_t flags = 0, std::size_t count = 0)
    {
        attr.name = name.c_str();
        attr.flags = flags;
        attr.count = count;
        code = fi_av_open(domain.domain.get(), &attr, av.out(), nullptr);
    }
    fi_addr_t insert(const sockaddr_in& address) const
    {
        fi_addr_t fi_addr = FI_ADDR_NOTAVAIL;
        return fi_av_insert(av.get(), &address, 1, &fi_addr, 0, nullptr) == 1 ? fi_addr : FI_ADDR_NOTAVAIL;
    }
    std::uint16_t port_at(fi_addr_t fi_addr) const
    {
        sockaddr_in address{};
        std::size_t size = sizeof(address);
        return fi_av_lookup(av.get(), fi_addr, &address, &size) == 0 ? ntohs(address.sin_port) : 0;
    }

    fi_av_attr attr{};
    Handle<fid_av> av;
    int code = 0;
};

sockaddr_in numbered(unsigned i)
{
    sockaddr_in address = make_ipv4("10.1.0.0", static_cast<std::uint16_t>(1 + i % 60000));
    address.sin_addr.s_addr = htonl(ntohl(address.sin_addr.s_addr) + 1 + i / 60000);
    return address;
}

} // namespace

TEST_CASE("what one process inserts, another one finds and sends to")
{
    const std::string name = own_name("transfer");
    Signpost opened;
    Signpost inserted;
    Child child([&] {
        opened.await();
        OpenDomain domain;
        SharedVector shared(domain, name, FI_READ);
        if (shared.code != 0 || shared.attr.map_addr == nullptr) {
            return 1;
        }
        inserted.await();
        const fi_addr_t peer = static_cast<const fi_addr_t*>(shared.attr.map_addr)[0];
        Handle<fid_ep> ep;
        Handle<fid_cq> cq;
        fi_cq_attr cq_attr{};
        cq_attr.format = FI_CQ_FORMAT_CONTEXT;
        if (fi_cq_open(domain.domain.get(), &cq_attr, cq.out(), nullptr) != 0 ||
            fi_endpoint(domain.domain.get(), domain.info.get(), ep.out(), nullptr) != 0 ||
            fi_ep_bind(ep.get(), &shared.av->fid, 0) != 0 ||
            fi_ep_bind(ep.get(), &cq->fid, FI_TRANSMIT | FI_RECV) != 0 || fi_enable(ep.get()) != 0) {
            return 2;
        }
        if (fi_tsend(ep.get(), "hello", 6, nullptr, peer, 7, nullptr) != 0) {
            return 3;
        }
        fi_cq_entry entry{};
        ssize_t result = 0;
        while ((result = fi_cq_read(cq.get(), &entry, 1)) == -FI_EAGAIN) {
        }
        const int status = result == 1 ? 0 : 4;
        ep = {};
        return status;
    });

    OpenDomain domain("127.0.0.1", hints_for({}));
    TestEndpoint receiver(domain, {});
    SharedVector shared(domain, name);
    REQUIRE(shared.code == 0);
    REQUIRE(shared.attr.map_addr != nullptr);
    opened.tell();
    const auto address = receiver.name();
    fi_addr_t fi_addr = FI_ADDR_NOTAVAIL;
    REQUIRE(fi_av_insert(shared.av.get(), address.data(), 1, &fi_addr, 0, nullptr) == 1);
    CHECK(fi_addr == 0);
    std::array<char, 6> text{};
    REQUIRE(fi_trecv(receiver.ep.get(), text.data(), text.size(), nullptr, FI_ADDR_UNSPEC, 7, 0, nullptr) ==
            0);
    inserted.tell();
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (receiver.ready.empty() && std::chrono::steady_clock::now() < end) {
        receiver.poll();
    }
    REQUIRE(receiver.ready.size() == 1);
    CHECK(std::string(text.data()) == "hello");
    while (std::chrono::steady_clock::now() < end && waitpid(-1, nullptr, WNOHANG | WNOWAIT) == 0) {
        receiver.poll(); // its last acknowledgement
    }
    CHECK(child.wait() == 0);
}

TEST_CASE("a read-only vector exists and takes nothing")
{
    const std::string name = own_name("read");
    OpenDomain domain;
    CHECK(SharedVector(domain, name, FI_READ).code == -FI_ENOENT);
    SharedVector writer(domain, name);
    REQUIRE(writer.code == 0);
    SharedVector reader(domain, name, FI_READ);
    REQUIRE(reader.code == 0);

    REQUIRE(writer.insert(numbered(0)) == 0);
    CHECK(reader.port_at(0) == writer.port_at(0));
    const sockaddr_in other = numbered(1);
    fi_addr_t fi_addr = 0;
    int error = 0;
    CHECK(fi_av_insert(reader.av.get(), &other, 1, &fi_addr, FI_SYNC_ERR, &error) == 0);
    CHECK(error == FI_EPERM);
    CHECK(fi_addr == FI_ADDR_NOTAVAIL);
    fi_addr = 0;
    CHECK(fi_av_remove(reader.av.get(), &fi_addr, 1, 0) == -FI_EPERM);
    CHECK(reader.port_at(0) != 0);
}

TEST_CASE("names: any characters, one table per name; bad arguments")
{
    const std::string name = own_name("../names?*");
    OpenDomain domain;
    SharedVector one(domain, name);
    SharedVector other(domain, own_name("../names?+"));
    REQUIRE(one.code == 0);
    REQUIRE(other.code == 0);
    REQUIRE(one.insert(numbered(5)) == 0);
    CHECK(other.port_at(0) == 0);
    for (const std::string& file : objects(name)) {
        struct stat status {};
        REQUIRE(stat(file.c_str(), &status) == 0);
        CHECK((status.st_mode & 07777) == 0600);
        CHECK(status.st_blocks * 512 < 1 << 20); // not all that it may grow to
    }
    CHECK(objects(name).size() == 2);

    fi_av_attr attr{};
    fid_av* av = nullptr;
    attr.flags = FI_READ;
    CHECK(fi_av_open(domain.domain.get(), &attr, &av, nullptr) == -FI_EINVAL);
    CHECK(SharedVector(domain, "").code == -FI_EINVAL);
    CHECK(SharedVector(domain, std::string(300, 'n')).code == -ENAMETOOLONG);
}

TEST_CASE("the last to close removes the object")
{
    const std::string name = own_name("close");
    OpenDomain domain;
    {
        SharedVector one(domain, name);
        {
            SharedVector two(domain, name);
            REQUIRE(two.insert(numbered(0)) == 0);
        }
        CHECK(objects(name).size() == 1);
        CHECK(one.port_at(0) != 0);
    }
    CHECK(objects(name).empty());
    SharedVector again(domain, name);
    CHECK(again.port_at(0) == 0);
}

TEST_CASE("what a dead process left is not there")
{
    const std::string name = own_name("stale");
    const std::string other_name = own_name("stale too");
    OpenDomain domain;
    Signpost ready;
    Child child([&] {
        OpenDomain own;
        SharedVector shared(own, name);
        SharedVector other(own, other_name);
        (void)shared.insert(numbered(0));
        ready.tell();
        pause();
        return 0;
    });
    ready.await();
    CHECK(objects(name).size() == 2);
    child.kill();
    SECTION("for a reader")
    {
        CHECK(SharedVector(domain, name, FI_READ).code == -FI_ENOENT);
    }
    SECTION("for a writer, which takes the place over")
    {
        SharedVector shared(domain, name);
        REQUIRE(shared.code == 0);
        CHECK(shared.port_at(0) == 0);
        CHECK(shared.insert(numbered(1)) == 0);
    }
    CHECK(objects(name).empty()); // the other one is swept away
}

TEST_CASE("a table dies with its process, whatever child that has")
{
    const std::string name = own_name("orphan");
    Signpost ready;
    Signpost end;
    Child child([&] {
        OpenDomain own;
        SharedVector shared(own, name);
        if (fork() == 0) {
            ready.tell();
            end.await();
            _exit(0);
        }
        pause();
        return 0;
    });
    ready.await();
    child.kill();
    OpenDomain domain;
    CHECK(SharedVector(domain, name, FI_READ).code == -FI_ENOENT);
    end.tell();
}

TEST_CASE("a removed address keeps its index, and no other address gets it")
{
    const std::string name = own_name("remove");
    OpenDomain domain;
    SharedVector one(domain, name);
    SharedVector two(domain, name);
    REQUIRE(one.insert(numbered(0)) == 0);
    REQUIRE(two.insert(numbered(1)) == 1);
    REQUIRE(two.insert(numbered(0)) == 0); // a second use
    fi_addr_t zero = 0;
    CHECK(fi_av_remove(one.av.get(), &zero, 1, 0) == 0);
    CHECK(two.port_at(0) != 0);
    CHECK(fi_av_remove(one.av.get(), &zero, 1, 0) == 0);
    CHECK(two.port_at(0) == 0);
    CHECK(fi_av_remove(two.av.get(), &zero, 1, 0) == -FI_EINVAL);
    CHECK(two.insert(numbered(2)) == 2);
    CHECK(two.insert(numbered(0)) == 0);
    CHECK(one.port_at(0) == ntohs(numbered(0).sin_port));
}

TEST_CASE("processes that insert at the same time agree, and the table grows")
{
    const std::string name = own_name("grow");
    constexpr unsigned count = 6000; // several doublings
    OpenDomain domain;
    SharedVector shared(domain, name);
    REQUIRE(shared.code == 0);
    const auto insert_all = [&](const SharedVector& vector, unsigned first) {
        for (unsigned i = 0; i < count; ++i) {
            const sockaddr_in address = numbered((first + i) % count);
            const fi_addr_t fi_addr = vector.insert(address);
            if (fi_addr >= count || vector.port_at(fi_addr) != ntohs(address.sin_port)) {
                return false;
            }
        }
        return true;
    };
    Child child([&] {
        OpenDomain own;
        SharedVector mine(own, name);
        return mine.code == 0 && insert_all(mine, count / 3) ? 0 : 1;
    });
    CHECK(insert_all(shared, 0));
    CHECK(child.wait() == 0);
    std::set<unsigned> ports;
    for (unsigned i = 0; i < count; ++i) {
        ports.insert(shared.port_at(i));
        CHECK(static_cast<const fi_addr_t*>(shared.attr.map_addr)[i] == i);
    }
    CHECK(ports.size() == count);
    CHECK_FALSE(ports.contains(0));
    CHECK(shared.port_at(count) == 0);
}

TEST_CASE("a process that is killed in the middle of an insertion hurts nobody")
{
    const std::string name = own_name("kill");
    OpenDomain domain;
    SharedVector shared(domain, name);
    REQUIRE(shared.code == 0);
    unsigned expected = 0;
    for (unsigned round = 0; round < 30; ++round) {
        Signpost ready;
        Child child([&] {
            OpenDomain own;
            SharedVector mine(own, name);
            ready.tell();
            for (unsigned i = round * 2000; i < (round + 1) * 2000; ++i) {
                (void)mine.insert(numbered(i));
            }
            return 0;
        });
        ready.await();
        std::this_thread::sleep_for(std::chrono::microseconds(round * 50));
        child.kill();
        const fi_addr_t mine = shared.insert(numbered(1000000 + round));
        REQUIRE(mine != FI_ADDR_NOTAVAIL);
        REQUIRE(mine >= expected);
        expected = static_cast<unsigned>(mine) + 1;
    }
    std::set<std::pair<std::uint32_t, std::uint16_t>> seen;
    for (unsigned i = 0; i < expected; ++i) {
        sockaddr_in address{};
        std::size_t size = sizeof(address);
        if (fi_av_lookup(shared.av.get(), i, &address, &size) == 0) { // else: died before its use was counted
            CHECK(seen.emplace(address.sin_addr.s_addr, address.sin_port).second);
            CHECK(shared.insert(address) == i);
        }
    }
    CHECK(seen.size() >= 30);
}
