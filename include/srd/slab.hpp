// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Fixed pools. Address space for the whole capacity is reserved at
// construction; a page costs memory only once it has been used, and slots are
// handed out most recently released first, so a pool's resident size follows
// the largest number ever in use at one time, not its capacity.
//
// Threading: one thread at a time. Nothing here allocates after construction.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <sys/mman.h>

#include <srd/check.hpp>

namespace srd {

/// Address space is not to be had: the process's limit, or the system's.
class NoAddressSpace : public std::bad_alloc {
public:
    explicit NoAddressSpace(std::size_t bytes) noexcept : bytes_(bytes) {}
    const char* what() const noexcept override { return "no address space"; }
    std::size_t bytes() const noexcept { return bytes_; } ///< as many were asked for

private:
    std::size_t bytes_;
};

/// A range of zeroed, private, page-aligned memory, paid for page by page on first touch.
class Reserve {
public:
    Reserve() = default;

    /// Throws NoAddressSpace. Zero bytes are legal and own nothing.
    explicit Reserve(std::size_t bytes) : size_(bytes)
    {
        if (bytes == 0) {
            return;
        }
        void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            throw NoAddressSpace(bytes);
        }
        data_ = static_cast<std::byte*>(memory);
    }

    Reserve(Reserve&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0))
    {
    }
    Reserve& operator=(Reserve&& other) noexcept
    {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    Reserve(const Reserve&) = delete;
    Reserve& operator=(const Reserve&) = delete;

    ~Reserve()
    {
        if (data_ != nullptr) {
            ::munmap(data_, size_);
        }
    }

    std::byte* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

    /// The memory as an array of `T`. All-zero bytes must be a valid T.
    template <typename T>
    T* as() const noexcept
    {
        static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
        return reinterpret_cast<T*>(data_);
    }

private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

/// Hands out the numbers 0 .. capacity-1: the most recently released first, then the lowest
/// never used. Its own table tells the live ones from the others, four bytes per number.
class IndexPool {
public:
    static constexpr std::uint32_t none = 0xffffffffU;
    static constexpr std::uint32_t max_capacity = 0xfffffffdU;

    explicit IndexPool(std::uint32_t capacity)
        : table_(std::size_t{capacity} * sizeof(std::uint32_t)), links_(table_.as<std::uint32_t>()),
          capacity_(capacity)
    {
        SRD_CHECK(capacity <= max_capacity);
    }
    IndexPool(const IndexPool&) = delete;
    IndexPool& operator=(const IndexPool&) = delete;

    /// A number that is not live, or `none` when all are.
    std::uint32_t alloc() noexcept
    {
        std::uint32_t index = free_head_;
        if (index != none) {
            free_head_ = links_[index];
        } else if (watermark_ < capacity_) {
            index = watermark_++;
        } else {
            return none;
        }
        links_[index] = live_mark;
        ++in_use_;
        return index;
    }

    void release(std::uint32_t index) noexcept
    {
        SRD_DCHECK(live(index));
        links_[index] = free_head_;
        free_head_ = index;
        --in_use_;
    }

    bool live(std::uint32_t index) const noexcept { return index < watermark_ && links_[index] == live_mark; }
    std::uint32_t in_use() const noexcept { return in_use_; }
    std::uint32_t capacity() const noexcept { return capacity_; }
    /// One more than the largest number ever handed out.
    std::uint32_t watermark() const noexcept { return watermark_; }

private:
    static constexpr std::uint32_t live_mark = max_capacity + 1;

    Reserve table_;
    std::uint32_t* links_; // of a free number: the next free one; of a live number: live_mark
    std::uint32_t capacity_;
    std::uint32_t watermark_ = 0;
    std::uint32_t free_head_ = none;
    std::uint32_t in_use_ = 0;
};

/// A pool of `T` addressed by index. Indices and addresses are stable while live.
template <typename T>
class Slab {
public:
    static constexpr std::uint32_t none = IndexPool::none;

    /// Throws std::bad_alloc if the address space is not to be had.
    explicit Slab(std::uint32_t capacity)
        : pool_(capacity), memory_(std::size_t{capacity} * sizeof(T)),
          objects_(reinterpret_cast<T*>(memory_.data()))
    {
        static_assert(alignof(T) <= 4096);
    }
    Slab(const Slab&) = delete;
    Slab& operator=(const Slab&) = delete;

    /// Destroys what is still live.
    ~Slab()
    {
        if constexpr (!std::is_trivially_destructible_v<T>) {
            for (std::uint32_t index = 0; index < pool_.watermark(); ++index) {
                if (pool_.live(index)) {
                    std::destroy_at(objects_ + index);
                }
            }
        }
    }

    /// Makes a T{}, whose constructor must not throw. Returns its index, or `none` when the pool is
    /// exhausted.
    std::uint32_t alloc() noexcept
    {
        const std::uint32_t index = pool_.alloc();
        if (index != none) {
            ::new (static_cast<void*>(objects_ + index)) T{};
        }
        return index;
    }

    /// Destroys the object and makes its index available.
    void release(std::uint32_t index) noexcept
    {
        SRD_DCHECK(pool_.live(index));
        std::destroy_at(objects_ + index);
        pool_.release(index);
    }

    T& operator[](std::uint32_t index) noexcept
    {
        SRD_DCHECK(pool_.live(index));
        return objects_[index];
    }
    const T& operator[](std::uint32_t index) const noexcept
    {
        SRD_DCHECK(pool_.live(index));
        return objects_[index];
    }

    /// True if `index` (any number) names an object now.
    bool live(std::uint32_t index) const noexcept { return pool_.live(index); }
    std::uint32_t in_use() const noexcept { return pool_.in_use(); }
    std::uint32_t capacity() const noexcept { return pool_.capacity(); }
    /// One more than the largest index ever handed out: the bound of a walk over all live objects.
    std::uint32_t watermark() const noexcept { return pool_.watermark(); }

private:
    IndexPool pool_;
    Reserve memory_;
    T* objects_;
};

/// A pool of equal chunks of raw bytes, each aligned to a cache line. Contents are not initialised.
class ByteSlab {
public:
    static constexpr std::uint32_t none = IndexPool::none;

    /// `count` chunks of `chunk_size` bytes. Throws std::bad_alloc if the address space is not to be had.
    ByteSlab(std::size_t chunk_size, std::uint32_t count)
        : pool_(count), chunk_size_(chunk_size),
          stride_((std::max<std::size_t>(chunk_size, 1) + 63) & ~std::size_t{63}), memory_(stride_ * count)
    {
    }
    ByteSlab(const ByteSlab&) = delete;
    ByteSlab& operator=(const ByteSlab&) = delete;

    /// Returns a chunk's index, or `none` when the pool is exhausted.
    std::uint32_t alloc() noexcept { return pool_.alloc(); }
    void release(std::uint32_t index) noexcept { pool_.release(index); }

    std::byte* data(std::uint32_t index) noexcept
    {
        SRD_DCHECK(pool_.live(index));
        return memory_.data() + stride_ * index;
    }
    const std::byte* data(std::uint32_t index) const noexcept
    {
        SRD_DCHECK(pool_.live(index));
        return memory_.data() + stride_ * index;
    }

    bool live(std::uint32_t index) const noexcept { return pool_.live(index); }
    std::size_t chunk_size() const noexcept { return chunk_size_; }
    std::uint32_t in_use() const noexcept { return pool_.in_use(); }
    std::uint32_t capacity() const noexcept { return pool_.capacity(); }

private:
    IndexPool pool_;
    std::size_t chunk_size_;
    std::size_t stride_;
    Reserve memory_;
};

} // namespace srd
