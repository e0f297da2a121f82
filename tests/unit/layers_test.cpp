// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// The layering rules, enforced on the sources: who may include whom, and what
// nothing below the provider may call. Each rule is also shown to bite.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace fs = std::filesystem;

namespace {

/// Comments blanked out, so that prose may name what code may not. String literals are left alone.
std::string without_comments(const std::string& text)
{
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] == '"') {
            const std::size_t from = at;
            for (++at; at < text.size() && text[at] != '"' && text[at] != '\n'; ++at) {
                at += text[at] == '\\';
            }
            out += text.substr(from, at - from + 1);
        } else if (text.compare(at, 2, "//") == 0) {
            at = std::min(text.find('\n', at), text.size());
            out += '\n';
        } else if (text.compare(at, 2, "/*") == 0) {
            const std::size_t end = std::min(text.find("*/", at + 2), text.size());
            out += ' ';
            at = end + 1;
        } else {
            out += text[at];
        }
    }
    return out;
}

struct Include {
    std::string name;
    bool angled = false; // <name> rather than "name"
};

std::vector<Include> includes_of(const std::string& code)
{
    static const std::regex pattern(R"re((^|\n)[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"])re");
    std::vector<Include> found;
    for (std::sregex_iterator it(code.begin(), code.end(), pattern), end; it != end; ++it) {
        found.push_back({(*it)[3].str(), (*it)[2].str() == "<"});
    }
    return found;
}

bool starts_with(const std::string& text, const std::string& prefix)
{
    return text.compare(0, prefix.size(), prefix) == 0;
}

bool is_system(const Include& include)
{
    return include.angled && !starts_with(include.name, "srd/") && !starts_with(include.name, "rdma/");
}

/// Where a project include leads, as a path from the root: relative to the including file, or to one of
/// the include directories. Empty for system headers and what does not exist.
std::string target_of(const std::string& from, const Include& include)
{
    const fs::path root(SRD_SOURCE_DIR);
    if (include.angled) {
        return fs::exists(root / "include" / include.name) ? "include/" + include.name : "";
    }
    for (const fs::path& directory : {fs::path(from).parent_path(), fs::path("src/transport"),
                                      fs::path("src/mr"), fs::path("src/prov_srd"), fs::path("include")}) {
        const fs::path candidate = (directory / include.name).lexically_normal();
        if (fs::exists(root / candidate)) {
            return candidate.generic_string();
        }
    }
    return "";
}

bool in(const std::string& path, const std::string& folder)
{
    return starts_with(path, folder + "/");
}

/// What `code`, at `path` from the root, does against the include rules; one sentence each.
std::vector<std::string> include_faults(const std::string& path, const std::string& code)
{
    std::vector<std::string> faults;
    const bool policy = in(path, "src/transport/cc") || in(path, "src/transport/lb");
    const bool io = in(path, "src/transport/io");
    const bool engine = in(path, "src/transport") && !io && path != "src/transport/progress.hpp";
    for (const Include& include : includes_of(code)) {
        const auto forbid = [&](bool broken, const char* rule) {
            if (broken) {
                faults.push_back(path + " includes " + include.name + ": " + rule);
            }
        };
        const std::string target = target_of(path, include);
        forbid(starts_with(include.name, "rdma/") && !in(path, "src/prov_srd") && !in(path, "include/rdma"),
               "only prov_srd knows libfabric");
        forbid(!include.angled && target.empty(), "there is no such file");
        forbid(in(path, "include/srd") && in(target, "src"), "the vocabulary is below everything");
        forbid(in(path, "src/transport") && in(target, "src/mr"), "transport does not know mr");
        forbid(in(path, "src/mr") && in(target, "src/transport"), "mr does not know transport");
        forbid((in(path, "src/transport") || in(path, "src/mr")) && in(target, "src/prov_srd"),
               "the provider is on top");
        forbid(policy && !is_system(include) && !in(target, "include/srd") &&
                   fs::path(target).parent_path() != fs::path(path).parent_path(),
               "a policy sees include/srd and its own folder");
        forbid(engine && in(target, "src/transport/io") && target != "src/transport/io/core/packet_io.hpp",
               "the engine knows no backend");
        forbid(io && in(target, "src/transport") && !in(target, "src/transport/io"),
               "a backend knows no engine");
    }
    return faults;
}

/// Calls that only the provider (and a backend, for the system's sake) may make.
std::vector<std::string> call_faults(const std::string& path, const std::string& code)
{
    static const std::regex ambient(
        R"(\b(steady_clock|system_clock|high_resolution_clock|clock_gettime|gettimeofday|)"
        R"(timespec_get|__rdtsc|getenv|secure_getenv|random_device|getrandom|getentropy|)"
        R"(arc4random|srand|rand|time)\b(?=\s*(\(|::|\{|\w+\s*[;({])))");
    static const std::regex lock(
        R"(\b(mutex|shared_mutex|recursive_mutex|lock_guard|unique_lock|scoped_lock|)"
        R"(pthread_mutex_\w+|pthread_spin_\w+|condition_variable)\b)");
    std::vector<std::string> faults;
    const bool below = in(path, "include/srd") || in(path, "src/transport") || in(path, "src/mr");
    std::smatch match;
    if (below && !in(path, "src/transport/io") && std::regex_search(code, match, ambient)) {
        faults.push_back(path + " uses " + match[1].str() + ": time, settings and chance are passed in");
    }
    if (in(path, "src/transport") && !in(path, "src/transport/io") && std::regex_search(code, match, lock)) {
        faults.push_back(path + " uses " + match[1].str() + ": the engine takes no locks");
    }
    return faults;
}

std::vector<std::string> faults_of(const std::string& path, const std::string& text)
{
    const std::string code = without_comments(text);
    std::vector<std::string> faults = include_faults(path, code);
    for (std::string& fault : call_faults(path, code)) {
        faults.push_back(std::move(fault));
    }
    return faults;
}

/// Every C and C++ source of the product, as (path from the root, text).
std::vector<std::pair<std::string, std::string>> sources()
{
    std::vector<std::pair<std::string, std::string>> found;
    const fs::path root(SRD_SOURCE_DIR);
    for (const char* folder : {"include", "src"}) {
        for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
            const std::string extension = entry.path().extension().string();
            if (entry.is_regular_file() &&
                (extension == ".hpp" || extension == ".cpp" || extension == ".h" || extension == ".c")) {
                std::ifstream file(entry.path());
                REQUIRE(file.good());
                found.emplace_back(fs::relative(entry.path(), root).generic_string(),
                                   std::string(std::istreambuf_iterator<char>(file), {}));
            }
        }
    }
    return found;
}

} // namespace

TEST_CASE("layers: no source breaks the rules of include and call")
{
    const auto files = sources();
    REQUIRE(files.size() > 20);
    for (const auto& [path, text] : files) {
        for (const std::string& fault : faults_of(path, text)) {
            FAIL_CHECK(fault);
        }
    }
    SUCCEED("looked at " << files.size() << " files");
}

TEST_CASE("layers: every source names its licence")
{
    for (const auto& [path, text] : sources()) {
        INFO(path);
        CHECK(starts_with(text, "// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only\n"));
    }
}

TEST_CASE("layers: the include rules bite")
{
    const auto bad = [](const char* path, const char* text) { return !faults_of(path, text).empty(); };
    CHECK(bad("src/transport/x.cpp", "#include <rdma/fabric.h>\n"));
    CHECK(bad("src/mr/x.cpp", "  # include <rdma/fi_domain.h>\n"));
    CHECK(bad("src/transport/io/x.cpp", "#include <rdma/fabric.h>\n"));
    CHECK(bad("src/mr/x.hpp", "#include \"engine.hpp\"\n"));
    CHECK(bad("src/mr/x.hpp", "#include \"../transport/engine.hpp\"\n"));
    CHECK(bad("src/transport/cc/x.hpp", "#include \"send/rtt.hpp\"\n"));
    CHECK(bad("src/transport/cc/x.hpp", "#include \"lb/path_selector.hpp\"\n"));
    CHECK(bad("src/transport/lb/x.hpp", "#include \"engine.hpp\"\n"));
    CHECK(bad("src/transport/x.cpp", "#include \"io/udp/udp_io.hpp\"\n"));
    CHECK(bad("src/transport/io/x.cpp", "#include \"../engine.hpp\"\n"));
    CHECK(bad("include/srd/x.hpp", "#include \"engine.hpp\"\n"));
    CHECK(bad("src/transport/x.cpp", "#include \"no_such_file.hpp\"\n"));

    CHECK_FALSE(bad("src/prov_srd/x.cpp", "#include <rdma/fabric.h>\n#include \"engine.hpp\"\n"));
    CHECK_FALSE(bad("src/transport/x.cpp", "#include \"io/core/packet_io.hpp\"\n#include <srd/slab.hpp>\n"));
    CHECK_FALSE(bad("src/transport/progress.hpp", "#include \"io/udp/udp_io.hpp\"\n"));
    CHECK_FALSE(bad("src/transport/cc/x.hpp", "#include \"congestion.hpp\"\n#include <srd/time.hpp>\n"));
    CHECK_FALSE(bad("src/transport/x.cpp", "// #include <rdma/fabric.h>\n/* #include <rdma/fabric.h> */\n"));
}

TEST_CASE("layers: the call rules bite")
{
    const auto bad = [](const char* path, const char* text) { return !faults_of(path, text).empty(); };
    CHECK(bad("src/transport/x.cpp", "auto t = std::chrono::steady_clock::now();\n"));
    CHECK(bad("src/transport/x.cpp", "clock_gettime(CLOCK_MONOTONIC, &t);\n"));
    CHECK(bad("src/mr/x.cpp", "const char* v = std::getenv(\"HOME\");\n"));
    CHECK(bad("include/srd/x.hpp", "std::random_device device;\n"));
    CHECK(bad("src/transport/x.cpp", "auto v = std::random_device{}();\n"));
    CHECK(bad("src/transport/x.cpp", "std::time(nullptr);\n"));
    CHECK(bad("src/transport/x.cpp", "std::mutex m;\n"));

    CHECK_FALSE(bad("src/transport/io/x.cpp", "clock_gettime(CLOCK_MONOTONIC, &t);\n"));
    CHECK_FALSE(bad("src/prov_srd/x.cpp", "std::getenv(\"X\"); std::mutex m;\n"));
    CHECK_FALSE(
        bad("src/transport/x.cpp", "// no getenv(), no steady_clock::now()\nTime time_of(int tick);\n"));
    CHECK_FALSE(bad("src/mr/x.cpp", "std::mutex m;\n"));
}
