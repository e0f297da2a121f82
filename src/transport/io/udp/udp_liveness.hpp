// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Does a silent peer's process still exist? UDP cannot say: a stopped process
// and a dead one are equally silent. TCP can, because the kernel answers for the
// process: every endpoint listens on the TCP port of the same number as its UDP
// port, and a probe connects to that. Accepted: the process holds the port, even
// if it is stopped. Reset: nobody does. No answer says nothing (a firewall, a
// dead host), so nothing is reported.
//
// No data is ever exchanged. Probes close with a reset, and the listener defers
// accepting until data would come, so that neither side keeps any state of
// them, however long the listening process is stopped.
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

    void set_listener(FileDescriptor listener) noexcept { listener_ = std::move(listener); }

    /// Starts a probe of `address`. Does nothing if one is on its way, or if too many are.
    void probe(RouteId route, const SocketAddress& address, NoticeQueue& notices, Time now);

    /// Cheap when nothing is due; otherwise collects answers, ends probes without one, and closes
    /// connections to the listener that are no probes.
    void poll(NoticeQueue& notices, Time now)
    {
        if (now >= next_check_) {
            check(notices, now);
        }
    }
    /// Collects the answers that are there.
    void collect(NoticeQueue& notices);

private:
    static constexpr Duration probe_timeout = std::chrono::seconds(1);
    static constexpr Duration probe_interval =
        std::chrono::milliseconds(2);                                  // between looks at pending probes
    static constexpr Duration idle_interval = std::chrono::seconds(1); // between looks at the listener

    struct Probe {
        FileDescriptor socket;
        RouteId route{};
        Time deadline{};
    };

    void check(NoticeQueue& notices, Time now);
    void remove(std::size_t index) noexcept;
    void close_strangers() noexcept;

    SocketAddress local_;
    const FileDescriptor& epoll_;
    std::uint32_t epoll_tag_;
    FileDescriptor listener_;
    std::array<Probe, 64> probes_; // more peers than fall silent at once; the engine asks again
    std::size_t probe_count_ = 0;
    Time next_check_{};
};

} // namespace srd
