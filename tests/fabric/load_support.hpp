// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// For tests that load the provider: how much (SRD_LOAD_SCALE), for how long at most, and what the
// process holds of the machine's resources.
#pragma once

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "fabric/fabric_fixture.hpp"

namespace fabric_test {

/// Sanitizers cost a factor of five to ten in time, and their allocators say nothing about memory.
#ifdef SRD_SANITIZED
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

/// A number of repetitions: `count` in ctest, SRD_LOAD_SCALE times as many in tools/load_soak, a tenth under
/// sanitizers.
inline std::uint64_t scaled(std::uint64_t count)
{
    const char* const text = std::getenv("SRD_LOAD_SCALE");
    const std::uint64_t scale = text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
    return std::max<std::uint64_t>(1, count * std::max<std::uint64_t>(1, scale) / (sanitized ? 10 : 1));
}

/// The end of a wait that no healthy machine needs.
class Patience {
public:
    explicit Patience(std::chrono::seconds most = std::chrono::seconds(90))
        : end_(std::chrono::steady_clock::now() + most)
    {
    }
    bool over() const { return std::chrono::steady_clock::now() > end_; }

private:
    std::chrono::steady_clock::time_point end_;
};

/// As many descriptors as this user may have. Returns that number.
inline std::uint64_t raise_descriptor_limit()
{
    rlimit limit{};
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    return limit.rlim_cur;
}

inline std::uint64_t resident_bytes()
{
    std::ifstream file("/proc/self/statm");
    std::uint64_t pages = 0;
    file >> pages >> pages;
    return pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

/// What a process holds that it could forget to give back.
struct Resources {
    std::uint64_t heap = 0;     ///< bytes allocated with malloc
    std::uint64_t resident = 0; ///< bytes
    std::uint64_t descriptors = 0;
    std::uint64_t threads = 0;
    std::uint64_t mappings = 0;
    std::uint64_t shared_objects = 0; ///< in /dev/shm, of all processes that use this provider

    static Resources now()
    {
        const struct mallinfo2 info = mallinfo2();
        return {.heap = info.uordblks + info.hblkhd,
                .resident = resident_bytes(),
                .descriptors = entries_of("/proc/self/fd"),
                .threads = entries_of("/proc/self/task"),
                .mappings = lines_of("/proc/self/maps"),
                .shared_objects = entries_of("/dev/shm", "srd")};
    }

private:
    static std::uint64_t entries_of(const char* folder, const char* with = "")
    {
        std::uint64_t count = 0;
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            count += entry.path().filename().string().find(with) != std::string::npos ? 1 : 0;
        }
        return count;
    }
    static std::uint64_t lines_of(const char* path)
    {
        std::ifstream file(path);
        std::uint64_t count = 0;
        for (std::string line; std::getline(file, line);) {
            ++count;
        }
        return count;
    }
};

} // namespace fabric_test
