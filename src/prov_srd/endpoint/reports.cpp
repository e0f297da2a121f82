// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "endpoint/reports.hpp"

#include <algorithm>

#include "completion/cq.hpp"

namespace srd {

void Reports::failure(CompletionQueue* queue, CompletionError& failure, RouteId route) noexcept
{
    if (queue == nullptr) {
        return;
    }
    if (route != no_id<RouteId>) {
        const std::span<const std::byte> bytes = peers_.address_of(route).bytes();
        failure.address_size = static_cast<std::uint8_t>(std::min(bytes.size(), failure.address.size()));
        std::copy_n(bytes.begin(), failure.address_size, failure.address.begin());
    }
    queue->write_error(failure);
}

void Reports::arrival(Completion& completion, RouteId from) noexcept
{
    CompletionQueue* const queue = bindings_.receive_queue();
    if (queue == nullptr) {
        return;
    }
    if ((caps_ & FI_SOURCE) != 0) {
        completion.source = peers_.source_of(from);
    }
    constexpr std::uint64_t named = FI_SOURCE | FI_SOURCE_ERR;
    if ((caps_ & named) == named && completion.source == FI_ADDR_NOTAVAIL) {
        CompletionError error{.completion = completion, .error = FI_EADDRNOTAVAIL};
        failure(queue, error, from);
    } else {
        queue->write(completion);
    }
}

} // namespace srd
