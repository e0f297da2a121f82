// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// libcuda.so.1 for machines without a device, stricter than a real one:
//
//  - "Device memory" is a range that nobody may touch (PROT_NONE): a processor that does crashes, and a
//    system call fails with EFAULT. Copies reach it through a second mapping.
//  - An asynchronous copy happens when its stream is waited for, not before: what is read too early is not
//    there, and a source that changes too early arrives changed.
//  - Calls that need a context fail without it, and so does a stream in another one.
//
// Two devices, each with its primary context. fake_cuda.hpp has what only tests call.
#include "support/fake_cuda/fake_cuda.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

namespace {

using Address = std::uint64_t;

constexpr int success = 0, invalid_value = 1, out_of_memory = 2, invalid_context = 201, invalid_handle = 400;
constexpr std::size_t devices = 2;

struct Stream {
    std::size_t device;
};

struct Copy {
    Address to;
    Address from;
    std::size_t size;
};

struct Allocation {
    std::size_t size;
    std::size_t device;
    std::byte* shadow;
    bool has_context;
};

struct State {
    std::mutex mutex;
    std::array<int, devices> contexts{};
    std::map<Address, Allocation> memory;
    std::map<Address, std::size_t> freed; ///< start and size
    std::map<Stream*, std::vector<Copy>> streams;
    std::set<void*> registered;
    int copies = 0;
    int fail_after = -1; ///< copies that still succeed; -1: all do
    bool loses_next = false;
};

State& state()
{
    static auto* const the = new State;
    return *the;
}

thread_local std::vector<void*> current;

std::size_t device_of_context(const void* context)
{
    for (std::size_t i = 0; i < devices; ++i) {
        if (context == &state().contexts[i]) {
            return i;
        }
    }
    return devices;
}

/// The allocation that has all of the range; end(): none.
auto find(Address pointer, std::size_t size)
{
    auto& memory = state().memory;
    auto found = memory.upper_bound(pointer);
    if (found == memory.begin()) {
        return memory.end();
    }
    --found;
    const bool inside =
        pointer - found->first < found->second.size && size <= found->second.size - (pointer - found->first);
    return inside ? found : memory.end();
}

bool touches_device(Address pointer, std::size_t size)
{
    for (const auto& [start, allocation] : state().memory) {
        if (pointer < start + allocation.size && start < pointer + size) {
            return true;
        }
    }
    for (const auto& [start, length] : state().freed) {
        if (pointer < start + length && start < pointer + size) {
            return true;
        }
    }
    return false;
}

std::byte* bytes_of(Address pointer, std::size_t size)
{
    const auto found = find(pointer, size);
    if (found != state().memory.end()) {
        return found->second.shadow + (pointer - found->first);
    }
    return touches_device(pointer, size) ? nullptr : reinterpret_cast<std::byte*>(pointer);
}

int copy_now(const Copy& copy)
{
    std::byte* const to = bytes_of(copy.to, copy.size);
    const std::byte* const from = bytes_of(copy.from, copy.size);
    if (to == nullptr || from == nullptr) {
        return invalid_value;
    }
    std::memmove(to, from, copy.size);
    return success;
}

int allocate(Address* pointer, std::size_t size, bool has_context)
{
    const std::lock_guard lock(state().mutex);
    if (current.empty()) {
        return invalid_context;
    }
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t length = (size + page - 1) / page * page;
    void* const range = mmap(nullptr, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void* const shadow = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (range == MAP_FAILED || shadow == MAP_FAILED) {
        return out_of_memory;
    }
    *pointer = reinterpret_cast<Address>(range);
    state().memory[*pointer] = {.size = size,
                                .device = device_of_context(current.back()),
                                .shadow = static_cast<std::byte*>(shadow),
                                .has_context = has_context};
    return success;
}

/// What is under way on a stream of the calling thread's device.
int find_stream(void* stream, std::vector<Copy>*& pending)
{
    const auto found = state().streams.find(static_cast<Stream*>(stream));
    if (found == state().streams.end()) {
        return invalid_handle;
    }
    if (current.empty() || device_of_context(current.back()) != found->first->device) {
        return invalid_context;
    }
    pending = &found->second;
    return success;
}

} // namespace

extern "C" {

int cuInit(unsigned flags)
{
    return flags == 0 ? success : invalid_value;
}

int cuGetErrorString(int result, const char** text)
{
    *text = result == success ? "no error" : "made to fail";
    return success;
}

int cuDeviceGet(int* device, int ordinal)
{
    *device = ordinal;
    return ordinal >= 0 && static_cast<std::size_t>(ordinal) < devices ? success : invalid_value;
}

int cuDevicePrimaryCtxRetain(void** context, int device)
{
    *context = &state().contexts.at(static_cast<std::size_t>(device));
    return success;
}

int cuCtxPushCurrent_v2(void* context)
{
    if (device_of_context(context) == devices) {
        return invalid_context;
    }
    current.push_back(context);
    return success;
}

int cuCtxPopCurrent_v2(void** context)
{
    if (current.empty()) {
        return invalid_context;
    }
    *context = current.back();
    current.pop_back();
    return success;
}

int cuCtxGetCurrent(void** context)
{
    *context = current.empty() ? nullptr : current.back();
    return success;
}

int cuMemAlloc_v2(Address* pointer, std::size_t size)
{
    return allocate(pointer, size, true);
}

int cuMemFree_v2(Address pointer)
{
    const std::lock_guard lock(state().mutex);
    const auto found = state().memory.find(pointer);
    if (found == state().memory.end()) {
        return invalid_value;
    }
    // The range stays reserved: whoever uses it after this is found out.
    munmap(found->second.shadow, std::max<std::size_t>(found->second.size, 1));
    state().freed[pointer] = found->second.size;
    state().memory.erase(found);
    return success;
}

int cuPointerGetAttribute(void* value, int attribute, Address pointer)
{
    const std::lock_guard lock(state().mutex);
    const auto found = find(pointer, 0);
    if (found == state().memory.end()) {
        if (attribute == 2 && state().registered.count(reinterpret_cast<void*>(pointer)) != 0) {
            *static_cast<unsigned*>(value) = 1;
            return success;
        }
        return invalid_value;
    }
    const Allocation& allocation = found->second;
    switch (attribute) {
    case 1:
        *static_cast<void**>(value) = allocation.has_context ? &state().contexts[allocation.device] : nullptr;
        return success;
    case 2:
        *static_cast<unsigned*>(value) = 2;
        return success;
    case 9:
        *static_cast<int*>(value) = static_cast<int>(allocation.device);
        return success;
    case 11:
        *static_cast<Address*>(value) = found->first;
        return success;
    case 12:
        *static_cast<std::size_t*>(value) = allocation.size;
        return success;
    default:
        return invalid_value;
    }
}

int cuPointerSetAttribute(const void*, int attribute, Address)
{
    return attribute == 6 ? success : invalid_value;
}

int cuStreamCreate(void** stream, unsigned flags)
{
    const std::lock_guard lock(state().mutex);
    if (current.empty() || flags != 1) { // one that waits for others would wait for the application's kernels
        return invalid_context;
    }
    auto* const made = new Stream{device_of_context(current.back())};
    state().streams[made];
    *stream = made;
    return success;
}

int cuMemcpyAsync(Address to, Address from, std::size_t size, void* stream)
{
    const std::lock_guard lock(state().mutex);
    std::vector<Copy>* pending = nullptr;
    if (const int code = find_stream(stream, pending); code != success) {
        return code;
    }
    if (state().fail_after == 0 || bytes_of(to, size) == nullptr || bytes_of(from, size) == nullptr) {
        return invalid_value;
    }
    if (state().fail_after > 0) {
        --state().fail_after;
    }
    ++state().copies;
    pending->push_back({to, from, size});
    return success;
}

int cuStreamSynchronize(void* stream)
{
    const std::lock_guard lock(state().mutex);
    std::vector<Copy>* pending = nullptr;
    if (const int code = find_stream(stream, pending); code != success) {
        return code;
    }
    if (state().loses_next && !pending->empty()) {
        state().loses_next = false;
        pending->clear();
        return invalid_handle;
    }
    int result = success;
    for (const Copy& copy : *pending) {
        if (const int code = copy_now(copy); code != success) {
            result = code;
        }
    }
    pending->clear();
    return result;
}

int cuMemHostRegister_v2(void* memory, std::size_t size, unsigned flags)
{
    const std::lock_guard lock(state().mutex);
    if (current.empty() || memory == nullptr || size == 0 || flags != 1) {
        return invalid_context;
    }
    return state().registered.insert(memory).second ? success : invalid_value;
}

int cuMemHostUnregister(void* memory)
{
    const std::lock_guard lock(state().mutex);
    return state().registered.erase(memory) != 0 ? success : invalid_value;
}

// -- What only tests call -------------------------------------------------------------

int fake_cuda_alloc_pooled(Address* pointer, std::size_t size)
{
    return allocate(pointer, size, false);
}

int fake_cuda_write(Address to, const void* from, std::size_t size)
{
    const std::lock_guard lock(state().mutex);
    return copy_now({to, reinterpret_cast<Address>(from), size});
}

int fake_cuda_read(void* to, Address from, std::size_t size)
{
    const std::lock_guard lock(state().mutex);
    return copy_now({reinterpret_cast<Address>(to), from, size});
}

void fake_cuda_fail_after(int copies)
{
    const std::lock_guard lock(state().mutex);
    state().fail_after = copies;
}

void fake_cuda_lose_next()
{
    const std::lock_guard lock(state().mutex);
    state().loses_next = true;
}

int fake_cuda_copies()
{
    const std::lock_guard lock(state().mutex);
    return state().copies;
}

int fake_cuda_registered()
{
    const std::lock_guard lock(state().mutex);
    return static_cast<int>(state().registered.size());
}

} // extern "C"
