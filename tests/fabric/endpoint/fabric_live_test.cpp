// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Whoever asks in the process's file of live statistics gets an answer, though the application makes no call.
// What "srd stat" makes of it: tests/tool.
#include <array>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <srd/live_stats.hpp>
#include <srd/shm_object.hpp>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

std::string own_file()
{
    const std::string name = srd::live_prefix + std::to_string(getpid()) + '.';
    for (const auto& entry : std::filesystem::directory_iterator(srd::shm_folder)) {
        if (entry.path().filename().string().starts_with(name)) {
            return entry.path().string();
        }
    }
    return {};
}

template <typename T>
T value_at(int file, std::size_t offset)
{
    T value{};
    REQUIRE(pread(file, &value, sizeof(value), static_cast<off_t>(offset)) == sizeof(value));
    return value;
}

} // namespace

TEST_CASE(
    "live: both kinds of progress answer for a silent application, and the file goes with the endpoints")
{
    Options options;
    options.progress = GENERATE(FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO);
    std::string name;
    {
        Pair pair(options);
        int received = 0;
        const int sent = 4711;
        REQUIRE(fi_recv(pair.b.ep.get(), &received, sizeof(received), nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
        REQUIRE(fi_inject(pair.a.ep.get(), &sent, sizeof(sent), pair.b_at_a) == 0);
        while (pair.b.ready.empty()) {
            pair.a.poll();
            pair.b.poll();
        }
        name = own_file();
        REQUIRE_FALSE(name.empty());
        const int file = open(name.c_str(), O_RDWR);
        REQUIRE(file >= 0);
        constexpr std::size_t asked = offsetof(srd::LiveHeader, asked);
        const auto question = value_at<std::uint32_t>(file, asked) + 1;
        REQUIRE(pwrite(file, &question, sizeof(question), asked) == sizeof(question));
        for (std::uint32_t slot = 0; slot < 2; ++slot) {
            const std::size_t endpoint = srd::live_offset(slot);
            for (int waits = 0; waits < 1000; ++waits) {
                if (value_at<std::uint32_t>(file, endpoint + offsetof(srd::LiveEndpoint, answered)) ==
                    question) {
                    break;
                }
                std::this_thread::sleep_for(std::chrono::milliseconds(10));
            }
            REQUIRE(value_at<std::uint32_t>(file, endpoint + offsetof(srd::LiveEndpoint, answered)) ==
                    question);
            const std::size_t snapshot = endpoint + offsetof(srd::LiveEndpoint, snapshot);
            CHECK(value_at<std::uint32_t>(file, snapshot + offsetof(srd::LiveSnapshot, peers)) == 1);
            CHECK(value_at<std::uint32_t>(file, snapshot + offsetof(srd::LiveSnapshot, listed)) == 1);
            const auto peer = value_at<srd::LivePeer>(file, snapshot + offsetof(srd::LiveSnapshot, peer));
            CHECK(peer.address_size != 0);
            CHECK(peer.view.state == srd::PeerView::State::established);
            CHECK(peer.view.heard == 1);
        }
        close(file);
    }
    CHECK_FALSE(std::filesystem::exists(name));
}
