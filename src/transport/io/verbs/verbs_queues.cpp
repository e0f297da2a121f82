// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/verbs/verbs_queues.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <srd/check.hpp>
#include <srd/file_descriptor.hpp>

#include "io/core/ip_header.hpp"

namespace srd {

namespace {

constexpr Duration repair_interval = std::chrono::milliseconds(10); // between attempts to renew a sender
constexpr Duration stall_limit =
    std::chrono::seconds(1); // a full sender that gives nothing back so long is stuck

/// A send request's identity, given back by its completion.
struct SendId {
    std::uint16_t sender = 0;
    std::uint16_t generation = 0;
    std::uint32_t until = 0; // the sender's `posted` after this request
};
static_assert(sizeof(SendId) == sizeof(std::uint64_t));

std::string memory_limit_text()
{
    rlimit limit{};
    if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return {};
    }
    return "; memory for RDMA is locked, and RLIMIT_MEMLOCK allows this process " +
           std::to_string(limit.rlim_cur >> 10) +
           " KiB: raise it (ulimit -l, /etc/security/limits.conf, LimitMEMLOCK of a systemd unit) or ask for "
           "smaller buffers";
}

/// Bytes are copied in order; returns how many.
std::uint32_t copy_packet(std::byte* to, const TxPacket& packet) noexcept
{
    std::uint32_t length = 0;
    for (std::size_t i = 0; i < packet.iov_count; ++i) {
        std::memcpy(to + length, packet.iov[i].iov_base, packet.iov[i].iov_len);
        length += static_cast<std::uint32_t>(packet.iov[i].iov_len);
    }
    return length;
}

} // namespace

VerbsSlab::~VerbsSlab()
{
    mr_.reset();
    if (data_ != nullptr) {
        ::munmap(data_, bytes_);
    }
}

int VerbsSlab::open(ibv_pd* pd, std::size_t bytes, int numa_node, std::string& error)
{
    bytes_ = bytes;
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        const int code = errno;
        error = "no address space for " + std::to_string(bytes >> 10) +
                " KiB of memory for packets: " + std::strerror(code);
        return code;
    }
    data_ = static_cast<std::byte*>(memory);
    // The device writes to these pages for as long as the parent lives: a child must not make it copy them.
    ::madvise(memory, bytes, MADV_DONTFORK);
    if (numa_node >= 0 && numa_node < 64) {
        const std::uint64_t nodes = std::uint64_t{1} << static_cast<unsigned>(numa_node);
        ::syscall(SYS_mbind, memory, bytes, MPOL_PREFERRED, &nodes, 64UL + 1, 0U); // best effort
    }
    errno = 0;
    mr_.reset(verbs().reg_mr(pd, memory, bytes, IBV_ACCESS_LOCAL_WRITE));
    if (mr_ == nullptr) {
        const int code = errno != 0 ? errno : ENOMEM;
        error = "cannot register " + std::to_string(bytes >> 10) +
                " KiB with the RDMA device: " + std::strerror(code) +
                (code == ENOMEM || code == EPERM ? memory_limit_text() : "");
        return code;
    }
    return 0;
}

VerbsQueues::~VerbsQueues()
{
    if (channel_ != nullptr) {
        mark_descriptor(channel_->fd, false);
    }
}

int VerbsQueues::fail(const char* what, int code, std::string& error) const
{
    code = code != 0 ? code : EIO;
    error = config_.port.device + ": cannot make " + what + ": " + std::strerror(code) +
            (code == ENOMEM || code == EPERM ? memory_limit_text() : "");
    return code;
}

int VerbsQueues::open(std::string& error)
{
    if (const int code = open_verbs_device(config_.port.device, context_, error); code != 0) {
        return code;
    }
    ibv_context* const context = context_->get();
    ibv_device_attr limits{};
    verbs().query_device(context, &limits);
    const auto bound = [](int limit) { return static_cast<std::uint32_t>(std::max(limit, 64)); };
    buffer_count_ = std::clamp(config_.rx_bytes / rx_stride, 64U,
                               std::min({bound(limits.max_qp_wr), bound(limits.max_cqe), 16384U}));
    pd_.reset(verbs().alloc_pd(context));
    if (pd_ == nullptr) {
        return fail("a protection domain", errno, error);
    }
    const int node = verbs_numa_node(config_.port.device);
    if (int code = rx_slab_.open(pd_.get(), std::size_t{buffer_count_} * rx_stride, node, error);
        code != 0 ||
        (code = tx_slab_.open(pd_.get(), std::size_t{slot_count} * max_payload, node, error)) != 0) {
        error = config_.port.device + ": " + error;
        return code;
    }
    channel_.reset(verbs().create_comp_channel(context));
    if (channel_ == nullptr) {
        return fail("a completion channel", errno, error);
    }
    mark_descriptor(channel_->fd, true);
    for (const int fd : {channel_->fd, context->async_fd}) {
        ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
    return open_queues(error);
}

int VerbsQueues::open_queues(std::string& error)
{
    ibv_context* const context = context_->get();
    rx_cq_.reset(verbs().create_cq(context, static_cast<int>(buffer_count_), nullptr, channel_.get(), 0));
    // Broken senders complete every request: those of two generations fit.
    const auto sends = static_cast<int>(2 * send_depth * config_.senders);
    tx_cq_.reset(rx_cq_ == nullptr ? nullptr : verbs().create_cq(context, sends, nullptr, nullptr, 0));
    if (tx_cq_ == nullptr) {
        return fail("completion queues", errno, error);
    }
    inline_bytes_ = wanted_inline;
    receiver_ = make_qp(true);
    if (receiver_ == nullptr) {
        return fail("a UD queue pair", errno, error);
    }
    senders_.resize(config_.senders);
    for (Sender& sender : senders_) {
        sender.qp = make_qp(false);
        if (sender.qp == nullptr && inline_bytes_ != 0) {
            inline_bytes_ = 0; // the device has no such thing
            sender.qp = make_qp(false);
        }
        if (sender.qp == nullptr) {
            return fail("a UD queue pair", errno, error);
        }
    }
    held_.reserve(buffer_count_);
    recv_requests_.resize(buffer_count_);
    recv_pieces_.resize(buffer_count_);
    std::vector<std::uint32_t> all(buffer_count_);
    for (std::uint32_t i = 0; i < buffer_count_; ++i) {
        all[i] = i;
    }
    post_buffers(all);
    for (std::uint16_t slot = slot_count; slot-- != 0;) {
        free_slots_.push_back(slot);
    }
    return 0;
}

/// Ready to send, and to receive if asked for; null with errno otherwise.
VerbsQp VerbsQueues::make_qp(bool receives)
{
    ibv_qp_init_attr wanted{};
    wanted.qp_type = IBV_QPT_UD;
    wanted.send_cq = tx_cq_.get();
    wanted.recv_cq = rx_cq_.get();
    wanted.cap.max_send_wr = receives ? 1 : send_depth;
    wanted.cap.max_recv_wr = receives ? buffer_count_ : 1;
    wanted.cap.max_send_sge = receives ? 1 : max_tx_iov;
    wanted.cap.max_recv_sge = 1;
    wanted.cap.max_inline_data = receives ? 0 : inline_bytes_;
    errno = 0;
    VerbsQp qp(verbs().create_qp(pd_.get(), &wanted));
    if (qp == nullptr) {
        return qp;
    }
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_INIT;
    attributes.port_num = config_.port.number;
    attributes.qkey = config_.key;
    int code = verbs().modify_qp(qp.get(), &attributes,
                                 IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY);
    if (code == 0) {
        attributes.qp_state = IBV_QPS_RTR;
        code = verbs().modify_qp(qp.get(), &attributes, IBV_QP_STATE);
    }
    if (code == 0) {
        attributes.qp_state = IBV_QPS_RTS;
        code = verbs().modify_qp(qp.get(), &attributes, IBV_QP_STATE | IBV_QP_SQ_PSN);
    }
    if (code != 0) {
        qp.reset();
        errno = code;
    }
    return qp;
}

void VerbsQueues::post_buffers(std::span<const std::uint32_t> buffers) noexcept
{
    if (buffers.empty() || !rx_works_) {
        return;
    }
    for (std::size_t i = 0; i < buffers.size(); ++i) {
        recv_pieces_[i] = {reinterpret_cast<std::uintptr_t>(buffer(buffers[i]) + rx_lead),
                           grh_bytes + max_payload, rx_slab_.key()};
        ibv_recv_wr& request = recv_requests_[i];
        request.wr_id = buffers[i];
        request.sg_list = &recv_pieces_[i];
        request.num_sge = 1;
        request.next = i + 1 < buffers.size() ? &recv_requests_[i + 1] : nullptr;
    }
    ibv_recv_wr* refused = nullptr;
    rx_works_ = ::ibv_post_recv(receiver_.get(), recv_requests_.data(), &refused) == 0;
}

void VerbsQueues::poll_received()
{
    if (received_.empty()) {
        const int count =
            ::ibv_poll_cq(rx_cq_.get(), static_cast<int>(received_.items.size()), received_.items.data());
        received_.begin = 0;
        received_.end = count > 0 ? static_cast<std::size_t>(count) : 0;
    }
}

std::size_t VerbsQueues::rx_burst(std::span<RxPacket> packets, Time now)
{
    SRD_DCHECK(held_.empty());
    const bool ipv4 = config_.port.gid.raw[10] == 0xff;
    arrivals_.begin_poll(now, buffer_count_);
    std::size_t count = 0;
    while (count < packets.size()) {
        poll_received();
        if (received_.empty()) {
            arrivals_.note_empty();
            break;
        }
        const ibv_wc& completion = received_.items[received_.begin++];
        const Time arrived = arrivals_.next(now);
        if (completion.status != IBV_WC_SUCCESS) [[unlikely]] {
            rx_works_ = false; // the queue pair is in the error state: all receives are flushed
            continue;
        }
        const auto index = static_cast<std::uint32_t>(completion.wr_id);
        held_.push_back(index);
        if (completion.byte_len <= grh_bytes) {
            counters_.io_rx_dropped.add();
            continue;
        }
        // The IP header is at the end of the GRH's 40 bytes: 20 bytes of IPv4, or all 40 of IPv6.
        const std::byte* const grh = buffer(index) + rx_lead;
        const unsigned mark =
            ipv4 ? std::to_integer<unsigned>(grh[21]) : std::to_integer<unsigned>(grh[1]) >> 4U;
        packets[count++] = {grh + grh_bytes, completion.byte_len - grh_bytes,
                            (mark & ecn_mask) == ecn_experienced, false, arrived};
    }
    return count;
}

void VerbsQueues::rx_release() noexcept
{
    post_buffers(held_);
    held_.clear();
}

bool VerbsQueues::arm_wait()
{
    ibv_cq* queue = nullptr;
    void* context = nullptr;
    while (verbs().get_cq_event(channel_.get(), &queue, &context) == 0) {
        verbs().ack_cq_events(queue, 1);
    }
    // First request an event, then poll: what comes in between is seen by one of the two.
    if (::ibv_req_notify_cq(rx_cq_.get(), 0) != 0) {
        return false;
    }
    poll_received();
    return received_.empty();
}

void VerbsQueues::finish(Sender& sender, std::uint32_t until) noexcept
{
    for (; sender.done != until; ++sender.done) {
        const std::uint16_t slot = sender.slots[sender.done % send_depth];
        if (slot != no_slot) {
            free_slots_.push_back(slot);
        }
    }
}

void VerbsQueues::tx_collect(Time now)
{
    std::array<ibv_wc, 32> completions;
    int count = 0;
    do {
        count = ::ibv_poll_cq(tx_cq_.get(), static_cast<int>(completions.size()), completions.data());
        for (int i = 0; i < count; ++i) {
            const ibv_wc& completion = completions[static_cast<std::size_t>(i)];
            const auto id = std::bit_cast<SendId>(completion.wr_id);
            Sender& sender = senders_[id.sender];
            if (id.generation != sender.generation) {
                continue;
            }
            if (completion.status == IBV_WC_SUCCESS) {
                finish(sender, id.until);
                sender.full = false;
            } else if (!sender.broken) {
                sender.broken = true;
                sender.retry_at = now + repair_interval;
                if (!send_warned_) {
                    send_warned_ = true;
                    config_.log.warning(config_.port.device + " refused to send (" +
                                        verbs().wc_status_str(completion.status) +
                                        "): no route, or the port is down; packets take UDP sockets "
                                        "meanwhile");
                }
            }
        }
    } while (count == static_cast<int>(completions.size()));
}

/// The packets that a broken sender still held count as lost.
bool VerbsQueues::tx_works(std::size_t index, Time now)
{
    Sender& sender = senders_[index];
    if (sender.posted - sender.done == send_depth && !sender.broken) {
        if (!sender.full) {
            sender.full = true;
            sender.full_since = now;
        }
        sender.broken = now - sender.full_since > stall_limit;
    }
    if (!sender.broken) [[likely]] {
        return true;
    }
    if (now < sender.retry_at) {
        return false;
    }
    sender.retry_at = now + repair_interval;
    counters_.io_tx_errors.add(sender.posted - sender.done);
    finish(sender, sender.posted);
    sender.qp.reset();
    ++sender.generation;
    sender.full = false;
    sender.qp = make_qp(false);
    sender.broken = sender.qp == nullptr;
    return !sender.broken;
}

bool VerbsQueues::tx_push(const TxPacket& packet, const VerbsTarget& target, std::size_t index)
{
    SRD_DCHECK(packet.length <= max_payload);
    Sender& sender = senders_[index];
    SRD_DCHECK(!sender.broken);
    const bool fits_inline = packet.length <= inline_bytes_;
    if (sender.posted - sender.done == send_depth || (!fits_inline && free_slots_.empty())) {
        return false;
    }
    if (request_count_ == max_posts) {
        tx_flush();
        if (sender.broken) {
            return false;
        }
    }
    ibv_send_wr& request = requests_[request_count_];
    ibv_sge* const pieces = pieces_[request_count_].data();
    ++request_count_;
    request.next = nullptr;
    request.sg_list = pieces;
    request.opcode = IBV_WR_SEND;
    std::uint16_t slot = no_slot;
    if (fits_inline) {
        request.send_flags = IBV_SEND_INLINE;
        request.num_sge = packet.iov_count;
        for (std::size_t i = 0; i < packet.iov_count; ++i) {
            pieces[i] = {reinterpret_cast<std::uintptr_t>(packet.iov[i].iov_base),
                         static_cast<std::uint32_t>(packet.iov[i].iov_len), 0};
        }
    } else {
        slot = free_slots_.back();
        free_slots_.pop_back();
        std::byte* const room = tx_slab_.data() + std::size_t{slot} * max_payload;
        pieces[0] = {reinterpret_cast<std::uintptr_t>(room), copy_packet(room, packet), tx_slab_.key()};
        request.send_flags = 0;
        request.num_sge = 1;
    }
    sender.slots[sender.posted % send_depth] = slot;
    ++sender.posted;
    request.wr_id = std::bit_cast<std::uint64_t>(
        SendId{static_cast<std::uint16_t>(index), sender.generation, sender.posted});
    request.wr.ud = {target.handle, target.queue_pair, target.key};
    if (sender.last != nullptr) {
        sender.last->next = &request;
    } else {
        sender.first = &request;
    }
    sender.last = &request;
    return true;
}

void VerbsQueues::tx_flush()
{
    for (std::size_t i = 0; i < request_count_; ++i) {
        Sender& sender = senders_[std::bit_cast<SendId>(requests_[i].wr_id).sender];
        if (sender.first == nullptr) {
            continue; // posted with the first of its chain
        }
        sender.last->send_flags |= IBV_SEND_SIGNALED;
        ibv_send_wr* refused = nullptr;
        if (::ibv_post_send(sender.qp.get(), sender.first, &refused) != 0) {
            sender.broken = true; // replaced by the next tx_works()
        }
        sender.first = sender.last = nullptr;
    }
    request_count_ = 0;
}

} // namespace srd
