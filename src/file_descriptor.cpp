// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <srd/file_descriptor.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <unistd.h>

namespace srd {

namespace {

constexpr std::size_t word_bits = 64;
/// One bit per descriptor of ours. Linux gives a process at most 2^20 by default (fs.nr_open); what lies
/// beyond is only not closed in children.
std::array<std::atomic<std::uint64_t>, (1U << 20) / word_bits> owned{};
std::atomic<std::size_t> words_used{0};

} // namespace

void mark_descriptor(int fd, bool is_owned) noexcept
{
    const std::size_t word = static_cast<std::size_t>(fd) / word_bits;
    const std::uint64_t bit = std::uint64_t{1} << (static_cast<std::size_t>(fd) % word_bits);
    if (word >= owned.size()) {
        return;
    }
    if (!is_owned) {
        owned[word].fetch_and(~bit);
        return;
    }
    owned[word].fetch_or(bit);
    std::size_t used = words_used.load();
    while (used <= word && !words_used.compare_exchange_weak(used, word + 1)) {
    }
}

FileDescriptor::FileDescriptor(int fd) noexcept : fd_(fd)
{
    if (fd_ >= 0) {
        mark_descriptor(fd_, true);
    }
}

FileDescriptor::~FileDescriptor()
{
    if (fd_ >= 0) {
        mark_descriptor(fd_, false); // first: the number may be another thread's as soon as it is closed
        ::close(fd_);
    }
}

void close_inherited_descriptors() noexcept
{
    for (std::size_t word = 0; word < words_used.load(); ++word) {
        for (std::uint64_t bits = owned[word].exchange(0); bits != 0; bits &= bits - 1) {
            ::close(static_cast<int>(word * word_bits) + std::countr_zero(bits));
        }
    }
}

} // namespace srd
