// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The floor under every UDP transport of the machine: a ping-pong of plain
// send() and busy-polled recv(), and a one-way stream of UDP_SEGMENT batches
// received with UDP_GRO. No reliability, no matching: lost datagrams of the
// stream are simply not counted. Started by bench/compare like compare_client,
// and prints the same JSON lines.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.hpp"
#include "options.hpp"

namespace bench {
namespace {

constexpr std::size_t max_datagram = 65507;
constexpr std::size_t max_segments = 64;
constexpr std::size_t rx_batch = 16;
constexpr int socket_buffer = 4 << 20;
constexpr std::int64_t quiet_ns = 100'000'000; ///< a stream is over when nothing came for so long

/// An unconnected socket is connected to the peer once addresses are known: send() is the cheapest call.
class Socket {
public:
    Socket(const Options& options, const Control& control)
        : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0))
    {
        if (fd_ < 0) {
            fail_errno("socket");
        }
        sockaddr_in address{};
        address.sin_family = AF_INET;
        const char* text = options.address.empty() ? "127.0.0.1" : options.address.c_str();
        if (inet_pton(AF_INET, text, &address.sin_addr) != 1) {
            throw Error("raw_udp needs an IPv4 --address");
        }
        socklen_t length = sizeof(address);
        if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
            ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
            fail_errno("bind");
        }
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &socket_buffer, sizeof(socket_buffer));
        ::setsockopt(fd_, SOL_SOCKET, SO_SNDBUF, &socket_buffer, sizeof(socket_buffer));
        control.write(std::as_bytes(std::span(&address, 1)));
        control.read(std::as_writable_bytes(std::span(&address, 1)));
        if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), length) != 0) {
            fail_errno("connect");
        }
    }
    ~Socket() { ::close(fd_); }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;

    int fd() const { return fd_; }

    void set_udp(int option, int value) const
    {
        if (::setsockopt(fd_, SOL_UDP, option, &value, sizeof(value)) != 0) {
            fail_errno("setsockopt(SOL_UDP)");
        }
    }

private:
    int fd_;
};

void meet(const Control& control)
{
    control.write_number(0);
    static_cast<void>(control.read_number());
}

bool receive_until(const Socket& socket, std::span<std::byte> buffer, std::int64_t deadline)
{
    for (std::uint32_t empty = 0;;) {
        if (::recv(socket.fd(), buffer.data(), buffer.size(), MSG_DONTWAIT) >= 0) {
            return true;
        }
        if ((++empty & 1023U) == 0 && now_ns() > deadline) {
            return false;
        }
    }
}

/// The first byte of the last question is 1. A datagram lost on the way (which a busy machine may do even on
/// loopback) is asked for again and its sample thrown away.
void ping_pong(const Socket& socket, const Control& control, std::size_t size, int rank,
               std::int64_t duration_ns)
{
    std::vector<std::byte> buffer(std::max<std::size_t>(size, 1));
    std::vector<std::int64_t> samples;
    samples.reserve(1U << 21);
    meet(control);
    const std::int64_t begin = now_ns();
    const std::int64_t record_from = begin + duration_ns / 10;
    const std::int64_t end = record_from + duration_ns;
    bool last = false;
    for (std::int64_t before = begin; rank == 0 && !last;) {
        last = before >= end || samples.size() == samples.capacity();
        buffer[0] = std::byte{last};
        ::send(socket.fd(), buffer.data(), buffer.size(), 0);
        const bool answered = receive_until(socket, buffer, before + quiet_ns);
        const std::int64_t after = now_ns();
        if (answered && before >= record_from && !last) {
            samples.push_back(after - before);
        }
        before = after;
    }
    while (rank == 1 && !last) {
        if (!receive_until(socket, buffer, now_ns() + 10 * quiet_ns)) {
            break;
        }
        last = buffer[0] == std::byte{1};
        ::send(socket.fd(), buffer.data(), buffer.size(), 0);
    }
    meet(control);
    while (::recv(socket.fd(), buffer.data(), buffer.size(), MSG_DONTWAIT) >= 0) {
    }
    if (rank == 0) {
        print_latency(size, samples);
    }
}

void send_stream(const Socket& socket, std::size_t segment, std::int64_t duration_ns)
{
    const std::size_t segments = std::min(max_segments, max_datagram / segment);
    socket.set_udp(UDP_SEGMENT, segments > 1 ? static_cast<int>(segment) : 0);
    const std::vector<std::byte> buffer(segments * segment);
    const std::int64_t end = now_ns() + duration_ns;
    while (now_ns() < end) {
        for (int i = 0; i < 8; ++i) {
            ::send(socket.fd(), buffer.data(), buffer.size(), 0);
        }
    }
    socket.set_udp(UDP_SEGMENT, 0);
}

/// Bytes that arrived; sets the time between the first and the last arrival.
std::uint64_t receive_stream(const Socket& socket, std::int64_t duration_ns, std::int64_t& elapsed_ns)
{
    std::vector<std::byte> memory(rx_batch * 65536);
    std::array<mmsghdr, rx_batch> headers{};
    std::array<iovec, rx_batch> pieces{};
    for (std::size_t i = 0; i < rx_batch; ++i) {
        pieces[i] = {&memory[i * 65536], 65536};
        headers[i].msg_hdr.msg_iov = &pieces[i];
        headers[i].msg_hdr.msg_iovlen = 1;
    }
    socket.set_udp(UDP_GRO, 1);
    std::uint64_t bytes = 0;
    std::int64_t first = 0;
    std::int64_t last = now_ns();
    const std::int64_t give_up = last + duration_ns + 10 * quiet_ns;
    for (;;) {
        const int count = ::recvmmsg(socket.fd(), headers.data(), rx_batch, MSG_DONTWAIT, nullptr);
        const std::int64_t now = now_ns();
        if (count <= 0) {
            if ((bytes != 0 && now - last > quiet_ns) || now > give_up) {
                break;
            }
            continue;
        }
        for (int i = 0; i < count; ++i) {
            bytes += headers[static_cast<std::size_t>(i)].msg_len;
        }
        first = first == 0 ? now : first;
        last = now;
    }
    socket.set_udp(UDP_GRO, 0);
    elapsed_ns = last - first;
    return bytes;
}

/// Messages are counted as what arrived at rank 1.
void stream(const Socket& socket, const Control& control, const char* test, std::size_t size,
            const Options& options)
{
    meet(control);
    if (options.rank == 0) {
        send_stream(socket, std::min({size, options.segment, max_datagram}), options.point_ns());
        const std::uint64_t bytes = control.read_number();
        const auto elapsed = static_cast<std::int64_t>(control.read_number());
        if (bytes < size || elapsed <= 0) {
            throw Error("the receiver got nothing of the stream");
        }
        print_stream(test, size, bytes / size, elapsed);
    } else {
        std::int64_t elapsed = 0;
        control.write_number(receive_stream(socket, options.point_ns(), elapsed));
        control.write_number(static_cast<std::uint64_t>(elapsed));
    }
    meet(control);
}

void run(const Options& options)
{
    pin_to_cpu(options.cpu);
    const Control control(options.control_fd, options.timeout_ns());
    const Socket socket(options, control);
    for (const std::size_t size : options.latency) {
        if (size <= max_datagram) {
            ping_pong(socket, control, size, options.rank, options.point_ns());
        }
    }
    for (const std::size_t size : options.rate) {
        stream(socket, control, "rate", size, options);
    }
    for (const std::size_t size : options.bandwidth) {
        stream(socket, control, "bandwidth", size, options);
    }
}

} // namespace
} // namespace bench

int main(int argc, char** argv)
{
    return bench::client_main(argc, argv, "raw_udp", bench::run);
}
