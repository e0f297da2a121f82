// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include <sys/stat.h>
#include <unistd.h>

#include "seal/job_key.hpp"
#include "support/catch.hpp"

using namespace srd;

namespace {

const std::string hex_1 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const std::string hex_2 = "000102030405060708090A0B0C0D0E0F101112131415161718191a1b1c1d1eFF";

std::span<const std::byte> bytes_of(std::string_view text)
{
    return std::as_bytes(std::span(text));
}

/// The sizes of the keys in a file with these contents, or the error.
std::string parsed(std::string_view contents)
{
    std::string error;
    const auto secrets = JobSecrets::parse(bytes_of(contents), error);
    if (!secrets) {
        CHECK_FALSE(error.empty());
        return error;
    }
    std::string sizes;
    for (const SecretBytes& secret : secrets->all()) {
        sizes += std::to_string(secret.bytes().size()) + ";";
    }
    return sizes;
}

/// A file that is gone afterwards.
class KeyFile {
public:
    explicit KeyFile(const std::string& contents, unsigned mode = 0600)
    {
        std::array<char, 32> name{"/tmp/srd_key_test.XXXXXX"};
        ::close(::mkstemp(name.data()));
        path_ = name.data();
        std::ofstream(path_, std::ios::binary) << contents;
        REQUIRE(::chmod(path_.c_str(), mode) == 0);
    }
    KeyFile(const KeyFile&) = delete;
    KeyFile& operator=(const KeyFile&) = delete;
    ~KeyFile() { ::unlink(path_.c_str()); }

    const char* path() const { return path_.c_str(); }
    /// Why it is not loaded, without the name; empty: it is.
    std::string fault() const
    {
        std::string error;
        if (load_job_secrets(path(), error)) {
            return "";
        }
        const std::string start = "the job key file " + path_ + " ";
        CHECK(error.starts_with(start));
        return error.substr(std::min(start.size(), error.size()));
    }

private:
    std::string path_;
};

} // namespace

TEST_CASE("job key: hexadecimal, base64 and comments")
{
    CHECK(parsed(hex_1) == "32;");
    CHECK(parsed(hex_1 + "\n") == "32;");
    CHECK(parsed("# the job's keys\r\n\r\n  " + hex_1 + "\t# from May\r\n" + hex_2 + "\r\n\n") == "32;32;");
    CHECK(parsed("# Schl\xc3\xbcssel\n" + hex_1) == "32;");
    CHECK(parsed("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=") == "32;");
    CHECK(parsed("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8") == "32;");
    CHECK(parsed("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v") == "48;");
    CHECK(parsed("-_ECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIQ==") == "34;");
}

TEST_CASE("job key: what a text means")
{
    std::string error;
    const auto secrets =
        JobSecrets::parse(bytes_of(hex_2 + "\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"), error);
    REQUIRE(secrets);
    for (std::size_t i = 0; i < 32; ++i) {
        CHECK(secrets->all()[1].bytes()[i] == static_cast<std::byte>(i));
        CHECK(secrets->all()[0].bytes()[i] == static_cast<std::byte>(i == 31 ? 0xff : i));
    }
}

TEST_CASE("job key: what is not text is one key")
{
    std::string binary(32, '\0');
    for (std::size_t i = 0; i < binary.size(); ++i) {
        binary[i] = static_cast<char>(i * 37 + 1);
    }
    CHECK(parsed(binary) == "32;");
    CHECK(parsed(binary + "\n" + hex_1) == "97;");
    CHECK(parsed(binary.substr(1)) == "the key (not text, so taken as it is) has 31 bytes; a key has 32 to "
                                      "4096; make one with: openssl rand -hex 32");
    CHECK(parsed(std::string(4096, '\xff') + "\x01").find("has 4097 bytes") != std::string::npos);
    CHECK(parsed(std::string(64, '\0')) ==
          "the key (not text, so taken as it is) is one byte repeated, which "
          "anybody can guess; make one with: openssl rand -hex 32");
}

TEST_CASE("job key: what is wrong with a text is said by line, without its contents")
{
    CHECK(parsed("") == "there is no key in it; make one with: openssl rand -hex 32");
    CHECK(parsed("\n# " + hex_1 + "\n") == "there is no key in it; make one with: openssl rand -hex 32");
    const std::string no_key =
        " is no key: a line holds one, in hexadecimal or base64, or a comment after #; "
        "make one with: openssl rand -hex 32";
    CHECK(parsed("\npass word\n") == "line 2" + no_key);
    CHECK(parsed(hex_1 + "\n" + hex_2 + "0") == "line 2" + no_key);
    CHECK(parsed(hex_1 + " " + hex_2) == "line 1" + no_key);
    CHECK(parsed("Schl\xc3\xbcssel") == "line 1" + no_key);
    CHECK(parsed("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8==") == "line 1" + no_key);
    CHECK(parsed("====") == "line 1" + no_key);
    CHECK(parsed("A") == "line 1" + no_key);
    CHECK(parsed(hex_1.substr(2)) ==
          "the key in line 1 has 31 bytes; a key has 32 to 4096; make one with: openssl rand -hex 32");
    CHECK(parsed("hunter2") ==
          "the key in line 1 has 5 bytes; a key has 32 to 4096; make one with: openssl rand -hex 32");
    CHECK(parsed("\n" + std::string(64, '0')) == "the key in line 2 is one byte repeated, which anybody can "
                                                 "guess; make one with: openssl rand -hex 32");
}

TEST_CASE("job key: no key twice, and not too many")
{
    CHECK(parsed(hex_1 + "\n" + hex_2 + "\n\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n") ==
          "line 1 and line 4 hold the same key; remove one");
    std::string keys;
    std::string sizes;
    for (char digit = '1'; digit <= '8'; ++digit) {
        keys += digit + hex_1.substr(1) + "\n";
        sizes += "32;";
    }
    CHECK(parsed(keys) == sizes);
    CHECK(parsed(keys + hex_1) ==
          "there are more than 8 keys; remove those that no process sends with any more");
}

TEST_CASE("job key: whose file it may be, and who may read it")
{
    struct stat status {};
    status.st_mode = S_IFREG | 0600;
    status.st_uid = 1000;
    CHECK(key_file_fault(status, 1000).empty());
    CHECK(key_file_fault(status, 1001) ==
          "belongs to user 1000, who could change it; give it to user 1001 or root (chown)");
    CHECK(key_file_fault(status, 0) ==
          "belongs to user 1000, who could change it; give it to user 0 or root (chown)");
    status.st_uid = 0;
    status.st_mode = S_IFREG | 0400;
    CHECK(key_file_fault(status, 1000).empty());
    for (const mode_t bit : {0040U, 0020U, 0010U, 0004U, 0002U, 0001U}) {
        status.st_mode = S_IFREG | 0600 | bit;
        CHECK_FALSE(key_file_fault(status, 0).empty());
    }
    status.st_mode = S_IFREG | 0644;
    CHECK(key_file_fault(status, 0) ==
          "is open to others than its owner (mode 0644); take that away (chmod 600)");
    for (const int kind : {S_IFDIR, S_IFIFO, S_IFSOCK, S_IFCHR}) {
        status.st_mode = static_cast<mode_t>(kind | 0600);
        CHECK(key_file_fault(status, 0) == "is not a regular file");
    }
}

TEST_CASE("job key: files")
{
    CHECK(KeyFile(hex_1).fault().empty());
    CHECK(KeyFile(hex_1, 0400).fault().empty());
    CHECK(KeyFile(hex_1, 0640).fault() ==
          "is open to others than its owner (mode 0640); take that away (chmod 600)");
    CHECK(KeyFile("").fault() ==
          "cannot be used: there is no key in it; make one with: openssl rand -hex 32");
    CHECK(KeyFile(std::string(65536, '#')).fault().starts_with("cannot be used: there is no key"));
    CHECK(KeyFile(std::string(65537, '#')).fault() == "is larger than 65536 bytes, so it is another");

    std::string error;
    CHECK_FALSE(load_job_secrets("/tmp/srd_no_such_file", error));
    CHECK(error == "the job key file /tmp/srd_no_such_file cannot be opened: No such file or directory");
    CHECK_FALSE(load_job_secrets("/dev", error));
    CHECK(error == "the job key file /dev is not a regular file");
}

TEST_CASE("job key: a pipe is refused without waiting for its writer")
{
    const std::string path = "/tmp/srd_key_test." + std::to_string(::getpid());
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    std::string error;
    CHECK_FALSE(load_job_secrets(path.c_str(), error));
    CHECK(error == "the job key file " + path + " is not a regular file");
    ::unlink(path.c_str());
}

TEST_CASE("secret: what it was moved from is zeros")
{
    Secret<32> secret;
    secret.bytes()[5] = std::byte{7};
    Secret<32> moved(std::move(secret));
    CHECK(moved.bytes()[5] == std::byte{7});
    CHECK(secret.bytes()[5] == std::byte{0}); // NOLINT(bugprone-use-after-move)
    secret = std::move(moved);
    CHECK(secret.bytes()[5] == std::byte{7});
    CHECK(moved.bytes()[5] == std::byte{0}); // NOLINT(bugprone-use-after-move)

    alignas(Secret<32>) std::array<std::byte, sizeof(Secret<32>)> memory;
    auto* const object = new (memory.data()) Secret<32>(std::move(secret));
    CHECK(memory[5] == std::byte{7});
    object->~Secret();
    CHECK(std::all_of(memory.begin(), memory.end(), [](std::byte byte) { return byte == std::byte{0}; }));
}
