// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "memory/memory_region.hpp"

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "common/c_api.hpp"
#include "common/stubs.hpp"
#include "completion/cntr.hpp"
#include "hmem/devices.hpp"
#include "memory/descriptor.hpp"
#include "objects/domain.hpp"
#include "objects/eq.hpp"

namespace srd {

MemoryRegion::MemoryRegion(Domain& owner, void* context) : domain(owner)
{
    fid.fid.fclass = FI_CLASS_MR;
    fid.fid.context = context;
    domain.retain();
}

MemoryRegion::~MemoryRegion()
{
    for (CompletionCounter* counter : {remote_reads.load(), remote_writes.load()}) {
        if (counter != nullptr) {
            counter->regions.fetch_sub(1);
        }
    }
    domain.release();
}

/// A region serves every endpoint of its domain, so binding it to one changes nothing.
int MemoryRegion::bind(::fid& object, std::uint64_t flags)
{
    void* const pointer = &object;
    if (object.fclass == FI_CLASS_EP && flags == 0) {
        return 0;
    }
    constexpr std::uint64_t known = FI_REMOTE_READ | FI_REMOTE_WRITE;
    if (object.fclass != FI_CLASS_CNTR || flags == 0 || (flags & ~known) != 0) {
        SRD_WARN(FI_LOG_MR, "fi_mr_bind: a memory region takes an endpoint without flags, or a counter with "
                            "FI_REMOTE_READ, FI_REMOTE_WRITE or both");
        return -FI_EINVAL;
    }
    CompletionCounter& counter = cntr_from(static_cast<fid_cntr*>(pointer));
    if (&counter.domain != &domain || ((flags & FI_REMOTE_READ) != 0 && remote_reads.load() != nullptr) ||
        ((flags & FI_REMOTE_WRITE) != 0 && remote_writes.load() != nullptr)) {
        SRD_WARN(FI_LOG_MR, "fi_mr_bind: %s",
                 &counter.domain != &domain ? "the counter belongs to another domain"
                                            : "the region has a counter for that kind of access already");
        return -FI_EINVAL;
    }
    counter.count_for_domain();
    for (auto [flag, place] : {std::pair{FI_REMOTE_READ, &remote_reads}, {FI_REMOTE_WRITE, &remote_writes}}) {
        if ((flags & flag) != 0) {
            counter.regions.fetch_add(1);
            place->store(&counter, std::memory_order_release);
        }
    }
    return 0;
}

void MemoryRegion::close() noexcept
{
    SRD_CHECK(domain.memory_regions.remove(fid.key));
    domain.progress.for_each([this](ProgressMember& endpoint) { endpoint.revoke(fid.key); });
}

namespace {

/// What grants access, and capabilities, which grant none: LCI names FI_RMA beside the former.
constexpr std::uint64_t known_access = FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ |
                                       FI_REMOTE_WRITE | FI_COLLECTIVE | FI_MSG | FI_RMA | FI_TAGGED |
                                       FI_ATOMIC;

int mr_close(fid* object) noexcept
{
    auto* region = static_cast<MemoryRegion*>(static_cast<void*>(object));
    if (region->domain.fabric.inherited()) {
        return 0;
    }
    region->close();
    delete region;
    return 0;
}

int mr_bind(fid* object, fid* other, std::uint64_t flags) noexcept
{
    if (other == nullptr) {
        SRD_WARN(FI_LOG_MR, "fi_mr_bind: the object is NULL");
        return -FI_EINVAL;
    }
    return guarded(
        [&] { return static_cast<MemoryRegion*>(static_cast<void*>(object))->bind(*other, flags); });
}

int mr_control(fid*, int command, void*) noexcept
{
    return command == FI_ENABLE ? 0 : -FI_ENOSYS; // a region is enabled from the beginning
}

fi_ops mr_fid_ops = {sizeof(fi_ops),     mr_close,           mr_bind,           mr_control,
                     stubs::unsupported, stubs::unsupported, stubs::unsupported};

/// Reports a registration that succeeded, if the application wants that as an event.
int announce(MemoryRegion& region)
{
    Domain& domain = region.domain;
    if (!domain.memory_events || domain.event_queue == nullptr) {
        return 0;
    }
    fi_eq_entry entry{};
    entry.fid = &region.fid.fid;
    entry.context = region.fid.fid.context;
    return domain.event_queue->report(FI_MR_COMPLETE, std::as_bytes(std::span(&entry, 1)));
}

/// FI_MR_DMABUF and what it makes of fi_mr_attr: newer than the oldest libfabric that we are built with.
constexpr std::uint64_t flag_dmabuf = 1ULL << 40;
struct DmaBuffer {
    int fd;
    std::uint64_t offset;
    std::size_t length;
    void* base;
};

int check_registration(const fid* object, const fi_mr_attr& attr, std::uint64_t flags)
{
    if (object->fclass != FI_CLASS_DOMAIN) {
        SRD_WARN(FI_LOG_MR, "memory is registered with a domain");
        return -FI_EINVAL;
    }
    constexpr std::uint64_t known = FI_RMA_EVENT // announces a counter, which may be bound at any time
                                    | FI_HMEM_HOST_ALLOC | FI_HMEM_DEVICE_ONLY // hints, of no use here
                                    | flag_dmabuf;
    if ((flags & ~known) != 0) {
        SRD_WARN(FI_LOG_MR, "memory registration flags 0x%llx are not served",
                 static_cast<unsigned long long>(flags & ~known));
        return -FI_EBADFLAGS;
    }
    if (attr.mr_iov == nullptr || attr.iov_count == 0 || attr.iov_count > max_iov) {
        SRD_WARN(FI_LOG_MR, "a memory region has 1 to %zu pieces, not %zu", max_iov, attr.iov_count);
        return -FI_EINVAL;
    }
    if ((attr.access & ~known_access) != 0) {
        SRD_WARN(FI_LOG_MR, "unknown memory access bits 0x%llx",
                 static_cast<unsigned long long>(attr.access & ~known_access));
        return -FI_EINVAL;
    }
    return 0;
}

/// The pieces that are registered. A DMA buffer is known by its address: bytes are copied by the device's
/// driver, which needs no descriptor.
int find_pieces(const fi_mr_attr& attr, std::uint64_t flags, iovec& buffer, std::span<const iovec>& pieces)
{
    pieces = {attr.mr_iov, attr.iov_count};
    if ((flags & flag_dmabuf) == 0) {
        return 0;
    }
    DmaBuffer dmabuf{};
    if (raw(attr.iface) != FI_HMEM_SYSTEM) {
        std::memcpy(&dmabuf, attr.mr_iov, sizeof(dmabuf));
    }
    if (attr.iov_count != 1 || dmabuf.base == nullptr) {
        SRD_WARN(FI_LOG_MR,
                 "FI_MR_DMABUF: one buffer of a device's memory, with its base_addr, is served; host "
                 "memory is registered by its address, without the flag");
        return -FI_EOPNOTSUPP;
    }
    buffer = {static_cast<std::byte*>(dmabuf.base) + dmabuf.offset, dmabuf.length};
    pieces = {&buffer, 1};
    return 0;
}

/// Whose memory it is. 0 or a negative fi_errno, with a line.
int find_device(const Domain& domain, const fi_mr_attr& attr, std::span<const iovec> pieces, DeviceId& device)
{
    device = DeviceId::host;
    if (raw(attr.iface) == FI_HMEM_SYSTEM) {
        return 0;
    }
    if (raw(attr.iface) != FI_HMEM_CUDA) {
        SRD_WARN(FI_LOG_MR, "memory of the host (FI_HMEM_SYSTEM) and of CUDA's devices (FI_HMEM_CUDA) can be "
                            "registered");
        return -FI_ENOSYS;
    }
    if (!domain.serves_devices) {
        SRD_WARN(FI_LOG_MR, "FI_HMEM_CUDA: the domain was opened without FI_HMEM; ask fi_getinfo for it");
        return -FI_EOPNOTSUPP;
    }
    for (const iovec& piece : pieces) {
        std::string error;
        DeviceId owner{};
        if (!Devices::process().adopt(piece.iov_base, piece.iov_len, owner, error)) {
            SRD_WARN(FI_LOG_MR, "FI_HMEM_CUDA: %zu bytes at %p cannot be registered: %s", piece.iov_len,
                     piece.iov_base, error.c_str());
            return -FI_EINVAL;
        }
        device = device == DeviceId::host ? owner : device;
    }
    return 0;
}

/// Puts the region into the domain's table. 0 or a negative fi_errno, with a line.
int insert(MemoryRegion& region, const fi_mr_attr& attr, std::span<const iovec> pieces)
{
    Domain& domain = region.domain;
    RegionSpec spec;
    spec.memory = pieces;
    spec.offset = attr.offset;
    spec.owner = &region;
    spec.access = ((attr.access & FI_REMOTE_READ) != 0 ? Access::remote_read : Access::none) |
                  ((attr.access & FI_REMOTE_WRITE) != 0 ? Access::remote_write : Access::none);
    if ((domain.mr_mode & (FI_MR_BASIC | FI_MR_VIRT_ADDR)) != 0) {
        spec.addressing = Addressing::virtual_address;
    }
    const bool chooses_key = (domain.mr_mode & (FI_MR_BASIC | FI_MR_PROV_KEY)) != 0;
    region.fid.key = attr.requested_key;
    const Status status = chooses_key ? domain.memory_regions.insert(spec, region.fid.key)
                                      : domain.memory_regions.insert_as(spec, attr.requested_key);
    if (status == Status::again) {
        SRD_WARN(FI_LOG_MR, "key 0x%llx is in use in this domain: request another one",
                 static_cast<unsigned long long>(attr.requested_key));
        return -FI_ENOKEY;
    }
    if (status != Status::ok) {
        SRD_WARN(FI_LOG_MR, "the memory to register reaches beyond the address space");
        return -FI_EINVAL;
    }
    return 0;
}

int register_memory(fid* object, const fi_mr_attr& attr, std::uint64_t flags, fid_mr** mr)
{
    if (const int code = check_registration(object, attr, flags); code != 0) {
        return code;
    }
    Domain& domain = domain_from(static_cast<fid_domain*>(static_cast<void*>(object)));
    auto region = std::make_unique<MemoryRegion>(domain, attr.context);
    iovec buffer{};
    std::span<const iovec> pieces;
    if (const int code = find_pieces(attr, flags, buffer, pieces); code != 0) {
        return code;
    }
    if (const int code = find_device(domain, attr, pieces, region->device); code != 0) {
        return code;
    }
    if (const int code = insert(*region, attr, pieces); code != 0) {
        return code;
    }
    region->fid.fid.ops = &mr_fid_ops;
    region->fid.mem_desc = region.get();
    if (region->device != DeviceId::host) {
        region->fid.mem_desc = device_descriptor(region->device);
        domain.progress.for_each([](ProgressMember& endpoint) { endpoint.expect_devices(); });
    }
    if (const int code = announce(*region); code != 0) {
        domain.memory_regions.remove(region->fid.key);
        return code;
    }
    *mr = &region.release()->fid;
    return 0;
}

int mr_regattr(fid* object, const fi_mr_attr* attr, std::uint64_t flags, fid_mr** mr) noexcept
{
    if (attr == nullptr || mr == nullptr) {
        return -FI_EINVAL;
    }
    return guarded([&] { return register_memory(object, *attr, flags, mr); });
}

int mr_regv(fid* object, const iovec* iov, std::size_t count, std::uint64_t access, std::uint64_t offset,
            std::uint64_t requested_key, std::uint64_t flags, fid_mr** mr, void* context) noexcept
{
    fi_mr_attr attr{};
    attr.mr_iov = iov;
    attr.iov_count = count;
    attr.access = access;
    attr.offset = offset;
    attr.requested_key = requested_key;
    attr.context = context;
    return mr_regattr(object, &attr, flags, mr);
}

int mr_reg(fid* object, const void* buffer, std::size_t length, std::uint64_t access, std::uint64_t offset,
           std::uint64_t requested_key, std::uint64_t flags, fid_mr** mr, void* context) noexcept
{
    const iovec iov{const_cast<void*>(buffer), length};
    return mr_regv(object, &iov, 1, access, offset, requested_key, flags, mr, context);
}

} // namespace

fi_ops_mr memory_region_ops = {sizeof(fi_ops_mr), mr_reg, mr_regv, mr_regattr};

} // namespace srd
