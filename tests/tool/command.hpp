// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Runs the command srd as a user does.
#pragma once

#include <array>
#include <cstdio>
#include <string>

#include <sys/wait.h>

#include <nlohmann/json.hpp>

namespace tool_test {

struct Outcome {
    int status = -1;
    std::string output; ///< stdout
};

inline Outcome run_shell(const std::string& command)
{
    Outcome outcome;
    FILE* const pipe = popen(command.c_str(), "r");
    if (pipe == nullptr) {
        return outcome;
    }
    std::array<char, 4096> piece{};
    while (std::fgets(piece.data(), piece.size(), pipe) != nullptr) {
        outcome.output += piece.data();
    }
    const int status = pclose(pipe);
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return outcome;
}

/// `before`: settings of variables, or what the shell does first. Without the variables that a test's user
/// may have.
inline Outcome run_srd(const std::string& arguments, const std::string& before = "")
{
    return run_shell("unset FI_PROVIDER OMPI_MCA_mtl OMPI_MCA_pml; " + before + " " + SRD_COMMAND + " " +
                     arguments);
}

/// The level of the first finding with that topic whose text contains `part`; empty: there is none.
inline std::string level_of(const nlohmann::json& result, const std::string& topic,
                            const std::string& part = "")
{
    for (const auto& finding : result["findings"]) {
        if (finding["topic"] == topic && finding["text"].get<std::string>().find(part) != std::string::npos) {
            return finding["level"];
        }
    }
    return {};
}

inline std::string cure_of(const nlohmann::json& result, const std::string& topic)
{
    for (const auto& finding : result["findings"]) {
        if (finding["topic"] == topic) {
            return finding["cure"];
        }
    }
    return {};
}

} // namespace tool_test
