// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_profile(3): the counters of an endpoint, or of all of a domain's, as variables that an application, a
// tool or a hooking provider reads by their names. There are no events: nothing is called from the data path.
//
// Laws:
//  - Between start_reads and end_reads, variables have the values of one moment.
//  - A profile that is not closed goes with its endpoint or domain: libfabric's own hook "trace" never closes
//    its own.
//
// Threading: any thread may open, close and read; of one profile, one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include <srd/counters.hpp>

struct fid;

namespace srd {

/// What is shown of an endpoint; or of several, added up.
struct ProfileValues {
    static constexpr std::size_t counters = [] {
        std::size_t number = 0;
#define SRD_X(name, text) ++number;
        SRD_COUNTERS(SRD_X)
#undef SRD_X
        return number;
    }();
    std::uint64_t unexpected = 0;  ///< messages that wait for a receive now
    std::uint64_t connections = 0; ///< established
    std::array<std::uint64_t, counters> counter{};

    void add(const Counters& more) noexcept;
};

class Profiles {
public:
    /// `read` does not throw.
    explicit Profiles(std::function<ProfileValues()> read);
    ~Profiles();
    Profiles(const Profiles&) = delete;
    Profiles& operator=(const Profiles&) = delete;

    /// fi_open_ops(3). 0, or a negative fi_errno: -FI_ENOSYS if `name` is none of fi_profile's.
    int open_ops(const char* name, std::uint64_t flags, void** ops, void* context);

private:
    struct Profile;

    const std::function<ProfileValues()> read_;
    std::mutex mutex_; ///< guards what follows
    std::vector<std::unique_ptr<Profile>> open_;
};

} // namespace srd
