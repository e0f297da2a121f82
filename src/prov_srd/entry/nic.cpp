// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/nic.hpp"

#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include <rdma/fi_errno.h>

#include "common/c_api.hpp"
#include "common/stubs.hpp"

namespace srd {

namespace {

/// The fid_nic with everything its pointers point to. prov_attr stays null.
struct Nic {
    fid_nic fid{};
    fi_device_attr device{};
    fi_bus_attr bus{};
    fi_link_attr link{};
    NetInterface texts;
};

fid_nic* publish(std::unique_ptr<Nic> nic) noexcept;

int nic_close(fid* object) noexcept
{
    delete static_cast<Nic*>(static_cast<void*>(object));
    return 0;
}

int nic_control(fid* object, int command, void* argument) noexcept
{
    if (command != FI_DUP) {
        return -FI_ENOSYS;
    }
    return guarded([&] {
        const auto* nic = static_cast<const Nic*>(static_cast<void*>(object));
        *static_cast<fid_nic**>(argument) = publish(std::make_unique<Nic>(*nic));
        return 0;
    });
}

const char* or_unknown(const char* text) noexcept
{
    return text != nullptr ? text : "unknown";
}

const char* text_of(fi_link_state state) noexcept
{
    return state == FI_LINK_UP ? "FI_LINK_UP" : state == FI_LINK_DOWN ? "FI_LINK_DOWN" : "FI_LINK_UNKNOWN";
}

/// fi_tostr() of an info: appends to the text that is in `buffer`, which has `length` bytes.
int nic_tostr(const struct fid* object, char* buffer, std::size_t length) noexcept
{
    const auto* nic = static_cast<const Nic*>(static_cast<const void*>(object));
    const fi_pci_attr& pci = nic->bus.attr.pci;
    std::array<char, 256> bus{};
    if (nic->bus.bus_type == FI_BUS_PCI) {
        std::snprintf(bus.data(), bus.size(),
                      "            fi_pci_attr:\n"
                      "                domain_id: %u\n"
                      "                bus_id: %u\n"
                      "                device_id: %u\n"
                      "                function_id: %u\n",
                      pci.domain_id, pci.bus_id, pci.device_id, pci.function_id);
    }
    const std::size_t used = strnlen(buffer, length);
    std::snprintf(buffer + used, length - used,
                  "    nic:\n"
                  "        fi_device_attr:\n"
                  "            name: %s\n"
                  "            device_id: %s\n"
                  "            device_version: %s\n"
                  "            vendor_id: %s\n"
                  "            driver: %s\n"
                  "            firmware: %s\n"
                  "        fi_bus_attr:\n"
                  "            bus_type: %s\n"
                  "%s"
                  "        fi_link_attr:\n"
                  "            address: %s\n"
                  "            mtu: %zu\n"
                  "            speed: %zu\n"
                  "            state: %s\n"
                  "            network_type: %s\n",
                  or_unknown(nic->device.name), or_unknown(nic->device.device_id),
                  or_unknown(nic->device.device_version), or_unknown(nic->device.vendor_id),
                  or_unknown(nic->device.driver), or_unknown(nic->device.firmware),
                  nic->bus.bus_type == FI_BUS_PCI ? "FI_BUS_PCI" : "FI_BUS_UNKNOWN", bus.data(),
                  or_unknown(nic->link.address), nic->link.mtu, nic->link.speed, text_of(nic->link.state),
                  or_unknown(nic->link.network_type));
    return 0;
}

fi_ops nic_ops = {sizeof(fi_ops),     nic_close, stubs::unsupported, nic_control,
                  stubs::unsupported, nic_tostr, stubs::unsupported};

/// As fi_nic(3) has texts: null if unknown.
char* text_or_null(std::string& text) noexcept
{
    return text.empty() ? nullptr : text.data();
}

fid_nic* publish(std::unique_ptr<Nic> nic) noexcept
{
    NetInterface& texts = nic->texts;
    nic->fid.fid.fclass = FI_CLASS_NIC;
    nic->fid.fid.ops = &nic_ops;
    nic->device = {.name = text_or_null(texts.name),
                   .device_id = text_or_null(texts.device_id),
                   .device_version = text_or_null(texts.revision),
                   .vendor_id = text_or_null(texts.vendor_id),
                   .driver = text_or_null(texts.driver),
                   .firmware = text_or_null(texts.firmware)};
    nic->link.address = text_or_null(texts.hardware_address);
    nic->link.network_type = text_or_null(texts.network_type);
    nic->fid.device_attr = &nic->device;
    nic->fid.bus_attr = &nic->bus;
    nic->fid.link_attr = &nic->link;
    return &nic.release()->fid;
}

} // namespace

fid_nic* make_nic(const NetInterface& entry)
{
    if (entry.is_loopback) {
        return nullptr;
    }
    auto nic = std::make_unique<Nic>();
    nic->texts = entry;
    unsigned domain = 0;
    unsigned bus = 0;
    unsigned device = 0;
    unsigned function = 0;
    if (std::sscanf(entry.pci_address.c_str(), "%x:%x:%x.%x", &domain, &bus, &device, &function) == 4 &&
        domain <= 0xffff && bus <= 0xff && device <= 0x1f && function <= 7) {
        nic->bus.bus_type = FI_BUS_PCI;
        nic->bus.attr.pci.domain_id = static_cast<std::uint16_t>(domain);
        nic->bus.attr.pci.bus_id = static_cast<std::uint8_t>(bus);
        nic->bus.attr.pci.device_id = static_cast<std::uint8_t>(device);
        nic->bus.attr.pci.function_id = static_cast<std::uint8_t>(function);
    }
    nic->link.mtu = entry.mtu;
    nic->link.speed = entry.speed_mbps * 1000000U;
    nic->link.state = entry.is_running ? FI_LINK_UP : FI_LINK_DOWN;
    return publish(std::move(nic));
}

} // namespace srd
