// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The files that FI_SRD_STATS names, one JSON object per line and endpoint, summed up.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <map>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

namespace srd::tool {

class Report {
public:
    /// Takes in the lines of `in`. What is no line of srd's is counted and left out.
    void add(std::istream& in);

    std::size_t endpoints() const noexcept { return endpoints_; }
    std::size_t strange_lines() const noexcept { return strange_lines_; }

    void print(std::ostream& out) const;
    nlohmann::json json() const;

private:
    /// Of one counter, over the endpoints.
    struct Sum {
        std::uint64_t total = 0;
        std::uint64_t most = 0;
        std::string most_at; ///< the address of that endpoint
    };

    double share(const char* part, std::initializer_list<const char*> wholes) const;
    std::uint64_t total(const char* name) const;

    std::size_t endpoints_ = 0;
    std::size_t strange_lines_ = 0;
    std::set<std::string> hosts_;
    std::set<std::string> processes_; ///< host and process id: containers of several hosts share numbers
    std::map<std::string, Sum> sums_;
};

} // namespace srd::tool
