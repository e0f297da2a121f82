// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/job_key.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

#include <srd/file_descriptor.hpp>

namespace srd {

namespace {

constexpr const char* how_to_make = "make one with: openssl rand -hex 32";

std::string_view as_text(std::span<const std::byte> bytes) noexcept
{
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The bytes of the UTF-8 character that begins `text`, printable or white; 0: it is none.
std::size_t character_size(std::string_view text) noexcept
{
    const auto first = static_cast<unsigned char>(text.front());
    if (first < 0x80) {
        const bool is_white = first == '\t' || first == '\n' || first == '\r';
        return is_white || (first >= 0x20 && first != 0x7f) ? 1 : 0;
    }
    const std::size_t size = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    const auto continues = [](char next) { return (static_cast<unsigned char>(next) & 0xc0) == 0x80; };
    if (size == 0 || size > text.size() || !std::all_of(text.begin() + 1, text.begin() + size, continues)) {
        return 0;
    }
    return size;
}

/// Text that a person may have written. 32 random bytes are that with a probability of about 10^-10.
bool is_text(std::string_view contents) noexcept
{
    while (!contents.empty()) {
        const std::size_t size = character_size(contents);
        if (size == 0) {
            return false;
        }
        contents.remove_prefix(size);
    }
    return true;
}

std::string_view trimmed(std::string_view line) noexcept
{
    constexpr std::string_view white = " \t\r";
    line = line.substr(0, line.find('#'));
    const std::size_t first = line.find_first_not_of(white);
    return first == line.npos ? std::string_view()
                              : line.substr(first, line.find_last_not_of(white) - first + 1);
}

/// The value of a hexadecimal digit; -1: it is none.
int hex_value(char digit) noexcept
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    const char lower = static_cast<char>(digit | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// Whether it is meant to be hexadecimal: base64 of a random key is that with a probability of 10^-20.
bool is_hex(std::string_view text) noexcept
{
    return std::all_of(text.begin(), text.end(), [](char digit) { return hex_value(digit) >= 0; });
}

/// nullopt: a digit is missing.
std::optional<SecretBytes> decode_hex(std::string_view text)
{
    if (text.size() % 2 != 0) {
        return std::nullopt;
    }
    SecretBytes decoded(text.size() / 2);
    for (std::size_t i = 0; i < text.size(); i += 2) {
        decoded.bytes()[i / 2] = static_cast<std::byte>(hex_value(text[i]) * 16 + hex_value(text[i + 1]));
    }
    return decoded;
}

/// The value of a character of base64 (RFC 4648, both alphabets); -1: it is none.
int base64_value(char character) noexcept
{
    if (character >= 'A' && character <= 'Z') {
        return character - 'A';
    }
    if (character >= 'a' && character <= 'z') {
        return character - 'a' + 26;
    }
    if (character >= '0' && character <= '9') {
        return character - '0' + 52;
    }
    return character == '+' || character == '-' ? 62 : character == '/' || character == '_' ? 63 : -1;
}

/// nullopt: not base64.
std::optional<SecretBytes> decode_base64(std::string_view text)
{
    const std::size_t padding = text.size() - std::min(text.size(), text.find_last_not_of('=') + 1);
    const bool is_padded = padding == 0 || (padding <= 2 && text.size() % 4 == 0);
    text.remove_suffix(padding);
    if (!is_padded || text.size() % 4 == 1) {
        return std::nullopt;
    }
    SecretBytes decoded(text.size() * 6 / 8);
    std::size_t count = 0;
    std::uint32_t bits = 0;
    unsigned waiting = 0;
    for (const char character : text) {
        const int value = base64_value(character);
        if (value < 0) {
            return std::nullopt;
        }
        bits = bits << 6 | static_cast<std::uint32_t>(value);
        waiting += 6;
        if (waiting >= 8) {
            waiting -= 8;
            decoded.bytes()[count++] = static_cast<std::byte>(bits >> waiting & 0xff);
        }
    }
    return decoded;
}

/// What is wrong with a secret, as a sentence; empty: nothing. `where`: "the key in line 2".
std::string secret_fault(std::span<const std::byte> secret, const std::string& where)
{
    if (secret.size() < job_secret_min_size || secret.size() > job_secret_max_size) {
        return where + " has " + std::to_string(secret.size()) + " bytes; a key has " +
               std::to_string(job_secret_min_size) + " to " + std::to_string(job_secret_max_size) + "; " +
               how_to_make;
    }
    if (std::all_of(secret.begin(), secret.end(), [&](std::byte byte) { return byte == secret.front(); })) {
        return where + " is one byte repeated, which anybody can guess; " + how_to_make;
    }
    return {};
}

std::string line_name(std::size_t number)
{
    return "line " + std::to_string(number);
}

} // namespace

std::optional<JobSecrets> JobSecrets::parse(std::span<const std::byte> contents, std::string& error)
{
    JobSecrets found;
    std::string_view rest = as_text(contents);
    if (!is_text(rest)) {
        error = secret_fault(contents, "the key (not text, so taken as it is)");
        found.secrets_.emplace_back(contents);
        return error.empty() ? std::optional(std::move(found)) : std::nullopt;
    }
    std::vector<std::size_t> lines; // of the secrets
    for (std::size_t number = 1; !rest.empty(); ++number) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        const std::string_view line = trimmed(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (line.empty()) {
            continue;
        }
        std::optional<SecretBytes> secret = is_hex(line) ? decode_hex(line) : decode_base64(line);
        if (!secret) {
            error = line_name(number) + " is no key: a line holds one, in hexadecimal or base64, or a " +
                    "comment after #; " + how_to_make;
            return std::nullopt;
        }
        error = secret_fault(secret->bytes(), "the key in " + line_name(number));
        for (std::size_t i = 0; i < lines.size() && error.empty(); ++i) {
            if (std::ranges::equal(found.secrets_[i].bytes(), secret->bytes())) {
                error = line_name(lines[i]) + " and " + line_name(number) + " hold the same key; remove one";
            }
        }
        if (error.empty() && lines.size() == job_secrets_max) {
            error = "there are more than " + std::to_string(job_secrets_max) +
                    " keys; remove those that no process sends with any more";
        }
        if (!error.empty()) {
            return std::nullopt;
        }
        found.secrets_.push_back(std::move(*secret));
        lines.push_back(number);
    }
    if (lines.empty()) {
        error = std::string("there is no key in it; ") + how_to_make;
        return std::nullopt;
    }
    return found;
}

std::string key_file_fault(const struct stat& status, uid_t user)
{
    if (!S_ISREG(status.st_mode)) {
        return "is not a regular file";
    }
    if (status.st_uid != user && status.st_uid != 0) {
        return "belongs to user " + std::to_string(status.st_uid) +
               ", who could change it; give it to user " + std::to_string(user) + " or root (chown)";
    }
    if (const auto others = status.st_mode & (S_IRWXG | S_IRWXO); others != 0) {
        std::array<char, 8> mode{};
        std::snprintf(mode.data(), mode.size(), "%04o", static_cast<unsigned>(status.st_mode & 07777));
        return std::string("is open to others than its owner (mode ") + mode.data() +
               "); take that away (chmod 600)";
    }
    return {};
}

std::optional<JobSecrets> load_job_secrets(const char* path, std::string& error)
{
    const std::string name = std::string("the job key file ") + path;
    // Without waiting for the writer of a pipe, which is refused then.
    const FileDescriptor file(::open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    struct stat status {};
    if (!file.valid() || ::fstat(file.get(), &status) != 0) {
        error = name + " cannot be opened: " + std::strerror(errno);
        return std::nullopt;
    }
    if (const std::string fault = key_file_fault(status, ::geteuid()); !fault.empty()) {
        error = name + " " + fault;
        return std::nullopt;
    }
    SecretBytes contents(key_file_max_size + 1);
    std::size_t size = 0;
    while (size < contents.bytes().size()) {
        const ssize_t got =
            ::read(file.get(), contents.bytes().data() + size, contents.bytes().size() - size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            error = name + " cannot be read: " + std::strerror(errno);
            return std::nullopt;
        }
        if (got == 0) {
            break;
        }
        size += static_cast<std::size_t>(got);
    }
    if (size > key_file_max_size) {
        error = name + " is larger than " + std::to_string(key_file_max_size) + " bytes, so it is another";
        return std::nullopt;
    }
    std::optional<JobSecrets> secrets = JobSecrets::parse(contents.bytes().first(size), error);
    if (!secrets) {
        error = name + " cannot be used: " + error;
    }
    return secrets;
}

} // namespace srd
