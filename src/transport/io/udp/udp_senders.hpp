// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The sending sockets of paths 1..63: one set per local address and process.
//
// Endpoints share them, so that 64 endpoints do not take 4096 descriptors: a
// receiver tells its peers by connection identifiers, never by source ports.
// Each socket is opened by the first packet that takes its path. When the
// descriptors run out, the remaining paths share those that exist.
//
// What a shared socket's error queue says may concern any of its users, so the
// errors go to a log that all of them read.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include <srd/limits.hpp>
#include <srd/port_range.hpp>

#include "io/core/io_options.hpp"
#include "io/udp/udp_socket.hpp"

namespace srd {

/// A socket that packets leave through. `segmentation` turns false for good when the kernel or the NIC
/// refuses UDP_SEGMENT on it.
struct UdpSender {
    FileDescriptor socket;
    std::atomic<bool> segmentation{true};
};

/// Thread-safe.
class UdpSenders {
public:
    /// The set of `local` (its port does not matter) with the options' ports and interface, made if nobody in
    /// this process has it.
    static std::shared_ptr<UdpSenders> attach(const SocketAddress& local, const IoOptions& options);

    /// In a child of fork(), whose copies of the sockets are closed: later attach()es make new sets.
    static void forget_all() noexcept;

    UdpSenders(const SocketAddress& local, const IoOptions& options) noexcept
        : local_(local), ports_(options.ports), interface_(options.interface),
          socket_buffer_(options.socket_buffer)
    {
    }

    /// The sender of `path` (1..63); nullptr if there is none, then the caller's own socket serves.
    /// Warns through `options` once per set, when descriptors or ports run out.
    UdpSender* sender(std::size_t path, const IoOptions& options)
    {
        UdpSender* known = by_path_[path].load(std::memory_order_acquire);
        return known != nullptr ? known : open(path, options);
    }

    /// Moves what the error queue of `sender` holds to the log. True if there was anything.
    bool collect_errors(UdpSender& sender);

    /// Errors logged so far. Cheap.
    std::uint64_t error_count() const noexcept { return error_count_.load(std::memory_order_acquire); }
    /// Visits the errors logged since `seen`, unless more recent ones have taken their place, and advances
    /// `seen`.
    void read_errors(std::uint64_t& seen, const std::function<void(const SocketError&)>& visit);

private:
    UdpSender* open(std::size_t path, const IoOptions& options);
    FileDescriptor open_socket(std::size_t path, int& error) const;
    std::string shortage(int error, const IoOptions& options) const;

    const SocketAddress local_;
    const PortRange ports_;
    const unsigned interface_;
    const std::uint32_t socket_buffer_;
    std::array<std::atomic<UdpSender*>, max_paths> by_path_{};
    std::atomic<std::uint64_t> error_count_{0};

    std::mutex mutex_; // guards what follows; never held while another lock is taken
    std::array<UdpSender, max_paths> senders_;
    std::size_t opened_ = 0;
    bool exhausted_ = false; // of descriptors, or of the kernel's own choice of ports: no more are tried
    bool warned_ = false;
    std::array<SocketError, 64> errors_; // a ring; an error that is lost is raised again by the next packet
};

} // namespace srd
