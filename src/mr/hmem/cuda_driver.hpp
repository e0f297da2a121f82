// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// NVIDIA's driver library, loaded when device memory is first registered: what of it is needed, by the names
// and numbers of its interface, which does not change.
#pragma once

#include <cstddef>
#include <string>

#include <srd/shared_library.hpp>

namespace srd {

class CudaDriver {
public:
    using Result = int; ///< CUresult; 0: success
    using Context = void*;
    using Stream = void*;
    using Address = unsigned long long; ///< CUdeviceptr

    // Numbers of cuda.h.
    static constexpr int attribute_context = 1;
    static constexpr int attribute_memory_type = 2;
    static constexpr int attribute_sync_memops = 6;
    static constexpr int attribute_device_ordinal = 9;
    static constexpr int attribute_range_start = 11;
    static constexpr int attribute_range_size = 12;
    static constexpr unsigned memory_type_host = 1;
    static constexpr unsigned stream_non_blocking = 1;
    static constexpr unsigned host_register_portable = 1;

    CudaDriver();

    /// Why it cannot be used, as a sentence; empty: it can.
    const std::string& error() const noexcept { return error_; }
    /// What the driver calls such a result.
    std::string text(Result result) const;

    Result (*pointer_attribute)(void* value, int attribute, Address pointer) = nullptr;
    Result (*set_pointer_attribute)(const void* value, int attribute, Address pointer) = nullptr;
    Result (*device_get)(int* device, int ordinal) = nullptr;
    Result (*primary_context_retain)(Context* context, int device) = nullptr;
    Result (*context_push)(Context context) = nullptr;
    Result (*context_pop)(Context* context) = nullptr;
    Result (*stream_create)(Stream* stream, unsigned flags) = nullptr;
    Result (*stream_synchronize)(Stream stream) = nullptr;
    /// Either end may be on a device or in the host's memory: the driver knows by the address.
    Result (*copy_async)(Address to, Address from, std::size_t size, Stream stream) = nullptr;
    Result (*host_register)(void* memory, std::size_t size, unsigned flags) = nullptr;
    Result (*host_unregister)(void* memory) = nullptr;

private:
    Result (*init)(unsigned flags) = nullptr;
    Result (*error_string)(Result result, const char** text) = nullptr;

    SharedLibrary library_;
    std::string error_;
};

} // namespace srd
