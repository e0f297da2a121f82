// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The project's own sources, as the tests of its structure see them: files, includes and functions. No
// compiler: comments and literals are taken out, and the rest is judged by its braces and its first words.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace srd::test {

struct SourceFile {
    std::string path; ///< from the root, with slashes
    std::string text;
};

struct Include {
    std::string name;
    bool angled = false; ///< <name> rather than "name"
};

struct Function {
    std::string head; ///< everything before its brace, on one line
    std::size_t line = 0;
    std::size_t lines = 0; ///< from the line of the head's end to that of the closing brace
};

/// Every C and C++ source below `root`/`folder` for each of the folders, ordered by path.
std::vector<SourceFile> source_files(const std::filesystem::path& root,
                                     const std::vector<std::string>& folders);
bool is_source(const std::filesystem::path& file);

/// Comments blanked out, so that prose may name what code may not. Literals stay, and so do line breaks.
std::string without_comments(std::string_view text);
/// Comments and the contents of literals blanked out.
std::string without_literals(std::string_view text);
std::vector<Include> includes_of(const std::string& code);
/// Functions with a body, lambdas outside of functions included, local ones not.
std::vector<Function> functions_of(std::string_view text);
std::size_t lines_of(std::string_view text);

/// `path` lies below `folder`.
inline bool is_in(std::string_view path, std::string_view folder)
{
    return path.size() > folder.size() && path.substr(0, folder.size()) == folder &&
           path[folder.size()] == '/';
}

} // namespace srd::test
