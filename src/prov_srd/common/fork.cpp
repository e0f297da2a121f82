// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "common/fork.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <system_error>
#include <vector>

#include <rdma/fi_errno.h>

#include <srd/file_descriptor.hpp>

#include "common/log.hpp"
#include "io/udp/udp_io.hpp"

namespace srd {

namespace {

std::atomic<std::uint32_t> generation{0};

struct Registry {
    std::mutex mutex; ///< held over fork(), so that the child finds the list whole
    std::vector<ForkObserver*> observers;
};

void before_fork() noexcept;
void after_fork_in_parent() noexcept;
void after_fork_in_child() noexcept;

Registry& registry()
{
    // Never destroyed: endpoints may outlive static destructors.
    static Registry* const instance = [] {
        auto* made = new Registry;
        if (const int code = pthread_atfork(&before_fork, &after_fork_in_parent, &after_fork_in_child);
            code != 0) {
            delete made;
            throw std::system_error(code, std::generic_category(), "pthread_atfork");
        }
        return made;
    }();
    return *instance;
}

void before_fork() noexcept
{
    registry().mutex.lock();
}

void after_fork_in_parent() noexcept
{
    registry().mutex.unlock();
}

void after_fork_in_child() noexcept
{
    generation.fetch_add(1);
    for (ForkObserver* observer : registry().observers) {
        observer->forked();
    }
    registry().observers.clear();
    close_inherited_descriptors();
    forget_udp_sockets();
    registry().mutex.unlock();
}

} // namespace

ForkObserver::ForkObserver()
{
    Registry& known = registry();
    const std::lock_guard guard(known.mutex);
    known.observers.push_back(this);
}

ForkObserver::~ForkObserver()
{
    Registry& known = registry();
    const std::lock_guard guard(known.mutex);
    std::erase(known.observers, this);
}

int refuse_in_child(const char* call) noexcept
{
    SRD_WARN(FI_LOG_CORE,
             "%s: the object was opened before fork(); a child opens a fabric and what it needs of its own",
             call);
    return -FI_EOPBADSTATE;
}

std::uint32_t process_generation() noexcept
{
    return generation.load(std::memory_order_relaxed);
}

} // namespace srd
