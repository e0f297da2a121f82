// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// This executable's operator new counts. The provider's calls reach it, because it is the first definition
// that the dynamic linker finds.
#include <iterator>
#include <stdexcept>

#include "fabric/fabric_fixture.hpp"
#include "support/alloc_guard.hpp"

using namespace fabric_test;

namespace {

void read_one(TestEndpoint& who, int& outstanding)
{
    fi_cq_tagged_entry entry{};
    fi_cq_err_entry error{};
    const ssize_t got = fi_cq_read(who.cq.get(), &entry, 1);
    if (got == 1) {
        --outstanding;
    } else if (got == -FI_EAVAIL) {
        fi_cq_readerr(who.cq.get(), &error, 0);
        --outstanding;
    }
}

/// Messages of all protocols, expected and unexpected, and peeks that find nothing.
void traffic(Pair& pair, std::vector<std::uint8_t>& out, std::vector<std::uint8_t>& in, int rounds)
{
    constexpr std::size_t sizes[] = {0, 8, 1000, 4000, 16000, 60000};
    for (int i = 0; i < rounds; ++i) {
        const std::size_t size = sizes[static_cast<std::size_t>(i) % std::size(sizes)];
        const auto tag = static_cast<std::uint64_t>(i);
        const bool early = i % 2 == 0;
        int outstanding = 3; // a receive, a send, a peek
        const auto receive = [&] {
            return fi_trecv(pair.b.ep.get(), in.data(), in.size(), nullptr,
                            i % 3 == 0 ? pair.a_at_b : FI_ADDR_UNSPEC, tag,
                            i % 5 == 0 ? 0xff00000000000000 : 0, nullptr);
        };
        ssize_t result = early ? receive() : 0;
        result |= fi_tsend(pair.a.ep.get(), out.data(), size, nullptr, pair.b_at_a, tag, nullptr);
        fi_msg_tagged peek{};
        peek.addr = FI_ADDR_UNSPEC;
        peek.tag = ~std::uint64_t{0};
        result |= fi_trecvmsg(pair.b.ep.get(), &peek, FI_PEEK);
        for (int polls = 0; polls < 20; ++polls) {
            read_one(pair.a, outstanding);
            read_one(pair.b, outstanding);
        }
        result |= early ? 0 : receive();
        while (outstanding > 0) {
            read_one(pair.a, outstanding);
            read_one(pair.b, outstanding);
        }
        if (result != 0) {
            throw std::runtime_error("a call failed");
        }
    }
}

} // namespace

TEST_CASE("alloc: the guard sees what it must see")
{
    const std::uint64_t before = srd::sim::allocation_violations();
    {
        const srd::sim::AllocationBan ban;
        Handle<fid_av> av;
        OpenDomain domain; // fi_domain() allocates with operator new inside the provider
    }
    CHECK(srd::sim::allocation_violations() > before);
}

TEST_CASE("alloc: the data path does not allocate once it is warm")
{
    Pair pair;
    std::vector<std::uint8_t> out(60000);
    std::vector<std::uint8_t> in(60000);
    traffic(pair, out, in, 300);
    const std::uint64_t before = srd::sim::allocation_violations();
    {
        const srd::sim::AllocationBan ban;
        traffic(pair, out, in, 3000);
    }
    CHECK(srd::sim::allocation_violations() == before);
}
