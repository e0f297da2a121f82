// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/shm/shm_message.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include <srd/keyed_hash.hpp>

namespace srd {

ShmKernel running_kernel()
{
    ShmKernel id{};
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string text;
    std::getline(file, text);
    std::erase(text, '-');
    if (text.size() == 2 * id.size()) {
        for (std::size_t i = 0; i < id.size(); ++i) {
            id[i] = static_cast<std::uint8_t>(std::strtoul(text.substr(2 * i, 2).c_str(), nullptr, 16));
        }
    }
    return id;
}

std::uint64_t proof_of(const ShmMessage& message, const ShmKey& key, const ShmKernel& kernel,
                       const SocketAddress& receiver) noexcept
{
    struct Told {
        ShmMessage message; ///< without its proof
        ShmKernel kernel;
        wire::u16 port;
        wire::u16 host_size;
        std::array<std::byte, sizeof(in6_addr)> host{};
    };
    static_assert(sizeof(Told) == sizeof(ShmMessage) + 36 && alignof(Told) == 1);
    Told told{message, kernel, receiver.port(), static_cast<std::uint16_t>(receiver.host().size()), {}};
    told.message.proof = 0;
    std::copy(receiver.host().begin(), receiver.host().end(), told.host.begin());
    return KeyedHash(key[0], key[1])(std::as_bytes(std::span(&told, 1)));
}

} // namespace srd
