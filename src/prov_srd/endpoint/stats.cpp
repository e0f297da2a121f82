// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "endpoint/stats.hpp"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include <srd/file_descriptor.hpp>

#include "common/log.hpp"
#include "common/say.hpp"

namespace srd {

std::string stats_json(const Counters& counters, std::string_view address, const ProcessPlace& place)
{
    std::string line = "{\"provider\":\"srd\",\"pid\":";
    line += std::to_string(getpid());
    line += ",\"host\":\"" + place.host + '"';
    if (!place.rank.empty()) {
        line += ",\"rank\":" + place.rank;
    }
    line += ",\"address\":\"";
    line += address;
    line += '"';
    for_each_counter(counters, [&](const char* name, const char*, std::uint64_t value) {
        line += ",\"";
        line += name;
        line += "\":";
        line += std::to_string(value);
    });
    line += "}\n";
    return line;
}

void stats_write(const std::string& target, const std::string& line)
{
    const bool to_stderr = target == "-";
    const FileDescriptor opened(
        to_stderr ? -1 : open(target.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666));
    int error = to_stderr || opened.valid() ? 0 : errno;
    if (error == 0) {
        const ssize_t written = write(to_stderr ? STDERR_FILENO : opened.get(), line.data(), line.size());
        if (written != static_cast<ssize_t>(line.size())) {
            error = written < 0 ? errno : ENOSPC;
        }
    }
    if (error != 0) {
        say("FI_SRD_STATS",
            ("FI_SRD_STATS: cannot write to " + target + ": " + std::generic_category().message(error))
                .c_str());
    }
}

} // namespace srd
