// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd doctor of this host: each fault that can be made here is found, and nothing is found where none is.
#include <string>

#include "tool/command.hpp"

#include "host_doctor.hpp"
#include "support/catch.hpp"

using namespace tool_test;

namespace {

const std::string with_provider = "export FI_PROVIDER_PATH=" SRD_PROVIDER_FOLDER "; ";

nlohmann::json examine(const std::string& before, int& status)
{
    const Outcome outcome = run_srd("doctor --json", before);
    INFO(outcome.output);
    status = outcome.status;
    const nlohmann::json result = nlohmann::json::parse(outcome.output, nullptr, false);
    REQUIRE(result.is_object());
    CHECK(result["status"] == status);
    for (const auto& finding : result["findings"]) { // whatever is bad has a cure
        CHECK((finding["level"] == "ok" || !finding["cure"].get<std::string>().empty()));
        CHECK_FALSE(finding["text"].get<std::string>().empty());
    }
    return result;
}

/// A mount or network namespace for the rest of the command, loudly not where that is not allowed.
bool can_unshare(const std::string& options)
{
    if (run_shell("unshare " + options + " true 2>&1").status == 0) {
        return true;
    }
    WARN("SKIPPED: no right to make namespaces (unshare " << options << ")");
    return false;
}

} // namespace

TEST_CASE("doctor: where srd is found and opens, that is said with versions and places")
{
    int status = 0;
    const auto result = examine(with_provider, status);
    CHECK(level_of(result, "libfabric", "libfabric.so") == "ok");
    CHECK(level_of(result, "provider", SRD_PROVIDER_FOLDER "/libsrd-fi.so") == "ok");
    CHECK(level_of(result, "endpoint") == "ok");
    CHECK(level_of(result, "srd says").empty());
    CHECK(status < 2);
}

TEST_CASE("doctor: a provider that libfabric does not find is broken, and its place is told")
{
    int status = 0;
    const auto result = examine("export FI_PROVIDER_PATH=/nonexistent; ", status);
    CHECK(level_of(result, "provider", "does not find") == "broken");
    CHECK(cure_of(result, "provider") == "export FI_PROVIDER_PATH=" SRD_PROVIDER_FOLDER);
    CHECK(status == 2);
}

TEST_CASE("doctor: wrong and unknown variables are told in the provider's words")
{
    int status = 0;
    auto result = examine(with_provider + "FI_SRD_WINDOW=8T", status);
    CHECK(level_of(result, "srd says", "FI_SRD_WINDOW=\"8T\" is not allowed") == "broken");
    CHECK(level_of(result, "provider") == "broken");
    CHECK(status == 2);
    result = examine(with_provider + "FI_SRD_PAHTS=4", status);
    CHECK(level_of(result, "srd says", "FI_SRD_PAHTS is no variable of srd") == "warning");
    CHECK(status == 1);
}

TEST_CASE("doctor: settings that keep srd out are named")
{
    int status = 0;
    for (const char* const value : {"tcp", "^srd", "tcp,udp"}) {
        INFO(value);
        CHECK(level_of(examine(with_provider + "FI_PROVIDER='" + value + "'", status), "FI_PROVIDER") ==
              "warning");
    }
    for (const char* const value : {"srd", "^tcp", "", "tcp,srd"}) {
        INFO(value);
        CHECK(
            level_of(examine(with_provider + "FI_PROVIDER='" + value + "'", status), "FI_PROVIDER").empty());
    }
    const std::string good = "OMPI_MCA_mtl=ofi OMPI_MCA_pml=cm ";
    CHECK(level_of(examine(with_provider + good, status), "Open MPI").empty());
    for (const char* const bad : {"OMPI_MCA_mtl=^ofi OMPI_MCA_pml=cm", "OMPI_MCA_mtl=ofi OMPI_MCA_pml=ob1"}) {
        INFO(bad);
        CHECK(level_of(examine(with_provider + bad, status), "Open MPI") == "warning");
    }
    CHECK(level_of(examine(with_provider + good + "I_MPI_FABRICS=shm", status), "Intel MPI") == "warning");
    CHECK(level_of(examine(with_provider + good + "MPIR_CVAR_CH4_NETMOD=ucx", status), "MPICH") == "warning");
}

TEST_CASE("doctor: files of Open MPI are read as it reads them")
{
    using srd::tool::mca_setting;
    CHECK(mca_setting("mtl = ^ofi\n", "mtl") == "^ofi");
    CHECK(mca_setting("# mtl = ^ofi\nmtl=ofi # mine\n", "mtl") == "ofi");
    CHECK(mca_setting("btl = x\nmtl_base_verbose = 3\n", "mtl").empty());
    CHECK(mca_setting("", "mtl").empty());
}

TEST_CASE("doctor: limits of the host are found")
{
    int status = 0;
    CHECK(level_of(examine("ulimit -n 100; " + with_provider, status), "open files", "100") == "warning");
    if (can_unshare("-n")) {
        const auto result = examine(with_provider + "unshare -n", status);
        CHECK(level_of(result, "interfaces", "only loopback") == "broken");
        CHECK(status == 2);
    }
    if (can_unshare("-m")) {
        const std::string shrink =
            "unshare -m sh -c 'mount -t tmpfs -o size=64k none /dev/shm && exec \"$@\"' x";
        CHECK(level_of(examine(with_provider + shrink, status), "/dev/shm", "are free; ") == "warning");
    }
}

TEST_CASE("doctor: people get a table, and wrong arguments status 2")
{
    const Outcome outcome = run_srd("doctor", with_provider);
    CHECK(outcome.output.find("ok       provider ") != std::string::npos);
    CHECK(run_srd("doctor --nonsense 2>&1").status == 2);
    CHECK(run_srd("2>&1").status == 2);
    CHECK(run_srd("--help").status == 0);
    CHECK(run_srd("--version").output.find('.') != std::string::npos);
}
