// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "common/say.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include <unistd.h>

#include "common/log.hpp"

namespace srd {
namespace {

std::atomic<bool> is_quiet{false};

/// What was said already. Never destroyed: an endpoint may outlive the process's static destructors.
struct Said {
    std::mutex mutex;
    std::vector<std::string> topics;
    std::vector<std::string> peers;
};
Said& said()
{
    static auto* const object = new Said;
    return *object;
}

/// True if `text` was not in the list; then it is.
bool note(std::vector<std::string>& list, std::string_view text)
{
    if (std::find(list.begin(), list.end(), text) != list.end()) {
        return false;
    }
    list.emplace_back(text);
    return true;
}

void print(const char* text) noexcept
{
    if (is_quiet.load()) {
        return;
    }
    std::array<char, 1024> line{};
    int size = std::snprintf(line.data(), line.size() - 1, "srd[%d]: %s", static_cast<int>(::getpid()), text);
    size = std::clamp(size, 0, static_cast<int>(line.size()) - 2);
    line[static_cast<std::size_t>(size)] = '\n';
    // One write, so that the lines of a job's processes do not mix. Nobody can be told that it failed.
    static_cast<void>(::write(STDERR_FILENO, line.data(), static_cast<std::size_t>(size) + 1) < 0);
}

bool log_tells() noexcept
{
    return fi_log_enabled(&provider, FI_LOG_WARN, FI_LOG_CORE) != 0;
}

} // namespace

void be_quiet(bool quiet) noexcept
{
    is_quiet.store(quiet);
}

void say(std::string_view topic, const char* text) noexcept
{
    if (log_tells()) {
        SRD_WARN(FI_LOG_CORE, "%s", text);
        return;
    }
    bool is_first = true;
    try {
        Said& already = said();
        const std::lock_guard lock(already.mutex);
        is_first = note(already.topics, topic);
    } catch (const std::bad_alloc&) { // then it may be said again
    }
    if (is_first) {
        print(text);
    }
}

void say_of_peer(std::string_view peer, const char* text) noexcept
{
    constexpr std::size_t most_peers = 8;
    bool is_first = true;
    bool is_last = false;
    try {
        Said& already = said();
        const std::lock_guard lock(already.mutex);
        is_first = already.peers.size() <= most_peers && note(already.peers, peer);
        is_last = is_first && already.peers.size() > most_peers;
    } catch (const std::bad_alloc&) { // then it may be said again
    }
    if (!is_first) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s", text);
    } else if (log_tells()) {
        SRD_WARN(FI_LOG_EP_DATA, "%s", text);
    } else {
        print(is_last ? "operations with further peers fail; with FI_LOG_LEVEL=warn the log names them"
                      : text);
    }
}

} // namespace srd
