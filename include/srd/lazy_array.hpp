// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A zero-initialised array whose pages cost nothing until they are written.
#pragma once

#include <cstddef>

#include <srd/slab.hpp>

namespace srd {

/// `T`'s all-zero bytes must be a valid initial value.
template <typename T>
class LazyArray {
public:
    explicit LazyArray(std::size_t count) : memory_(count * sizeof(T)) {}

    T& operator[](std::size_t index) noexcept { return memory_.template as<T>()[index]; }
    const T& operator[](std::size_t index) const noexcept { return memory_.template as<T>()[index]; }

private:
    Reserve memory_;
};

} // namespace srd
