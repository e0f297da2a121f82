// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// FI_EP_RDM endpoints: the progress unit {Engine, PacketIo, matching, lock}.
//
//   endpoint.cpp          open, bind, enable, close
//   endpoint_options.cpp  names, flags, options
//   transfer.cpp          passes, addresses, what all transmit calls share, sends, the engine's events
//   receive.cpp           receives: matching, placing, completing, peeking
//   rma.cpp               reads and writes of registered memory, at both ends
//   atomics.cpp           the same for atomics
//   ops_msg.cpp, ops_tagged.cpp, ops_rma.cpp, ops_atomic.cpp
//                         the libfabric calls, which only fill in arguments
//
// Threading: the calls of libfabric that move data, and progress(), may be made by
// any thread (subject to the domain's threading model) and take `lock`.
// fi_ep_bind, fi_enable, fi_setopt and fi_close are serialized by the
// application, as fi_endpoint(3) asks.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_endpoint.h>

#include <srd/address.hpp>
#include <srd/counters.hpp>
#include <srd/limits.hpp>
#include <srd/slab.hpp>
#include <srd/time.hpp>

#include "endpoint/requests.hpp"
#include "engine.hpp"
#include "io/core/packet_io.hpp"
#include "matching/match.hpp"
#include "mr_table.hpp"
#include "objects/av.hpp"
#include "objects/fork.hpp"
#include "progress/progress_lock.hpp"

namespace srd {

struct Domain;
struct CompletionQueue;
struct CompletionCounter;
struct Completion;
struct CompletionError;
struct EventQueue;
class ProgressGroup;

struct Endpoint;

/// What libfabric's calls get as an endpoint: the endpoint itself, or an alias (fi_ep_alias), which differs
/// by its default flags only.
struct EndpointFace {
    fid_ep fid{}; ///< must be first
    Endpoint& endpoint;
    // Of operations without a flags argument; changed by control calls only.
    std::uint64_t tx_flags;
    std::uint64_t rx_flags;
};

struct Endpoint : EndpointFace {
    Endpoint(Domain& owner, const fi_info& info, void* context);
    ~Endpoint();
    Endpoint(const Endpoint&) = delete;
    Endpoint& operator=(const Endpoint&) = delete;

    // -- Data transfer: 0 or a negative fi_errno ------------------------------

    ssize_t send(const SendArguments& arguments) noexcept SRD_EXCLUDES(lock);
    ssize_t access(const RmaArguments& arguments) noexcept SRD_EXCLUDES(lock);
    ssize_t atomic(const AtomicArguments& arguments) noexcept SRD_EXCLUDES(lock);
    ssize_t receive(const ReceiveArguments& arguments) noexcept SRD_EXCLUDES(lock);
    int cancel(const void* context) noexcept SRD_EXCLUDES(lock);
    /// The domain's table does not have `key` any more: from the return on nothing here touches its memory.
    void revoke(std::uint64_t key) noexcept SRD_EXCLUDES(lock);

    // -- Progress -----------------------------------------------------------

    /// One pass, unless another thread is inside. True if anything happened.
    bool progress(Time now) noexcept SRD_EXCLUDES(lock);
    /// The caller is going to sleep on io_fd(); `deadline` is lowered to the next timer.
    /// False: packets wait.
    bool arm_sleep(Time& deadline) noexcept SRD_EXCLUDES(lock);
    void disarm_sleep() noexcept SRD_EXCLUDES(lock);
    /// Opened for fi_trigger(3).
    bool triggerable() const noexcept { return (caps_ & FI_TRIGGER) != 0; }
    /// Deferred work that is not complete is going to be counted by `counter`.
    bool counts_work_by(const CompletionCounter& counter) noexcept SRD_EXCLUDES(lock);
    bool enabled() const noexcept { return enabled_.load(std::memory_order_acquire); }
    /// Valid while enabled.
    int io_fd() const noexcept { return io_fd_; }

    // -- Control (endpoint.cpp): 0 or a negative fi_errno ---------------------

    int bind(::fid& object, std::uint64_t flags);
    int enable();
    int close() noexcept;
    /// `face`: this endpoint or the alias that the call was made with.
    int control(EndpointFace& face, int command, void* argument) noexcept;
    int close_alias(EndpointFace& alias) noexcept;
    int get_name(void* address, std::size_t* size);
    int set_name(const void* address, std::size_t size);
    int get_option(int level, int option, void* value, std::size_t* size) noexcept;
    int set_option(int level, int option, const void* value, std::size_t size) noexcept;

    Domain& domain;
    ProgressLock lock;

private:
    /// What the application wants to know when something it started completes.
    struct TransmitRecord {
        bool wants_completion;
        bool silent;
        void* context;
        std::uint64_t flags; ///< of the completion
        CountedBy counted_by;
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

    /// In a child of fork() this copy does nothing any more.
    struct ForkWatch final : ForkObserver {
        explicit ForkWatch(Endpoint& owner) : endpoint(owner) {}
        void forked() noexcept override
        {
            endpoint.enabled_.store(false);
            endpoint.lock.abandon();
        }
        Endpoint& endpoint;
    };
    /// What fi_getopt() and fi_setopt() call FI_OPT_MAX_..._SIZE and FI_OPT_INJECT_..._SIZE.
    enum class SizeKind : std::uint8_t { msg, tagged, rma, atomic };
    static constexpr std::size_t size_kind_count = 4;
    struct SizeLimits {
        std::atomic<std::size_t> size{0};   ///< longest operation, bytes
        std::atomic<std::size_t> inject{0}; ///< longest with FI_INJECT, bytes
    };

    // endpoint_options.cpp
    /// The most that the info allows: what the limits are at first.
    std::size_t size_bound(SizeKind kind, bool inject) const noexcept;
    int set_size(SizeKind kind, bool inject, std::size_t value) noexcept;
    int open_alias(const EndpointFace& original, const struct fi_alias& request);

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
    void flush() noexcept SRD_REQUIRES(lock);
    void wake_sleepers() noexcept SRD_REQUIRES(lock);
    void on_event(const Event& event, Time now) noexcept SRD_REQUIRES(lock);
    void on_message(const Event& event, Time now) noexcept SRD_REQUIRES(lock);
    void on_message_lost(const Event& event) noexcept SRD_REQUIRES(lock);
    void on_send_done(const Event& event) noexcept SRD_REQUIRES(lock);
    void report_failed_transmit(const TransmitRecord& record, int error, Cause cause, RouteId route) noexcept
        SRD_REQUIRES(lock);

    /// Flags and sizes that no transmit call takes: 0 or a negative fi_errno, with a line about `call`.
    ssize_t check_transmit(const char* call, SizeKind kind, std::uint64_t flags,
                           std::size_t length) const noexcept;
    /// The common part of every transmit call. `operation` lacks what the request says; `completion`: the
    /// flags of its completion; `counter`: counts it, or null. 0 or a negative fi_errno.
    ssize_t start(Operation& operation, const Request& request, std::uint64_t completion,
                  CompletionCounter* counter) noexcept SRD_EXCLUDES(lock);

    // rma.cpp, atomics.cpp
    void on_write(const Event& event, Time now) noexcept SRD_REQUIRES(lock);
    void on_read(const Event& event, Time now) noexcept SRD_REQUIRES(lock);
    void on_read_served(const Event& event) noexcept SRD_REQUIRES(lock);
    void on_atomic(const Event& event, Time now) noexcept SRD_REQUIRES(lock);
    /// The memory that `peer` names, if it may have that access. Else `cause` is for reject(), and the log
    /// has a line.
    Resolved find_memory(const RemoteRange& range, Access access, PeerId peer) noexcept SRD_REQUIRES(lock);
    /// A peer's operation is complete, which did all of `access` to each of the regions (Resolved::owner, at
    /// most max_iov, possibly repeated): counts it here and at each region.
    void count_access(std::span<const void* const> regions, Access access) noexcept SRD_REQUIRES(lock);

    // receive.cpp
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
    static Arrival arrival_of(const UnexpectedRecord& record) noexcept;
    bool take_unexpected(std::uint32_t index, std::uint32_t found, Time now) noexcept SRD_REQUIRES(lock);
    void complete_receive(std::uint32_t index, Cause cause, std::uint64_t length) noexcept SRD_REQUIRES(lock);
    void report_receive(const ReceiveRecord& record, Completion& completion, Cause cause, bool wanted,
                        std::uint64_t length) noexcept SRD_REQUIRES(lock);
    /// Writes a completion of this endpoint's receiving side, which was caused from `from`.
    void report_arrival(Completion& completion, RouteId from) noexcept SRD_REQUIRES(lock);
    void report_cancel(const ReceiveRecord& record) noexcept SRD_REQUIRES(lock);
    void report_unstarted(const ReceiveArguments& arguments, int error, Cause cause) noexcept
        SRD_REQUIRES(lock);
    CountedBy counted_by(const ReceiveArguments& arguments, bool& silent) const noexcept;
    void report_message(const ReceiveArguments& arguments, const UnexpectedRecord& record) noexcept
        SRD_REQUIRES(lock);

    // transfer.cpp
    void report_failure(CompletionQueue* cq, CompletionError& failure, RouteId route) noexcept
        SRD_REQUIRES(lock);
    std::string peer_text(RouteId route) const noexcept SRD_REQUIRES(lock);
    void warn_of_peer(RouteId route, Cause cause) noexcept SRD_REQUIRES(lock);
    bool wants_entry(std::uint64_t flags, bool selective) const noexcept
    {
        return !selective || (flags & FI_COMPLETION) != 0;
    }

    /// The peer or route of `fi_addr`, made on first use. 0 or a negative fi_errno.
    ssize_t find_peer(fi_addr_t fi_addr, PeerId& peer) noexcept SRD_REQUIRES(lock)
    {
        if (fi_addr < destinations_.size() && destinations_[fi_addr].peer != no_id<PeerId>) [[likely]] {
            peer = destinations_[fi_addr].peer;
            return 0;
        }
        return open_peer(fi_addr, peer);
    }
    ssize_t open_peer(fi_addr_t fi_addr, PeerId& peer) noexcept SRD_REQUIRES(lock);
    ssize_t find_route(fi_addr_t fi_addr, RouteId& route) noexcept SRD_REQUIRES(lock);
    void forget_destination(fi_addr_t fi_addr, std::span<const std::byte> address) noexcept
        SRD_EXCLUDES(lock);
    fi_addr_t source_of(RouteId route) noexcept SRD_REQUIRES(lock);

    std::atomic<std::uint32_t> aliases_{0};

    // From fi_info.
    const std::uint64_t caps_;
    const std::size_t inject_size_;
    const std::size_t message_size_;
    std::array<SizeLimits, size_kind_count> limits_; ///< by SizeKind
    const std::size_t rx_size_;
    SocketAddress wanted_address_;
    std::atomic<std::size_t> min_multi_receive_;

    // Bindings.
    Observer observer_{*this};
    ForkWatch fork_watch_{*this};
    AddressVector* av_ = nullptr;
    EventQueue* event_queue_ = nullptr;
    CompletionQueue* tx_cq_ = nullptr;
    CompletionQueue* rx_cq_ = nullptr;
    bool tx_selective_ = false;
    bool rx_selective_ = false;
    // fi_endpoint(3): reads count with fetching atomics, writes with the others.
    CompletionCounter* send_counter_ = nullptr;
    CompletionCounter* receive_counter_ = nullptr;
    CompletionCounter* read_counter_ = nullptr;
    CompletionCounter* write_counter_ = nullptr;
    CompletionCounter* remote_read_counter_ = nullptr;
    CompletionCounter* remote_write_counter_ = nullptr;
    std::vector<CompletionCounter*> counters_bound_; ///< each once

    std::atomic<bool> enabled_{false};
    int io_fd_ = -1;

    // The unit. Made by enable() (the backend already by fi_getname()), in this order.
    Counters counters_;
    std::unique_ptr<PacketIo> io_ SRD_GUARDED_BY(lock);
    std::optional<Engine> engine_ SRD_GUARDED_BY(lock);
    std::unique_ptr<Matcher> matcher_ SRD_GUARDED_BY(lock);
    std::optional<Slab<TransmitRecord>> transmits_ SRD_GUARDED_BY(lock);
    std::uint32_t receive_limit_ = 0;                            ///< receives that may be posted at one time
    std::vector<Destination> destinations_ SRD_GUARDED_BY(lock); ///< by fi_addr_t
    MrTable::Cache region_cache_ SRD_GUARDED_BY(lock);
    std::vector<KnownSource> sources_ SRD_GUARDED_BY(lock); ///< by RouteId; only with FI_SOURCE

    // Threads that sleep on io_fd() until a time.
    int sleepers_ SRD_GUARDED_BY(lock) = 0;
    Time passed_at_ SRD_GUARDED_BY(lock){}; ///< of the last pass
    Time asleep_until_ SRD_GUARDED_BY(lock) = Time::min();
};

inline EndpointFace& face_from(fid_ep* endpoint) noexcept
{
    return *static_cast<EndpointFace*>(static_cast<void*>(endpoint));
}
inline Endpoint& endpoint_from(fid_ep* endpoint) noexcept
{
    return face_from(endpoint).endpoint;
}

// The tables of ops_msg.cpp, ops_tagged.cpp, ops_rma.cpp and ops_atomic.cpp.
extern fi_ops_msg msg_ops;
extern fi_ops_tagged tagged_ops;
extern fi_ops_rma rma_ops;
extern fi_ops_atomic atomic_ops;

} // namespace srd
