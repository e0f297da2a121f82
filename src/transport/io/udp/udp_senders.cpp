// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/udp/udp_senders.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unordered_map>
#include <utility>

#include <sys/socket.h>

namespace srd {

namespace {

struct Key {
    SocketAddress local;
    PortRange ports;
    unsigned interface;

    friend bool operator==(const Key&, const Key&) = default;
};

struct KeyHash {
    std::size_t operator()(const Key& key) const noexcept { return key.local.hash(); }
};

struct SenderSets {
    std::mutex mutex;
    std::unordered_map<Key, std::weak_ptr<UdpSenders>, KeyHash> sets;
};

// Never destroyed: endpoints may be closed by atexit handlers of the application.
std::atomic<SenderSets*> sender_sets{new SenderSets};

} // namespace

std::shared_ptr<UdpSenders> UdpSenders::attach(const SocketAddress& local, const IoOptions& options)
{
    Key key{local, options.ports, options.interface};
    key.local.set_port(0);
    SenderSets& known = *sender_sets.load();
    const std::lock_guard lock(known.mutex);
    std::erase_if(known.sets, [](const auto& entry) { return entry.second.expired(); });
    std::weak_ptr<UdpSenders>& slot = known.sets[key];
    std::shared_ptr<UdpSenders> set = slot.lock();
    if (set == nullptr) {
        set = std::make_shared<UdpSenders>(key.local, options);
        slot = set;
    }
    return set;
}

void UdpSenders::forget_all() noexcept
{
    // The old one's mutex may be held by a thread that the child does not have. Without memory for a new
    // one the child ends, as it would at its next allocation.
    sender_sets.store(new SenderSets); // NOLINT(bugprone-unhandled-exception-at-new)
}

FileDescriptor UdpSenders::open_socket(std::size_t path, int& error) const
{
    SocketAddress source = local_;
    if (!ports_.empty()) {
        if (path > ports_.sources()) {
            error = EADDRINUSE; // by an earlier path
            return FileDescriptor();
        }
        source.set_port(ports_.source_port(path));
    }
    return open_sending_socket(source, interface_, socket_buffer_, error);
}

std::string UdpSenders::shortage(int error, const IoOptions& options) const
{
    if (!ports_.empty() && error == EADDRINUSE) {
        return options.port_setting + '=' + ports_.text() +
               " has fewer free source ports than there are network paths from " + local_.text() +
               ": some paths share one; widen it, or lower " + options.path_setting;
    }
    return "only " + std::to_string(opened_ + 1) + " of the wanted network paths from " + local_.text() +
           " can be used (" + std::strerror(error) +
           "); raise the limit of open files (ulimit -n) or lower " + options.path_setting;
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
        if (!exhausted_) {
            fd = open_socket(path, error);
        }
        if (fd.valid()) {
            result = &senders_[opened_++];
            result->socket = std::move(fd);
        } else {
            if (!std::exchange(warned_, true)) {
                warning = shortage(error, options);
            }
            exhausted_ = exhausted_ || ports_.empty() || error != EADDRINUSE;
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
