// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The layering rules, enforced on the sources: who may include whom (rooms.hpp), that no include leads back
// to where it came from, and what nothing below the provider may call. Each rule is also shown to bite.
#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/source_tree.hpp"
#include "unit/layers/rooms.hpp"

namespace fs = std::filesystem;

namespace {

using namespace srd::test;

bool starts_with(const std::string& text, const std::string& prefix)
{
    return text.compare(0, prefix.size(), prefix) == 0;
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

/// A folder, without those in it, or a header and its .cpp.
bool covers(const std::string& place, const std::string& path)
{
    return fs::path(path).parent_path() == place || starts_with(path, place + ".");
}

/// The room that `path` lies in; a header's own before that of its folder.
const Room* room_of(const std::string& path)
{
    const Room* found = nullptr;
    for (const Room& room : rooms()) {
        if (covers(room.place, path) && (found == nullptr || room.place.size() > found->place.size())) {
            found = &room;
        }
    }
    return found;
}

bool may_enter(const Room& from, const Room& room, const std::string& target)
{
    const auto sees = [&](const std::string& place) {
        return std::find(from.sees.begin(), from.sees.end(), place) != from.sees.end();
    };
    const bool is_door =
        room.doors.empty() || std::any_of(room.doors.begin(), room.doors.end(), [&](const std::string& door) {
            return target == room.place + "/" + door;
        });
    return sees(room.place + "/*") || (sees(room.place) && is_door);
}

/// What is wrong with one include, in a sentence; empty: nothing.
std::string fault_of(const std::string& path, const Include& include)
{
    if (starts_with(include.name, "rdma/")) {
        const bool may = is_in(path, "src/prov_srd") || is_in(path, "include/rdma");
        return may ? "" : "only prov_srd knows libfabric";
    }
    const std::string target = target_of(path, include);
    if (target.empty()) {
        return include.angled ? "" : "there is no such file";
    }
    if (include.name.find("..") != std::string::npos) {
        return "includes are written from the root of the library";
    }
    const Room* const from = room_of(path);
    const Room* const room = room_of(target);
    if (from == nullptr || room == nullptr) {
        return "a file that is in no room";
    }
    if (from == room || may_enter(*from, *room, target)) {
        return "";
    }
    return from->place + " does not see that of " + room->place;
}

std::vector<std::string> include_faults(const std::string& path, const std::string& code)
{
    std::vector<std::string> faults;
    for (const Include& include : includes_of(code)) {
        const std::string fault = fault_of(path, include);
        if (!fault.empty()) {
            faults.push_back(path + " includes " + include.name + ": " + fault);
        }
    }
    return faults;
}

std::vector<std::string> call_faults(const std::string& path, const std::string& code)
{
    static const std::regex ambient(passed_in);
    static const std::regex lock(locks);
    std::vector<std::string> faults;
    const bool io = is_in(path, "src/transport/io");
    const bool engine = is_in(path, "src/transport") && !io;
    const bool below = is_in(path, "include/srd") || engine || is_in(path, "src/mr");
    std::smatch match;
    if (below && std::regex_search(code, match, ambient)) {
        faults.push_back(path + " uses " + match[1].str() + ": time, settings and chance are passed in");
    }
    if (engine && std::regex_search(code, match, lock)) {
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

/// Files, and where their project includes lead.
using Graph = std::map<std::string, std::vector<std::string>>;

Graph include_graph(const std::vector<SourceFile>& files)
{
    Graph graph;
    for (const SourceFile& file : files) {
        std::vector<std::string>& targets = graph[file.path];
        for (const Include& include : includes_of(without_comments(file.text))) {
            if (std::string target = target_of(file.path, include); !target.empty()) {
                targets.push_back(std::move(target));
            }
        }
    }
    return graph;
}

/// A way through the graph that ends where it began; empty if there is none.
class CycleSearch {
public:
    explicit CycleSearch(const Graph& graph) : graph_(graph) {}

    std::vector<std::string> find()
    {
        for (const auto& [node, targets] : graph_) {
            if (visit(node)) {
                way_.erase(way_.begin(), std::find(way_.begin(), way_.end(), way_.back()));
                return way_;
            }
        }
        return {};
    }

private:
    bool visit(const std::string& node)
    {
        const bool closes = std::find(way_.begin(), way_.end(), node) != way_.end();
        way_.push_back(node);
        if (closes) {
            return true;
        }
        if (const auto place = graph_.find(node); place != graph_.end() && done_.insert(node).second) {
            for (const std::string& target : place->second) {
                if (visit(target)) {
                    return true;
                }
            }
        }
        way_.pop_back();
        return false;
    }

    const Graph& graph_;
    std::set<std::string> done_;
    std::vector<std::string> way_;
};

std::string joined(const std::vector<std::string>& way)
{
    std::string text;
    for (const std::string& step : way) {
        text += (text.empty() ? "" : " -> ") + step;
    }
    return text;
}

std::vector<SourceFile> product_files()
{
    return source_files(SRD_SOURCE_DIR, {"include", "src"});
}

/// A room sees only rooms that stand before it in the table, and what it names exists.
std::vector<std::string> table_faults(const std::vector<Room>& table)
{
    std::vector<std::string> faults;
    std::set<std::string> known;
    for (const Room& room : table) {
        for (const std::string& seen : room.sees) {
            const bool friendly = seen.size() > 2 && seen.substr(seen.size() - 2) == "/*";
            if (known.count(friendly ? seen.substr(0, seen.size() - 2) : seen) == 0) {
                faults.push_back(room.place + " sees " + seen + ", which does not stand below it");
            }
        }
        if (!known.insert(room.place).second) {
            faults.push_back(room.place + " stands twice in the table");
        }
    }
    return faults;
}

} // namespace

TEST_CASE("layers: no source breaks the rules of include and call")
{
    const std::vector<SourceFile> files = product_files();
    REQUIRE(files.size() > 20);
    for (const SourceFile& file : files) {
        for (const std::string& fault : faults_of(file.path, file.text)) {
            FAIL_CHECK(fault);
        }
        if (room_of(file.path) == nullptr) {
            FAIL_CHECK(file.path << " is in no room");
        }
    }
    SUCCEED("looked at " << files.size() << " files");
}

TEST_CASE("layers: no include leads back to where it came from")
{
    const std::vector<std::string> way = CycleSearch(include_graph(product_files())).find();
    INFO(joined(way));
    CHECK(way.empty());
}

TEST_CASE("layers: the table is ordered from the ground up")
{
    for (const std::string& fault : table_faults(rooms())) {
        FAIL_CHECK(fault);
    }
}

TEST_CASE("layers: every source names its licence")
{
    for (const SourceFile& file : source_files(SRD_SOURCE_DIR, {"include", "src", "tests", "bench"})) {
        INFO(file.path);
        CHECK(starts_with(file.text, "// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only\n"));
    }
}

TEST_CASE("layers: the rules of libfabric, of names and of the ground floor bite")
{
    const auto bad = [](const char* path, const char* text) { return !faults_of(path, text).empty(); };
    CHECK(bad("src/transport/x.cpp", "#include <rdma/fabric.h>\n"));
    CHECK(bad("src/mr/x.cpp", "  # include <rdma/fi_domain.h>\n"));
    CHECK(bad("src/transport/io/core/x.cpp", "#include <rdma/fabric.h>\n"));
    CHECK(bad("src/mr/x.hpp", "#include \"engine.hpp\"\n"));
    CHECK(bad("src/mr/x.hpp", "#include \"../transport/engine.hpp\"\n"));
    CHECK(bad("src/prov_srd/endpoint/x.cpp", "#include \"../transport/engine.hpp\"\n"));
    CHECK(bad("include/srd/x.hpp", "#include \"engine.hpp\"\n"));
    CHECK(bad("src/transport/x.cpp", "#include \"mr_table.hpp\"\n"));
    CHECK(bad("src/transport/x.cpp", "#include \"no_such_file.hpp\"\n"));
    CHECK(bad("src/garage/x.cpp", "#include <srd/slab.hpp>\n"));
    CHECK(bad("src/transport/garage/x.cpp", "#include <srd/slab.hpp>\n"));

    CHECK_FALSE(bad("src/prov_srd/endpoint/x.cpp", "#include <rdma/fabric.h>\n#include \"engine.hpp\"\n"));
    CHECK_FALSE(bad("src/transport/x.cpp", "// #include <rdma/fabric.h>\n/* #include <rdma/fabric.h> */\n"));
    CHECK_FALSE(bad("src/address_x.cpp", "#include <srd/address.hpp>\n"));
    CHECK_FALSE(bad("src/transport/x.cpp", "#include <unistd.h>\n#include <vector>\n"));
}

TEST_CASE("layers: the rules of the engine's rooms bite")
{
    const auto bad = [](const char* path, const char* text) { return !faults_of(path, text).empty(); };
    CHECK(bad("src/transport/cc/x.hpp", "#include \"send/rtt.hpp\"\n"));
    CHECK(bad("src/transport/cc/x.hpp", "#include \"lb/path_selector.hpp\"\n"));
    CHECK(bad("src/transport/lb/x.hpp", "#include \"engine.hpp\"\n"));
    CHECK(bad("src/transport/wire/x.hpp", "#include \"send/rtt.hpp\"\n"));
    CHECK(bad("src/transport/send/x.cpp", "#include \"receive/payload_pool.hpp\"\n"));
    CHECK(bad("src/transport/receive/x.cpp", "#include \"peer/random_source.hpp\"\n"));
    CHECK(bad("src/transport/rma/x.cpp", "#include \"engine.hpp\"\n"));
    CHECK(bad("src/transport/peer/x.cpp", "#include \"progress.hpp\"\n"));
    CHECK(bad("src/transport/x.cpp", "#include \"io/udp/udp_io.hpp\"\n"));
    CHECK(bad("src/transport/x.cpp", "#include \"progress.hpp\"\n"));
    CHECK(bad("src/transport/progress.hpp", "#include \"io/udp/udp_io.hpp\"\n"));

    CHECK_FALSE(bad("src/transport/x.cpp", "#include \"io/core/packet_io.hpp\"\n#include <srd/slab.hpp>\n"));
    CHECK_FALSE(bad("src/transport/progress.hpp", "#include \"engine.hpp\"\n"));
    CHECK_FALSE(bad("src/transport/cc/x.hpp", "#include \"congestion.hpp\"\n#include <srd/time.hpp>\n"));
    CHECK_FALSE(bad("src/transport/cc/x.hpp", "#include \"cc/congestion.hpp\"\n"));
    CHECK_FALSE(bad("src/transport/peer/x.hpp", "#include \"send/rtt.hpp\"\n#include \"wire/layout.hpp\"\n"));
}

TEST_CASE("layers: the rules of the backends' rooms bite")
{
    const auto bad = [](const char* path, const char* text) { return !faults_of(path, text).empty(); };
    CHECK(bad("src/transport/io/core/x.cpp", "#include \"engine.hpp\"\n"));
    CHECK(bad("src/transport/io/core/x.cpp", "#include \"io/udp/udp_io.hpp\"\n"));
    CHECK(bad("src/transport/io/host/x.cpp", "#include \"io/udp/udp_io.hpp\"\n"));
    CHECK(bad("src/transport/io/udp/x.cpp", "#include \"io/raw/raw_io.hpp\"\n"));
    CHECK(bad("src/transport/io/verbs/x.cpp", "#include \"io/udp/udp_socket.hpp\"\n"));
    CHECK(bad("src/transport/io/verbs/x.cpp", "#include \"io/raw/raw_io.hpp\"\n"));
    CHECK(bad("src/transport/io/shm/x.cpp", "#include \"io/udp/udp_io.hpp\"\n"));
    CHECK(bad("src/transport/io/shm/x.cpp", "#include \"io/host/interfaces.hpp\"\n"));
    CHECK(bad("src/transport/io/packet/x.cpp", "#include \"io/xdp/xdp_io.hpp\"\n"));

    CHECK_FALSE(bad("src/transport/io/verbs/x.cpp", "#include \"io/udp/udp_io.hpp\"\n"));
    CHECK_FALSE(bad("src/transport/io/xdp/x.cpp", "#include \"io/raw/frame_ring.hpp\"\n"));
    CHECK_FALSE(bad("src/transport/io/udp/x.cpp", "#include \"udp_socket.hpp\"\n"));
}

TEST_CASE("layers: the rules of the provider's rooms bite")
{
    const auto bad = [](const char* path, const char* text) { return !faults_of(path, text).empty(); };
    CHECK(bad("src/prov_srd/common/x.cpp", "#include \"objects/av.hpp\"\n"));
    CHECK(bad("src/prov_srd/matching/x.cpp", "#include \"endpoint/endpoint.hpp\"\n"));
    CHECK(bad("src/prov_srd/completion/x.cpp", "#include \"matching/match.hpp\"\n"));
    CHECK(bad("src/prov_srd/entry/x.cpp", "#include \"endpoint/endpoint.hpp\"\n"));
    CHECK(bad("src/prov_srd/progress/x.cpp", "#include \"endpoint/endpoint.hpp\"\n"));
    CHECK(bad("src/prov_srd/progress/x.cpp", "#include \"objects/domain.hpp\"\n"));
    CHECK(bad("src/prov_srd/objects/x.cpp", "#include \"completion/cq.hpp\"\n"));
    CHECK(bad("src/prov_srd/objects/x.cpp", "#include \"trigger/deferred_work.hpp\"\n"));
    CHECK(bad("src/prov_srd/completion/x.cpp", "#include \"endpoint/endpoint.hpp\"\n"));
    CHECK(bad("src/prov_srd/trigger/x.cpp", "#include \"endpoint/endpoint.hpp\"\n"));
    CHECK(bad("src/prov_srd/endpoint/x.cpp", "#include \"calls/ops_rma.hpp\"\n"));
    CHECK(bad("src/prov_srd/endpoint/x.cpp", "#include \"io/udp/udp_io.hpp\"\n"));
    CHECK(bad("src/prov_srd/entry/x.cpp", "#include \"io/raw/raw_frame.hpp\"\n"));
    CHECK(bad("src/prov_srd/endpoint/x.cpp", "#include \"send/rtt.hpp\"\n"));

    CHECK_FALSE(bad("src/prov_srd/entry/x.cpp", "#include \"io/udp/udp_io.hpp\"\n"));
    CHECK_FALSE(
        bad("src/prov_srd/endpoint/x.cpp", "#include \"objects/av.hpp\"\n#include \"matching/match.hpp\"\n"));
}

TEST_CASE("layers: the search for cycles and the check of the table bite")
{
    const auto cycle = [](const Graph& graph) { return CycleSearch(graph).find(); };
    CHECK(cycle(Graph{{"a", {"b"}}, {"b", {"c"}}, {"c", {"b"}}}) == std::vector<std::string>{"b", "c", "b"});
    CHECK(cycle(Graph{{"a", {"a"}}}) == std::vector<std::string>{"a", "a"});
    CHECK(cycle(Graph{{"a", {"b", "c"}}, {"b", {"c"}}, {"c", {}}}).empty());

    CHECK(table_faults({{"a", {"b"}}, {"b", {}}}).size() == 1);
    CHECK(table_faults({{"a", {}}, {"a", {}}}).size() == 1);
    CHECK(table_faults({{"a", {}}, {"b", {"a", "a/*"}}}).empty());
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

    CHECK_FALSE(bad("src/transport/io/core/x.cpp", "clock_gettime(CLOCK_MONOTONIC, &t);\n"));
    CHECK_FALSE(bad("src/prov_srd/entry/x.cpp", "std::getenv(\"X\"); std::mutex m;\n"));
    CHECK_FALSE(
        bad("src/transport/x.cpp", "// no getenv(), no steady_clock::now()\nTime time_of(int tick);\n"));
    CHECK_FALSE(bad("src/mr/x.cpp", "std::mutex m;\n"));
}
