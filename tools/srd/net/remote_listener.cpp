// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "net/remote_listener.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "net/listener.hpp"

namespace srd::tool {

namespace {

constexpr const char* longest_life = "120"; // seconds; an examination takes less than 20

const char* name_of(Starter starter) noexcept
{
    return starter == Starter::ssh ? "ssh" : "srun";
}

/// A word of a command line that the other host's shell reads.
std::string quoted(const std::string& word)
{
    constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,+";
    if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) {
        return word;
    }
    std::string text = "'";
    for (const char each : word) {
        text += each == '\'' ? std::string("'\\''") : std::string(1, each);
    }
    return text + '\'';
}

/// The last line of a text that has letters, fit to be shown.
std::string last_line_of(std::string text)
{
    const std::size_t end = text.find_last_not_of(" \r\n");
    text.erase(end == std::string::npos ? 0 : end + 1);
    text.erase(0, text.rfind('\n') + 1);
    std::replace_if(
        text.begin(), text.end(), [](char each) { return each < ' ' || each > '~'; }, '?');
    return text;
}

} // namespace

std::vector<std::string> start_command(const RemoteOptions& options, bool in_job)
{
    std::vector<std::string> there{options.program, "doctor",    "--listen",
                                   "--until-eof",   "--seconds", longest_life};
    if (options.port != 0) {
        there.insert(there.end(), {"--port", std::to_string(options.port)});
    }
    if (!options.range.empty()) {
        there.insert(there.end(), {"--ports", options.range.text()});
    }
    if (options.starter == Starter::ssh) { // it joins words with spaces, for a shell
        std::string line;
        for (const std::string& word : there) {
            line += line.empty() ? "" : " ";
            line += quoted(word);
        }
        return {"ssh", "-T", "-o", "BatchMode=yes", options.host, line};
    }
    std::vector<std::string> command{"srun", "-N1", "-n1", "-w", options.host};
    if (in_job) {
        command.emplace_back("--overlap");
    }
    command.insert(command.end(), there.begin(), there.end());
    return command;
}

bool RemoteListener::start(Findings& findings, std::chrono::seconds patience)
{
    const int error = child_.start(start_command(options_, std::getenv("SLURM_JOB_ID") != nullptr));
    if (error != 0) {
        const std::string name = name_of(options_.starter);
        findings.broken(
            topic(),
            error == ENOENT ? name + " is not installed on this host"
                            : name + " cannot be run: " + std::strerror(error),
            "install it (Debian: " +
                std::string(options_.starter == Starter::ssh ? "openssh-client" : "slurm-client") +
                "), or run srd doctor --listen on " + options_.host + " by hand");
        return false;
    }
    const Clock::time_point end = Clock::now() + patience;
    while (Clock::now() < end) {
        const bool runs = child_.attend(milliseconds(50));
        if (hear_port()) {
            findings.ok(topic(), "has started the doctor there, at port " + std::to_string(port_));
            return true;
        }
        if (!runs) {
            explain_end(findings);
            return false;
        }
    }
    explain_silence(findings, patience);
    return false;
}

void RemoteListener::end(Findings& findings)
{
    if (!child_.attend(milliseconds(0))) {
        findings.broken(topic(),
                        with_last_line("has ended with status " + std::to_string(child_.status()) +
                                       " while the network was examined"),
                        "try again; if that does not help, run srd doctor --listen on " + options_.host +
                            " by hand");
        return;
    }
    child_.end();
}

std::string RemoteListener::topic() const
{
    return std::string(name_of(options_.starter)) + ' ' + options_.host;
}

/// From the listener's first line. Before it there may be what a shell's start-up files print.
bool RemoteListener::hear_port()
{
    const std::string& text = child_.output();
    for (std::size_t begin = 0, end = 0; (end = text.find('\n', begin)) != std::string::npos;
         begin = end + 1) {
        if (text.compare(begin, listening_words.size(), listening_words) == 0) {
            std::from_chars(text.data() + begin + listening_words.size(), text.data() + end, port_);
        }
    }
    return port_ != 0;
}

std::string RemoteListener::with_last_line(const std::string& text) const
{
    const std::string line = last_line_of(child_.errors());
    return line.empty() ? text : text + ": " + line;
}

bool RemoteListener::has_said(const std::string& words) const
{
    return child_.errors().find(words) != std::string::npos;
}

void RemoteListener::explain_end(Findings& findings) const
{
    const std::string& host = options_.host;
    const std::string& said = child_.errors();
    const bool by_ssh = options_.starter == Starter::ssh;
    const std::string status = std::to_string(child_.status());
    std::string text, cure;
    if (const std::size_t own = said.find("srd doctor: "); own != std::string::npos) {
        text = "the doctor there says: " + last_line_of(said.substr(own, said.find('\n', own) - own));
        cure = "if a doctor runs there already, srd doctor " + host.substr(host.rfind('@') + 1) +
               " asks it; else name a port that is free: " + host + ":PORT";
    } else if (has_said("--until-eof")) {
        text = "srd there is of a version that cannot be started from here";
        cure = "install the same version on all hosts (docs/packages.md)";
    } else if (child_.status() == 127 || child_.status() == 126 || has_said("execve()")) {
        text = with_last_line(options_.program + " cannot be run there");
        cure = "install srd there at the same path (docs/packages.md), or run it from a folder that both "
               "hosts see";
    } else if (by_ssh && has_said("Host key verification failed")) {
        text = with_last_line("ssh does not know that host's key");
        cure = "run ssh " + host + " once by hand, compare the key that it shows, and accept it";
    } else if (by_ssh && has_said("Permission denied")) {
        text = with_last_line("ssh is not let in without a question");
        cure = "ssh-copy-id " + host +
               ", or ssh-add if the key has a passphrase; another user or key belongs in ~/.ssh/config";
    } else if (by_ssh) {
        text = with_last_line("ssh has ended with status " + status);
        cure = "ssh " + host + " true must work without a question; what it needs belongs in ~/.ssh/config";
    } else {
        text = with_last_line("srun has ended with status " + status);
        cure = "srun -N1 -n1 -w " + host + " true must work: sinfo tells whether the host is up";
    }
    findings.broken(topic(), text, cure);
}

void RemoteListener::explain_silence(Findings& findings, std::chrono::seconds patience) const
{
    const std::string& host = options_.host;
    findings.broken(
        topic(),
        with_last_line("no doctor has begun there within " + std::to_string(patience.count()) + " s"),
        options_.starter == Starter::ssh
            ? "ssh " + host + " true must work: the host may be down, or a firewall drops ssh"
            : "other jobs may have the host (squeue -w " + host +
                  "): ask inside a job that has it, or SLURM_JOB_ID=JOB srd doctor --srun " + host);
}

} // namespace srd::tool
