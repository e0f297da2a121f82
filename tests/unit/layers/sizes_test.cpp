// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What a reader can hold in mind: no file of more than 500 lines, no function of more than 70, no folder of
// more than 25 sources. The rules are shown to bite.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/source_tree.hpp"

namespace {

using namespace srd::test;

constexpr std::size_t most_lines = 500;
constexpr std::size_t most_function_lines = 70;
constexpr std::size_t most_files = 25;

std::vector<std::string> size_faults(const SourceFile& file)
{
    std::vector<std::string> faults;
    if (const std::size_t lines = lines_of(file.text); lines > most_lines) {
        faults.push_back(file.path + " has " + std::to_string(lines) + " lines");
    }
    for (const Function& function : functions_of(file.text)) {
        if (function.lines > most_function_lines) {
            faults.push_back(file.path + ":" + std::to_string(function.line) + ": a function of " +
                             std::to_string(function.lines) + " lines: " + function.head);
        }
    }
    return faults;
}

std::vector<std::string> folder_faults(const std::vector<SourceFile>& files)
{
    std::map<std::string, std::size_t> counts;
    for (const SourceFile& file : files) {
        ++counts[file.path.substr(0, file.path.rfind('/'))];
    }
    std::vector<std::string> faults;
    for (const auto& [folder, count] : counts) {
        if (count > most_files) {
            faults.push_back(folder + " has " + std::to_string(count) + " sources");
        }
    }
    return faults;
}

std::string repeated(const std::string& text, std::size_t times)
{
    std::string all;
    for (std::size_t i = 0; i < times; ++i) {
        all += text;
    }
    return all;
}

} // namespace

TEST_CASE("sizes: no file, function or folder is larger than a reader can hold in mind")
{
    const std::vector<SourceFile> files = source_files(SRD_SOURCE_DIR, {"include", "src", "tests", "tools"});
    REQUIRE(files.size() > 20);
    for (const SourceFile& file : files) {
        for (const std::string& fault : size_faults(file)) {
            FAIL_CHECK(fault);
        }
    }
    for (const std::string& fault : folder_faults(files)) {
        FAIL_CHECK(fault);
    }
}

TEST_CASE("sizes: the limits bite")
{
    const auto faults = [](const std::string& text) { return size_faults({"x.cpp", text}).size(); };
    CHECK(faults(repeated("int x;\n", most_lines)) == 0);
    CHECK(faults(repeated("int x;\n", most_lines + 1)) == 1);
    CHECK(faults("void f()\n{\n" + repeated("    g();\n", most_function_lines - 2) + "}\n") == 0);
    CHECK(faults("void f()\n{\n" + repeated("    g();\n", most_function_lines - 1) + "}\n") == 1);

    std::vector<SourceFile> files(most_files, {"a/x.cpp", ""});
    CHECK(folder_faults(files).empty());
    files.push_back({"a/b/x.cpp", ""});
    CHECK(folder_faults(files).empty());
    files.push_back({"a/y.cpp", ""});
    CHECK(folder_faults(files).size() == 1);
}

TEST_CASE("sizes: functions are found where they are")
{
    const auto heads = [](const std::string& text) {
        std::string all;
        for (const Function& function : functions_of(text)) {
            all += function.head + std::to_string(function.lines) + ";";
        }
        return all;
    };
    CHECK(heads("namespace a {\nint f(int x) {\n  if (x) { g(); }\n}\n}\n") == "int f(int x) 3;");
    CHECK(heads("struct A : B<int> { A() : a{1}, b(2) {\n} int c() const { return 1; } int a; };") ==
          "A() : a1;, b(2) 2;int c() const 1;");
    CHECK(heads("constexpr int t[] = { 1, 2 };\n// void f() {\nconst char* s = \"f() {\";\n").empty());
    CHECK(heads("#if A\nint f() {\n#else\n#define X {\n#endif\n  return '{';\n}\n") == "int f() 6;");
    CHECK(heads("const auto l = [](int a) { return a; };") == "const auto l = [](int a) 1;");
    CHECK(heads("auto s = R\"x(f() {)\")x\";\nlong n = 1'000; int f() {}") == "int f() 1;");
}
