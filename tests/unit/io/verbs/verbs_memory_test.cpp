// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the verbs backend says when there is no memory for packets, where every allocation changes errno, as
// the C library's may. (Sanitizers have an allocator of their own, which stays as it is.)
#include <cerrno>
#include <cstdlib>
#include <limits>

#include "io/verbs/verbs_queues.hpp"

#include "support/catch.hpp"

using namespace srd;

namespace {

bool clobbers = false;

} // namespace

#if defined(SRD_SANITIZED) || !defined(__GLIBC__)
#define SRD_OWN_MALLOC 0
#endif
#ifndef SRD_OWN_MALLOC
extern "C" void* __libc_malloc(std::size_t size);
extern "C" void* malloc(std::size_t size)
{
    void* const memory = __libc_malloc(size);
    if (clobbers) {
        errno = 0;
    }
    return memory;
}
#endif

TEST_CASE("verbs memory: no address space is ENOMEM, whatever the text about it does to errno")
{
    VerbsSlab slab;
    std::string error;
    clobbers = true;
    const int code = slab.open(nullptr, std::numeric_limits<std::size_t>::max() / 2, -1, error);
    clobbers = false;
    CHECK(code == ENOMEM);
    CHECK(error.find("memory for packets") != std::string::npos);
}
