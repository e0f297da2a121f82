// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// SRD_CHECK: our own broken invariants, and nothing else, end the process.
// Always on. SRD_DCHECK: the same in debug builds, for the data path.
// Never used on bytes from the wire, on a caller's argument, or on what the
// operating system says: those are counted, refused or reported.
#pragma once

namespace srd {

[[noreturn]] void check_failed(const char* expression, const char* file, int line) noexcept;

} // namespace srd

#define SRD_CHECK(expression)                                                                                \
    (__builtin_expect(static_cast<bool>(expression), 1)                                                      \
         ? static_cast<void>(0)                                                                              \
         : ::srd::check_failed(#expression, __FILE__, __LINE__))

#ifdef NDEBUG
#define SRD_DCHECK(expression) static_cast<void>(sizeof(static_cast<bool>(expression)))
#else
#define SRD_DCHECK(expression) SRD_CHECK(expression)
#endif
