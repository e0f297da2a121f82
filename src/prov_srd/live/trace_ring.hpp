// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The last events of an endpoint, in a file (srd/trace.hpp). It goes with the object; that of a process that
// ends otherwise stays, until there are more than `kept` of a user.
//
// Threading: one thread at a time, as the engine that tells it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include <sys/types.h>

#include <srd/address.hpp>
#include <srd/file_descriptor.hpp>
#include <srd/trace.hpp>

namespace srd {

class TraceRing final : public TraceSink {
public:
    static constexpr std::size_t kept = 16;
    using AddressOf = std::function<const SocketAddress&(RouteId)>;

    /// Null, with `error`, if no file can be had. `own`: the endpoint's address; `address_of`: a peer's.
    static std::unique_ptr<TraceRing> make(std::size_t records, const SocketAddress& own,
                                           AddressOf address_of, std::string& error);
    ~TraceRing();
    TraceRing(const TraceRing&) = delete;
    TraceRing& operator=(const TraceRing&) = delete;

    void on_packet(TraceKind kind, RouteId route, std::span<const iovec> bytes) noexcept override;
    void on_event(TraceKind kind, RouteId route, std::uint32_t value) noexcept override;

private:
    TraceRing(FileDescriptor file, std::string name, void* memory, std::size_t records,
              const SocketAddress& own, AddressOf address_of) noexcept;
    TraceRecord& begin(TraceKind kind, RouteId route) noexcept;
    void end(TraceRecord& record) noexcept;

    FileDescriptor file_;
    const std::string name_;
    TraceHeader* const header_;
    TraceRecord* const records_;
    const std::size_t record_count_;
    const AddressOf address_of_;
    const pid_t owner_;
    std::uint64_t next_ = 0;
};

} // namespace srd
