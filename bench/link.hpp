// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// An endpoint and the one peer it talks to, as an ordinary application of libfabric would open and use them.
// Nothing here knows a provider's name or takes another way because of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_atomic.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>

#include "control.hpp"
#include "options.hpp"

namespace bench {

// A tag says what a message is; only the low bits differ within a kind, and
// data receives ignore those. The last message of a stream carries its length.
inline constexpr std::uint64_t tag_verify = std::uint64_t{1} << 40;
inline constexpr std::uint64_t tag_data = std::uint64_t{2} << 40;
inline constexpr std::uint64_t tag_last = std::uint64_t{1} << 36;
inline constexpr std::uint64_t tag_count_mask = tag_last - 1;
inline constexpr std::uint64_t tag_ignore = tag_last | tag_count_mask;

inline constexpr std::size_t verify_messages = 16;
inline constexpr std::size_t guard_bytes = 64;
/// Of a latency test, though one lost packet may cost a peer the whole time.
inline constexpr std::size_t min_samples = 200;
inline constexpr std::size_t max_samples = std::size_t{1} << 21;

struct CloseFid {
    template <typename Object>
    void operator()(Object* object) const
    {
        fi_close(&object->fid);
    }
};
template <typename Object>
using Handle = std::unique_ptr<Object, CloseFid>;

struct FreeInfo {
    void operator()(fi_info* info) const { fi_freeinfo(info); }
};
using Info = std::unique_ptr<fi_info, FreeInfo>;

/// `result`, unless it is a negative fi_errno: then an Error.
std::int64_t check(const char* call, std::int64_t result);

/// The content of byte `offset` of message `message` while data is verified.
inline std::byte pattern(std::size_t message, std::size_t offset)
{
    return static_cast<std::byte>(message * 37 + offset * 11 + (offset >> 8) * 5 + 1);
}

class Link {
public:
    Link(const Options& options, const Control& control, std::size_t largest);

    void print_description() const;
    const Control& control() const { return control_; }
    /// Does the provider add to 64-bit words? Some say that they have atomics, and mean others.
    bool can_fetch_add() const;
    std::size_t window() const { return window_; }
    std::size_t free_sends() const { return free_tx_.size(); }
    std::uint64_t received() const { return received_; }
    bool last_seen() const { return last_seen_; }
    std::uint64_t last_count() const { return last_count_; }

    // -- Messages -------------------------------------------------------------

    /// Begins a test of messages of `size` bytes: counts from zero, `receives` posted.
    void begin(std::size_t size, std::size_t receives);
    /// Posts receives for those that completed, until as many are posted as begin() asked for.
    void refill();
    /// False: the provider said -FI_EAGAIN; poll() and try again.
    bool try_send(std::size_t size, std::uint64_t tag) { return try_send(tx_memory_.data(), size, tag); }
    void send(std::size_t size, std::uint64_t tag);
    void send_and_forget(std::size_t size, std::uint64_t tag);
    void verify(std::size_t size, int rank);

    // -- Remote memory ----------------------------------------------------------

    /// A range of the local memory and of the peer's, in bytes.
    struct Range {
        std::size_t at;
        std::size_t size;
    };
    std::vector<std::byte>& tx_memory() { return tx_memory_; }
    std::vector<std::byte>& rx_memory() { return rx_memory_; }
    /// From tx_memory() to the peer's rx_memory(); completes when it is there. False: -FI_EAGAIN.
    bool try_write(Range range);
    /// The same, but nothing completes: injected where the provider can. Takes what is in tx_memory() now.
    void write_and_forget(Range range);
    /// From the peer's rx_memory() to tx_memory(). False: -FI_EAGAIN.
    bool try_read(Range range);
    /// Adds the 64-bit word at the start of tx_memory() to the one at the start of the peer's rx_memory(),
    /// whose old value goes `result_offset` bytes into tx_memory(). False: -FI_EAGAIN.
    bool try_fetch_add();
    static constexpr std::size_t result_offset = 64;
    /// Makes progress for the peer's operations until both ranks are here.
    void serve();

    // -- Progress -----------------------------------------------------------------

    /// Reads completions once. True if there were any.
    bool poll();
    /// Polls until `done()`; throws when nothing at all completes for the timeout.
    template <typename Done>
    void wait(const char* what, Done&& done)
    {
        Watch watch{.completions = completions_};
        for (std::uint32_t empty = 0; !done();) {
            // The clock and the other process are looked at rarely: they must not slow the loop.
            if (!poll() && (++empty & 4095U) == 0) {
                look_around(what, watch);
            }
        }
    }
    void wait_sent()
    {
        wait("send completions", [&] { return free_tx_.size() == tx_contexts_.size(); });
    }
    /// Both ranks meet, progressing meanwhile, so neither starves the other of acknowledgements.
    void meet();

private:
    struct Watch {
        std::uint64_t completions; ///< as they were when something last completed
        std::int64_t since = 0;    ///< ... and when that was
        std::int64_t checked = 0;  ///< when the other process was last looked at
    };

    void open(const Options& options);
    void open_endpoint();
    void exchange_addresses();
    void exchange_keys();
    void register_memory(std::vector<std::byte>& memory, Handle<fid_mr>& region, std::uint64_t key,
                         std::uint64_t access);
    void complete(const fi_cq_tagged_entry& entry);
    void look_around(const char* what, Watch& watch) const;
    [[noreturn]] void throw_completion_error();
    bool try_send(const std::byte* buffer, std::size_t size, std::uint64_t tag);
    bool try_receive(std::byte* buffer, std::size_t length, std::uint64_t tag, std::uint64_t ignore);
    /// Takes a context of free_tx_ if `result` says that an operation has begun.
    bool begun(const char* call, ssize_t result);

    const Control& control_;
    std::int64_t timeout_ns_;
    std::int64_t load_ns_ = 0;    ///< of libfabric itself
    std::int64_t startup_ns_ = 0; ///< fi_getinfo to enabled endpoint, libfabric loaded
    std::size_t largest_;         ///< bytes of the largest message of the run
    Info info_;
    std::size_t inject_limit_ = 0; ///< bytes
    Handle<fid_fabric> fabric_;
    Handle<fid_domain> domain_;
    Handle<fid_cq> cq_;
    Handle<fid_av> av_;
    std::vector<std::byte> tx_memory_;
    std::vector<std::byte> rx_memory_;
    Handle<fid_mr> tx_region_;
    Handle<fid_mr> rx_region_;
    void* tx_desc_ = nullptr;
    void* rx_desc_ = nullptr;
    Handle<fid_ep> endpoint_; // closed first: it uses all of the above
    fi_addr_t peer_ = FI_ADDR_UNSPEC;
    std::uint64_t remote_key_ = 0;
    std::uint64_t remote_base_ = 0; ///< what addresses of the peer's rx_memory() count from

    std::size_t window_;
    std::vector<fi_context2> tx_contexts_;
    std::vector<fi_context2> rx_contexts_;
    std::vector<fi_context2*> free_tx_;
    std::vector<fi_context2*> free_rx_;
    std::size_t receives_posted_ = 0;
    std::size_t receives_wanted_ = 0;
    std::size_t expected_size_ = 0;
    std::uint64_t completions_ = 0;
    std::uint64_t received_ = 0;
    std::uint64_t last_count_ = 0;
    bool last_seen_ = false;
    bool verifying_ = false;
};

// message_tests.cpp
/// All of the tests of messages that `options` ask for, verified first.
void run_message_tests(Link& link, const Options& options);
// remote_tests.cpp
/// The same for writes, reads and atomics. What the provider does not offer is left out, with a line.
void run_remote_tests(Link& link, const Options& options);

} // namespace bench
