// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Ethernet frames (raw_frame.hpp): a good one that the input changes and cuts, or the input as it is. What is
// read as ours lies within the frame, which has nothing behind it; what was not changed is read back.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>

#include "fuzz/input.hpp"
#include "io/raw/raw_frame.hpp"

namespace {

using namespace srd;

SocketAddress address(bool ipv4, std::uint8_t last, std::uint16_t port)
{
    std::array<std::byte, 16> host{std::byte{0x20}, std::byte{0x01}};
    host[ipv4 ? 3 : 15] = std::byte{last};
    return SocketAddress::of_host(ipv4 ? AF_INET : AF_INET6, std::span(host).first(ipv4 ? 4 : 16), port);
}

struct Family {
    explicit Family(bool ipv4)
        : local(address(ipv4, 9, 7002)), headers({2, 0, 0, 0, 0, 1}, address(ipv4, 1, 7001), local)
    {
    }
    SocketAddress local;
    FrameTemplate headers;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static const std::array<Family, 2> families{Family(true), Family(false)};
    static std::array<std::byte, 2048> payload{};
    fuzz::Input input(data, size);
    const std::uint8_t how = input.byte();
    const Family& family = families[how % 2];
    TxPacket packet;
    packet.path = PathId{static_cast<std::uint8_t>(how / 4 % 64)};
    packet.length = input.word() % payload.size();
    packet.iov_count = 1;
    packet.iov[0] = {payload.data(), packet.length};
    std::array<std::byte, 2048 + 128> made;
    std::size_t length = family.headers.write(made.data(), {2, 0, 0, 0, 0, 9}, packet);
    bool changed = false;
    if (how >= 240) {
        length = std::min(input.rest().size(), made.size());
        std::transform(input.rest().begin(), input.rest().begin() + static_cast<std::ptrdiff_t>(length),
                       made.begin(), [](std::uint8_t byte) { return std::byte{byte}; });
        changed = true;
    } else if (how >= 16) {
        while (!input.empty()) {
            const std::uint8_t where = input.byte();
            if (where == 255) {
                length = std::min<std::size_t>(length, input.word() % made.size());
            } else if (where < length) {
                made[where] = std::byte{input.byte()};
            }
        }
        changed = true;
    }
    const std::unique_ptr<std::byte[]> frame(new std::byte[length]); // AddressSanitizer knows its end
    std::copy_n(made.begin(), length, frame.get());
    FrameContent content;
    const FrameVerdict verdict = read_frame({frame.get(), length}, family.local, how % 4 >= 2, content);
    if (fuzz::canary() && changed && verdict == FrameVerdict::ours) {
        throw std::runtime_error("canary: a changed frame is ours");
    }
    if (verdict != FrameVerdict::ours) {
        if (!changed) {
            throw std::runtime_error("an intact frame is not ours");
        }
        return 0;
    }
    if (content.data < frame.get() || content.data + content.length > frame.get() + length ||
        (!changed && content.length != packet.length)) {
        throw std::runtime_error("the content does not lie within its frame");
    }
    return 0;
}
