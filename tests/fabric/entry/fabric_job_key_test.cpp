// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Job keys: two processes with one key meet, all others are told why not. The variables are read once per
// process, so each side is a process of its own, and this one never calls libfabric.
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;
using namespace std::chrono_literals;

namespace {

/// A file that goes with the object.
class TempFile {
public:
    explicit TempFile(const std::string& contents = "", mode_t mode = 0600)
    {
        const int fd = ::mkstemp(name_.data());
        REQUIRE(fd >= 0);
        REQUIRE(::write(fd, contents.data(), contents.size()) == static_cast<ssize_t>(contents.size()));
        REQUIRE(::fchmod(fd, mode) == 0);
        ::close(fd);
    }
    ~TempFile() { ::unlink(name_.c_str()); }
    TempFile(const TempFile&) = delete;
    TempFile& operator=(const TempFile&) = delete;

    const char* name() const { return name_.c_str(); }
    std::string read() const
    {
        std::ifstream stream(name_);
        return {std::istreambuf_iterator<char>(stream), {}};
    }

private:
    std::string name_ = "/tmp/srd_job_key_test.XXXXXX";
};

const std::string one_key = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210\n";
const std::string other_key = "f0e1d2c3b4a5968778695a4b3c2d1e0f00112233445566778899aabbccddeeff\n";

enum class End : int { served = 0, key_rejected = 1, other = 2, not_offered = 3 };

/// A process with its variables, whose words go to `words`.
template <typename Body>
pid_t start(const char* key_file, const TempFile& words, Body&& body)
{
    const pid_t process = ::fork();
    if (process != 0) {
        return process;
    }
    const int fd = ::open(words.name(), O_WRONLY | O_APPEND);
    ::dup2(fd, STDERR_FILENO);
    ::unsetenv("FI_LOG_LEVEL");
    ::setenv("FI_SRD_SHM", "0", 1);
    ::setenv("FI_SRD_CONNECT_TIMEOUT_MS", "1500", 1);
    if (key_file != nullptr) {
        ::setenv("FI_SRD_JOB_KEY_FILE", key_file, 1);
    }
    End end = End::other;
    try {
        end = body();
    } catch (...) { // a failed REQUIRE
    }
    ::_exit(static_cast<int>(end));
}

bool is_offered()
{
    int code = 0;
    const InfoPtr list = get_info(code, nullptr);
    return code == 0;
}

End serve(int name_out)
{
    if (!is_offered()) {
        return End::not_offered;
    }
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint self(domain, Options{});
    const std::vector<std::byte> name = self.name();
    std::uint64_t word = 0;
    REQUIRE(fi_recv(self.ep.get(), &word, sizeof(word), nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
    REQUIRE(::write(name_out, name.data(), name.size()) == static_cast<ssize_t>(name.size()));
    while (self.ready.empty()) { // or until it is killed
        self.poll();
    }
    for (const auto since = std::chrono::steady_clock::now();
         std::chrono::steady_clock::now() - since < 300ms;) {
        self.poll();
    }
    return word == 42 ? End::served : End::other;
}

End send(int name_in)
{
    if (!is_offered()) {
        return End::not_offered;
    }
    OpenDomain domain("127.0.0.1", hints_for(Options{}));
    TestEndpoint self(domain, Options{});
    std::array<std::byte, 64> name{};
    REQUIRE(::read(name_in, name.data(), name.size()) > 0);
    fi_addr_t peer = FI_ADDR_NOTAVAIL;
    REQUIRE(fi_av_insert(self.av.get(), name.data(), 1, &peer, 0, nullptr) == 1);
    const std::uint64_t word = 42;
    REQUIRE(fi_send(self.ep.get(), &word, sizeof(word), nullptr, peer, nullptr) == 0);
    while (self.ready.empty()) {
        self.poll();
    }
    const Entry& entry = self.ready.front();
    return !entry.failed ? End::served : entry.error.err == FI_EKEYREJECTED ? End::key_rejected : End::other;
}

struct Meeting {
    Meeting(const char* server_key, const char* client_key)
    {
        std::array<int, 2> pipe{};
        REQUIRE(::pipe(pipe.data()) == 0);
        const pid_t server = start(server_key, server_file, [&] { return serve(pipe[1]); });
        const pid_t client = start(client_key, client_file, [&] { return send(pipe[0]); });
        int status = 0;
        REQUIRE(::waitpid(client, &status, 0) == client);
        client_end = static_cast<End>(WEXITSTATUS(status));
        if (client_end != End::served) {
            ::kill(server, SIGKILL);
        }
        REQUIRE(::waitpid(server, &status, 0) == server);
        ::close(pipe[0]);
        ::close(pipe[1]);
    }

    TempFile server_file;
    TempFile client_file;
    End client_end = End::other;
};

bool contains(const std::string& text, const char* piece)
{
    return text.find(piece) != std::string::npos;
}

} // namespace

TEST_CASE("job key: processes with one key meet, in the middle of its replacement as well")
{
    const TempFile old_first(one_key);
    const TempFile new_behind(one_key + other_key);
    const TempFile new_first(other_key + one_key);
    const TempFile new_only(other_key);
    for (const auto& [server, client] :
         {std::pair(&old_first, &old_first), std::pair(&old_first, &new_behind),
          std::pair(&new_first, &new_behind), std::pair(&new_only, &new_first)}) {
        const Meeting meeting(server->name(), client->name());
        INFO(meeting.client_file.read());
        CHECK(meeting.client_end == End::served);
        CHECK(meeting.client_file.read().empty());
    }
}

TEST_CASE("job key: who has none, or another one, is refused in words, at both ends")
{
    const TempFile one(one_key);
    const TempFile other(other_key);
    struct Row {
        const char* server;
        const char* client;
    };
    for (const Row& row :
         {Row{one.name(), nullptr}, Row{nullptr, one.name()}, Row{one.name(), other.name()}}) {
        const Meeting meeting(row.server, row.client);
        const std::string client = meeting.client_file.read();
        const std::string server = meeting.server_file.read();
        INFO("client: " << client << "server: " << server);
        CHECK(meeting.client_end == End::key_rejected);
        CHECK(contains(client, "with another job key, or only one of the two sides seals it"));
        CHECK(contains(server, "rx_auth_failed"));
    }
}

TEST_CASE("job key: a file that others can read, or that holds no key, is a reason not to be offered")
{
    const TempFile readable(one_key, 0644);
    const TempFile hollow("hello\n");
    for (const auto& [file, text] :
         {std::pair(readable.name(), "chmod 600"), std::pair(hollow.name(), "openssl rand"),
          std::pair("/nowhere/at/all", "/nowhere/at/all")}) {
        const TempFile words;
        const pid_t process =
            start(file, words, [] { return is_offered() ? End::served : End::not_offered; });
        int status = 0;
        REQUIRE(::waitpid(process, &status, 0) == process);
        INFO(words.read());
        CHECK(static_cast<End>(WEXITSTATUS(status)) == End::not_offered);
        CHECK(contains(words.read(), "FI_SRD_JOB_KEY_FILE"));
        CHECK(contains(words.read(), text));
        CHECK(contains(words.read(), "srd is not offered until then"));
    }
}
