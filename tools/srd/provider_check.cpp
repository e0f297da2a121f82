// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// In a child process: a library that hangs, crashes or writes to stderr is a finding, too. libfabric is
// loaded, not linked, because that it is missing is one of the findings.
#include "provider_check.hpp"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include "fabric_library.hpp"

namespace srd::tool {

namespace {

constexpr unsigned patience_seconds = 15;

std::string version_text(std::uint32_t version)
{
    return std::to_string(FI_MAJOR(version)) + '.' + std::to_string(FI_MINOR(version));
}

/// Path of the file whose name contains `part` that is mapped into this process; empty: none.
std::string mapped_file(std::string_view part)
{
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        if (line.find(part) != std::string::npos) {
            return line.substr(line.find('/'));
        }
    }
    return {};
}

/// Opens an endpoint and closes it. 0, or the error of `stage`.
int open_endpoint(const Libfabric& library, fi_info* info, std::string& stage)
{
    fid_fabric* fabric = nullptr;
    fid_domain* domain = nullptr;
    fid_av* av = nullptr;
    fid_cq* cq = nullptr;
    fid_ep* endpoint = nullptr;
    fi_av_attr av_attr{};
    fi_cq_attr cq_attr{};
    cq_attr.format = FI_CQ_FORMAT_TAGGED;
    const std::vector<std::pair<const char*, std::function<int()>>> stages{
        {"fi_fabric", [&] { return library.fabric(info->fabric_attr, &fabric, nullptr); }},
        {"fi_domain", [&] { return ::fi_domain(fabric, info, &domain, nullptr); }},
        {"fi_av_open", [&] { return ::fi_av_open(domain, &av_attr, &av, nullptr); }},
        {"fi_cq_open", [&] { return ::fi_cq_open(domain, &cq_attr, &cq, nullptr); }},
        {"fi_endpoint", [&] { return ::fi_endpoint(domain, info, &endpoint, nullptr); }},
        {"fi_ep_bind", [&] { return ::fi_ep_bind(endpoint, &av->fid, 0); }},
        {"fi_ep_bind", [&] { return ::fi_ep_bind(endpoint, &cq->fid, FI_TRANSMIT | FI_RECV); }},
        {"fi_enable", [&] { return ::fi_enable(endpoint); }},
    };
    int code = 0;
    for (const auto& [name, call] : stages) {
        code = call();
        if (code != 0) {
            stage = name;
            break;
        }
    }
    const auto close = [](auto* object) {
        if (object != nullptr) {
            ::fi_close(&object->fid);
        }
    };
    close(endpoint);
    close(cq);
    close(av);
    close(domain);
    close(fabric);
    return code;
}

/// The child's work.
nlohmann::json look()
{
    Libfabric library;
    std::string error;
    if (!library.load(error)) {
        return {{"error", error}};
    }
    nlohmann::json result{{"libfabric", version_text(library.version())},
                          {"file", mapped_file("libfabric.so")}};
    fi_info* const hints = library.dupinfo(nullptr);
    fi_info* list = nullptr;
    hints->fabric_attr->prov_name = ::strdup("srd");
    hints->ep_attr->type = FI_EP_RDM;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    result["code"] = library.getinfo(FI_VERSION(1, 9), nullptr, nullptr, 0, hints, &list);
    result["provider"] = mapped_file("libsrd-fi.so");
    result["domains"] = nlohmann::json::array();
    if (list != nullptr) {
        result["version"] = version_text(list->fabric_attr->prov_version);
        for (const fi_info* info = list; info != nullptr; info = info->next) {
            result["domains"].push_back(info->domain_attr->name);
        }
        std::string stage;
        result["open_code"] = open_endpoint(library, list, stage);
        result["open_stage"] = stage;
        library.freeinfo(list);
    }
    library.freeinfo(hints);
    return result;
}

std::string read_all(int fd)
{
    std::string all;
    std::array<char, 4096> piece{};
    for (;;) {
        const ssize_t count = ::read(fd, piece.data(), piece.size());
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            return all;
        }
        all.append(piece.data(), static_cast<std::size_t>(count));
    }
}

/// What `work` returns in a process of its own, with what was written to stderr as "said". "error": why there
/// is nothing.
nlohmann::json in_child(nlohmann::json (*work)())
{
    std::array<int, 2> result{};
    std::array<int, 2> said{};
    if (::pipe(result.data()) != 0 || ::pipe(said.data()) != 0) {
        return {{"error", std::strerror(errno)}};
    }
    const pid_t child = ::fork();
    if (child < 0) {
        return {{"error", std::strerror(errno)}};
    }
    if (child == 0) {
        ::dup2(said[1], STDERR_FILENO);
        for (const int fd : {result[0], said[0], said[1]}) {
            ::close(fd);
        }
        ::alarm(patience_seconds);
        ::setenv("FI_PROVIDER", "srd", 1);
        ::unsetenv("FI_SRD_QUIET");
        ::unsetenv("FI_LOG_LEVEL");
        ::unsetenv("FI_SRD_STATS");
        const std::string text = work().dump();
        const bool done = ::write(result[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
        ::_exit(done ? 0 : 1);
    }
    ::close(result[1]);
    ::close(said[1]);
    const std::string text = read_all(result[0]);
    const std::string words = read_all(said[0]);
    ::close(result[0]);
    ::close(said[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    nlohmann::json answer = nlohmann::json::parse(text, nullptr, false);
    if (!answer.is_object()) {
        answer = {{"error", WIFSIGNALED(status)
                                ? "loading it ended with signal " + std::to_string(WTERMSIG(status))
                                : std::string("no answer")}};
    }
    answer["said"] = words;
    return answer;
}

/// Where this program was built or installed together with the provider; empty: nowhere known.
std::string provider_nearby()
{
    std::error_code error;
    const std::filesystem::path program =
        std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
    for (const std::filesystem::path& folder :
         {program / "../lib", program / ".." / SRD_PROVIDER_LIBDIR, std::filesystem::path(SRD_PROVIDER_DIR),
          program / ".." / SRD_PROVIDER_DIR}) {
        if (std::filesystem::exists(folder / "libsrd-fi.so", error)) {
            return std::filesystem::weakly_canonical(folder, error).string();
        }
    }
    return {};
}

/// What the provider has said on stderr. `offered`: it runs all the same.
void relate(Findings& findings, const std::string& said, bool offered)
{
    std::string_view rest = said;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (const std::size_t text = line.find("]: ");
            line.starts_with("srd[") && text != std::string::npos) {
            line.remove_prefix(text + 3);
        }
        if (line.empty()) {
            continue;
        }
        const std::size_t semicolon = line.find("; ");
        const std::string cause(line.substr(0, semicolon));
        const std::string cure(semicolon == std::string_view::npos
                                   ? "FI_LOG_LEVEL=warn fi_info -p srd tells more"
                                   : line.substr(semicolon + 2));
        if (offered) {
            findings.warning("srd says", cause, cure);
        } else {
            findings.broken("srd says", cause, cure);
        }
    }
}

void check_choice(Findings& findings)
{
    const char* const setting = std::getenv("FI_PROVIDER");
    const std::string_view text = setting == nullptr ? "" : setting;
    const bool named = text.find("srd") != std::string_view::npos;
    if (text.starts_with('^') ? named : (!text.empty() && !named)) {
        findings.warning("FI_PROVIDER", "FI_PROVIDER=" + std::string(text) + " keeps srd out",
                         "export FI_PROVIDER=srd, or unset it");
    }
}

} // namespace

std::string libfabric_version()
{
    Libfabric library;
    std::string error;
    return library.load(error) ? version_text(library.version()) : std::string();
}

void check_provider(Findings& findings)
{
    const nlohmann::json seen = in_child(look);
    const std::string said = seen.value("said", "");
    if (!seen.contains("libfabric")) {
        findings.broken(
            "libfabric", "cannot be used: " + seen.value("error", ""),
            "install it (Debian: apt-get install libfabric1), or have LD_LIBRARY_PATH name its folder");
        return;
    }
    findings.ok("libfabric", seen.value("libfabric", "") + ", " + seen.value("file", ""));
    const int code = seen.value("code", 0);
    const std::string file = seen.value("provider", "");
    if (file.empty()) {
        const std::string nearby = provider_nearby();
        findings.broken("provider", "libfabric does not find libsrd-fi.so",
                        nearby.empty()
                            ? "install it (cmake --install), or have FI_PROVIDER_PATH name its folder"
                            : "export FI_PROVIDER_PATH=" + nearby);
    } else if (code != 0) {
        findings.broken("provider", file + " is loaded, and offers nothing (" + std::to_string(code) + ")",
                        "see what srd says");
    } else {
        std::string domains;
        for (const auto& name : seen["domains"]) {
            domains += ' ' + name.get<std::string>();
        }
        findings.ok("provider", "srd " + seen.value("version", "") + ", " + file + ", domains:" + domains);
        const int opened = seen.value("open_code", 0);
        if (opened != 0) {
            findings.broken("endpoint",
                            seen.value("open_stage", "") + " fails (" + std::to_string(opened) + ")",
                            "see what srd says");
        } else {
            findings.ok("endpoint", "one was opened and closed");
        }
    }
    relate(findings, said, code == 0 && seen.value("open_code", 0) == 0);
    check_choice(findings);
}

} // namespace srd::tool
