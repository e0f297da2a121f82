// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "live/live_files.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <fstream>
#include <memory>
#include <span>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include <srd/address.hpp>
#include <srd/file_descriptor.hpp>

#include "live/process_files.hpp"

namespace srd::tool {
namespace {

using Milliseconds = std::chrono::milliseconds;

/// Before what comes from a file goes to a terminal.
template <std::size_t size>
std::string plain(const std::array<char, size>& text)
{
    std::string result(text.begin(), std::find(text.begin(), text.end(), '\0'));
    for (char& letter : result) {
        letter = std::isprint(static_cast<unsigned char>(letter)) != 0 && letter != '"' && letter != '\\'
                     ? letter
                     : '?';
    }
    return result;
}

std::string text_of(std::span<const std::byte> room, std::uint64_t size)
{
    SocketAddress address;
    return size <= room.size() && SocketAddress::parse(room.first(size), address) ? address.text() : "?";
}

std::uint64_t realtime_ns()
{
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

/// A number in the file.
std::uint32_t word_at(int file, std::size_t offset)
{
    std::uint32_t value = 0;
    read_at(file, offset, value);
    return value;
}

/// In every state that a process may be in, "T" and "t" are those of one that somebody has stopped.
bool is_stopped(std::uint64_t pid)
{
    std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(in, text);
    const std::size_t name_end = text.rfind(") ");
    return name_end != std::string::npos && name_end + 2 < text.size() &&
           std::tolower(text[name_end + 2]) == 't';
}

struct OpenFile {
    FileDescriptor file;
    ProcessView process;
    std::uint32_t question = 0; ///< that its process was asked
};

/// False: it is no such file, or of another version.
bool open_file(const std::string& path, FileDescriptor descriptor, OpenFile& opened)
{
    const auto header = std::make_unique<LiveHeader>();
    if (!read_at(descriptor.get(), 0, *header) || header->magic != live_magic ||
        header->layout != live_layout()) {
        return false;
    }
    opened.file = std::move(descriptor);
    opened.process.file = path;
    opened.process.pid = header->pid;
    opened.process.host = plain(header->host);
    opened.process.rank = plain(header->rank);
    opened.process.command = plain(header->command);
    opened.process.started_ns = header->started_ns;
    opened.process.is_dead = is_ownerless(opened.file.get());
    opened.process.is_stopped = !opened.process.is_dead && is_stopped(header->pid);
    return true;
}

constexpr std::size_t asked_at = offsetof(LiveHeader, asked);

void ask(OpenFile& opened)
{
    opened.question = word_at(opened.file.get(), asked_at) + 1;
    if (pwrite(opened.file.get(), &opened.question, sizeof(opened.question), asked_at) !=
        sizeof(opened.question)) {
        opened.question = 0;
    }
}

bool is_used(int file, std::uint32_t slot)
{
    return word_at(file, live_offset(slot) + offsetof(LiveEndpoint, used)) == 1;
}

bool has_answered(const OpenFile& opened, std::uint32_t slot)
{
    const std::uint32_t answer =
        word_at(opened.file.get(), live_offset(slot) + offsetof(LiveEndpoint, answered));
    return static_cast<std::int32_t>(answer - opened.question) >= 0; // or somebody's later question
}

bool all_answered(const OpenFile& opened)
{
    for (std::uint32_t slot = 0; slot < LiveHeader::slots; ++slot) {
        if (is_used(opened.file.get(), slot) && !has_answered(opened, slot)) {
            return false;
        }
    }
    return true;
}

bool read_snapshot(int file, std::size_t offset, LiveSnapshot& snapshot)
{
    for (int tries = 0; tries < 20; ++tries) {
        const std::uint32_t before = word_at(file, offset + offsetof(LiveEndpoint, sequence));
        if (before == 0) {
            return false; // nobody has ever asked
        }
        if (before % 2 == 0 && read_at(file, offset + offsetof(LiveEndpoint, snapshot), snapshot) &&
            word_at(file, offset + offsetof(LiveEndpoint, sequence)) == before) {
            return true;
        }
        std::this_thread::sleep_for(Milliseconds(1));
    }
    return false; // it was killed while it wrote
}

bool is_sane(const PeerView& view)
{
    return view.state <= PeerView::State::established && view.awaits <= PeerView::Awaits::room &&
           view.suspicion < Cause::count_;
}

void read_endpoint(const OpenFile& opened, std::uint32_t slot, EndpointView& view)
{
    const int file = opened.file.get();
    const std::size_t offset = live_offset(slot);
    const auto endpoint = std::make_unique<LiveEndpoint>();
    if (!read_at(file, offset, *endpoint, offsetof(LiveEndpoint, snapshot))) {
        return;
    }
    view.address = text_of(endpoint->address, endpoint->address_size);
    view.domain = plain(endpoint->domain);
    for_each_counter(endpoint->counters, [&](const char* name, const char*, std::uint64_t value) {
        view.counters[name] = value;
    });
    for (unsigned number = 0; number < max_paths; ++number) {
        const Counters::Path& path = endpoint->counters.paths[number];
        if (path.packets.value() != 0) {
            view.paths.push_back({number, path.packets.value(), path.marked.value(), path.lost.value()});
        }
    }
    LiveSnapshot& snapshot = endpoint->snapshot;
    view.has_snapshot = read_snapshot(file, offset, snapshot);
    if (!view.has_snapshot) {
        return;
    }
    const std::uint64_t now = realtime_ns();
    view.is_fresh = !opened.process.is_dead && has_answered(opened, slot);
    view.age_ms = snapshot.at_ns < now ? (now - snapshot.at_ns) / 1'000'000 : 0;
    view.silent_ms = snapshot.silent_us / 1000;
    view.receives = snapshot.receives;
    view.peers = snapshot.peers;
    view.peers_waited = snapshot.peers_waited;
    for (std::uint32_t i = 0; i < std::min(snapshot.listed, LiveSnapshot::max_peers); ++i) {
        const LivePeer& peer = snapshot.peer[i];
        if (is_sane(peer.view)) {
            view.peer.push_back({text_of(peer.address, peer.address_size), peer.view});
        }
    }
}

} // namespace

LiveView read_live(const std::vector<std::uint64_t>& pids, bool dead, unsigned patience_ms)
{
    LiveView live;
    std::vector<OpenFile> files;
    for_each_file(live_prefix, [&](const std::string& path) {
        FileDescriptor descriptor = open_regular(path, O_RDWR);
        OpenFile opened;
        if (!descriptor.valid()) {
            (errno == EACCES ? live.forbidden : live.strange) += errno == ENOENT ? 0 : 1;
        } else if (!open_file(path, std::move(descriptor), opened)) {
            ++live.strange;
        } else if ((pids.empty() || std::find(pids.begin(), pids.end(), opened.process.pid) != pids.end()) &&
                   (dead || !opened.process.is_dead)) {
            if (!opened.process.is_dead) {
                ask(opened);
            }
            files.push_back(std::move(opened));
        }
    });
    const auto end = std::chrono::steady_clock::now() + Milliseconds(patience_ms);
    for (const OpenFile& opened : files) {
        while (!opened.process.is_dead && !opened.process.is_stopped && !all_answered(opened) &&
               std::chrono::steady_clock::now() < end) {
            std::this_thread::sleep_for(Milliseconds(5));
        }
    }
    for (OpenFile& opened : files) {
        for (std::uint32_t slot = 0; slot < LiveHeader::slots; ++slot) {
            if (is_used(opened.file.get(), slot)) {
                read_endpoint(opened, slot, opened.process.endpoints.emplace_back());
            }
        }
        live.processes.push_back(std::move(opened.process));
    }
    std::sort(live.processes.begin(), live.processes.end(),
              [](const ProcessView& a, const ProcessView& b) { return a.started_ns < b.started_ns; });
    return live;
}

std::size_t order_trace(const std::vector<std::uint64_t>& pids, std::uint32_t records)
{
    std::size_t ordered = 0;
    for_each_file(live_prefix, [&](const std::string& path) {
        FileDescriptor descriptor = open_regular(path, O_RDWR);
        OpenFile opened;
        if (descriptor.valid() && open_file(path, std::move(descriptor), opened) && !opened.process.is_dead &&
            (pids.empty() || std::find(pids.begin(), pids.end(), opened.process.pid) != pids.end())) {
            const std::uint32_t order = trace_order(records);
            ordered += pwrite(opened.file.get(), &order, sizeof(order), offsetof(LiveHeader, trace)) ==
                       sizeof(order);
        }
    });
    return ordered;
}

std::size_t remove_dead()
{
    return remove_ownerless(live_prefix);
}

} // namespace srd::tool
