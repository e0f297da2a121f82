// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// On the smallest packets that there are.
#include "fabric/atomic_support.hpp"

#include <cstdlib>
#include <vector>

using namespace fabric_test;

namespace {
const bool mtu_is_set = setenv("FI_SRD_MTU", "576", 1) == 0; // before libfabric looks
} // namespace

TEST_CASE("small mtu: an atomic that no packet can hold is refused, and smaller ones go on")
{
    REQUIRE(mtu_is_set);
    AtomicPair pair;
    fid_ep* ep = pair.a.ep.get();
    std::size_t most = 0;
    REQUIRE(fi_compare_atomicvalid(ep, FI_UINT64, FI_CSWAP, &most) == 0);
    std::vector<std::uint64_t> operand(most, 5);
    std::vector<std::uint64_t> result(most);
    CHECK(fi_compare_atomic(ep, operand.data(), most, nullptr, result.data(), nullptr, result.data(), nullptr,
                            pair.b_at_a, 0, key, FI_UINT64, FI_CSWAP, nullptr) == -FI_EMSGSIZE);
    CHECK(pair.words[0] == 0);
    REQUIRE(fi_compare_atomic(ep, operand.data(), 20, nullptr, result.data(), nullptr, result.data(), nullptr,
                              pair.b_at_a, 0, key, FI_UINT64, FI_CSWAP, nullptr) == 0);
    pair.finish(fetched, nullptr);
    CHECK((pair.words[0] == 5 && pair.words[19] == 5 && pair.words[20] == 0));
}
