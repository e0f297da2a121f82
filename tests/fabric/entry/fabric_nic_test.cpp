// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_info.nic, and fi_tostr() of everything that fi_getinfo returns.
#include <algorithm>
#include <cctype>
#include <fstream>
#include <string>

#include "fabric/fabric_support.hpp"

using namespace fabric_test;

namespace {

std::string first_line(const std::string& file)
{
    std::ifstream stream(file);
    std::string line;
    std::getline(stream, line);
    return line;
}

} // namespace

TEST_CASE("nic: what the system knows of the interface")
{
    int code = 0;
    const InfoPtr list = get_info(code, nullptr);
    REQUIRE(code == 0);
    for (const fi_info* info = list.get(); info != nullptr; info = info->next) {
        const std::string name = info->domain_attr->name;
        CAPTURE(name);
        if (name == "lo") {
            CHECK(info->nic == nullptr);
            continue;
        }
        REQUIRE(info->nic != nullptr);
        const std::string folder = "/sys/class/net/" + name + "/";
        CHECK(info->nic->fid.fclass == FI_CLASS_NIC);
        CHECK(std::string(info->nic->device_attr->name) == name);
        const fi_link_attr& link = *info->nic->link_attr;
        CHECK(link.state == FI_LINK_UP); // others are not offered
        CHECK(std::to_string(link.mtu) == first_line(folder + "mtu"));
        if (first_line(folder + "type") == "1") {
            REQUIRE(link.address != nullptr);
            CHECK(link.address == first_line(folder + "address"));
            CHECK(std::string(link.network_type) == "Ethernet");
        }
        CHECK(
            (info->nic->bus_attr->bus_type == FI_BUS_PCI || info->nic->bus_attr->bus_type == FI_BUS_UNKNOWN));
        CHECK(info->nic->prov_attr == nullptr);
    }
}

TEST_CASE("nic: a copy is a copy")
{
    int code = 0;
    InfoPtr list = get_info(code, nullptr);
    REQUIRE(code == 0);
    if (list->nic == nullptr) {
        WARN("there is no interface but loopback");
        return;
    }
    const InfoPtr copy(fi_dupinfo(list.get()), &fi_freeinfo);
    REQUIRE(copy != nullptr);
    REQUIRE(copy->nic != nullptr);
    CHECK(copy->nic != list->nic);
    const std::string name = list->nic->device_attr->name;
    list.reset();
    CHECK(copy->nic->device_attr->name == name);
    CHECK(std::string(fi_tostr(copy.get(), FI_TYPE_INFO)).find("name: " + name) != std::string::npos);
}

TEST_CASE("fi_tostr: readable to the last line")
{
    int code = 0;
    const InfoPtr list = get_info(code, nullptr);
    REQUIRE(code == 0);
    for (const fi_info* info = list.get(); info != nullptr; info = info->next) {
        const std::string text = fi_tostr(info, FI_TYPE_INFO);
        CAPTURE(text);
        CHECK(std::all_of(text.begin(), text.end(),
                          [](unsigned char c) { return c == '\n' || std::isprint(c); }));
        CHECK(text.find("0x0x") == std::string::npos);
        CHECK(text.find("FI_SHARED_AV") != std::string::npos);
        if (info->nic != nullptr) {
            CHECK(text.find("nic: 0x") == std::string::npos); // a pointer
            for (const char* word :
                 {"fi_device_attr:", "fi_bus_attr:", "fi_link_attr:", "state: FI_LINK_UP"}) {
                CAPTURE(word);
                CHECK(text.find(word) != std::string::npos);
            }
        }
    }
}

TEST_CASE("fi_tostr of a nic stays in the buffer it is given")
{
    int code = 0;
    const InfoPtr list = get_info(code, nullptr);
    REQUIRE(code == 0);
    if (list->nic == nullptr) {
        WARN("there is no interface but loopback");
        return;
    }
    for (std::size_t size = 1; size < 600; size += 37) {
        std::string buffer(size + 16, '\x7f');
        fi_tostr_r(buffer.data(), size, &list->nic->fid, FI_TYPE_FID);
        CHECK(buffer.find('\0') < size);
        CHECK(buffer.substr(size) == std::string(16, '\x7f'));
    }
}
