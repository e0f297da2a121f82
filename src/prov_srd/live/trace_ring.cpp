// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "live/trace_ring.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <new>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <srd/shm_object.hpp>

#include "live/old_files.hpp"

namespace srd {
namespace {

std::uint64_t realtime_ns() noexcept
{
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

} // namespace

std::unique_ptr<TraceRing> TraceRing::make(std::size_t records, const SocketAddress& own,
                                           AddressOf address_of, std::string& error)
{
    if (records > most_trace_records) { // whoever wrote the order into the file of statistics
        error = "at most " + std::to_string(most_trace_records) + " events of an endpoint are kept, not " +
                std::to_string(records);
        return nullptr;
    }
    remove_old(shm_folder, trace_prefix, kept);
    const std::size_t bytes = trace_file_size(records);
    if (const std::uint64_t spare = shm_spare(); bytes > spare) {
        error = std::to_string(records) + " events take " + std::to_string(bytes / 1024) + " KiB of " +
                shm_folder + ", which has " + std::to_string(spare / 1024) + " to spare";
        return nullptr;
    }
    std::string name = std::string(shm_folder) + '/' + trace_prefix + std::to_string(getpid()) + '.' +
                       std::to_string(realtime_ns());
    FileDescriptor file(open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.valid()) {
        error = name + ": " + std::generic_category().message(errno);
        return nullptr;
    }
    // All of it now: a full file system would kill whoever writes there.
    const int code = lock_file(file.get(), LOCK_SH | LOCK_NB)
                         ? posix_fallocate(file.get(), 0, static_cast<off_t>(bytes))
                         : errno;
    void* const memory =
        code != 0 ? MAP_FAILED
                  : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file.get(), 0);
    if (memory == MAP_FAILED) {
        error = name + ": " + std::generic_category().message(code != 0 ? code : errno);
        unlink(name.c_str());
        return nullptr;
    }
    return std::unique_ptr<TraceRing>(
        new TraceRing(std::move(file), std::move(name), memory, records, own, std::move(address_of)));
}

TraceRing::TraceRing(FileDescriptor file, std::string name, void* memory, std::size_t records,
                     const SocketAddress& own, AddressOf address_of) noexcept
    : file_(std::move(file)), name_(std::move(name)), header_(new (memory) TraceHeader),
      records_(reinterpret_cast<TraceRecord*>(static_cast<std::byte*>(memory) + trace_offset)),
      record_count_(records), address_of_(std::move(address_of)), owner_(getpid())
{
    header_->pid = static_cast<std::uint64_t>(owner_);
    header_->records = records;
    header_->address_size = static_cast<std::uint32_t>(std::min(own.bytes().size(), header_->address.size()));
    std::copy_n(own.bytes().begin(), header_->address_size, header_->address.begin());
    std::atomic_thread_fence(std::memory_order_release);
    header_->magic = trace_magic;
}

TraceRing::~TraceRing()
{
    if (owner_ == getpid()) { // the parent's goes on
        unlink(name_.c_str());
    }
    munmap(header_, trace_file_size(record_count_));
}

TraceRecord& TraceRing::begin(TraceKind kind, RouteId route) noexcept
{
    TraceRecord& record = records_[next_ % record_count_];
    record.number.store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release); // before anything changes
    record.at_ns = realtime_ns();
    record.kind = kind;
    record.address_size = 0;
    record.captured = 0;
    record.length = record.value = 0;
    if (route != no_id<RouteId>) {
        const std::span<const std::byte> address = address_of_(route).bytes();
        record.address_size = static_cast<std::uint8_t>(std::min(address.size(), record.address.size()));
        std::copy_n(address.begin(), record.address_size, record.address.begin());
    }
    return record;
}

void TraceRing::end(TraceRecord& record) noexcept
{
    record.number.store(++next_, std::memory_order_release);
    header_->next.store(next_, std::memory_order_release);
}

void TraceRing::on_packet(TraceKind kind, RouteId route, std::span<const iovec> bytes) noexcept
{
    TraceRecord& record = begin(kind, route);
    for (const iovec& piece : bytes) {
        const std::size_t size = std::min(piece.iov_len, record.bytes.size() - record.captured);
        if (size != 0) {
            std::memcpy(&record.bytes[record.captured], piece.iov_base, size);
        }
        record.captured = static_cast<std::uint16_t>(record.captured + size);
        record.length += static_cast<std::uint32_t>(piece.iov_len);
    }
    end(record);
}

void TraceRing::on_event(TraceKind kind, RouteId route, std::uint32_t value) noexcept
{
    TraceRecord& record = begin(kind, route);
    record.value = value;
    end(record);
}

} // namespace srd
