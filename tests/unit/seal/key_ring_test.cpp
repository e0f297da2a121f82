// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/key_ring.hpp"
#include "unit/seal/seal_fixture.hpp"

using namespace srd;
using namespace srd::test;

TEST_CASE("key ring: what is derived from a secret never changes")
{
    const KeyRing ring = ring_of(key_1);
    const JobKey& key = ring.sending();
    // Computed by another implementation of docs/protocol.md, section 13.
    CHECK(key.id == 0xe4d96251);
    CHECK(to_hex(key.hello.bytes()) == "a80c900ca405eedf5cc2f84b99767d9fdcd80bc548b3c88a27abbc9b1d47d558");
    CHECK(to_hex(key.traffic.bytes()) == "a64ca1a07f90f55414d10b7bfe9ae2e17993caf9903f42097ddcb489492170cb");
}

TEST_CASE("key ring: the first key is for sending, and all are there")
{
    const KeyRing ring = ring_of(key_2 + "\n" + key_1);
    REQUIRE(ring.all().size() == 2);
    CHECK(&ring.sending() == &ring.all()[0]);
    CHECK(ring.all()[1].id == 0xe4d96251);
    CHECK(ring.all()[0].id != ring.all()[1].id);
}
