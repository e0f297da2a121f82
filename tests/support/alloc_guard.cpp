// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/alloc_guard.hpp"

#include <cstdlib>
#include <new>

namespace srd::sim {

namespace {

thread_local bool banned = false;
thread_local std::uint64_t violations = 0;
thread_local bool fails = false;
thread_local std::uint64_t allocations_left = 0;

void* counted_alloc(std::size_t size, std::size_t alignment)
{
    if (banned) {
        ++violations; // a breakpoint here shows the culprit
    }
    if (fails && allocations_left-- == 0) {
        allocations_left = 0;
        throw std::bad_alloc();
    }
    const std::size_t bytes = size == 0 ? 1 : size;
    void* memory = alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__
                       ? std::malloc(bytes)
                       : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

} // namespace

std::uint64_t allocation_violations() noexcept
{
    return violations;
}

AllocationBan::AllocationBan() noexcept : before_(banned)
{
    banned = true;
}

AllocationBan::~AllocationBan()
{
    banned = before_;
}

AllocationFailure::AllocationFailure(std::uint64_t allocations) noexcept
{
    fails = true;
    allocations_left = allocations;
}

AllocationFailure::~AllocationFailure()
{
    fails = false;
}

AllocationPermit::AllocationPermit() noexcept : before_(banned)
{
    banned = false;
}

AllocationPermit::~AllocationPermit()
{
    banned = before_;
}

} // namespace srd::sim

void* operator new(std::size_t size)
{
    return srd::sim::counted_alloc(size, 0);
}

void* operator new[](std::size_t size)
{
    return srd::sim::counted_alloc(size, 0);
}

void* operator new(std::size_t size, std::align_val_t alignment)
{
    return srd::sim::counted_alloc(size, static_cast<std::size_t>(alignment));
}

void* operator new[](std::size_t size, std::align_val_t alignment)
{
    return srd::sim::counted_alloc(size, static_cast<std::size_t>(alignment));
}

void* operator new(std::size_t size, const std::nothrow_t&) noexcept
{
    try {
        return srd::sim::counted_alloc(size, 0);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void* operator new[](std::size_t size, const std::nothrow_t&) noexcept
{
    try {
        return srd::sim::counted_alloc(size, 0);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void operator delete(void* memory) noexcept
{
    std::free(memory);
}

void operator delete[](void* memory) noexcept
{
    std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept
{
    std::free(memory);
}

void operator delete[](void* memory, std::size_t) noexcept
{
    std::free(memory);
}

void operator delete(void* memory, std::align_val_t) noexcept
{
    std::free(memory);
}

void operator delete[](void* memory, std::align_val_t) noexcept
{
    std::free(memory);
}

void operator delete(void* memory, std::size_t, std::align_val_t) noexcept
{
    std::free(memory);
}

void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept
{
    std::free(memory);
}
