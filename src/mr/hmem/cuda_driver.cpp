// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "hmem/cuda_driver.hpp"

namespace srd {

CudaDriver::CudaDriver() : library_("libcuda.so.1", "install NVIDIA's driver, or register host memory only")
{
    library_.find(init, "cuInit");
    library_.find(error_string, "cuGetErrorString");
    library_.find(pointer_attribute, "cuPointerGetAttribute");
    library_.find(set_pointer_attribute, "cuPointerSetAttribute");
    library_.find(device_get, "cuDeviceGet");
    library_.find(primary_context_retain, "cuDevicePrimaryCtxRetain");
    library_.find(context_push, "cuCtxPushCurrent_v2");
    library_.find(context_pop, "cuCtxPopCurrent_v2");
    library_.find(stream_create, "cuStreamCreate");
    library_.find(stream_synchronize, "cuStreamSynchronize");
    library_.find(copy_async, "cuMemcpyAsync");
    library_.find(host_register, "cuMemHostRegister_v2");
    library_.find(host_unregister, "cuMemHostUnregister");
    error_ = library_.error();
    if (error_.empty()) {
        if (const Result result = init(0); result != 0) {
            error_ = "cuInit failed: " + text(result);
        }
    }
}

std::string CudaDriver::text(Result result) const
{
    const char* words = nullptr;
    if (error_string == nullptr || error_string(result, &words) != 0 || words == nullptr) {
        words = "an error without a name";
    }
    return std::string(words) + " (CUDA error " + std::to_string(result) + ")";
}

} // namespace srd
