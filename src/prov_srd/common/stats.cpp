// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "common/stats.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

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
    const int file =
        to_stderr ? STDERR_FILENO : open(target.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0 || write(file, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
        SRD_WARN(FI_LOG_EP_CTRL, "FI_SRD_STATS: cannot write to %s: %s", target.c_str(), strerror(errno));
    }
    if (!to_stderr && file >= 0) {
        close(file);
    }
}

} // namespace srd
