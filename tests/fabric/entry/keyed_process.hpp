// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Processes with job keys. The variables are read once per process, so each side is a process of its own, and
// this one never calls libfabric.
#pragma once

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fabric/fabric_fixture.hpp"

namespace fabric_test {

using namespace std::chrono_literals;

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
    void write(const std::string& contents) const { std::ofstream(name_) << contents; }
    std::string read() const
    {
        std::ifstream stream(name_);
        return {std::istreambuf_iterator<char>(stream), {}};
    }

private:
    std::string name_ = "/tmp/srd_job_key_test.XXXXXX";
};

inline const std::string one_key = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210\n";
inline const std::string other_key = "f0e1d2c3b4a5968778695a4b3c2d1e0f00112233445566778899aabbccddeeff\n";

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
    ::setenv("FI_SRD_CONNECT_TIMEOUT_MS", "1500", 0);
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

inline bool is_offered()
{
    int code = 0;
    const InfoPtr list = get_info(code, nullptr);
    return code == 0;
}

/// Keys as attributes; empty: none.
struct AuthKeys {
    std::string domain;
    std::string endpoint;
};

template <typename Attributes>
void set_key(Attributes& attributes, const std::string& key)
{
    if (!key.empty()) {
        attributes.auth_key = static_cast<std::uint8_t*>(std::malloc(key.size())); // fi_freeinfo frees it
        std::memcpy(attributes.auth_key, key.data(), key.size());
        attributes.auth_key_size = key.size();
    }
}

inline InfoPtr hints_with(const AuthKeys& keys)
{
    InfoPtr hints = hints_for(Options{});
    set_key(*hints->domain_attr, keys.domain);
    set_key(*hints->ep_attr, keys.endpoint);
    return hints;
}

/// Takes `count` words, which all are to be 42.
inline End serve(int name_out, const AuthKeys& keys = {}, unsigned count = 1)
{
    if (!is_offered()) {
        return End::not_offered;
    }
    OpenDomain domain("127.0.0.1", hints_with(keys));
    TestEndpoint self(domain, Options{});
    const std::vector<std::byte> name = self.name();
    std::uint64_t word = 42;
    for (unsigned i = 0; i < count && word == 42; ++i) {
        word = 0;
        REQUIRE(fi_recv(self.ep.get(), &word, sizeof(word), nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
        if (i == 0) {
            REQUIRE(::write(name_out, name.data(), name.size()) == static_cast<ssize_t>(name.size()));
        }
        while (self.ready.size() <= i) { // or until it is killed
            self.poll();
        }
    }
    for (const auto since = std::chrono::steady_clock::now();
         std::chrono::steady_clock::now() - since < 300ms;) {
        self.poll();
    }
    return word == 42 ? End::served : End::other;
}

/// Sends a word to whoever wrote its name to `name_in`, calls `between`, and sends another one.
template <typename Between>
End send_two(std::span<const std::byte> name, const AuthKeys& keys, Between&& between)
{
    if (!is_offered()) {
        return End::not_offered;
    }
    OpenDomain domain("127.0.0.1", hints_with(keys));
    TestEndpoint self(domain, Options{});
    fi_addr_t peer = FI_ADDR_NOTAVAIL;
    REQUIRE(fi_av_insert(self.av.get(), name.data(), 1, &peer, 0, nullptr) == 1);
    const std::uint64_t word = 42;
    for (std::size_t i = 0; i < 2; ++i) {
        REQUIRE(fi_send(self.ep.get(), &word, sizeof(word), nullptr, peer, nullptr) == 0);
        while (self.ready.size() <= i) {
            self.poll();
        }
        const Entry& entry = self.ready[i];
        if (entry.failed) {
            return entry.error.err == FI_EKEYREJECTED ? End::key_rejected : End::other;
        }
        if (i != 0 || !between()) {
            break;
        }
    }
    return End::served;
}

using Name = std::array<std::byte, 64>;

inline Name read_name(int name_in)
{
    Name name{};
    REQUIRE(::read(name_in, name.data(), name.size()) > 0);
    return name;
}

inline End send_one(std::span<const std::byte> name, const AuthKeys& keys = {})
{
    return send_two(name, keys, [] { return false; });
}

inline End end_of(pid_t process)
{
    int status = 0;
    REQUIRE(::waitpid(process, &status, 0) == process);
    return static_cast<End>(WEXITSTATUS(status));
}

inline bool contains(const std::string& text, const char* piece)
{
    return text.find(piece) != std::string::npos;
}

} // namespace fabric_test
