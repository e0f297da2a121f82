// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Does a silent peer's process still exist? UDP cannot say: a stopped process
// and a dead one are equally silent. TCP can, because the kernel answers for the
// process: every endpoint listens on the TCP port of the same number as its UDP
// port, and a probe connects to that. Accepted: the process holds the port, even
// if it is stopped. Reset: nobody does. No answer says nothing (a firewall, a
// dead host, a queue full of other people's connections), so nothing is reported.
//
// Probes close with a reset, and the listener admits nothing but the question whether
// a process reads what comes for it (LivenessProbe::reads), which is rare and
// answered by LivenessResponder. So neither side keeps any state of probes, nor of
// strangers' connections, however long the listening process is stopped.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

#include <srd/time.hpp>

#include "io/udp/udp_routes.hpp"
#include "io/udp/udp_socket.hpp"

namespace srd {

/// A TCP socket that listens at `address`; on failure an invalid one and errno in `error`.
FileDescriptor open_liveness_listener(const SocketAddress& address, int& error);

class UdpLiveness {
public:
    /// `local`: where probes come from. `epoll`, which must outlive this: every pending probe is added to it,
    /// with `epoll_tag`.
    UdpLiveness(const SocketAddress& local, const FileDescriptor& epoll, std::uint32_t epoll_tag) noexcept
        : local_(local), epoll_(epoll), epoll_tag_(epoll_tag)
    {
    }

    /// Starts a probe of `address`. Does nothing if one is on its way, or if too many are.
    void probe(RouteId route, LivenessProbe what, const SocketAddress& address, NoticeQueue& notices,
               Time now);

    /// Cheap when nothing is due; otherwise collects answers and ends probes without one.
    void poll(NoticeQueue& notices, Time now)
    {
        if (now >= next_check_) {
            check(notices, now);
        }
    }
    /// Collects the answers that are there.
    void collect(NoticeQueue& notices);

private:
    /// Until the network says that the host is not there.
    static constexpr Duration probe_timeout = std::chrono::seconds(4);
    /// After that, one makes room for another.
    static constexpr Duration probe_patience = std::chrono::seconds(1);
    static constexpr Duration probe_interval = std::chrono::milliseconds(2); ///< between looks at them

    struct Probe {
        FileDescriptor socket;
        RouteId route{};
        LivenessProbe what{};
        bool asked = false; ///< the request is sent, the reply is awaited
        Time since{};
    };

    void check(NoticeQueue& notices, Time now);
    bool make_room(NoticeQueue& notices, Time now);
    bool advance(Probe& probe, NoticeQueue& notices);
    void remove(std::size_t index) noexcept;

    SocketAddress local_;
    const FileDescriptor& epoll_;
    std::uint32_t epoll_tag_;
    std::array<Probe, 64> probes_; // more peers than fall silent at once; the engine asks again
    std::size_t probe_count_ = 0;
    Time next_check_ = time_never;
};

} // namespace srd
