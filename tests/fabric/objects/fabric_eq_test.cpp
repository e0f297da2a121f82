// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fabric/fabric_support.hpp"

#include <array>
#include <thread>

#include <poll.h>

using namespace fabric_test;

namespace {

struct Fixture : OpenDomain {
    Handle<fid_eq> open(fi_wait_obj wait_obj, std::uint64_t flags = FI_WRITE)
    {
        fi_eq_attr attr{};
        attr.wait_obj = wait_obj;
        attr.flags = flags;
        Handle<fid_eq> eq;
        REQUIRE(fi_eq_open(fabric.get(), &attr, eq.out(), nullptr) == 0);
        return eq;
    }
};

void write_number(fid_eq* eq, std::uint64_t number)
{
    fi_eq_entry entry{};
    entry.data = number;
    REQUIRE(fi_eq_write(eq, FI_NOTIFY, &entry, sizeof(entry), 0) == sizeof(entry));
}

bool is_readable(int fd)
{
    pollfd waiter{fd, POLLIN, 0};
    return poll(&waiter, 1, 0) == 1;
}

} // namespace

TEST_CASE_METHOD(Fixture, "events come out in order, peeked or read")
{
    const Handle<fid_eq> eq = open(FI_WAIT_NONE);
    std::uint32_t event = 99;
    fi_eq_entry entry{};
    CHECK(fi_eq_read(eq.get(), &event, &entry, sizeof(entry), 0) == -FI_EAGAIN);
    write_number(eq.get(), 1);
    write_number(eq.get(), 2);
    CHECK(fi_eq_read(eq.get(), &event, &entry, sizeof(entry) - 1, 0) == -FI_ETOOSMALL);
    REQUIRE(fi_eq_read(eq.get(), &event, &entry, sizeof(entry), FI_PEEK) == sizeof(entry));
    CHECK(event == FI_NOTIFY);
    CHECK(entry.data == 1);
    REQUIRE(fi_eq_read(eq.get(), &event, &entry, sizeof(entry), 0) == sizeof(entry));
    CHECK(entry.data == 1);
    fi_eq_err_entry error{};
    CHECK(fi_eq_readerr(eq.get(), &error, 0) == -FI_EAGAIN);
    REQUIRE(fi_eq_read(eq.get(), &event, &entry, sizeof(entry), 0) == sizeof(entry));
    CHECK(entry.data == 2);
    CHECK(fi_eq_read(eq.get(), &event, &entry, sizeof(entry), 0) == -FI_EAGAIN);
    CHECK(fi_eq_sread(eq.get(), &event, &entry, sizeof(entry), 0, 0) == -FI_ENOSYS);
}

TEST_CASE_METHOD(Fixture, "the descriptor is readable while events wait")
{
    const auto wait_obj = GENERATE(FI_WAIT_FD, FI_WAIT_UNSPEC);
    const Handle<fid_eq> eq = open(wait_obj);
    int fd = -1;
    REQUIRE(fi_control(&eq->fid, FI_GETWAIT, &fd) == 0);
    CHECK_FALSE(is_readable(fd));
    write_number(eq.get(), 1);
    write_number(eq.get(), 2);
    CHECK(is_readable(fd));
    std::uint32_t event = 0;
    fi_eq_entry entry{};
    REQUIRE(fi_eq_sread(eq.get(), &event, &entry, sizeof(entry), -1, 0) == sizeof(entry));
    CHECK(is_readable(fd));
    REQUIRE(fi_eq_sread(eq.get(), &event, &entry, sizeof(entry), -1, 0) == sizeof(entry));
    CHECK_FALSE(is_readable(fd));
    CHECK(fi_eq_sread(eq.get(), &event, &entry, sizeof(entry), 1, 0) == -FI_EAGAIN);
    fi_wait_obj got = FI_WAIT_NONE;
    REQUIRE(fi_control(&eq->fid, FI_GETWAITOBJ, &got) == 0);
    CHECK(got == FI_WAIT_FD);
}

TEST_CASE_METHOD(Fixture, "a sleeping reader is woken by a writer")
{
    const Handle<fid_eq> eq = open(FI_WAIT_UNSPEC);
    std::uint64_t got = 0;
    std::thread reader([&] {
        std::uint32_t event = 0;
        fi_eq_entry entry{};
        if (fi_eq_sread(eq.get(), &event, &entry, sizeof(entry), -1, 0) == sizeof(entry)) {
            got = entry.data;
        }
    });
    write_number(eq.get(), 42);
    reader.join();
    CHECK(got == 42);
}

TEST_CASE_METHOD(Fixture, "what an event queue refuses")
{
    fid_eq* eq = nullptr;
    fi_eq_attr attr{};
    attr.wait_obj = FI_WAIT_MUTEX_COND;
    CHECK(fi_eq_open(fabric.get(), &attr, &eq, nullptr) == -FI_ENOSYS);
    attr.wait_obj = FI_WAIT_NONE;
    attr.flags = FI_TRIGGER;
    CHECK(fi_eq_open(fabric.get(), &attr, &eq, nullptr) == -FI_EINVAL);

    const Handle<fid_eq> reader = open(FI_WAIT_NONE, 0);
    const fi_eq_entry entry{};
    CHECK(fi_eq_write(reader.get(), FI_NOTIFY, &entry, sizeof(entry), 0) == -FI_EINVAL);
    int fd = -1;
    CHECK(fi_control(&reader->fid, FI_GETWAIT, &fd) == -FI_ENODATA);
    CHECK(fi_control(&reader->fid, FI_ALIAS, &fd) == -FI_ENOSYS);
}

TEST_CASE_METHOD(Fixture, "error numbers have text")
{
    const Handle<fid_eq> eq = open(FI_WAIT_NONE);
    std::array<char, 64> text{};
    const char* result = fi_eq_strerror(eq.get(), FI_EINVAL, nullptr, text.data(), text.size());
    REQUIRE(result != nullptr);
    CHECK(std::string(result) == fi_strerror(FI_EINVAL));
    CHECK(std::string(fi_eq_strerror(eq.get(), FI_EINVAL, nullptr, nullptr, 0)) == fi_strerror(FI_EINVAL));
}
