// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "nic.hpp"

#include <cstdio>
#include <memory>
#include <new>
#include <string>

#include <rdma/fi_errno.h>

#include "boundary.hpp"
#include "stubs.hpp"

namespace srd {

namespace {

/// The fid_nic with everything its pointers point to. prov_attr stays null.
struct Nic {
    fid_nic fid{};
    fi_device_attr device{};
    fi_bus_attr bus{};
    fi_link_attr link{};
    std::string name;
    std::string driver;
    std::string address;
    std::string network_type;
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

fi_ops nic_ops = {sizeof(fi_ops),     nic_close, stubs::unsupported, nic_control,
                  stubs::unsupported, nullptr,   stubs::unsupported};

fid_nic* publish(std::unique_ptr<Nic> nic) noexcept
{
    nic->fid.fid.fclass = FI_CLASS_NIC;
    nic->fid.fid.ops = &nic_ops;
    nic->device.name = nic->name.data();
    nic->device.driver = nic->driver.empty() ? nullptr : nic->driver.data();
    nic->link.address = nic->address.data();
    nic->link.network_type = nic->network_type.data();
    nic->fid.device_attr = &nic->device;
    nic->fid.bus_attr = &nic->bus;
    nic->fid.link_attr = &nic->link;
    return &nic.release()->fid;
}

} // namespace

fid_nic* make_nic(const NetInterface& entry, const SocketAddress& address)
{
    unsigned domain = 0;
    unsigned bus = 0;
    unsigned device = 0;
    unsigned function = 0;
    if (std::sscanf(entry.pci_address.c_str(), "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4 ||
        domain > 0xffff || bus > 0xff || device > 0x1f || function > 7) {
        return nullptr;
    }
    auto nic = std::make_unique<Nic>();
    nic->name = entry.name;
    nic->driver = entry.driver;
    nic->address = address.host_text();
    nic->network_type = "Ethernet";
    nic->bus.bus_type = FI_BUS_PCI;
    nic->bus.attr.pci.domain_id = static_cast<std::uint16_t>(domain);
    nic->bus.attr.pci.bus_id = static_cast<std::uint8_t>(bus);
    nic->bus.attr.pci.device_id = static_cast<std::uint8_t>(device);
    nic->bus.attr.pci.function_id = static_cast<std::uint8_t>(function);
    nic->link.mtu = entry.mtu;
    nic->link.speed = entry.speed_mbps * 1000000U;
    nic->link.state = entry.is_running ? FI_LINK_UP : FI_LINK_DOWN;
    return publish(std::move(nic));
}

} // namespace srd
