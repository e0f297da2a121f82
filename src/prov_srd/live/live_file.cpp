// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "live/live_file.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <mutex>
#include <new>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <srd/file_descriptor.hpp>
#include <srd/shm_object.hpp>

#include "live/old_files.hpp"

namespace srd {
namespace {

std::uint64_t clock_ns(clockid_t clock) noexcept
{
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

template <std::size_t size>
void copy_text(std::array<char, size>& to, const std::string& from) noexcept
{
    std::copy_n(from.begin(), std::min(from.size(), size - 1), to.begin());
}

std::string command_name()
{
    std::array<char, 64> name{};
    const FileDescriptor file(open("/proc/self/comm", O_RDONLY | O_CLOEXEC));
    const ssize_t length = file.valid() ? read(file.get(), name.data(), name.size() - 1) : 0;
    std::string text(name.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    return text.substr(0, text.find('\n'));
}

/// The process's file. One per process: of a child of fork(), another one than its parent's.
class LiveFile {
public:
    LiveFile() = default;
    LiveFile(const LiveFile&) = delete;
    LiveFile& operator=(const LiveFile&) = delete;

    /// A free place, or null.
    LiveEndpoint* take(const std::string& host, const std::string& rank, LiveHeader*& header)
    {
        const std::lock_guard guard(mutex_);
        if (header_ != nullptr && owner_ != getpid()) {
            std::construct_at(&file_); // the parent's is closed by fork() already
            forget();
        }
        if (header_ == nullptr && !make(host, rank)) {
            return nullptr;
        }
        for (std::uint32_t slot = 0; slot < LiveHeader::slots; ++slot) {
            // Not to be had: a full file system would kill whoever writes there.
            if (!taken_[slot] && posix_fallocate(file_.get(), static_cast<off_t>(live_offset(slot)),
                                                 sizeof(LiveEndpoint)) == 0) {
                taken_[slot] = true;
                ++places_;
                header = header_;
                return new (endpoint(slot)) LiveEndpoint;
            }
        }
        if (places_ == 0) {
            discard();
        }
        return nullptr;
    }

    void give_back(LiveEndpoint* place) noexcept
    {
        const std::lock_guard guard(mutex_);
        place->used.store(0, std::memory_order_release);
        for (std::uint32_t slot = 0; slot < LiveHeader::slots; ++slot) {
            taken_[slot] = taken_[slot] && endpoint(slot) != place;
        }
        if (--places_ == 0) {
            discard();
        }
    }

private:
    LiveEndpoint* endpoint(std::uint32_t slot) const noexcept
    {
        return reinterpret_cast<LiveEndpoint*>(reinterpret_cast<std::byte*>(header_) + live_offset(slot));
    }

    bool make(const std::string& host, const std::string& rank)
    {
        const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
        for (const char* const folder : {shm_folder, runtime}) {
            if (folder != nullptr && *folder == '/' && make_in(folder)) {
                auto* const header = new (header_) LiveHeader;
                header->layout = live_layout();
                header->pid = static_cast<std::uint64_t>(owner_);
                header->started_ns = clock_ns(CLOCK_REALTIME);
                copy_text(header->host, host);
                copy_text(header->rank, rank);
                copy_text(header->command, command_name());
                std::atomic_thread_fence(std::memory_order_release);
                header->magic = live_magic;
                return true;
            }
        }
        return false;
    }

    bool make_in(const std::string& folder)
    {
        remove_old(folder, live_prefix, LivePlace::kept);
        owner_ = getpid();
        // With the time: process ids of several containers, and of one after the other, are alike.
        name_ = folder + '/' + live_prefix + std::to_string(owner_) + '.' +
                std::to_string(clock_ns(CLOCK_REALTIME));
        file_ = FileDescriptor(open(name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
        const int file = file_.get();
        if (file_.valid()) {
            if (lock_file(file, LOCK_SH | LOCK_NB) &&
                ftruncate(file, static_cast<off_t>(live_file_size)) == 0 &&
                posix_fallocate(file, 0, sizeof(LiveHeader)) == 0) {
                void* const memory =
                    mmap(nullptr, live_file_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
                if (memory != MAP_FAILED) {
                    header_ = static_cast<LiveHeader*>(memory);
                    return true;
                }
            }
            unlink(name_.c_str());
        }
        file_ = FileDescriptor();
        return false;
    }

    void discard() noexcept
    {
        unlink(name_.c_str());
        munmap(header_, live_file_size);
        forget();
    }
    void forget() noexcept
    {
        header_ = nullptr;
        file_ = FileDescriptor();
        taken_ = {};
        places_ = 0;
    }

    std::mutex mutex_;
    LiveHeader* header_ = nullptr; ///< null: there is no file
    FileDescriptor file_;
    std::string name_;
    pid_t owner_ = 0;
    std::array<bool, LiveHeader::slots> taken_{};
    std::uint32_t places_ = 0;
};

LiveFile& process_file()
{
    // Never destroyed: when the process exits, its endpoints may still count in what is mapped.
    static LiveFile& file = *new LiveFile;
    return file;
}

} // namespace

LivePlace::LivePlace(const std::string& host, const std::string& rank) noexcept : owner_(getpid())
{
    try {
        place_ = process_file().take(host, rank, header_);
    } catch (const std::bad_alloc&) { // then it is not shown
    }
}

LivePlace::~LivePlace()
{
    if (place_ != nullptr && owner_ == getpid()) {
        process_file().give_back(place_);
    }
}

void LivePlace::show(std::span<const std::byte> address, const std::string& domain) noexcept
{
    if (place_ != nullptr) {
        place_->address_size = static_cast<std::uint32_t>(std::min(address.size(), place_->address.size()));
        std::copy_n(address.begin(), place_->address_size, place_->address.begin());
        copy_text(place_->domain, domain);
        place_->used.store(1, std::memory_order_release);
    }
}

bool LivePlace::is_asked() const noexcept
{
    return place_ != nullptr &&
           place_->answered.load(std::memory_order_relaxed) != header_->asked.load(std::memory_order_relaxed);
}

std::uint32_t LivePlace::traced(std::uint32_t otherwise) const noexcept
{
    const std::uint32_t order = place_ == nullptr ? 0 : header_->trace.load(std::memory_order_relaxed);
    return order == 0 ? otherwise : order - 1;
}

void LivePlace::publish(const LiveSnapshot& snapshot) noexcept
{
    const std::uint32_t question = header_->asked.load(std::memory_order_acquire);
    const std::uint32_t sequence = place_->sequence.load(std::memory_order_relaxed);
    place_->sequence.store(sequence + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release); // odd before anything changes
    std::memcpy(static_cast<void*>(&place_->snapshot), &snapshot,
                offsetof(LiveSnapshot, peer) + snapshot.listed * sizeof(LivePeer));
    place_->snapshot.at_ns = clock_ns(CLOCK_REALTIME);
    place_->sequence.store(sequence + 2, std::memory_order_release);
    place_->answered.store(question, std::memory_order_release);
}

} // namespace srd
