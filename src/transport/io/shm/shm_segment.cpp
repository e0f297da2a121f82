// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/shm/shm_segment.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <srd/check.hpp>
#include <srd/shm_object.hpp>

#include "io/core/system_random.hpp"
#include "io/shm/shm_lane.hpp"

namespace srd {

namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t ring_size = shm_ring_entries * sizeof(ShmEntry);
static_assert(ring_size == page && page % sizeof(ShmControl) == 0);

constexpr std::size_t controls_at = page;
constexpr std::size_t rings_at = controls_at + shm_rings * sizeof(ShmControl);
constexpr std::size_t pool_at = rings_at + shm_rings * ring_size;
constexpr std::size_t pool_size = std::size_t{shm_blocks} * shm_block_size;
constexpr std::size_t mapped_size = pool_at + pool_size;
constexpr std::size_t lanes_at = mapped_size;
constexpr std::size_t object_size = lanes_at + shm_rings * shm_lane_size;
static_assert(sizeof(ShmHeader) <= page && rings_at % page == 0);
static_assert(shm_lane_size % page == 0 && lanes_at % page == 0);

constexpr const char* prefix = "srd_shm.";

/// How often other processes, starting at the same moment, may take our new object for a stale one.
constexpr int max_attempts = 100;

/// shm_open()'s name.
std::string name_of(const ShmToken& token)
{
    constexpr char digits[] = "0123456789abcdef";
    std::string name = std::string("/") + prefix;
    for (const std::uint8_t byte : token) {
        name.append({digits[byte >> 4U], digits[byte & 15U]});
    }
    return name;
}

bool allocate(int fd, std::size_t offset, std::size_t size) noexcept
{
    const int code = posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(size));
    errno = code;
    return code == 0;
}

template <typename Item>
Item* item_at(std::byte* base, std::size_t offset) noexcept
{
    return std::launder(reinterpret_cast<Item*>(base + offset));
}

} // namespace

// -- The memory -----------------------------------------------------------------

bool ShmMapping::map(const FileDescriptor& file) noexcept
{
    void* const memory =
        mmap(nullptr, mapped_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file.get(), 0);
    if (memory == MAP_FAILED) {
        return false;
    }
    base_ = static_cast<std::byte*>(memory);
    return true;
}

ShmMapping::~ShmMapping()
{
    if (base_ != nullptr) {
        munmap(base_, mapped_size);
    }
}

std::size_t ShmMapping::size() noexcept
{
    return mapped_size;
}

ShmHeader& ShmMapping::header() const noexcept
{
    return *item_at<ShmHeader>(base_, 0);
}

ShmControl& ShmMapping::control(std::uint32_t ring) const noexcept
{
    SRD_DCHECK(ring < shm_rings);
    return *item_at<ShmControl>(base_, controls_at + ring * sizeof(ShmControl));
}

ShmEntry* ShmMapping::entries(std::uint32_t ring) const noexcept
{
    SRD_DCHECK(ring < shm_rings);
    return item_at<ShmEntry>(base_, rings_at + ring * ring_size);
}

std::byte* ShmMapping::block(std::uint32_t number) const noexcept
{
    return base_ + pool_at + std::size_t{number} * shm_block_size;
}

// -- The own segment ------------------------------------------------------------

int ShmSegment::open(const SocketAddress& owner, std::string& error)
{
    static const bool cleaned = [] {
        remove_stale_shm(prefix);
        return true;
    }();
    static_cast<void>(cleaned);

    const auto failed = [&error](const char* what) {
        const int code = errno;
        error = std::string("shared memory is not used: ") + what + ": " + std::strerror(code);
        return code;
    };
    ShmToken token;
    std::string path;
    // A process that removes stale objects may remove this one before it is locked: then it has no name.
    for (int attempt = 0; path.empty(); ++attempt) {
        const std::array<std::uint64_t, 2> name{system_random(), system_random()};
        std::memcpy(token.data(), name.data(), token.size());
        path = name_of(token);
        file_ = FileDescriptor(shm_open(path.c_str(), O_RDWR | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR));
        if (!file_.valid()) {
            return failed("cannot make an object in /dev/shm");
        }
        if (!lock_file(file_.get(), LOCK_EX) || is_unlinked(file_.get())) {
            if (attempt == max_attempts) {
                errno = EAGAIN;
                return failed("other processes keep removing the new object as a stale one");
            }
            path.clear();
        }
    }
    // Mapped through a second descriptor: a mapping keeps its open file alive, and with it the lock. In a
    // child of fork() the mapping stays, but the lock must end with this process.
    const FileDescriptor file(shm_open(path.c_str(), O_RDWR, 0));
    if (!file.valid() || ftruncate(file_.get(), static_cast<off_t>(object_size)) != 0 ||
        !allocate(file_.get(), 0, page)) {
        const int code = failed("/dev/shm has no room");
        shm_unlink(path.c_str());
        return code;
    }
    auto mapping = std::make_shared<ShmMapping>();
    if (!mapping->map(file)) {
        const int code = failed("no address space");
        shm_unlink(path.c_str());
        return code;
    }
    mapping_ = std::move(mapping);
    name_ = std::move(path);
    ShmHeader& made = header();
    secret_ = system_random();
    made.secret = secret_;
    made.process = getpid();
    made.secret_at = reinterpret_cast<std::uintptr_t>(&secret_);
    made.identity.token = token;
    made.identity.key = {system_random(), system_random()};
    std::copy(owner.bytes().begin(), owner.bytes().end(), made.identity.owner.begin());
    made.magic.store(ShmHeader::right_magic, std::memory_order_release);
    return 0;
}

ShmSegment::~ShmSegment()
{
    if (mapping_ != nullptr) {
        header().closed.store(1, std::memory_order_release);
        shm_unlink(name_.c_str()); // not what peers may have written into the header
    }
}

bool ShmSegment::add_ring(std::uint32_t& ring) noexcept
{
    if (ring_count_ == shm_rings) {
        errno = ENOSPC;
        return false;
    }
    constexpr std::uint32_t controls_per_page = page / sizeof(ShmControl);
    if (ring_count_ == 0 && !allocate(file_.get(), pool_at, pool_size)) {
        return false;
    }
    if (ring_count_ % controls_per_page == 0 &&
        !allocate(file_.get(), controls_at + ring_count_ * sizeof(ShmControl), page)) {
        return false;
    }
    if (!allocate(file_.get(), rings_at + ring_count_ * ring_size, ring_size) ||
        !allocate(file_.get(), lanes_at + ring_count_ * shm_lane_size, shm_lane_size)) {
        return false;
    }
    ring = ring_count_++;
    return true;
}

// -- Segments of peers ----------------------------------------------------------

namespace {

bool read_at(const FileDescriptor& file, std::size_t offset, void* into, std::size_t size) noexcept
{
    return ::pread(file.get(), into, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

} // namespace

bool ShmObject::open(const ShmToken& token) noexcept
{
    file_ = FileDescriptor(shm_open(name_of(token).c_str(), O_RDWR | O_NOFOLLOW, 0));
    struct stat status {};
    if (!file_.valid() || fstat(file_.get(), &status) != 0) {
        return false;
    }
    if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
        static_cast<std::size_t>(status.st_size) != object_size) {
        errno = EACCES;
        return false;
    }
    std::uint64_t magic = 0;
    ShmIdentity identity{};
    bool read = read_at(file_, offsetof(ShmHeader, magic), &magic, sizeof(magic));
    std::atomic_thread_fence(std::memory_order_acquire); // the magic was written last
    read = read && read_at(file_, offsetof(ShmHeader, identity), &identity, sizeof(identity));
    if (!read || magic != ShmHeader::right_magic || identity.token != token ||
        !SocketAddress::parse(identity.owner, owner_)) {
        errno = EPROTO;
        return false;
    }
    key_ = identity.key;
    return true;
}

std::shared_ptr<ShmMapping> ShmObject::map() const
{
    auto mapping = std::make_shared<ShmMapping>();
    return mapping->map(file_) ? mapping : nullptr;
}

// -- Lanes ----------------------------------------------------------------------

bool ShmLaneMapping::map(const ShmToken& token, std::uint32_t ring) noexcept
{
    SRD_CHECK(base_ == nullptr && ring < shm_rings);
    ShmObject object;
    if (!object.open(token)) {
        return false;
    }
    void* const memory = mmap(nullptr, shm_lane_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                              object.file().get(), static_cast<off_t>(lanes_at + ring * shm_lane_size));
    if (memory == MAP_FAILED) {
        return false;
    }
    base_ = memory;
    return true;
}

ShmLaneMapping::~ShmLaneMapping()
{
    if (base_ != nullptr) {
        munmap(base_, shm_lane_size);
    }
}

ShmLane& ShmLaneMapping::lane() const noexcept
{
    SRD_DCHECK(base_ != nullptr);
    return *std::launder(static_cast<ShmLane*>(base_));
}

bool shm_owner_lives(const ShmToken& token) noexcept
{
    ShmObject object;
    return object.open(token) && !lock_file(object.file().get(), LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
}

std::shared_ptr<ShmMapping> open_shm_segment(const ShmToken& token)
{
    ShmObject object;
    return object.open(token) ? object.map() : nullptr;
}

} // namespace srd
