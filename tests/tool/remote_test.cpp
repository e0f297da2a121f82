// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd doctor --ssh, --srun: what is run, and what is said where that does not work. ssh and srun are scripts
// here; in networks, and under Slurm: tests/net (doctor_hosts, slurm_jobs).
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <unistd.h>

#include "net/listener.hpp"
#include "net/remote_listener.hpp"
#include "support/catch.hpp"
#include "tool/command.hpp"

using namespace srd::tool;
using namespace tool_test;

namespace {

/// A folder with a program for PATH; what that program is called with is kept.
class Fake {
public:
    /// `acts`: shell, with the command line of the other host in $there.
    Fake(const std::string& name, const std::string& acts)
    {
        std::string pattern = (std::filesystem::temp_directory_path() / "srd-remote.XXXXXX").string();
        folder_ = ::mkdtemp(pattern.data());
        std::ofstream(folder_ + '/' + name)
            << "#!/bin/bash\nprintf '%s\\n' \"$@\" >>" << folder_ << "/called\n"
            << "for there in \"$@\"; do :; done\n"
            << acts << '\n';
        std::filesystem::permissions(folder_ + '/' + name, std::filesystem::perms::owner_all);
    }
    Fake(const Fake&) = delete;
    Fake& operator=(const Fake&) = delete;
    ~Fake() { std::filesystem::remove_all(folder_); }

    std::string path() const { return "PATH=" + folder_ + ":/usr/bin:/bin"; }
    std::string called() const
    {
        std::ifstream in(folder_ + "/called");
        return {std::istreambuf_iterator<char>(in), {}};
    }

private:
    std::string folder_;
};

/// `wanted`: the exit status; 0: or warnings, as on a host that is busy.
nlohmann::json examine(const std::string& arguments, const std::string& settings, int wanted)
{
    const Outcome outcome =
        run_srd("doctor --json " + arguments + " 2>&1", "unset FI_SRD_PORT_RANGE SLURM_JOB_ID; " + settings);
    INFO(outcome.output);
    CHECK((outcome.status == wanted || (wanted == 0 && outcome.status == 1)));
    const nlohmann::json result = nlohmann::json::parse(outcome.output, nullptr, false);
    REQUIRE(result.is_object());
    return result;
}

/// How many processes have all these words in their command line.
std::size_t running(const std::vector<std::string>& words)
{
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        std::ifstream in(entry.path() / "cmdline");
        const std::string line(std::istreambuf_iterator<char>(in), {});
        bool has_all = !line.empty();
        for (const std::string& word : words) {
            has_all = has_all && line.find(word) != std::string::npos;
        }
        count += has_all ? 1 : 0;
    }
    return count;
}

/// Until there are none, in 5 s.
bool are_gone(const std::vector<std::string>& words)
{
    for (int tries = 0; tries < 100 && running(words) != 0; ++tries) {
        ::usleep(50000);
    }
    return running(words) == 0;
}

} // namespace

TEST_CASE("remote: a shell splits what ssh is given into the words that were meant")
{
    const std::string program = "/a folder/it's $(touch /tmp/x) `x` \"y\" \\ *;&|<>!#~/srd";
    const auto command = start_command({Starter::ssh, "me@node2", 7500, {7000, 7199}, program}, true);
    REQUIRE(command.size() == 6);
    CHECK(std::vector<std::string>(command.begin(), command.end() - 1) ==
          std::vector<std::string>{"ssh", "-T", "-o", "BatchMode=yes", "me@node2"});
    CHECK(run_shell("printf '%s\\n' " + command.back()).output ==
          program + "\ndoctor\n--listen\n--until-eof\n--seconds\n120\n--port\n7500\n--ports\n7000-7199\n");
    // What is plain is left so, for people to read.
    CHECK(start_command({Starter::ssh, "node2", 0, {}, "/usr/bin/srd"}, false).back() ==
          "/usr/bin/srd doctor --listen --until-eof --seconds 120");
}

TEST_CASE("remote: srun gets words, and shares the allocation of the job that it runs in")
{
    const RemoteOptions options{Starter::srun, "node2", 0, {7000, 7199}, "/a folder/srd"};
    const std::vector<std::string> there{"/a folder/srd", "doctor", "--listen", "--until-eof",
                                         "--seconds",     "120",    "--ports",  "7000-7199"};
    for (const bool in_job : {false, true}) {
        std::vector<std::string> wanted{"srun", "-N1", "-n1", "-w", "node2"};
        if (in_job) {
            wanted.emplace_back("--overlap");
        }
        wanted.insert(wanted.end(), there.begin(), there.end());
        CHECK(start_command(options, in_job) == wanted);
    }
}

TEST_CASE("remote: the doctor is started, measured against where it says that it listens, and ended")
{
    // Its port is the first that is free; before its first line a shell may say something.
    Listener other([](const std::string&) {});
    std::string error;
    REQUIRE(other.open({21300, {}}, error) == 0);
    const Fake ssh("ssh", "echo Welcome; echo 'listening at nothing'; exec setsid -w sh -c \"$there\"");
    const auto result = examine("--ssh --ports 21300-21339 root@127.0.0.1", ssh.path(), 0);
    CHECK(level_of(result, "ssh root@127.0.0.1", "has started the doctor there, at port 21301") == "ok");
    CHECK(level_of(result, "UDP to 127.0.0.1") == "ok");
    CHECK(level_of(result, "versions") == "ok");
    CHECK(ssh.called().starts_with("-T\n-o\nBatchMode=yes\nroot@127.0.0.1\n/"));
    CHECK(running({"--until-eof", "21300-21339"}) == 0);
}

TEST_CASE("remote: srun is told of the job, and hands on ports")
{
    const Fake srun("srun", "shift 4; [ $1 != --overlap ] || shift; exec setsid -w \"$@\"");
    const auto result = examine("--srun 127.0.0.1:21340", "SLURM_JOB_ID=7 " + srun.path(), 0);
    CHECK(level_of(result, "srun 127.0.0.1", "at port 21340") == "ok");
    CHECK(srun.called().starts_with("-N1\n-n1\n-w\n127.0.0.1\n--overlap\n/"));
    CHECK(srun.called().ends_with("--port\n21340\n"));
    CHECK(running({"--until-eof", "21340"}) == 0);
}

TEST_CASE("remote: why it cannot be started is said, with a cure")
{
    struct Case {
        const char *name, *acts, *text, *cure;
    };
    for (const Case& each : std::vector<Case>{
             {"ssh", "echo 'me@host: Permission denied (publickey).' >&2; exit 255",
              "not let in without a question: me@host: Permission denied (publickey).",
              "ssh-copy-id 127.0.0.1"},
             {"ssh",
              "printf 'No ED25519 host key is known.\\r\\nHost key verification failed.\\r\\n' >&2; exit 255",
              "does not know that host's key: Host key verification failed.", "once by hand"},
             {"ssh", "echo 'ssh: connect to host x port 22: No route to host' >&2; exit 255",
              "status 255: ssh: connect to host x port 22: No route to host", "ssh 127.0.0.1 true"},
             {"ssh", "printf '\\033[31mred \\377\\n\\n' >&2; exit 255", "status 255: ?[31mred ?", "true"},
             {"ssh", "exit 3", "ssh has ended with status 3", "true"},
             {"ssh", "/nowhere/srd doctor; exit 127",
              "cannot be run there: ", "install srd there at the same path"},
             {"ssh", "echo 'The following argument was not expected: --until-eof' >&2; exit 2",
              "of a version", "same version"},
             {"srun", "echo 'slurmstepd: error: execve(): /x/srd: No such file or directory' >&2; exit 2",
              "cannot be run there: slurmstepd: error: execve()", "install srd there"},
             {"srun", "echo 'srun: error: Invalid node name specified' >&2; exit 1",
              "status 1: srun: error: Invalid node name specified", "sinfo"},
         }) {
        INFO(each.acts);
        const Fake fake(each.name, each.acts);
        const auto result = examine(std::string("--") + each.name + " 127.0.0.1", fake.path(), 2);
        CHECK(result["findings"].size() == 1);
        const std::string topic = std::string(each.name) + " 127.0.0.1";
        CHECK(level_of(result, topic, each.text) == "broken");
        CHECK(cure_of(result, topic).find(each.cure) != std::string::npos);
    }
    for (const std::string name : {"ssh", "srun"}) {
        const auto result = examine("--" + name + " 127.0.0.1", "PATH=/nowhere", 2);
        CHECK(level_of(result, name + " 127.0.0.1", name + " is not installed on this host") == "broken");
    }
}

TEST_CASE("remote: a port that is taken there is told in that doctor's words")
{
    Listener listener([](const std::string&) {});
    std::string error;
    REQUIRE(listener.open({21341, {}}, error) == 0);
    const Fake ssh("ssh", "exec sh -c \"$there\"");
    const auto result = examine("--ssh 127.0.0.1:21341", ssh.path(), 2);
    CHECK(level_of(result, "ssh 127.0.0.1",
                   "says: srd doctor: cannot listen at port 21341: Address already in use") == "broken");
    CHECK(cure_of(result, "ssh 127.0.0.1").find("HOST:PORT") == std::string::npos);
    CHECK(cure_of(result, "ssh 127.0.0.1").find("127.0.0.1:PORT") != std::string::npos);
}

TEST_CASE("remote: one that says nothing is waited for so long, and ended, though it resists")
{
    const Fake ssh("ssh", "trap '' TERM; echo 'job 5 queued' >&2; sleep 98.7654");
    const std::string before = std::getenv("PATH");
    ::setenv("PATH", ssh.path().substr(5).c_str(), 1);
    Findings findings;
    {
        RemoteListener listener({Starter::ssh, "node2", 0, {}, "/usr/bin/srd"});
        CHECK_FALSE(listener.start(findings, std::chrono::seconds(1)));
        CHECK(running({"sleep", "98.7654"}) == 1);
    }
    ::setenv("PATH", before.c_str(), 1);
    REQUIRE(findings.all().size() == 1);
    CHECK(findings.all()[0].text == "no doctor has begun there within 1 s: job 5 queued");
    CHECK(findings.status() == 2);
    CHECK(are_gone({"sleep", "98.7654"}));
}

TEST_CASE("remote: a starter that dies meanwhile is a finding, and its doctor ends")
{
    const Fake ssh("ssh", "setsid sh -c \"$there\" <&0 & sleep 2; echo 'Connection closed' >&2; exit 255");
    const auto result = examine("--ssh 127.0.0.1:21342", ssh.path(), 2);
    CHECK(level_of(result, "ssh 127.0.0.1",
                   "has ended with status 255 while the network was examined: Connection closed") ==
          "broken");
    CHECK(are_gone({"--until-eof", "21342"}));
}

TEST_CASE("remote: several hosts are examined one by one; what is no host starts nothing")
{
    const Fake ssh("ssh", "exit 255");
    auto result = examine("--ssh 127.0.0.1 ::1", ssh.path(), 2);
    CHECK(level_of(result, "127.0.0.1: ssh 127.0.0.1") == "broken");
    CHECK(level_of(result, "::1: ssh ::1") == "broken");
    const Fake unused("ssh", "exit 255");
    for (const std::string host : {"nobody.invalid", "-oProxyCommand=x@127.0.0.1", "127.0.0.1:x", "[::1"}) {
        INFO(host);
        result = examine("--ssh -- " + host, unused.path(), 2);
        CHECK(level_of(result, "name", host) == "broken");
    }
    CHECK(unused.called().empty());
}

TEST_CASE("remote: a listener ends with its stdin if it is told to")
{
    CHECK(
        run_shell("timeout 20 " SRD_COMMAND " doctor --listen --until-eof --port 21343 </dev/null").status ==
        0);
    // What it reads is nothing to it.
    const Outcome outcome =
        run_shell("(echo; sleep 1; bash -c ': </dev/tcp/127.0.0.1/21343'; sleep 1) | timeout 20 " SRD_COMMAND
                  " doctor --listen --until-eof --port 21343");
    CHECK(outcome.status == 0);
    CHECK(outcome.output.starts_with("listening at UDP and TCP port 21343;"));
    CHECK(outcome.output.find("127.0.0.1 has connected") != std::string::npos);
    // And else not.
    CHECK(run_shell("timeout 1 " SRD_COMMAND " doctor --listen --port 21343 </dev/null").status == 124);
    CHECK(run_srd("doctor --until-eof 2>&1").status == 2);
    CHECK(run_srd("doctor --ssh 2>&1").status == 2);
    CHECK(run_srd("doctor --ssh --srun 127.0.0.1 2>&1").status == 2);
}
