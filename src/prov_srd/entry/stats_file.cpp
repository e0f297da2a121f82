// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/stats_file.hpp"

#include <cerrno>
#include <filesystem>
#include <system_error>

#include <unistd.h>

namespace srd {

std::string stats_file(std::string_view setting)
{
    std::string name;
    for (std::size_t at = setting.find("%p"); at != std::string_view::npos; at = setting.find("%p")) {
        name.append(setting.substr(0, at)).append(std::to_string(::getpid()));
        setting.remove_prefix(at + 2);
    }
    return name.append(setting);
}

std::string stats_obstacle(const std::string& setting)
{
    if (setting == "-") {
        return {};
    }
    const std::string file = stats_file(setting);
    std::error_code ignored;
    if (std::filesystem::is_directory(file, ignored)) {
        return "cannot write to " + file + ": it is a directory";
    }
    const std::filesystem::path folder = std::filesystem::path(file).parent_path();
    if (::access(file.c_str(), W_OK) == 0 ||
        (errno == ENOENT && ::access(folder.empty() ? "." : folder.c_str(), W_OK | X_OK) == 0)) {
        return {};
    }
    const int error = errno; // before the text is put together
    return "cannot write to " + file + ": " + std::generic_category().message(error);
}

} // namespace srd
