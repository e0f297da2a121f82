// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fabric/fabric_fixture.hpp"

using namespace fabric_test;

namespace {

Entry request(Pair& pair, std::uint64_t tag, std::uint64_t flags, void* context, iovec* iov = nullptr)
{
    fi_msg_tagged message{};
    message.addr = FI_ADDR_UNSPEC;
    message.tag = tag;
    message.context = context;
    message.msg_iov = iov;
    message.iov_count = iov != nullptr ? 1 : 0;
    REQUIRE(fi_trecvmsg(pair.b.ep.get(), &message, flags) == 0);
    return pair.next(pair.b);
}

void check_missing(const Entry& entry, void* context)
{
    REQUIRE(entry.failed);
    CHECK(entry.error.err == FI_ENOMSG);
    CHECK(entry.error.op_context == context);
}

} // namespace

TEST_CASE("peek: reports what is there and leaves it there")
{
    Pair pair;
    fi_context context{};
    check_missing(request(pair, 1, FI_PEEK, &context), &context);
    check_missing(request(pair, 1, FI_PEEK | FI_CLAIM, &context), &context);
    check_missing(request(pair, 1, FI_PEEK | FI_DISCARD, &context), &context);
    for (const std::size_t size : {40U, 90000U}) {
        const auto data = pattern(size);
        pair.park(data.data(), size, 1);
        for (int i = 0; i < 2; ++i) {
            const Entry found = request(pair, 1, FI_PEEK, &context);
            REQUIRE_FALSE(found.failed);
            CHECK(found.good.op_context == &context);
            CHECK(found.good.len == size);
            CHECK(found.good.tag == 1);
            CHECK(found.good.buf == nullptr);
            CHECK(found.good.flags == (FI_RECV | FI_TAGGED));
            CHECK(found.source == pair.a_at_b);
        }
        std::vector<std::uint8_t> buffer(size);
        iovec iov{buffer.data(), size};
        REQUIRE_FALSE(request(pair, 1, 0, &context, &iov).failed);
        CHECK(buffer == data);
        check_missing(request(pair, 1, FI_PEEK, &context), &context);
    }
}

TEST_CASE("peek: a claimed message is for its claimer alone")
{
    Pair pair;
    fi_context context{};
    fi_context other{};
    for (const std::size_t size : {40U, 90000U}) {
        const auto data = pattern(size);
        pair.park(data.data(), size, 2);
        const Entry found = request(pair, 2, FI_PEEK | FI_CLAIM, &context);
        REQUIRE_FALSE(found.failed);
        CHECK(found.good.len == size);
        check_missing(request(pair, 2, FI_PEEK, &other), &other);
        fi_msg_tagged wrong{};
        wrong.context = &other;
        CHECK(fi_trecvmsg(pair.b.ep.get(), &wrong, FI_CLAIM) == -FI_EINVAL);
        std::vector<std::uint8_t> buffer(size);
        iovec iov{buffer.data(), size};
        const Entry got = request(pair, 2, FI_CLAIM, &context, &iov);
        REQUIRE_FALSE(got.failed);
        CHECK(got.good.op_context == &context);
        CHECK(got.good.len == size);
        CHECK(buffer == data);
    }
}

TEST_CASE("peek: messages are discarded, claimed or not")
{
    Pair pair;
    fi_context context{};
    const auto data = pattern(90000); // until the sender's operations are complete
    for (const std::size_t size : {std::size_t{40}, data.size()}) {
        pair.park(data.data(), size, 3);
        REQUIRE_FALSE(request(pair, 3, FI_PEEK | FI_DISCARD, &context).failed);
        check_missing(request(pair, 3, FI_PEEK, &context), &context);
        pair.park(data.data(), size, 3);
        REQUIRE_FALSE(request(pair, 3, FI_PEEK | FI_CLAIM, &context).failed);
        REQUIRE_FALSE(request(pair, 3, FI_CLAIM | FI_DISCARD, &context).failed);
        check_missing(request(pair, 3, FI_PEEK, &context), &context);
    }
    for (int i = 0; i < 4; ++i) { // the sender's operations are complete all the same
        CHECK_FALSE(pair.next(pair.a).failed);
    }
}

TEST_CASE("peek: flags that make no sense are refused")
{
    Pair pair;
    fi_context context{};
    fi_msg_tagged message{};
    message.addr = FI_ADDR_UNSPEC;
    message.context = &context;
    CHECK(fi_trecvmsg(pair.b.ep.get(), &message, FI_DISCARD) == -FI_EINVAL);
    CHECK(fi_trecvmsg(pair.b.ep.get(), &message, FI_CLAIM) == -FI_EINVAL);
    message.context = nullptr;
    CHECK(fi_trecvmsg(pair.b.ep.get(), &message, FI_PEEK | FI_CLAIM) == -FI_EINVAL);
}
