// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/source_tree.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <regex>
#include <stdexcept>

namespace fs = std::filesystem;

namespace srd::test {

namespace {

bool is_word(char c)
{
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

/// The end of the comment or literal that starts at `at`, or `at` itself if none does.
std::size_t end_of_comment(std::string_view text, std::size_t at)
{
    if (text.substr(at, 2) == "//") {
        return std::min(text.find('\n', at), text.size());
    }
    if (text.substr(at, 2) == "/*") {
        const std::size_t end = text.find("*/", at + 2);
        return end == std::string_view::npos ? text.size() : end + 2;
    }
    return at;
}

std::size_t end_of_literal(std::string_view text, std::size_t at)
{
    if (text.substr(at, 2) == "R\"" && (at == 0 || !is_word(text[at - 1]))) {
        const std::size_t open = text.find('(', at);
        std::string close(text.substr(at + 1, open - at));
        close.front() = ')';
        close.back() = '"';
        const std::size_t end = text.find(close, open);
        return end == std::string_view::npos ? text.size() : end + close.size();
    }
    const bool separator = text[at] == '\'' && at > 0 && is_word(text[at - 1]); // 1'000
    if ((text[at] != '"' && text[at] != '\'') || separator) {
        return at;
    }
    std::size_t end = at + 1;
    while (end < text.size() && text[end] != text[at] && text[end] != '\n') {
        end += text[end] == '\\' ? 2 : 1;
    }
    return std::min(end + 1, text.size());
}

/// Blanks [from, to) out, but for line breaks.
void blank(std::string& text, std::size_t from, std::size_t to)
{
    for (std::size_t at = from; at < to; ++at) {
        text[at] = text[at] == '\n' ? '\n' : ' ';
    }
}

std::string stripped(std::string_view text, bool literals_too)
{
    std::string out(text);
    for (std::size_t at = 0; at < text.size();) {
        if (const std::size_t end = end_of_comment(text, at); end != at) {
            blank(out, at, end);
            at = end;
        } else if (const std::size_t literal_end = end_of_literal(text, at); literal_end != at) {
            if (literals_too) {
                blank(out, at + 1, literal_end - 1);
            }
            at = literal_end;
        } else {
            ++at;
        }
    }
    return out;
}

/// Directives are no code: an #else would open braces twice.
void blank_directives(std::string& code)
{
    bool in_directive = false;
    for (std::size_t start = 0; start < code.size();) {
        const std::size_t end = std::min(code.find('\n', start), code.size());
        const std::size_t first = code.find_first_not_of(" \t", start);
        in_directive = in_directive || (first < end && code[first] == '#');
        const bool goes_on = in_directive && end > start && code[end - 1] == '\\';
        if (in_directive) {
            blank(code, start, end);
        }
        in_directive = goes_on;
        start = end + 1;
    }
}

/// What a brace opens, by what stands before it.
enum class Scope { names, function, other };

Scope scope_of(const std::string& head)
{
    static const std::regex names(
        R"(^\s*(template\s*<[^{]*>\s*)?(inline\s+)?(typedef\s+)?(namespace|class|struct|union|enum|extern)\b)");
    if (std::regex_search(head, names)) {
        return Scope::names;
    }
    return head.find('(') != std::string::npos ? Scope::function : Scope::other;
}

std::string on_one_line(std::string_view text)
{
    std::string line;
    for (const char c : text) {
        const bool space = std::isspace(static_cast<unsigned char>(c)) != 0;
        if (!space || (!line.empty() && line.back() != ' ')) {
            line += space ? ' ' : c;
        }
    }
    return line;
}

std::size_t closing_brace(std::string_view code, std::size_t open)
{
    std::size_t depth = 0;
    for (std::size_t at = open; at < code.size(); ++at) {
        depth += code[at] == '{';
        if (code[at] == '}' && --depth == 0) {
            return at;
        }
    }
    return code.size();
}

std::size_t count_lines(std::string_view code, std::size_t from, std::size_t to)
{
    return static_cast<std::size_t>(std::count(code.begin() + static_cast<std::ptrdiff_t>(from),
                                               code.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
}

} // namespace

bool is_source(const fs::path& file)
{
    static constexpr std::array extensions{".hpp", ".cpp", ".h", ".c"};
    const std::string extension = file.extension().string();
    return std::find(extensions.begin(), extensions.end(), extension) != extensions.end();
}

std::vector<SourceFile> source_files(const fs::path& root, const std::vector<std::string>& folders)
{
    std::vector<SourceFile> found;
    for (const std::string& folder : folders) {
        for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
            if (!entry.is_regular_file() || !is_source(entry.path())) {
                continue;
            }
            std::ifstream file(entry.path());
            if (!file.good()) {
                throw std::runtime_error("cannot read " + entry.path().string());
            }
            found.push_back({fs::relative(entry.path(), root).generic_string(),
                             std::string(std::istreambuf_iterator<char>(file), {})});
        }
    }
    std::sort(found.begin(), found.end(),
              [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
    return found;
}

std::string without_comments(std::string_view text)
{
    return stripped(text, false);
}

std::string without_literals(std::string_view text)
{
    return stripped(text, true);
}

std::vector<Include> includes_of(const std::string& code)
{
    static const std::regex pattern(R"re((^|\n)[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"])re");
    std::vector<Include> found;
    for (std::sregex_iterator it(code.begin(), code.end(), pattern), end; it != end; ++it) {
        found.push_back({(*it)[3].str(), (*it)[2].str() == "<"});
    }
    return found;
}

std::vector<Function> functions_of(std::string_view text)
{
    std::string code = without_literals(text);
    blank_directives(code);
    std::vector<Function> found;
    std::size_t head_start = 0;
    for (std::size_t at = 0; at < code.size(); ++at) {
        if (code[at] == ';' || code[at] == '}') {
            head_start = at + 1;
        }
        if (code[at] != '{') {
            continue;
        }
        const std::string head = on_one_line(std::string_view(code).substr(head_start, at - head_start));
        const Scope scope = scope_of(head);
        head_start = at + 1;
        if (scope == Scope::names) {
            continue; // what is inside is looked at
        }
        const std::size_t close = closing_brace(code, at);
        if (scope == Scope::function) {
            found.push_back({head, count_lines(code, 0, at) + 1, count_lines(code, at, close) + 1});
        }
        at = close;
        head_start = close + 1;
    }
    return found;
}

std::size_t lines_of(std::string_view text)
{
    return count_lines(text, 0, text.size()) + (!text.empty() && text.back() != '\n');
}

} // namespace srd::test
