// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd doctor --listen: the end that answers.
//
// UDP, on every port: a question is answered to its sender, from the port that was asked or from another one,
// with at most as many bytes as it has; a train's datagrams are counted for the session they name. TCP, on
// the first port, one client at a time: a JSON object per line, each of which is answered.
//
//     {"hello":1,"version":V}                      ->
//     {"hello":1,"version":V,"libfabric":V,"session":"HEX","mtu":N,
//                                                      "udp_ports":[P,…]}
//     {"do":"counted"}                             -> {"count":N,"late":N,"ports":[[SOURCE PORT,N],…]}, then
//     zero
//     {"do":"send","port":P,"count":N,"size":N,
//      "ports":N,"gap_us":N}                       -> {"sent":N,"error":ERRNO,"ports":[P,…]}: a train to the
//      client
//     {"do":"answer","port":P,"size":N,"number":N} -> {"error":ERRNO}: one datagram to the client, of any
//     size
//     {"do":"connect","port":P}                    -> {"error":ERRNO,"by":ADDRESS}: a TCP connection to the
//     client
//
// What it sends unasked goes to the address that the TCP connection comes from, and is bounded.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <srd/port_range.hpp>

#include "net/train.hpp"

namespace srd::tool {

inline constexpr std::uint16_t doctor_port = 7470;
/// What the first line on stdout begins with, before the port: who has started it waits for that.
inline constexpr std::string_view listening_words = "listening at UDP and TCP port ";

struct ListenOptions {
    std::uint16_t port = 0; ///< 0: the first that is free of the range, or doctor_port
    PortRange range;        ///< all its receiving ports are answered at
};

class Listener {
public:
    /// Called with a line for the person who looks on.
    explicit Listener(std::function<void(const std::string&)> tell) : tell_(std::move(tell)) {}

    /// 0, or errno with a sentence.
    int open(const ListenOptions& options, std::string& error);
    std::uint16_t port() const noexcept { return port_; }
    /// Answers until `end`, or until there is an end of `input` (-1: none), whose contents are nothing to us.
    void run(Clock::time_point end, int input = -1);

private:
    struct Session {
        std::uint64_t id = 0;
        LineChannel channel;
        SocketAddress client; ///< port 0
        SocketAddress local;  ///< port 0
        Clock::time_point heard;
        Tally tally;
    };

    int open_family(int family, std::uint16_t port);
    void open_range_ports(int family);
    void answer_datagrams(std::size_t index);
    void accept_client(const FileDescriptor& listener);
    void serve_client();
    nlohmann::json act(const nlohmann::json& request);
    nlohmann::json send_train_to_client(const nlohmann::json& request);
    nlohmann::json greet() const;
    void end_session(const char* why);

    std::function<void(const std::string&)> tell_;
    PortRange range_;
    std::uint16_t port_ = 0;
    std::vector<FileDescriptor> listeners_;
    std::vector<UdpPort> ports_;
    std::vector<UdpPort> others_; ///< per family, what answers come from that shall come from another port
    std::optional<Session> session_;
};

} // namespace srd::tool
