// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Buffers in device memory, for tests over the fake driver library (tests/support/fake_cuda): nobody but its
// copies can touch them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include <rdma/fi_rma.h>

#include "fabric/fabric_fixture.hpp"
#include "support/fake_cuda/fake_cuda.hpp"

namespace fabric_test {

using Bytes = std::vector<std::uint8_t>;

/// The calling thread works on a device for a scope, as an application's does.
class OnDevice {
public:
    explicit OnDevice(int device)
    {
        void* context = nullptr;
        REQUIRE(cuDevicePrimaryCtxRetain(&context, device) == 0);
        REQUIRE(cuCtxPushCurrent_v2(context) == 0);
    }
    ~OnDevice()
    {
        void* context = nullptr;
        cuCtxPopCurrent_v2(&context);
    }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;
};

/// Where a buffer lies.
enum class Place : std::uint8_t { host, device, other_device, pool };

inline constexpr std::uint64_t every_access =
    FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;

/// For every access, under a key of its own.
inline int register_memory(OpenDomain& domain, fi_hmem_iface iface, int device, const void* start,
                           std::size_t size, Handle<fid_mr>& region, std::uint64_t flags = 0)
{
    const iovec iov{const_cast<void*>(start), size};
    fi_mr_attr attr{};
    attr.mr_iov = &iov;
    attr.iov_count = 1;
    attr.access = every_access;
    static std::uint64_t next_key = 1;
    attr.requested_key = next_key++;
    attr.iface = iface;
    attr.device.cuda = device;
    return fi_mr_regattr(domain.domain.get(), &attr, flags, region.out());
}

/// A message of one piece; the arguments have to live as long as it.
inline fi_msg message_of(const iovec& iov, void*& desc, fi_addr_t addr)
{
    fi_msg msg{};
    msg.msg_iov = &iov;
    msg.desc = &desc;
    msg.iov_count = 1;
    msg.addr = addr;
    return msg;
}

/// A registered buffer.
class Buffer {
public:
    Buffer(OpenDomain& domain, Place place, std::size_t size) : place_(place), size_(size)
    {
        if (place == Place::host) {
            host_.resize(size);
        } else {
            const OnDevice here(place == Place::other_device ? 1 : 0);
            REQUIRE((place == Place::pool ? fake_cuda_alloc_pooled
                                          : cuMemAlloc_v2)(&address_, std::max<std::size_t>(size, 1)) == 0);
        }
        if (size == 0) {
            return;
        }
        REQUIRE(register_memory(domain, place == Place::host ? FI_HMEM_SYSTEM : FI_HMEM_CUDA,
                                place == Place::other_device ? 1 : 0, data(), size, region_) == 0);
    }
    Buffer(OpenDomain& domain, Place place, const Bytes& bytes) : Buffer(domain, place, bytes.size())
    {
        write(bytes);
    }
    ~Buffer()
    {
        region_ = {};
        if (address_ != 0) {
            CHECK(cuMemFree_v2(address_) == 0);
        }
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    void* data()
    {
        return place_ == Place::host ? host_.data() : reinterpret_cast<void*>(address_);
    } // NOLINT
    std::uint8_t* at(std::size_t offset) { return static_cast<std::uint8_t*>(data()) + offset; }
    std::size_t size() const { return size_; }
    void* desc() { return region_.get() != nullptr ? fi_mr_desc(region_.get()) : nullptr; }
    std::uint64_t key() { return fi_mr_key(region_.get()); }
    void close_region() { REQUIRE(region_.close() == 0); }

    void write(const Bytes& bytes)
    {
        REQUIRE(bytes.size() <= size_);
        if (place_ == Place::host) {
            std::copy(bytes.begin(), bytes.end(), host_.begin());
        } else if (!bytes.empty()) {
            REQUIRE(fake_cuda_write(address_, bytes.data(), bytes.size()) == 0);
        }
    }
    Bytes read() const
    {
        if (place_ == Place::host) {
            return host_;
        }
        Bytes bytes(size_);
        REQUIRE((size_ == 0 || fake_cuda_read(bytes.data(), address_, size_) == 0));
        return bytes;
    }

private:
    Place place_;
    std::size_t size_;
    Bytes host_;
    std::uint64_t address_ = 0;
    Handle<fid_mr> region_;
};

inline Options device_options(std::uint64_t more_caps = 0)
{
    Options options;
    options.caps |= FI_HMEM | FI_RMA | FI_ATOMIC | more_caps;
    options.mr_mode = FI_MR_HMEM;
    return options;
}

/// The sender's and the receiver's buffer.
struct Way {
    Place from;
    Place to;
};
inline const std::array<Way, 5> ways = {{{Place::device, Place::device},
                                         {Place::device, Place::host},
                                         {Place::host, Place::device},
                                         {Place::device, Place::other_device},
                                         {Place::pool, Place::pool}}};

/// Around every limit: of what is copied, sent through memory, eager, read by the peer, a chunk.
inline const std::array<std::size_t, 17> sizes = {0,     1,      100,    1024,   1025,          4096,
                                                  4097,  8192,   8193,   16384,  16385,         65536,
                                                  65537, 262144, 262145, 700001, (5U << 20) + 3};

} // namespace fabric_test
