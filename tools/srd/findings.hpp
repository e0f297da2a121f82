// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What a look at a host or a network has found: how bad it is, why, and what to do about it.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace srd::tool {

enum class Level { ok, warning, broken };

struct Finding {
    Level level = Level::ok;
    std::string topic; ///< a few words, unique among those of one level only
    std::string text;  ///< what is so, and if it is bad, what follows from that
    std::string cure;  ///< what to do; empty if there is nothing to be done
};

class Findings {
public:
    void ok(std::string topic, std::string text);
    void warning(std::string topic, std::string text, std::string cure);
    void broken(std::string topic, std::string text, std::string cure);

    /// Those of another look, with `prefix` before their topics.
    void add(const Findings& other, const std::string& prefix);

    const std::vector<Finding>& all() const noexcept { return all_; }
    /// The worst of them is the exit status: 0 ok, 1 warning, 2 broken.
    int status() const noexcept;
    /// For people, lines of at most `width` columns.
    void print(std::ostream& out, std::size_t width = 110) const;
    /// {"status":…,"findings":[{"level","topic","text","cure"},…]}
    nlohmann::json json() const;

private:
    std::vector<Finding> all_;
};

} // namespace srd::tool
