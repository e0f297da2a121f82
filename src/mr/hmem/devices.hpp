// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The memory of accelerators, as a process has it: which buffers are theirs, and copies from and to them.
// CUDA's so far; another driver is another table of functions behind the same calls.
//
// Laws:
//  - A DeviceId stands for one context of the driver and a stream of our own in it. Streams wait for no other
//    work (non-blocking ones), and nothing here allocates, frees or registers memory while data moves: a copy
//    ends by itself, whatever kernels of the application wait for.
//  - The application's current context is what it was, after every call.
//  - Ids are given when memory is registered, and last as long as the process: a driver's contexts do, too.
//
// Threading: every function may be called by any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include <srd/iov.hpp>

#include "hmem/cuda_driver.hpp"

namespace srd {

class Devices {
public:
    /// The process's. Its driver is loaded by the first adopt(). Throws std::bad_alloc.
    static Devices& process();

    /// Whose memory [start, start + size) is; all of it must belong to one allocation. False, and `error`
    /// says why, as a sentence: there is no driver, or it does not know such memory. Throws std::bad_alloc.
    bool adopt(const void* start, std::size_t size, DeviceId& device, std::string& error);
    /// Some memory was adopted.
    bool any() const noexcept { return count_.load(std::memory_order_acquire) != 0; }
    /// The device with that number, from whomever it comes; the host if there is none.
    DeviceId known(std::uintptr_t number) const noexcept
    {
        return number <= count_.load(std::memory_order_acquire) ? static_cast<DeviceId>(number)
                                                                : DeviceId::host;
    }

    // -- Copies; `device` is one that adopt() has given. False: the driver refuses.

    /// Begins to copy; either end may be on the device.
    bool begin(DeviceId device, void* to, const void* from, std::size_t size) noexcept;
    /// Waits for all that was begun there, by whomever.
    bool wait(DeviceId device) noexcept;
    bool copy(DeviceId device, void* to, const void* from, std::size_t size) noexcept
    {
        return begin(device, to, from, size) && wait(device);
    }

    /// Copies from and to this host memory are faster, if the driver agrees. True: unpin() before it goes
    /// away.
    bool pin(void* memory, std::size_t size) noexcept;
    void unpin(void* memory) noexcept;

private:
    static constexpr std::size_t most =
        64; ///< contexts: devices of a host, and what libraries add of their own

    struct Place {
        CudaDriver::Context context = nullptr;
        CudaDriver::Stream stream = nullptr;
    };
    /// The calling thread is in a context for a scope.
    class InContext;

    const Place& place(DeviceId device) const noexcept;
    bool find_context(CudaDriver::Address pointer, CudaDriver::Context& context, std::string& error);
    bool find_place(CudaDriver::Context context, DeviceId& device, std::string& error);

    std::mutex mutex_;                   ///< of adopt()
    std::unique_ptr<CudaDriver> driver_; ///< what is called once `count_` says that it is there
    std::array<Place, most> places_{};
    std::atomic<std::size_t> count_{0};
};

/// Copies for one user, an endpoint under its lock: waits for the devices it has used, no others. When a copy
/// fails under way, the driver's context is unusable from then on (CUDA's sticky errors), and so is this.
class DeviceCopies final : public DeviceMemory {
public:
    bool fetch(DeviceId device, const std::byte* from, std::size_t size, std::byte* to) noexcept override
    {
        return begin(device, to, from, size);
    }
    bool store(DeviceId device, std::byte* to, std::size_t size, const std::byte* from) noexcept override
    {
        return begin(device, to, from, size);
    }
    bool settle() noexcept override;

private:
    bool begin(DeviceId device, std::byte* to, const std::byte* from, std::size_t size) noexcept
    {
        begun_ |= std::uint64_t{1} << (static_cast<unsigned>(device) - 1);
        return !is_broken_ && Devices::process().begin(device, to, from, size);
    }

    std::uint64_t begun_ = 0; ///< a bit for each device
    bool is_broken_ = false;
};

} // namespace srd
