// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// FI_EP_RDM endpoints: the progress unit {Engine, PacketIo, matching, lock}.
//
//   endpoint.cpp          open, bind, enable, close
//   endpoint_options.cpp  names, flags, options
//   transfer.cpp          passes, addresses, sends, the engine's events
//   receive.cpp           receives: matching, placing, completing, peeking
//   ops_msg.cpp, ops_tagged.cpp   the libfabric calls, which only fill in arguments
//
// Threading: the calls of libfabric that move data, and progress(), may be made by
// any thread (subject to the domain's threading model) and take `lock`.
// fi_ep_bind, fi_enable, fi_setopt and fi_close are serialized by the
// application, as fi_endpoint(3) asks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_endpoint.h>

#include <srd/counters.hpp>
#include <srd/limits.hpp>
#include <srd/slab.hpp>
#include <srd/time.hpp>

#include "address.hpp"
#include "av.hpp"
#include "engine.hpp"
#include "io/packet_io.hpp"
#include "match.hpp"
#include "progress_lock.hpp"

namespace srd {

struct Domain;
struct CompletionQueue;
struct CompletionCounter;
struct Completion;
struct CompletionError;
struct EventQueue;
class ProgressGroup;

/// A send of any kind. `flags`: operation flags of fi_msg(3).
struct SendArguments {
    const iovec* iov;
    std::size_t count;
    fi_addr_t to;
    std::uint64_t tag;
    std::uint64_t data;
    void* context;
    std::uint64_t flags;
    bool tagged;
    bool silent; ///< fi_inject and its kin: never a completion entry
};

/// A receive of any kind.
struct ReceiveArguments {
    const iovec* iov;
    std::size_t count;
    fi_addr_t from;
    std::uint64_t tag;
    std::uint64_t ignore;
    void* context;
    std::uint64_t flags;
    bool tagged;
};

struct Endpoint {
    Endpoint(Domain& owner, const fi_info& info, void* context);
    ~Endpoint();
    Endpoint(const Endpoint&) = delete;
    Endpoint& operator=(const Endpoint&) = delete;

    // -- Data transfer (transfer.cpp): 0 or a negative fi_errno ---------------

    ssize_t send(const SendArguments& arguments) noexcept SRD_EXCLUDES(lock);
    ssize_t receive(const ReceiveArguments& arguments) noexcept SRD_EXCLUDES(lock);
    int cancel(const void* context) noexcept SRD_EXCLUDES(lock);

    // -- Progress -----------------------------------------------------------

    /// One pass, unless another thread is inside. True if anything happened.
    bool progress(Time now) noexcept SRD_EXCLUDES(lock);
    /// The caller is going to sleep on io_fd(); `deadline` is lowered to the next timer.
    /// False: packets wait.
    bool arm_sleep(Time& deadline) noexcept SRD_EXCLUDES(lock);
    void disarm_sleep() noexcept SRD_EXCLUDES(lock);
    bool enabled() const noexcept { return enabled_.load(std::memory_order_acquire); }
    /// Valid while enabled.
    int io_fd() const noexcept { return io_fd_; }

    // -- Control (endpoint.cpp): 0 or a negative fi_errno ---------------------

    int bind(::fid& object, std::uint64_t flags);
    int enable();
    int close() noexcept;
    int control(int command, void* argument) noexcept;
    int get_name(void* address, std::size_t* size);
    int set_name(const void* address, std::size_t size);
    int get_option(int level, int option, void* value, std::size_t* size) noexcept;
    int set_option(int level, int option, const void* value, std::size_t size) noexcept;

    fid_ep fid{}; ///< must be first
    Domain& domain;
    ProgressLock lock;

    // Changed by control calls only.
    std::uint64_t tx_flags; ///< of operations without a flags argument
    std::uint64_t rx_flags;

private:
    /// What the application wants to know when a send completes.
    struct SendRecord {
        bool wants_completion;
        bool silent;
        void* context;
        std::uint64_t flags; ///< of the completion
    };
    struct Destination {
        RouteId route = no_id<RouteId>;
        PeerId peer = no_id<PeerId>;
    };
    struct KnownSource {
        std::uint64_t generation = 0; ///< of the address vector when it was looked up
        fi_addr_t address = FI_ADDR_NOTAVAIL;
    };
    /// What is known of a message that is being matched.
    struct Arrival {
        std::uint64_t tag;
        std::uint64_t data;
        std::uint64_t length;
        RouteId from;
        bool has_data;
    };
    struct Observer final : AvObserver {
        explicit Observer(Endpoint& owner) noexcept : endpoint(owner) {}
        void address_removed(fi_addr_t fi_addr, std::span<const std::byte> address) noexcept override
        {
            endpoint.forget_destination(fi_addr, address);
        }
        Endpoint& endpoint;
    };

    // endpoint.cpp
    int bind_cq(CompletionQueue& cq, std::uint64_t flags);
    int bind_cntr(CompletionCounter& cntr, std::uint64_t flags);
    int check_bindings() const;
    int open_io();
    std::vector<ProgressGroup*> groups() const;
    void linger() noexcept;
    void flush_engine() noexcept SRD_EXCLUDES(lock);
    void write_stats() noexcept;

    // transfer.cpp
    bool pass(Time now) noexcept SRD_REQUIRES(lock);
    void flush(Time now) noexcept SRD_REQUIRES(lock);
    void wake_sleepers() noexcept SRD_REQUIRES(lock);
    void on_event(const Event& event, Time now) noexcept SRD_REQUIRES(lock);
    void on_message(const Event& event, Time now) noexcept SRD_REQUIRES(lock);
    void on_message_lost(const Event& event) noexcept SRD_REQUIRES(lock);
    void on_send_done(const Event& event) noexcept SRD_REQUIRES(lock);

    ssize_t check_send(const SendArguments& arguments, std::size_t& length) const noexcept;
    ssize_t check_receive(const ReceiveArguments& arguments, std::size_t& capacity) const noexcept;
    ssize_t search(const ReceiveArguments& arguments, RouteId source, Time now) noexcept SRD_REQUIRES(lock);
    ssize_t retrieve_claimed(const ReceiveArguments& arguments, std::size_t capacity, Time now) noexcept
        SRD_REQUIRES(lock);
    std::uint32_t new_receive(const ReceiveArguments& arguments, RouteId source,
                              std::size_t capacity) noexcept SRD_REQUIRES(lock);
    bool deliver(std::uint32_t index, MessageId message, const Arrival& arrival, Time now) noexcept
        SRD_REQUIRES(lock);
    bool deliver_share(std::uint32_t index, MessageId message, const Arrival& arrival, Time now) noexcept
        SRD_REQUIRES(lock);
    bool take_unexpected(std::uint32_t index, std::uint32_t found, Time now) noexcept SRD_REQUIRES(lock);
    void complete_receive(std::uint32_t index, Cause cause, std::uint64_t length) noexcept SRD_REQUIRES(lock);
    void report_receive(const ReceiveRecord& record, Completion& completion, Cause cause, bool wanted,
                        std::uint64_t length) noexcept SRD_REQUIRES(lock);
    void report_cancel(const ReceiveRecord& record) noexcept SRD_REQUIRES(lock);
    void report_message(const ReceiveArguments& arguments, const UnexpectedRecord& record) noexcept
        SRD_REQUIRES(lock);
    void report_failure(CompletionQueue* cq, CompletionError& failure, RouteId route) noexcept
        SRD_REQUIRES(lock);
    void warn_of_peer(RouteId route, Cause cause) noexcept SRD_REQUIRES(lock);
    bool wants_entry(std::uint64_t flags, bool selective) const noexcept
    {
        return !selective || (flags & FI_COMPLETION) != 0;
    }

    /// The peer or route of `fi_addr`, made on first use. 0 or a negative fi_errno.
    ssize_t find_peer(fi_addr_t fi_addr, PeerId& peer, Time now) noexcept SRD_REQUIRES(lock)
    {
        if (fi_addr < destinations_.size() && destinations_[fi_addr].peer != no_id<PeerId>) [[likely]] {
            peer = destinations_[fi_addr].peer;
            return 0;
        }
        return open_peer(fi_addr, peer, now);
    }
    ssize_t open_peer(fi_addr_t fi_addr, PeerId& peer, Time now) noexcept SRD_REQUIRES(lock);
    ssize_t find_route(fi_addr_t fi_addr, RouteId& route) noexcept SRD_REQUIRES(lock);
    void forget_destination(fi_addr_t fi_addr, std::span<const std::byte> address) noexcept
        SRD_EXCLUDES(lock);
    fi_addr_t source_of(RouteId route) noexcept SRD_REQUIRES(lock);

    // From fi_info.
    const std::uint64_t caps_;
    const std::size_t inject_limit_;
    const std::size_t message_limit_;
    const std::size_t rx_size_;
    SocketAddress wanted_address_;
    std::atomic<std::size_t> min_multi_receive_;

    // Bindings.
    Observer observer_{*this};
    AddressVector* av_ = nullptr;
    EventQueue* event_queue_ = nullptr;
    CompletionQueue* tx_cq_ = nullptr;
    CompletionQueue* rx_cq_ = nullptr;
    bool tx_selective_ = false;
    bool rx_selective_ = false;
    CompletionCounter* send_counter_ = nullptr;
    CompletionCounter* receive_counter_ = nullptr;
    std::vector<CompletionCounter*> counters_bound_; ///< each once

    std::atomic<bool> enabled_{false};
    int io_fd_ = -1;

    // The unit. Made by enable() (the backend already by fi_getname()), in this order.
    Counters counters_;
    std::unique_ptr<PacketIo> io_ SRD_GUARDED_BY(lock);
    std::optional<Engine> engine_ SRD_GUARDED_BY(lock);
    std::unique_ptr<Matcher> matcher_ SRD_GUARDED_BY(lock);
    std::optional<Slab<SendRecord>> sends_ SRD_GUARDED_BY(lock);
    std::uint32_t receive_limit_ = 0;                            ///< receives that may be posted at one time
    std::vector<Destination> destinations_ SRD_GUARDED_BY(lock); ///< by fi_addr_t
    std::vector<KnownSource> sources_ SRD_GUARDED_BY(lock);      ///< by RouteId; only with FI_SOURCE

    // Threads that sleep on io_fd() until a time.
    int sleepers_ SRD_GUARDED_BY(lock) = 0;
    Time asleep_until_ SRD_GUARDED_BY(lock) = Time::min();
};

inline Endpoint& endpoint_from(fid_ep* endpoint) noexcept
{
    return *static_cast<Endpoint*>(static_cast<void*>(endpoint));
}

// The tables of ops_msg.cpp and ops_tagged.cpp.
extern fi_ops_msg msg_ops;
extern fi_ops_tagged tagged_ops;

} // namespace srd
