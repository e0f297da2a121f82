// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/udp/udp_senders.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unordered_map>

#include <sys/socket.h>

namespace srd {

namespace {

struct AddressHash {
    std::size_t operator()(const SocketAddress& address) const noexcept { return address.hash(); }
};

struct Registry {
    std::mutex mutex;
    std::unordered_map<SocketAddress, std::weak_ptr<UdpSenders>, AddressHash> sets;
};

// Never destroyed: endpoints may be closed by atexit handlers of the application.
std::atomic<Registry*> registry{new Registry};

} // namespace

std::shared_ptr<UdpSenders> UdpSenders::attach(const SocketAddress& local, std::uint32_t socket_buffer)
{
    SocketAddress key = local;
    key.set_port(0);
    Registry& known = *registry.load();
    const std::lock_guard lock(known.mutex);
    std::erase_if(known.sets, [](const auto& entry) { return entry.second.expired(); });
    std::weak_ptr<UdpSenders>& slot = known.sets[key];
    std::shared_ptr<UdpSenders> set = slot.lock();
    if (set == nullptr) {
        set = std::make_shared<UdpSenders>(key, socket_buffer);
        slot = set;
    }
    return set;
}

void UdpSenders::forget_all() noexcept
{
    // The old one's mutex may be held by a thread that the child does not have. Without memory for a new
    // one the child ends, as it would at its next allocation.
    registry.store(new Registry); // NOLINT(bugprone-unhandled-exception-at-new)
}

UdpSender* UdpSenders::open(std::size_t path, const IoOptions& options)
{
    std::string warning;
    UdpSender* result = nullptr;
    {
        const std::lock_guard lock(mutex_);
        result = by_path_[path].load(std::memory_order_relaxed);
        if (result != nullptr) {
            return result;
        }
        int error = 0;
        FileDescriptor fd;
        if (!exhausted_.load(std::memory_order_relaxed)) {
            fd = open_sending_socket(local_, socket_buffer_, error);
        }
        if (fd.valid()) {
            result = &senders_[opened_++];
            result->socket = std::move(fd);
        } else {
            if (!exhausted_.exchange(true, std::memory_order_relaxed)) {
                warning = "only " + std::to_string(opened_ + 1) + " of the wanted network paths from " +
                          local_.text() + " can be used (" + std::strerror(error) +
                          "); raise the limit of open files (ulimit -n) or lower " + options.path_setting;
            }
            result = opened_ == 0 ? nullptr : &senders_[path % opened_];
        }
        if (result != nullptr) {
            by_path_[path].store(result, std::memory_order_release);
        }
    }
    if (!warning.empty()) {
        options.warning(warning); // without the lock: who is called is unknown here
    }
    return result;
}

bool UdpSenders::collect_errors(UdpSender& sender)
{
    bool any = false;
    const std::lock_guard lock(mutex_);
    SocketError error;
    while (read_error_queue(sender.socket, error)) {
        const std::uint64_t count = error_count_.load(std::memory_order_relaxed);
        errors_[count % errors_.size()] = error;
        error_count_.store(count + 1, std::memory_order_release);
        any = true;
    }
    return any;
}

void UdpSenders::read_errors(std::uint64_t& seen, const std::function<void(const SocketError&)>& visit)
{
    const std::lock_guard lock(mutex_);
    const std::uint64_t count = error_count_.load(std::memory_order_relaxed);
    const std::uint64_t kept = std::min<std::uint64_t>(count, errors_.size());
    for (std::uint64_t at = std::max(seen, count - kept); at < count; ++at) {
        visit(errors_[at % errors_.size()]);
    }
    seen = count;
}

} // namespace srd
