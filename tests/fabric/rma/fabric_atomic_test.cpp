// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fabric/atomic_support.hpp"

#include <algorithm>

#include <srd/limits.hpp>

#include "support/atomic_model.hpp"

using namespace fabric_test;
using atomic_model::Bytes;

namespace {

constexpr std::size_t limit = srd::max_atomic_size; // bytes of one operand

fi_op op_of(unsigned number)
{
    return static_cast<fi_op>(number);
}
fi_datatype type_of(unsigned number)
{
    return static_cast<fi_datatype>(number);
}

} // namespace

TEST_CASE("atomic: what is served, and how much of it")
{
    AtomicPair pair;
    fid_ep* ep = pair.a.ep.get();
    fid_domain* domain = pair.domain.domain.get();
    using Valid = int (*)(fid_ep*, fi_datatype, fi_op, std::size_t*);
    struct Form {
        Valid valid;
        std::uint64_t flag;
        fi_op served;
        fi_op not_served;
    };
    const std::array<Form, 3> forms = {{{fi_atomicvalid, 0, FI_SUM, FI_ATOMIC_READ},
                                        {fi_fetch_atomicvalid, FI_FETCH_ATOMIC, FI_ATOMIC_READ, FI_CSWAP},
                                        {fi_compare_atomicvalid, FI_COMPARE_ATOMIC, FI_CSWAP, FI_SUM}}};
    for (const Form& form : forms) {
        for (unsigned type = 0; type < atomic_model::type_count; ++type) {
            std::size_t count = 0;
            CHECK(form.valid(ep, type_of(type), form.served, &count) == 0);
            CHECK(count == limit / atomic_model::sizes[type]);
            fi_atomic_attr attr{};
            CHECK(fi_query_atomic(domain, type_of(type), form.served, &attr, form.flag) == 0);
            CHECK(attr.count == count);
            CHECK(attr.size == atomic_model::sizes[type]);
            CHECK(form.valid(ep, type_of(type), form.not_served, &count) == -FI_EOPNOTSUPP);
            CHECK(fi_query_atomic(domain, type_of(type), form.not_served, &attr, form.flag) ==
                  -FI_EOPNOTSUPP);
        }
        std::size_t count = 0;
        CHECK(form.valid(ep, type_of(20), form.served, &count) == -FI_EOPNOTSUPP);
        CHECK(form.valid(ep, type_of(0x7fffffff), form.served, &count) == -FI_EOPNOTSUPP);
        CHECK(form.valid(ep, FI_UINT64, op_of(0x7fffffff), &count) == -FI_EOPNOTSUPP);
        CHECK(form.valid(ep, FI_VOID, form.served, &count) == -FI_EOPNOTSUPP);
        CHECK(form.valid(ep, FI_UINT64, FI_NOOP, &count) == -FI_EOPNOTSUPP);
        CHECK(form.valid(ep, FI_UINT64, form.served, nullptr) == -FI_EINVAL);
    }
    fi_atomic_attr attr{};
    CHECK(fi_query_atomic(domain, FI_UINT64, FI_SUM, &attr, FI_TAGGED) == -FI_EOPNOTSUPP);
    CHECK(fi_query_atomic(domain, FI_UINT64, FI_SUM, &attr, FI_FETCH_ATOMIC | FI_COMPARE_ATOMIC) ==
          -FI_EBADFLAGS);
    CHECK(fi_query_atomic(domain, FI_UINT64, FI_SUM, &attr, FI_INJECT) == -FI_EBADFLAGS);
    CHECK(fi_query_atomic(domain, FI_UINT64, FI_SUM, nullptr, 0) == -FI_EINVAL);
}

TEST_CASE("atomic: the three forms")
{
    AtomicPair pair;
    fid_ep* ep = pair.a.ep.get();
    std::uint64_t operand = 5;
    std::uint64_t compare = 15;
    std::uint64_t result = 0;
    pair.words[3] = 10;

    REQUIRE(fi_atomic(ep, &operand, 1, nullptr, pair.b_at_a, 24, key, FI_UINT64, FI_SUM, &operand) == 0);
    pair.finish(wrote, &operand);
    CHECK(pair.words[3] == 15);

    REQUIRE(fi_compare_atomic(ep, &operand, 1, nullptr, &compare, nullptr, &result, nullptr, pair.b_at_a, 24,
                              key, FI_UINT64, FI_CSWAP, &compare) == 0);
    pair.finish(fetched, &compare);
    CHECK(result == 15);
    CHECK(pair.words[3] == 5);

    REQUIRE(fi_compare_atomic(ep, &operand, 1, nullptr, &compare, nullptr, &result, nullptr, pair.b_at_a, 24,
                              key, FI_UINT64, FI_CSWAP, &compare) == 0);
    pair.finish(fetched, &compare);
    CHECK(result == 5);
    CHECK(pair.words[3] == 5);

    operand = 0x70;
    REQUIRE(fi_fetch_atomic(ep, &operand, 1, nullptr, &result, nullptr, pair.b_at_a, 24, key, FI_UINT64,
                            FI_BOR, &result) == 0);
    pair.finish(fetched, &result);
    CHECK(result == 5);
    CHECK(pair.words[3] == 0x75);

    // Without an operand, and from memory that must not be written.
    result = 0;
    REQUIRE(fi_fetch_atomic(ep, nullptr, 1, nullptr, &result, nullptr, pair.b_at_a, 24, read_only_key,
                            FI_UINT64, FI_ATOMIC_READ, &result) == 0);
    pair.finish(fetched, &result);
    CHECK(result == 0x75);

    REQUIRE(fi_inject_atomic(ep, &operand, 1, pair.b_at_a, 24, write_only_key, FI_UINT64, FI_ATOMIC_WRITE) ==
            0);
    operand = 0; // ours again
    pair.until([&] { return polled(pair.words[3]) == 0x70; });
    pair.poll();
    CHECK(pair.a.ready.empty());
    CHECK(pair.b.ready.empty());
    CHECK(std::count(pair.words.begin(), pair.words.end(), 0U) == 127);
}

TEST_CASE("atomic: every operation on every datatype over the wire")
{
    AtomicPair pair;
    fid_ep* ep = pair.a.ep.get();
    for (unsigned op = 0; op < 20; ++op) {
        for (unsigned type = 0; type < atomic_model::type_count; ++type) {
            std::size_t most = 0;
            const bool compares = fi_compare_atomicvalid(ep, type_of(type), op_of(op), &most) == 0;
            if (!compares && fi_fetch_atomicvalid(ep, type_of(type), op_of(op), &most) != 0) {
                continue;
            }
            INFO("operation " << op << " on datatype " << type);
            const std::size_t count = 1 + atomic_model::next_random() % most;
            const Bytes before = atomic_model::numbers(type, count);
            const Bytes operand = atomic_model::numbers(type, count);
            const Bytes comparand = atomic_model::numbers(type, count);
            Bytes result(before.size());
            const std::size_t at = op + type; // of every alignment
            std::memcpy(reinterpret_cast<std::byte*>(pair.words.data()) + at, before.data(), before.size());
            if (compares) {
                REQUIRE(fi_compare_atomic(ep, operand.data(), count, nullptr, comparand.data(), nullptr,
                                          result.data(), nullptr, pair.b_at_a, at, key, type_of(type),
                                          op_of(op), nullptr) == 0);
            } else {
                REQUIRE(fi_fetch_atomic(ep, operand.data(), count, nullptr, result.data(), nullptr,
                                        pair.b_at_a, at, key, type_of(type), op_of(op), nullptr) == 0);
            }
            pair.finish(fetched, nullptr);
            REQUIRE(result == before);
            std::memcpy(result.data(), reinterpret_cast<std::byte*>(pair.words.data()) + at, result.size());
            REQUIRE(result == atomic_model::expected(op, type, before, operand, comparand));
        }
    }
}

TEST_CASE("atomic: arrays here and there, cut differently")
{
    AtomicPair pair;
    fid_ep* ep = pair.a.ep.get();
    std::iota(pair.words.begin(), pair.words.end(), 0U);
    std::array<std::uint64_t, 10> operand{};
    std::array<std::uint64_t, 10> compare{};
    std::array<std::uint64_t, 10> result{};
    const std::array<std::size_t, 10> order = {90, 91, 92, 5, 6, 7, 40, 41, 42, 43}; // of the target's words
    for (std::size_t i = 0; i < 10; ++i) {
        operand[i] = 1000 + i;
        compare[i] = order[i] + (i % 2); // every other one is equal
    }
    std::array<fi_ioc, 4> operands = {
        {{&operand[0], 1}, {&operand[1], 2}, {&operand[3], 3}, {&operand[6], 4}}};
    std::array<fi_ioc, 2> comparands = {{{&compare[0], 7}, {&compare[7], 3}}};
    std::array<fi_ioc, 3> results = {{{&result[0], 5}, {&result[5], 0}, {&result[5], 5}}};
    const std::array<fi_rma_ioc, 4> remote = {
        {{90 * 8, 3, key}, {5 * 8, 3, key}, {40 * 8, 2, key}, {42 * 8, 2, key}}};
    fi_msg_atomic message{};
    message.msg_iov = operands.data();
    message.iov_count = operands.size();
    message.addr = pair.b_at_a;
    message.rma_iov = remote.data();
    message.rma_iov_count = remote.size();
    message.datatype = FI_UINT64;
    message.op = FI_CSWAP;
    message.context = &message;
    REQUIRE(fi_compare_atomicmsg(ep, &message, comparands.data(), nullptr, comparands.size(), results.data(),
                                 nullptr, results.size(), FI_COMPLETION | FI_INJECT) == 0);
    compare.fill(0); // FI_INJECT: ours again
    operand.fill(0);
    pair.finish(fetched, &message);
    for (std::size_t i = 0; i < 10; ++i) {
        CHECK(result[i] == order[i]);
        CHECK(pair.words[order[i]] == (i % 2 == 0 ? 1000 + i : order[i]));
    }

    operand.fill(1);
    message.op = FI_ATOMIC_WRITE;
    REQUIRE(fi_fetch_atomicmsg(ep, &message, results.data(), nullptr, results.size(), FI_DELIVERY_COMPLETE) ==
            0);
    pair.finish(fetched, &message);
    CHECK(result[0] == 1000);
    CHECK(result[1] == order[1]);
    message.op = FI_SUM;
    REQUIRE(fi_atomicmsg(ep, &message, FI_FENCE | FI_DELIVERY_COMPLETE) == 0);
    pair.finish(wrote, &message);
    for (const std::size_t word : order) {
        CHECK(pair.words[word] == 2);
    }

    // The calls between: arrays here, one range there.
    REQUIRE(fi_atomicv(ep, operands.data(), nullptr, 4, pair.b_at_a, 0, key, FI_UINT64, FI_ATOMIC_WRITE,
                       &operand) == 0);
    pair.finish(wrote, &operand);
    REQUIRE(fi_fetch_atomicv(ep, nullptr, nullptr, 0, results.data(), nullptr, results.size(), pair.b_at_a, 0,
                             key, FI_UINT64, FI_ATOMIC_READ, &result) == 0);
    pair.finish(fetched, &result);
    CHECK(result == operand);
    compare.fill(1);
    operand.fill(3);
    REQUIRE(fi_compare_atomicv(ep, operands.data(), nullptr, 4, comparands.data(), nullptr, 2, results.data(),
                               nullptr, 3, pair.b_at_a, 0, key, FI_UINT64, FI_CSWAP_GE, &compare) == 0);
    pair.finish(fetched, &compare);
    CHECK(std::count(pair.words.begin(), pair.words.begin() + 10, 3U) == 10);
    CHECK(pair.words[10] == 10);
}

TEST_CASE("atomic: as much as one call can do")
{
    AtomicPair pair;
    fid_ep* ep = pair.a.ep.get();
    constexpr std::size_t most = limit / 8;
    std::array<std::uint64_t, most + 1> operand{};
    std::array<std::uint64_t, most> result{};
    std::iota(operand.begin(), operand.end(), 100U);
    REQUIRE(fi_compare_atomic(ep, operand.data(), most, nullptr, result.data(), nullptr, result.data(),
                              nullptr, pair.b_at_a, 8, key, FI_UINT64, FI_CSWAP, nullptr) == 0);
    pair.finish(fetched, nullptr);
    CHECK(std::equal(operand.begin(), operand.end() - 1, pair.words.begin() + 1));
    CHECK((pair.words.front() == 0 && pair.words[most + 1] == 0));
    CHECK(fi_atomic(ep, operand.data(), most + 1, nullptr, pair.b_at_a, 0, key, FI_UINT64, FI_SUM, nullptr) ==
          -FI_EMSGSIZE);
}

TEST_CASE("atomic: a caller's mistakes")
{
    AtomicPair pair;
    fid_ep* ep = pair.a.ep.get();
    const fi_addr_t to = pair.b_at_a;
    std::array<std::uint64_t, 8> buffer{};
    std::uint64_t* data = buffer.data();
    const auto base = [&](const void* from, std::size_t count, fi_datatype type, fi_op op) {
        return fi_atomic(ep, from, count, nullptr, to, 0, key, type, op, nullptr);
    };
    CHECK(base(data, 1, FI_UINT64, FI_ATOMIC_READ) == -FI_EOPNOTSUPP);
    CHECK(base(data, 1, FI_UINT64, FI_CSWAP) == -FI_EOPNOTSUPP);
    CHECK(base(data, 1, FI_FLOAT, FI_BOR) == -FI_EOPNOTSUPP);
    CHECK(base(data, 1, FI_FLOAT_COMPLEX, FI_MIN) == -FI_EOPNOTSUPP);
    CHECK(base(data, 1, FI_UINT64, op_of(20)) == -FI_EOPNOTSUPP);
    CHECK(base(data, 1, FI_UINT64, op_of(FI_SUM + 256)) == -FI_EOPNOTSUPP);
    CHECK(base(data, 1, type_of(FI_UINT64 + 256), FI_SUM) == -FI_EOPNOTSUPP);
    CHECK(base(data, 1, type_of(0x7fffffff), FI_SUM) == -FI_EOPNOTSUPP);
    CHECK(base(data, 0, FI_UINT64, FI_SUM) == -FI_EINVAL);
    CHECK(base(nullptr, 1, FI_UINT64, FI_SUM) == -FI_EINVAL);
    CHECK(base(data, limit + 1, FI_UINT8, FI_SUM) == -FI_EMSGSIZE);
    CHECK(base(data, SIZE_MAX, FI_UINT64, FI_SUM) == -FI_EMSGSIZE);
    CHECK(base(data, SIZE_MAX / 8 + 2, FI_UINT64, FI_SUM) == -FI_EMSGSIZE); // 8 bytes modulo 2^64
    CHECK(fi_inject_atomic(ep, data, limit / 8 + 1, to, 0, key, FI_UINT64, FI_SUM) == -FI_EMSGSIZE);
    CHECK(fi_fetch_atomic(ep, data, 1, nullptr, nullptr, nullptr, to, 0, key, FI_UINT64, FI_SUM, nullptr) ==
          -FI_EINVAL);
    CHECK(fi_compare_atomic(ep, data, 1, nullptr, nullptr, nullptr, data, nullptr, to, 0, key, FI_UINT64,
                            FI_CSWAP, nullptr) == -FI_EINVAL);

    const fi_ioc ioc{data, 4};
    const std::array<fi_ioc, 5> five = {{{data, 1}, {data, 1}, {data, 1}, {data, 1}, {data, 1}}};
    fi_ioc result{data, 4};
    const fi_rma_ioc remote{0, 4, key};
    fi_msg_atomic good{};
    good.msg_iov = &ioc;
    good.iov_count = 1;
    good.addr = to;
    good.rma_iov = &remote;
    good.rma_iov_count = 1;
    good.datatype = FI_UINT64;
    good.op = FI_SUM;
    CHECK(fi_atomicmsg(ep, nullptr, 0) == -FI_EINVAL);
    CHECK(fi_atomicmsg(ep, &good, FI_TAGGED) == -FI_EOPNOTSUPP);
    CHECK(fi_atomicmsg(ep, &good, FI_REMOTE_CQ_DATA) == -FI_EOPNOTSUPP);
    fi_msg_atomic bad = good;
    bad.rma_iov = nullptr;
    CHECK(fi_atomicmsg(ep, &bad, 0) == -FI_EINVAL);
    bad = good;
    bad.rma_iov_count = 0;
    CHECK(fi_atomicmsg(ep, &bad, 0) == -FI_EINVAL);
    bad = good;
    bad.msg_iov = five.data();
    bad.iov_count = 5;
    CHECK(fi_atomicmsg(ep, &bad, 0) == -FI_EINVAL);
    bad.iov_count = 3; // elements, and 4 there
    CHECK(fi_atomicmsg(ep, &bad, 0) == -FI_EINVAL);
    result.count = 3;
    CHECK(fi_fetch_atomicmsg(ep, &good, &result, nullptr, 1, 0) == -FI_EINVAL);
    CHECK(fi_fetch_atomicmsg(ep, &good, nullptr, nullptr, 1, 0) == -FI_EINVAL);
    result.count = 4;
    good.op = FI_CSWAP;
    CHECK(fi_compare_atomicmsg(ep, &good, five.data(), nullptr, 3, &result, nullptr, 1, 0) == -FI_EINVAL);
    CHECK(fi_compare_atomicmsg(ep, &good, five.data(), nullptr, 0, &result, nullptr, 1, 0) == -FI_EINVAL);
    CHECK(fi_atomic(ep, data, 1, nullptr, 99, 0, key, FI_UINT64, FI_SUM, nullptr) == -FI_EINVAL);
    pair.poll();
    CHECK(pair.a.ready.empty()); // nothing of all that was started
    CHECK(std::count(pair.words.begin(), pair.words.end(), 0U) == 128);
}

namespace {

struct Refusal {
    const char* name;
    std::uint64_t address;
    std::uint64_t key;
    fi_op operation;
    int error;
};

constexpr std::uint64_t end = sizeof(AtomicPair::words);
constexpr std::array<Refusal, 12> refusals = {{
    {"wrong key", 0, 1234, FI_SUM, FI_EKEYREJECTED},
    {"one byte too far", end - 31, key, FI_SUM, FI_EINVAL},
    {"behind the end", end, key, FI_SUM, FI_EINVAL},
    {"one byte before the beginning", UINT64_MAX, key, FI_SUM, FI_EINVAL},
    {"around the address space", UINT64_MAX - 15, key, FI_SUM, FI_EINVAL},
    {"write to what may be read", 0, read_only_key, FI_SUM, FI_EACCES},
    {"swap of what may be read", 0, read_only_key, FI_CSWAP, FI_EACCES},
    {"write of what may be read", 0, read_only_key, FI_ATOMIC_WRITE, FI_EACCES},
    {"fetch of what may be written", 0, write_only_key, FI_SUM, FI_EACCES},
    {"swap of what may be written", 0, write_only_key, FI_CSWAP, FI_EACCES},
    {"read of what may be written", 0, write_only_key, FI_ATOMIC_READ, FI_EACCES},
    {"read with a wrong key", 0, 1234, FI_ATOMIC_READ, FI_EKEYREJECTED},
}};

} // namespace

TEST_CASE("atomic: what the target refuses")
{
    AtomicPair pair;
    fid_ep* ep = pair.a.ep.get();
    std::iota(pair.words.begin(), pair.words.end(), 1U);
    const auto untouched = pair.words;
    std::array<std::uint64_t, 4> operand = {1, 1, 1, 1};
    std::array<std::uint64_t, 4> result = {7, 7, 7, 7};
    for (const Refusal& one : refusals) {
        INFO(one.name);
        if (one.operation == FI_CSWAP) {
            REQUIRE(fi_compare_atomic(ep, operand.data(), 4, nullptr, operand.data(), nullptr, result.data(),
                                      nullptr, pair.b_at_a, one.address, one.key, FI_UINT64, one.operation,
                                      &pair) == 0);
        } else {
            REQUIRE(fi_fetch_atomic(ep, operand.data(), 4, nullptr, result.data(), nullptr, pair.b_at_a,
                                    one.address, one.key, FI_UINT64, one.operation, &pair) == 0);
        }
        CHECK(pair.failure() == one.error);
        if (one.operation == FI_SUM && one.key != write_only_key) { // the base form likewise
            REQUIRE(fi_atomic(ep, operand.data(), 4, nullptr, pair.b_at_a, one.address, one.key, FI_UINT64,
                              one.operation, &pair) == 0);
            CHECK(pair.failure() == one.error);
        }
        CHECK(pair.words == untouched);
        CHECK(result == std::array<std::uint64_t, 4>{7, 7, 7, 7});
    }

    // All ranges are looked at before any is touched.
    const fi_ioc ioc{operand.data(), 4};
    const std::array<fi_rma_ioc, 2> remote = {{{0, 2, key}, {0, 2, 1234}}};
    fi_msg_atomic message{};
    message.msg_iov = &ioc;
    message.iov_count = 1;
    message.addr = pair.b_at_a;
    message.rma_iov = remote.data();
    message.rma_iov_count = 2;
    message.datatype = FI_UINT64;
    message.op = FI_SUM;
    REQUIRE(fi_atomicmsg(ep, &message, 0) == 0);
    CHECK(pair.failure() == FI_EKEYREJECTED);
    CHECK(pair.words == untouched);

    REQUIRE(pair.region.close() == 0);
    REQUIRE(fi_atomic(ep, operand.data(), 4, nullptr, pair.b_at_a, 0, key, FI_UINT64, FI_SUM, &pair) == 0);
    CHECK(pair.failure() == FI_EKEYREJECTED);
    CHECK(pair.words == untouched);
    REQUIRE(fi_atomic(ep, operand.data(), 4, nullptr, pair.b_at_a, 0, write_only_key, FI_UINT64, FI_SUM,
                      &pair) == 0);
    pair.finish(wrote, &pair); // and life goes on
}
