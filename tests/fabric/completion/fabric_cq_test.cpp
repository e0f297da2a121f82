// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <poll.h>

#include <set>
#include <thread>

#include <srd/status.hpp>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

int open_cq(OpenDomain& domain, fi_cq_format format, fi_wait_obj wait, Handle<fid_cq>& cq,
            std::size_t size = 0)
{
    fi_cq_attr attr{};
    attr.format = format;
    attr.wait_obj = wait;
    attr.size = size;
    return fi_cq_open(domain.domain.get(), &attr, cq.out(), nullptr);
}

} // namespace

TEST_CASE("cq: opens every format and wait object it promises, refuses the rest")
{
    OpenDomain domain;
    for (const fi_cq_format format : {FI_CQ_FORMAT_UNSPEC, FI_CQ_FORMAT_CONTEXT, FI_CQ_FORMAT_MSG,
                                      FI_CQ_FORMAT_DATA, FI_CQ_FORMAT_TAGGED}) {
        for (const fi_wait_obj wait : {FI_WAIT_NONE, FI_WAIT_UNSPEC, FI_WAIT_FD}) {
            Handle<fid_cq> cq;
            CHECK(open_cq(domain, format, wait, cq, 100) == 0);
        }
    }
    Handle<fid_cq> none;
    CHECK(open_cq(domain, static_cast<fi_cq_format>(FI_CQ_FORMAT_TAGGED + 1), FI_WAIT_NONE, none) ==
          -FI_EINVAL);
    CHECK(open_cq(domain, FI_CQ_FORMAT_MSG, FI_WAIT_MUTEX_COND, none) == -FI_ENOSYS);
    CHECK(open_cq(domain, FI_CQ_FORMAT_MSG, FI_WAIT_NONE, none, std::size_t{1} << 40) == -FI_EINVAL);
}

TEST_CASE("cq: an empty queue says so, and one without a wait object cannot be waited on")
{
    OpenDomain domain;
    Handle<fid_cq> cq;
    REQUIRE(open_cq(domain, FI_CQ_FORMAT_TAGGED, FI_WAIT_NONE, cq) == 0);
    fi_cq_tagged_entry entry{};
    fi_cq_err_entry error{};
    CHECK(fi_cq_read(cq.get(), &entry, 1) == -FI_EAGAIN);
    CHECK(fi_cq_read(cq.get(), nullptr, 0) == -FI_EAGAIN);
    CHECK(fi_cq_read(cq.get(), nullptr, 1) == -FI_EINVAL);
    CHECK(fi_cq_readerr(cq.get(), &error, 0) == -FI_EAGAIN);
    CHECK(fi_cq_sread(cq.get(), &entry, 1, nullptr, 0) == -FI_EINVAL);
    CHECK(fi_cq_signal(cq.get()) == -FI_EINVAL);
    int fd = -1;
    CHECK(fi_control(&cq->fid, FI_GETWAIT, &fd) == -FI_ENODATA);
}

TEST_CASE("cq: a queue far smaller than what is written to it loses nothing")
{
    Options options;
    options.cq_size = 1;
    Pair pair(options);
    constexpr std::size_t count = 6000;
    std::vector<std::uint64_t> values(count);
    for (std::size_t i = 0; i < count; ++i) {
        REQUIRE(fi_trecv(pair.b.ep.get(), &values[i], 8, nullptr, FI_ADDR_UNSPEC, i, 0, &values[i]) == 0);
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        REQUIRE(pair.retry([&] { return fi_tinject(pair.a.ep.get(), &i, 8, pair.b_at_a, i); }) == 0);
        pair.a.poll();
        fi_cq_read(pair.b.cq.get(), nullptr, 0); // progress without reading
    }
    for (std::size_t i = 0; i < count; ++i) {
        REQUIRE(pair.next(pair.b).good.op_context == &values[i]);
        REQUIRE(values[i] == i);
    }
}

TEST_CASE("cq: several entries are read at once, in every format")
{
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint a(domain, Options{});
    const fi_cq_format format = GENERATE(FI_CQ_FORMAT_CONTEXT, FI_CQ_FORMAT_MSG, FI_CQ_FORMAT_DATA);
    Handle<fid_cq> cq;
    REQUIRE(open_cq(domain, format, FI_WAIT_NONE, cq) == 0);
    Handle<fid_av> av;
    fi_av_attr av_attr{};
    REQUIRE(fi_av_open(domain.domain.get(), &av_attr, av.out(), nullptr) == 0);
    Handle<fid_ep> ep;
    REQUIRE(fi_endpoint(domain.domain.get(), domain.info.get(), ep.out(), nullptr) == 0);
    REQUIRE(fi_ep_bind(ep.get(), &av->fid, 0) == 0);
    REQUIRE(fi_ep_bind(ep.get(), &cq->fid, FI_TRANSMIT | FI_RECV) == 0);
    REQUIRE(fi_enable(ep.get()) == 0);
    CHECK(fi_close(&cq->fid) == -FI_EBUSY);
    char name[64];
    std::size_t size = sizeof(name);
    REQUIRE(fi_getname(&ep->fid, name, &size) == 0);
    fi_addr_t to = FI_ADDR_NOTAVAIL;
    REQUIRE(fi_av_insert(a.av.get(), name, 1, &to, 0, nullptr) == 1);
    std::uint64_t words[3]{};
    for (std::uint64_t& word : words) {
        REQUIRE(fi_recv(ep.get(), &word, 8, nullptr, FI_ADDR_UNSPEC, &word) == 0);
    }
    for (std::uint64_t i = 1; i <= 3; ++i) {
        REQUIRE(fi_injectdata(a.ep.get(), &i, 8, 50 + i, to) == 0);
    }
    std::vector<fi_cq_data_entry> entries;
    char raw[3 * sizeof(fi_cq_data_entry)];
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (entries.size() < 3 && std::chrono::steady_clock::now() < end) {
        a.poll();
        const ssize_t got = fi_cq_read(cq.get(), raw, 3);
        const std::size_t bytes = format == FI_CQ_FORMAT_CONTEXT ? sizeof(fi_cq_entry)
                                  : format == FI_CQ_FORMAT_MSG   ? sizeof(fi_cq_msg_entry)
                                                                 : sizeof(fi_cq_data_entry);
        for (ssize_t i = 0; i < got; ++i) {
            fi_cq_data_entry entry{};
            std::memcpy(&entry, raw + static_cast<std::size_t>(i) * bytes, bytes);
            entries.push_back(entry);
        }
    }
    REQUIRE(entries.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK(entries[i].op_context == &words[i]);
        CHECK(words[i] == i + 1);
        if (format != FI_CQ_FORMAT_CONTEXT) {
            CHECK(entries[i].flags == (FI_RECV | FI_MSG | FI_REMOTE_CQ_DATA));
            CHECK(entries[i].len == 8);
        }
        if (format == FI_CQ_FORMAT_DATA) {
            CHECK(entries[i].data == 51 + i);
        }
    }
}

TEST_CASE("cq: sread returns on a timeout, on a signal and on a completion")
{
    Options options;
    options.wait = FI_WAIT_UNSPEC;
    Pair pair(options);
    fi_cq_tagged_entry entry{};
    CHECK(fi_cq_sread(pair.b.cq.get(), &entry, 1, nullptr, 10) == -FI_EAGAIN);
    REQUIRE(fi_cq_signal(pair.b.cq.get()) == 0);
    CHECK(fi_cq_sread(pair.b.cq.get(), &entry, 1, nullptr, -1) == -FI_ECANCELED);
    std::thread signaler([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        fi_cq_signal(pair.b.cq.get());
    });
    CHECK(fi_cq_sread(pair.b.cq.get(), &entry, 1, nullptr, -1) == -FI_ECANCELED);
    signaler.join();

    for (const std::size_t size : {8U, 200000U}) {
        const auto data = pattern(size);
        std::vector<std::uint8_t> buffer(size);
        REQUIRE(fi_recv(pair.b.ep.get(), buffer.data(), size, nullptr, FI_ADDR_UNSPEC, &buffer) == 0);
        bool sent = false; // Catch2's macros belong to one thread
        std::thread sender([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            fi_cq_tagged_entry completion{};
            sent = fi_send(pair.a.ep.get(), data.data(), size, nullptr, pair.b_at_a, nullptr) == 0 &&
                   fi_cq_sread(pair.a.cq.get(), &completion, 1, nullptr, 60000) == 1;
        });
        CHECK(fi_cq_sread(pair.b.cq.get(), &entry, 1, nullptr, 60000) == 1);
        CHECK(entry.op_context == &buffer);
        CHECK(buffer == data);
        sender.join();
        CHECK(sent);
    }
}

TEST_CASE("cq: an application that polls the descriptor under manual progress gets everything")
{
    Options options;
    options.wait = FI_WAIT_FD;
    Pair pair(options);
    int fd_a = -1;
    int fd_b = -1;
    REQUIRE(fi_control(&pair.a.cq->fid, FI_GETWAIT, &fd_a) == 0);
    REQUIRE(fi_control(&pair.b.cq->fid, FI_GETWAIT, &fd_b) == 0);
    constexpr std::size_t size = 500000;
    const auto data = pattern(size);
    std::vector<std::uint8_t> buffer(size);
    REQUIRE(fi_recv(pair.b.ep.get(), buffer.data(), size, nullptr, FI_ADDR_UNSPEC, &buffer) == 0);
    REQUIRE(fi_send(pair.a.ep.get(), data.data(), size, nullptr, pair.b_at_a, nullptr) == 0);
    bool sent = false;
    bool received = false;
    while (!sent || !received) {
        fid* fids[2] = {&pair.a.cq->fid, &pair.b.cq->fid};
        if (fi_trywait(pair.domain.fabric.get(), fids, 2) == 0) {
            pollfd entries[2] = {{fd_a, POLLIN, 0}, {fd_b, POLLIN, 0}};
            REQUIRE(poll(entries, 2, 60000) > 0);
        }
        pair.poll();
        sent = sent || !pair.a.ready.empty();
        received = received || !pair.b.ready.empty();
    }
    CHECK(buffer == data);
}

TEST_CASE(
    "cq: an error entry of libfabric before 1.5, which has no err_data_size, is not written beyond its end")
{
    const auto version = GENERATE(std::uint32_t{FI_VERSION(1, 4)}, std::uint32_t{FI_VERSION(1, 5)});
    OpenDomain domain("127.0.0.1", make_hints(), version);
    TestEndpoint endpoint(domain, {});
    std::array<char, 8> buffer{};
    REQUIRE(fi_trecv(endpoint.ep.get(), buffer.data(), buffer.size(), nullptr, FI_ADDR_UNSPEC, 1, 0,
                     &buffer) == 0);
    REQUIRE(fi_cancel(&endpoint.ep->fid, &buffer) == 0);
    fi_cq_err_entry error{};
    error.err_data_size = 12345; // with 1.4 the application's own, behind the entry
    REQUIRE(fi_cq_readerr(endpoint.cq.get(), &error, 0) == 1);
    CHECK(error.op_context == &buffer);
    CHECK(error.err == FI_ECANCELED);
    CHECK(error.err_data_size == (version == FI_VERSION(1, 4) ? 12345 : 0));
}

TEST_CASE("cq: the words of an error say that it is unknown what was delivered, exactly where it is")
{
    OpenDomain domain;
    Handle<fid_cq> cq;
    REQUIRE(open_cq(domain, FI_CQ_FORMAT_TAGGED, FI_WAIT_NONE, cq) == 0);
    const std::set<srd::Cause> unknown{
        srd::Cause::stopped_answering, srd::Cause::cut_off,   srd::Cause::restarted,
        srd::Cause::refused,           srd::Cause::closed,    srd::Cause::removed,
        srd::Cause::unreachable,       srd::Cause::peer_full, srd::Cause::peer_out_of_memory};
    for (int code = 0; code < static_cast<int>(srd::Cause::count_); ++code) {
        const std::string text = fi_cq_strerror(cq.get(), code, nullptr, nullptr, 0);
        INFO(text);
        CHECK((text.find("is unknown") != std::string::npos) ==
              unknown.contains(static_cast<srd::Cause>(code)));
    }
}

TEST_CASE("cq: every provider error has words")
{
    OpenDomain domain;
    Handle<fid_cq> cq;
    REQUIRE(open_cq(domain, FI_CQ_FORMAT_TAGGED, FI_WAIT_NONE, cq) == 0);
    char text[128];
    for (int code = 1; code < 13; ++code) {
        CHECK(std::string(fi_cq_strerror(cq.get(), code, nullptr, text, sizeof(text))).size() > 5);
    }
    const sockaddr_in peer = make_ipv4("192.0.2.7", 4242);
    CHECK(std::string(fi_cq_strerror(cq.get(), 1, &peer, text, sizeof(text))).find("192.0.2.7:4242") !=
          std::string::npos);
    CHECK(std::string(fi_cq_strerror(cq.get(), 9999, nullptr, nullptr, 0)).find("9999") != std::string::npos);
}
