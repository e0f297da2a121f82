// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/xdp/xdp_queue.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/if_xdp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <srd/check.hpp>
#include <srd/file_descriptor.hpp>

#ifndef SOL_XDP
#define SOL_XDP 283
#endif

namespace srd {

namespace {

/// A mapping in a child of fork() would keep the socket, and so the queue, for as long as the child lives.
template <typename Ring>
void keep_from_children(const Ring& ring, std::size_t entry_bytes) noexcept
{
    constexpr std::uintptr_t page = 4096;
    const auto bytes_at = [](void* at) { return static_cast<std::byte*>(at); };
    std::byte* const entries = bytes_at(ring.ring);
    std::byte* begin = std::min({bytes_at(ring.producer), bytes_at(ring.consumer), entries});
    begin -= reinterpret_cast<std::uintptr_t>(begin) % page;
    const std::byte* const end = entries + ring.size * entry_bytes;
    ::madvise(begin, static_cast<std::size_t>(end - begin), MADV_DONTFORK);
}

} // namespace

XdpQueue::~XdpQueue()
{
    close();
    if (memory_ != nullptr) {
        ::munmap(memory_, memory_bytes_);
    }
}

void XdpQueue::close() noexcept
{
    if (socket_ != nullptr) {
        mark_descriptor(fd(), false);
        library_.xsk_socket__delete(socket_);
        socket_ = nullptr;
    }
    if (umem_ != nullptr) {
        library_.xsk_umem__delete(umem_);
        umem_ = nullptr;
    }
}

int XdpQueue::open()
{
    const std::uint32_t frames = settings_.rx_frames + settings_.tx_frames;
    memory_bytes_ = std::size_t{frames} * settings_.chunk;
    void* const memory =
        ::mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return errno;
    }
    memory_ = static_cast<std::byte*>(memory);
    held_.reserve(settings_.rx_frames);
    returning_.reserve(settings_.rx_frames);
    free_.reserve(settings_.tx_frames);
    zero_copy_ = settings_.native;
    int code = zero_copy_ ? try_open(XDP_ZEROCOPY) : EOPNOTSUPP;
    if (code != 0 && code != EBUSY && code != EPERM) {
        zero_copy_ = false;
        code = try_open(XDP_COPY);
    }
    if (code != 0) {
        return code;
    }
    std::uint32_t at = 0;
    const std::uint32_t reserved = xsk_ring_prod__reserve(&fill_, settings_.rx_frames, &at);
    SRD_CHECK(reserved == settings_.rx_frames);
    for (std::uint32_t i = 0; i < frames; ++i) {
        const std::uint64_t address = std::uint64_t{i} * settings_.chunk;
        if (i < settings_.rx_frames) {
            *xsk_ring_prod__fill_addr(&fill_, at + i) = address;
        } else {
            free_.push_back(address);
        }
    }
    xsk_ring_prod__submit(&fill_, settings_.rx_frames);
    ::fcntl(fd(), F_SETFD, FD_CLOEXEC);
    mark_descriptor(fd(), true);
    ::madvise(memory_, memory_bytes_, MADV_DONTFORK);
    keep_from_children(fill_, sizeof(std::uint64_t));
    keep_from_children(completion_, sizeof(std::uint64_t));
    keep_from_children(rx_, sizeof(xdp_desc));
    keep_from_children(tx_, sizeof(xdp_desc));
    return 0;
}

int XdpQueue::try_open(std::uint16_t bind_flags)
{
    xsk_umem_config memory_config{};
    memory_config.fill_size = 2 * settings_.rx_frames; // see rx_release()
    memory_config.comp_size = settings_.tx_frames;
    memory_config.frame_size = settings_.chunk;
    int code =
        library_.xsk_umem__create(&umem_, memory_, memory_bytes_, &fill_, &completion_, &memory_config);
    if (code != 0) {
        umem_ = nullptr;
        return -code;
    }
    xsk_socket_config config{};
    config.rx_size = settings_.rx_frames;
    config.tx_size = settings_.tx_frames;
    config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
    config.bind_flags = static_cast<std::uint16_t>(bind_flags | XDP_USE_NEED_WAKEUP);
    code = library_.xsk_socket__create(&socket_, settings_.interface.c_str(), settings_.queue, umem_, &rx_,
                                       &tx_, &config);
    if (code != 0) {
        socket_ = nullptr;
        close();
    }
    return -code;
}

std::size_t XdpQueue::rx_burst(std::span<RxFrame> frames, Time now)
{
    SRD_DCHECK(held_.empty());
    std::uint32_t at = 0;
    const std::uint32_t count = xsk_ring_cons__peek(&rx_, static_cast<std::uint32_t>(frames.size()), &at);
    for (std::uint32_t i = 0; i < count; ++i) {
        const xdp_desc& desc = *xsk_ring_cons__rx_desc(&rx_, at + i);
        frames[i] = {std::span(memory_ + desc.addr, desc.len), false, 0, now};
        held_.push_back(desc.addr & ~std::uint64_t{settings_.chunk - 1});
    }
    if (count != 0) {
        xsk_ring_cons__release(&rx_, count);
    } else if (xsk_ring_prod__needs_wakeup(&fill_) != 0) {
        ::recvfrom(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, nullptr); // the driver ran out of chunks once
    }
    return count;
}

void XdpQueue::rx_release() noexcept
{
    returning_.insert(returning_.end(), held_.begin(), held_.end()); // reserved in open()
    held_.clear();
    // The kernel publishes a little late what it has taken from the ring; chunks without a place wait.
    const auto wanted = static_cast<std::uint32_t>(returning_.size());
    const std::uint32_t count = std::min(wanted, xsk_prod_nb_free(&fill_, wanted));
    std::uint32_t at = 0;
    if (count == 0 || xsk_ring_prod__reserve(&fill_, count, &at) == 0) {
        return;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        *xsk_ring_prod__fill_addr(&fill_, at++) = returning_.back();
        returning_.pop_back();
    }
    xsk_ring_prod__submit(&fill_, count);
}

bool XdpQueue::rx_waiting() const noexcept
{
    return rx_.cached_cons != __atomic_load_n(rx_.producer, __ATOMIC_ACQUIRE);
}

void XdpQueue::collect_sent() noexcept
{
    std::uint32_t at = 0;
    const std::uint32_t count = xsk_ring_cons__peek(&completion_, settings_.tx_frames, &at);
    for (std::uint32_t i = 0; i < count; ++i) {
        free_.push_back(*xsk_ring_cons__comp_addr(&completion_, at + i));
    }
    if (count != 0) {
        xsk_ring_cons__release(&completion_, count);
    }
}

std::byte* XdpQueue::tx_room()
{
    if (pushed_ == 0 || free_.empty()) {
        collect_sent(); // what was sent last is used first: it is still in the cache
    }
    return free_.empty() ? nullptr : memory_ + free_.back();
}

void XdpQueue::tx_push(std::uint32_t length)
{
    std::uint32_t at = 0;
    const std::uint32_t reserved = xsk_ring_prod__reserve(&tx_, 1, &at);
    SRD_CHECK(reserved == 1); // as many places as chunks
    *xsk_ring_prod__tx_desc(&tx_, at) = {free_.back(), length, 0};
    free_.pop_back();
    ++pushed_;
}

void XdpQueue::tx_flush()
{
    if (pushed_ != 0) {
        xsk_ring_prod__submit(&tx_, pushed_);
        pushed_ = 0;
    }
    // In copy mode a call sends some of the frames (32) itself and asks to be called again.
    std::uint32_t consumed = __atomic_load_n(tx_.consumer, __ATOMIC_ACQUIRE);
    while (consumed != *tx_.producer && xsk_ring_prod__needs_wakeup(&tx_) != 0) {
        const ssize_t sent = ::sendto(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, 0);
        const std::uint32_t before = consumed;
        consumed = __atomic_load_n(tx_.consumer, __ATOMIC_ACQUIRE);
        if (consumed == before || (sent < 0 && errno != EAGAIN)) {
            return; // the device is full or down: the next call tries again
        }
        if (zero_copy_) {
            return;
        }
    }
}

std::uint64_t XdpQueue::drops() const noexcept
{
    xdp_statistics stats{};
    socklen_t length = sizeof(stats);
    if (::getsockopt(fd(), SOL_XDP, XDP_STATISTICS, &stats, &length) != 0) {
        return 0;
    }
    return stats.rx_dropped + stats.rx_ring_full;
}

} // namespace srd
