// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets as bytes, and a file of them that Wireshark reads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <netinet/in.h>

#include <srd/wire.hpp>

#include "support/frame_bytes.hpp"

namespace srd::test {

[[noreturn]] inline void fail(const std::string& what)
{
    std::fprintf(stderr, "wire_sample: %s\n", what.c_str());
    std::exit(EXIT_FAILURE);
}

inline Bytes slice(const Bytes& bytes, std::size_t from, std::size_t to)
{
    return {bytes.begin() + static_cast<std::ptrdiff_t>(from),
            bytes.begin() + static_cast<std::ptrdiff_t>(to)};
}

/// A capture of IP packets without Ethernet, between 192.0.2.1 and 192.0.2.2, one each millisecond.
class Capture {
public:
    explicit Capture(const char* name) : file_(std::fopen(name, "wb"))
    {
        if (file_ == nullptr) {
            fail(std::string("cannot write ") + name);
        }
        const std::array<std::uint32_t, 6> header{0xa1b2c3d4, 0x00040002, 0, 0, 65535, 101};
        std::fwrite(header.data(), 1, sizeof(header), file_);
    }
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    ~Capture() { std::fclose(file_); }

    /// From 192.0.2.1, or from 192.0.2.2 with `back`.
    static Bytes ip(bool back, std::uint8_t protocol, const Bytes& payload)
    {
        const std::uint8_t from = back ? 2 : 1;
        std::array<std::uint8_t, 20> head{0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, from};
        const std::uint16_t length = htons(static_cast<std::uint16_t>(20 + payload.size()));
        std::memcpy(&head[2], &length, sizeof(length));
        std::copy_n(&head[12], 3, &head[16]);
        head[19] = static_cast<std::uint8_t>(3 - from);
        return raw(head) + payload;
    }
    static Bytes udp(bool back, std::uint16_t source, std::uint16_t destination, const Bytes& payload)
    {
        const std::array<std::uint16_t, 4> head{htons(source), htons(destination),
                                                htons(static_cast<std::uint16_t>(8 + payload.size())), 0};
        return ip(back, IPPROTO_UDP, raw(head) + payload);
    }

    void datagram(bool back, std::uint16_t source, std::uint16_t destination, const Bytes& payload)
    {
        write(udp(back, source, destination, payload));
    }
    void write(const Bytes& packet)
    {
        const auto size = static_cast<std::uint32_t>(packet.size());
        const std::array<std::uint32_t, 4> record{1'000'000'000, 1000 * count_++, size, size};
        std::fwrite(record.data(), 1, sizeof(record), file_);
        std::fwrite(packet.data(), 1, packet.size(), file_);
    }

private:
    std::FILE* file_;
    std::uint32_t count_ = 0;
};

} // namespace srd::test
