// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "endpoint/stats.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include <srd/file_descriptor.hpp>

#include "common/log.hpp"

namespace srd {

std::string stats_json(const Counters& counters, std::string_view address)
{
    std::string line = "{\"provider\":\"srd\",\"pid\":";
    line += std::to_string(getpid());
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

void stats_write(std::string target, const std::string& line)
{
    const std::string pid = std::to_string(getpid());
    for (std::size_t at = target.find("%p"); at != std::string::npos;
         at = target.find("%p", at + pid.size())) {
        target.replace(at, 2, pid);
    }
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
        SRD_WARN(FI_LOG_EP_CTRL, "FI_SRD_STATS: cannot write to %s: %s", target.c_str(), strerror(error));
    }
}

} // namespace srd
