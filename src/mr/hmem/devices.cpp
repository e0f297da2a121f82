// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "hmem/devices.hpp"

#include <bit>

#include <srd/check.hpp>

namespace srd {

namespace {

CudaDriver::Address address_of(const void* pointer) noexcept
{
    return reinterpret_cast<CudaDriver::Address>(pointer);
}

} // namespace

class Devices::InContext {
public:
    InContext(const CudaDriver& driver, CudaDriver::Context context) noexcept
        : driver_(driver), entered_(driver.context_push(context) == 0)
    {
    }
    ~InContext()
    {
        CudaDriver::Context left = nullptr;
        if (entered_) {
            driver_.context_pop(&left);
        }
    }
    InContext(const InContext&) = delete;
    InContext& operator=(const InContext&) = delete;
    bool entered() const noexcept { return entered_; }

private:
    const CudaDriver& driver_;
    const bool entered_;
};

Devices& Devices::process()
{
    static auto* const devices = new Devices; // threads of the provider may outlive static destructors
    return *devices;
}

const Devices::Place& Devices::place(DeviceId device) const noexcept
{
    const auto number = static_cast<std::size_t>(device);
    SRD_CHECK(number != 0 && number <= count_.load(std::memory_order_acquire));
    return places_[number - 1];
}

// -- Whose memory -----------------------------------------------------------------

bool Devices::adopt(const void* start, std::size_t size, DeviceId& device, std::string& error)
{
    const std::lock_guard lock(mutex_);
    if (driver_ == nullptr) {
        driver_ = std::make_unique<CudaDriver>();
    }
    if (!driver_->error().empty()) {
        error = driver_->error();
        return false;
    }
    const CudaDriver::Address pointer = address_of(start);
    unsigned type = 0;
    CudaDriver::Address range_start = 0;
    std::size_t range_size = 0;
    if (const auto result = driver_->pointer_attribute(&type, CudaDriver::attribute_memory_type, pointer);
        result != 0) {
        error = "CUDA does not know the address: " + driver_->text(result);
        return false;
    }
    if (type == CudaDriver::memory_type_host) {
        device = DeviceId::host;
        return true;
    }
    if (driver_->pointer_attribute(&range_start, CudaDriver::attribute_range_start, pointer) != 0 ||
        driver_->pointer_attribute(&range_size, CudaDriver::attribute_range_size, pointer) != 0 ||
        pointer < range_start || size > range_size - (pointer - range_start)) {
        error = "the range reaches beyond the allocation on the device";
        return false;
    }
    CudaDriver::Context context = nullptr;
    if (!find_context(pointer, context, error) || !find_place(context, device, error)) {
        return false;
    }
    // The application's own copies and fills that are complete for it are so for our stream.
    const unsigned on = 1;
    driver_->set_pointer_attribute(&on, CudaDriver::attribute_sync_memops, pointer);
    return true;
}

/// The context of an allocation; that of its device where allocations have none (pools, cuMemMap).
bool Devices::find_context(CudaDriver::Address pointer, CudaDriver::Context& context, std::string& error)
{
    if (driver_->pointer_attribute(&context, CudaDriver::attribute_context, pointer) == 0 &&
        context != nullptr) {
        return true;
    }
    int ordinal = 0;
    int device = 0;
    auto result = driver_->pointer_attribute(&ordinal, CudaDriver::attribute_device_ordinal, pointer);
    if (result == 0) {
        result = driver_->device_get(&device, ordinal);
    }
    if (result == 0) {
        result = driver_->primary_context_retain(&context, device);
    }
    if (result != 0) {
        error = "the memory's device has no context: " + driver_->text(result);
    }
    return result == 0;
}

bool Devices::find_place(CudaDriver::Context context, DeviceId& device, std::string& error)
{
    const std::size_t count = count_.load();
    for (std::size_t i = 0; i < count; ++i) {
        if (places_[i].context == context) {
            device = static_cast<DeviceId>(i + 1);
            return true;
        }
    }
    if (count == most) {
        error = "memory of " + std::to_string(most) + " contexts is in use already";
        return false;
    }
    const InContext in(*driver_, context);
    CudaDriver::Stream stream = nullptr;
    const auto result = in.entered() ? driver_->stream_create(&stream, CudaDriver::stream_non_blocking) : 1;
    if (result != 0) {
        error = "cuStreamCreate failed: " + driver_->text(result);
        return false;
    }
    places_[count] = {context, stream};
    count_.store(count + 1, std::memory_order_release);
    device = static_cast<DeviceId>(count + 1);
    return true;
}

// -- Copies -----------------------------------------------------------------------

bool Devices::begin(DeviceId device, void* to, const void* from, std::size_t size) noexcept
{
    const Place& where = place(device);
    const InContext in(*driver_, where.context);
    return in.entered() && driver_->copy_async(address_of(to), address_of(from), size, where.stream) == 0;
}

bool Devices::wait(DeviceId device) noexcept
{
    const Place& where = place(device);
    const InContext in(*driver_, where.context);
    return in.entered() && driver_->stream_synchronize(where.stream) == 0;
}

bool Devices::pin(void* memory, std::size_t size) noexcept
{
    const InContext in(*driver_, place(DeviceId{1}).context);
    return in.entered() && driver_->host_register(memory, size, CudaDriver::host_register_portable) == 0;
}

void Devices::unpin(void* memory) noexcept
{
    const InContext in(*driver_, place(DeviceId{1}).context);
    if (in.entered()) {
        driver_->host_unregister(memory);
    }
}

// -- One user's copies --------------------------------------------------------------

bool DeviceCopies::settle() noexcept
{
    while (begun_ != 0) {
        const int bit = std::countr_zero(begun_);
        begun_ &= begun_ - 1;
        is_broken_ = !Devices::process().wait(static_cast<DeviceId>(bit + 1)) || is_broken_;
    }
    return !is_broken_;
}

} // namespace srd
