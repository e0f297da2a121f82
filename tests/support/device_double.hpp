// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A device for tests of the engine alone: a range that nobody may touch, whose bytes are elsewhere, and
// copies that happen when they are waited for, not before.
#pragma once

#include <cstddef>
#include <cstring>
#include <vector>

#include <sys/mman.h>

#include <srd/check.hpp>
#include <srd/iov.hpp>

namespace srd::test {

class DeviceDouble final : public DeviceMemory {
public:
    static constexpr DeviceId id{3};

    explicit DeviceDouble(std::size_t size) : bytes(size)
    {
        range_ = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        SRD_CHECK(range_ != MAP_FAILED);
    }
    ~DeviceDouble() { ::munmap(range_, bytes.size()); }
    DeviceDouble(const DeviceDouble&) = delete;
    DeviceDouble& operator=(const DeviceDouble&) = delete;

    std::byte* data() const { return static_cast<std::byte*>(range_); }

    bool fetch(DeviceId device, const std::byte* from, std::size_t size, std::byte* to) noexcept override
    {
        return begin(device, to, at(from, size), size);
    }
    bool store(DeviceId device, std::byte* to, std::size_t size, const std::byte* from) noexcept override
    {
        return begin(device, at(to, size), from, size);
    }
    bool settle() noexcept override
    {
        ++waits;
        is_lost_ = is_lost_ || (loses_next && !begun_.empty());
        for (const Copy& copy : begun_) {
            if (!is_lost_) {
                std::memcpy(copy.to, copy.from, copy.size);
            }
        }
        begun_.clear();
        return !is_lost_;
    }
    std::size_t under_way() const { return begun_.size(); }

    std::vector<std::byte> bytes; ///< what is in the range
    int fail_after = -1;          ///< copies that still can be begun; -1: all
    bool loses_next = false;      ///< the next wait that has something to wait for fails, and all later ones
    std::size_t copies = 0;
    std::size_t waits = 0;

private:
    struct Copy {
        std::byte* to;
        const std::byte* from;
        std::size_t size;
    };

    std::byte* at(const std::byte* pointer, std::size_t size)
    {
        const auto offset = static_cast<std::size_t>(pointer - data());
        SRD_CHECK(offset <= bytes.size() && size <= bytes.size() - offset);
        return bytes.data() + offset;
    }
    bool begin(DeviceId device, std::byte* to, const std::byte* from, std::size_t size)
    {
        SRD_CHECK(device == id);
        if (fail_after == 0 || is_lost_) {
            return false;
        }
        fail_after -= fail_after > 0 ? 1 : 0;
        ++copies;
        begun_.push_back({to, from, size});
        return true;
    }

    void* range_;
    std::vector<Copy> begun_;
    bool is_lost_ = false;
};

} // namespace srd::test
