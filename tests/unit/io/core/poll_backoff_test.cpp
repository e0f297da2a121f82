// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/core/poll_backoff.hpp"

#include "support/catch.hpp"

using namespace srd;
using std::chrono::microseconds;

TEST_CASE("poll backoff: every interval, every time for a while after a find, and at once when told")
{
    PollBackoff backoff(microseconds(20));
    Time now(std::chrono::seconds(1));
    CHECK(backoff.due(now));
    backoff.polled(now, false);
    CHECK_FALSE(backoff.due(now));
    CHECK_FALSE(backoff.due(now + microseconds(19)));
    CHECK(backoff.due(now + microseconds(20)));
    CHECK_FALSE(backoff.overdue(now + microseconds(20), microseconds(5)));
    CHECK(backoff.overdue(now + microseconds(25), microseconds(5)));
    backoff.hurry();
    CHECK(backoff.due(now));
    backoff.polled(now, true);
    for (int i = 0; i < 999; ++i, now += microseconds(1)) {
        CHECK(backoff.due(now));
        CHECK(backoff.overdue(now, microseconds(5)));
        backoff.polled(now, false);
    }
    now += microseconds(1);
    backoff.polled(now, false);
    CHECK_FALSE(backoff.due(now));
}
