// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <chrono>
#include <cstddef>

#include "io/udp/copy_choice.hpp"

#include "support/catch.hpp"

using namespace srd;
using std::chrono::nanoseconds;

namespace {

/// One trial in which a batch of pieces takes `pieces`, and one laid together `together`; returns what is
/// chosen then.
bool trial(CopyChoice& choice, Duration pieces, Duration together)
{
    for (std::size_t i = 0; i < 2 * CopyChoice::samples; ++i) {
        REQUIRE(choice.trying());
        // Each third took far longer because the processor was needed elsewhere, and was twice as long.
        const bool disturbed = i % 3 == 0;
        const Duration usual = choice.together() ? together : pieces;
        choice.on_timed_batch(disturbed ? 100 * usual : usual, disturbed ? 20000 : 10000);
    }
    REQUIRE_FALSE(choice.trying());
    return choice.together();
}

} // namespace

TEST_CASE("copy choice: a trial tries both ways alike, and the faster is taken until the next")
{
    CopyChoice choice;
    CHECK(trial(choice, nanoseconds(1000), nanoseconds(900)));
    for (std::uint32_t i = 0; i < CopyChoice::batches_between; ++i) {
        REQUIRE_FALSE(choice.trying());
        REQUIRE(choice.together());
        choice.on_batch();
    }
    CHECK_FALSE(trial(choice, nanoseconds(900), nanoseconds(1000))); // another peer, or another core
    CHECK_FALSE(choice.together());
}

TEST_CASE("copy choice: each way gets the same number of samples")
{
    CopyChoice choice;
    std::size_t together = 0;
    for (std::size_t i = 0; i < 2 * CopyChoice::samples; ++i) {
        together += choice.together() ? 1 : 0;
        choice.on_timed_batch(nanoseconds(10), 1);
    }
    CHECK(together == CopyChoice::samples);
    CHECK_FALSE(choice.together()); // no faster: nothing is copied twice
}
