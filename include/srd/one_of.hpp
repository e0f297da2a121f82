// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A record that is one of a closed set of kinds, with what only that kind has.
#pragma once

#include <variant>

namespace srd {

/// Base of a record. `Kinds` are told apart by type; a new record is of the first.
template <typename... Kinds>
struct OneOf {
    /// What only a `Kind` has; null if it is of another kind.
    template <typename Kind>
    Kind* as() noexcept
    {
        return std::get_if<Kind>(&kind);
    }
    template <typename Kind>
    const Kind* as() const noexcept
    {
        return std::get_if<Kind>(&kind);
    }
    template <typename Kind>
    bool is() const noexcept
    {
        return std::holds_alternative<Kind>(kind);
    }

    std::variant<Kinds...> kind;
};

} // namespace srd
