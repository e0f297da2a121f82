// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd: what administrators and users ask of the provider, beside their programs.
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "findings.hpp"
#include "host_doctor.hpp"
#include "report.hpp"

namespace {

using namespace srd::tool;

int show(const Findings& findings, bool as_json)
{
    if (as_json) {
        std::cout << findings.json().dump(2) << '\n';
    } else {
        findings.print(std::cout);
    }
    return findings.status();
}

struct DoctorOptions {
    std::string host;
    bool as_json = false;
};

void add_doctor(CLI::App& app, int& status)
{
    static DoctorOptions options;
    CLI::App* const doctor =
        app.add_subcommand("doctor", "Look for what keeps srd from working, or slows it down");
    doctor->add_flag("--json", options.as_json, "Print JSON");
    doctor->footer("Exit status: 0 all is well, 1 warnings, 2 something is broken.");
    doctor->callback([&status] {
        Findings findings;
        examine_host(findings);
        status = show(findings, options.as_json);
    });
}

struct ReportOptions {
    std::vector<std::string> files;
    bool as_json = false;
};

int report(const ReportOptions& options)
{
    Report sums;
    for (const std::string& name : options.files) {
        std::ifstream in(name);
        if (!in) {
            std::cerr << "srd report: cannot read " << name << '\n';
            return 2;
        }
        sums.add(in);
    }
    if (options.as_json) {
        std::cout << sums.json().dump(2) << '\n';
    } else {
        sums.print(std::cout);
    }
    return sums.endpoints() == 0 ? 2 : sums.strange_lines() != 0 ? 1 : 0;
}

void add_report(CLI::App& app, int& status)
{
    static ReportOptions options;
    CLI::App* const command =
        app.add_subcommand("report", "Sum up the statistics that endpoints wrote (FI_SRD_STATS)");
    command->add_option("FILE", options.files, "Files that FI_SRD_STATS named")->required();
    command->add_flag("--json", options.as_json, "Print JSON");
    command->footer("Exit status: 0, 1 if lines were left out, 2 if there is nothing to sum up.");
    command->callback([&status] { status = report(options); });
}

} // namespace

int main(int argc, char** argv)
{
    CLI::App app("Tools for the libfabric provider srd");
    app.set_version_flag("--version", SRD_VERSION);
    app.require_subcommand(1);
    int status = 0;
    add_doctor(app, status);
    add_report(app, status);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const std::exception& error) {
        std::cerr << "srd: " << error.what() << '\n';
        return 2;
    }
    return status;
}
