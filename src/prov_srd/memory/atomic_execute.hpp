// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What an atomic operation does to memory (fi_atomic(3)).
//
// Atomicity. Every element is updated as one, with respect to every other atomic of
// this process: an actor is a libfabric domain by its name, not one open instance of
// it, so one lock serves the process. Elements of up to 8 bytes that lie on their
// natural boundary are also updated with one instruction of the processor, so
// processes that share memory, and the application's own atomic instructions, fit in.
//
// Any thread. The lock is a leaf: nothing else is locked while it is held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

#include "common/atomic_form.hpp"

namespace srd {

/// Bytes of one element; 0 if there is no such datatype. Any number is allowed.
std::size_t datatype_size(std::uint32_t datatype) noexcept;

/// True if `operation` (enum fi_op) is served on `datatype` (enum fi_datatype) in this form. Any number is
/// allowed: operations and datatypes come over the wire, or from newer headers than ours.
bool atomic_valid(AtomicForm form, std::uint32_t operation, std::uint32_t datatype) noexcept;

/// The operands of one atomic; every length is in bytes, nothing need be aligned.
struct AtomicTask {
    std::uint32_t operation = 0;   ///< enum fi_op, unchecked
    std::uint32_t datatype = 0;    ///< enum fi_datatype, unchecked
    std::span<const iovec> target; ///< in this order; an element may begin in one piece and end in the next
    std::span<const std::byte> operand; ///< as long as the target; ignored by FI_ATOMIC_READ
    std::span<const std::byte> compare; ///< as long as the target, or empty: then it is no compare-atomic
    std::span<std::byte> result;        ///< gets the old values; as long as the target, or empty: not wanted
};

/// Carries out `task`. False, and nothing was touched: the operation is not served on the datatype in the
/// form that the task has, or a length is 0, no multiple of the element's size, or differs from the target's.
bool execute_atomic(const AtomicTask& task) noexcept;

} // namespace srd
