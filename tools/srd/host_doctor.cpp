// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "host_doctor.hpp"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string_view>
#include <thread>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <srd/file_descriptor.hpp>

#include "io/core/io_options.hpp"
#include "io/core/socket_options.hpp"
#include "io/host/interfaces.hpp"
#include "io/raw/capabilities.hpp"
#ifdef SRD_HAVE_VERBS
#include "io/verbs/verbs_device.hpp"
#endif

#include "provider_check.hpp"

namespace srd::tool {

namespace {

/// The first word of a file; empty: it is not there.
std::string word_of(const std::string& file)
{
    std::ifstream in(file);
    std::string word;
    in >> word;
    return word;
}

std::string mib(std::uint64_t bytes)
{
    return std::to_string(bytes >> 20) + " MiB";
}

void check_interfaces(Findings& findings)
{
    std::map<std::string, std::string> lines; // by name
    for (const NetInterface& entry : list_interfaces()) {
        if (!entry.is_up || entry.is_loopback) {
            continue;
        }
        std::string& line = lines[entry.name];
        if (line.empty()) {
            line = "MTU " + std::to_string(entry.mtu) + (entry.is_running ? "" : ", no carrier") +
                   (entry.speed_mbps == 0 ? "" : ", " + std::to_string(entry.speed_mbps) + " Mbit/s") +
                   (entry.driver.empty() ? "" : ", " + entry.driver);
        }
        line += ", " + entry.address.host_text();
    }
    for (const auto& [name, line] : lines) {
        findings.ok("interface " + name, line);
    }
    if (lines.empty()) {
        findings.broken("interfaces", "only loopback is up: other hosts cannot be reached",
                        "bring an interface up and give it an address (ip link, ip address)");
    }
}

void check_buffer(Findings& findings, const char* direction, int name, int force_name, const char* sysctl)
{
    const std::uint32_t wanted = IoOptions{}.socket_buffer;
    const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const std::uint32_t granted = set_socket_buffer(socket.get(), name, force_name, wanted);
    const std::string topic = std::string(direction) + " buffer";
    if (granted >= wanted) {
        findings.ok(topic, "the kernel gives the " + std::to_string(wanted) + " bytes that srd asks for");
    } else {
        findings.warning(topic,
                         "the kernel gives " + std::to_string(granted) + " of the " + std::to_string(wanted) +
                             " bytes that srd asks for: bursts are lost and repeated",
                         std::string("sysctl -w ") + sysctl + '=' + std::to_string(wanted));
    }
}

void check_limits(Findings& findings, bool has_rdma)
{
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    constexpr rlim_t few = 256; // 64 paths, some for each endpoint, and MPI's own
    if (files.rlim_cur < few) {
        findings.warning("open files",
                         "the limit is " + std::to_string(files.rlim_cur) + "; 64 network paths take 64",
                         "ulimit -n 1024");
    } else {
        findings.ok("open files", "the limit is " + std::to_string(files.rlim_cur));
    }
    rlimit locked{};
    ::getrlimit(RLIMIT_MEMLOCK, &locked);
    const std::string limit = locked.rlim_cur == RLIM_INFINITY ? "unlimited" : mib(locked.rlim_cur);
    constexpr rlim_t verbs_needs = 16U << 20;
    if (has_rdma && locked.rlim_cur < verbs_needs) {
        findings.warning(
            "locked memory", "the limit is " + limit + ": too little for the backend verbs",
            "ulimit -l unlimited (memlock in /etc/security/limits.conf, LimitMEMLOCK= of slurmd)");
    } else {
        findings.ok("locked memory",
                    "the limit is " + limit + (has_rdma ? "" : "; only the backend verbs needs it"));
    }
}

void check_shared_memory(Findings& findings)
{
    struct statvfs size {};
    const std::string cure =
        "mount a tmpfs there, for everybody to write (containers: --shm-size=1g, --ipc=host)";
    const std::string lack = "; ranks on one host then talk through sockets, at a fraction of the speed";
    if (::statvfs("/dev/shm", &size) != 0 || ::access("/dev/shm", W_OK | X_OK) != 0) {
        findings.warning("/dev/shm", std::string("cannot be used (") + std::strerror(errno) + ')' + lack,
                         cure);
        return;
    }
    const std::uint64_t free_bytes = std::uint64_t{size.f_bavail} * size.f_frsize;
    const std::string text =
        mib(free_bytes) + " of " + mib(std::uint64_t{size.f_blocks} * size.f_frsize) + " are free";
    const unsigned ranks = std::max(1U, std::thread::hardware_concurrency());
    const std::uint64_t wanted = ranks * ((520ULL << 10) + ranks * 4096ULL); // a rank per core, all to all
    if (free_bytes < wanted) {
        findings.warning(
            "/dev/shm",
            text + "; " + std::to_string(ranks) + " ranks need " + mib(wanted + (1U << 20) - 1) + lack, cure);
    } else {
        findings.ok("/dev/shm", text);
    }
}

/// Whether a process may read the memory of another one of its user, which is no descendant of it.
void check_memory_access(Findings& findings)
{
    const std::string scope = word_of("/proc/sys/kernel/yama/ptrace_scope");
    const std::string setting = scope.empty() ? "" : " (kernel.yama.ptrace_scope is " + scope + ")";
    volatile char value = 'x';
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child == 0) {
        char copy = 0;
        const iovec to{&copy, 1};
        const iovec from{const_cast<char*>(&value), 1};
        ::_exit(::process_vm_readv(parent, &to, 1, &from, 1, 0) == 1 && copy == 'x' ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        findings.ok("memory access", "processes of one user read each other's memory" + setting +
                                         ": long messages on one host are copied once");
    } else {
        findings.warning("memory access",
                         "processes may not read each other's memory" + setting +
                             ": long messages on one host are copied twice",
                         "sysctl -w kernel.yama.ptrace_scope=0 (containers: a seccomp profile that allows "
                         "process_vm_readv, and one PID namespace)");
    }
}

void check_backends(Findings& findings)
{
    for (const auto& [name, needed] :
         {std::pair("packet", packet_capabilities()), std::pair("xdp", xdp_capabilities())}) {
        const std::string missing = missing_capabilities(needed);
        findings.ok(std::string("backend ") + name, missing.empty()
                                                        ? "this process has the capabilities for it"
                                                        : "optional, not usable: " + missing);
    }
}

bool check_rdma(Findings& findings)
{
    std::error_code error;
    std::string devices;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/class/infiniband", error)) {
        devices += ' ' + entry.path().filename().string();
    }
    if (devices.empty()) {
        findings.ok("RDMA devices", "none; only the backend verbs needs them");
        return false;
    }
    findings.ok("RDMA devices", devices.substr(1));
#ifdef SRD_HAVE_VERBS
    for (const NetInterface& entry : list_interfaces()) {
        VerbsPort port;
        std::string reason;
        if (entry.is_up && !entry.is_loopback && find_verbs_port(entry.address, {}, port, reason)) {
            findings.ok("backend verbs", entry.address.host_text() + ": " + reason);
        }
    }
#endif
    return true;
}

void check_tracking(Findings& findings)
{
    const std::string folder = "/proc/sys/net/netfilter/nf_conntrack_";
    const std::uint64_t most = std::strtoull(word_of(folder + "max").c_str(), nullptr, 10);
    const std::uint64_t now = std::strtoull(word_of(folder + "count").c_str(), nullptr, 10);
    if (most == 0) {
        return;
    }
    const std::string text = std::to_string(now) + " of " + std::to_string(most) + " entries are in use";
    if (now * 10 >= most * 8) {
        findings.warning("connection tracking",
                         text + "; when all are, the kernel drops packets (64 flows per peer)",
                         "leave srd's ports out of it (notrack, docs/firewalls.md), or sysctl -w "
                         "net.netfilter.nf_conntrack_max=1048576");
    } else {
        findings.ok("connection tracking", text);
    }
}

/// Whether a list of components, as MPI libraries take them, leaves `wanted` out.
bool excludes(const std::string& list, std::string_view wanted)
{
    if (list.empty()) {
        return false;
    }
    const bool all_but = list.front() == '^';
    std::istringstream words(all_but ? list.substr(1) : list);
    bool named = false;
    for (std::string word; std::getline(words, word, ',');) {
        named = named || word == wanted;
    }
    return named == all_but;
}

void check_open_mpi(Findings& findings)
{
    const char* const home = std::getenv("HOME");
    const std::vector<std::string> files{std::string(home == nullptr ? "" : home) +
                                             "/.openmpi/mca-params.conf",
                                         "/etc/openmpi/openmpi-mca-params.conf"};
    struct Component {
        const char* framework;
        const char* wanted;
    };
    for (const Component& each : {Component{"mtl", "ofi"}, Component{"pml", "cm"}}) {
        const std::string variable = std::string("OMPI_MCA_") + each.framework;
        std::string value;
        std::string place;
        if (const char* const set = std::getenv(variable.c_str()); set != nullptr) {
            value = set;
            place = variable;
        }
        for (const std::string& file : files) {
            std::ifstream in(file);
            const std::string text{std::istreambuf_iterator<char>(in), {}};
            if (const std::string found = mca_setting(text, each.framework);
                value.empty() && !found.empty()) {
                value = found;
                place = file;
            }
        }
        if (excludes(value, each.wanted)) {
            place.append(" sets ").append(each.framework).append(" = ").append(value);
            findings.warning("Open MPI", place + ": Open MPI then does not use libfabric for messages",
                             "mpirun --mca pml cm --mca mtl ofi, or export OMPI_MCA_pml=cm OMPI_MCA_mtl=ofi");
        }
    }
}

void check_other_mpi(Findings& findings)
{
    struct Rule {
        const char* variable;
        const char* part; ///< that its value must have
        const char* library;
        const char* cure;
    };
    for (const Rule& rule :
         {Rule{"I_MPI_FABRICS", "ofi", "Intel MPI", "export I_MPI_FABRICS=shm:ofi"},
          Rule{"I_MPI_OFI_PROVIDER", "srd", "Intel MPI", "export I_MPI_OFI_PROVIDER=srd"},
          Rule{"MPIR_CVAR_CH4_NETMOD", "ofi", "MPICH", "export MPIR_CVAR_CH4_NETMOD=ofi"},
          Rule{"MPIR_CVAR_OFI_USE_PROVIDER", "srd", "MPICH", "export MPIR_CVAR_OFI_USE_PROVIDER=srd"}}) {
        const char* const value = std::getenv(rule.variable);
        if (value != nullptr && *value != 0 && std::strstr(value, rule.part) == nullptr) {
            findings.warning(rule.library,
                             std::string(rule.variable) + '=' + value + ": it then does not use srd",
                             rule.cure);
        }
    }
}

} // namespace

std::string mca_setting(const std::string& file_text, const std::string& name)
{
    std::istringstream lines(file_text);
    std::string value;
    for (std::string line; std::getline(lines, line);) {
        line = line.substr(0, line.find('#'));
        const std::size_t equals = line.find('=');
        std::string key;
        std::istringstream(line.substr(0, equals)) >> key;
        if (equals != std::string::npos && key == name) {
            std::istringstream(line.substr(equals + 1)) >> value;
        }
    }
    return value;
}

void examine_host(Findings& findings)
{
    check_provider(findings);
    check_interfaces(findings);
    check_buffer(findings, "receive", SO_RCVBUF, SO_RCVBUFFORCE, "net.core.rmem_max");
    check_buffer(findings, "send", SO_SNDBUF, SO_SNDBUFFORCE, "net.core.wmem_max");
    check_limits(findings, check_rdma(findings));
    check_shared_memory(findings);
    check_memory_access(findings);
    check_backends(findings);
    check_tracking(findings);
    check_open_mpi(findings);
    check_other_mpi(findings);
}

} // namespace srd::tool
