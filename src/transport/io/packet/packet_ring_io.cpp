// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/packet/packet_ring_io.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <srd/check.hpp>
#include <srd/file_descriptor.hpp>

#include "io/core/arrival_time.hpp"
#include "io/core/socket_options.hpp"

namespace srd {

namespace {

constexpr std::uint32_t block_bytes = 1U << 17; // the kernel's unit of allocation
/// In front of every frame (PACKET_VNET_HDR): without it, packets that the kernel has joined would be one. It
/// is virtio_net_hdr of linux/virtio_net.h, which no C++ compiler reads.
struct OffloadHeader {
    std::uint8_t flags = 0;
    std::uint8_t gso_type = 0; ///< 0: one packet
    std::uint16_t header_length = 0;
    std::uint16_t gso_size = 0;
    std::uint16_t checksum_start = 0;
    std::uint16_t checksum_offset = 0;
};
constexpr std::uint32_t offload_header = sizeof(OffloadHeader);
static_assert(offload_header == 10);
constexpr std::uint32_t tx_data_offset = TPACKET_ALIGN(sizeof(tpacket2_hdr));
// What the kernel puts in front of a received frame: its header, the sender's address, the virtio header,
// and room to align.
constexpr std::uint32_t rx_headroom = TPACKET_ALIGN(TPACKET2_HDRLEN) + offload_header + 64;

/// Only whole UDP datagrams without IP options to `local`, no longer than `max_frame`. Read beyond the end of
/// a packet, the kernel's filter refuses it.
std::vector<sock_filter> make_filter(const SocketAddress& local, std::uint32_t max_frame)
{
    const bool ipv4 = local.family() == AF_INET;
    const std::uint32_t ip = ethernet_header;
    std::vector<sock_filter> code;
    std::vector<std::size_t> tests; // jump to the end if false
    const auto load = [&](unsigned size, std::uint32_t offset) {
        code.push_back(BPF_STMT(static_cast<std::uint16_t>(BPF_LD | size | BPF_ABS), offset));
    };
    const auto require = [&](std::uint32_t value) {
        tests.push_back(code.size());
        code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 0));
    };
    load(BPF_H, offsetof(ethhdr, h_proto));
    require(ipv4 ? ETH_P_IP : ETH_P_IPV6);
    if (ipv4) {
        load(BPF_B, ip); // version, header length
        require(0x45);
        load(BPF_H, ip + 6); // fragment: neither offset nor more of them
        code.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x3fff));
        require(0);
    }
    load(BPF_B, ip + (ipv4 ? 9 : 6)); // protocol
    require(IPPROTO_UDP);
    load(BPF_H, raw_overhead(local.family()) - 6); // destination port
    require(local.port());
    const std::span<const std::byte> host = local.host();
    for (std::uint32_t at = 0; at < host.size(); at += 4) {
        std::uint32_t word = 0;
        std::memcpy(&word, host.data() + at, sizeof(word));
        load(BPF_W, ip + (ipv4 ? 16 : 24) + at); // destination address
        require(ntohl(word));
    }
    code.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0));
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, max_frame, 1, 0));
    code.push_back(BPF_STMT(BPF_RET | BPF_K, 0xffffffff));
    for (const std::size_t test : tests) {
        code[test].jf = static_cast<std::uint8_t>(code.size() - test - 1);
    }
    code.push_back(BPF_STMT(BPF_RET | BPF_K, 0));
    return code;
}

/// One direction's frames.
struct Ring {
    std::byte* memory = nullptr;
    std::uint32_t frame_bytes = 0;
    std::uint32_t per_block = 0;
    std::uint32_t frames = 0;
    std::uint32_t next = 0;

    tpacket_req request(std::uint32_t frame, std::uint32_t wanted_bytes) noexcept
    {
        frame_bytes = (frame + 63) / 64 * 64;
        if (frame_bytes % 4096 == 0) {
            frame_bytes += 64; // so that the headers of all frames do not share a cache set
        }
        per_block = block_bytes / frame_bytes;
        const std::uint32_t blocks = std::max(wanted_bytes / block_bytes, 2U);
        frames = blocks * per_block;
        return {block_bytes, blocks, frame_bytes, frames};
    }
    std::size_t bytes() const noexcept { return std::size_t{frames / per_block} * block_bytes; }
    tpacket2_hdr* at(std::uint32_t index) const noexcept
    {
        std::byte* const block = memory + std::size_t{index / per_block} * block_bytes;
        return reinterpret_cast<tpacket2_hdr*>(block + std::size_t{index % per_block} * frame_bytes);
    }
    std::uint32_t after(std::uint32_t index) const noexcept { return index + 1 == frames ? 0 : index + 1; }
};

/// Who owns the frame: the word that kernel and user synchronize on.
std::uint32_t status_of(const tpacket2_hdr& header) noexcept
{
    return __atomic_load_n(&header.tp_status, __ATOMIC_ACQUIRE);
}
void set_status(tpacket2_hdr& header, std::uint32_t status) noexcept
{
    __atomic_store_n(&header.tp_status, status, __ATOMIC_RELEASE);
}

class PacketRing final : public FrameRing {
public:
    explicit PacketRing(const RingPlan& plan) noexcept : max_frame_(plan.max_frame) {}
    ~PacketRing() override
    {
        if (rx_.memory != nullptr) {
            ::munmap(rx_.memory, rx_.bytes() + tx_.bytes());
        }
    }

    /// 0 or errno.
    int open(const RingPlan& plan);

    std::uint32_t max_frame() const noexcept override { return max_frame_; }
    std::uint32_t rx_capacity() const noexcept override { return rx_.frames * max_frame_; }
    std::size_t rx_burst(std::span<RxFrame> frames, Time now) override;
    void rx_release() noexcept override;
    bool rx_waiting() const noexcept override { return (status_of(*rx_.at(rx_.next)) & TP_STATUS_USER) != 0; }
    std::byte* tx_room() override;
    void tx_push(std::uint32_t length) override;
    void tx_flush() override;
    std::span<const int> wait_fds() const noexcept override { return {&wait_fd_, 1}; }
    std::uint64_t take_drops() noexcept override;

private:
    std::uint32_t max_frame_;
    FileDescriptor socket_;
    int wait_fd_ = -1;
    Ring rx_;
    Ring tx_;
    std::uint32_t held_ = 0;  // frames not yet released, the last ones before rx_.next
    bool tx_pending_ = false; // frames are pushed that the kernel may not have seen
    Time drained_at_{};       // the ring was last seen empty: what comes now arrived later
};

int PacketRing::open(const RingPlan& plan)
{
    // Protocol 0: nothing comes in until filter and rings are there.
    socket_ = FileDescriptor(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket_.valid()) {
        return errno;
    }
    wait_fd_ = socket_.get();
    const int fd = socket_.get();
    std::vector<sock_filter> filter = make_filter(plan.local, max_frame_);
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    const tpacket_req rx = rx_.request(rx_headroom + max_frame_, plan.ring_bytes);
    const tpacket_req tx = tx_.request(tx_data_offset + offload_header + max_frame_, plan.ring_bytes / 4);
    // Frames that the device refuses are lost like others, instead of stopping those behind them.
    if (!set_option(fd, SOL_PACKET, PACKET_VERSION, TPACKET_V2) ||
        !set_option(fd, SOL_PACKET, PACKET_LOSS, 1) || !set_option(fd, SOL_PACKET, PACKET_VNET_HDR, 1) ||
        ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0 ||
        ::setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &rx, sizeof(rx)) != 0 ||
        ::setsockopt(fd, SOL_PACKET, PACKET_TX_RING, &tx, sizeof(tx)) != 0) {
        return errno;
    }
    set_option(fd, SOL_PACKET, PACKET_QDISC_BYPASS, 1); // a device without it queues, which is slower
    set_socket_buffer(fd, SO_SNDBUF, SO_SNDBUFFORCE, plan.ring_bytes);
    void* const memory =
        ::mmap(nullptr, rx_.bytes() + tx_.bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return errno;
    }
    // In a child of fork() the mapping would keep the socket for as long as the child lives.
    ::madvise(memory, rx_.bytes() + tx_.bytes(), MADV_DONTFORK);
    rx_.memory = static_cast<std::byte*>(memory);
    tx_.memory = rx_.memory + rx_.bytes();
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(plan.local.family() == AF_INET ? ETH_P_IP : ETH_P_IPV6);
    address.sll_ifindex = static_cast<int>(plan.index);
    return ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
}

std::size_t PacketRing::rx_burst(std::span<RxFrame> frames, Time now)
{
    SRD_DCHECK(held_ == 0);
    const bool late = now - drained_at_ > late_poll;
    std::size_t count = 0;
    while (count < frames.size() && held_ < rx_.frames) {
        tpacket2_hdr& header = *rx_.at(rx_.next);
        const std::uint32_t status = status_of(header);
        if ((status & TP_STATUS_USER) == 0) {
            break;
        }
        rx_.next = rx_.after(rx_.next);
        ++held_;
        const auto* const data = reinterpret_cast<const std::byte*>(&header) + header.tp_mac;
        Time arrived = now;
        if (late && count == 0) {
            // The burst's first is the oldest; the next ones are told by their distance from it.
            arrived =
                arrival_time(std::int64_t{header.tp_sec} * 1'000'000'000 + header.tp_nsec, drained_at_, now);
        } else if (count != 0) {
            arrived = frames[0].arrived;
        }
        OffloadHeader offload;
        std::memcpy(&offload, data - offload_header, sizeof(offload));
        const std::uint32_t segment = offload.gso_type == 0 ? 0U : offload.gso_size;
        frames[count++] = {std::span(data, header.tp_snaplen),
                           (status & (TP_STATUS_CSUMNOTREADY | TP_STATUS_CSUM_VALID)) != 0, segment, arrived};
    }
    if (count < frames.size()) {
        drained_at_ = now;
    }
    return count;
}

void PacketRing::rx_release() noexcept
{
    std::uint32_t index = (rx_.next + rx_.frames - held_) % rx_.frames;
    for (; held_ != 0; --held_) {
        set_status(*rx_.at(index), TP_STATUS_KERNEL);
        index = rx_.after(index);
    }
}

std::byte* PacketRing::tx_room()
{
    tpacket2_hdr& header = *tx_.at(tx_.next);
    // Anything else than SEND_REQUEST and SENDING (other bits are timestamps) is ours.
    return (status_of(header) & (TP_STATUS_SEND_REQUEST | TP_STATUS_SENDING)) != 0
               ? nullptr
               : reinterpret_cast<std::byte*>(&header) + tx_data_offset + offload_header;
}

void PacketRing::tx_push(std::uint32_t length)
{
    tpacket2_hdr& header = *tx_.at(tx_.next);
    header.tp_len = offload_header + length; // the virtio header stays zero: nothing is left to do
    set_status(header, TP_STATUS_SEND_REQUEST);
    tx_.next = tx_.after(tx_.next);
    tx_pending_ = true;
}

void PacketRing::tx_flush()
{
    if (!tx_pending_) {
        return;
    }
    ::send(socket_.get(), nullptr, 0, MSG_DONTWAIT);
    // Whatever it returns, it may have left frames in the ring (no memory, the link is down). Frames are sent
    // in order, so the state of the last one tells.
    const std::uint32_t last = (tx_.next + tx_.frames - 1) % tx_.frames;
    tx_pending_ = (status_of(*tx_.at(last)) & TP_STATUS_SEND_REQUEST) != 0;
}

std::uint64_t PacketRing::take_drops() noexcept
{
    tpacket_stats stats{}; // reading it starts it anew
    socklen_t length = sizeof(stats);
    return ::getsockopt(socket_.get(), SOL_PACKET, PACKET_STATISTICS, &stats, &length) == 0 ? stats.tp_drops
                                                                                            : 0;
}

} // namespace

int make_packet_ring(const RingPlan& plan, std::unique_ptr<FrameRing>& ring, std::string& error)
{
    auto made = std::make_unique<PacketRing>(plan);
    const int code = made->open(plan);
    if (code == 0) {
        ring = std::move(made);
        return 0;
    }
    const std::string missing = missing_capabilities(packet_capabilities());
    error = "cannot open packet rings on " + plan.interface + ": " +
            (code == EPERM && !missing.empty() ? missing : std::strerror(code));
    return code;
}

int make_packet_io(const RawConfig& config, Counters& counters, std::unique_ptr<PacketIo>& io,
                   std::string& error)
{
    const int code = make_raw_io(config, true, make_packet_ring, counters, io, error);
    if (code == 0) {
        config.information("packet rings on " + config.interface);
    }
    return code;
}

} // namespace srd
