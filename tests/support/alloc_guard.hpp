// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Proof that a piece of code does not allocate: an operator new called in
// the scope of an AllocationBan counts as a violation. And what happens without memory: AllocationFailure.
// An executable
// that uses any of this gets the counting operator new linked in.
#pragma once

#include <cstdint>

namespace srd::sim {

/// Allocations made under a ban since the program started, on this thread.
std::uint64_t allocation_violations() noexcept;

/// While it lives, this thread's allocations are violations.
class AllocationBan {
public:
    AllocationBan() noexcept;
    ~AllocationBan();
    AllocationBan(const AllocationBan&) = delete;
    AllocationBan& operator=(const AllocationBan&) = delete;

private:
    bool before_;
};

/// While it lives, this thread gets no memory after `allocations` more allocations: operator new throws, or
/// returns null where it may not.
class AllocationFailure {
public:
    explicit AllocationFailure(std::uint64_t allocations) noexcept;
    ~AllocationFailure();
    AllocationFailure(const AllocationFailure&) = delete;
    AllocationFailure& operator=(const AllocationFailure&) = delete;
};

/// Lifts a surrounding ban: for the harness's own code that the banned code calls.
class AllocationPermit {
public:
    AllocationPermit() noexcept;
    ~AllocationPermit();
    AllocationPermit(const AllocationPermit&) = delete;
    AllocationPermit& operator=(const AllocationPermit&) = delete;

private:
    bool before_;
};

} // namespace srd::sim
