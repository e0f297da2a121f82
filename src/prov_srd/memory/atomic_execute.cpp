// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "memory/atomic_execute.hpp"

#include <algorithm>
#include <array>
#include <complex>
#include <cstring>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>

#include <rdma/fi_domain.h>

#include "memory/small_float.hpp"
#include "progress/progress_lock.hpp"

namespace srd {
namespace {

// -- Datatypes ----------------------------------------------------------------

__extension__ using Int128 = __int128;
__extension__ using UInt128 = unsigned __int128;

/// By enum fi_datatype. Those from FI_FLOAT16 (16) on came with libfabric 2.
using Types = std::tuple<std::int8_t, std::uint8_t, std::int16_t, std::uint16_t, std::int32_t, std::uint32_t,
                         std::int64_t, std::uint64_t, float, double, std::complex<float>,
                         std::complex<double>, long double, std::complex<long double>, Int128, UInt128,
                         Float16, BFloat16, Float8E4M3, Float8E5M2>;
constexpr std::size_t type_count = std::tuple_size_v<Types>;
static_assert(FI_INT8 == 0 && FI_FLOAT == 8 && FI_LONG_DOUBLE_COMPLEX == 13 && FI_UINT128 == 15);

template <typename T>
constexpr bool is_complex = false;
template <typename T>
constexpr bool is_complex<std::complex<T>> = true;
template <typename T> // std::is_integral does not know 128 bits without language extensions
constexpr bool is_integer = std::is_integral_v<T> || std::is_same_v<T, Int128> || std::is_same_v<T, UInt128>;
template <typename T>
constexpr bool is_small_float = std::is_class_v<T> && !is_complex<T>;

constexpr std::size_t max_element = sizeof(std::complex<long double>);

template <typename T>
T load(const std::byte* from) noexcept
{
    T value;
    std::memcpy(&value, from, sizeof(T));
    return value;
}

/// The padding of a long double is never written: what lies on our stack is not the peer's to see.
template <typename T>
void store(std::byte* to, const T& value) noexcept
{
    if constexpr (is_complex<T>) {
        store(to, value.real());
        store(to + sizeof(T) / 2, value.imag());
    } else if constexpr (std::is_same_v<T, long double> && std::numeric_limits<T>::digits == 64) {
        std::memcpy(to, &value, 10);
    } else {
        std::memcpy(to, &value, sizeof(T));
    }
}

// -- Operations -----------------------------------------------------------------

constexpr std::uint32_t operation_diff = 19; ///< FI_DIFF of libfabric 2
constexpr std::size_t operation_count = operation_diff + 1;
static_assert(FI_MIN == 0 && FI_ATOMIC_READ == 10 && FI_CSWAP == 12 && FI_MSWAP == operation_diff - 1);

/// True if the operation is defined on the type: bits only of integers, order only of real numbers.
template <std::uint32_t operation, typename T>
constexpr bool is_defined() noexcept
{
    switch (operation) {
    case FI_BOR:
    case FI_BAND:
    case FI_BXOR:
    case FI_MSWAP:
        return is_integer<T>;
    case FI_MIN:
    case FI_MAX:
    case FI_CSWAP_LE:
    case FI_CSWAP_LT:
    case FI_CSWAP_GE:
    case FI_CSWAP_GT:
        return !is_complex<T>;
    default:
        return true;
    }
}

constexpr bool is_replacing(std::uint32_t operation) noexcept
{
    return operation == FI_MIN || operation == FI_MAX || (operation >= FI_CSWAP && operation <= FI_CSWAP_GT);
}

/// Whether the operand takes the target's place. `other`: the comparand, for FI_MIN and FI_MAX the operand.
template <std::uint32_t operation, typename T>
bool replaces(const T& other, const T& target) noexcept
{
    if constexpr (is_small_float<T>) {
        return replaces<operation>(static_cast<double>(other), static_cast<double>(target));
    } else if constexpr (operation == FI_CSWAP) {
        return other == target;
    } else if constexpr (operation == FI_CSWAP_NE) {
        return other != target;
    } else if constexpr (operation == FI_CSWAP_LE) {
        return other <= target;
    } else if constexpr (operation == FI_CSWAP_GE) {
        return other >= target;
    } else if constexpr (operation == FI_CSWAP_LT || operation == FI_MIN) {
        return other < target;
    } else {
        static_assert(operation == FI_CSWAP_GT || operation == FI_MAX);
        return other > target;
    }
}

template <typename T>
bool is_true(const T& value) noexcept
{
    return value != T{};
}

/// The target's new value. Integers are computed in a wider unsigned type, so that they wrap.
template <std::uint32_t operation, typename T>
T combine(const T& target, const T& operand) noexcept
{
    if constexpr (is_small_float<T>) {
        return T{combine<operation>(static_cast<double>(target), static_cast<double>(operand))};
    } else if constexpr (operation == FI_LOR) {
        return static_cast<T>(is_true(target) || is_true(operand));
    } else if constexpr (operation == FI_LAND) {
        return static_cast<T>(is_true(target) && is_true(operand));
    } else if constexpr (operation == FI_LXOR) {
        return static_cast<T>(is_true(target) != is_true(operand));
    } else if constexpr (operation == FI_BOR) {
        return static_cast<T>(target | operand);
    } else if constexpr (operation == FI_BAND) {
        return static_cast<T>(target & operand);
    } else if constexpr (operation == FI_BXOR) {
        return static_cast<T>(target ^ operand);
    } else {
        using Wide =
            std::conditional_t<!is_integer<T>, T, std::conditional_t<sizeof(T) <= 8, std::uint64_t, UInt128>>;
        // Sign extension does no harm: the low bits of the result are kept, and they do not depend on it.
        const auto left = static_cast<Wide>(target);   // NOLINT(bugprone-signed-char-misuse)
        const auto right = static_cast<Wide>(operand); // NOLINT(bugprone-signed-char-misuse)
        if constexpr (operation == FI_SUM) {
            return static_cast<T>(left + right);
        } else if constexpr (operation == FI_PROD) {
            return static_cast<T>(left * right);
        } else {
            static_assert(operation == operation_diff);
            return static_cast<T>(left - right);
        }
    }
}

/// Turns the old value in `value` into the new one. False: it stays as it is.
/// What is moved rather than computed keeps its every bit.
template <std::uint32_t operation, typename T>
bool apply(std::byte* value, const std::byte* operand, [[maybe_unused]] const std::byte* comparand) noexcept
{
    if constexpr (operation == FI_ATOMIC_READ) {
        return false;
    } else if constexpr (operation == FI_ATOMIC_WRITE) {
        std::memcpy(value, operand, sizeof(T));
    } else if constexpr (is_replacing(operation)) {
        const std::byte* other = operation < FI_CSWAP ? operand : comparand;
        if (!replaces<operation>(load<T>(other), load<T>(value))) {
            return false;
        }
        std::memcpy(value, operand, sizeof(T));
    } else if constexpr (operation == FI_MSWAP) {
        const T mask = load<T>(comparand);
        store(value, static_cast<T>((load<T>(operand) & mask) | (load<T>(value) & ~mask)));
    } else {
        store(value, combine<operation>(load<T>(value), load<T>(operand)));
    }
    return true;
}

// -- Elements -------------------------------------------------------------------

template <std::size_t size>
using Word =
    std::conditional_t<size == 1, std::uint8_t,
                       std::conditional_t<size == 2, std::uint16_t,
                                          std::conditional_t<size == 4, std::uint32_t, std::uint64_t>>>;

/// One instruction's worth: `target` lies on its natural boundary. Leaves the old value in `old`.
template <std::uint32_t operation, typename T>
void update_word(std::byte* target, const std::byte* operand, const std::byte* comparand,
                 std::byte* old) noexcept
{
    using Cell [[gnu::may_alias]] = Word<sizeof(T)>;
    auto* cell = reinterpret_cast<Cell*>(target);
    Word<sizeof(T)> before = __atomic_load_n(cell, __ATOMIC_ACQUIRE);
    Word<sizeof(T)> after;
    do {
        after = before;
        if (!apply<operation, T>(reinterpret_cast<std::byte*>(&after), operand, comparand)) {
            break;
        }
    } while (!__atomic_compare_exchange_n(cell, &before, after, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    std::memcpy(old, &before, sizeof(T));
}

/// The element at `target`; its old value goes to `old`.
template <std::uint32_t operation, typename T>
void update(std::byte* target, const std::byte* operand, const std::byte* comparand, std::byte* old) noexcept
{
    if constexpr (sizeof(T) <= 8) {
        if (reinterpret_cast<std::uintptr_t>(target) % sizeof(T) == 0) {
            update_word<operation, T>(target, operand, comparand, old);
            return;
        }
    }
    std::array<std::byte, sizeof(T)> value;
    std::memcpy(value.data(), target, sizeof(T));
    std::memcpy(old, value.data(), sizeof(T));
    if (apply<operation, T>(value.data(), operand, comparand)) {
        std::memcpy(target, value.data(), sizeof(T));
    }
}

using Update = void (*)(std::byte*, const std::byte*, const std::byte*, std::byte*) noexcept;
using UpdateRow = std::array<Update, type_count>;

template <std::uint32_t operation, std::size_t... types>
constexpr UpdateRow make_row(std::index_sequence<types...>) noexcept
{
    constexpr auto one = []<typename T>(std::type_identity<T>) -> Update {
        if constexpr (is_defined<operation, T>()) {
            return &update<operation, T>;
        } else {
            return nullptr;
        }
    };
    return {one(std::type_identity<std::tuple_element_t<types, Types>>{})...};
}

template <std::size_t... operations>
constexpr std::array<UpdateRow, operation_count> make_updates(std::index_sequence<operations...>) noexcept
{
    return {make_row<operations>(std::make_index_sequence<type_count>{})...};
}

template <std::size_t... types>
constexpr std::array<std::uint8_t, type_count> make_sizes(std::index_sequence<types...>) noexcept
{
    return {sizeof(std::tuple_element_t<types, Types>)...};
}

constexpr auto updates = make_updates(std::make_index_sequence<operation_count>{});
constexpr auto sizes = make_sizes(std::make_index_sequence<type_count>{});

// -- The target's pieces ----------------------------------------------------------

/// Walks over pieces of memory as if they were one.
class Cursor {
public:
    explicit Cursor(std::span<const iovec> pieces) noexcept : pieces_(pieces) {}

    /// The next `size` bytes if they lie in one piece, else nullptr.
    std::byte* whole(std::size_t size) noexcept
    {
        skip_finished();
        if (pieces_.front().iov_len - offset_ < size) {
            return nullptr;
        }
        return static_cast<std::byte*>(pieces_.front().iov_base) + offset_;
    }
    void advance(std::size_t size) noexcept { offset_ += size; }

    /// Hands over the next `size` bytes, part by part.
    template <typename Take>
    void scattered(std::size_t size, Take take) noexcept
    {
        for (std::size_t done = 0; done < size;) {
            skip_finished();
            const std::size_t part = std::min(size - done, pieces_.front().iov_len - offset_);
            take(static_cast<std::byte*>(pieces_.front().iov_base) + offset_, done, part);
            offset_ += part;
            done += part;
        }
    }

private:
    void skip_finished() noexcept
    {
        while (offset_ == pieces_.front().iov_len) {
            pieces_ = pieces_.subspan(1);
            offset_ = 0;
        }
    }

    std::span<const iovec> pieces_;
    std::size_t offset_ = 0;
};

ProgressLock update_lock;

void update_element(Cursor& cursor, std::size_t size, Update update, const std::byte* operand,
                    const std::byte* comparand, std::byte* old) noexcept
{
    if (std::byte* target = cursor.whole(size); target != nullptr) [[likely]] {
        update(target, operand, comparand, old);
        cursor.advance(size);
        return;
    }
    alignas(16) std::array<std::byte, max_element> value;
    Cursor writer = cursor;
    cursor.scattered(size, [&](const std::byte* memory, std::size_t at, std::size_t count) {
        std::memcpy(value.data() + at, memory, count);
    });
    update(value.data(), operand, comparand, old);
    if (std::memcmp(value.data(), old, size) != 0) {
        writer.scattered(size, [&](std::byte* memory, std::size_t at, std::size_t count) {
            std::memcpy(memory, value.data() + at, count);
        });
    }
}

AtomicForm form_of(const AtomicTask& task) noexcept
{
    if (!task.compare.empty()) {
        return AtomicForm::compare;
    }
    return task.result.empty() ? AtomicForm::base : AtomicForm::fetch;
}

bool is_sound(const AtomicTask& task, std::size_t length) noexcept
{
    if (!atomic_valid(form_of(task), task.operation, task.datatype)) {
        return false;
    }
    const auto fits = [length](std::size_t size) { return size == length || size == 0; };
    return length != 0 && length % sizes[task.datatype] == 0 && fits(task.compare.size()) &&
           fits(task.result.size()) && (task.operand.size() == length || task.operation == FI_ATOMIC_READ);
}

} // namespace

std::size_t datatype_size(std::uint32_t datatype) noexcept
{
    return datatype < type_count ? sizes[datatype] : 0;
}

bool atomic_valid(AtomicForm form, std::uint32_t operation, std::uint32_t datatype) noexcept
{
    if (operation >= operation_count || datatype >= type_count) {
        return false;
    }
    const bool compares = operation >= FI_CSWAP && operation <= FI_MSWAP;
    if (compares != (form == AtomicForm::compare) ||
        (operation == FI_ATOMIC_READ && form == AtomicForm::base)) {
        return false;
    }
    return updates[operation][datatype] != nullptr;
}

bool execute_atomic(const AtomicTask& task) noexcept
{
    std::size_t length = 0;
    for (const iovec& piece : task.target) {
        length += piece.iov_len;
    }
    if (!is_sound(task, length)) {
        return false;
    }
    const std::size_t size = sizes[task.datatype];
    const Update update = updates[task.operation][task.datatype];
    alignas(16) std::array<std::byte, max_element> unwanted;
    Cursor cursor(task.target);
    ProgressGuard guard(update_lock);
    const auto behind = [](auto bytes, std::size_t at) {
        return bytes.empty() ? nullptr : bytes.data() + at;
    };
    for (std::size_t at = 0; at < length; at += size) {
        std::byte* old = behind(task.result, at);
        update_element(cursor, size, update, behind(task.operand, at), behind(task.compare, at),
                       old != nullptr ? old : unwanted.data());
    }
    return true;
}

} // namespace srd
