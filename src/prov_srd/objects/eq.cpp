// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "objects/eq.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "common/c_api.hpp"
#include "common/stubs.hpp"
#include "objects/fabric.hpp"
#include "objects/wait_set.hpp"

namespace srd {

namespace {

FileDescriptor make_wait_fd()
{
    const int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (descriptor < 0) {
        throw std::system_error(errno, std::generic_category(),
                                "cannot make the event queue's wait descriptor (eventfd; see ulimit -n)");
    }
    return FileDescriptor(descriptor);
}

} // namespace

EventQueue::EventQueue(Fabric& owner, const fi_eq_attr& attr, void* context)
    : fabric(owner), flags(attr.flags), wait_obj(attr.wait_obj),
      wait_fd(wait_obj != FI_WAIT_NONE ? make_wait_fd() : FileDescriptor())
{
    fid.fid.fclass = FI_CLASS_EQ;
    fid.fid.context = context;
    fabric.retain();
}

EventQueue::~EventQueue()
{
    SRD_CHECK(bound.load() == 0);
    fabric.release();
}

namespace {

/// The descriptor is readable exactly while records are there. Caller holds eq.mutex.
void update_wait_fd(EventQueue& eq, bool readable) noexcept
{
    if (!eq.wait_fd.valid() || eq.fabric.inherited()) { // in a child of fork() the number is no more ours
        return;
    }
    std::uint64_t value = 1;
    const ssize_t done = readable ? write(eq.wait_fd.get(), &value, sizeof(value))
                                  : read(eq.wait_fd.get(), &value, sizeof(value));
    static_cast<void>(done); // EAGAIN: it is in that state already
}

int push(EventQueue& eq, EventQueue::Record&& record)
{
    const std::lock_guard lock(eq.mutex);
    eq.records.push_back(std::move(record));
    if (eq.records.size() == 1) {
        update_wait_fd(eq, true);
    }
    return 0;
}

void pop(EventQueue& eq) noexcept
{
    eq.records.pop_front();
    if (eq.records.empty()) {
        update_wait_fd(eq, false);
    }
}

} // namespace

int EventQueue::report(std::uint32_t event, std::span<const std::byte> entry) noexcept
{
    return guarded([&] {
        return push(
            *this,
            {.event = event, .failed = false, .bytes = {entry.begin(), entry.end()}, .error_data = {}});
    });
}

int EventQueue::report_error(const fi_eq_err_entry& error) noexcept
{
    return guarded([&] {
        const auto entry = std::as_bytes(std::span(&error, 1));
        const auto* data = static_cast<const std::byte*>(error.err_data);
        Record record{.event = 0, .failed = true, .bytes = {entry.begin(), entry.end()}, .error_data = {}};
        if (data != nullptr) {
            record.error_data.assign(data, data + error.err_data_size);
        }
        return push(*this, std::move(record));
    });
}

namespace {

ssize_t eq_read(fid_eq* object, std::uint32_t* event, void* buffer, std::size_t length,
                std::uint64_t flags) noexcept
{
    EventQueue& eq = eq_from(object);
    const std::lock_guard lock(eq.mutex);
    if (eq.records.empty()) {
        return -FI_EAGAIN;
    }
    const EventQueue::Record& record = eq.records.front();
    if (record.failed) {
        return -FI_EAVAIL;
    }
    if (length < record.bytes.size() || (buffer == nullptr && length != 0)) {
        SRD_WARN_SPARSE(FI_LOG_EQ, "the next event has %zu bytes, the buffer for it only %zu",
                        record.bytes.size(), length);
        return -FI_ETOOSMALL;
    }
    if (event != nullptr) {
        *event = record.event;
    }
    const std::size_t size = record.bytes.size();
    if (size != 0) {
        std::memcpy(buffer, record.bytes.data(), size);
    }
    if ((flags & FI_PEEK) == 0) {
        pop(eq);
    }
    return static_cast<ssize_t>(size);
}

ssize_t eq_readerr(fid_eq* object, fi_eq_err_entry* entry, std::uint64_t flags) noexcept
{
    EventQueue& eq = eq_from(object);
    const std::lock_guard lock(eq.mutex);
    if (eq.records.empty() || !eq.records.front().failed) {
        return -FI_EAGAIN;
    }
    EventQueue::Record& record = eq.records.front();
    // Since API 1.5 the caller may offer memory for the error data; else it gets a pointer to ours,
    // which is good until the next error is read.
    const bool copies = FI_VERSION_GE(eq.fabric.fid.api_version, FI_VERSION(1, 5)) &&
                        entry->err_data != nullptr && entry->err_data_size != 0;
    void* const data = entry->err_data;
    const std::size_t size = std::min(entry->err_data_size, record.error_data.size());
    std::memcpy(entry, record.bytes.data(), sizeof(*entry));
    if (copies) {
        std::memcpy(data, record.error_data.data(), size);
        entry->err_data = data;
        entry->err_data_size = size;
    } else {
        eq.error_data = record.error_data;
        entry->err_data = eq.error_data.empty() ? nullptr : eq.error_data.data();
        entry->err_data_size = eq.error_data.size();
    }
    if ((flags & FI_PEEK) == 0) {
        pop(eq);
    }
    return sizeof(*entry);
}

ssize_t eq_write(fid_eq* object, std::uint32_t event, const void* buffer, std::size_t length,
                 std::uint64_t flags) noexcept
{
    EventQueue& eq = eq_from(object);
    if ((eq.flags & FI_WRITE) == 0 || flags != 0 || (buffer == nullptr && length != 0)) {
        SRD_WARN(FI_LOG_EQ, "fi_eq_write needs an event queue opened with FI_WRITE, no flags and a buffer");
        return -FI_EINVAL;
    }
    const int code = eq.report(event, std::span(static_cast<const std::byte*>(buffer), length));
    return code == 0 ? static_cast<ssize_t>(length) : code;
}

ssize_t eq_sread(fid_eq* object, std::uint32_t* event, void* buffer, std::size_t length, int timeout_ms,
                 std::uint64_t flags) noexcept
{
    using Clock = std::chrono::steady_clock;
    EventQueue& eq = eq_from(object);
    if (!eq.wait_fd.valid() || eq.wait_set != nullptr) {
        SRD_WARN(FI_LOG_EQ, "fi_eq_sread needs an event queue opened with FI_WAIT_UNSPEC or FI_WAIT_FD");
        return -FI_ENOSYS;
    }
    if (eq.fabric.inherited()) {
        return refuse_in_child("fi_eq_sread");
    }
    const auto deadline = Clock::now() + std::chrono::milliseconds(std::max(timeout_ms, 0));
    for (;;) {
        const ssize_t result = eq_read(object, event, buffer, length, flags);
        if (result != -FI_EAGAIN) {
            return result;
        }
        int wait_ms = -1;
        if (timeout_ms >= 0) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
            if (left <= 0) {
                return -FI_EAGAIN;
            }
            wait_ms = static_cast<int>(left);
        }
        pollfd waiter{.fd = eq.wait_fd.get(), .events = POLLIN, .revents = 0};
        if (poll(&waiter, 1, wait_ms) < 0) {
            return errno == EINTR ? -FI_EINTR : -FI_EOTHER;
        }
    }
}

const char* eq_strerror(fid_eq*, int prov_errno, const void*, char* buffer, std::size_t length) noexcept
{
    const char* text = fi_strerror(prov_errno < 0 ? -prov_errno : prov_errno);
    if (buffer != nullptr && length != 0) {
        const std::size_t fits = std::min(std::strlen(text), length - 1);
        std::memcpy(buffer, text, fits);
        buffer[fits] = '\0';
        return buffer;
    }
    return text;
}

int eq_close(fid* object) noexcept
{
    auto* eq = &eq_from(static_cast<fid_eq*>(static_cast<void*>(object)));
    if (eq->fabric.inherited()) {
        return 0;
    }
    if (eq->bound.load() != 0) {
        SRD_WARN(FI_LOG_EQ, "the event queue is bound to %u open objects: close those first",
                 eq->bound.load());
        return -FI_EBUSY;
    }
    if (eq->wait_set != nullptr) {
        eq->wait_set->remove(eq->fid.fid);
    }
    delete eq;
    return 0;
}

int eq_control(fid* object, int command, void* argument) noexcept
{
    const EventQueue& eq = eq_from(static_cast<fid_eq*>(static_cast<void*>(object)));
    return control_wait(command, argument, eq.fabric,
                        eq.wait_obj == FI_WAIT_UNSPEC ? FI_WAIT_FD : eq.wait_obj,
                        eq.wait_set == nullptr ? eq.wait_fd.get() : -1);
}

fi_ops eq_fid_ops = {sizeof(fi_ops),     eq_close,           stubs::unsupported, eq_control,
                     stubs::unsupported, stubs::unsupported, stubs::unsupported};
fi_ops_eq eq_ops = {sizeof(fi_ops_eq), eq_read, eq_readerr, eq_write, eq_sread, eq_strerror};

} // namespace

int eq_open(fid_fabric* fabric, fi_eq_attr* attr, fid_eq** eq, void* context) noexcept
{
    return guarded([&]() -> int {
        if (eq == nullptr) {
            return -FI_EINVAL;
        }
        const fi_eq_attr wanted = attr != nullptr ? *attr : fi_eq_attr{};
        const unsigned wait_obj = raw(wanted.wait_obj);
        if (wait_obj > FI_WAIT_FD) {
            SRD_WARN(FI_LOG_EQ, "wait object %u is not served; use FI_WAIT_NONE, _UNSPEC, _SET or _FD",
                     wait_obj);
            return -FI_ENOSYS;
        }
        if ((wanted.flags & ~(FI_WRITE | FI_AFFINITY)) != 0) {
            SRD_WARN(FI_LOG_EQ, "event queues know the flags FI_WRITE and FI_AFFINITY only");
            return -FI_EINVAL;
        }
        Fabric& owner = fabric_from(fabric);
        WaitSet* const set = wait_obj == FI_WAIT_SET ? wait_set_of(wanted.wait_set, owner) : nullptr;
        if (wait_obj == FI_WAIT_SET && set == nullptr) {
            return -FI_EINVAL;
        }
        auto queue = std::make_unique<EventQueue>(owner, wanted, context);
        if (set != nullptr) {
            if (const int error = set->add(queue->fid.fid, queue->wait_fd.get(), eq_trywait); error != 0) {
                return error;
            }
            queue->wait_set = set;
        }
        queue->fid.fid.ops = &eq_fid_ops;
        queue->fid.ops = &eq_ops;
        *eq = &queue.release()->fid;
        return 0;
    });
}

int eq_trywait(fid* object) noexcept
{
    EventQueue& eq = eq_from(static_cast<fid_eq*>(static_cast<void*>(object)));
    if (eq.fabric.inherited()) {
        return refuse_in_child("waiting for an event queue");
    }
    const std::lock_guard lock(eq.mutex);
    return eq.records.empty() ? 0 : -FI_EAGAIN;
}

} // namespace srd
