// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "objects/shared_addresses.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#include <rdma/fi_errno.h>

#include <srd/check.hpp>
#include <srd/shm_object.hpp>

#include "common/log.hpp"

namespace srd {

// -- Layout -------------------------------------------------------------------
//
//   header | ids (fi_addr_t) | entries | index of level 0 | index of level 1 | ...
//
// Level k has memory for first_capacity << k addresses and an open hash of twice as many slots, each an
// index plus one, 0 if free. Growing builds the next level's hash beside the one in use.

struct SharedAddresses::Header {
    static constexpr std::uint64_t right_magic = 0x0001'7661'2d64'7273; ///< "srd-av", layout 1
    std::atomic<std::uint64_t> magic;                                   ///< written last
    std::atomic<std::uint32_t> count;                                   ///< published addresses
    std::atomic<std::uint32_t> level;
    std::atomic<std::uint64_t> generation;
    pthread_mutex_t mutex; ///< of whoever changes anything
};

struct SharedAddresses::Entry {
    std::array<std::byte, sizeof(sockaddr_in6)> address;
    std::atomic<std::uint32_t> uses; ///< 0: removed
};

namespace {

constexpr std::uint32_t first_capacity = 512;
constexpr std::uint32_t level_count = 12;
static_assert(first_capacity << (level_count - 1) == SharedAddresses::max_addresses);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free &&
              std::atomic<std::uint64_t>::is_always_lock_free);

constexpr std::size_t entry_size = 32;
constexpr std::size_t ids_at = 4096;
constexpr std::size_t entries_at = ids_at + SharedAddresses::max_addresses * sizeof(fi_addr_t);
constexpr std::size_t index_at = entries_at + SharedAddresses::max_addresses * entry_size;

constexpr std::uint32_t capacity_of(std::uint32_t level) noexcept
{
    return first_capacity << level;
}
constexpr std::uint32_t slots_of(std::uint32_t level) noexcept
{
    return 2 * capacity_of(level);
}
constexpr std::size_t slots_at(std::uint32_t level) noexcept
{
    return index_at + sizeof(std::uint32_t) * (slots_of(level) - slots_of(0));
}
constexpr std::size_t file_size = slots_at(level_count);

constexpr std::uint32_t no_address = ~std::uint32_t{0};

/// shm_open()'s names of this user begin so.
std::string prefix()
{
    return "/srd_av." + std::to_string(geteuid()) + ".";
}

/// `text` in characters that a file name may have.
std::string escaped(const std::string& text)
{
    constexpr char digits[] = "0123456789abcdef";
    std::string result;
    for (const char c : text) {
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
            c == '-') {
            result.push_back(c);
        } else {
            const auto value = static_cast<unsigned char>(c);
            result.append({'%', digits[value >> 4], digits[value & 15]});
        }
    }
    return result;
}

std::system_error failure(int code, const std::string& text)
{
    return {code, std::generic_category(), text};
}

/// With the errno of the call before.
std::system_error failure_now(const char* text)
{
    const int error = errno;
    return failure(error, text);
}

/// A mutex for several processes, which survives the death of one that holds it.
void make_mutex(pthread_mutex_t& mutex)
{
    pthread_mutexattr_t attributes;
    int code = pthread_mutexattr_init(&attributes);
    if (code == 0) {
        code = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        code = code != 0 ? code : pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        code = code != 0 ? code : pthread_mutex_init(&mutex, &attributes);
        pthread_mutexattr_destroy(&attributes);
    }
    if (code != 0) {
        throw failure(code, "shared address vector: no mutex between processes");
    }
}

} // namespace

/// Holds the table's mutex, whoever had it before.
class SharedAddresses::Guard {
public:
    explicit Guard(Header& header) noexcept : mutex_(header.mutex)
    {
        const int code = pthread_mutex_lock(&mutex_);
        SRD_CHECK(code == 0 || code == EOWNERDEAD);
        if (code == EOWNERDEAD) {
            SRD_CHECK(pthread_mutex_consistent(&mutex_) ==
                      0); // what it had begun is not published: nothing to undo
        }
    }
    ~Guard() { pthread_mutex_unlock(&mutex_); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

private:
    pthread_mutex_t& mutex_;
};

SharedAddresses::Header& SharedAddresses::header() const noexcept
{
    return *reinterpret_cast<Header*>(base_);
}

SharedAddresses::Entry* SharedAddresses::entries() const noexcept
{
    static_assert(sizeof(Header) <= ids_at && sizeof(Entry) == entry_size);
    return reinterpret_cast<Entry*>(base_ + entries_at);
}

std::atomic<std::uint32_t>* SharedAddresses::slots(std::uint32_t level) const noexcept
{
    return reinterpret_cast<std::atomic<std::uint32_t>*>(base_ + slots_at(level));
}

void* SharedAddresses::ids() const noexcept
{
    return base_ + ids_at;
}

const std::atomic<std::uint64_t>& SharedAddresses::generation() const noexcept
{
    return header().generation;
}

// -- Opening and closing ------------------------------------------------------

SharedAddresses::SharedAddresses(const Options& options)
    : path_(prefix() + escaped(options.domain) + (options.family == AF_INET ? ".4." : ".6.") +
            escaped(options.name)),
      family_(options.family),
      address_size_(options.family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)),
      read_only_(options.read_only)
{
    if (path_.size() > NAME_MAX || options.name.empty()) {
        throw failure(options.name.empty() ? EINVAL : ENAMETOOLONG,
                      "shared address vector: the name is empty or too long for a file name");
    }
    remove_stale_shm(prefix().substr(1));
    // Another process may be making or removing the object at this moment: it is seen whole in the end.
    constexpr int attempts = 1000;
    for (int i = 0; i < attempts; ++i) {
        try {
            if (try_open(options)) {
                return;
            }
        } catch (...) {
            if (base_ != nullptr) {
                munmap(base_, file_size);
            }
            throw;
        }
        file_ = FileDescriptor();
        std::this_thread::sleep_for(std::chrono::microseconds(100 + getpid() % 1000));
    }
    throw failure(EBUSY, "shared address vector " + path_ + ": other processes keep making and removing it");
}

/// False: it changed hands meanwhile; close and try again.
bool SharedAddresses::try_open(const Options& options)
{
    file_ =
        FileDescriptor(shm_open(path_.c_str(), read_only_ ? O_RDONLY : O_RDWR | O_CREAT, S_IRUSR | S_IWUSR));
    if (!file_.valid()) {
        const int error = errno; // before the text is put together
        throw failure(error, "shared address vector /dev/shm" + path_ +
                                 (read_only_ ? " does not exist or cannot be read" : " cannot be opened"));
    }
    struct stat status {};
    if (fstat(file_.get(), &status) != 0 || status.st_uid != geteuid() || !S_ISREG(status.st_mode)) {
        throw failure(EACCES, "/dev/shm" + path_ + " belongs to another user; choose another name");
    }
    if (lock_file(file_.get(), LOCK_EX | LOCK_NB)) {
        if (is_unlinked(file_.get())) {
            return false;
        }
        if (read_only_) {
            shm_unlink(path_.c_str());
            throw failure(ENOENT, "shared address vector /dev/shm" + path_ + " has no living process");
        }
        if (!initialize(options.count)) {
            return false;
        }
    }
    // Going from the exclusive lock to the shared one leaves a gap: whoever came in between is alone as we
    // were, and has made the same empty table.
    if (!lock_file(file_.get(), LOCK_SH)) {
        throw failure_now("shared address vector: flock");
    }
    if (is_unlinked(file_.get()) || fstat(file_.get(), &status) != 0 ||
        static_cast<std::size_t>(status.st_size) != file_size) {
        if (base_ != nullptr) {
            munmap(std::exchange(base_, nullptr), file_size);
        }
        return false;
    }
    if (!map()) {
        return false;
    }
    if (header().magic.load(std::memory_order_acquire) != Header::right_magic) {
        munmap(std::exchange(base_, nullptr), file_size);
        return false;
    }
    return true;
}

/// False: the object was removed meanwhile.
bool SharedAddresses::map()
{
    if (base_ != nullptr) {
        return true;
    }
    // Opened once more, because a mapping keeps alive what it was made from, with its lock: in a child of
    // fork() the mapping stays, and the lock must not.
    const FileDescriptor file(shm_open(path_.c_str(), read_only_ ? O_RDONLY : O_RDWR, 0));
    struct stat locked {};
    struct stat opened {};
    if (!file.valid() || fstat(file_.get(), &locked) != 0 || fstat(file.get(), &opened) != 0 ||
        locked.st_ino != opened.st_ino) {
        return false;
    }
    void* memory = mmap(nullptr, file_size, read_only_ ? PROT_READ : PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_NORESERVE, file.get(), 0);
    if (memory == MAP_FAILED) {
        throw failure_now("shared address vector: no address space");
    }
    base_ = static_cast<std::byte*>(memory);
    return true;
}

/// Makes an empty table. The exclusive lock is held. False: the object was removed meanwhile.
bool SharedAddresses::initialize(std::size_t count)
{
    if (ftruncate(file_.get(), 0) != 0 || ftruncate(file_.get(), static_cast<off_t>(file_size)) != 0) {
        const int error = errno;
        throw failure(error, "shared address vector /dev/shm" + path_);
    }
    if (const int code = posix_fallocate(file_.get(), 0, static_cast<off_t>(ids_at)); code != 0) {
        throw failure(code, "shared address vector: /dev/shm is full");
    }
    if (!map()) {
        return false;
    }
    auto* made = new (base_) Header{};
    std::uint32_t level = 0;
    while (level + 1 < level_count && capacity_of(level) < count) {
        ++level;
    }
    if (const int code = allocate(level); code != 0) {
        throw failure(-code, "shared address vector: /dev/shm has no room for " + std::to_string(count) +
                                 " addresses");
    }
    made->level.store(level, std::memory_order_relaxed);
    made->generation.store(1, std::memory_order_relaxed);
    make_mutex(made->mutex);
    made->magic.store(Header::right_magic, std::memory_order_release);
    return true;
}

SharedAddresses::~SharedAddresses()
{
    munmap(base_, file_size);
    if (lock_file(file_.get(), LOCK_EX | LOCK_NB) && !is_unlinked(file_.get())) {
        shm_unlink(path_.c_str());
    }
}

// -- Growing ------------------------------------------------------------------

/// Memory for `level`. 0 or a negative fi_errno.
int SharedAddresses::allocate(std::uint32_t level) noexcept
{
    const struct {
        std::size_t at, size;
    } ranges[] = {{ids_at, capacity_of(level) * sizeof(fi_addr_t)},
                  {entries_at, capacity_of(level) * entry_size},
                  {slots_at(level), slots_of(level) * sizeof(std::uint32_t)}};
    for (const auto& range : ranges) {
        const int code =
            posix_fallocate(file_.get(), static_cast<off_t>(range.at), static_cast<off_t>(range.size));
        if (code != 0) {
            return -code;
        }
    }
    return 0;
}

int SharedAddresses::grow() noexcept
{
    const std::uint32_t level = header().level.load(std::memory_order_relaxed) + 1;
    const int code = level < level_count ? allocate(level) : -FI_ENOMEM;
    if (code != 0) {
        SRD_WARN(FI_LOG_AV,
                 "shared address vector /dev/shm%s cannot hold more than %u addresses: %s; at most %u are "
                 "served, in the memory that df /dev/shm shows",
                 path_.c_str(), published(), fi_strerror(-code), max_addresses);
        return -FI_ENOMEM;
    }
    // A process that died here may have left slots.
    std::for_each_n(slots(level), slots_of(level),
                    [](auto& slot) { slot.store(0, std::memory_order_relaxed); });
    for (std::uint32_t index = 0; index < published(); ++index) {
        put(level, read_address(index), index);
    }
    header().level.store(level, std::memory_order_release);
    return 0;
}

// -- Addresses ----------------------------------------------------------------

std::uint32_t SharedAddresses::published() const noexcept
{
    return std::min(header().count.load(std::memory_order_acquire), max_addresses);
}

SocketAddress SharedAddresses::read_address(std::uint32_t index) const noexcept
{
    SocketAddress address;
    (void)SocketAddress::parse(std::span(entries()[index].address).first(address_size_), address);
    return address;
}

bool SharedAddresses::is_at(std::uint32_t index, const SocketAddress& address) const noexcept
{
    return address.size() == address_size_ &&
           std::memcmp(entries()[index].address.data(), address.bytes().data(), address_size_) == 0;
}

/// The index of `address`, removed or not; no_address if it was never inserted.
std::uint32_t SharedAddresses::find_index(const SocketAddress& address) const noexcept
{
    const std::uint32_t level = std::min(header().level.load(std::memory_order_acquire), level_count - 1);
    const std::uint32_t mask = slots_of(level) - 1;
    auto at = static_cast<std::uint32_t>(address.hash()) & mask;
    for (std::uint32_t probes = 0; probes <= mask; ++probes, at = (at + 1) & mask) {
        const std::uint32_t value = slots(level)[at].load(std::memory_order_acquire);
        if (value == 0) {
            break;
        }
        // One beyond the count belongs to an insertion under way, or to one that its process did not survive.
        if (value <= published() && is_at(value - 1, address)) {
            return value - 1;
        }
    }
    return no_address;
}

void SharedAddresses::put(std::uint32_t level, const SocketAddress& address, std::uint32_t index) noexcept
{
    const std::uint32_t mask = slots_of(level) - 1;
    auto at = static_cast<std::uint32_t>(address.hash()) & mask;
    while (true) {
        const std::uint32_t value = slots(level)[at].load(std::memory_order_relaxed);
        if (value == 0 || value > published()) {
            slots(level)[at].store(index + 1, std::memory_order_release);
            return;
        }
        at = (at + 1) & mask;
    }
}

int SharedAddresses::insert(const SocketAddress& address, fi_addr_t& fi_addr) noexcept
{
    if (read_only_) {
        SRD_WARN(FI_LOG_AV, "the shared address vector was opened with FI_READ: nothing can be inserted");
        return -FI_EPERM;
    }
    const Guard guard(header());
    std::uint32_t index = find_index(address);
    if (index == no_address) {
        index = published();
        const std::uint32_t level = header().level.load(std::memory_order_relaxed);
        if (index == capacity_of(level)) {
            if (const int code = grow(); code != 0) {
                return code;
            }
        }
        Entry& entry = entries()[index];
        std::memcpy(entry.address.data(), address.bytes().data(), address_size_);
        entry.uses.store(0, std::memory_order_relaxed);
        static_cast<fi_addr_t*>(ids())[index] = index;
        put(header().level.load(std::memory_order_relaxed), address, index);
        header().count.store(index + 1, std::memory_order_release);
    }
    entries()[index].uses.fetch_add(1, std::memory_order_release);
    header().generation.fetch_add(1, std::memory_order_release);
    fi_addr = index;
    return 0;
}

int SharedAddresses::remove(fi_addr_t fi_addr, bool& gone) noexcept
{
    if (read_only_) {
        SRD_WARN(FI_LOG_AV, "the shared address vector was opened with FI_READ: nothing can be removed");
        return -FI_EPERM;
    }
    const Guard guard(header());
    if (fi_addr >= published() || entries()[fi_addr].uses.load(std::memory_order_relaxed) == 0) {
        return -FI_EINVAL;
    }
    gone = entries()[fi_addr].uses.fetch_sub(1, std::memory_order_release) == 1;
    header().generation.fetch_add(1, std::memory_order_release);
    return 0;
}

bool SharedAddresses::address_of(fi_addr_t fi_addr, SocketAddress& address) const noexcept
{
    if (fi_addr >= published() || entries()[fi_addr].uses.load(std::memory_order_acquire) == 0) {
        return false;
    }
    address = read_address(static_cast<std::uint32_t>(fi_addr));
    return !address.empty();
}

fi_addr_t SharedAddresses::find(const SocketAddress& address) const noexcept
{
    const std::uint32_t index = find_index(address);
    return index == no_address || entries()[index].uses.load(std::memory_order_acquire) == 0
               ? FI_ADDR_NOTAVAIL
               : fi_addr_t{index};
}

} // namespace srd
