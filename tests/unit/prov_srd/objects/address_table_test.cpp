// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "objects/address_table.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "support/alloc_guard.hpp"
#include "support/catch.hpp"

using namespace srd;

namespace {

SocketAddress address(std::uint16_t port)
{
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(port);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    SocketAddress result;
    REQUIRE(SocketAddress::parse(&name, sizeof(name), result));
    return result;
}

using Removed = AddressTable::Removed;

} // namespace

TEST_CASE("address table: an address has one index for as long as it is used")
{
    AddressTable table;
    const std::uint32_t first = table.insert(address(1));
    CHECK(table.insert(address(2)) != first);
    CHECK(table.insert(address(1)) == first);
    CHECK(table.find(address(1)) == first);
    CHECK(table.remove(first) == Removed::used);
    SocketAddress found;
    REQUIRE(table.address_of(first, found));
    CHECK(found == address(1));
    CHECK(table.remove(first) == Removed::gone);
    CHECK_FALSE(table.address_of(first, found));
    CHECK(table.find(address(1)) == AddressTable::none);
    CHECK(table.remove(first) == Removed::unknown);
    CHECK(table.remove(1000) == Removed::unknown);
}

TEST_CASE("address table: an index comes to mean another address only after it was recycled")
{
    AddressTable table;
    const std::uint32_t index = table.insert(address(1));
    REQUIRE(table.remove(index) == Removed::gone);
    // Whoever remembers the index has not been told yet.
    CHECK(table.insert(address(2)) != index);
    CHECK(table.insert(address(1)) != index);
    table.recycle(index);
    CHECK(table.insert(address(3)) == index);
}

TEST_CASE("address table: every change is a new generation")
{
    AddressTable table;
    const std::uint64_t before = table.generation().load();
    const std::uint32_t index = table.insert(address(1));
    const std::uint64_t inserted = table.generation().load();
    CHECK(inserted != before);
    REQUIRE(table.remove(index) == Removed::gone);
    CHECK(table.generation().load() != inserted);
}

TEST_CASE("address table: without memory nothing changes")
{
    AddressTable table;
    std::uint32_t inserted = 0;
    for (std::uint16_t port = 1; port != 200; ++port) {
        for (std::uint64_t allocations = 0;; ++allocations) {
            bool failed = false;
            {
                const sim::AllocationFailure failing(allocations);
                try {
                    table.insert(address(port));
                } catch (const std::bad_alloc&) {
                    failed = true;
                }
            }
            if (!failed) {
                break;
            }
            CHECK(table.find(address(port)) == AddressTable::none);
        }
        CHECK(table.find(address(port)) == inserted++);
    }
}
