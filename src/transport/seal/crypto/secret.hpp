// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Bytes that nobody is to find in memory later: wiped when they go. Moving wipes where they came from;
// they are not copied.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

namespace srd {

/// Overwrites `bytes`; no optimizer leaves that out (explicit_bzero(3)).
inline void wipe(std::span<std::byte> bytes) noexcept
{
    ::explicit_bzero(bytes.data(), bytes.size());
}

/// A secret of `Size` bytes, zeros at first.
template <std::size_t Size>
class Secret {
public:
    static constexpr std::size_t size = Size;

    Secret() noexcept = default;
    Secret(Secret&& other) noexcept : bytes_(other.bytes_) { wipe(other.bytes_); }
    Secret& operator=(Secret&& other) noexcept
    {
        if (this != &other) {
            bytes_ = other.bytes_;
            wipe(other.bytes_);
        }
        return *this;
    }
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    ~Secret() { wipe(bytes_); }

    std::span<std::byte, Size> bytes() noexcept { return bytes_; }
    std::span<const std::byte, Size> bytes() const noexcept { return bytes_; }

private:
    std::array<std::byte, Size> bytes_{};
};

/// A secret of any length.
class SecretBytes {
public:
    SecretBytes() noexcept = default;
    /// `size` zeros.
    explicit SecretBytes(std::size_t size) : bytes_(std::make_unique<std::byte[]>(size)), size_(size) {}
    explicit SecretBytes(std::span<const std::byte> copied) : SecretBytes(copied.size())
    {
        std::copy(copied.begin(), copied.end(), bytes_.get());
    }
    SecretBytes(SecretBytes&& other) noexcept
        : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0))
    {
    }
    SecretBytes& operator=(SecretBytes&& other) noexcept
    {
        const SecretBytes gone(std::move(*this));
        bytes_ = std::move(other.bytes_);
        size_ = std::exchange(other.size_, 0);
        return *this;
    }
    SecretBytes(const SecretBytes&) = delete;
    SecretBytes& operator=(const SecretBytes&) = delete;
    ~SecretBytes()
    {
        if (bytes_ != nullptr) {
            wipe(bytes());
        }
    }

    std::span<std::byte> bytes() noexcept { return {bytes_.get(), size_}; }
    std::span<const std::byte> bytes() const noexcept { return {bytes_.get(), size_}; }

private:
    std::unique_ptr<std::byte[]> bytes_;
    std::size_t size_ = 0;
};

} // namespace srd
