// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The fake driver library (fake_cuda.cpp), as tests use it that are linked with it: what of CUDA's own they
// call, and what only they may.
#pragma once

#include <cstddef>
#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

int cuInit(unsigned flags);
int cuGetErrorString(int result, const char** text);
int cuDeviceGet(int* device, int ordinal);
int cuDevicePrimaryCtxRetain(void** context, int device);
int cuCtxPushCurrent_v2(void* context);
int cuCtxPopCurrent_v2(void** context);
int cuCtxGetCurrent(void** context);
int cuMemAlloc_v2(std::uint64_t* pointer, std::size_t size);
int cuMemFree_v2(std::uint64_t pointer);
int cuPointerGetAttribute(void* value, int attribute, std::uint64_t pointer);
int cuPointerSetAttribute(const void* value, int attribute, std::uint64_t pointer);
int cuStreamCreate(void** stream, unsigned flags);
int cuMemcpyAsync(std::uint64_t to, std::uint64_t from, std::size_t size, void* stream);
int cuStreamSynchronize(void* stream);
int cuMemHostRegister_v2(void* memory, std::size_t size, unsigned flags);
int cuMemHostUnregister(void* memory);

/// Memory that belongs to no context, as that of pools.
int fake_cuda_alloc_pooled(std::uint64_t* pointer, std::size_t size);
// The test's own way to the bytes; at once.
int fake_cuda_write(std::uint64_t to, const void* from, std::size_t size);
int fake_cuda_read(void* to, std::uint64_t from, std::size_t size);
/// So many more copies succeed; -1: all.
void fake_cuda_fail_after(int copies);
/// The next wait that has copies to wait for fails, and they do not happen.
void fake_cuda_lose_next();
int fake_cuda_copies();     ///< asynchronous ones, so far
int fake_cuda_registered(); ///< pieces of host memory (cuMemHostRegister)

} // extern "C"
#pragma GCC visibility pop
