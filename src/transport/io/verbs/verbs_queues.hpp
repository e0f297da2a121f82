// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The queue pairs of one endpoint on one RoCE port.
//
// One UD queue pair receives; it has enough posted receives that no shared receive queue is needed. The
// others send only, for two reasons. A failed send stops its queue pair, which is then replaced by one with
// another number, so peers must not know it. And devices without flow labels (rdma_rxe) derive the UDP source
// port from the sending queue pair, so each is a path. On hardware, flow labels of address handles make
// several paths of each of few queue pairs.
//
// Packets are copied into registered slots, small ones (max_inline) into the work
// request itself. Gathering them from the engine's and the user's memory would need that
// memory registered; see docs/architecture.md. The last packet that one tx_flush() posts to a queue pair
// is signalled; its completion is also that of the ones before it.
//
// A device with reliable datagram queue pairs of its own would be a sibling of this class.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <srd/counters.hpp>
#include <srd/time.hpp>

#include "io/core/arrival_time.hpp"
#include "io/core/io_options.hpp"
#include "io/core/packet_io.hpp"
#include "io/verbs/verbs_device.hpp"

namespace srd {

/// Page-aligned memory on the device's NUMA node, registered with it, and not inherited by children of
/// fork().
class VerbsSlab {
public:
    VerbsSlab() = default;
    VerbsSlab(const VerbsSlab&) = delete;
    VerbsSlab& operator=(const VerbsSlab&) = delete;
    ~VerbsSlab();

    /// 0, or errno with a sentence.
    int open(ibv_pd* pd, std::size_t bytes, int numa_node, std::string& error);
    std::byte* data() const noexcept { return data_; }
    std::uint32_t key() const noexcept { return mr_->lkey; }

private:
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
    VerbsMr mr_;
};

/// Where a packet goes: the peer's receiving queue pair.
struct VerbsTarget {
    ibv_ah* handle = nullptr;
    std::uint32_t queue_pair = 0;
    std::uint32_t key = 0; ///< Q_Key
};

class VerbsQueues {
public:
    struct Config {
        VerbsPort port;
        std::uint16_t senders = 1;  ///< queue pairs that send, 1..64
        std::uint32_t rx_bytes = 0; ///< memory for packets to receive
        std::uint32_t key = 0;      ///< Q_Key that packets to us must carry; random
        IoLog log;
    };

    static constexpr std::uint32_t max_payload = 4096; ///< of any UD packet

    VerbsQueues(Config config, Counters& counters) : config_(std::move(config)), counters_(counters) {}
    VerbsQueues(const VerbsQueues&) = delete;
    VerbsQueues& operator=(const VerbsQueues&) = delete;
    ~VerbsQueues();

    /// 0, or errno with a sentence.
    int open(std::string& error);

    const VerbsContext& context() const noexcept { return *context_; }
    ibv_pd* pd() const noexcept { return pd_.get(); }
    std::uint32_t receiving_number() const noexcept { return receiver_->qp_num; }
    std::uint32_t rx_capacity() const noexcept { return buffer_count_ * max_payload; }
    int wait_fd() const noexcept { return channel_->fd; }

    /// Packets of all senders. The memory is valid until rx_release().
    std::size_t rx_burst(std::span<RxPacket> packets, Time now);
    void rx_release() noexcept;
    /// False once the device refuses to receive: the receiving queue pair has failed for good.
    bool rx_works() const noexcept { return rx_works_; }
    /// Before a sleep on wait_fd(): true if there is nothing to receive.
    bool arm_wait();

    /// Frees the slots of packets that the device has sent.
    void tx_collect(Time now);
    /// Queues the packet for tx_flush(); its memory must stay valid until then. Of `packet` only iov and
    /// length matter. False: no room now.
    bool tx_push(const TxPacket& packet, const VerbsTarget& target, std::size_t sender);
    /// True if the sender works; replaces a broken one now and then.
    bool tx_works(std::size_t sender, Time now);
    void tx_flush();

private:
    static constexpr std::uint32_t grh_bytes = 40; // in front of every received packet
    static constexpr std::uint32_t rx_lead = 24;   // so that what follows the GRH is aligned
    static constexpr std::uint32_t rx_stride =
        4096 + 64; // one packet with both; not a power of two, for the caches
    static constexpr std::uint32_t send_depth = 64;     // packets under way per queue pair
    static constexpr std::uint32_t slot_count = 1024;   // over all of them; small packets need none
    static constexpr std::uint32_t wanted_inline = 256; // bytes
    static constexpr std::size_t max_posts = 128;       // work requests that wait for tx_flush()
    static constexpr std::uint16_t no_slot = 0xffff;

    struct Sender {
        VerbsQp qp;
        std::uint16_t generation = 0; // tells late completions of its predecessors
        bool broken = false;
        Time retry_at{};
        bool full = false;
        Time full_since{};
        std::uint32_t posted = 0; // count of work requests, wraps
        std::uint32_t done = 0;
        std::array<std::uint16_t, send_depth> slots{}; // of request i at i % send_depth
        ibv_send_wr* first = nullptr;                  // chain for tx_flush()
        ibv_send_wr* last = nullptr;
    };

    /// Completions that were polled, the first of which nobody has seen.
    struct Completions {
        std::array<ibv_wc, 64> items{};
        std::size_t begin = 0;
        std::size_t end = 0;

        bool empty() const noexcept { return begin == end; }
    };

    /// The device does not tell when a packet came. Of those that may have waited for a late poll the
    /// earliest possible time is taken: waiting for us must not look like time in the network, which the peer
    /// would slow down for.
    class ArrivalBound {
    public:
        /// A poll begins; at most `capacity` packets can be waiting.
        void begin_poll(Time now, std::uint32_t capacity) noexcept
        {
            if (now - polled_at_ > late_poll) {
                since_ = waiting_ == 0 ? polled_at_ : since_;
                waiting_ = capacity;
            }
            polled_at_ = now;
        }
        /// When the next packet of the poll came.
        Time next(Time now) noexcept
        {
            if (waiting_ == 0) {
                return now;
            }
            --waiting_;
            return since_;
        }
        /// There are no more packets.
        void note_empty() noexcept { waiting_ = 0; }

    private:
        Time polled_at_{};
        std::uint32_t waiting_ = 0; // so many packets at most came before the last late poll,
        Time since_{};              // but after this
    };

    int open_queues(std::string& error);
    int fail(const char* what, int code, std::string& error) const;
    VerbsQp make_qp(bool receives);
    void post_buffers(std::span<const std::uint32_t> buffers) noexcept;
    std::byte* buffer(std::uint32_t index) const noexcept
    {
        return rx_slab_.data() + std::size_t{index} * rx_stride;
    }
    void finish(Sender& sender, std::uint32_t until) noexcept;
    void poll_received();

    const Config config_;
    Counters& counters_;
    std::unique_ptr<VerbsContext> context_;
    VerbsPd pd_;
    std::unique_ptr<ibv_comp_channel, VerbsDelete<&VerbsLibrary::destroy_comp_channel>> channel_;
    VerbsSlab rx_slab_;
    VerbsSlab tx_slab_;
    VerbsCq rx_cq_;
    VerbsCq tx_cq_;
    VerbsQp receiver_;
    std::vector<Sender> senders_;
    std::uint32_t inline_bytes_ = 0;
    std::uint32_t buffer_count_ = 0;
    bool rx_works_ = true;
    ArrivalBound arrivals_;
    bool send_warned_ = false;
    Completions received_;
    std::vector<std::uint32_t> held_; // buffers whose packets are the caller's until rx_release()
    std::vector<ibv_recv_wr> recv_requests_;
    std::vector<ibv_sge> recv_pieces_;

    std::vector<std::uint16_t> free_slots_;
    std::array<ibv_send_wr, max_posts> requests_{};
    std::array<std::array<ibv_sge, max_tx_iov>, max_posts> pieces_{};
    std::size_t request_count_ = 0;
};

} // namespace srd
