// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// One side of a provider-neutral benchmark over libfabric: tagged ping-pong,
// message rate and bandwidth, and writes, reads and atomics of remote memory,
// as an ordinary application would write them (link.cpp holds all of its use of
// libfabric). Nothing here knows a provider's name or takes another way because
// of it.
//
// Two of these are started by bench/compare, which gives each one end of a
// socketpair for addresses and turns. Rank 0 measures; results are JSON lines
// on standard output. Data is checked in a pass of its own, never in a timed
// loop. Streams follow the OSU convention: one send buffer and one receive
// buffer for all outstanding messages.
#include <algorithm>

#include "control.hpp"
#include "link.hpp"
#include "options.hpp"

namespace bench {
namespace {

void run(const Options& options)
{
    pin_to_cpu(options.cpu);
    const Control control(options.control_fd, options.timeout_ns());
    std::size_t largest = 1;
    for (const auto* sizes : options.all_sizes()) {
        for (const std::size_t size : *sizes) {
            largest = std::max(largest, size);
        }
    }
    Link link(options, control, largest);
    if (options.rank == 0) {
        link.print_description();
    }
    run_message_tests(link, options);
    if (options.wants_remote_memory()) {
        run_remote_tests(link, options);
    }
}

} // namespace
} // namespace bench

int main(int argc, char** argv)
{
    return bench::client_main(argc, argv, "compare_client", bench::run);
}
