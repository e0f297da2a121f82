// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "doctor.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include <unistd.h>

#include <CLI/CLI.hpp>

#include "entry/values.hpp"
#include "findings.hpp"
#include "host_doctor.hpp"
#include "net/diagnosis.hpp"
#include "net/listener.hpp"
#include "net/measure.hpp"
#include "net/remote_listener.hpp"

namespace srd::tool {

namespace {

struct DoctorOptions {
    std::vector<std::string> hosts;
    std::string range;
    ListenOptions listen;
    std::uint32_t seconds = 0;
    bool listens = false;
    bool until_eof = false;
    bool by_ssh = false;
    bool by_srun = false;
    bool as_json = false;
};

int show(const Findings& findings, bool as_json)
{
    if (as_json) {
        std::cout << findings.json().dump(2) << '\n';
    } else {
        findings.print(std::cout);
    }
    return findings.status();
}

/// With a doctor there that is started for it.
void examine_with_remote(SocketAddress target, RemoteOptions remote, Findings& findings)
{
    const PortRange range = remote.range;
    RemoteListener listener(std::move(remote));
    if (listener.start(findings)) {
        target.set_port(listener.port());
        Observations seen = measure(target, range);
        seen.started = true;
        listener.end(findings);
        diagnose(seen, findings);
    }
}

void examine_network(const std::string& name, const DoctorOptions& options, Findings& findings)
{
    const PortRange& range = options.listen.range;
    // USER@ is for ssh alone.
    const std::size_t host = options.by_ssh ? name.rfind('@') + 1 : 0;
    std::string error;
    const auto target = resolve_host(name.substr(host), range.empty() ? doctor_port : range.first, error);
    if (!target || name.starts_with('-')) {
        findings.broken("name", name + ": " + (target ? "no host is called so" : error),
                        "give a name that this host knows (getent hosts NAME), or an address");
        return;
    }
    if (!options.by_ssh && !options.by_srun) {
        diagnose(measure(*target, range), findings);
        return;
    }
    const HostName parts = *split_host(name.substr(host));
    examine_with_remote(*target,
                        {options.by_ssh ? Starter::ssh : Starter::srun, name.substr(0, host) + parts.host,
                         parts.service.empty() ? std::uint16_t{0} : target->port(), range,
                         std::filesystem::read_symlink("/proc/self/exe")},
                        findings);
}

int examine_networks(const DoctorOptions& options)
{
    Findings all;
    for (const std::string& host : options.hosts) {
        Findings found;
        examine_network(host, options, found);
        all.add(found, options.hosts.size() == 1 ? "" : host + ": ");
    }
    return show(all, options.as_json);
}

int listen(const DoctorOptions& options)
{
    const auto tell = [](const std::string& text) { std::cout << text << std::endl; };
    Listener listener(tell);
    std::string error;
    if (listener.open(options.listen, error) != 0) {
        std::cerr << "srd doctor: " << error << '\n';
        return 2;
    }
    tell(std::string(listening_words) + std::to_string(listener.port()) +
         "; on the other host: srd doctor THIS_HOST" +
         (listener.port() == doctor_port ? "" : ":" + std::to_string(listener.port())));
    listener.run(options.seconds == 0 ? Clock::time_point::max()
                                      : Clock::now() + std::chrono::seconds(options.seconds),
                 options.until_eof ? STDIN_FILENO : -1);
    return 0;
}

int doctor(DoctorOptions& options)
{
    if (options.hosts.empty() && !options.listens) {
        Findings findings; // what the provider says of a wrong range among them
        examine_host(findings);
        return show(findings, options.as_json);
    }
    if (!options.range.empty()) {
        const auto range = to_ports(options.range);
        if (!range) {
            std::cerr << "srd doctor: the range of ports is \"" << options.range << "\": give LO-HI\n";
            return 2;
        }
        options.listen.range = *range;
    }
    return options.listens ? listen(options) : examine_networks(options);
}

} // namespace

void add_doctor(CLI::App& app, int& status)
{
    static DoctorOptions options;
    CLI::App* const command =
        app.add_subcommand("doctor", "Look for what keeps srd from working, or slows it down");
    CLI::Option* const host = command->add_option(
        "HOST", options.hosts,
        "Examine the network to HOST[:PORT], where srd doctor --listen runs, and not this host");
    CLI::Option* const ssh =
        command
            ->add_flag("--ssh", options.by_ssh, "Have ssh run srd doctor --listen on [USER@]HOST meanwhile")
            ->needs(host);
    command->add_flag("--srun", options.by_srun, "Have Slurm's srun do so")->needs(host)->excludes(ssh);
    CLI::Option* const listens =
        command->add_flag("--listen", options.listens, "Answer the doctor of another host")->excludes(host);
    command->add_option("--port", options.listen.port, "Listen at this port")->needs(listens);
    command->add_option("--seconds", options.seconds, "Listen no longer than this")->needs(listens);
    command->add_flag("--until-eof", options.until_eof, "Listen no longer than stdin is open")
        ->needs(listens);
    command->add_option("--ports", options.range, "The range of ports that srd uses, LO-HI")
        ->envname("FI_SRD_PORT_RANGE");
    command->add_flag("--json", options.as_json, "Print JSON");
    command->footer("Exit status: 0 all is well, 1 warnings, 2 something is broken.");
    command->callback([&status] { status = doctor(options); });
}

} // namespace srd::tool
