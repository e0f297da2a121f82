// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// C++ meets C: no exception may leave a function that libfabric calls.
#pragma once

#include <cstring>
#include <exception>
#include <new>
#include <system_error>
#include <type_traits>

#include <rdma/fi_errno.h>

#include "common/log.hpp"

namespace srd {

/// A C enumeration as the number that the caller put there, which need not be one that this
/// header's type has: reading such a one as the type would be undefined.
template <typename Enum>
    requires std::is_enum_v<Enum>
unsigned raw(const Enum& field) noexcept
{
    unsigned value = 0;
    static_assert(sizeof(field) == sizeof(value));
    std::memcpy(&value, &field, sizeof(value));
    return value;
}

/// There is no memory for `call`: says so, with what can be done about it. Returns -FI_ENOMEM.
int out_of_memory(const char* call, const std::bad_alloc& error) noexcept;
/// `call` fails for something else: a line for the log; a shortage in the system is said. Returns -`code`, or
/// -FI_EOTHER if that is none.
int failed(const char* call, const std::exception& error, int code) noexcept;

/// Runs `body` (which returns int or ssize_t) and turns what it throws into a negative fi_errno, with a line
/// that names `call`.
template <typename Body>
auto guarded(Body&& body, const char* call = __builtin_FUNCTION()) noexcept -> std::invoke_result_t<Body>
{
    try {
        return body();
    } catch (const std::bad_alloc& error) {
        return out_of_memory(call, error);
    } catch (const std::system_error& error) {
        return failed(call, error, error.code().value());
    } catch (const std::exception& error) {
        return failed(call, error, FI_EOTHER);
    }
}

} // namespace srd
