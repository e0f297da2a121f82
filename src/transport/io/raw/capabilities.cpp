// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/raw/capabilities.hpp"

#include <algorithm>
#include <array>

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace srd {

std::uint64_t packet_capabilities() noexcept
{
    return std::uint64_t{1} << CAP_NET_RAW;
}

std::uint64_t xdp_capabilities() noexcept
{
    return std::uint64_t{1} << CAP_NET_RAW | std::uint64_t{1} << CAP_NET_ADMIN | std::uint64_t{1} << CAP_BPF;
}

std::string missing_capabilities(std::uint64_t needed)
{
    struct Name {
        int bit;
        const char* text;
    };
    constexpr std::array<Name, 3> names{
        {{CAP_NET_RAW, "CAP_NET_RAW"}, {CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {CAP_BPF, "CAP_BPF"}}};
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
    ::syscall(SYS_capget, &header, sets.data());
    const std::uint64_t held = std::uint64_t{sets[1].effective} << 32 | sets[0].effective;
    std::string missing;
    std::string wanted;
    for (const Name& name : names) {
        const std::uint64_t bit = std::uint64_t{1} << name.bit;
        if ((needed & bit) == 0) {
            continue;
        }
        std::string lower = name.text;
        std::ranges::transform(lower, lower.begin(),
                               [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
        wanted += (wanted.empty() ? "" : ",") + lower;
        if ((held & bit) == 0) {
            missing += (missing.empty() ? "" : " and ") + std::string(name.text);
        }
    }
    if (missing.empty()) {
        return {};
    }
    std::array<char, 4096> path{};
    const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
    return "the process lacks " + missing + "; grant it without root by: setcap " + wanted + "+ep " +
           (length > 0 ? path.data() : "PROGRAM");
}

} // namespace srd
