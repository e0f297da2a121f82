// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Who waits for messages of a peer, and sends nothing, hears of its end.
#include <array>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include <rdma/fi_eq.h>

#include "fabric/fabric_fixture.hpp"
#include "support/child.hpp"

using namespace fabric_test;
using namespace std::chrono_literals;
using srd::test::Child;
using srd::test::Shared;
using srd::test::Signpost;

namespace {

using Clock = std::chrono::steady_clock;

/// What both processes know.
struct Meeting {
    Shared<std::array<std::byte, 64>> name; ///< of the parent's endpoint
    Shared<std::size_t> size;
    Signpost named;
};

/// Sends one message to the parent, and then does something else.
int sender(Meeting& meeting, const std::function<void()>& something_else)
{
    meeting.named.await();
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint self(domain, Options{});
    fi_addr_t parent = FI_ADDR_NOTAVAIL;
    if (fi_av_insert(self.av.get(), meeting.name->data(), 1, &parent, 0, nullptr) != 1) {
        return 1;
    }
    const std::vector<std::byte> name = self.name();
    if (fi_tsend(self.ep.get(), name.data(), name.size(), nullptr, parent, 1, nullptr) != 0) {
        return 2;
    }
    while (self.ready.empty()) {
        self.poll();
    }
    something_else();
    return 0;
}

/// The parent's endpoint, which has got that message.
struct Waiting {
    explicit Waiting(Meeting& meeting)
    {
        Options options;
        options.before_enable = [&](fid_ep* ep) {
            fi_eq_attr attr{};
            REQUIRE(fi_eq_open(domain.fabric.get(), &attr, events.out(), nullptr) == 0);
            REQUIRE(fi_ep_bind(ep, &events->fid, 0) == 0);
        };
        endpoint.emplace(domain, options);
        const std::vector<std::byte> name = endpoint->name();
        std::copy(name.begin(), name.end(), meeting.name->begin());
        meeting.named.tell();
        post(FI_ADDR_UNSPEC, nullptr);
        REQUIRE(next(30s));
        REQUIRE_FALSE(entry.failed);
        REQUIRE(fi_av_insert(endpoint->av.get(), buffer.data(), 1, &child, 0, nullptr) == 1);
    }
    void post(fi_addr_t from, void* context)
    {
        REQUIRE(fi_trecv(endpoint->ep.get(), buffer.data(), buffer.size(), nullptr, from, 0, ~0ULL,
                         context) == 0);
    }
    bool next(Clock::duration time)
    {
        for (const auto end = Clock::now() + time; Clock::now() < end; std::this_thread::sleep_for(1ms)) {
            endpoint->poll();
            if (!endpoint->ready.empty()) {
                entry = endpoint->ready.front();
                endpoint->ready.pop_front();
                return true;
            }
        }
        return false;
    }

    OpenDomain domain{"127.0.0.1", hints_for(Options{})};
    Handle<fid_eq> events;
    std::optional<TestEndpoint> endpoint;
    std::array<std::byte, 64> buffer{};
    fi_addr_t child = FI_ADDR_NOTAVAIL;
    Entry entry;
};

} // namespace

TEST_CASE("lost peer: a receive from a killed process fails, one from anybody does not; an event tells once")
{
    Meeting meeting;
    Child child([&] { return sender(meeting, [] { std::this_thread::sleep_for(10min); }); });
    Waiting waiting(meeting);
    int from_child = 0;
    int from_anybody = 0;
    waiting.post(waiting.child, &from_child);
    waiting.post(FI_ADDR_UNSPEC, &from_anybody);
    child.kill();
    REQUIRE(waiting.next(11s)); // the stated bound is 10 s
    CHECK(waiting.entry.failed);
    CHECK(waiting.entry.error.op_context == &from_child);
    CHECK(waiting.entry.error.err == FI_ECONNREFUSED);
    CHECK((waiting.entry.error.flags & (FI_RECV | FI_TAGGED)) == (FI_RECV | FI_TAGGED));
    CHECK_FALSE(waiting.next(100ms));

    std::uint32_t event = 0;
    fi_eq_cm_entry none{};
    REQUIRE(fi_eq_read(waiting.events.get(), &event, &none, sizeof(none), 0) == -FI_EAVAIL);
    fi_eq_err_entry error{};
    REQUIRE(fi_eq_readerr(waiting.events.get(), &error, 0) == sizeof(error));
    CHECK(error.fid == &waiting.endpoint->ep->fid);
    CHECK(error.err == FI_ECONNREFUSED);
    CHECK(error.err_data_size == sizeof(sockaddr_in));
    CHECK(fi_eq_read(waiting.events.get(), &event, &none, sizeof(none), 0) == -FI_EAGAIN);
}

TEST_CASE("lost peer: a process that is busy, and one that closes its endpoint, end no receive")
{
    Meeting meeting;
    Signpost looked;
    Child child([&] {
        return sender(meeting, [&] {
            std::this_thread::sleep_for(12s); // longer than any silence is borne without a sign of life
            looked.await();
        });
    });
    Waiting waiting(meeting);
    waiting.post(waiting.child, nullptr);
    CHECK_FALSE(waiting.next(13s));
    looked.tell();
    CHECK(child.wait() == 0);
    CHECK_FALSE(waiting.next(7s));
}
