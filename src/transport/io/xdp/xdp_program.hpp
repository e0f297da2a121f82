// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The program at an interface's ingress that gives our packets to AF_XDP
// sockets and lets everything else pass to the kernel.
//
// One program serves all endpoints of an interface. It knows for every receive
// queue whose socket it is: packets to that address and port go to the socket, packets
// to other endpoints of ours pass, and their UDP sockets take them. It is held by a
// bpf_link, which the kernel detaches when the last process that has it ends,
// however it ends; nothing is pinned anywhere.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>

#include <sys/types.h>

#include <srd/address.hpp>
#include <srd/file_descriptor.hpp>

#include "io/xdp/xdp_library.hpp"

namespace srd {

enum class XdpMode : std::uint8_t {
    any,     ///< native if the driver can, else generic
    native,  ///< in the driver
    generic, ///< in the kernel's stack; any driver
};

class XdpProgram {
public:
    static constexpr std::uint32_t max_queues = 256;

    /// Network namespace (device and inode of its file) and index of the interface in it.
    using ProgramKey = std::tuple<dev_t, ino_t, unsigned>;

    /// The program on interface `index` in this thread's network namespace: the one this process has, that of
    /// another process of ours (that takes CAP_SYS_ADMIN), or a new one. Returns 0, or errno with a
    /// sentence: EBUSY if somebody else's program is still there after half a second. Any thread.
    static int attach(const XdpLibrary& library, unsigned index, const std::string& interface, XdpMode mode,
                      std::shared_ptr<XdpProgram>& program, std::string& error);

    bool native() const noexcept { return native_; }

    /// From now on frames of at most `max_frame` bytes to `local` that come in by `queue` go to `socket`.
    /// Returns 0 or errno.
    int add(std::uint32_t queue, const SocketAddress& local, std::uint32_t max_frame, int socket);
    void remove(std::uint32_t queue) noexcept;

private:
    explicit XdpProgram(const XdpLibrary& library) noexcept : library_(library) {}

    /// One attempt, under the lock of the process's programs: it never sleeps.
    static int find_or_create(const XdpLibrary& library, const ProgramKey& key, XdpMode mode,
                              std::shared_ptr<XdpProgram>& program, std::string& error);
    int create(unsigned index, XdpMode mode, std::string& error);
    int load();
    /// Takes over the program of another process; false if it is not ours or out of reach.
    bool join(unsigned index, std::uint32_t program_id);
    bool find_maps();
    bool find_link(unsigned index);

    const XdpLibrary& library_;
    FileDescriptor queues_;  // map: receive queue -> whose
    FileDescriptor sockets_; // map: receive queue -> AF_XDP socket
    FileDescriptor program_;
    FileDescriptor link_;
    bool native_ = false;
};

} // namespace srd
