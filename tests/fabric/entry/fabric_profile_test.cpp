// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_profile(3) through libfabric: what its inline functions of newer headers do, whatever header there is.
#include <utility>

#include "fabric/profile.hpp"

using namespace fabric_test;

TEST_CASE("profile: an endpoint's counters by their names, and messages that nobody has received yet")
{
    Pair pair;
    const Profile a(pair.a.ep->fid);
    Profile b(pair.b.ep->fid);
    CHECK(b["tx_messages"] == 0);
    std::uint64_t value = 0;
    CHECK(b.read(0, value) == 8); // FI_VAR_UNEXP_MSG_CNT
    CHECK(value == 0);

    std::array<char, 8> text{};
    REQUIRE(fi_inject(pair.a.ep.get(), text.data(), text.size(), pair.b_at_a) == 0);
    pair.until([&] { return b["pvar_unexp_msg_cnt"] == 1; });
    CHECK(a["tx_messages"] == 1);
    CHECK(b["rx_messages"] == 1);
    CHECK(b["rx_unexpected_messages"] == 1);
    CHECK(a["pvar_connection_cnt"] == a["handshakes"]);

    b.ops().start_reads(b.get(), 0);
    REQUIRE(fi_recv(pair.b.ep.get(), text.data(), text.size(), nullptr, FI_ADDR_UNSPEC, nullptr) == 0);
    pair.next(pair.b);
    CHECK(b["pvar_unexp_msg_cnt"] == 1); // as it was
    b.ops().end_reads(b.get(), 0);
    CHECK(b["pvar_unexp_msg_cnt"] == 0);
    b.close();
    // That of `a` goes with its endpoint, as libfabric's hook "trace" leaves its own.
}

TEST_CASE("profile: a domain's is the sum, and does not fall when an endpoint goes")
{
    Options options;
    OpenDomain domain("127.0.0.1", hints_for(options));
    Profile all(domain.domain->fid);
    {
        TestEndpoint a(domain, options);
        TestEndpoint b(domain, options);
        const fi_addr_t b_at_a = a.insert(b);
        std::array<char, 8> text{};
        for (int i = 0; i < 3; ++i) {
            REQUIRE(fi_inject(a.ep.get(), text.data(), text.size(), b_at_a) == 0);
        }
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (all["pvar_unexp_msg_cnt"] != 3 && std::chrono::steady_clock::now() < end) {
            a.poll();
            b.poll();
        }
        CHECK(all["pvar_unexp_msg_cnt"] == 3);
        CHECK(all["tx_messages"] == 3);
    }
    CHECK(all["tx_messages"] == 3);
    CHECK(all["rx_messages"] == 3);
    CHECK(all["pvar_unexp_msg_cnt"] == 0);
    all.close();
}

TEST_CASE("profile: mistakes")
{
    Pair pair;
    const Profile profile(pair.a.ep->fid);
    std::uint64_t value = 0;
    std::size_t size = 4;
    CHECK(profile.read(12345, value) == -FI_EINVAL);
    CHECK(profile.ops().read_var(profile.get(), 0, &value, &size) == -FI_ETOOSMALL);
    CHECK(size == 8);
    CHECK(profile.ops().reg_callback(profile.get(), 0, nullptr, nullptr) == -FI_EINVAL);
    std::size_t count = 7;
    CHECK(profile.ops().query_events(profile.get(), nullptr, &count) == 0);
    CHECK(count == 0);
    fi_profile_desc one{};
    count = 1;
    CHECK(profile.ops().query_vars(profile.get(), &one, &count) == 1);
    CHECK(count == profile.variables().size());
    void* ops = nullptr;
    CHECK(fi_open_ops(&pair.a.ep->fid, "fi_profile_ops", 1, &ops, nullptr) == -FI_EBADFLAGS);
    CHECK(fi_open_ops(&pair.a.ep->fid, "whatever", 0, &ops, nullptr) == -FI_ENOSYS);
    CHECK(fi_open_ops(&pair.a.ep->fid, "fi_profile_ops", 0, nullptr, nullptr) == -FI_EINVAL);
}
