// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_poll(3), wait sets.
#include "fabric/fabric_fixture.hpp"

#include <array>
#include <thread>

#include <poll.h>

using namespace fabric_test;

namespace {

/// A wait set, and one object of each kind in it.
struct WaitFixture {
    explicit WaitFixture(fi_wait_obj kind = FI_WAIT_FD, fi_progress progress = FI_PROGRESS_MANUAL)
        : domain("127.0.0.1", hints_for(options_with(progress)))
    {
        fi_wait_attr attr{};
        attr.wait_obj = kind;
        REQUIRE(fi_wait_open(domain.fabric.get(), &attr, set.out()) == 0);
        fi_cq_attr cq_attr{};
        cq_attr.wait_obj = FI_WAIT_SET;
        cq_attr.wait_set = set.get();
        REQUIRE(fi_cq_open(domain.domain.get(), &cq_attr, cq.out(), nullptr) == 0);
        fi_cntr_attr cntr_attr{};
        cntr_attr.wait_obj = FI_WAIT_SET;
        cntr_attr.wait_set = set.get();
        REQUIRE(fi_cntr_open(domain.domain.get(), &cntr_attr, cntr.out(), nullptr) == 0);
        fi_eq_attr eq_attr{};
        eq_attr.wait_obj = FI_WAIT_SET;
        eq_attr.wait_set = set.get();
        eq_attr.flags = FI_WRITE;
        REQUIRE(fi_eq_open(domain.fabric.get(), &eq_attr, eq.out(), nullptr) == 0);
    }
    static Options options_with(fi_progress progress)
    {
        Options options;
        options.progress = progress;
        return options;
    }

    /// An endpoint that reports to the members.
    void open_endpoint()
    {
        fi_av_attr attr{};
        REQUIRE(fi_av_open(domain.domain.get(), &attr, av.out(), nullptr) == 0);
        REQUIRE(fi_endpoint(domain.domain.get(), domain.info.get(), ep.out(), nullptr) == 0);
        REQUIRE(fi_ep_bind(ep.get(), &av->fid, 0) == 0);
        REQUIRE(fi_ep_bind(ep.get(), &cq->fid, FI_TRANSMIT | FI_RECV) == 0);
        REQUIRE(fi_ep_bind(ep.get(), &cntr->fid, FI_RECV) == 0);
        REQUIRE(fi_enable(ep.get()) == 0);
    }
    std::vector<std::byte> name()
    {
        std::vector<std::byte> address(128);
        std::size_t size = address.size();
        REQUIRE(fi_getname(&ep->fid, address.data(), &size) == 0);
        address.resize(size);
        return address;
    }
    int try_wait()
    {
        fid* object = &set->fid;
        return fi_trywait(domain.fabric.get(), &object, 1);
    }

    OpenDomain domain;
    Handle<fid_wait> set;
    Handle<fid_cq> cq;
    Handle<fid_cntr> cntr;
    Handle<fid_eq> eq;
    Handle<fid_av> av;
    Handle<fid_ep> ep;
};

/// Runs `action` when the test has had the time to fall asleep.
std::thread later(const std::function<void()>& action)
{
    return std::thread([action] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        action();
    });
}

} // namespace

TEST_CASE("wait set: fi_wait ends with an event of any member, or its time")
{
    WaitFixture fixture(FI_WAIT_UNSPEC);
    fid_wait* const set = fixture.set.get();
    CHECK(fi_wait(set, 0) == -FI_ETIMEDOUT);
    const auto start = std::chrono::steady_clock::now();
    CHECK(fi_wait(set, 30) == -FI_ETIMEDOUT);
    CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(30));

    std::thread helper = later([&] { fi_cntr_add(fixture.cntr.get(), 1); });
    CHECK(fi_wait(set, 60000) == 0);
    CHECK(fi_cntr_read(fixture.cntr.get()) == 1);
    helper.join();
    CHECK(fi_wait(set, 10) == -FI_ETIMEDOUT); // that change has been seen

    helper = later([&] { fi_eq_write(fixture.eq.get(), FI_NOTIFY, "x", 1, 0); });
    CHECK(fi_wait(set, 60000) == 0);
    helper.join();
    CHECK(fi_wait(set, 0) == 0); // as long as it is there
    std::uint32_t event = 0;
    char byte = 0;
    CHECK(fi_eq_read(fixture.eq.get(), &event, &byte, 1, 0) == 1);
    CHECK(fi_wait(set, 0) == -FI_ETIMEDOUT);
}

TEST_CASE("wait set: packets wake it, and a message ends the wait")
{
    const auto progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    WaitFixture fixture(FI_WAIT_UNSPEC, progress);
    fixture.open_endpoint();
    OpenDomain domain("127.0.0.1", hints_for(WaitFixture::options_with(FI_PROGRESS_AUTO)));
    TestEndpoint peer(domain, WaitFixture::options_with(FI_PROGRESS_AUTO));
    const std::vector<std::byte> address = fixture.name();
    fi_addr_t to = FI_ADDR_UNSPEC;
    REQUIRE(fi_av_insert(peer.av.get(), address.data(), 1, &to, 0, nullptr) == 1);
    std::uint64_t got = 0;
    for (std::uint64_t word = 1; word <= 5; ++word) {
        REQUIRE(fi_recv(fixture.ep.get(), &got, 8, nullptr, FI_ADDR_UNSPEC, &got) == 0);
        std::thread helper = later([&] {
            while (fi_inject(peer.ep.get(), &word, 8, to) == -FI_EAGAIN) {
            }
        });
        const int code = fi_wait(fixture.set.get(), 60000);
        helper.join();
        REQUIRE(code == 0);
        fi_cq_entry entry{};
        ssize_t count = -FI_EAGAIN; // the counter, which is in the set too, may have woken us just before
        while (count == -FI_EAGAIN) {
            count = fi_cq_read(fixture.cq.get(), &entry, 1);
        }
        REQUIRE(count == 1);
        CHECK(entry.op_context == &got);
        CHECK(got == word);
        CHECK(fi_cntr_read(fixture.cntr.get()) == word);
        CHECK(fi_wait(fixture.set.get(), 0) == -FI_ETIMEDOUT);
    }
}

TEST_CASE("wait set: its descriptor, with fi_trywait")
{
    WaitFixture fixture;
    int descriptor = -1;
    REQUIRE(fi_control(&fixture.set->fid, FI_GETWAIT, &descriptor) == 0);
    fi_wait_obj kind{};
    REQUIRE(fi_control(&fixture.set->fid, FI_GETWAITOBJ, &kind) == 0);
    CHECK(kind == FI_WAIT_FD);
    pollfd entry{descriptor, POLLIN, 0};
    REQUIRE(fixture.try_wait() == 0);
    CHECK(poll(&entry, 1, 0) == 0);
    REQUIRE(fi_cntr_add(fixture.cntr.get(), 1) == 0);
    CHECK(poll(&entry, 1, 60000) == 1);
    CHECK(fixture.try_wait() == -FI_EAGAIN);
    CHECK(fi_cntr_read(fixture.cntr.get()) == 1);
    REQUIRE(fixture.try_wait() == 0);
    CHECK(poll(&entry, 1, 0) == 0);
    std::thread helper = later([&] { fi_eq_write(fixture.eq.get(), FI_NOTIFY, "x", 1, 0); });
    CHECK(poll(&entry, 1, 60000) == 1);
    helper.join();
    CHECK(fixture.try_wait() == -FI_EAGAIN);
}

TEST_CASE("wait set: members keep it open; bad arguments")
{
    WaitFixture fixture(FI_WAIT_UNSPEC);
    CHECK(fi_close(&fixture.set->fid) == -FI_EBUSY);
    int descriptor = -1;
    CHECK(fi_control(&fixture.set->fid, FI_GETWAIT, &descriptor) == -FI_ENODATA);
    CHECK(fi_cntr_wait(fixture.cntr.get(), 0, 0) == -FI_EINVAL);
    fi_cq_entry entry{};
    CHECK(fi_cq_sread(fixture.cq.get(), &entry, 1, nullptr, 0) == -FI_EINVAL);
    CHECK(fi_control(&fixture.cq->fid, FI_GETWAIT, &descriptor) == -FI_ENODATA);

    Handle<fid_wait> none;
    fi_wait_attr attr{};
    attr.wait_obj = FI_WAIT_MUTEX_COND;
    CHECK(fi_wait_open(fixture.domain.fabric.get(), &attr, none.out()) == -FI_ENOSYS);
    attr.wait_obj = FI_WAIT_UNSPEC;
    attr.flags = 1;
    CHECK(fi_wait_open(fixture.domain.fabric.get(), &attr, none.out()) == -FI_EINVAL);

    OpenDomain other;
    Handle<fid_cq> cq;
    fi_cq_attr cq_attr{};
    cq_attr.wait_obj = FI_WAIT_SET;
    CHECK(fi_cq_open(other.domain.get(), &cq_attr, cq.out(), nullptr) == -FI_EINVAL);
    cq_attr.wait_set = fixture.set.get(); // of another fabric
    CHECK(fi_cq_open(other.domain.get(), &cq_attr, cq.out(), nullptr) == -FI_EINVAL);
    // A member that is closed is no member any more.
    REQUIRE(fixture.cq.close() == 0);
    REQUIRE(fi_cntr_add(fixture.cntr.get(), 1) == 0);
    CHECK(fi_wait(fixture.set.get(), 0) == 0);
}
