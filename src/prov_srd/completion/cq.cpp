// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "completion/cq.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstring>

#include "common/c_api.hpp"
#include "common/stubs.hpp"
#include "objects/domain.hpp"
#include "objects/wait_set.hpp"

namespace srd {
namespace {

/// Without a size from the application; also the least, so that a small request does not mean early growth.
constexpr std::size_t default_size = 1024;
constexpr std::size_t largest_size = std::size_t{1} << 24;
/// Reading completions that are there costs no pass, but this many reads do.
constexpr std::uint32_t reads_per_pass = 32;
/// And one read makes no more passes than this.
constexpr int passes_per_read = 8;

std::size_t entry_bytes(fi_cq_format format) noexcept
{
    switch (format) {
    case FI_CQ_FORMAT_UNSPEC:
    case FI_CQ_FORMAT_CONTEXT:
        return sizeof(fi_cq_entry);
    case FI_CQ_FORMAT_MSG:
        return sizeof(fi_cq_msg_entry);
    case FI_CQ_FORMAT_DATA:
        return sizeof(fi_cq_data_entry);
    case FI_CQ_FORMAT_TAGGED:
        return sizeof(fi_cq_tagged_entry);
    }
    return 0;
}

/// With a constant size per format the copy is a few moves.
void copy_entry(std::byte* to, const Completion& completion, std::size_t size) noexcept
{
    switch (size) {
    case sizeof(fi_cq_entry):
        std::memcpy(to, &completion, sizeof(fi_cq_entry));
        break;
    case sizeof(fi_cq_msg_entry):
        std::memcpy(to, &completion, sizeof(fi_cq_msg_entry));
        break;
    case sizeof(fi_cq_data_entry):
        std::memcpy(to, &completion, sizeof(fi_cq_data_entry));
        break;
    default:
        std::memcpy(to, &completion, sizeof(fi_cq_tagged_entry));
        break;
    }
}

} // namespace

int error_of(Cause cause) noexcept
{
    switch (cause) {
    case Cause::none:
        return 0;
    case Cause::never_answered:
    case Cause::not_heard:
    case Cause::stopped_answering:
    case Cause::cut_off:
        return FI_ETIMEDOUT;
    case Cause::restarted:
    case Cause::closed:
        return FI_ECONNRESET;
    case Cause::refused:
        return FI_ECONNREFUSED;
    case Cause::removed:
    case Cause::canceled:
        return FI_ECANCELED;
    case Cause::unreachable:
        return FI_EHOSTUNREACH;
    case Cause::peer_full:
        return FI_ECONNREFUSED;
    case Cause::key_mismatch:
        return FI_EKEYREJECTED;
    case Cause::version_mismatch:
        return FI_ECONNREFUSED;
    case Cause::peer_out_of_memory:
        return FI_ENORX;
    case Cause::truncated:
        return FI_ETRUNC;
    case Cause::not_found:
        return FI_ENOMSG;
    case Cause::bad_key:
        return FI_EKEYREJECTED;
    case Cause::out_of_bounds:
        return FI_EINVAL;
    case Cause::access_denied:
        return FI_EACCES;
    case Cause::bad_operation:
        return FI_EOPNOTSUPP;
    case Cause::region_closed:
        return FI_EKEYREJECTED;
    case Cause::device_failed:
        return FI_EIO;
    case Cause::count_:
        break;
    }
    return FI_EOTHER;
}

CompletionQueue::CompletionQueue(Domain& owner, const fi_cq_attr& attr, std::size_t entry_size_bytes,
                                 void* context)
    : domain(owner), entry_size(entry_size_bytes), wait_obj(attr.wait_obj), group(owner.progress),
      completions_(std::bit_ceil(std::max(attr.size, default_size))), errors_(64)
{
    fid.fid.fclass = FI_CLASS_CQ;
    fid.fid.context = context;
    domain.retain();
}

CompletionQueue::~CompletionQueue()
{
    domain.release();
}

void CompletionQueue::write(const Completion& completion) noexcept
{
    {
        ProgressGuard guard(lock);
        if (overrun_ || !completions_.push(completion)) [[unlikely]] {
            overrun();
        } else {
            ++written_;
        }
        note_entries();
    }
    group.notify();
}

void CompletionQueue::write_error(const CompletionError& failure) noexcept
{
    {
        ProgressGuard guard(lock);
        if (overrun_ || !errors_.push(failure)) [[unlikely]] {
            overrun();
        } else {
            errors_.back().position = written_;
        }
        note_entries();
    }
    group.notify();
}

void CompletionQueue::overrun() noexcept
{
    if (!overrun_) {
        SRD_WARN(FI_LOG_CQ,
                 "no memory for more than the %zu completions that wait to be read: the completion queue is "
                 "overrun and takes no more; read it more often",
                 completions_.size());
        overrun_ = true;
    }
}

bool CompletionQueue::has_entries() noexcept
{
    ProgressGuard guard(lock);
    return !completions_.empty() || !errors_.empty() || overrun_;
}

void CompletionQueue::note_entries() noexcept
{
    // That it is overrun can always be read.
    entries_.store(completions_.size() + errors_.size() + (overrun_ ? 1 : 0), std::memory_order_relaxed);
}

ssize_t CompletionQueue::take(void* entries, std::size_t count, fi_addr_t* sources)
{
    std::size_t taken = std::min(count, completions_.size());
    if (!errors_.empty()) [[unlikely]] {
        const std::uint64_t position = errors_.front().position;
        taken = position <= taken_ ? 0 : std::min<std::size_t>(taken, position - taken_);
        if (taken == 0) {
            return -FI_EAVAIL;
        }
    }
    if (taken == 0) {
        return overrun_ ? -FI_EAVAIL : -FI_EAGAIN;
    }
    taken_ += taken;
    given_.store(true, std::memory_order_relaxed);
    auto* to = static_cast<std::byte*>(entries);
    for (std::size_t i = 0; i < taken; ++i) {
        const Completion& completion = completions_.front();
        copy_entry(to + i * entry_size, completion, entry_size);
        if (sources != nullptr) {
            sources[i] = completion.source;
        }
        completions_.pop();
    }
    note_entries();
    return static_cast<ssize_t>(taken);
}

/// Returns at once if there is anything to return. Else looks until nothing more has come: who is told that
/// there is nothing may give its processor away, where the next part of what it waits for lies in the socket.
ssize_t CompletionQueue::read(void* entries, std::size_t count, fi_addr_t* sources) noexcept
{
    if (entries == nullptr && count != 0) {
        SRD_WARN(FI_LOG_CQ, "fi_cq_read: the buffer is NULL for %zu entries", count);
        return -FI_EINVAL;
    }
    if (count != 0 && !seems_empty()) {
        ProgressGuard guard(lock);
        if (++reads_without_pass_ < reads_per_pass) {
            const ssize_t taken = take(entries, count, sources);
            if (taken != -FI_EAGAIN) {
                return taken;
            }
        }
        reads_without_pass_ = 0;
    }
    for (int passes = 0; passes < passes_per_read && group.progress() == Found::bulk && seems_empty();
         ++passes) {
    }
    if (seems_empty()) {
        given_.store(false, std::memory_order_relaxed);
        return -FI_EAGAIN;
    }
    ProgressGuard guard(lock);
    if (count == 0) {
        return errors_.empty() && !overrun_ ? -FI_EAGAIN : -FI_EAVAIL;
    }
    return take(entries, count, sources);
}

ssize_t CompletionQueue::read_wait(void* entries, std::size_t count, fi_addr_t* sources,
                                   int timeout_ms) noexcept
{
    if (wait_obj == FI_WAIT_NONE || wait_obj == FI_WAIT_SET) {
        SRD_WARN(FI_LOG_CQ, "fi_cq_sread: the queue was opened with %s; open it with FI_WAIT_UNSPEC",
                 wait_obj == FI_WAIT_NONE ? "FI_WAIT_NONE" : "FI_WAIT_SET");
        return -FI_EINVAL;
    }
    if (const int error = group.open_descriptors(); error != 0) {
        return error;
    }
    const std::uint32_t signals = signals_.load(std::memory_order_acquire);
    const Time end = end_of_wait(timeout_ms);
    while (true) {
        const ssize_t result = read(entries, count, sources);
        if (result != -FI_EAGAIN) {
            if (has_entries()) {
                group.wake(); // another thread may sleep with entries for it here
            }
            return result;
        }
        if (signaled_.exchange(false) || signals_.load(std::memory_order_acquire) != signals) {
            signaled_.store(false);
            return -FI_ECANCELED;
        }
        if (end != time_never && clock_now() >= end) {
            return -FI_EAGAIN;
        }
        group.pause(wait_obj, end, [&] { return !has_entries() && !signaled_.load(); });
    }
}

ssize_t CompletionQueue::read_error(fi_cq_err_entry& entry) noexcept
{
    ProgressGuard guard(lock);
    if (!errors_.empty()) {
        fill(entry, errors_.front());
        errors_.pop();
        note_entries();
        return 1;
    }
    if (!overrun_ || !completions_.empty()) {
        return -FI_EAGAIN;
    }
    fill(entry, {.completion = {}, .error = FI_EOVERRUN});
    return 1;
}

/// Field by field: the application's fi_cq_err_entry has the size of its own version. err_data_size, for one,
/// came with 1.5.
void CompletionQueue::fill(fi_cq_err_entry& entry, const CompletionError& failure) noexcept
{
    entry.op_context = failure.completion.context;
    entry.flags = failure.completion.flags;
    entry.len = failure.completion.length;
    entry.buf = failure.completion.buffer;
    entry.data = failure.completion.data;
    entry.tag = failure.completion.tag;
    entry.olen = failure.overflow;
    entry.err = failure.error;
    entry.prov_errno = static_cast<int>(failure.cause);
    const bool has_size = FI_VERSION_GE(domain.api_version, FI_VERSION(1, 5));
    std::size_t size = failure.address_size;
    if (size != 0 && has_size && entry.err_data != nullptr && entry.err_data_size != 0) {
        size = std::min(entry.err_data_size, size);
        std::memcpy(entry.err_data, failure.address.data(), size);
    } else if (size != 0) {
        error_data_ = failure.address;
        entry.err_data = error_data_.data();
    }
    if (has_size) {
        entry.err_data_size = size;
    }
}

void CompletionQueue::signal() noexcept
{
    signals_.fetch_add(1, std::memory_order_release);
    signaled_.store(true);
    group.wake();
}

int CompletionQueue::try_wait() noexcept
{
    return group.try_wait([this] { return has_entries(); });
}

namespace {

CompletionQueue& as_queue(fid* object) noexcept
{
    return *static_cast<CompletionQueue*>(static_cast<void*>(object));
}

ssize_t cq_read(fid_cq* cq, void* buf, size_t count)
{
    return cq_from(cq).read(buf, count, nullptr);
}

ssize_t cq_readfrom(fid_cq* cq, void* buf, size_t count, fi_addr_t* src_addr)
{
    return cq_from(cq).read(buf, count, src_addr);
}

ssize_t cq_readerr(fid_cq* cq, fi_cq_err_entry* buf, uint64_t)
{
    if (buf == nullptr) {
        SRD_WARN(FI_LOG_CQ, "fi_cq_readerr: the entry is NULL");
        return -FI_EINVAL;
    }
    return cq_from(cq).read_error(*buf);
}

ssize_t cq_sread(fid_cq* cq, void* buf, size_t count, const void*, int timeout)
{
    return cq_from(cq).read_wait(buf, count, nullptr, timeout);
}

ssize_t cq_sreadfrom(fid_cq* cq, void* buf, size_t count, fi_addr_t* src_addr, const void*, int timeout)
{
    return cq_from(cq).read_wait(buf, count, src_addr, timeout);
}

int cq_signal(fid_cq* cq)
{
    CompletionQueue& queue = cq_from(cq);
    if (queue.wait_obj == FI_WAIT_NONE) {
        SRD_WARN(FI_LOG_CQ, "fi_cq_signal: the queue was opened with FI_WAIT_NONE, so nobody can wait on it");
        return -FI_EINVAL;
    }
    queue.signal();
    return 0;
}

/// `err_data`, if given, is the peer's socket address as fi_cq_readerr() returned it.
const char* cq_strerror(fid_cq*, int prov_errno, const void* err_data, char* buf, size_t len)
{
    thread_local std::array<char, 512> own;
    char* const text = buf != nullptr && len != 0 ? buf : own.data();
    const std::size_t size = buf != nullptr && len != 0 ? len : own.size();
    if (prov_errno < 0 || prov_errno >= static_cast<int>(Cause::count_)) {
        std::snprintf(text, size, "unknown provider error %d", prov_errno);
        return text;
    }
    std::array<char, INET6_ADDRSTRLEN + 16> peer{};
    if (err_data != nullptr) {
        sa_family_t family{};
        std::memcpy(&family, err_data, sizeof(family));
        SocketAddress address;
        if ((family == AF_INET && SocketAddress::parse(err_data, sizeof(sockaddr_in), address)) ||
            (family == AF_INET6 && SocketAddress::parse(err_data, sizeof(sockaddr_in6), address))) {
            std::snprintf(peer.data(), peer.size(), "peer %s: ", address.text().c_str());
        }
    }
    const auto cause = static_cast<Cause>(prov_errno);
    std::snprintf(text, size, "%s%s%s", peer.data(), to_string(cause),
                  is_outcome_unknown(cause) ? "; whether the operation has reached it is unknown" : "");
    return text;
}

int cq_close(fid* object)
{
    CompletionQueue* queue = &as_queue(object);
    if (queue->domain.fabric.inherited()) {
        return 0;
    }
    if (queue->group.has_members() || queue->poll_sets.load() != 0) {
        SRD_WARN(FI_LOG_CQ,
                 "fi_close: endpoints or poll sets still use the completion queue; close them first");
        return -FI_EBUSY;
    }
    if (queue->wait_set != nullptr) {
        queue->wait_set->remove(queue->fid.fid);
    }
    delete queue;
    return 0;
}

int cq_control(fid* object, int command, void* argument)
{
    const CompletionQueue& queue = as_queue(object);
    return control_wait(command, argument, queue.domain.fabric, queue.wait_obj,
                        queue.wait_obj == FI_WAIT_FD ? queue.group.fd() : -1);
}

fi_ops cq_fid_ops = {sizeof(fi_ops), cq_close, stubs::bind, cq_control, stubs::ops_open, nullptr, nullptr};

fi_ops_cq cq_ops = {sizeof(fi_ops_cq), cq_read,      cq_readfrom, cq_readerr,
                    cq_sread,          cq_sreadfrom, cq_signal,   cq_strerror};

} // namespace

int cq_open(fid_domain* domain, fi_cq_attr* attr, fid_cq** cq, void* context) noexcept
{
    return guarded([&]() -> int {
        if (attr == nullptr || cq == nullptr) {
            SRD_WARN(FI_LOG_CQ, "fi_cq_open: the attributes or the result pointer are NULL");
            return -FI_EINVAL;
        }
        const std::size_t bytes = entry_bytes(attr->format);
        if (bytes == 0 || attr->size > largest_size || (attr->flags & ~(FI_AFFINITY)) != 0) {
            SRD_WARN(FI_LOG_CQ,
                     "fi_cq_open: format %d, size %zu or flags %#llx cannot be served; at most %zu entries",
                     static_cast<int>(attr->format), attr->size, static_cast<unsigned long long>(attr->flags),
                     largest_size);
            return -FI_EINVAL;
        }
        const unsigned wait_obj = raw(attr->wait_obj);
        if (wait_obj > FI_WAIT_FD && wait_obj != FI_WAIT_YIELD) {
            SRD_WARN(
                FI_LOG_CQ,
                "fi_cq_open: wait object %u is not served; use FI_WAIT_NONE, _UNSPEC, _SET, _FD or _YIELD",
                wait_obj);
            return -FI_ENOSYS;
        }
        Domain& owner = domain_from(domain);
        auto queue = std::make_unique<CompletionQueue>(owner, *attr, bytes, context);
        if (const int error = open_wait(queue->fid.fid, queue->group, wait_obj, attr->wait_set, owner.fabric,
                                        cq_trywait, queue->wait_set);
            error != 0) {
            return error;
        }
        queue->fid.fid.ops = &cq_fid_ops;
        queue->fid.ops = &cq_ops;
        *cq = &queue.release()->fid;
        return 0;
    });
}

int cq_trywait(fid* cq) noexcept
{
    return as_queue(cq).try_wait();
}

} // namespace srd
