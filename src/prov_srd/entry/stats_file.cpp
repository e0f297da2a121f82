// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/stats_file.hpp"

#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include <unistd.h>

namespace srd {

ProcessPlace process_place()
{
    ProcessPlace place;
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) == 0) {
        place.host = host.data();
        std::erase_if(place.host, [](char letter) { // it becomes part of a file's name and of JSON
            return std::isalnum(static_cast<unsigned char>(letter)) == 0 && letter != '-' && letter != '.' &&
                   letter != '_';
        });
    }
    for (const char* const name :
         {"PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID"}) {
        const char* const value = std::getenv(name);
        std::uint32_t rank = 0;
        if (value != nullptr && std::from_chars(value, value + std::strlen(value), rank).ec == std::errc{}) {
            place.rank = std::to_string(rank);
            break;
        }
    }
    return place;
}

std::string stats_file(std::string_view setting, const ProcessPlace& place)
{
    std::string name;
    for (std::size_t i = 0; i < setting.size(); ++i) {
        const char letter = setting[i] == '%' && i + 1 < setting.size() ? setting[i + 1] : '\0';
        switch (letter) {
        case 'p':
            name += std::to_string(::getpid());
            break;
        case 'h':
            name += place.host;
            break;
        case 'r':
            name += place.rank.empty() ? "-" : place.rank;
            break;
        default:
            name += setting[i];
            continue;
        }
        ++i;
    }
    return name;
}

std::string stats_obstacle(const std::string& setting, const ProcessPlace& place)
{
    if (setting == "-") {
        return {};
    }
    const std::string file = stats_file(setting, place);
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
