// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// NUMA nodes and network devices, on a machine that is a folder of files.
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include <sched.h>
#include <unistd.h>

#include "io/host/interfaces.hpp"
#include "numa.hpp"

#include "support/catch.hpp"

using namespace srd;
namespace fs = std::filesystem;

namespace {

/// A copy of /sys that is removed in the end.
class Sysfs {
public:
    Sysfs() : root_(fs::temp_directory_path() / ("srd_sysfs_" + std::to_string(getpid()))) {}
    ~Sysfs() { fs::remove_all(root_); }
    std::string path() const { return root_.string(); }
    void write(const std::string& file, const std::string& text) const
    {
        fs::create_directories((root_ / file).parent_path());
        std::ofstream(root_ / file) << text << "\n";
    }
    void link(const std::string& file, const std::string& target) const
    {
        fs::create_directories((root_ / file).parent_path());
        fs::create_directories(root_ / target);
        fs::create_symlink(root_ / target, root_ / file);
    }

private:
    fs::path root_;
};

void add_pci_nic(const Sysfs& sysfs)
{
    const std::string device = "devices/pci0000:3a/0000:3b:00.1/";
    sysfs.write(device + "vendor", "0x15b3");
    sysfs.write(device + "device", "0x101b");
    sysfs.write(device + "revision", "0x02");
    sysfs.write(device + "numa_node", "1");
    sysfs.link(device + "subsystem", "bus/pci");
    sysfs.link(device + "driver", "bus/pci/drivers/mlx5_core");
    sysfs.link("class/net/eth1/device", device);
    sysfs.write("class/net/eth1/mtu", "9000");
    sysfs.write("class/net/eth1/speed", "100000");
    sysfs.write("class/net/eth1/type", "1");
    sysfs.write("class/net/eth1/address", "52:54:00:12:34:56");
}

} // namespace

TEST_CASE("numa: nodes and distances as the kernel lists them")
{
    const Sysfs sysfs;
    sysfs.write("devices/system/node/online", "0-1,4");
    sysfs.write("devices/system/node/node0/distance", "10 21 31");
    sysfs.write("devices/system/node/node1/distance", "21 10 41");
    sysfs.write("devices/system/node/node4/distance", "31 41 10");
    const Numa numa(sysfs.path());
    CHECK(numa.count() == 3);
    CHECK(numa.distance(0, 0) == 10);
    CHECK(numa.distance(0, 4) == 31);
    CHECK(numa.distance(4, 1) == 41);
    CHECK(numa.distance(0, 2) == 255);
    CHECK(numa.distance(0, no_node) == 255);
    CHECK(numa.distance(9, 0) == 255);
}

TEST_CASE("numa: one node, or nothing to read, is no NUMA")
{
    const Sysfs sysfs;
    CHECK(Numa(sysfs.path()).count() == 1);
    for (const char* text : {"0", "", "nonsense", "1-0", "0-99999999", "-3"}) {
        CAPTURE(text);
        sysfs.write("devices/system/node/online", text);
        CHECK(Numa(sysfs.path()).count() == 1);
        CHECK(Numa(sysfs.path()).distance(0, 0) == 255);
    }
}

TEST_CASE("numa: a thread is bound to a node's processors that it may use, or stays")
{
    const int node = numa_node_of_thread();
    REQUIRE(node >= 0);
    std::thread([&] {
        cpu_set_t before;
        cpu_set_t after;
        CHECK(sched_getaffinity(0, sizeof(before), &before) == 0);
        CHECK_FALSE(numa_bind_thread(999));
        CHECK_FALSE(numa_bind_thread(no_node));
        CHECK(sched_getaffinity(0, sizeof(after), &after) == 0);
        CHECK(CPU_EQUAL(&before, &after));
        if (!numa_bind_thread(node)) {
            WARN("not bound: libhwloc is not there, or was not when this was built");
            return;
        }
        CHECK(sched_getaffinity(0, sizeof(after), &after) == 0);
        cpu_set_t both;
        CPU_AND(&both, &before, &after);
        CHECK(CPU_EQUAL(&both, &after)); // none that it did not have
        CHECK(CPU_COUNT(&after) > 0);
        CHECK(numa_node_of_thread() == node);
    }).join();
}

TEST_CASE("interfaces: a PCI device")
{
    const Sysfs sysfs;
    add_pci_nic(sysfs);
    NetInterface entry;
    entry.name = "eth1";
    read_device(sysfs.path(), entry);
    CHECK(entry.mtu == 9000);
    CHECK(entry.speed_mbps == 100000);
    CHECK(entry.network_type == "Ethernet");
    CHECK(entry.hardware_address == "52:54:00:12:34:56");
    CHECK(entry.pci_address == "0000:3b:00.1");
    CHECK(entry.driver == "mlx5_core");
    CHECK(entry.vendor_id == "0x15b3");
    CHECK(entry.device_id == "0x101b");
    CHECK(entry.revision == "0x02");
    CHECK(entry.numa_node == 1);
}

TEST_CASE("interfaces: a VLAN on a bond is where the bond's first device is")
{
    const Sysfs sysfs;
    add_pci_nic(sysfs);
    sysfs.link("class/net/bond0/lower_eth1", "class/net/eth1");
    sysfs.link("class/net/bond0.7/lower_bond0", "class/net/bond0");
    NetInterface entry;
    entry.name = "bond0.7";
    read_device(sysfs.path(), entry);
    CHECK(entry.pci_address == "0000:3b:00.1");
    CHECK(entry.numa_node == 1);
}

TEST_CASE("interfaces: a virtio device is inside a PCI device; a virtual one is nowhere")
{
    const Sysfs sysfs;
    const std::string device = "devices/pci0000:00/0000:00:05.0/virtio2/";
    sysfs.link("devices/pci0000:00/0000:00:05.0/subsystem", "bus/pci");
    sysfs.write("devices/pci0000:00/0000:00:05.0/numa_node", "-1");
    sysfs.link(device + "subsystem", "bus/virtio");
    sysfs.link(device + "driver", "bus/virtio/drivers/virtio_net");
    sysfs.link("class/net/eth0/device", device);
    sysfs.write("class/net/eth0/speed", "-1");
    NetInterface entry;
    entry.name = "eth0";
    read_device(sysfs.path(), entry);
    CHECK(entry.pci_address == "0000:00:05.0");
    CHECK(entry.driver == "virtio_net");
    CHECK(entry.speed_mbps == 0);
    CHECK(entry.numa_node == no_node);

    sysfs.write("class/net/veth3/type", "1");
    NetInterface other;
    other.name = "veth3";
    read_device(sysfs.path(), other);
    CHECK(other.pci_address.empty());
    CHECK(other.driver.empty());
    CHECK(other.network_type == "Ethernet");
}
