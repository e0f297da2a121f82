// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Sockets of two doctors that examine the network between them: datagrams that are never fragmented and tell
// what became of them, and a TCP connection of lines.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <srd/address.hpp>
#include <srd/file_descriptor.hpp>

namespace srd::tool {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct HostName {
    std::string host;
    std::string service; ///< its port, or what there is instead; empty: none is named
};
/// "HOST", "HOST:PORT", "[V6]:PORT"; nothing if the bracket is not closed.
std::optional<HostName> split_host(const std::string& text);

/// The first address that the name has, and `port` if it names none.
std::optional<SocketAddress> resolve_host(const std::string& text, std::uint16_t port, std::string& error);

/// What came back instead of an answer.
struct Rejection {
    int error = 0;         ///< errno; 0: nothing came back
    SocketAddress by;      ///< who sent the ICMP error; empty: this host's kernel, or a TCP reset
    std::uint32_t mtu = 0; ///< that it told; 0: none
};

/// A datagram's beginning. On the wire 32 bytes, little-endian, in this order, then zeros to the size.
struct Datagram {
    enum class Kind : std::uint8_t { question, answer, train };

    std::uint64_t session = 0;
    std::uint32_t number = 0;
    std::uint32_t answer_size = 0; ///< UDP payload of the answer that is wanted; 0: none
    Kind kind = Kind::question;
    bool from_other = false; ///< the answer shall come from another port than the one that was asked
};
inline constexpr std::size_t datagram_header = 32;

struct Arrival {
    Datagram datagram;
    std::size_t size = 0;
    SocketAddress from;
    SocketAddress to; ///< this host's address, with the socket's port
};

class UdpPort {
public:
    UdpPort() = default;
    /// Binds to `local`, whose address may be a wildcard and whose port 0. `shared`: with others of this
    /// user.
    static UdpPort open(const SocketAddress& local, bool shared, int& error);

    bool valid() const noexcept { return socket_.valid(); }
    int fd() const noexcept { return socket_.get(); }
    const SocketAddress& local() const noexcept { return local_; }
    std::uint16_t port() const noexcept { return local_.port(); }

    /// 0 or errno. `from`: this host's address that it shall bear; empty: the kernel's choice.
    int send(const SocketAddress& to, const Datagram& datagram, std::size_t size,
             const SocketAddress& from = {}) const;
    /// What has come, if it is one of ours. False in `any`: there is nothing more.
    std::optional<Arrival> receive(bool& any);
    /// The latest that an error queue told.
    const Rejection& rejection() const noexcept { return rejection_; }

private:
    void read_errors();

    FileDescriptor socket_;
    SocketAddress local_;
    Rejection rejection_;
};

/// Waits until one of them is readable; false: not in time.
bool wait_readable(const std::vector<int>& fds, milliseconds patience);

struct TcpAttempt {
    FileDescriptor socket; ///< valid: connected
    Rejection rejection;   ///< error ETIMEDOUT: nothing came back
};
/// `local` as in bind(); empty: the kernel's choice.
TcpAttempt connect_tcp(const SocketAddress& to, const SocketAddress& local, milliseconds patience);
SocketAddress wildcard_address(int family, std::uint16_t port);
FileDescriptor listen_tcp(const SocketAddress& local, int& error);
SocketAddress local_address(int fd);
SocketAddress peer_address(int fd);

/// JSON objects, one per line.
class LineChannel {
public:
    explicit LineChannel(FileDescriptor socket) noexcept : socket_(std::move(socket)) {}

    int fd() const noexcept { return socket_.get(); }
    bool send(const nlohmann::json& message);
    /// The next object; nothing if none comes in time, the connection ends, or it is none.
    std::optional<nlohmann::json> receive(milliseconds patience);
    std::optional<nlohmann::json> ask(const nlohmann::json& message, milliseconds patience)
    {
        return send(message) ? receive(patience) : std::nullopt;
    }

private:
    FileDescriptor socket_;
    std::string pending_;
};

} // namespace srd::tool
