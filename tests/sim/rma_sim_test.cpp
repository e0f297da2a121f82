// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Named cases of remote memory access in simulation: one law each, in weather
// that must have struck, and the canaries that prove that the checkers see.
#include <algorithm>
#include <array>
#include <string>

#include "sim/must_pass.hpp"
#include "sim/scenarios.hpp"
#include "support/catch.hpp"

using namespace srd;
using namespace srd::sim;
using std::chrono::microseconds;
using std::chrono::milliseconds;

namespace {

/// Two hosts, 64 paths, nothing to do.
RunConfig quiet(std::uint64_t seed)
{
    RunConfig config = make_run(*find_scenario("lossless"), seed);
    config.hosts = 2;
    config.messages.clear();
    config.host.io.caps.max_packet = 4096;
    config.host.check_period = 16;
    return config;
}

/// Memory of host 1.
std::uint32_t region(RunConfig& config, std::uint64_t size, std::uint8_t access, Time revoke_at = time_never)
{
    config.regions.push_back({1, size, access, revoke_at});
    return static_cast<std::uint32_t>(config.regions.size() - 1);
}

/// An operation of host 0 on all of `where`.
RmaPlan access(const RunConfig& config, OperationKind kind, std::uint32_t where)
{
    RmaPlan plan;
    plan.kind = kind;
    plan.initiator = 0;
    plan.target = 1;
    plan.length = config.regions.at(where).size;
    plan.ranges[0] = {region_base(where), plan.length, where};
    return plan;
}

void storm(RunConfig& config)
{
    config.net.loss = 0.03;
    config.net.duplicate = 0.2;
    config.net.reorder = 0.4;
    config.net.reorder_max = microseconds(600);
}

} // namespace

TEST_CASE("write: nothing late overwrites what is newer")
{
    // Every write is complete before the next one on the same bytes starts; each has bytes of its own.
    RunConfig config = quiet(21);
    storm(config);
    const std::uint64_t length = GENERATE(std::uint64_t{64}, std::uint64_t{4000}, std::uint64_t{30'000});
    const std::uint32_t where = region(config, length, region_access::write);
    for (int index = 0; index < 100; ++index) {
        RmaPlan plan = access(config, OperationKind::write, where);
        plan.lane = 0;
        plan.has_data = index % 2 == 0;
        plan.level = index % 3 == 0 ? CompletionLevel::delivery : CompletionLevel::transmit;
        config.operations.push_back(plan);
    }
    const RunResult result = must_pass(config);
    CHECK(result.net.duplicated > 20);
    CHECK(result.counters.at("rx_duplicates") > 20);
    CHECK(result.failed_operations == 0);
}

TEST_CASE("write: an inject is the caller's memory again at once, and a fence behind it is enough for order")
{
    RunConfig config = quiet(22);
    storm(config);
    const std::uint32_t where = region(config, 900, region_access::write | region_access::read);
    for (int index = 0; index < 100; ++index) {
        RmaPlan plan = access(config, index % 4 == 3 ? OperationKind::read : OperationKind::write, where);
        plan.lane = 0;
        plan.fence = true;
        plan.copy_payload = plan.kind == OperationKind::write;
        plan.level = index % 2 == 0 ? CompletionLevel::none : CompletionLevel::inject;
        config.operations.push_back(plan);
    }
    must_pass(config);
}

TEST_CASE("read: 32 MiB in four ranges through 3 % loss")
{
    RunConfig config = quiet(23);
    storm(config);
    const std::uint32_t where = region(config, 32 << 20, region_access::read);
    RmaPlan plan = access(config, OperationKind::read, where);
    plan.range_count = max_iov;
    plan.pieces = max_iov;
    std::uint64_t start = 0;
    for (RemoteRange& range : plan.ranges) {
        range = {region_base(where) + start, 8 << 20, where};
        start += range.length;
    }
    config.operations.push_back(plan);
    config.host.check_period = 256;
    const RunResult result = must_pass(config);
    CHECK(result.net.lost > 100);
}

TEST_CASE("atomic: 1000 fetching additions on one cell by four initiators, each carried out once")
{
    RunConfig config = quiet(24);
    config.hosts = 5;
    storm(config);
    const std::uint32_t where = region(config, 8, region_access::atomic);
    for (std::uint32_t index = 0; index < 1000; ++index) {
        RmaPlan plan = access(config, OperationKind::atomic, where);
        plan.initiator = std::array{0U, 2U, 3U, 4U}[index % 4];
        plan.fetch = index % 3 != 0;
        config.operations.push_back(plan);
    }
    const RunResult result = must_pass(config);
    CHECK(result.counters.at("rx_atomics") == 1000);
}

TEST_CASE("fence: a write behind atomics that nobody waits for comes after all of them")
{
    RunConfig config = quiet(27);
    storm(config);
    const std::uint32_t cells = region(config, 8, region_access::atomic);
    const std::uint32_t data = region(config, 64, region_access::write);
    for (int index = 0; index < 400; ++index) {
        RmaPlan plan = access(config, OperationKind::atomic, cells);
        plan.level = CompletionLevel::none;
        plan.submit_at = Time(microseconds(index * 15)); // each in a packet of its own
        if (index % 5 == 4) {
            plan = access(config, OperationKind::write, data);
            plan.submit_at = Time(microseconds(index * 15));
            plan.fence = true;
        }
        config.operations.push_back(plan);
    }
    must_pass(config); // the ledger looks at each write's arrival
}

TEST_CASE("mistakes: every kind of wrong access fails once with its cause, and harms nothing beside it")
{
    RunConfig config = quiet(25);
    storm(config);
    const std::uint64_t length = GENERATE(std::uint64_t{16}, std::uint64_t{480});
    const bool long_data = GENERATE(false, true);
    const std::uint64_t data_length = long_data ? length * 100 : length;
    const std::uint32_t cells = region(config, length, region_access::atomic);
    const std::uint32_t data = region(config, data_length, region_access::read | region_access::write);
    // What of a wrong write lies within bounds may be placed, and must not meet a good read.
    const std::uint32_t aside = region(config, data_length, region_access::read | region_access::write);
    std::uint64_t wrong = 0;
    for (int index = 0; index < 300; ++index) {
        const auto kind = std::array{OperationKind::write, OperationKind::read,
                                     OperationKind::atomic}[static_cast<std::size_t>(index) % 3];
        RmaPlan plan = access(config, kind, kind == OperationKind::atomic ? cells : data);
        plan.lane = kind == OperationKind::atomic ? no_lane : 0;
        plan.fetch = index % 2 == 0 && kind == OperationKind::atomic;
        config.operations.push_back(plan);
        plan = access(config, kind, kind == OperationKind::atomic ? cells : aside);
        plan.fetch = index % 2 == 0 && kind == OperationKind::atomic;
        switch (index % 4) {
        case 0:
            plan.mistake = Cause::bad_key;
            plan.ranges[0].key = unknown_region;
            break;
        case 1:
            plan.mistake = Cause::out_of_bounds;
            plan.ranges[0].address += 1;
            break;
        case 2:
            plan.mistake = Cause::out_of_bounds;
            plan.ranges[0].address -= 1;
            break;
        default:
            plan.mistake = Cause::access_denied;
            plan.ranges[0].key = kind == OperationKind::atomic ? data : cells;
            plan.ranges[0].address = region_base(static_cast<std::uint32_t>(plan.ranges[0].key));
        }
        config.operations.push_back(plan);
        ++wrong;
    }
    const RunResult result = must_pass(config);
    CHECK(result.rejected_operations == wrong);
    CHECK(result.failed_operations == wrong);
    CHECK(result.counters.at("rx_denied") >= wrong);
}

TEST_CASE("closing: memory that closes under a long read is not sent from any more")
{
    RunConfig config = quiet(26);
    storm(config);
    const Time closes{milliseconds(2)};
    const std::uint32_t where = region(config, 8 << 20, region_access::read, closes);
    RmaPlan plan = access(config, OperationKind::read, where);
    plan.revocable = true;
    config.operations.push_back(plan);
    const RunResult result = must_pass(config); // the ledger looks for a byte of after the closing
    CHECK(result.failed_operations == 1);
    CHECK(result.received_bytes > 0);
}

TEST_CASE("named: what processes of one host read in place is read once, and what they cannot read is sent")
{
    RunConfig config = quiet(28);
    storm(config);
    config.host.io.near = 1;
    config.host.io.caps.path_count = 1;
    config.host.io.forbidden = GENERATE(0.0, 0.1);
    const std::uint32_t where = region(config, 3 << 20, region_access::read | region_access::write);
    for (int index = 0; index < 30; ++index) {
        RmaPlan plan = access(config, index % 3 == 2 ? OperationKind::read : OperationKind::write, where);
        plan.lane = 0;
        plan.has_data = plan.kind == OperationKind::write;
        plan.pieces = static_cast<std::uint8_t>(1 + index % 4);
        plan.fence = index % 5 == 0;
        config.operations.push_back(plan);
    }
    const RunResult result = must_pass(config);
    CHECK(result.failed_operations == 0);
    CHECK(result.counters.at("tx_named") > 0);
    CHECK(result.counters.at("tx_unread") > 0);
}

TEST_CASE("deaths: every access to a host that dies, restarts or closes ends once")
{
    const char* const name = GENERATE("rma_silent_death", "rma_announced_death", "rma_restart", "rma_closing",
                                      "rma_removal", "rma_stopped_host");
    const std::uint64_t seed = GENERATE(std::uint64_t{1}, std::uint64_t{2});
    must_pass(make_run(*find_scenario(name), seed));
}

TEST_CASE("regressions: seeds of remote memory access that once broke the law")
{
    struct Seed {
        const char* scenario;
        std::uint64_t seed;
    };
    const Seed seed = GENERATE(values<Seed>({
        {"atomics", 2},      // acknowledged while it was held for its turn, and reported done
        {"rma_lossless", 4}, // the same, and rejected when its turn came
        {"mistakes", 4},     // a later fault overtook an earlier one and was counted for it
        {"mistakes", 6},     // the same
        {"rma_closing", 1},  // a closed endpoint went on with the numbers of the old connection
        {"rma_closing", 16},
        {"rma_unexpected_flood", 900023}, // two packets of answers, nothing else ready: the pass never ended
        {"rma_loss", 1065}, // late data of a failed read was taken for that of a message of the same number
        {"rma_new_keys", 7300014}, // an answer from before a new key came after its sender's introduction
        {"rma_little_memory", 8},  // a pool too small for any remote access to be taken
    }));
    must_pass(make_run(*find_scenario(seed.scenario), seed.seed));
}

TEST_CASE("canaries: providers that break a law of remote memory access are caught by the law")
{
    struct Canary {
        const char* scenario;
        const char* law;
        const char* or_this = nullptr; ///< which may see it first
    };
    const Canary canary = GENERATE(values<Canary>({
        {"canary_placement", "without its whole effect", "is not complete"},
        {"canary_rma_completion", "is not complete"},
        {"canary_atomic", "found other values"},
        {"canary_mistake", "completed well in spite of"},
        {"canary_fence", "took effect"},
        {"canary_revoke", "other bytes"},
        {"canary_late", "was changed afterwards"},
    }));
    const std::uint64_t seed = GENERATE(std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{3});
    const RunResult result = run(make_run(*find_scenario(canary.scenario), seed));
    INFO(canary.scenario << " seed " << seed << ": " << result.failure);
    REQUIRE_FALSE(result.ok);
    const bool is_the_law = result.failure.find(canary.law) != std::string::npos;
    CHECK((is_the_law ||
           (canary.or_this != nullptr && result.failure.find(canary.or_this) != std::string::npos)));
}

TEST_CASE("ledger of remote memory access: what the law forbids is reported")
{
    Ledger messages(7, {}, 2);
    RmaPlan write;
    write.kind = OperationKind::write;
    write.target = 1;
    write.length = 16;
    write.ranges[0] = {region_base(0), 16, 0};
    RmaPlan fenced = write;
    fenced.fence = true;
    RmaLedger ledger(messages, {write, fenced}, {{1, 64, region_access::write, time_never}});
    ledger.on_submitted(0, Time{});
    ledger.on_submitted(1, Time{});

    std::array<std::byte, 16> bytes{};
    const auto event_of = [&](std::uint32_t id, std::array<RemoteRange, max_iov>& ranges) {
        pattern_fill(bytes, 7, RmaLedger::identity(id));
        ranges = ledger.wire_ranges(id);
        Event event;
        event.kind = Event::Kind::write;
        event.ranges = std::span(ranges).first(1);
        event.payload = bytes;
        event.length = 16;
        event.last = true;
        return event;
    };
    std::array<RemoteRange, max_iov> ranges{};
    Event event = event_of(0, ranges);

    SECTION("wrong bytes, wrong place, wrong host")
    {
        bytes[3] ^= std::byte{1};
        CHECK_THROWS_AS(ledger.on_write(0, 1, 1, event), SimFailure);
        bytes[3] ^= std::byte{1};
        CHECK_THROWS_AS(ledger.on_write(1, 0, 1, event), SimFailure);
        ++ranges[0].address;
        CHECK_THROWS_AS(ledger.on_write(0, 1, 1, event), SimFailure);
    }
    SECTION("placed twice, after completion, complete without all bytes")
    {
        CHECK_THROWS_AS(ledger.on_completed(0, Cause::none, {}, Time{}), SimFailure);
        const RmaLedger::Part part = ledger.on_write(0, 1, 1, event);
        ledger.on_placed(part, event);
        CHECK_THROWS_AS(ledger.on_write(0, 1, 1, event), SimFailure);
        CHECK_THROWS_AS(ledger.on_completed(0, Cause::bad_key, {}, Time{}), SimFailure);
        ledger.on_completed(0, Cause::none, {}, Time{});
        CHECK_THROWS_AS(ledger.on_completed(0, Cause::none, {}, Time{}), SimFailure);
        CHECK_THROWS_AS(ledger.on_write(0, 1, 1, event), SimFailure);
    }
    SECTION("a fence that is passed too early")
    {
        event = event_of(1, ranges);
        CHECK_THROWS_AS(ledger.on_write(0, 1, 1, event), SimFailure);
    }
    SECTION("never finished")
    {
        CHECK_FALSE(ledger.settled({false, false}));
        CHECK_THROWS_AS(ledger.check_end({false, false}), SimFailure);
    }
}
